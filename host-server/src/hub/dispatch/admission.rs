//! Which messages with receipts may go now: a worker that comes to one gives it a number, which goes to the
//! disk in the transaction that takes the message from the unsent, and hands it to the channel.
//!
//! To a vehicle that does not speak delivery it is sent as any other message; to one that is online
//! and has not said yet whether it does, after [`ANNOUNCEMENT_PATIENCE`]. One whose app has no room waits
//! (see `rings`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::DELIVERY_ANNOUNCEMENT_MS;

use super::Dispatch;
use super::places::Place;
use super::receipts::Driven;
use crate::hub::lanes::LaneId;
use crate::model::{Downlink, Presence, Receipts};
use crate::store::awaited::written;
use crate::store::channels::{ChannelChange, Numbered};

/// A vehicle that came online says within this time whether it speaks delivery, or counts as one that
/// does not, if that is not known, or it said so on its connection before: its firmware may be another now.
/// A message that has gone without receipts is told of no more.
const ANNOUNCEMENT_PATIENCE: Duration = Duration::from_millis(DELIVERY_ANNOUNCEMENT_MS);

/// What a worker is to do with a message whose sender asked for receipts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// The vehicle does not speak delivery: send it as any other.
    Ordinary,
    /// It may say that it does, or answer what keeps others back: try again then.
    Until(time::Instant),
    /// The store failed: try again in a little.
    Later,
    /// No message with receipts may go, and the vehicle has answered nothing for long: the lane is woken when one
    /// may.
    Full,
    /// So many messages were looked at, at least one. Those for `full` apps wait until these have room;
    /// the lane is woken then. The others were numbered, and are the channel's from now on.
    Numbered { looked_at: usize, full: Vec<AppId> },
}

impl Dispatch {
    /// Until when a vehicle may be about to make room; `None` where it has been silent for too long.
    pub(super) fn may_answer_until(&self, driven: &Driven) -> Option<time::Instant> {
        let until_ms = driven.lock().may_answer_until_ms(self.now_ms())?;
        Some(self.at(until_ms))
    }

    /// Until when a message without receipts waits at most for those with receipts before it, which have their
    /// numbers and are not sent; `None` if it may go. The lane is woken when they are sent.
    pub(super) fn others_go_first_until(&self, lane: &LaneId) -> Option<time::Instant> {
        let driven = self.loaded(lane)?;
        let until_ms = driven.lock().others_go_first_until_ms(self.now_ms())?;
        Some(self.at(until_ms))
    }

    /// Gives the first messages of a page their numbers, as far as their senders asked for receipts and
    /// their apps have room; up to one for an app that others wait for.
    pub(super) async fn admit(
        self: &Arc<Self>,
        lane: &LaneId,
        page: &[Downlink],
        waiting: &[AppId],
    ) -> Admission {
        if let Some(decided) = self.must_wait(lane) {
            return decided;
        }
        let now = SystemTime::now();
        let asked = page.iter().map_while(|downlink| {
            let message = &downlink.message;
            // Who waits for the answer to a request waits for no app that is slow.
            let is_request = self.requests.is_open(downlink.sequence);
            let is_next = message.receipts != Receipts::No
                && !message.is_long()
                && message.expires_at > now
                && !self.requests.is_cancelled(downlink.sequence)
                && (is_request || !waiting.contains(&message.app));
            is_next.then_some((downlink, is_request))
        });
        let asked: Vec<(&Downlink, bool)> = asked.collect();
        if asked.is_empty() {
            // It has expired, or was cancelled, since the worker looked at it: look again.
            return Admission::Until(time::Instant::now());
        }
        let apps: Vec<Option<&AppId>> = asked
            .iter()
            .map(|(downlink, is_request)| (!is_request).then_some(&downlink.message.app))
            .collect();
        let reserved = self.with_driven(lane, |driven, channel, now_ms, _| {
            let numbers = channel.speaks().then(|| channel.reserve(now_ms, &apps));
            numbers.map(|numbers| (Arc::clone(driven), numbers))
        });
        let (driven, numbers) = match reserved.await {
            Ok(Some(Some(reserved))) => reserved,
            Ok(Some(None) | None) => return Admission::Ordinary,
            Err(error) => {
                self.log_error(&error, "a channel could not be read");
                return Admission::Later;
            }
        };
        let looked_at = numbers.len();
        if looked_at == 0 {
            let soon = self.may_answer_until(&driven);
            return soon.map_or(Admission::Full, Admission::Until);
        }
        let (mut full, mut messages) = (Vec::new(), Vec::with_capacity(looked_at));
        for ((downlink, is_request), number) in asked.iter().zip(numbers) {
            match number {
                Some(number) => messages.push(numbered(number, downlink, *is_request)),
                None if full.contains(&downlink.message.app) => {}
                None => full.push(downlink.message.app.clone()),
            }
        }
        if !messages.is_empty() && !self.number(&driven, messages).await {
            return Admission::Later;
        }
        Admission::Numbered { looked_at, full }
    }

