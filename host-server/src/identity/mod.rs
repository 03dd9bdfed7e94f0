//! Who may speak: the development CA, the certificates it issues, and the credentials of partners
//! and of the administrator.
//!
//! [`Identities`] is the data folder's view of all that. Nothing here knows MQTT or HTTP: the
//! broker asks [`Credentials`] whether a user name and password are right, the REST interface asks
//! it whose token it was given. Secrets travel as [`Secret`], which never shows itself.

mod ca;
mod credentials;
mod enroll;
pub(crate) mod files;
mod login_queue;
mod secret;
mod secret_checks;
mod sessions;

pub use ca::{Authority, IssuedCertificate};
pub use credentials::{ADMIN_USER_NAME, Credentials, LoginError};
pub use enroll::{Identities, IdentityError};
pub use files::Existing;
pub use secret::Secret;
pub(crate) use secret::hex;
pub use sessions::{LinkError, SessionEnd, Sessions};

use std::fmt;

use vinbus_protocol::id::{Uid, Vin};

use crate::bus::ClientKey;

/// Who is at the other end of a broker connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A vehicle: the common name of its client certificate.
    Vehicle(Vin),
    /// A partner: user name and password, and on the TLS port a client certificate as well.
    Partner(Uid),
    /// The administrator: the user name [`ADMIN_USER_NAME`] and the administrator's token, and on the
    /// TLS port a client certificate of that name as well.
    Admin,
    /// A client of the bus: a token as the user name.
    BusClient(ClientKey),
}

impl Identity {
    /// What the common name of a client certificate stands for: a vehicle if it is a VIN, the
    /// administrator if it is [`ADMIN_USER_NAME`], else a partner if it is a UID. No UID that is one
    /// of the former is ever enrolled, so they cannot be confused.
    #[must_use]
    pub fn from_common_name(name: &str) -> Option<Self> {
        if name == ADMIN_USER_NAME {
            return Some(Self::Admin);
        }
        match Vin::parse(name) {
            Ok(vin) => Some(Self::Vehicle(vin)),
            Err(_) => Uid::parse(name).ok().map(Self::Partner),
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vehicle(vin) => write!(f, "vehicle {vin}"),
            Self::Partner(uid) => write!(f, "partner {uid}"),
            Self::Admin => f.write_str("admin"),
            Self::BusClient(key) => write!(f, "bus client {key}"),
        }
    }
}
