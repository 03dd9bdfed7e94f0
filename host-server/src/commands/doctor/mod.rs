//! `doctor`: looks at a broker as a partner would, and says what to change.
//!
//! It goes from the outside in: name and TCP, certificates, TLS, versions and login ([`line`]),
//! subscriptions and topic profile (`topics`), then what becomes of messages (`trial`). Each exchange
//! has a deadline and all together have one, so it always ends with a report. It uses clean sessions
//! only, and publishes on one topic of its own.

mod certificates;
mod line;
mod report;
mod session;
mod topics;
mod trial;
mod wire;

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std::{Identity, Pem, TlsOptions};

use self::report::{Report, Verdict};
use self::session::Access;
use self::topics::Wanted;
use self::trial::Trial;
use self::wire::Version;
use super::print;
use crate::cli::DoctorArgs;
use crate::config::{self, BrokerChoice, ConfigError, ExternalBroker, MqttVersion};

/// No vehicle's: a VIN has no I and no O (ISO 3779).
const OWN_VIN: &str = "VINBUSDOCTOR00000";

/// How many answers the whole look may wait for in vain, beside the time to listen.
const STEPS_MAX: u32 = 24;

/// Why there is no clean bill of health.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The options are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker is named.
    #[error("no broker is named: give --broker, or --config with a file that names one")]
    NoBroker,
    /// The URL is one of WebSocket.
    #[error("doctor looks at mqtt:// and mqtts:// brokers; {url} is one over WebSocket")]
    WebSocket {
        /// The URL.
        url: String,
    },
    /// The password cannot be read.
    #[error("cannot read the password in {}: {source}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No client id can be made.
    #[error("the system gives no random numbers")]
    Random,
    /// The report cannot be printed.
    #[error("the report could not be printed: {0}")]
    Output(super::AskError),
    /// Checks failed; the report says which.
    #[error("{failed} of {all} checks failed")]
    Failed {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

impl DoctorError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Config(_) | Self::NoBroker | Self::WebSocket { .. } | Self::Password { .. } => {
                true
            }
            Self::Random | Self::Output(_) | Self::Failed { .. } => false,
        }
    }
}

/// Looks, prints the report, and fails if a check did.
///
/// # Errors
/// A [`DoctorError`].
pub async fn run(args: DoctorArgs) -> Result<(), DoctorError> {
    let config = config::load(args.serve_options())?;
    let BrokerChoice::External(broker) = config.broker else {
        return Err(DoctorError::NoBroker);
    };
    let access = access(&broker, &args)?;
    let mut report = Report::of(broker.url.to_string());
    let patient = Patient {
        access: &access,
        broker: &broker,
        scheme: &config.scheme,
        partner: &config.partner,
        args: &args,
    };
    patient.look(&mut report).await;
    let text = if args.json {
        report.json()
    } else {
        report.text()
    };
    print(&text).map_err(DoctorError::Output)?;
    match report.count(Verdict::Failed) {
        0 => Ok(()),
        failed => Err(DoctorError::Failed {
            failed,
            all: report.checks.len(),
        }),
    }
}

fn access(broker: &ExternalBroker, args: &DoctorArgs) -> Result<Access, DoctorError> {
    if broker.url.scheme().is_web_socket() {
        return Err(DoctorError::WebSocket {
            url: broker.url.to_string(),
        });
    }
    let credentials = match &broker.credentials {
        None => None,
        Some((user, file)) => {
            let password = fs::read_to_string(file).map_err(|source| DoctorError::Password {
                path: file.clone(),
                source,
            })?;
            Some((
                user.clone(),
                password.trim_end_matches(['\r', '\n']).to_owned(),
            ))
        }
    };
    let identity = broker.identity.as_ref().map(|(certificate, key)| Identity {
        certificate: Pem::File(certificate.clone()),
        key: Pem::File(key.clone()),
    });
    let tls = TlsOptions {
        ca: broker.ca.clone().map(Pem::File),
        identity,
    };
    Ok(Access {
        url: broker.url.clone(),
        tls,
        client_id: client_id()?,
        credentials,
        step: args.timeout,
        end: Instant::now() + args.timeout * STEPS_MAX + args.listen,
    })
}

/// A new one each time, so that no session of anybody is taken over; short enough for every broker.
fn client_id() -> Result<String, DoctorError> {
    let random: Result<ring::rand::Random<[u8; 4]>, _> =
        ring::rand::generate(&ring::rand::SystemRandom::new());
    let bytes = random.map_err(|_| DoctorError::Random)?.expose();
    Ok(format!("vinbus-doc-{:08x}", u32::from_be_bytes(bytes)))
}

/// The broker that is looked at, and by whom.
struct Patient<'a> {
    access: &'a Access,
    broker: &'a ExternalBroker,
    scheme: &'a TopicScheme,
    partner: &'a Uid,
    args: &'a DoctorArgs,
}

impl Patient<'_> {
    async fn look(&self, report: &mut Report) {
        let access = self.access;
        let Some(tcp) = line::tcp(report, access).await else {
            return;
        };
        let own = self
            .broker
            .identity
            .as_ref()
            .map(|(certificate, _)| certificate.as_path());
        line::certificates(report, access, tcp, own, self.partner.as_str()).await;
        if access.url.scheme().is_tls() && !line::files(report, access) {
            return;
        }
        let preferred = match self.broker.version {
            MqttVersion::V5 => Version::V5,
            MqttVersion::V311 => Version::V311,
        };
        let Some(welcome) = line::login(report, access, preferred).await else {
            return;
        };
        let wanted = Wanted {
            scheme: self.scheme,
            uids: &self.broker.uids,
            listen: self.args.listen.min(Duration::from_secs(600)),
        };
        let scheme = topics::check(report, access, welcome.version, &wanted).await;
        if self.args.no_publish {
            report.skip(&trial::CHECKS, "--no-publish is given");
            return;
        }
        let Some(topic) = own_topic(&scheme, self.partner) else {
            report.skip(&trial::CHECKS, "the topic would be too long");
            return;
        };
        let trial = Trial {
            access,
            version: welcome.version,
            welcome: &welcome.properties,
            topic: &topic,
        };
        trial.check(report).await;
    }
}

/// Where a partner publishes, for a vehicle that does not exist.
fn own_topic(scheme: &TopicScheme, uid: &Uid) -> Option<String> {
    let vin = Vin::parse(OWN_VIN).ok()?;
    let topic = scheme
        .publish_topic(Direction::Downlink, uid, &vin, None)
        .ok()?;
    Some(topic.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::session::BESIDE;
    use super::*;

    #[test]
    fn the_own_topic_is_one_that_a_partner_publishes_on_for_no_vehicle() {
        let topic = own_topic(&TopicScheme::default(), &Uid::parse("me").unwrap());
        let expected = "psa/OVIPPartners-Dev/to/uid/me/opa/VINBUSDOCTOR00000/";
        assert_eq!(topic.as_deref(), Some(expected));
        assert!(OWN_VIN.contains(['I', 'O', 'Q']), "a VIN has none of them");
    }

    #[test]
    fn a_client_id_is_new_and_one_that_every_broker_takes() {
        let (one, other) = (client_id().unwrap(), client_id().unwrap());
        assert_ne!(one, other);
        assert!(one.len() + BESIDE.len() <= 23, "{one}");
    }
}
