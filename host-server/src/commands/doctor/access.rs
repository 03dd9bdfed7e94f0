//! Where the broker is, who we are there, and how long all of it may take.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;
use vinbus_transport_std::{BrokerUrl, Identity, Pem, TlsOptions};

use super::fault::Fault;
use super::{DoctorError, token};
use crate::config::ExternalBroker;

/// How many answers the whole look may wait for in vain, beside the time to listen.
const STEPS_MAX: u32 = 24;

/// What the client id of a second session ends with.
pub(super) const BESIDE: &str = "b";

/// Who we are to the broker. Not `Debug`: all of it may be secret.
pub(super) enum Login {
    Nobody,
    User {
        name: String,
        password: String,
    },
    /// A client of the bus.
    Token(String),
}

impl Login {
    /// What CONNECT says.
    pub(super) fn credentials(&self) -> Option<(&str, &str)> {
        match self {
            Self::Nobody => None,
            Self::User { name, password } => Some((name, password)),
            // A broker of the bus takes any password that is not empty.
            Self::Token(token) => Some((token, token::PASSWORD)),
        }
    }

    pub(super) fn token(&self) -> Option<&str> {
        match self {
            Self::Token(token) => Some(token),
            Self::Nobody | Self::User { .. } => None,
        }
    }
}

/// See the module. Not `Debug`: it holds the password.
pub(super) struct Access {
    pub(super) url: BrokerUrl,
    pub(super) tls: TlsOptions,
    /// A new one each time, so that no session of anybody is taken over.
    pub(super) client_id: String,
    pub(super) login: Login,
    /// The file with our own certificate.
    pub(super) certificate: Option<PathBuf>,
    /// For one answer.
    pub(super) step: Duration,
    /// For all of it.
    pub(super) whole: Duration,
    end: Instant,
    /// Where streams lead to in place of the network.
    #[cfg(test)]
    pub(super) peers: Option<tokio::sync::mpsc::UnboundedSender<tokio::io::DuplexStream>>,
}

impl Access {
    /// The look begins now.
    pub(super) fn new(
        broker: &ExternalBroker,
        login: Login,
        step: Duration,
        listen: Duration,
    ) -> Result<Self, DoctorError> {
        let identity = broker.identity.as_ref();
        let whole = step * STEPS_MAX + listen;
        Ok(Self {
            url: broker.url.clone(),
            tls: TlsOptions {
                ca: broker.ca.clone().map(Pem::File),
                identity: identity.map(|(certificate, key)| Identity {
                    certificate: Pem::File(certificate.clone()),
                    key: Pem::File(key.clone()),
                }),
            },
            client_id: client_id()?,
            login,
            certificate: identity.map(|(certificate, _)| certificate.clone()),
            step,
            whole,
            end: Instant::now() + whole,
            #[cfg(test)]
            peers: None,
        })
    }

    /// Who we are to the broker, without secrets.
    pub(super) fn who(&self) -> String {
        match &self.login {
            Login::Nobody => "a client without user name".to_owned(),
            Login::User { name, .. } => format!("user {name:?}"),
            Login::Token(_) => "the token".to_owned(),
        }
    }

    /// Until when the next answer has to be there.
    pub(super) fn deadline(&self) -> Instant {
        self.not_after_end(Instant::now() + self.step)
    }

    /// `time`, or when all of it is over, if that is earlier.
    pub(super) fn not_after_end(&self, time: Instant) -> Instant {
        time.min(self.end)
    }

    /// What it means that a deadline has passed.
    pub(super) fn late(&self) -> Fault {
        if Instant::now() >= self.end {
            Fault::Over { whole: self.whole }
        } else {
            let (step, welcomed) = (self.step, false);
            Fault::Silent { step, welcomed }
        }
    }
}

/// Short enough for every broker.
fn client_id() -> Result<String, DoctorError> {
    let random: Result<ring::rand::Random<[u8; 4]>, _> =
        ring::rand::generate(&ring::rand::SystemRandom::new());
    let bytes = random.map_err(|_| DoctorError::Random)?.expose();
    Ok(format!("vinbus-doc-{:08x}", u32::from_be_bytes(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_id_is_new_and_one_that_every_broker_takes() {
        let (one, other) = (client_id().unwrap(), client_id().unwrap());
        assert_ne!(one, other);
        assert!(one.len() + BESIDE.len() <= 23, "{one}");
    }
}