    /// Notes the numbers of messages and hands them to the channel; says whether that could be done.
    async fn number(&self, driven: &Driven, messages: Vec<Numbered>) -> bool {
        let lane = &driven.lane;
        let numbered = messages.iter();
        let change = ChannelChange {
            numbered: numbered.map(|it| (it.number, it.sequence)).collect(),
            ..ChannelChange::default()
        };
        let noted = written(self.store.change_channel(&lane.vin, &lane.uid, change)).await;
        let gone = match noted {
            Ok(changed) => changed.gone,
            Err(error) => {
                self.log_error(&error, "a message could not be given its number");
                driven.lock().not_numbered();
                return false;
            }
        };
        let left = messages.iter().filter(|it| !gone.contains(&it.sequence));
        let left: Vec<_> = left.map(|it| (it.sequence, u64::from(it.bytes))).collect();
        driven.lock().submit(self.now_ms(), messages, &gone);
        driven.work.notify_one();
        self.change_lanes(|lanes| {
            for (sequence, bytes) in left {
                lanes.finished(lane, sequence, bytes);
            }
        });
        true
    }

    /// What is to be done without a channel, if that is known.
    pub(super) fn must_wait(&self, lane: &LaneId) -> Option<Admission> {
        let known = self.known_channels();
        match known.of(lane) {
            // One that is made for a vehicle's first word is there before it has heard that.
            Some(Place::Memory(driven)) if driven.lock().is_strange() => {}
            Some(Place::Memory(_) | Place::Disk { .. }) => return None,
            Some(Place::Silent) => return Some(Admission::Ordinary),
            None => {}
        }
        drop(known);
        let vehicle = self.presence().vehicle(&lane.vin, None);
        let online = vehicle.filter(|vehicle| vehicle.presence == Presence::Online);
        let left = online.and_then(|vehicle| may_announce_for(vehicle.since, SystemTime::now()));
        Some(match left {
            Some(left) => Admission::Until(time::Instant::now() + left),
            None => Admission::Ordinary,
        })
    }
}

/// For how long a vehicle that is online since then may be about to say that it speaks delivery. One that is
/// online since a time to come was so before the clock was set back.
fn may_announce_for(since: SystemTime, now: SystemTime) -> Option<Duration> {
    let age = now.duration_since(since).ok()?;
    ANNOUNCEMENT_PATIENCE.checked_sub(age)
}

fn numbered(number: u32, downlink: &Downlink, is_request: bool) -> Numbered {
    let message = &downlink.message;
    Numbered {
        number,
        sequence: downlink.sequence,
        bytes: message.envelope.len() as u32,
        piece: None,
        expires_at: message.expires_at,
        repeatable: message.receipts == Receipts::Repeatable,
        answered: false,
        handed: false,
        is_request,
        app: message.app.clone(),
        key: message.coalesces_by().cloned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vehicle_is_waited_for_as_long_as_it_is_new_and_not_until_a_clock_that_was_set_back_is_there_again()
     {
        let since = SystemTime::now();
        let hour = Duration::from_secs(60 * 60);
        let half = ANNOUNCEMENT_PATIENCE / 2;
        assert_eq!(may_announce_for(since, since + half), Some(half));
        assert_eq!(
            may_announce_for(since, since + 2 * ANNOUNCEMENT_PATIENCE),
            None
        );
        assert_eq!(may_announce_for(since, since - hour), None);
    }
}
