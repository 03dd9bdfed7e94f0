//! What leaves an end, and when.

use super::Endpoint;
use crate::delivery::Run;
use crate::delivery::control::ControlFrame;
use crate::delivery::reserved::Header;
use crate::delivery::timing::NEVER;

/// What is to be sent now.
#[derive(Clone, Debug)]
pub enum Transmit<R> {
    /// A message of delivery's own.
    Control(ControlFrame<R>),
    /// A message of the owner's, marked with this header; a part of a long message gets its
    /// [`part`](Header::part) from the owner.
    Message(Header),
}

impl<const SEND: usize, const OPEN: usize> Endpoint<SEND, OPEN> {
    /// The next thing to be sent. It counts as sent: what is lost on the way is repeated later.
    pub fn poll_transmit(
        &mut self,
        now_ms: u64,
        random: u32,
    ) -> Option<Transmit<impl Iterator<Item = Run> + Clone + use<'_, SEND, OPEN>>> {
        if let Some(due) = self.poll_due(now_ms, random) {
            return Some(Transmit::Control(self.control(due)));
        }
        let peer = self.session.peer().filter(|_| self.may_send())?;
        let (number, ttl_s) = self
            .sender
            .poll_transmit(self.now_ms, &self.round_trip, random)?;
        Some(Transmit::Message(Header {
            epoch: self.session.own(),
            peer,
            number,
            ttl_s,
            part: None,
        }))
    }

    /// The next message of delivery's own, for an owner who keeps the others back: its receipts must
    /// not wait for a slow link.
    pub fn poll_control(
        &mut self,
        now_ms: u64,
        random: u32,
    ) -> Option<ControlFrame<impl Iterator<Item = Run> + Clone + use<'_, SEND, OPEN>>> {
        let due = self.poll_due(now_ms, random)?;
        Some(self.control(due))
    }

    /// When [`Self::poll_event`] and [`Self::poll_transmit`] are to be called at the latest.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        if self.peer_restarted || self.own_restarted {
            return Some(self.now_ms);
        }
        let sender = self.sender.deadline_ms(self.now_ms, self.may_send());
        some(sender.min(self.control_deadline_ms()))
    }

    /// When [`Self::poll_control`] is to be called at the latest.
    #[must_use]
    pub fn control_timeout(&self) -> Option<u64> {
        some(self.control_deadline_ms())
    }

    fn control_deadline_ms(&self) -> u64 {
        if !self.up || self.session.peer().is_none() {
            return NEVER;
        }
        if self.acknowledge.is_some() {
            return self.now_ms;
        }
        self.receiver.deadline_ms().min(self.session.deadline_ms())
    }

    /// Whether messages may go: an end that has not heard how far the other one has come might use a
    /// number twice.
    fn may_send(&self) -> bool {
        self.up && self.session.is_known()
    }

    /// What of delivery's own is to be said now.
    fn poll_due(&mut self, now_ms: u64, random: u32) -> Option<Due> {
        self.advance(now_ms);
        self.session.stir(random);
        if !self.up || self.session.peer().is_none() {
            return None;
        }
        let said = self.session.poll(self.now_ms, &self.round_trip, random);
        let batch = self
            .receiver
            .poll_transmit(self.now_ms, &self.round_trip, random);
        let acknowledge = self.acknowledge.take();
        if said.is_none() && batch.is_none() && acknowledge.is_none() {
            return None;
        }
        let greeting = said == Some(true);
        Some(Due {
            greeting,
            introduces: self.session.said(self.now_ms) || greeting,
            acknowledge,
            batch,
        })
    }

    fn control(
        &self,
        due: Due,
    ) -> ControlFrame<impl Iterator<Item = Run> + Clone + use<'_, SEND, OPEN>> {
        ControlFrame {
            epoch: self.session.own(),
            peer: self.session.peer(),
            greeting: due.greeting,
            introduces: due.introduces,
            highest: self.receiver.highest(),
            long_bytes_max: self.long_bytes_max,
            acknowledge: due.acknowledge,
            batch: due.batch,
            runs: self.receiver.runs(),
            open: None,
        }
    }
}

/// A time that comes.
fn some(at_ms: u64) -> Option<u64> {
    (at_ms != NEVER).then_some(at_ms)
}

/// What a message of delivery's own is to say.
#[derive(Clone, Copy)]
struct Due {
    greeting: bool,
    /// It is a greeting or an answer.
    introduces: bool,
    acknowledge: Option<u32>,
    batch: Option<u32>,
}
