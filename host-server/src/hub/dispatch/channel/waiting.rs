//! What waits for the channel: messages without a number, for a place or for room at their app, and those without
//! receipts, for their turn (SPEC 9.8a).

use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{DELIVERY_ANNOUNCEMENT_MS, DELIVERY_IN_FLIGHT_MAX};

use super::Channel;

impl Channel {
    /// Places for messages on their way that are taken.
    pub(super) fn taken(&self) -> usize {
        self.endpoint.unanswered() + self.to_resume.len() + self.numbering
    }

    /// Whether there are places again, after somebody wanted more than there were, or an app has room
    /// that messages wait for, or long messages may go on, or all is sent that others wait for; once.
    pub(in crate::hub::dispatch) fn has_room_again(&mut self, now_ms: u64) -> bool {
        let has_place = self.may_number() && self.taken() < DELIVERY_IN_FLIGHT_MAX;
        let again = self.wanted && has_place;
        self.wanted &= !again;
        // Those on their way to the disk may take the room.
        let ledger = &self.ledger;
        let rings =
            self.numbering == 0 && self.rings.has_room_again(now_ms, |app| ledger.load(app));
        let sent = self.awaits_sent && !self.ledger.has_unsent();
        self.awaits_sent &= !sent;
        again | rings | sent | std::mem::take(&mut self.advanced)
    }

    /// When [`Channel::has_room_again`] is to be asked at the latest.
    pub(in crate::hub::dispatch) fn room_at_ms(&self) -> Option<u64> {
        let at_ms = self.rings.deadline_ms(|app| self.ledger.load(app));
        at_ms.filter(|_| self.numbering == 0)
    }

    /// How many more messages of an app may be on their way.
    pub(in crate::hub::dispatch) fn room(&self, now_ms: u64, app: &AppId) -> usize {
        self.rings.room(now_ms, app, self.ledger.load(app))
    }

    /// Until when the vehicle may be about to answer, and so to make room; `None` where it has been silent for
    /// too long. As long as it has nothing to answer, it is not silent.
    pub(in crate::hub::dispatch) fn may_answer_until_ms(&self, now_ms: u64) -> Option<u64> {
        let since_ms = match self.is_answer_awaited() {
            true => self.answered_at_ms,
            false => now_ms,
        };
        let until_ms = since_ms.saturating_add(DELIVERY_ANNOUNCEMENT_MS);
        (until_ms > now_ms).then_some(until_ms)
    }

    /// Whether the vehicle has a greeting or a message to answer, or this life of both ends is not on disk.
    pub(super) fn is_answer_awaited(&self) -> bool {
        !self.may_number() || self.ledger.awaits_answer()
    }

    /// Until when a message without receipts waits at most, so as not to overtake one that has a number and was
    /// not sent (SPEC 9.8a); `None` if it may go. Who asks is woken when all are sent.
    pub(in crate::hub::dispatch) fn others_go_first_until_ms(
        &mut self,
        now_ms: u64,
    ) -> Option<u64> {
        if !self.rings.is_up() || !self.ledger.has_unsent() {
            return None;
        }
        let until_ms = self.may_answer_until_ms(now_ms);
        self.awaits_sent |= until_ms.is_some();
        until_ms
    }

    /// Messages of an app wait until it has room.
    pub(in crate::hub::dispatch) fn awaits_room(&mut self, now_ms: u64, app: &AppId) {
        self.rings.awaits(now_ms, app);
    }

    /// The apps that have no room; who asks is woken when one has.
    pub(in crate::hub::dispatch) fn await_room_of_full(&mut self, now_ms: u64) -> Vec<AppId> {
        let mut full: Vec<AppId> = self.ledger.apps().cloned().collect();
        full.sort();
        full.dedup();
        full.retain(|app| self.room(now_ms, app) == 0);
        for app in &full {
            self.rings.awaits(now_ms, app);
        }
        full
    }
}
