//! The task of one webhook: reads the log behind its cursor and delivers message by message.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::sync::oneshot::error::TryRecvError;
use tokio::sync::watch;
use vinbus_protocol::backoff::Backoff;
use vinbus_transport_std::guards::LogThrottle;

use super::clients::Clients;
use super::secret::Secret;
use super::{DeliverySettings, body};
use crate::metrics::{Counter, DURATION_BOUNDS_S, Histogram, Metrics};
use crate::model::{Cursor, Uplink, UplinkPage, Webhook};
use crate::store::awaited::{read, written};
use crate::store::{Pending, Store, StoreError};

/// Messages read at once.
const PAGE_MESSAGES: usize = 64;

/// Bytes of an answer's body that are read so that its connection can be used again; a longer one
/// costs its endpoint the connection.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;

/// What all deliveries share.
pub(super) struct Means {
    pub(super) store: Arc<dyn Store>,
    pub(super) clients: Clients,
    pub(super) settings: DeliverySettings,
    pub(super) figures: Figures,
}

/// One webhook and how far it is.
pub(super) struct Delivery {
    means: Arc<Means>,
    webhook: Webhook,
    secret: Secret,
    cursor: Cursor,
    noted: Noted,
    backoff: Backoff,
    log: LogThrottle,
}

/// What an endpoint said to a message.
enum Answer {
    Received,
    Gone,
    Failed(String),
}

impl Delivery {
    pub(super) fn new(means: Arc<Means>, webhook: Webhook, secret: Secret) -> Self {
        let DeliverySettings {
            retry_delay_ms_min,
            retry_delay_ms_max,
            ..
        } = means.settings;
        Self {
            cursor: webhook.cursor,
            noted: Noted::new(webhook.cursor),
            backoff: Backoff::new(retry_delay_ms_min, retry_delay_ms_max),
            log: LogThrottle::default(),
            means,
            webhook,
            secret,
        }
    }

