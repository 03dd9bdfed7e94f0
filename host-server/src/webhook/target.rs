//! Where a webhook may lead: checked when it is made, and again at every connection.
//!
//! A name is resolved here, its addresses are checked, and the connection goes to one of those: so a
//! name that means another address a moment later leads nowhere else.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use super::WebhookError;
use super::public_address::is_public;
use crate::metrics::Counter;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// Names that are resolved at the same time; more wait. The system resolves on a thread for each.
const LOOKUPS_MAX: usize = 32;

/// Whoever makes a webhook waits this long for the name in its URL. One that is not resolved by then
/// is checked when it is connected to.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(2);

/// A target that is not of the public internet, and is not allowed for that. Where it leads is not
/// told: whoever makes webhooks must not learn the addresses of the server's own network.
#[derive(Debug, thiserror::Error)]
#[error(
    "{host} does not lead to an address of the public internet; the server's operator can allow such \
     webhooks with --webhook-networks any"
)]
pub(super) struct NotPublic {
    host: String,
}

/// Resolves names to addresses of the public internet only.
#[derive(Clone)]
pub(super) struct PublicResolver {
    lookups: Arc<Semaphore>,
    blocked: Counter,
}

impl PublicResolver {
    /// A resolver that counts in `blocked` what it does not let through.
    pub(super) fn new(blocked: Counter) -> Self {
        Self {
            lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)),
            blocked,
        }
    }

    /// Checks the URL of a webhook that is being made.
    pub(super) async fn check(&self, url: &Url) -> Result<(), NotPublic> {
        let host = url.host_str().unwrap_or_default();
        if address_in(host).is_some() {
            return self.check_address(url);
        }
        match tokio::time::timeout(LOOKUP_TIME_MAX, self.addresses(host.to_owned())).await {
            Ok(Ok(addresses)) => self.public_of(host, addresses).map(drop),
            // It may be resolved by the time of the first delivery.
            Ok(Err(_)) | Err(_) => Ok(()),
        }
    }

    /// Checks a URL with an address in place of a name, which needs no resolver.
    pub(super) fn check_address(&self, url: &Url) -> Result<(), NotPublic> {
        let host = url.host_str().unwrap_or_default();
        match address_in(host) {
            Some(address) => self
                .public_of(host, vec![SocketAddr::new(address, 0)])
                .map(drop),
            None => Ok(()),
        }
    }

    /// The public ones of the addresses of `host`.
    fn public_of(
        &self,
        host: &str,
        mut addresses: Vec<SocketAddr>,
    ) -> Result<Vec<SocketAddr>, NotPublic> {
        let leads_nowhere = addresses.is_empty();
        addresses.retain(|address| is_public(address.ip()));
        if addresses.is_empty() && !leads_nowhere {
            self.blocked.increment();
            let host = host.to_owned();
            return Err(NotPublic { host });
        }
        Ok(addresses)
    }

    async fn addresses(&self, host: String) -> std::io::Result<Vec<SocketAddr>> {
        let lookup = Arc::clone(&self.lookups).acquire_owned().await;
        let lookup = lookup.map_err(std::io::Error::other)?;
        // A task of its own: the lookup's place is taken until the system is done with it.
        let resolving = tokio::spawn(async move {
            let _lookup = lookup;
            let addresses = tokio::net::lookup_host((host, 0)).await?;
            Ok(addresses.collect())
        });
        resolving.await.map_err(std::io::Error::other)?
    }
}

impl Resolve for PublicResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str().to_owned()).await?;
            let addresses = resolver.public_of(name.as_str(), addresses)?;
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// Checks what a URL says by itself, and gives it back in its one spelling.
pub(super) fn parse(text: &str) -> Result<Url, WebhookError> {
    let refuse = |detail: String| Err(WebhookError::Url { detail });
    if text.len() > URL_BYTES_MAX {
        return refuse(format!(
            "it has {} bytes, at most {URL_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(error.to_string()),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine(&url)) {
        return refuse(
            "http goes to this machine only, anywhere else it must begin with https://".to_owned(),
        );
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(
            "it must not hold a user name or password; the signature proves who sends".to_owned(),
        );
    }
    Ok(url)
}

/// Whether nobody on the way could read what is sent in the clear.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    host == "localhost" || address_in(host).is_some_and(|address| address.is_loopback())
}

/// The address that the host of a URL is, unless it is a name.
fn address_in(host: &str) -> Option<IpAddr> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_must_be_https_or_this_machine_and_without_credentials() {
        for good in [
            "https://partner.example/hook",
            "https://10.0.0.1/",
            "http://127.0.0.1:80/a?b=c",
            "http://[::1]:80/",
            "http://localhost/",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
        let long = format!("https://a/{}", "x".repeat(URL_BYTES_MAX));
        for bad in [
            "",
            "/path",
            "ftp://a/",
            "file:///etc/passwd",
            "http://",
            "http://partner.example/",
            "http://localhost.partner.example/",
            "https://user@a/",
            "https://:secret@a/",
            &long,
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn targets_that_are_not_public_are_blocked_and_counted_in_every_spelling() {
        let resolver = PublicResolver::new(Counter::default());
        let urls = [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://localhost/",
            "http://localhost:8080/",
        ];
        for url in urls {
            let blocked = resolver.check(&Url::parse(url).unwrap()).await;
            let text = blocked.unwrap_err().to_string();
            assert!(text.contains("--webhook-networks"), "{url}: {text}");
        }
        assert_eq!(resolver.blocked.value(), urls.len() as u64);
        let public = Url::parse("https://1.1.1.1/").unwrap();
        assert!(resolver.check(&public).await.is_ok());
    }

    #[tokio::test]
    async fn name_that_means_this_machine_is_blocked_when_it_is_connected_to() {
        let resolver = PublicResolver::new(Counter::default());
        let resolved = resolver.resolve("localhost".parse().unwrap()).await;
        let error = resolved.err().expect("it is not public");
        assert!(error.downcast_ref::<NotPublic>().is_some(), "{error}");
        assert_eq!(resolver.blocked.value(), 1);
    }
}
