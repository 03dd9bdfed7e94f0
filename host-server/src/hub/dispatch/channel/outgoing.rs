//! What goes to the vehicle: numbers for messages, and frames when they are due.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use vinbus_protocol::delivery::{ControlFrame, Header, Message, Run, SubmitError, Transmit};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_CONTROL_BYTES_MAX, DELIVERY_IN_FLIGHT_MAX, DELIVERY_PART_FRAME_BYTES,
};

use super::{Channel, Ledger};
use crate::model::Step;
use crate::store::channels::{Numbered, Piece};

/// What is to be published next.
#[derive(Debug)]
pub(in crate::hub::dispatch) enum Frame {
    /// A whole payload.
    Control(Bytes),
    /// A message, to be marked with this header; or the part of it that ends there.
    Message {
        header: Header,
        sequence: u64,
        piece: Option<Piece>,
    },
}

impl Channel {
    /// Reserves numbers for messages for these apps, one after the other, until as many are on their way
    /// as may be: none for one whose app has no room, which is to wait (SPEC 16.13a). A message without an
    /// app waits for none. They are sent by [`Channel::submit`], once they are on disk, or
    /// given back by [`Channel::not_numbered`]. Before this life of both ends is on disk, and the vehicle has
    /// shown that it knows ours, there are none.
    pub(in crate::hub::dispatch) fn reserve(
        &mut self,
        now_ms: u64,
        apps: &[Option<&AppId>],
    ) -> Vec<Option<u32>> {
        if !self.may_number() {
            self.wanted = true;
            return Vec::new();
        }
        let mut free = DELIVERY_IN_FLIGHT_MAX.saturating_sub(self.taken());
        let mut next = self.endpoint.snapshot().next_number;
        let mut rooms = HashMap::new();
        let mut numbers = Vec::with_capacity(apps.len());
        for app in apps {
            let room = app.map(|app| {
                let room = rooms.entry(app);
                room.or_insert_with(|| self.room(now_ms, app))
            });
            if let (Some(app), Some(0)) = (app, &room) {
                self.rings.awaits(now_ms, app);
                numbers.push(None);
                continue;
            }
            if free == 0 {
                self.wanted = true;
                break;
            }
            if let Some(room) = room {
                *room -= 1;
            }
            free -= 1;
            numbers.push(Some(next));
            next += 1;
        }
        self.numbering += numbers.iter().flatten().count();
        numbers
    }

    /// The reserved numbers could not be noted. Who wanted them tries again in a little, and is not woken
    /// before, or a disk that is full would be asked without a pause.
    pub(in crate::hub::dispatch) fn not_numbered(&mut self) {
        self.numbering = 0;
        self.wanted = false;
        self.rings.await_nothing();
    }

    /// Messages whose numbers are on disk are to be sent. Those of `gone` are not, and their numbers are
    /// left out.
    pub(in crate::hub::dispatch) fn submit(
        &mut self,
        now_ms: u64,
        messages: Vec<Numbered>,
        gone: &[u64],
    ) {
        self.numbering = 0;
        for numbered in messages {
            let is_gone = gone.contains(&numbered.sequence);
            if numbered.piece.is_some() && !is_gone {
                self.transfer = Some(numbered.sequence);
            }
            let key = self.ledger.key_of(&numbered).filter(|_| !is_gone);
            let mut superseded = None;
            match self
                .endpoint
                .submit(now_ms, message(now_ms, &numbered, key))
            {
                Ok(submitted) if submitted.number == numbered.number => {
                    superseded = submitted.superseded;
                }
                // One lane is run by one worker, so nobody else has taken a number.
                unexpected => {
                    debug_assert!(false, "{unexpected:?} for {numbered:?}");
                    self.to_resume.push_back(numbered.number);
                }
            }
            if is_gone {
                self.endpoint.withdraw(numbered.number);
                continue;
            }
            self.ledger.drop_oldest();
            self.ledger.follow(numbered, key);
            if let Some(older) = superseded {
                self.supersedes = true;
                self.ledger.note(older, Step::Superseded);
            }
            self.settle(now_ms);
        }
    }

