//! Webhooks: uplink messages delivered to a partner's HTTP endpoint, at least once and in order, as
//! the Standard Webhooks specification says (<https://www.standardwebhooks.com>).
//!
//! Each webhook has a task of its own and at most one request on its way; so an endpoint that is
//! slow or down delays nobody but itself. What was delivered is noted in the store, and after a
//! restart delivery goes on behind it.
//!
//! A partner's webhook leads to the public internet only, unless the operator allows more: `target`
//! checks it, `clients` connect there. `secret` signs, `body` writes what is sent, `delivery` is the task of one webhook.

mod public_address;
mod target;

mod clients;
mod secret;

mod body;

mod delivery;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use vinbus_protocol::id::Uid;

use self::clients::Clients;
use self::delivery::{Delivery, Figures, Means};
use self::secret::Secret;
use self::target::PublicResolver;
use crate::metrics::Metrics;
use crate::model::{Cursor, MessageId, Webhook};
use crate::store::awaited::{read, written};
use crate::store::{Store, StoreError};

/// A webhook to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to deliver: `https`, or `http` on this machine, without user information.
    pub url: String,
    /// Whose messages: a partner's, or everybody's.
    pub uid: Option<Uid>,
    /// A signing secret, `whsec_` and base64 of 24 to 64 bytes; `None` makes a random one.
    pub secret: Option<String>,
    /// It may lead to addresses that are not public.
    pub private_allowed: bool,
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
    /// There is one already that delivers the same messages to the same URL.
    #[error(
        "webhook {id} delivers the same messages to this URL already; remove it first for one with a \
         new secret, or from the newest message on"
    )]
    Exists {
        /// The one that there is.
        id: String,
    },
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

/// The patience of deliveries, and how far they reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// An endpoint has to answer within this time.
    pub answer_time_max: Duration,
    /// Least delay before a failed delivery is tried again, in milliseconds.
    pub retry_delay_ms_min: u32,
    /// Longest delay before a failed delivery is tried again, in milliseconds.
    pub retry_delay_ms_max: u32,
    /// Every webhook may lead to addresses that are not public.
    pub private_allowed: bool,
}

impl Default for DeliverySettings {
    /// 15 seconds to answer; retries after 1 second at first, 5 minutes at last; public addresses.
    fn default() -> Self {
        Self {
            answer_time_max: Duration::from_secs(15),
            retry_delay_ms_min: 1_000,
            retry_delay_ms_max: 300_000,
            private_allowed: false,
        }
    }
}

/// The deliveries of all webhooks.
pub(crate) struct Deliveries {
    /// Webhooks at most, and so requests on their way at the same time.
    webhooks_max: usize,
    means: Arc<Means>,
    resolver: PublicResolver,
    changes: watch::Receiver<Cursor>,
    tasks: Mutex<HashMap<String, JoinHandle<()>>>,
    stopping: watch::Sender<bool>,
}

impl Deliveries {
    /// Starts the deliveries of the webhooks that the store knows.
    pub(crate) fn start(
        store: Arc<dyn Store>,
        changes: watch::Receiver<Cursor>,
        webhooks_max: usize,
        settings: DeliverySettings,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        let webhooks = store.webhooks()?;
        let resolver = PublicResolver::new(metrics.counter(
            "vinbus_webhook_blocked_total",
            "Webhooks not made and connections of deliveries not opened because they would have led \
             to an address that is not public.",
            &[],
        ));
        let means = Arc::new(Means {
            store,
            clients: Clients::new(settings, resolver.clone())?,
            settings,
            figures: Figures::new(metrics),
        });
        let mut deliveries = Self {
            webhooks_max,
            means,
            resolver,
            changes,
            tasks: Mutex::default(),
            stopping: watch::Sender::new(false),
        };
        for webhook in webhooks {
            if let Some(secret) = Secret::parse(&webhook.secret) {
                let id = webhook.id.clone();
                let task = deliveries.spawn(webhook, secret);
                deliveries.tasks.get_mut().insert(id, task);
            } else {
                tracing::error!(
                    id = webhook.id,
                    "a webhook without a usable secret is not served"
                );
            }
        }
        Ok(deliveries)
    }

    pub(crate) async fn add(&self, new: NewWebhook) -> Result<Webhook, WebhookError> {
        let url = target::parse(&new.url)?;
        let private_allowed = new.private_allowed || self.means.settings.private_allowed;
        if !private_allowed {
            let checked = self.resolver.check(&url).await;
            checked.map_err(|blocked| WebhookError::Url {
                detail: blocked.to_string(),
            })?;
        }
        let (id, random) = MessageId::new_at(SystemTime::now())
            .zip(Secret::random())
            .ok_or_else(|| StoreError::Failed {
                detail: "the system has no random numbers".to_owned(),
            })?;
        let text = new.secret.unwrap_or(random);
        let secret = Secret::parse(&text).ok_or(WebhookError::Secret)?;
        let mut tasks = self.tasks.lock().await;
        let store = Arc::clone(&self.means.store);
        let made = read(move || store.webhooks()).await?;
        let is_same = |made: &&Webhook| {
            made.uid == new.uid && target::parse(&made.url).is_ok_and(|made| made == url)
        };
        if let Some(same) = made.iter().find(is_same) {
            let id = same.id.clone();
            return Err(WebhookError::Exists { id });
        }
        if tasks.len() >= self.webhooks_max {
            return Err(WebhookError::TooMany {
                max: self.webhooks_max,
            });
        }
        let webhook = Webhook {
            id: format!("wh_{id}"),
            url: new.url,
            uid: new.uid,
            secret: text,
            cursor: *self.changes.borrow(),
            disabled: false,
            private_allowed: new.private_allowed,
        };
        written(self.means.store.add_webhook(webhook.clone())).await?;
        let task = self.spawn(webhook.clone(), secret);
        tasks.insert(webhook.id.clone(), task);
        Ok(webhook)
    }

    pub(crate) async fn remove(&self, id: &str) -> Result<bool, StoreError> {
        let mut tasks = self.tasks.lock().await;
        let removed = written(self.means.store.remove_webhook(id)).await?;
        if let Some(task) = tasks.remove(id) {
            task.abort();
        }
        Ok(removed)
    }

    /// Ends all deliveries and notes what was delivered.
    pub(crate) async fn shutdown(&self) {
        self.stopping.send_replace(true);
        for (_, task) in self.tasks.lock().await.drain() {
            // A panic of a task was printed by itself.
            let _ = task.await;
        }
    }

    fn spawn(&self, webhook: Webhook, secret: Secret) -> JoinHandle<()> {
        let delivery = Delivery::new(Arc::clone(&self.means), webhook, secret);
        tokio::spawn(delivery.run(self.changes.clone(), self.stopping.subscribe()))
    }
}
