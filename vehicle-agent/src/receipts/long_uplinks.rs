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
//! | waits | its host takes less, or no messages with receipts | its app is told *too large* |

use heapless::Vec;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Endpoint, Header, Loss, Marked, Part, Step, parts};
use vinbus_protocol::envelope::{Content, Uplink};
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_LONG_BEGINS_MAX, DELIVERY_LONG_BYTES_MAX,
    DELIVERY_PART_BYTES_MAX, PAYLOAD_BYTES_MAX,
};

use super::uplinks::Uplinks;
use super::{Receipts, Waiting};
use crate::apps::{Fate, SendRefusal};
use crate::notes::Sent;

/// Bytes around the piece of a part, about.
const PART_FRAME_BYTES: usize = 192;

/// The long messages that are begun.
#[derive(Debug)]
pub(super) struct LongUplinks<const APPS: usize> {
    begun: Vec<Begun, APPS>,
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
        Self { begun: Vec::new() }
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
        PART_FRAME_BYTES.saturating_add(piece(waiting.content, part).len())
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
            false => uplinks.unnumber(ticket),
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

    /// Goes on with a message of an earlier life: bytes of it that go under its number.
    pub(super) fn resume(&mut self, waiting: &Waiting<'_>, sent: Sent) -> usize {
        let is_begun = sent.number.is_some() || sent.begun > 0;
        let is_first = self.begun.iter().all(|it| it.partner != waiting.partner);
        if is_begun && is_first && is_long(waiting) {
            let text = text(waiting.content);
            let offset = sent.stored as usize;
            let follows = offset < text.len() && text.is_char_boundary(offset);
            let part = Part {
                offset: if follows { sent.stored } else { 0 },
                ..Part::first(text)
            };
            self.add(waiting, part, sent.begun.max(1));
        }
        self.begin(waiting)
    }
}