    /// Delivers until the endpoint is gone or the server stops.
    pub(super) async fn run(
        mut self,
        changes: watch::Receiver<Cursor>,
        mut stopping: watch::Receiver<bool>,
    ) {
        if !self.webhook.disabled {
            tokio::select! {
                () = self.follow(changes) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
        self.settle_notes().await;
    }

    async fn follow(&mut self, mut changes: watch::Receiver<Cursor>) {
        loop {
            let end = *changes.borrow_and_update();
            let page = match self.read().await {
                Ok(page) => page,
                Err(error) => {
                    self.failed(&error.to_string()).await;
                    continue;
                }
            };
            if page.lost > 0 {
                self.lost(page.lost);
            }
            if page.messages.is_empty() {
                self.advance(end);
                self.settle_notes().await;
                if changes.changed().await.is_err() {
                    return;
                }
            }
            for uplink in page.messages {
                if !self.deliver(&uplink).await {
                    return;
                }
                self.advance(uplink.cursor);
            }
        }
    }

    async fn read(&self) -> Result<UplinkPage, StoreError> {
        let store = Arc::clone(&self.means.store);
        let (cursor, uid) = (self.cursor, self.webhook.uid.clone());
        read(move || store.uplink_after(cursor, uid.as_ref(), None, PAGE_MESSAGES)).await
    }

    /// Goes on behind messages that were deleted before they could be delivered.
    fn lost(&mut self, count: u64) {
        let (id, cursor) = (&self.webhook.id, self.cursor.0);
        tracing::warn!(
            id,
            cursor,
            count,
            "a webhook lost what was deleted behind its cursor: positions of all partners"
        );
        self.means.figures.lost.add(count);
        self.advance(Cursor(cursor + count));
    }

    /// Delivers a message, however often it takes; says whether the endpoint is still there.
    async fn deliver(&mut self, uplink: &Uplink) -> bool {
        let body = match body::uplink_received(uplink) {
            Ok(body) => Bytes::from(body),
            Err(error) => {
                let cursor = uplink.cursor.0;
                tracing::error!(cursor, %error, "an uplink message cannot be delivered");
                self.means.figures.undeliverable.increment();
                return true;
            }
        };
        loop {
            match self.post(uplink, body.clone()).await {
                Answer::Received => {
                    self.means.figures.delivered.increment();
                    self.backoff.reset();
                    return true;
                }
                Answer::Gone => {
                    self.disable().await;
                    return false;
                }
                Answer::Failed(reason) => {
                    self.means.figures.failed.increment();
                    self.failed(&reason).await;
                }
            }
        }
    }

    async fn post(&self, uplink: &Uplink, body: Bytes) -> Answer {
        let id = format!("uplink-{}", uplink.stamped());
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let timestamp = now.map_or(0, |age| age.as_secs());
        let start = Instant::now();
        let client = match self.means.clients.of(&self.webhook) {
            Ok(client) => client,
            Err(blocked) => return Answer::Failed(blocked.to_string()),
        };
        let request = client
            .post(&self.webhook.url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", self.secret.sign(&id, timestamp, &body))
            .body(body);
        let answer = match request.send().await {
            Ok(response) => answer(response).await,
            // The URL may hold a secret of the partner's.
            Err(error) => Answer::Failed(with_causes(&error.without_url())),
        };
        self.means.figures.seconds.observe_duration(start.elapsed());
        answer
    }

    async fn disable(&self) {
        let id = &self.webhook.id;
        tracing::warn!(id, "a webhook's endpoint answered 410 Gone; it is disabled");
        self.means.figures.gone.increment();
        if let Err(error) = written(self.means.store.disable_webhook(id)).await {
            tracing::error!(id, %error, "it could not be noted that a webhook is disabled");
        }
    }

    /// Logs a failure and waits before the next try.
    async fn failed(&mut self, reason: &str) {
        let mut word = [0; 4];
        // Without randomness the shortest delay is taken; it still doubles with the ceiling's.
        let _ = SystemRandom::new().fill(&mut word);
        let delay_ms = self.backoff.next_delay_ms(u32::from_ne_bytes(word));
        if let Some(unlogged) = self.log.pass(Instant::now()) {
            let id = &self.webhook.id;
            tracing::warn!(
                id,
                reason,
                delay_ms,
                unlogged,
                "a webhook's delivery failed; will try again"
            );
        }
        tokio::time::sleep(Duration::from_millis(u64::from(delay_ms))).await;
    }

    fn advance(&mut self, cursor: Cursor) {
        self.cursor = self.cursor.max(cursor);
        self.noted
            .note(&*self.means.store, &self.webhook.id, self.cursor);
    }

    async fn settle_notes(&mut self) {
        let id = &self.webhook.id;
        if let Err(error) = self.noted.settle(&*self.means.store, id, self.cursor).await {
            tracing::warn!(id, %error, "a webhook's position was not noted; messages may come twice");
        }
    }
}

/// Notes positions without waiting for each: while one note is on its way to the disk, the next is
/// left out, and the last one is made up for by [`Noted::settle`].
struct Noted {
    upto: Cursor,
    pending: Option<(Cursor, Pending<()>)>,
}

impl Noted {
    fn new(upto: Cursor) -> Self {
        Self {
            upto,
            pending: None,
        }
    }

    fn note(&mut self, store: &dyn Store, id: &str, cursor: Cursor) {
        if let Some((noting, pending)) = &mut self.pending {
            match pending.try_recv() {
                Ok(Ok(())) => self.upto = *noting,
                // Tried again with the next one.
                Ok(Err(_)) | Err(TryRecvError::Closed) => {}
                Err(TryRecvError::Empty) => return,
            }
            self.pending = None;
        }
        if cursor > self.upto {
            self.pending = Some((cursor, store.webhook_delivered(id, cursor)));
        }
    }

    async fn settle(
        &mut self,
        store: &dyn Store,
        id: &str,
        cursor: Cursor,
    ) -> Result<(), StoreError> {
        if let Some((noting, pending)) = self.pending.take() {
            written(pending).await?;
            self.upto = noting;
        }
        if cursor > self.upto {
            written(store.webhook_delivered(id, cursor)).await?;
            self.upto = cursor;
        }
        Ok(())
    }
}

async fn answer(mut response: reqwest::Response) -> Answer {
    let status = response.status();
    if response
        .content_length()
        .is_some_and(|length| length <= ANSWER_BYTES_MAX)
    {
        // What it says does not matter, nor whether it says all of it.
        while let Ok(Some(_)) = response.chunk().await {}
    }
    match status {
        StatusCode::GONE => Answer::Gone,
        status if status.is_success() => Answer::Received,
        status => Answer::Failed(format!("the endpoint answered {status}")),
    }
}

/// An error and what it came from; `reqwest` leaves the cause out.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// What deliveries count.
pub(super) struct Figures {
    delivered: Counter,
    failed: Counter,
    gone: Counter,
    undeliverable: Counter,
    lost: Counter,
    seconds: Histogram,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let result = |name| {
            metrics.counter(
                "vinbus_webhook_deliveries_total",
                "Attempts to deliver a message to a webhook, by result.",
                &[("result", name)],
            )
        };
        Self {
            delivered: result("delivered"),
            failed: result("failed"),
            gone: result("gone"),
            undeliverable: result("undeliverable"),
            lost: metrics.counter(
                "vinbus_webhook_lost_total",
                "Positions of the uplink log, of all partners, that were deleted before a webhook \
                 came to them.",
                &[],
            ),
            seconds: metrics.histogram(
                "vinbus_webhook_seconds",
                "Time that endpoints of webhooks took to answer.",
                &DURATION_BOUNDS_S,
                &[],
            ),
        }
    }
}
