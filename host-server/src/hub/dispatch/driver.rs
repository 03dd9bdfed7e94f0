//! The task of one channel: notes what is told, and then sends what is due.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::SemaphorePermit;
use tokio::time;
use vinbus_protocol::delivery::{EndpointCounters, Header, Marked};
use vinbus_protocol::envelope::{Downlink as Envelope, DownlinkBody};
use vinbus_protocol::limits::{DELIVERY_ADDED_BYTES_MAX, PAYLOAD_BYTES_MAX};

use super::Dispatch;
use super::channel::{Frame, Notes};
use super::notes::NOTE_AGAIN;
use super::receipts::Driven;
use crate::broker::{Broker, PublishError};
use crate::hub::lanes::LaneId;
use crate::store::awaited::{read, written};
use crate::store::channels::{Changed, ChannelChange, Piece};

impl Dispatch {
    /// Notes and sends what is due in one channel, until it is dropped or the server stops.
    pub(super) async fn drive(&self, driven: &Driven) {
        let mut stopping = self.stopping.subscribe();
        let mut counted = EndpointCounters::default();
        loop {
            let notes = {
                let mut channel = driven.lock();
                channel.pass_time(self.now_ms());
                self.figures.traffic.count(&mut counted, channel.counters());
                channel.take_notes()
            };
            let noted = notes.is_empty() || self.note_channel(driven, notes).await;
            let stop = self.is_stopping();
            if stop || driven.lock().is_closed() {
                return;
            }
            if !noted {
                let _ = time::timeout(NOTE_AGAIN, stopping.wait_for(|stop| *stop)).await;
                continue;
            }
            let paced_to = self.send_due(driven).await;
            let (deadline, has_work, has_room) = {
                let mut channel = driven.lock();
                let now_ms = self.now_ms();
                let room = channel.has_room_again(now_ms);
                let due = channel.deadline_ms(paced_to.is_some());
                let deadline = due.into_iter().chain(channel.room_at_ms()).min();
                (deadline, channel.has_work(deadline, now_ms), room)
            };
            if has_room {
                self.change_lanes(|lanes| lanes.wake(&driven.lane));
            }
            if has_work {
                // Others have their turn, whatever a peer makes us do.
                tokio::task::yield_now().await;
                continue;
            }
            tokio::select! {
                () = driven.work.notified() => {}
                () = super::until(deadline.map(|at| self.begin + Duration::from_millis(at))) => {}
                () = super::until(paced_to) => {}
                _ = stopping.wait_for(|stop| *stop) => {}
            }
        }
    }

    /// Puts notes on disk; says whether they are.
    async fn note_channel(&self, driven: &Driven, notes: Notes) -> bool {
        let LaneId { vin, uid } = &driven.lane;
        let change = notes.change.clone();
        // A worker may find them on the disk before it is told here that they are.
        if notes.returning().next().is_some() {
            self.change_lanes(|lanes| {
                for (_, bytes) in notes.returning() {
                    lanes.returning(&driven.lane, bytes);
                }
            });
        }
        let written = match change == ChannelChange::default() {
            true => Ok(Changed::default()),
            false => written(self.store.change_channel(vin, uid, change)).await,
        };
        match written {
            Ok(changed) => {
                driven.lock().noted(&notes);
                self.change_lanes(|lanes| {
                    for (sequence, bytes) in notes.leaving() {
                        lanes.finished(&driven.lane, sequence, bytes);
                    }
                    for (number, bytes) in notes.returning() {
                        match changed.forgotten.contains(&number) {
                            true => lanes.not_stored(&driven.lane, bytes),
                            false => lanes.returned(&driven.lane),
                        }
                    }
                });
                self.tell_older(driven, &notes);
                self.tell_changes(changed.told);
                self.tell_steps(&notes).await;
                true
            }
            Err(error) => {
                self.log_error(&error, "what became of messages could not be noted");
                self.change_lanes(|lanes| {
                    for (_, bytes) in notes.returning() {
                        lanes.not_stored(&driven.lane, bytes);
                    }
                });
                driven.lock().not_noted(notes);
                false
            }
        }
    }

    /// What is on disk was older than what the vehicle has heard, and a new epoch has begun for that.
    fn tell_older(&self, driven: &Driven, notes: &Notes) {
        let Some(epoch) = notes.older else {
            return;
        };
        self.figures.store_older.increment();
        if let Some(unlogged) = self.older_log.pass(std::time::Instant::now()) {
            let LaneId { vin, uid } = &driven.lane;
            let epoch = epoch.number();
            tracing::warn!(
                %vin,
                %uid,
                epoch,
                unlogged,
                "this vehicle has heard more from this server than the data folder knows: an older copy was put \
                 back, or the clock went back; if no other vehicle says so, it may be wrong itself. A new epoch \
                 begins: messages that were on their way are told as lost or sent again. What was stored after \
                 the copy is gone"
            );
        }
    }

    /// Counts the steps of notes that are on disk, and tells whoever follows events.
    async fn tell_steps(&self, notes: &Notes) {
        let steps = notes.change.steps.iter().map(|&(_, step, at)| (step, at));
        for ((step, at), sequence) in steps.zip(notes.sequences()) {
            self.figures.of(step).increment();
            self.requests.step(self.now_ms(), sequence, step);
            if !self.events.is_followed() {
                continue;
            }
            let store = Arc::clone(&self.store);
            match read(move || store.downlink(sequence)).await {
                Ok(Some(downlink)) => self.events.step(&downlink, step, at),
                Ok(None) => {}
                Err(error) => self.log_error(&error, "a step could not be told as an event"),
            }
        }
    }

