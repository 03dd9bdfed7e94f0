//! What leaves, and when: messages of apps, and what delivery has to say for itself.

use vinbus_protocol::delivery::{ControlFrame, Endpoint, Header, Run, Transmit};

use super::long_uplinks::is_long;
use super::{Receipts, Waiting};
use crate::clock::NEVER;

/// What is to be sent now.
pub(crate) enum Leaving<R> {
    /// A message of delivery's own.
    Control(ControlFrame<R>),
    /// The message of an app with this ticket, under this header.
    Marked(Header, u64),
    /// The same as any other message, for a host that knows no receipts.
    Plain(u64),
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// When [`Self::next_frame`] has something to send.
    pub(crate) fn deadline_ms(&self) -> u64 {
        if self.uplinks.has_settled() {
            // An app is told before anything is sent.
            return 0;
        }
        let endpoints = self.endpoints.iter();
        let due = endpoints.filter_map(Endpoint::poll_timeout);
        due.fold(self.silence_ends_ms(), u64::min)
    }

    /// When messages go without numbers, or not at all, as their partners' hosts have said nothing.
    fn silence_ends_ms(&self) -> u64 {
        let waiting = self.uplinks.iter().filter(|it| self.is_silent(it.partner));
        let patience_ms = waiting
            .map(|it| self.longs.silence_ms(&it))
            .fold(NEVER, u64::min);
        self.up_since_ms.saturating_add(patience_ms)
    }

    /// Whether nothing was heard of a partner's host.
    fn is_silent(&self, partner: usize) -> bool {
        let endpoint = self.endpoints.get(partner);
        endpoint.is_some_and(|endpoint| endpoint.peer().is_none())
    }

    /// What is to be sent now, and to which partner.
    pub(crate) fn next_frame(
        &mut self,
        now_ms: u64,
    ) -> Option<(
        usize,
        Leaving<impl Iterator<Item = Run> + Clone + use<'_, Q, APPS, SENT>>,
    )> {
        for partner in 0..self.endpoints.len() {
            self.settle(now_ms, partner);
        }
        if self.silence_ends_ms() <= now_ms {
            self.refuse_unheard(now_ms);
            let endpoints = &self.endpoints;
            let silent = |waiting: &Waiting<'_>| {
                let endpoint = endpoints.get(waiting.partner);
                endpoint.is_some_and(|it| it.peer().is_none()) && !is_long(waiting)
            };
            if let Some((ticket, partner)) = self.uplinks.begin_plain(silent) {
                self.unnumber(ticket);
                return Some((partner, Leaving::Plain(ticket)));
            }
        }
        // The next one that has something to send, and the same one again only after all others.
        let partner = (0..self.endpoints.len()).find_map(|_| {
            let next = self.turn + 1;
            self.turn = if next < self.endpoints.len() { next } else { 0 };
            let at_ms = self.endpoints.get(self.turn)?.poll_timeout()?;
            (at_ms <= now_ms).then_some(self.turn)
        })?;
        let random = self.next_random();
        let endpoint = self.endpoints.get_mut(partner)?;
        match endpoint.poll_transmit(now_ms, random)? {
            Transmit::Control(control) => Some((partner, Leaving::Control(control))),
            Transmit::Message(header) => {
                let ticket = self.uplinks.ticket(partner, header.number)?;
                let part = self.longs.part_of(ticket);
                let header = Header { part, ..header };
                Some((partner, Leaving::Marked(header, ticket)))
            }
        }
    }

    /// Words that differ between vehicles and times, which is all that jitter needs (xorshift).
    pub(super) fn next_random(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random
    }
}