impl Begun {
    fn begin_again(&mut self) {
        self.part.offset = 0;
        self.times = self.times.saturating_add(1);
    }
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize> Receipts<Q, APPS> {
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
                && self
                    .uplinks
                    .number(waiting.partner, waiting.ticket)
                    .is_none()
        });
        if let Some(ticket) = too_long.map(|waiting| waiting.ticket) {
            let fate = Fate::RefusedByHost(Step::TooLarge);
            self.uplinks.settle(ticket, fate);
        }
    }

    /// Settles the long messages for partners whose hosts know no receipts.
    pub(super) fn refuse_unheard(&mut self) {
        let endpoints = &self.endpoints;
        let unheard = |waiting: &Waiting<'_>| {
            let endpoint = endpoints.get(waiting.partner);
            is_long(waiting) && endpoint.is_some_and(|it| it.peer().is_none())
        };
        loop {
            let found = self.uplinks.iter().find(unheard);
            let Some(ticket) = found.map(|waiting| waiting.ticket) else {
                return;
            };
            let before = self.uplinks.len();
            let fate = Fate::RefusedByHost(Step::TooLarge);
            self.uplinks.settle(ticket, fate);
            if self.uplinks.len() == before {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;
    use std::{format, string::String, vec};

    use vinbus_protocol::delivery::{Epoch, Snapshot, Verdict};
    use vinbus_protocol::limits::DELIVERY_LONG_UPLINK_BYTES_MAX;

    use super::super::{Arrived, Leaving};
    use super::*;

    type Ends = Receipts<Vec<u8>, 4>;

    const SLOT: AppSlot = AppSlot::new(1);

    fn epoch(number: u32) -> Epoch {
        Epoch::new(number).unwrap()
    }

    /// A vehicle whose queue holds two of the longest messages.
    fn car() -> Ends {
        let queue = vec![0; 2 * DELIVERY_LONG_UPLINK_BYTES_MAX + 1024];
        let mut ends = Ends::new(epoch(9), queue);
        ends.add_partner();
        ends.take_parts(vec![0; DELIVERY_LONG_BYTES_MAX]);
        ends.link_changed(0, true);
        ends
    }

    /// Its partner's host, and what it says of the next parts that come.
    struct Host {
        end: Endpoint<8, 64>,
        says: Vec<Step>,
        /// Where the parts began; `None` for a message that is no part.
        came: Vec<Option<u32>>,
    }

    impl Host {
        fn new(epoch: u32, takes: u32) -> Self {
            let mut end = Endpoint::new(Snapshot::fresh(self::epoch(epoch)));
            end.handle_link(0, true);
            end.take_parts(takes);
            let (says, came) = (Vec::new(), Vec::new());
            Self { end, says, came }
        }

        /// Lets both ends say what they have to, until both are silent at a time.
        fn talk(&mut self, ends: &mut Ends, now_ms: u64) {
            if let Some(offer) = ends.offered(0).filter(|_| self.end.peer().is_none()) {
                self.end.handle_announcement(now_ms, offer);
            }
            loop {
                let said = self.say(ends, now_ms);
                while let Some((ticket, _)) = ends.next_progress() {
                    ends.progress_noted(ticket);
                }
                while ends.number_next(now_ms).is_some() {}
                if !self.hear(ends, now_ms) && !said {
                    return;
                }
            }
        }

        fn say(&mut self, ends: &mut Ends, now_ms: u64) -> bool {
            let mut buffer = [0; 8192];
            let Some(control) = self.end.poll_control(now_ms, 7) else {
                return false;
            };
            let payload = control.encode_downlink(&mut buffer).unwrap();
            assert!(matches!(ends.arrived(now_ms, 0, payload), Arrived::Done));
            true
        }

        fn hear(&mut self, ends: &mut Ends, now_ms: u64) -> bool {
            let (header, ticket) = match ends.next_frame(now_ms) {
                None => return false,
                Some((_, Leaving::Control(frame))) => {
                    let mut buffer = [0; 8192];
                    let payload = frame.encode_uplink(&mut buffer).unwrap();
                    let content = Uplink::decode(payload).unwrap().content;
                    let control = match vinbus_protocol::delivery::read(content) {
                        vinbus_protocol::delivery::Received::Control(control) => control,
                        other => panic!("{other:?}"),
                    };
                    let batch = self.end.handle_control(now_ms, &control, |_| {});
                    assert_eq!(batch, None, "nothing is sent to it");
                    return true;
                }
                Some((_, Leaving::Marked(header, ticket))) => (header, ticket),
                Some((_, Leaving::Plain(_))) => panic!("it speaks"),
            };
            let content = ends.uplink(ticket).unwrap().content;
            assert!(marked(header, content).unwrap().encoded_len() < PAYLOAD_BYTES_MAX);
            let Verdict::New(id) = self.end.handle_message(now_ms, &header) else {
                return true;
            };
            self.came.push(header.part.map(|part| part.offset));
            let step = match header.part {
                None => Step::Confirmed,
                Some(_) if self.says.is_empty() => return true,
                Some(_) => self.says.remove(0),
            };
            assert!(self.end.report(now_ms, id, step));
            true
        }
    }

    fn long(len: usize) -> String {
        format!("\"{}\"", "x".repeat(len - 2))
    }

    fn accept(ends: &mut Ends, content: &str) -> Result<u64, SendRefusal> {
        let content = Content::parse_long(content.as_bytes()).unwrap();
        ends.accept(0, SLOT, None, content, PAYLOAD_BYTES_MAX)
    }

    fn fates(ends: &mut Ends) -> Vec<(u64, Fate)> {
        let settled = core::iter::from_fn(|| ends.next_settled());
        settled.map(|(_, ticket, fate)| (ticket, fate)).collect()
    }

    const MIB: u32 = DELIVERY_LONG_BYTES_MAX as u32;

    /// Bytes of a first piece: its quote takes two.
    const FIRST: u32 = DELIVERY_PART_BYTES_MAX as u32 - 1;

    #[test]
    fn parts_go_one_after_the_other_and_short_messages_between_two_long_ones() {
        let (mut ends, mut host) = (car(), Host::new(5, MIB));
        accept(&mut ends, &long(200_000)).unwrap();
        accept(&mut ends, &long(150_000)).unwrap();
        accept(&mut ends, "1").unwrap();
        // The part on its way is not answered, and the short one is.
        for now_ms in [100, 150, 200] {
            host.talk(&mut ends, now_ms);
        }
        assert_eq!(host.came, [Some(0), None]);
        assert_eq!(fates(&mut ends), [(2, Fate::Confirmed)]);
        host.says = vec![
            Step::PartStored,
            Step::Confirmed,
            Step::PartStored,
            Step::Confirmed,
        ];
        // The one that was not answered comes again, as new to this host.
        host.end = Host::new(6, MIB).end;
        for now_ms in (300..60_000).step_by(100) {
            host.talk(&mut ends, now_ms);
        }
        let ends_at = Some(FIRST);
        assert_eq!(host.came[2..], [Some(0), ends_at, Some(0), ends_at]);
        assert_eq!(
            fates(&mut ends),
            [(0, Fate::Confirmed), (1, Fate::Confirmed)]
        );
    }

    #[test]
    fn message_of_which_nothing_stays_begins_again_and_is_given_up_the_eighth_time() {
        let (mut ends, mut host) = (car(), Host::new(5, MIB));
        accept(&mut ends, &long(200_000)).unwrap();
        host.says = vec![Step::PartStored; 20];
        host.says[1] = Step::PartMissing;
        host.says[2] = Step::Known;
        // The last part is never just stored.
        for now_ms in (100..120_000).step_by(100) {
            host.talk(&mut ends, now_ms);
        }
        let begins = host.came.iter().filter(|offset| **offset == Some(0));
        assert_eq!(begins.count(), DELIVERY_LONG_BEGINS_MAX as usize);
        assert_eq!(fates(&mut ends), [(0, Fate::Lost(Loss::GivenUp))]);
        accept(&mut ends, &long(200_000)).unwrap();
        host.says = vec![Step::PartStored, Step::Confirmed];
        for now_ms in (120_000..180_000).step_by(100) {
            host.talk(&mut ends, now_ms);
        }
        assert_eq!(fates(&mut ends), [(1, Fate::Confirmed)]);
    }

    #[test]
    fn host_that_takes_less_refuses_at_once_or_as_soon_as_it_is_known() {
        let too_large = Fate::RefusedByHost(Step::TooLarge);
        for (takes, max) in [(0, PAYLOAD_BYTES_MAX), (140_000, 140_000)] {
            let (mut ends, mut host) = (car(), Host::new(5, takes));
            accept(&mut ends, &long(140_001)).unwrap();
            host.talk(&mut ends, 100);
            assert_eq!(fates(&mut ends), [(0, too_large)]);
            let (len, refused) = (140_001, accept(&mut ends, &long(140_001)));
            assert_eq!(refused, Err(SendRefusal::HostTakesLess { len, max }));
            assert!(host.came.is_empty());
        }
        // One that says nothing of receipts takes none, and short ones go as they are.
        let mut ends = car();
        accept(&mut ends, &long(140_001)).unwrap();
        accept(&mut ends, "1").unwrap();
        let next = ends.next_frame(5_000).map(|(_, leaving)| match leaving {
            Leaving::Plain(ticket) => ticket,
            Leaving::Control(_) | Leaving::Marked(..) => panic!("nobody speaks"),
        });
        assert_eq!(next, Some(1));
        assert_eq!(ends.deadline_ms(), Some(0), "the app is to be told");
        assert_eq!(fates(&mut ends), [(0, too_large)]);
    }

    #[test]
    fn longest_content_is_taken_and_one_byte_more_is_not() {
        let mut ends = car();
        let short = PAYLOAD_BYTES_MAX - DELIVERY_ADDED_BYTES_MAX - r#"{"content":}"#.len();
        for len in [short, short + 1, DELIVERY_LONG_BYTES_MAX] {
            assert!(accept(&mut ends, &long(len)).is_ok(), "{len}");
        }
        let refused = accept(&mut ends, &long(DELIVERY_LONG_BYTES_MAX));
        assert_eq!(refused, Err(SendRefusal::QueueFull { waiting: 3 }));
        let more = long(DELIVERY_LONG_BYTES_MAX + 1);
        assert!(Content::parse_long(more.as_bytes()).is_err());
        // A board, and a simulated vehicle, send none.
        let mut ends = Ends::new(epoch(9), vec![0; DELIVERY_LONG_UPLINK_BYTES_MAX]);
        ends.add_partner();
        let refused = accept(&mut ends, &long(short + 1));
        let (len, max) = (PAYLOAD_BYTES_MAX + 1, PAYLOAD_BYTES_MAX);
        assert_eq!(refused, Err(SendRefusal::TooLarge { len, max }));
    }

    #[test]
    fn later_life_goes_on_where_its_notes_say() {
        let content = long(300_000);
        let (stored, then) = (FIRST, FIRST + DELIVERY_PART_BYTES_MAX as u32);
        let check = |number, stored: u32, begun, expected: &[u32]| {
            let (mut ends, mut host) = (car(), Host::new(5, MIB));
            let waiting = Waiting {
                ticket: 7,
                partner: 0,
                slot: SLOT,
                subtopic: None,
                content: content.as_bytes(),
            };
            let sent = Sent {
                number,
                stored,
                begun,
            };
            assert!(ends.resume_uplink(waiting, sent));
            host.says = vec![Step::PartStored; expected.len()];
            *host.says.last_mut().unwrap() = Step::Confirmed;
            for now_ms in (100..60_000).step_by(100) {
                host.talk(&mut ends, now_ms);
            }
            let came: Vec<u32> = host.came.iter().copied().flatten().collect();
            assert_eq!(came, expected, "{sent:?}");
            assert_eq!(fates(&mut ends), [(7, Fate::Confirmed)]);
        };
        check(None, 0, 0, &[0, stored, then]);
        check(None, stored, 1, &[stored, then]);
        check(Some(4), stored, 1, &[stored, then]);
        // Notes that cannot be of this message.
        check(None, 300_000, 1, &[0, stored, then]);
    }
}
