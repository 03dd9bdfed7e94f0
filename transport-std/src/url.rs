//! Where the broker is: `mqtt://`, `mqtts://`, `ws://` or `wss://`, a host, a port and, for
//! WebSocket, a path. A URL never carries a user name or password, because URLs end up in logs.

use std::fmt;
use std::str::FromStr;

/// How bytes travel to the broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// Plain TCP, default port 1883.
    Mqtt,
    /// TLS, default port 8883 (the car maker's broker uses 8886: write it in the URL).
    Mqtts,
    /// WebSocket, default port 80.
    Ws,
    /// WebSocket over TLS, default port 443.
    Wss,
}

impl Scheme {
    const ALL: [Self; 4] = [Self::Mqtt, Self::Mqtts, Self::Ws, Self::Wss];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Mqtt => "mqtt",
            Self::Mqtts => "mqtts",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    const fn default_port(self) -> u16 {
        match self {
            Self::Mqtt => 1883,
            Self::Mqtts => 8883,
            Self::Ws => 80,
            Self::Wss => 443,
        }
    }

    /// Whether the connection is encrypted.
    pub const fn is_tls(self) -> bool {
        matches!(self, Self::Mqtts | Self::Wss)
    }

    /// Whether MQTT travels in WebSocket frames.
    pub const fn is_web_socket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }
}

/// The address of a broker, parsed from text such as `mqtts://broker.example:8886` or
/// `ws://127.0.0.1:8080/mqtt`. The WebSocket path is `/mqtt` unless the URL names one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    scheme: Scheme,
    host: String,
    port: u16,
    path: String,
}

impl BrokerUrl {
    /// The scheme.
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The host name or IP address, an IPv6 address without its brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// The path of the WebSocket endpoint, with its leading slash; empty without WebSocket.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `host:port`, with brackets around an IPv6 address.
    pub(crate) fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority(),
            self.path
        )
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::NoScheme)?;
        let scheme = Scheme::ALL
            .into_iter()
            .find(|known| known.as_str().eq_ignore_ascii_case(scheme))
            .ok_or_else(|| UrlError::UnknownScheme(scheme.to_owned()))?;
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(UrlError::Credentials);
        }
        let (host, port) = split_authority(authority)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => scheme.default_port(),
        };
        if host.is_empty() || !host.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Host(host.to_owned()));
        }
        Ok(Self {
            scheme,
            host: host.to_owned(),
            port,
            path: parse_path(scheme, path)?,
        })
    }
}

fn split_authority(authority: &str) -> Result<(&str, Option<&str>), UrlError> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, rest) = rest
            .split_once(']')
            .ok_or_else(|| UrlError::Host(authority.to_owned()))?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err(UrlError::Host(authority.to_owned())),
        };
    }
    match authority.split_once(':') {
        Some((_, port)) if port.contains(':') => Err(UrlError::Host(authority.to_owned())),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((authority, None)),
    }
}

fn parse_port(port: &str) -> Result<u16, UrlError> {
    match port.parse() {
        Ok(0) | Err(_) => Err(UrlError::Port(port.to_owned())),
        Ok(port) => Ok(port),
    }
}

fn parse_path(scheme: Scheme, path: &str) -> Result<String, UrlError> {
    let bare = path.is_empty() || path == "/";
    if !scheme.is_web_socket() {
        return if bare {
            Ok(String::new())
        } else {
            Err(UrlError::Path(path.to_owned()))
        };
    }
    if bare {
        return Ok("/mqtt".to_owned());
    }
    let clean = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if !clean || path.contains('#') {
        return Err(UrlError::Path(path.to_owned()));
    }
    Ok(path.to_owned())
}

/// Why a text is not a broker URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// There is no `://`.
    #[error("a broker URL starts with mqtt://, mqtts://, ws:// or wss://")]
    NoScheme,
    /// The scheme is none of the four.
    #[error("unknown scheme {0:?}: use mqtt://, mqtts://, ws:// or wss://")]
    UnknownScheme(String),
    /// The URL contains `user@` or `user:password@`.
    #[error("a broker URL must not contain a user name or password: give them as credentials")]
    Credentials,
    /// The host is missing or malformed.
    #[error("{0:?} is not a host: write a name, an IPv4 address or [an IPv6 address]")]
    Host(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} is not a port: write a number from 1 to 65535")]
    Port(String),
    /// A path after `mqtt://` or `mqtts://`, or one that is not plain ASCII.
    #[error("unexpected path {0:?}: only ws:// and wss:// URLs have one, in plain ASCII")]
    Path(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(text.parse::<BrokerUrl>().unwrap().to_string(), expected);
    }

    #[test]
    fn every_scheme_has_its_default_port_and_web_socket_its_path() {
        check("mqtt://host", "mqtt://host:1883");
        check("mqtts://host/", "mqtts://host:8883");
        check("ws://host", "ws://host:80/mqtt");
        check("WSS://host/", "wss://host:443/mqtt");
        check("wss://host:8443/a/b?c=d", "wss://host:8443/a/b?c=d");
        check("mqtt://[::1]:5", "mqtt://[::1]:5");
        check("mqtt://[::1]", "mqtt://[::1]:1883");
    }

    #[test]
    fn a_malformed_url_is_refused_with_its_reason() {
        let error = |text: &str| text.parse::<BrokerUrl>().unwrap_err();
        assert_eq!(error("host:1883"), UrlError::NoScheme);
        assert_eq!(error("http://host"), UrlError::UnknownScheme("http".into()));
        assert_eq!(error("mqtt://user:secret@host"), UrlError::Credentials);
        assert_eq!(error("mqtt://"), UrlError::Host(String::new()));
        assert_eq!(error("mqtt://a b"), UrlError::Host("a b".into()));
        assert_eq!(error("mqtt://[::1"), UrlError::Host("[::1".into()));
        assert_eq!(error("mqtt://::1"), UrlError::Host("::1".into()));
        assert_eq!(error("mqtt://host:0"), UrlError::Port("0".into()));
        assert_eq!(error("mqtt://host:65536"), UrlError::Port("65536".into()));
        assert_eq!(error("mqtt://host/topic"), UrlError::Path("/topic".into()));
        assert_eq!(error("ws://host/a b"), UrlError::Path("/a b".into()));
    }
}
