//! Which web pages may be apps: those of the portal's own address and those the user allows.
//!
//! A browser sends the `Origin` of a page with every WebSocket, so a page of another site cannot
//! speak for an app of this vehicle. Programs send none and are let in: whoever may run a program
//! here may be an app.

use std::net::SocketAddr;

/// The allowed origins.
#[derive(Debug)]
pub(super) struct Origins(Vec<String>);

impl Origins {
    /// The origins of a portal at `address`, and the `allowed` ones.
    pub(super) fn new(address: SocketAddr, allowed: Vec<String>) -> Self {
        let mut origins = vec![format!("http://{address}")];
        if address.ip().is_loopback() || address.ip().is_unspecified() {
            let port = address.port();
            for host in ["localhost", "127.0.0.1", "[::1]"] {
                origins.push(format!("http://{host}:{port}"));
            }
        }
        origins.extend(allowed);
        Self(origins)
    }

    /// The origins.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
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
        let origins = Origins::new(address, vec!["https://shell.example".into()]);
        for good in [
            "http://127.0.0.1:8090",
            "http://LOCALHOST:8090",
            "https://shell.example",
        ] {
            assert!(origins.allow(good.as_bytes()), "{good}");
        }
        for bad in [
            "http://127.0.0.1:8091",
            "https://localhost:8090",
            "http://evil.example",
            "null",
            "",
        ] {
            assert!(!origins.allow(bad.as_bytes()), "{bad}");
        }
    }
}
