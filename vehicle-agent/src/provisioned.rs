//! What makes a board one vehicle: a block of bytes in its memory that names the vehicle, its apps,
//! its broker and its credentials. One image of the firmware serves all vehicles.
//!
//! `vehicle-agent provision` writes a block, the board reads it when it starts. All numbers are
//! little-endian:
//!
//! | offset | bytes | what |
//! |---|---|---|
//! | 0 | 8 | `VINBUS` and two bytes that no text has: 0xB1 0x0C |
//! | 8 | 4 | version: [`VERSION`] |
//! | 12 | 4 | length of the body |
//! | 16 | 4 | CRC-32 of the body (that of Ethernet and zlib) |
//! | 20 | | the body: fields, each of 1 byte that says which, 2 bytes for its length, and its value |
//!
//! A reader takes a block whole or not at all. It refuses a field that it does not know, because a
//! writer that adds one raises the version.

mod fields;
mod read;
mod write;

use core::fmt;

use heapless::Vec;

use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::topic::TopicScheme;
use vinbus_transport_embedded::{AddressError, StaticAddress};

use crate::app_page::AppPage;

pub use fields::Field;

/// The version of the format. A block that says nothing that came with it has the oldest version that says
/// all of it, so that older firmware reads it.
pub const VERSION: u32 = 3;

/// The version before, which has no titles of apps.
const VERSION_WITHOUT_TITLES: u32 = 2;

/// The oldest version that is read, and has all fields but [`Field::AppUrl`].
pub const OLDEST_VERSION: u32 = 1;

/// Apps that a block has room for.
pub const APPS_MAX: usize = 8;

/// Longest block, in bytes.
pub const BLOCK_BYTES_MAX: usize = 16 * 1024;

const MAGIC: [u8; 8] = *b"VINBUS\xB1\x0C";
const HEADER_BYTES: usize = 20;

/// What a block says. `Debug` shows neither password nor key.
#[derive(Clone, Debug)]
pub struct Provisioned<'b> {
    /// The vehicle.
    pub vin: Vin,
    /// Its apps, each with the partner that it belongs to; at least one.
    pub apps: Vec<(AppId, Uid), APPS_MAX>,
    /// The pages of these apps, in the same order, of those that have any.
    pub pages: [Option<AppPage<'b>>; APPS_MAX],
    /// How topics are spelled.
    pub scheme: TopicScheme,
    /// Whether it hears subtopics of its own topic as well.
    pub subtree: bool,
    /// Where the broker is.
    pub broker: Broker<'b>,
    /// How to speak TLS with it; `None`: plain MQTT.
    pub tls: Option<Tls<'b>>,
    /// User name and password, where the broker asks for them.
    pub login: Option<Login<'b>>,
    /// How the board gets its address.
    pub network: Network,
    /// A server of SNTP to ask for the time; `None`: the board has a clock of its own.
    pub time_server: Option<TimeServer<'b>>,
}

/// Where the broker is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Broker<'b> {
    /// A DNS name or an IPv4 address. With TLS, the broker's certificate has to name it.
    pub host: &'b str,
    /// The TCP port.
    pub port: u16,
}

/// How to speak TLS with the broker. `Debug` does not show the key.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Tls<'b> {
    /// The authority that the broker's certificate has to be of, as DER.
    pub authority: &'b [u8],
    /// The vehicle's certificate, as DER.
    pub certificate: &'b [u8],
    /// Its private key, as DER of PKCS #8; P-256.
    pub key: &'b [u8],
}

/// User name and password. `Debug` does not show the password.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Login<'b> {
    /// The user name.
    pub user_name: &'b str,
    /// The password.
    pub password: &'b [u8],
}

/// A server of SNTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeServer<'b> {
    /// A DNS name or an IPv4 address.
    pub host: &'b str,
    /// The UDP port.
    pub port: u16,
}

impl<'b> TimeServer<'b> {
    /// The port of time servers, where none is named.
    pub const PORT: u16 = 123;

    /// Reads `HOST` or `HOST:PORT`; `None` if it is neither.
    #[must_use]
    pub fn parse(text: &'b str) -> Option<Self> {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
            None => (text, Self::PORT),
        };
        (!host.is_empty()).then_some(Self { host, port })
    }
}

/// How the board gets its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network {
    /// It asks a server of DHCP.
    Dhcp,
    /// It is told. A block has room for one DNS server.
    Static(StaticAddress),
}

impl fmt::Debug for Tls<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Login<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("user_name", &self.user_name)
            .finish_non_exhaustive()
    }
}

/// Why a block is none that this program can use. Provisioning has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProvisionedError {
    /// There is no memory, or it is empty: all its bytes are 0x00 or 0xFF.
    Missing,
    /// It holds something else.
    Foreign,
    /// A newer program wrote it.
    Newer {
        /// The version of its format.
        version: u32,
    },
    /// An older program wrote it.
    Older {
        /// The version of its format.
        version: u32,
    },
    /// It says that its body is longer than there is room.
    Truncated {
        /// Bytes of the body.
        expected: usize,
        /// Bytes that there are.
        found: usize,
    },
    /// Its checksum is wrong, or its version is not the oldest that says all of it.
    Damaged,
    /// A field is missing, comes twice, or holds what it cannot hold.
    Field(Field),
    /// The address is none that a board could use.
    Address(AddressError),
    /// A field that this version does not have.
    UnknownField {
        /// The byte that says which.
        tag: u8,
    },
}

impl fmt::Display for ProvisionedError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing => f.write_str("there is none; write one with `vehicle-agent provision`"),
            Self::Foreign => f.write_str("what is there is no block of vinbus; write one"),
            Self::Newer { version } => write!(
                f,
                "a newer program wrote it: its version is {version}, this firmware reads {VERSION}; \
                 update the firmware"
            ),
            Self::Older { version } => write!(
                f,
                "an older program wrote it: its version is {version}, this firmware reads \
                 {VERSION}; write it again with the `vehicle-agent provision` of this firmware"
            ),
            Self::Truncated { expected, found } => write!(
                f,
                "it is cut off: {expected} bytes were written, {found} are there; write it again"
            ),
            Self::Damaged => {
                f.write_str("it is damaged: its checksum or its version is wrong; write it again")
            }
            Self::Field(field) => {
                write!(
                    f,
                    "its {field} is missing, twice there or wrong; write it again"
                )
            }
            Self::Address(error) => {
                write!(f, "its address cannot be used: {error}; write it again")
            }
            Self::UnknownField { tag } => write!(f, "its field {tag} is unknown; write it again"),
        }
    }
}

impl core::error::Error for ProvisionedError {}

/// A block would be longer than the memory that it is written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoRoom;

impl fmt::Display for NoRoom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the block is longer than there is room")
    }
}

impl core::error::Error for NoRoom {}

#[cfg(test)]
mod tests;
