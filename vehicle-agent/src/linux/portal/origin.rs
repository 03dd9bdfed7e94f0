//! Which web pages may be apps: those of the portal's own address and those the user allows.
//!
//! A browser sends the `Origin` of a page with every WebSocket, so a page of another site cannot
//! speak for an app of this vehicle. Programs send none and are let in: whoever may run a program
//! here may be an app.

use std::net::SocketAddr;

/// The allowed origins.
#[derive(Debug)]
pub(super) struct Origins(Vec<String>);

/// The name of the machine that a browser runs on.
pub(crate) const LOCALHOST: &str = "localhost";

impl Origins {
    /// The origins of a portal at `address` and of the domain of its apps, and the `allowed` ones.
    pub(super) fn new(address: SocketAddr, domain: &str, allowed: Vec<String>) -> Self {
        let mut origins = vec![format!("http://{address}")];
        let port = address.port();
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            for host in [LOCALHOST, "127.0.0.1", "[::1]"] {
                origins.push(format!("http://{host}:{port}"));
            }
        }
        if domain != LOCALHOST {
            origins.push(format!("http://{domain}:{port}"));
        }
        // Browsers leave away the port that they take by themselves.
        for origin in &mut origins {
            if let Some(host) = origin.strip_suffix(":80") {
                *origin = host.to_owned();
            }
        }
        origins.extend(allowed);
        Self(origins)
    }

    /// This one alone.
    pub(super) fn only(origin: String) -> Self {
        Self(vec![origin])
    }

    /// Those whose pages may have apps in frames: content-security policies know no IPv6 addresses.
    pub(super) fn with_frames(&self) -> impl Iterator<Item = &str> {
        let origins = self.0.iter().map(String::as_str);
        origins.filter(|origin| !origin.contains('['))
    }

    /// Whether a page of this origin may connect.
    pub(super) fn allow(&self, origin: &[u8]) -> bool {
        self.0
            .iter()
            .any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_address_and_allowed_origins_pass() {
        let address = "127.0.0.1:8090".parse().unwrap();
        let origins = Origins::new(address, "car.example", vec!["https://shell.example".into()]);
        for good in [
            "http://127.0.0.1:8090",
            "http://LOCALHOST:8090",
            "http://car.example:8090",
            "https://shell.example",
        ] {
            assert!(origins.allow(good.as_bytes()), "{good}");
        }
        for bad in [
            "http://127.0.0.1:8091",
            "https://localhost:8090",
            "http://evil.example",
            "http://demo.car.example:8090",
            "http://car.example",
            "null",
            "",
        ] {
            assert!(!origins.allow(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn port_that_a_browser_takes_by_itself_is_not_named_in_an_origin() {
        let address = "192.168.1.20:80".parse().unwrap();
        let origins = Origins::new(address, LOCALHOST, Vec::new());
        assert!(origins.allow(b"http://192.168.1.20"));
        // Whose machine that is, is not known here.
        assert!(!origins.allow(b"http://localhost"));
    }
}