    /// What is to be said of receipts now, unless something is to be noted first.
    pub(in crate::hub::dispatch) fn next_control(
        &mut self,
        now_ms: u64,
        random: u32,
    ) -> Option<Frame> {
        if !self.is_begun() {
            return None;
        }
        let control = self.endpoint.poll_control(now_ms, random)?;
        encoded(control, &self.ledger)
    }

    /// What is to be sent now, unless something is to be noted first.
    pub(in crate::hub::dispatch) fn next_frame(
        &mut self,
        now_ms: u64,
        random: u32,
    ) -> Option<Frame> {
        // After a kill, a message that was superseded and not noted would go behind the newer one.
        if !self.is_begun() || self.supersedes {
            return None;
        }
        let header = match self.endpoint.poll_transmit(now_ms, random)? {
            Transmit::Control(control) => return encoded(control, &self.ledger),
            Transmit::Message(header) => header,
        };
        let followed = self.ledger.get(header.number)?;
        Some(Frame::Message {
            header: Header {
                part: followed.numbered.piece.map(|piece| piece.part),
                ..header
            },
            sequence: followed.numbered.sequence,
            piece: followed.numbered.piece,
        })
    }

    /// A message was handed to the broker.
    pub(in crate::hub::dispatch) fn sent(&mut self, now_ms: u64, number: u32) {
        if !self.is_answer_awaited() {
            self.answered_at_ms = now_ms;
        }
        self.ledger.sent(number);
    }

    /// The broker can never carry a message.
    pub(in crate::hub::dispatch) fn rejected(&mut self, number: u32) {
        self.endpoint.withdraw(number);
        self.ledger.note(number, Step::Rejected);
    }

    /// A message is not kept any more, so it cannot be sent again.
    pub(in crate::hub::dispatch) fn gone(&mut self, number: u32) {
        self.endpoint.withdraw(number);
        if let Some(followed) = self.ledger.remove(number)
            && self.transfer == Some(followed.numbered.sequence)
        {
            self.end_transfer();
        }
    }

    /// Takes up one message of the disk; `false` if there is none, or no place.
    pub(super) fn resume_one(&mut self, now_ms: u64) -> bool {
        let Some(&number) = self.to_resume.front() else {
            return false;
        };
        let Some(followed) = self.ledger.get(number) else {
            self.to_resume.pop_front();
            return true;
        };
        let message = message(now_ms, &followed.numbered, followed.key);
        match self.endpoint.resume_sent(now_ms, number, message) {
            Err(SubmitError::Full) => return false,
            Ok(()) | Err(SubmitError::Number) => {}
        }
        self.to_resume.pop_front();
        true
    }
}

fn encoded(
    control: ControlFrame<impl Iterator<Item = Run> + Clone>,
    ledger: &Ledger,
) -> Option<Frame> {
    let control = control.with_open(ledger.answered());
    let mut buffer = vec![0; DELIVERY_CONTROL_BYTES_MAX + 64];
    let len = control.encode_downlink(&mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(Frame::Control(buffer.into()))
}

fn message(now_ms: u64, numbered: &Numbered, key: Option<NonZeroU32>) -> Message {
    let left = numbered
        .expires_at
        .duration_since(SystemTime::now())
        .unwrap_or(Duration::ZERO);
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let bytes = match numbered.piece {
        Some(piece) => {
            DELIVERY_PART_FRAME_BYTES as u32 + piece.end.saturating_sub(piece.part.offset)
        }
        None => numbered.bytes,
    };
    Message {
        bytes,
        expires_at_ms: Some(now_ms.saturating_add(left_ms)),
        key,
        repeatable: numbered.repeatable,
    }
}
