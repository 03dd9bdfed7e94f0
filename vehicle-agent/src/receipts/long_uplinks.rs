//! Long messages of apps, which go in parts (SPEC 16.18a): one at a time to each partner, and one part of it.
//! The message itself waits among the others ([`super::uplinks`]), and under its number goes its next part.
//!
//! | a message | event | then |
//! |---|---|---|
//! | waits | its partner's host takes it, and no other is begun | its next part is on its way |
//! | part on its way | *part stored*, and it is not the last | waits, once that is noted |
//! | part on its way | *part missing*, *known* though it is not the last, *part stored* though it is | waits and begins at 0, once that is noted; the eighth time it is given up |
//! | part on its way | any other last step | its app is told, as of any message |
//! | begun | one of both ends has lost its memory | begins at 0 |
//! | waits | its host takes less, or has said nothing for [`DELIVERY_LONG_SILENCE_MS`], of all the time that the link was up | its app is told *too large* |

use heapless::Vec;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Endpoint, Header, Loss, Marked, Part, Step, parts};
use vinbus_protocol::envelope::{Content, Uplink};
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_LONG_BEGINS_MAX, DELIVERY_LONG_BYTES_MAX,
    DELIVERY_LONG_SILENCE_MS, DELIVERY_PART_BYTES_MAX, DELIVERY_PART_FRAME_BYTES,
    DELIVERY_SILENCE_MS, PAYLOAD_BYTES_MAX,
};

use super::uplinks::Uplinks;
use super::{Receipts, Waiting};
use crate::apps::{Fate, SendRefusal};
use crate::notes::Sent;

/// The long messages that are begun.
#[derive(Debug)]
pub(super) struct LongUplinks<const APPS: usize> {
    begun: Vec<Begun, APPS>,
    /// For how long the link was up before it came up last, in milliseconds.
    up_before_ms: u64,
}

/// How far a message is.
#[derive(Clone, Copy, Debug)]
struct Begun {
    partner: usize,
    ticket: u64,
    /// The next part, or the one on its way.
    part: Part,
    /// Times that it began.
    times: u32,
    /// A later life would know as much.
    is_noted: bool,
}

/// Whether a message does not fit into one payload.
pub(super) fn is_long(waiting: &Waiting<'_>) -> bool {
    is_long_content(waiting.content.len())
}

const fn is_long_content(len: usize) -> bool {
    len.saturating_add(r#"{"content":}"#.len() + DELIVERY_ADDED_BYTES_MAX) > PAYLOAD_BYTES_MAX
}

/// A message, or the part of it that its header names.
pub(crate) fn marked(header: Header, content: &[u8]) -> Option<Marked<'_>> {
    match header.part {
        Some(part) => Some(Marked::part(header, piece(content, part))),
        None => Marked::new(header, Content::parse(content).ok()?).ok(),
    }
}

fn piece(content: &[u8], part: Part) -> &str {
    let offset = part.offset as usize;
    parts::piece(text(content), offset, DELIVERY_PART_BYTES_MAX)
}

/// What an app sent was read when it was taken.
fn text(content: &[u8]) -> &str {
    core::str::from_utf8(content).unwrap_or_default()
}

impl<const APPS: usize> LongUplinks<APPS> {
    pub(super) const fn new() -> Self {
        Self {
            begun: Vec::new(),
            up_before_ms: 0,
        }
    }

    /// The link went down that was up for so long.
    pub(super) fn link_ended(&mut self, lasted_ms: u64) {
        self.up_before_ms = self.up_before_ms.saturating_add(lasted_ms);
    }

    /// For how long a message waits for its host to greet, from when the link came up last.
    pub(super) fn silence_ms(&self, waiting: &Waiting<'_>) -> u64 {
        match is_long(waiting) {
            true => self.long_silence_ms(),
            false => DELIVERY_SILENCE_MS,
        }
    }

    /// The same, of a long one, however often the link went (SPEC 16.19a): a host that is there is heard on each.
    fn long_silence_ms(&self) -> u64 {
        let left_ms = DELIVERY_LONG_SILENCE_MS.saturating_sub(self.up_before_ms);
        left_ms.max(DELIVERY_SILENCE_MS)
    }

