//! Carries what vehicles send to the bus: from the log, in its order, at least once.
//!
//! The place in the log is on disk, so that a server that was stopped goes on where it was. A page is
//! published at once and settled in its order; where the bus cannot be reached, the carrier waits and
//! begins again behind what was taken over.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use vinbus_protocol::backoff::Backoff;
use vinbus_transport_std::guards::LogThrottle;

use super::log::{Log, Page};
use super::rules::Rules;
use super::up::{self, UpError};
use super::{BusPort, PortError};
use crate::hub::Hub;
use crate::metrics::{Counter, Metrics};
use crate::model::{Cursor, Uplink};
use crate::store::awaited::{read, written};
use crate::store::{FollowerStore, StoreError};

/// A store that did not tell where to begin is asked again after this time.
const BEGIN_AGAIN: Duration = Duration::from_secs(1);

/// Pauses while the bus cannot be reached.
const PAUSE_MS_MIN: u32 = 200;
const PAUSE_MS_MAX: u32 = 5_000;

/// See the module.
pub(super) struct Carrier {
    hub: Hub,
    store: Arc<dyn FollowerStore>,
    /// What the place in the log is kept as: another bus has another.
    name: String,
    rules: Arc<Rules>,
    port: Arc<dyn BusPort>,
    figures: Figures,
    trouble: LogThrottle,
}

struct Figures {
    carried: Counter,
    refused: Counter,
    lost: Counter,
}

impl Carrier {
    pub(super) fn new(
        hub: Hub,
        store: Arc<dyn FollowerStore>,
        name: String,
        rules: Arc<Rules>,
        port: Arc<dyn BusPort>,
        metrics: &Metrics,
    ) -> Self {
        let of = |outcome| {
            metrics.counter(
                "vinbus_bridge_up_total",
                "Messages of vehicles for the bus, by what became of them.",
                &[("outcome", outcome)],
            )
        };
        Self {
            hub,
            store,
            name,
            rules,
            port,
            figures: Figures {
                carried: of("carried"),
                refused: of("refused"),
                lost: of("lost"),
            },
            trouble: LogThrottle::default(),
        }
    }

    /// Carries until the hub is gone.
    pub(super) async fn run(self) {
        let begin = loop {
            match self.begin().await {
                Ok(cursor) => break cursor,
                Err(error) => {
                    self.log(&error.to_string());
                    tokio::time::sleep(BEGIN_AGAIN).await;
                }
            }
        };
        let mut log = Log::new(self.hub.clone(), begin, self.rules.only_uid_up());
        let mut pauses = Backoff::new(PAUSE_MS_MIN, PAUSE_MS_MAX);
        while let Some(page) = log.page().await {
            let Page {
                messages,
                searched_to,
                lost,
            } = page;
            if lost > 0 {
                self.figures.lost.add(lost);
                tracing::warn!(
                    lost,
                    "messages of vehicles were deleted before they came to the bus"
                );
            }
            let (reached, carried) = self.carry(&messages, searched_to).await;
            log.go_on(reached);
            if carried > 0 || lost > 0 {
                self.note(reached).await;
            }
            if reached < searched_to {
                let pause = pauses.next_delay_ms(spread());
                tokio::time::sleep(Duration::from_millis(u64::from(pause))).await;
            } else {
                pauses.reset();
            }
        }
    }

    /// Where to begin: where the carrier was, or, the first time, at the end of the log.
    async fn begin(&self) -> Result<Cursor, StoreError> {
        let (store, name) = (Arc::clone(&self.store), self.name.clone());
        if let Some(cursor) = read(move || store.follower(&name)).await? {
            return Ok(cursor);
        }
        let end = *self.hub.uplink_changes().borrow();
        written(self.store.note_follower(&self.name, end)).await?;
        Ok(end)
    }

    /// Publishes a page; gives the position up to which all of it was taken over or refused for good,
    /// and how many messages of it were for the bus.
    async fn carry(&self, messages: &[Uplink], searched_to: Cursor) -> (Cursor, usize) {
        let publishing = messages.iter().flat_map(|uplink| {
            let ways = self.rules.carrying(uplink);
            ways.map(move |(rule, up)| async move {
                let published = match up::message(rule, up, uplink) {
                    Ok((topic, payload)) => Ok(self.publish(&topic, payload.into()).await),
                    Err(error) => Err(error),
                };
                (uplink, published)
            })
        });
        let published = join_all(publishing).await;
        let carried = published.len();
        // Why the message that is looked at was refused, by rules before.
        let (mut of, mut reasons) = (None, Vec::new());
        for (uplink, published) in published {
            if of.replace(uplink.cursor) != Some(uplink.cursor) {
                reasons.clear();
            }
            match published {
                Ok(Ok(())) => self.figures.carried.increment(),
                // What follows comes again, and is told of then.
                Ok(Err(PortError::LinkDown)) => {
                    return (Cursor(uplink.cursor.0.saturating_sub(1)), carried);
                }
                Ok(Err(PortError::Refused { detail })) => {
                    self.figures.refused.increment();
                    self.log(&detail);
                }
                Err(error) if reasons.contains(&error.name()) => {}
                Err(error) => {
                    reasons.push(error.name());
                    self.refuse(uplink, &error);
                }
            }
        }
        (searched_to, carried)
    }

    /// Counts and tells that a message is not for the bus: once, however many rules it is of.
    fn refuse(&self, uplink: &Uplink, error: &UpError) {
        self.figures.refused.increment();
        let (vin, uid) = (uplink.message.vin, uplink.message.uid.clone());
        self.hub.tell_refused(vin, uid, error.name(), error);
        if error.is_ordinary() {
            tracing::debug!(%error, "a message of a vehicle is not for this topic");
        } else {
            self.log(&error.to_string());
        }
    }

    async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), PortError> {
        self.port.publish(topic, payload).await
    }

    async fn note(&self, cursor: Cursor) {
        if let Err(error) = written(self.store.note_follower(&self.name, cursor)).await {
            // What was carried is carried again after a restart.
            self.log(&error.to_string());
        }
    }

    fn log(&self, trouble: &str) {
        if let Some(unlogged) = self.trouble.pass(Instant::now()) {
            tracing::warn!(
                trouble,
                unlogged,
                "a message of a vehicle did not come to the bus"
            );
        }
    }
}

/// Spreads pauses; not secret.
pub(super) fn spread() -> u32 {
    let hash = RandomState::new().build_hasher().finish();
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests;
