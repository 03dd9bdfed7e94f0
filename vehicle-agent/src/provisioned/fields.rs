//! The fields of a block, and the bytes that name them.

use core::fmt;

/// A field of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    /// The 17 characters.
    Vin = 1,
    /// The length of an app's identifier in one byte, the identifier, the UID. Once for each app.
    App = 2,
    /// The byte of the profile (0: table, 1: sample), then the prefix.
    Scheme = 3,
    /// Empty: subtopics are heard.
    Subtree = 4,
    /// The port in two bytes, then the host.
    Broker = 5,
    /// DER.
    Authority = 6,
    /// DER.
    Certificate = 7,
    /// DER of PKCS #8.
    Key = 8,
    /// Text.
    UserName = 9,
    /// Bytes.
    Password = 10,
    /// Address, bits of the prefix, gateway and name server, where 0.0.0.0 stands for none. Without
    /// this field: DHCP.
    StaticAddress = 11,
    /// The host; and a colon and the port, if it is not 123.
    TimeServer = 12,
    /// The length of an app's identifier in one byte, the identifier, the address of its page; and a space
    /// and its title, if it has one. Behind the app; since version 2, with a title since version 3.
    AppUrl = 13,
}

impl Field {
    pub(super) const ALL: [Self; 13] = [
        Self::Vin,
        Self::App,
        Self::Scheme,
        Self::Subtree,
        Self::Broker,
        Self::Authority,
        Self::Certificate,
        Self::Key,
        Self::UserName,
        Self::Password,
        Self::StaticAddress,
        Self::TimeServer,
        Self::AppUrl,
    ];

    pub(super) fn of(tag: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|field| *field as u8 == tag)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vin => "VIN",
            Self::App => "app",
            Self::Scheme => "topic scheme",
            Self::Subtree => "hearing of subtopics",
            Self::Broker => "broker",
            Self::Authority => "authority",
            Self::Certificate => "certificate",
            Self::Key => "key",
            Self::UserName => "user name",
            Self::Password => "password",
            Self::StaticAddress => "address",
            Self::TimeServer => "time server",
            Self::AppUrl => "address or title of an app's pages",
        })
    }
}