    /// Whether a message may have a number now. `takes` is the longest content that its host takes.
    pub(super) fn may_go(&self, waiting: &Waiting<'_>, takes: Option<u32>) -> bool {
        if !is_long(waiting) {
            return true;
        }
        let is_taken = takes.is_some_and(|takes| waiting.content.len() <= takes as usize);
        let mut begun = self.begun.iter().filter(|it| it.partner == waiting.partner);
        is_taken && begun.all(|it| it.ticket == waiting.ticket && it.is_noted)
    }

    /// A message is about to have a number: bytes of it that go under that.
    pub(super) fn begin(&mut self, waiting: &Waiting<'_>) -> usize {
        if !is_long(waiting) {
            return waiting.content.len();
        }
        let part = self.part_of(waiting.ticket).unwrap_or_else(|| {
            let part = Part::first(text(waiting.content));
            self.add(waiting, part, 1);
            part
        });
        DELIVERY_PART_FRAME_BYTES.saturating_add(piece(waiting.content, part).len())
    }

    fn add(&mut self, waiting: &Waiting<'_>, part: Part, times: u32) {
        let added = self.begun.push(Begun {
            partner: waiting.partner,
            ticket: waiting.ticket,
            part,
            times,
            is_noted: true,
        });
        debug_assert!(added.is_ok(), "there is one of each partner");
    }

    /// The part of a message that is on its way, or the next one; `None` for one that goes whole.
    pub(super) fn part_of(&self, ticket: u64) -> Option<Part> {
        let found = self.begun.iter().find(|it| it.ticket == ticket);
        found.map(|it| it.part)
    }

    /// Takes what was [told](Uplinks::told) of a part, as far as it is not what is told of any message.
    pub(super) fn settle_told<Q>(&mut self, partner: usize, uplinks: &mut Uplinks<Q>)
    where
        Q: AsRef<[u8]> + AsMut<[u8]>,
    {
        let Some(begun) = self.begun.iter_mut().find(|it| it.partner == partner) else {
            return;
        };
        let ticket = begun.ticket;
        let (Some(step), Some(waiting)) = (uplinks.told_of(ticket), uplinks.get(ticket)) else {
            return;
        };
        let len = piece(waiting.content, begun.part).len();
        let end = begun.part.offset.saturating_add(len as u32);
        let is_last = end >= begun.part.total;
        match step {
            Step::PartStored if !is_last => begun.part.offset = end,
            Step::PartStored | Step::PartMissing => begun.begin_again(),
            // What the host does not know any more, it has not stored.
            Step::Known if !is_last => begun.begin_again(),
            _ => return,
        }
        begun.is_noted = false;
        match begun.times > DELIVERY_LONG_BEGINS_MAX {
            true => uplinks.settle(ticket, Fate::Lost(Loss::GivenUp)),
            false => {
                uplinks.unnumber(ticket);
            }
        }
    }

    /// The partner's host, or this end, begins a new life: nothing is stored.
    pub(super) fn peer_restarted(&mut self, partner: usize) {
        for begun in &mut self.begun {
            if begun.partner == partner && begun.part.offset > 0 {
                begun.part.offset = 0;
                begun.is_noted = false;
            }
        }
    }

    /// Forgets what is not among those that wait any more.
    pub(super) fn forget_settled<Q>(&mut self, uplinks: &Uplinks<Q>)
    where
        Q: AsRef<[u8]> + AsMut<[u8]>,
    {
        self.begun.retain(|it| uplinks.get(it.ticket).is_some());
    }

    /// How far a message is, where that is to be noted.
    pub(super) fn next_unnoted(&self) -> Option<(u64, Sent)> {
        let begun = self.begun.iter().find(|it| !it.is_noted)?;
        let sent = Sent {
            number: None,
            stored: begun.part.offset,
            begun: begun.times,
        };
        Some((begun.ticket, sent))
    }

    /// That is noted.
    pub(super) fn noted(&mut self, ticket: u64) {
        for begun in &mut self.begun {
            begun.is_noted |= begun.ticket == ticket;
        }
    }