    /// Publishes everything that is due, until something is to be noted first. Where the vehicle's
    /// link is behind, messages wait, and what is said of receipts does not: then says until when.
    async fn send_due(&self, driven: &Driven) -> Option<time::Instant> {
        let broker = self.broker()?;
        while !self.is_stopping() {
            let random = random_word();
            let now_ms = self.now_ms();
            let said = driven.lock().next_control(now_ms, random);
            let frame = match said {
                Some(control) => control,
                None => {
                    if !driven.lock().has_messages_due(now_ms) {
                        return None;
                    }
                    if let Err(until) = self.ask_pace(&driven.lane) {
                        return Some(until);
                    }
                    driven.lock().next_frame(now_ms, random)?
                }
            };
            match frame {
                Frame::Control(payload) => {
                    let published = self.publish_to(&*broker, &driven.lane, payload).await;
                    self.handle_published(driven, None, published);
                }
                Frame::Message {
                    header,
                    sequence,
                    piece,
                } => {
                    let room = self.await_room(&*broker, &driven.lane).await;
                    if room.is_err() {
                        self.handle_published(driven, Some(header.number), room);
                        continue;
                    }
                    let turn = self.take_publish_turn().await;
                    let marked = self.marked(driven, &header, (sequence, piece));
                    let Some(payload) = marked.await else {
                        continue;
                    };
                    let published = self.publish_to(&*broker, &driven.lane, payload).await;
                    drop(turn);
                    self.handle_published(driven, Some(header.number), published);
                }
            }
        }
        None
    }

    /// Waits until the broker has room for a message.
    async fn await_room(&self, broker: &dyn Broker, lane: &LaneId) -> Result<(), PublishError> {
        let topic = self.downlink_topic(&lane.uid, &lane.vin)?;
        let room = time::timeout(broker.patience(), broker.room(&topic)).await;
        room.unwrap_or(Err(PublishError::LinkDown))
    }

    /// A message of a channel may be in memory; more wait, and are counted.
    async fn take_publish_turn(&self) -> Option<SemaphorePermit<'_>> {
        if let Ok(turn) = self.channel_publishes.try_acquire() {
            return Some(turn);
        }
        self.figures.publishes_waited.increment();
        // It is closed by nobody.
        self.channel_publishes.acquire().await.ok()
    }

    fn handle_published(
        &self,
        driven: &Driven,
        number: Option<u32>,
        published: Result<(), PublishError>,
    ) {
        let mut channel = driven.lock();
        match (published, number) {
            (Ok(()), Some(number)) => channel.sent(self.now_ms(), number),
            // What is lost on the way is repeated.
            (Ok(()) | Err(PublishError::LinkDown), _) => {}
            (Err(PublishError::NotListening), _) => channel.set_link(self.now_ms(), false),
            (Err(PublishError::Rejected { detail }), Some(number)) => {
                let vin = &driven.lane.vin;
                tracing::error!(%vin, number, detail, "the broker cannot carry a message");
                channel.rejected(number);
            }
            (Err(PublishError::Rejected { detail }), None) => {
                let vin = &driven.lane.vin;
                tracing::error!(%vin, detail, "the broker cannot carry receipts");
            }
        }
    }

    /// The payload of a message with its header; `None` when it cannot be had now.
    async fn marked(
        &self,
        driven: &Driven,
        header: &Header,
        (sequence, piece): (u64, Option<Piece>),
    ) -> Option<Bytes> {
        // It is closed by nobody.
        let turn = self.channel_reads.acquire().await.ok()?;
        let store = Arc::clone(&self.store);
        let downlink = match read(move || store.downlink(sequence)).await {
            Ok(downlink) => downlink,
            Err(error) => {
                self.log_error(&error, "a message could not be read");
                return None;
            }
        };
        drop(turn);
        let marked = downlink.and_then(|it| mark(header, piece, &it.message.envelope));
        if marked.is_none() {
            driven.lock().gone(header.number);
        }
        marked
    }
}

/// Any word, for the protocol.
pub(super) fn random_word() -> u32 {
    RandomState::new().hash_one(()) as u32
}

fn mark(header: &Header, piece: Option<Piece>, envelope: &[u8]) -> Option<Bytes> {
    let downlink = Envelope::decode_long(envelope).ok()?;
    let DownlinkBody::Data(content) = downlink.body else {
        return None;
    };
    let (marked, len) = match piece {
        Some(Piece { part, end, .. }) => {
            let piece = content.as_str().get(part.offset as usize..end as usize)?;
            (Marked::part(*header, piece), PAYLOAD_BYTES_MAX)
        }
        None => {
            let marked = Marked::new(*header, content).ok()?;
            (marked, envelope.len() + 2 * DELIVERY_ADDED_BYTES_MAX)
        }
    };
    let mut buffer = vec![0; len];
    let len = marked
        .encode_downlink(&downlink.app, &mut buffer)
        .ok()?
        .len();
    buffer.truncate(len);
    Some(buffer.into())
}
