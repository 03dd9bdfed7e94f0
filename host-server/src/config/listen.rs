//! Where a listener listens: an address with a port, or nowhere.

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// An address to listen at, or `off`. Port 0 lets the system choose a free port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum Listen {
    /// Do not listen.
    Off,
    /// Listen here.
    At(SocketAddr),
}

/// Like [`Listen`], but only at an address that other machines cannot reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct LocalListen(Listen);

impl Listen {
    /// The address, unless off.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        match self {
            Self::Off => None,
            Self::At(address) => Some(address),
        }
    }
}

impl LocalListen {
    /// The address, unless off.
    #[must_use]
    pub fn address(self) -> Option<SocketAddr> {
        self.0.address()
    }
}

/// Why a text is no address to listen at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It is a port without an address.
    #[error(
        "expected an IP address before the port: 127.0.0.1:{0} for this machine alone, 0.0.0.0:{0} \
         for all its networks"
    )]
    PortAlone(u16),
    /// It is something else.
    #[error("expected an IP address with a port, such as 127.0.0.1:8080 or [::1]:0")]
    Form,
}

/// An address with its port.
pub(super) fn address(text: &str) -> Result<SocketAddr, AddressError> {
    text.parse()
        .map_err(|_| match text.trim_start_matches(':').parse() {
            Ok(port) => AddressError::PortAlone(port),
            Err(_) => AddressError::Form,
        })
}

/// An address with its port, from the configuration file.
pub(super) fn deserialize_address<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(from)?;
    address(&text).map(Some).map_err(serde::de::Error::custom)
}

/// Why a text says nowhere to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListenError {
    /// It is no address with a port.
    #[error("{0}, or `off`")]
    Address(AddressError),
    /// Other machines can reach the address.
    #[error(
        "plain MQTT carries passwords in clear text, so it listens on loopback only, such as \
         127.0.0.1:1883; other machines connect by mqtts"
    )]
    NotLoopback,
}

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        match text {
            "off" => Ok(Self::Off),
            _ => address(text).map(Self::At).map_err(ListenError::Address),
        }
    }
}

impl FromStr for LocalListen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let listen: Listen = text.parse()?;
        match listen.address() {
            Some(address) if !address.ip().is_loopback() => Err(ListenError::NotLoopback),
            _ => Ok(Self(listen)),
        }
    }
}

impl TryFrom<String> for Listen {
    type Error = ListenError;

    fn try_from(text: String) -> Result<Self, ListenError> {
        text.parse()
    }
}

impl TryFrom<String> for LocalListen {
    type Error = ListenError;

    fn try_from(text: String) -> Result<Self, ListenError> {
        text.parse()
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_mqtt_is_refused_where_other_machines_reach_it() {
        let parse = |text: &str| text.parse::<LocalListen>();
        assert_eq!(parse("0.0.0.0:1883"), Err(ListenError::NotLoopback));
        assert_eq!(parse("192.0.2.1:1883"), Err(ListenError::NotLoopback));
        assert!(parse("127.0.0.1:0").is_ok());
        assert!(parse("[::1]:1883").is_ok());
        assert_eq!(parse("off").unwrap().address(), None);
    }

    #[test]
    fn an_address_needs_its_port() {
        let form = ListenError::Address(AddressError::Form);
        assert_eq!("127.0.0.1".parse::<Listen>(), Err(form));
        for text in ["8080", ":8080"] {
            let shown = address(text).unwrap_err().to_string();
            assert!(shown.contains("127.0.0.1:8080"), "{shown}");
        }
    }
}