    /// Goes on with a message of an earlier life: bytes of it that go under the number that it may have.
    /// `None` for one that waits until another is at its end.
    pub(super) fn resume(&mut self, waiting: &Waiting<'_>, sent: Sent) -> Option<usize> {
        if is_long(waiting) {
            let is_begun = sent.number.is_some() || sent.begun > 0;
            let is_first = self.begun.iter().all(|it| it.partner != waiting.partner);
            if !is_begun || !is_first {
                return None;
            }
            let text = text(waiting.content);
            let offset = sent.stored as usize;
            let follows = offset < text.len() && text.is_char_boundary(offset);
            let part = Part {
                offset: if follows { sent.stored } else { 0 },
                ..Part::first(text)
            };
            self.add(waiting, part, sent.begun.max(1));
        }
        Some(self.begin(waiting))
    }
}

impl Begun {
    fn begin_again(&mut self) {
        self.part.offset = 0;
        self.times = self.times.saturating_add(1);
    }
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// Takes a message of an app that does not fit into one payload of `short` bytes.
    pub(super) fn accept_long(
        &mut self,
        (partner, slot): (usize, AppSlot),
        subtopic: Option<&str>,
        content: Content<'_>,
        short: usize,
    ) -> Result<u64, SendRefusal> {
        let len = content.as_bytes().len();
        let takes = self
            .endpoints
            .get(partner)
            .and_then(Endpoint::peer_takes_parts);
        if self.transfers.get(partner).is_none() || !is_long_content(len) {
            let len = Uplink { content }.encoded_len();
            let len = len.saturating_add(DELIVERY_ADDED_BYTES_MAX);
            return Err(SendRefusal::TooLarge { len, max: short });
        }
        if let Some(takes) = takes.filter(|takes| len > *takes as usize) {
            let max = short.max(takes as usize);
            return Err(SendRefusal::HostTakesLess { len, max });
        }
        let max = DELIVERY_LONG_BYTES_MAX.min(self.uplinks.content_bytes_max());
        if len > max {
            return Err(SendRefusal::TooLarge { len, max });
        }
        let waiting = self.uplinks.len();
        self.uplinks
            .push(partner, slot, subtopic, content.as_bytes())
            .ok_or(SendRefusal::QueueFull { waiting })
    }

    /// Settles a message that is longer than its host takes, which was not known when it was taken.
    pub(super) fn refuse_too_long(&mut self) {
        let takes = |partner: usize| {
            let endpoint = self.endpoints.get(partner)?;
            endpoint.peer_takes_parts()
        };
        let too_long = self.uplinks.iter().find(|waiting| {
            let takes = takes(waiting.partner).unwrap_or(u32::MAX);
            is_long(waiting)
                && waiting.content.len() > takes as usize
                && self.uplinks.number(waiting.ticket).is_none()
        });
        if let Some(ticket) = too_long.map(|waiting| waiting.ticket) {
            let fate = Fate::RefusedByHost(Step::TooLarge);
            self.uplinks.settle(ticket, fate);
        }
    }

    /// Settles the oldest long message for a partner whose host knows no receipts, as it seems. The next one
    /// follows once its app is told: so there is always a place for the fates of messages with numbers.
    pub(super) fn refuse_unheard(&mut self, now_ms: u64) {
        let silence_ends_ms = self
            .up_since_ms
            .saturating_add(self.longs.long_silence_ms());
        if silence_ends_ms > now_ms || self.uplinks.has_settled() {
            return;
        }
        let unheard = |waiting: &Waiting<'_>| {
            let endpoint = self.endpoints.get(waiting.partner);
            is_long(waiting) && endpoint.is_some_and(|it| it.peer().is_none())
        };
        let found = self.uplinks.iter().find(unheard);
        if let Some(ticket) = found.map(|waiting| waiting.ticket) {
            let fate = Fate::RefusedByHost(Step::TooLarge);
            self.uplinks.settle(ticket, fate);
        }
    }
}

#[cfg(test)]
mod tests;
