//! Long messages, which travel in parts (SPEC 16.18): one at a time to each vehicle and partner.
//!
//! A long message stays among the unsent of its lane until the vehicle has all of it. A worker that comes
//! to it gives the next part a number, if none of this or another long message is on its way, and goes on
//! with the messages behind it; so a short one waits for one part at most. What the vehicle has stored is
//! on disk: after a lost link, or another start of either end, the transfer goes on there.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::time::Instant;
use vinbus_protocol::delivery::{Part, parts};
use vinbus_protocol::envelope::{self, DownlinkBody};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits::DELIVERY_PART_BYTES_MAX;

use super::Dispatch;
use super::admission::Admission;
use crate::hub::lanes::LaneId;
use crate::model::{Downlink, Presence, Receipts, Transfer};
use crate::store::StoreError;
use crate::store::awaited::{read, written};
use crate::store::channels::{ChannelChange, Numbered, Piece};

/// What a worker is to do with a long message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LongAdmission {
    /// Nothing now: a part of it is on its way, or it waits for another, for room at its app, or for the
    /// vehicle to say what it takes. The lane is woken when that changes.
    Waits,
    /// The vehicle does not take it.
    TooLarge,
    /// Its time is over.
    Expired,
    /// The vehicle may say that it takes it, or answer what keeps it back: try again then.
    Until(Instant),
    /// The store failed: try again in a little.
    Later,
    /// No message with receipts may go, and the vehicle has answered nothing for long: the lane is woken when one
    /// may.
    Full,
}

impl Dispatch {
    /// Sends the next part of a long message, if it is its turn.
    pub(super) async fn admit_long(
        self: &Arc<Self>,
        lane: &LaneId,
        downlink: &Downlink,
    ) -> LongAdmission {
        match self.try_admit_long(lane, downlink).await {
            Ok(admission) => admission,
            Err(error) => {
                self.log_error(&error, "a part of a message could not be given its number");
                LongAdmission::Later
            }
        }
    }

    async fn try_admit_long(
        self: &Arc<Self>,
        lane: &LaneId,
        downlink: &Downlink,
    ) -> Result<LongAdmission, StoreError> {
        let is_expired = downlink.message.expires_at <= SystemTime::now();
        match self.must_wait(lane) {
            _ if is_expired && self.loaded(lane).is_none() => return Ok(LongAdmission::Expired),
            Some(Admission::Until(until)) => return Ok(LongAdmission::Until(until)),
            // It may be there, and say what it takes when it is heard.
            Some(_) if self.presence().of(&lane.vin) == Presence::Unknown => {
                return Ok(LongAdmission::Waits);
            }
            Some(_) => return Ok(LongAdmission::TooLarge),
            None => {}
        }
        let app = &downlink.message.app;
        let state = self.with_driven(lane, |_, channel, now_ms, _| {
            let has_room = channel.room(now_ms, app) > 0;
            if !has_room {
                channel.awaits_room(now_ms, app);
            }
            (
                channel.transfer(),
                channel.speaks(),
                channel.vehicle_takes(),
                has_room,
            )
        });
        let Some((under_way, speaks, takes, has_room)) = state.await? else {
            return Ok(LongAdmission::TooLarge);
        };
        if under_way == Some(downlink.sequence) {
            return Ok(LongAdmission::Waits);
        }
        if is_expired {
            return Ok(LongAdmission::Expired);
        }
        if !speaks {
            return Ok(LongAdmission::TooLarge);
        }
        let (None, Some(takes)) = (under_way, takes) else {
            return Ok(LongAdmission::Waits);
        };
        if !has_room {
            return Ok(LongAdmission::Waits);
        }
        let sequence = downlink.sequence;
        let store = Arc::clone(&self.store);
        let transfer = read(move || store.transfer(sequence)).await?;
        let Some(piece) = next_piece(downlink, transfer, takes) else {
            return Ok(LongAdmission::TooLarge);
        };
        self.number_piece(lane, downlink, piece).await
    }

    /// Gives a part its number, and hands it to the channel.
    async fn number_piece(
        self: &Arc<Self>,
        lane: &LaneId,
        downlink: &Downlink,
        piece: Piece,
    ) -> Result<LongAdmission, StoreError> {
        let reserved = self.with_driven(lane, |driven, channel, now_ms, _| {
            let numbers = channel.reserve(now_ms, &[None]);
            let number = numbers.first().copied().flatten();
            (Arc::clone(driven), number)
        });
        let Some((driven, number)) = reserved.await? else {
            return Ok(LongAdmission::TooLarge);
        };
        let Some(number) = number else {
            let soon = self.may_answer_until(&driven);
            return Ok(soon.map_or(LongAdmission::Full, LongAdmission::Until));
        };
        let change = ChannelChange {
            numbered: vec![(number, downlink.sequence)],
            piece: Some(piece),
            ..ChannelChange::default()
        };
        let noted = written(self.store.change_channel(&lane.vin, &lane.uid, change)).await;
        let gone = match noted {
            // What was read of it is of before its end.
            Ok(changed) => changed.gone,
            Err(error) => {
                driven.lock().not_numbered();
                return Err(error);
            }
        };
        let message = &downlink.message;
        let numbered = Numbered {
            number,
            sequence: downlink.sequence,
            bytes: message.envelope.len() as u32,
            piece: Some(piece),
            expires_at: message.expires_at,
            repeatable: message.receipts == Receipts::Repeatable || !piece.is_last(),
            answered: false,
            handed: false,
            is_request: false,
            app: message.app.clone(),
            key: None,
        };
        driven.lock().submit(self.now_ms(), vec![numbered], &gone);
        driven.work.notify_one();
        Ok(LongAdmission::Waits)
    }

    /// The longest content that a vehicle takes from a partner in parts, in bytes, 0 for none; `None` as
    /// long as it has not said.
    pub(in crate::hub) fn vehicle_takes(&self, vin: &Vin, uid: &Uid) -> Option<u32> {
        let lane = LaneId {
            vin: *vin,
            uid: uid.clone(),
        };
        match self.loaded(&lane) {
            Some(driven) => driven.lock().vehicle_takes(),
            // It is there, and has said nothing of delivery.
            None => {
                let is_online = self.presence().of(vin) == Presence::Online;
                let is_silent = self.must_wait(&lane) == Some(Admission::Ordinary);
                (is_online && is_silent).then_some(0)
            }
        }
    }
}

/// The next part of a message; `None` when it is longer than the vehicle takes.
fn next_piece(downlink: &Downlink, transfer: Option<Transfer>, takes: u32) -> Option<Piece> {
    let envelope = envelope::Downlink::decode_long(&downlink.message.envelope).ok()?;
    let DownlinkBody::Data(content) = envelope.body else {
        return None;
    };
    let text = content.as_str();
    let begun = transfer.map_or(1, |transfer| transfer.begun);
    let part = transfer.map_or_else(|| Part::first(text), next_part);
    let part = Some(part).filter(|part| part.total <= takes)?;
    let piece = parts::piece(text, part.offset as usize, DELIVERY_PART_BYTES_MAX);
    let end = part.offset + u32::try_from(piece.len()).ok().filter(|len| *len > 0)?;
    Some(Piece { part, end, begun })
}

fn next_part(transfer: Transfer) -> Part {
    let Transfer { total, stored, .. } = transfer;
    Part {
        offset: if stored < total { stored } else { 0 },
        total,
        checksum: transfer.checksum,
    }
}
