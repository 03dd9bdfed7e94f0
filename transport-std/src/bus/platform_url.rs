//! Where a platform is, and from that where its parts are.

use std::fmt;
use std::str::FromStr;

use reqwest::Url;

use crate::url::BrokerUrl;

/// The address of a platform: `http://` or `https://`, a host, and a port if it is not the usual one.
/// No user name, since URLs end up in logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlatformUrl(Url);

/// Why a text is not the address of a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the address of a platform: {reason}; write it like http://localhost:8080")]
pub struct PlatformUrlError {
    text: String,
    reason: String,
}

impl PlatformUrl {
    /// Below the platform, with `path` beginning with a slash.
    pub(super) fn at(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        url.set_path(path);
        url
    }

    pub(super) fn is_tls(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The platform's own broker: WebSocket at `/mqtt`, on the same host and port.
    #[must_use]
    pub fn broker(&self) -> BrokerUrl {
        let scheme = if self.is_tls() { "wss" } else { "ws" };
        let host = self.0.host_str().unwrap_or_default();
        let port = self.0.port_or_known_default().unwrap_or_default();
        format!("{scheme}://{host}:{port}/mqtt")
            .parse()
            .expect("the host and port of a URL are those of a broker's")
    }
}

impl FromStr for PlatformUrl {
    type Err = PlatformUrlError;

    fn from_str(text: &str) -> Result<Self, PlatformUrlError> {
        let wrong = |reason: &str| PlatformUrlError {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        let url: Url = text
            .parse()
            .map_err(|error| wrong(&format!("it is no URL ({error})")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(wrong("its scheme is neither http nor https"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            // The text is shown, so it is left out here.
            return Err(PlatformUrlError {
                text: format!("{}://…", url.scheme()),
                reason: "it holds a user name or password".to_owned(),
            });
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("something follows the host and port"));
        }
        Ok(Self(url))
    }
}

impl fmt::Display for PlatformUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broker_is_found_from_the_platform() {
        for (platform, broker) in [
            ("http://localhost:8080", "ws://localhost:8080/mqtt"),
            ("https://bus.example/", "wss://bus.example:443/mqtt"),
            ("http://[::1]:80", "ws://[::1]:80/mqtt"),
        ] {
            let url: PlatformUrl = platform.parse().unwrap();
            assert_eq!(url.broker().to_string(), broker);
            assert_eq!(
                url.to_string().trim_end_matches(":80"),
                platform.trim_end_matches(['/']).trim_end_matches(":80")
            );
        }
    }

    #[test]
    fn address_that_cannot_be_one_is_refused_without_its_password() {
        for text in [
            "",
            "localhost:8080",
            "ws://localhost/mqtt",
            "http://localhost/api",
        ] {
            assert!(text.parse::<PlatformUrl>().is_err(), "{text}");
        }
        let error = "http://me:geheim@localhost"
            .parse::<PlatformUrl>()
            .unwrap_err();
        assert!(!error.to_string().contains("geheim"), "{error}");
    }
}
