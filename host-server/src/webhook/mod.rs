//! Webhooks: uplink messages delivered to a partner's HTTP endpoint, at least once and in order, as
//! the Standard Webhooks specification says (<https://www.standardwebhooks.com>).
//!
//! Each webhook has a task of its own and at most one request on its way; so an endpoint that is
//! slow or down delays nobody but itself. What was delivered is noted in the store, and after a
//! restart delivery goes on behind it.
//!
//! `secret` signs, `body` writes what is sent, `delivery` is the task of one webhook.

mod secret;

mod body;

mod delivery;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::Url;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;
use vinbus_protocol::id::Uid;

use self::delivery::{Delivery, Figures, Means};
use self::secret::Secret;
use crate::metrics::Metrics;
use crate::model::{Cursor, MessageId, Webhook};
use crate::store::awaited::written;
use crate::store::{Store, StoreError};

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// A webhook to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct NewWebhook {
    /// Where to deliver: `https`, or `http` on this machine, without user information.
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

/// The patience of deliveries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeliverySettings {
    /// An endpoint has to answer within this time.
    pub answer_time_max: Duration,
    /// Least delay before a failed delivery is tried again, in milliseconds.
    pub retry_delay_ms_min: u32,
    /// Longest delay before a failed delivery is tried again, in milliseconds.
    pub retry_delay_ms_max: u32,
}

impl Default for DeliverySettings {
    /// 15 seconds to answer; retries after 1 second at first, 5 minutes at last.
    fn default() -> Self {
        Self {
            answer_time_max: Duration::from_secs(15),
            retry_delay_ms_min: 1_000,
            retry_delay_ms_max: 300_000,
        }
    }
}

/// The deliveries of all webhooks.
pub(crate) struct Deliveries {
    /// Webhooks at most, and so requests on their way at the same time.
    webhooks_max: usize,
    means: Arc<Means>,
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
        let means = Arc::new(Means {
            store,
            client: client(settings)?,
            settings,
            figures: Figures::new(metrics),
        });
        let mut deliveries = Self {
            webhooks_max,
            means,
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
        check_url(&new.url)?;
        let (id, random) = MessageId::new_at(SystemTime::now())
            .zip(Secret::random())
            .ok_or_else(|| StoreError::Failed {
                detail: "the system has no random numbers".to_owned(),
            })?;
        let text = new.secret.unwrap_or(random);
        let secret = Secret::parse(&text).ok_or(WebhookError::Secret)?;
        let mut tasks = self.tasks.lock().await;
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

/// The client of all deliveries: no redirects, since a signed message is for one endpoint only.
fn client(settings: DeliverySettings) -> Result<reqwest::Client, StoreError> {
    // Somebody else of this process may have chosen the same provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("vinbus/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .timeout(settings.answer_time_max)
            .connect_timeout(settings.answer_time_max)
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

fn check_url(text: &str) -> Result<(), WebhookError> {
    let refuse = |detail: &str| {
        Err(WebhookError::Url {
            detail: detail.to_owned(),
        })
    };
    if text.len() > URL_BYTES_MAX {
        return refuse(&format!(
            "it has {} bytes, at most {URL_BYTES_MAX} are allowed",
            text.len()
        ));
    }
    let url = match Url::parse(text) {
        Ok(url) => url,
        Err(error) => return refuse(&error.to_string()),
    };
    if url.scheme() != "https" && !(url.scheme() == "http" && is_this_machine(&url)) {
        return refuse("it must begin with https://, or with http:// for this machine itself");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it must not hold a user name or password; the signature proves who sends");
    }
    Ok(())
}

/// Whether nobody on the way could read what is sent in the clear.
fn is_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let is_loopback = |address: IpAddr| address.is_loopback();
    host == "localhost" || address.parse().is_ok_and(is_loopback)
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
            assert_eq!(check_url(good), Ok(()), "{good}");
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
            assert!(check_url(bad).is_err(), "{bad}");
        }
    }
}
