//! Who the client is: user name and password, certificate and key. Both show their public half
//! in `Debug` and never the secret one.

use std::fmt;

use tokio::time::Instant;

use crate::options::OptionsError;
use crate::tls::Pem;

/// An MQTT user name and password.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The MQTT user name.
    pub user_name: String,
    /// The MQTT password.
    pub password: String,
}

impl Credentials {
    /// Whether MQTT can carry them.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        for (name, text) in [("user name", &self.user_name), ("password", &self.password)] {
            if text.len() > usize::from(u16::MAX) {
                let len = text.len();
                return Err(OptionsError::Credential { name, len });
            }
        }
        Ok(())
    }
}

/// What the broker is shown at the next connection.
#[derive(Clone, Debug)]
pub(crate) struct Login {
    pub(crate) credentials: Option<Credentials>,
    /// When they are over, if somebody renews them: then, and when the broker has refused them, there
    /// is no use in connecting before that is done.
    pub(crate) renewed_until: Option<Instant>,
}

impl Login {
    pub(crate) fn is_over(&self) -> bool {
        self.renewed_until
            .is_some_and(|until| until <= Instant::now())
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// A TLS client certificate chain and its private key, both as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, followed by any intermediate certificates.
    pub certificate: Pem,
    /// The private key: PKCS#8, SEC1 or PKCS#1.
    pub key: Pem,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
