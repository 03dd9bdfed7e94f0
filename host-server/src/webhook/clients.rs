//! The HTTP clients of all deliveries: one that connects to public addresses only, one that connects
//! anywhere.

use reqwest::Url;

use super::DeliverySettings;
use super::target::{NotPublic, PublicResolver};
use crate::model::Webhook;
use crate::store::StoreError;

/// The HTTP clients of all deliveries.
pub(super) struct Clients {
    /// Connects to public addresses only.
    public: reqwest::Client,
    /// Connects anywhere.
    any: reqwest::Client,
    resolver: PublicResolver,
    private_allowed: bool,
}

impl Clients {
    /// The clients. A proxy that the environment names is for the one that connects anywhere: behind
    /// a proxy, nobody could check which address is connected to.
    pub(super) fn new(
        settings: DeliverySettings,
        resolver: PublicResolver,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            public: client(settings, |builder| {
                builder.no_proxy().dns_resolver(resolver.clone())
            })?,
            any: client(settings, |builder| builder)?,
            resolver,
            private_allowed: settings.private_allowed,
        })
    }

    /// The client for a webhook; an error where it leads to an address that it may not lead to.
    pub(super) fn of(&self, webhook: &Webhook) -> Result<&reqwest::Client, NotPublic> {
        if self.private_allowed || webhook.private_allowed {
            return Ok(&self.any);
        }
        if let Ok(url) = Url::parse(&webhook.url) {
            self.resolver.check_address(&url)?;
        }
        Ok(&self.public)
    }
}

/// A client of deliveries: no redirects, since a signed message is for one endpoint only.
fn client(
    settings: DeliverySettings,
    reach: impl Fn(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, StoreError> {
    // Somebody else of this process may have chosen the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("vinbus/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.answer_time_max)
            .connect_timeout(settings.answer_time_max);
        reach(builder)
    };
    builder()
        .build()
        .or_else(|error| {
            tracing::warn!(
                %error,
                "this system has no certificate authorities, so webhooks to https fail; install \
                 ca-certificates"
            );
            builder().tls_certs_only([]).build()
        })
        .map_err(|error| StoreError::Failed {
            detail: format!("webhooks have no HTTP client: {error}"),
        })
}
