//! Another platform in place of our own bus: a client of it, whose token renews itself.
//!
//! What it hears is acknowledged to the platform when it is on disk here; a server that is stopped takes
//! nothing more, and acknowledges what it has taken before it takes leave. While there is no connection
//! nothing is lost that waits in the log of what vehicles sent; what programs publish meanwhile, the
//! platform keeps or not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, join_all, ready};
use tokio::sync::watch;
use vinbus_protocol::backoff::Backoff;
use vinbus_transport_std::bus::{BusClient, BusInbox, BusMessage, BusOptions};
use vinbus_transport_std::guards::LogThrottle;
use vinbus_transport_std::{PublishError, SubscribeError};

use super::carrier::spread;
use super::down::DownError;
use super::intake::{Intake, Queued};
use super::rules::Rules;
use super::{BusPort, PortError};
use crate::hub::SubmitError;
use crate::stop::Stop;

/// Pauses between attempts to get the first token.
const PAUSE_MS_MIN: u32 = 1_000;
const PAUSE_MS_MAX: u32 = 60_000;

/// A filter that the platform does not grant is asked for again after this time: its operator may
/// have changed the permissions.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// Messages that go to the disk together, at most.
const BATCH_MESSAGES_MAX: usize = 256;

/// A message that cannot be stored is tried again after this time.
const STORE_AGAIN: Duration = Duration::from_secs(1);

/// Another platform, and who we are there.
#[derive(Clone, Debug)]
pub struct Platform {
    /// How to reach it.
    pub options: BusOptions,
    /// What the place in the log is kept as, for this platform and no other.
    pub name: String,
}

/// The way onto the platform's bus.
pub(super) struct PlatformPort(pub(super) watch::Receiver<Option<BusClient>>);

impl BusPort for PlatformPort {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PortError>> {
        Box::pin(async move {
            let client = self.0.borrow().clone();
            let client = client.ok_or(PortError::LinkDown)?;
            let published = client.publish_on(topic, payload).await;
            published.map_err(|error| match error {
                PublishError::LinkDown
                | PublishError::QueueFull { .. }
                | PublishError::Unconfirmed => PortError::LinkDown,
                PublishError::TooLarge { .. }
                | PublishError::Topic { .. }
                | PublishError::Refused { .. } => PortError::Refused {
                    detail: format!("{topic}: {error}"),
                },
            })
        })
    }
}

/// Connects, and takes in what the rules name, until the word to stop.
pub(super) async fn follow(
    platform: Platform,
    rules: Arc<Rules>,
    intake: Arc<Intake>,
    clients: watch::Sender<Option<BusClient>>,
    mut stop: Stop,
) {
    let (client, inbox) = tokio::select! {
        connected = connect(&platform) => connected,
        () = stop.requested() => return,
    };
    clients.send_replace(Some(client.clone()));
    let filters = rules.iter().filter_map(|rule| {
        let down = rule.down.as_ref()?;
        Some(down.from.filter(rule.app.as_str()))
    });
    let subscribing = async {
        join_all(filters.map(|filter| subscribe(&client, filter))).await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = receive(inbox, &intake, stop) => {}
        () = subscribing => {}
    }
    client.close().await;
}

async fn connect(platform: &Platform) -> (BusClient, BusInbox) {
    let mut pauses = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
    loop {
        match BusClient::connect(platform.options.clone()).await {
            Ok(connected) => return connected,
            Err(error) => {
                let platform = &platform.name;
                tracing::warn!(platform, %error, "the bridge has no token of the platform; will try again");
            }
        }
        let pause = pauses.next_delay_ms(spread());
        tokio::time::sleep(Duration::from_millis(u64::from(pause))).await;
    }
}

async fn subscribe(client: &BusClient, filter: String) {
    loop {
        match client.subscribe_to(&filter).await {
            Ok(()) => {
                return tracing::info!(
                    filter,
                    "the bridge hears what the platform has for vehicles"
                );
            }
            Err(SubscribeError::Closed) => return,
            Err(error) => {
                tracing::error!(filter, %error, "the platform does not grant what the bridge takes for vehicles");
            }
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Takes messages in until the word to stop, each on disk before it is acknowledged. What has come
/// meanwhile goes to the disk together.
async fn receive(mut inbox: BusInbox, intake: &Intake, mut stop: Stop) {
    let trouble = LogThrottle::default();
    loop {
        let first = tokio::select! {
            biased;
            () = stop.requested() => return,
            first = inbox.recv() => first,
        };
        let Some(first) = first else {
            return;
        };
        let mut batch = vec![queued(first, intake).await];
        while batch.len() < BATCH_MESSAGES_MAX
            && let Some(Some(next)) = inbox.recv().now_or_never()
        {
            batch.push(queued(next, intake).await);
        }
        for (message, queued) in batch {
            let mut outcome = queued.await;
            while let Err(DownError::Submit(SubmitError::Store(error))) = &outcome {
                if let Some(unlogged) = trouble.pass(Instant::now()) {
                    tracing::error!(%error, unlogged, "what the platform has for vehicles cannot be stored; will try again");
                }
                tokio::select! {
                    () = tokio::time::sleep(STORE_AGAIN) => {}
                    // The platform may deliver it, and what is behind it, again.
                    () = stop.requested() => return,
                }
                outcome = intake.queue(message.topic(), message.payload()).await.await;
            }
            if let Err(DownError::Submit(SubmitError::Stopping)) = outcome {
                // The platform may deliver it again.
                return;
            }
            if !message.is_retained() {
                intake.settle(message.topic(), message.payload(), &outcome);
            }
            message.ack();
        }
    }
}

/// A message on its way to the disk. One that the platform has kept is not taken: it would be carried out
/// again on each connection.
async fn queued(message: BusMessage, intake: &Intake) -> (BusMessage, Queued) {
    let queued: Queued = match message.is_retained() {
        true => Box::pin(ready(Ok(()))),
        false => intake.queue(message.topic(), message.payload()).await,
    };
    (message, queued)
}
