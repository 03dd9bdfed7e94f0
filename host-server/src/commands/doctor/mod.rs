//! `doctor`: looks at a broker as a partner would, and says what to change.
//!
//! It goes from the outside in: name and TCP, certificates, TLS, WebSocket, versions and login (`line`),
//! subscriptions and topic profile (`topics`), then what becomes of messages (`trial`). Each exchange
//! has a deadline and all together have one, so it always ends with a report. It uses clean sessions
//! only, and publishes on one topic of its own.

mod access;
mod certificates;
mod fault;
mod files;
mod line;
mod packets;
mod port;
mod reason;
mod report;
mod session;
#[cfg(test)]
mod tests;
mod token;
mod topics;
mod trial;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};

use self::access::{Access, Login};
use self::packets::Version;
use self::report::{Report, Verdict};
use self::topics::Wanted;
use self::trial::Trial;
use super::print;
use crate::cli::DoctorArgs;
use crate::config::{self, BrokerChoice, Config, ConfigError, ExternalBroker, MqttVersion};

/// No vehicle's: a VIN has no I and no O (ISO 3779).
const OWN_VIN: &str = "VINBUSDOCTOR00000";

/// Why there is no clean bill of health.
#[derive(Debug, thiserror::Error)]
pub enum DoctorError {
    /// The options are wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// No broker is named.
    #[error("no broker is named: give --broker, or --config with a file that names one")]
    NoBroker,
    /// A token where all can see it.
    #[error(
        "the user name is a token, which other users of this machine can see on the command line: give \
         it in a file, by --token-file"
    )]
    TokenAsUser,
    /// A file that was named cannot be read.
    #[error("{option}: {} cannot be read: {source}", path.display())]
    File {
        /// What named it.
        option: &'static str,
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
    /// Whether nobody has seen a report.
    #[must_use]
    pub fn is_without_report(&self) -> bool {
        !matches!(self, Self::Failed { .. })
    }
}

/// Looks, prints the report, and fails if a check did.
///
/// # Errors
/// A [`DoctorError`].
pub async fn run(args: DoctorArgs) -> Result<(), DoctorError> {
    let name = args.broker_username.as_deref();
    if name.is_some_and(token::is_one) {
        return Err(DoctorError::TokenAsUser);
    }
    let config = config::load(args.serve_options()).map_err(in_own_options)?;
    let report = look(&config, &args).await?;
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

/// With the names that the help gives to the options of this command.
fn in_own_options(error: ConfigError) -> ConfigError {
    let own = |option| match option {
        "broker-cert" => "cert",
        "broker-key" => "key",
        "broker-username" => "user",
        "broker-password-file" => "password-file",
        other => other,
    };
    match error {
        ConfigError::Incomplete { given, missing } => ConfigError::Incomplete {
            given: own(given),
            missing: own(missing),
        },
        other => other,
    }
}

async fn look(config: &Config, args: &DoctorArgs) -> Result<Report, DoctorError> {
    let BrokerChoice::External(broker) = &config.broker else {
        return Err(DoctorError::NoBroker);
    };
    files::readable(broker)?;
    let login = login(broker, args)?;
    let patient = Patient {
        access: &Access::new(broker, login, args.timeout, args.listen)?,
        broker,
        scheme: &config.scheme,
        partner: &config.partner,
        args,
    };
    let mut report = Report::of(broker.url.to_string());
    patient.look(&mut report).await;
    report.complete(&patient.checks());
    Ok(report)
}

fn login(broker: &ExternalBroker, args: &DoctorArgs) -> Result<Login, DoctorError> {
    if let Some(file) = &args.token_file {
        return Ok(Login::Token(files::secret_in("--token-file", file)?));
    }
    match &broker.credentials {
        None => Ok(Login::Nobody),
        Some((name, file)) => Ok(Login::User {
            name: name.clone(),
            password: files::secret_in("--password-file", file)?,
        }),
    }
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
    /// All that a look at such a broker by such a client consists of, in order.
    fn checks(&self) -> Vec<&'static str> {
        let is_token = self.access.login.token().is_some();
        let mut checks = vec![
            "name",
            "tcp",
            "server-certificate",
            "own-certificate",
            "clock",
        ];
        checks.extend(is_token.then_some("token"));
        checks.push("tls");
        let is_web_socket = self.access.url.scheme().is_web_socket();
        checks.extend(is_web_socket.then_some("websocket"));
        checks.extend(["mqtt-5", "mqtt-3.1.1", "login"]);
        checks.extend_from_slice(match is_token {
            true => &["subscribe"],
            false => &topics::CHECKS,
        });
        checks.extend(trial::CHECKS);
        checks
    }

    async fn look(&self, report: &mut Report) {
        let access = self.access;
        let Some(tcp) = line::tcp(report, access).await else {
            return;
        };
        // A client of the bus has no UID.
        let token = access.login.token();
        let uid = token.is_none().then(|| self.partner.as_str());
        let unusable = files::unusable(access);
        let own = line::certificates(report, access, tcp, uid, unusable.as_ref()).await;
        if let Some(token) = token {
            token::check(report, token);
        }
        if let Some(unusable) = unusable {
            if !unusable.is_own {
                report.failed("tls", unusable.value, unusable.advice);
            }
            return;
        }
        self.look_inside(report, own.as_deref()).await;
    }

    /// What is to be seen once the way to the broker is known. `own` is the CN of our certificate.
    async fn look_inside(&self, report: &mut Report, own: Option<&str>) {
        let access = self.access;
        let preferred = match self.broker.version {
            MqttVersion::V5 => Version::V5,
            MqttVersion::V311 => Version::V311,
        };
        let welcome = line::login(report, access, preferred, own).await;
        let Some(welcome) = welcome else {
            return;
        };
        if access.login.token().is_some() {
            topics::check_bus(report, access, welcome.version, &self.args.filters()).await;
            report.skip(
                &trial::CHECKS,
                "what a client of the bus publishes reaches other applications",
            );
            return;
        }
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
            limits: &welcome.limits,
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
