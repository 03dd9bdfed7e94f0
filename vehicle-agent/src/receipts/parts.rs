//! Long messages that come in parts (SPEC 16.18): one at a time from each partner, put together in a
//! buffer of fixed size.
//!
//! | what is stored | event | then |
//! |---|---|---|
//! | nothing, or some | a part begins at 0 | that part |
//! | some | the next part, not the last | that as well: noted, then told as *part stored* |
//! | some | the last part | the whole: it goes on as any message, and nothing is stored |
//! | some | a part that does not follow, or breaks a bound | nothing; the part's sender is told why |
//! | some | the message's time is over, or nothing comes for [`DELIVERY_LONG_IDLE_MS`] | nothing |
//! | some | the partner's host lost its memory | nothing |

use vinbus_protocol::delivery::parts::Assembly;
use vinbus_protocol::delivery::{Carried, Part, Step};
use vinbus_protocol::limits::DELIVERY_LONG_IDLE_MS;

use super::{New, Receipts};

/// What has come of a long message.
#[derive(Debug)]
pub(super) struct Transfer<Q> {
    assembly: Assembly<Q>,
    /// Until when the next part is awaited.
    ends_at_ms: Option<u64>,
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>> Transfer<Q> {
    pub(super) fn drop_stored(&mut self) {
        self.assembly.clear();
        self.ends_at_ms = None;
    }
}

/// What became of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartFate {
    /// It is stored, and is to be noted.
    Stored,
    /// It was the last: the whole has so many bytes, and is at [`Receipts::whole`].
    Last(usize),
    /// It is refused, and its sender told why.
    Refused(Step),
}

impl<Q: AsRef<[u8]> + AsMut<[u8]>, const APPS: usize, const SENT: usize> Receipts<Q, APPS, SENT> {
    /// Takes long messages from the next partner, in this buffer.
    pub(crate) fn take_parts(&mut self, storage: Q) {
        let assembly = Assembly::new(storage);
        let partner = self.transfers.len();
        let bytes_max = assembly.bytes_max() as u32;
        let added = self.transfers.push(Transfer {
            assembly,
            ends_at_ms: None,
        });
        if let (Ok(()), Some(endpoint)) = (added, self.endpoints.get_mut(partner)) {
            endpoint.take_parts(bytes_max);
        }
    }

    /// Says again what an endpoint takes that was made anew.
    pub(super) fn offer_parts_again(&mut self, partner: usize) {
        let transfer = self.transfers.get(partner);
        let bytes_max = transfer.map_or(0, |transfer| transfer.assembly.bytes_max() as u32);
        if let Some(endpoint) = self.endpoints.get_mut(partner) {
            endpoint.take_parts(bytes_max);
        }
    }

    /// Takes a new part.
    pub(crate) fn part(
        &mut self,
        now_ms: u64,
        new: New,
        part: Part,
        carried: &Carried<'_>,
    ) -> PartFate {
        let Some(transfer) = self.transfers.get_mut(new.partner) else {
            return self.part_refused(now_ms, new, Step::TooLarge);
        };
        let added = transfer.assembly.add(part, carried);
        let stored = match added {
            Ok(false) => Ok(PartFate::Stored),
            Ok(true) => {
                let whole = transfer.assembly.whole();
                whole.map(|whole| PartFate::Last(whole.as_bytes().len()))
            }
            Err(error) => Err(error),
        };
        match stored {
            Ok(fate) => {
                let idle_at_ms = now_ms.saturating_add(DELIVERY_LONG_IDLE_MS);
                let ends_at_ms = new.ends_at_ms.map_or(idle_at_ms, |at| at.min(idle_at_ms));
                transfer.ends_at_ms = Some(ends_at_ms);
                fate
            }
            Err(error) => self.part_refused(now_ms, new, error.step()),
        }
    }

    /// A part that cannot be of any use: what came before it is dropped.
    pub(crate) fn part_refused(&mut self, now_ms: u64, new: New, step: Step) -> PartFate {
        self.drop_transfer(new.partner);
        self.report(now_ms, new.partner, new.id, step);
        PartFate::Refused(step)
    }

    /// Writes the whole message of a partner to `out`; `None` where it does not fit.
    pub(crate) fn whole<'b>(&self, partner: usize, out: &'b mut [u8]) -> Option<&'b [u8]> {
        let whole = self.transfers.get(partner)?.assembly.whole().ok()?;
        let place = out.get_mut(..whole.as_bytes().len())?;
        place.copy_from_slice(whole.as_bytes());
        Some(place)
    }

    /// The text of a part that was stored last, and until when the next one is awaited.
    pub(crate) fn stored_part(&self, partner: usize, part: Part) -> (&[u8], Option<u64>) {
        match self.transfers.get(partner) {
            Some(it) => (it.assembly.stored_from(part.offset as usize), it.ends_at_ms),
            None => (&[], None),
        }
    }

    /// A part is noted: its sender is told so. Its note says that it is over, so there is no other.
    pub(crate) fn part_noted(&mut self, now_ms: u64, new: New) {
        if let Some(endpoint) = self.endpoints.get_mut(new.partner) {
            endpoint.report(now_ms, new.id, Step::PartStored);
        }
    }

    /// A part could not be noted: it is new when it comes again.
    pub(crate) fn part_not_noted(&mut self, new: New, part: Part) {
        if let Some(transfer) = self.transfers.get_mut(new.partner) {
            transfer.assembly.truncate(part.offset as usize);
        }
        self.forget(new);
    }

    /// The whole message of a partner has gone on.
    pub(crate) fn drop_transfer(&mut self, partner: usize) {
        if let Some(transfer) = self.transfers.get_mut(partner) {
            transfer.drop_stored();
        }
    }

    /// Takes up a part that was noted in an earlier life.
    pub(crate) fn resume_part(
        &mut self,
        partner: usize,
        part: Part,
        piece: &str,
        ends_at_ms: Option<u64>,
    ) -> bool {
        let Some(transfer) = self.transfers.get_mut(partner) else {
            return false;
        };
        transfer.ends_at_ms = ends_at_ms;
        transfer.assembly.restore(part, piece).is_ok()
    }

    /// Drops what nobody goes on with; says how many messages.
    pub(crate) fn drop_abandoned(&mut self, now_ms: u64) -> u64 {
        let mut dropped = 0;
        for transfer in &mut self.transfers {
            if transfer.ends_at_ms.is_some_and(|at| at <= now_ms) {
                transfer.drop_stored();
                dropped += 1;
            }
        }
        dropped
    }

    /// When what is stored of long messages is dropped.
    pub(super) fn transfers_end_ms(&self) -> impl Iterator<Item = u64> {
        let transfers = self.transfers.iter();
        transfers.filter_map(|transfer| transfer.ends_at_ms)
    }
}

#[cfg(test)]
mod tests {
    use std::vec::Vec;
    use std::{format, vec};

    use vinbus_protocol::delivery::{
        Epoch, Header, Marked, Offer, Receipts as Told, Received, announced, read,
    };
    use vinbus_protocol::envelope::{Content, Uplink};
    use vinbus_protocol::id::AppId;

    use super::super::{Arrived, Leaving, OPEN_MAX};
    use super::*;

    type Ends = Receipts<Vec<u8>, 4, 32>;

    const HOST: u32 = 5;
    const CAR: u32 = 9;

    /// A message that comes in parts.
    const LONG: &str = "[1,2,3,4]";

    fn epoch(number: u32) -> Epoch {
        Epoch::new(number).unwrap()
    }

    /// A vehicle that takes up to `bytes_max`, and knows its partner's host.
    fn car(bytes_max: usize) -> Ends {
        let mut ends = Ends::new(epoch(CAR), 7, vec![0; 1024]);
        ends.add_partner();
        ends.take_parts(vec![0; bytes_max]);
        ends.link_changed(0, true);
        assert!(matches!(
            give(&mut ends, 0, 1, (0, "[1,2]"), "[1,"),
            Came::Part(PartFate::Stored)
        ));
        ends.drop_transfer(0);
        ends
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Came {
        Nothing,
        Part(PartFate),
    }

    /// A part comes under a number, and is noted if it is stored.
    fn give(
        ends: &mut Ends,
        now_ms: u64,
        number: u32,
        (offset, whole): (u32, &str),
        piece: &str,
    ) -> Came {
        let part = Part {
            offset,
            ..Part::first(whole)
        };
        give_part(ends, now_ms, number, part, piece)
    }

    fn give_part(ends: &mut Ends, now_ms: u64, number: u32, part: Part, piece: &str) -> Came {
        let header = Header {
            epoch: epoch(HOST),
            peer: epoch(CAR),
            number,
            ttl_s: 60,
            part: Some(part),
        };
        let mut buffer = vec![0; piece.len() + 256];
        let app = AppId::parse("app").unwrap();
        let marked = Marked::part(header, piece);
        let payload = marked.encode_downlink(&app, &mut buffer).unwrap();
        match ends.arrived(now_ms, 0, payload) {
            Arrived::Part(new, part, _, carried) => {
                let fate = ends.part(now_ms, new, part, &carried);
                if fate == PartFate::Stored {
                    ends.part_noted(now_ms, new);
                }
                Came::Part(fate)
            }
            Arrived::Done => Came::Nothing,
            other => panic!("{other:?}"),
        }
    }

    /// What the sender is told of the newest messages.
    fn told(ends: &mut Ends, now_ms: u64) -> Vec<(Step, u32)> {
        let mut told = Vec::new();
        while let Some((_, Leaving::Control(frame))) = ends.next_frame(now_ms) {
            let mut buffer = vec![0; 8192];
            let payload = frame.encode_uplink(&mut buffer).unwrap();
            let content = Uplink::decode(payload).unwrap().content;
            let Received::Control(control) = read(content) else {
                panic!("it is delivery's own");
            };
            let runs = control.receipts.iter().flat_map(Told::runs);
            told.extend(runs.map(|run| (run.step, run.first)));
        }
        told
    }

    #[test]
    fn offer_says_how_long_a_message_may_be() {
        let ends = car(4096);
        let offer = Offer {
            epoch: epoch(CAR),
            long_bytes_max: 4096,
        };
        assert_eq!(ends.offered(0), Some(offer));
        let report = format!(r#"{{"online":true,"vinbus":{{"e":{CAR},"v":1,"l":4096}}}}"#);
        let content = Content::parse(report.as_bytes()).unwrap();
        assert_eq!(announced(content), Some(offer));
    }

    #[test]
    fn bombs_of_parts_are_refused_and_the_next_message_is_taken() {
        let mut ends = car(4096);
        use Step::{BadContent, PartMissing, TooLarge};
        let stored = Came::Part(PartFate::Stored);
        let refused = |step| Came::Part(PartFate::Refused(step));
        let mut number = 1;
        let mut check = |ends: &mut Ends, (offset, total): (u32, u32), piece: &str, expected| {
            number += 1;
            let first = Part::first(LONG);
            let part = Part {
                offset,
                total,
                ..first
            };
            let came = give_part(ends, 0, number, part, piece);
            assert_eq!(came, expected, "{part:?}");
        };
        // Huge, and one byte of it.
        check(&mut ends, (0, u32::MAX), "[", refused(TooLarge));
        check(&mut ends, (0, 4097), "[", refused(TooLarge));
        // Out of order, beyond the end, overlapping, of another whole, empty.
        check(&mut ends, (2, 9), "1", refused(PartMissing));
        check(&mut ends, (u32::MAX, 9), "1", refused(PartMissing));
        check(&mut ends, (0, 9), "[1,", stored);
        check(&mut ends, (2, 9), ",2", refused(PartMissing));
        check(&mut ends, (0, 9), "[1,", stored);
        check(&mut ends, (3, 8), "2,3,4", refused(PartMissing));
        check(&mut ends, (0, 9), "[1,", stored);
        check(&mut ends, (3, 9), "2,3,4,5,6,7]", refused(BadContent));
        check(&mut ends, (0, 9), "", refused(BadContent));
        check(&mut ends, (0, 3), "[1,2", refused(BadContent));
        check(&mut ends, (0, 3), "[1]", refused(PartMissing));
        let came = give(&mut ends, 0, number + 1, (0, "[1,"), "[1,");
        assert_eq!(came, refused(BadContent));
        let came = give(&mut ends, 0, number + 2, (0, "[1]"), "[1]");
        assert_eq!(came, Came::Part(PartFate::Last(3)));
        let mut out = vec![0; 8];
        assert_eq!(ends.whole(0, &mut out), Some(&b"[1]"[..]));
        let steps: Vec<Step> = told(&mut ends, 100).iter().map(|it| it.0).collect();
        for step in [TooLarge, PartMissing, BadContent, Step::PartStored] {
            assert!(steps.contains(&step), "{step} is told");
        }
    }

    #[test]
    fn two_long_messages_of_one_length_are_never_mixed() {
        let mut ends = car(4096);
        let (one, other) = (LONG, "[5,6,7,8]");
        let stored = Came::Part(PartFate::Stored);
        let missing = Came::Part(PartFate::Refused(Step::PartMissing));
        assert_eq!(give(&mut ends, 0, 2, (0, one), "[1,2,"), stored);
        assert_eq!(give(&mut ends, 0, 3, (5, other), "7,8]"), missing);
        // Its own last part finds nothing any more, and the message begins again.
        assert_eq!(give(&mut ends, 0, 4, (5, one), "3,4]"), missing);
        assert_eq!(give(&mut ends, 0, 5, (0, one), "[1,2,"), stored);
        let last = give(&mut ends, 0, 6, (5, one), "3,4]");
        assert_eq!(last, Came::Part(PartFate::Last(9)));
        let mut out = vec![0; 16];
        assert_eq!(ends.whole(0, &mut out), Some(one.as_bytes()));
    }

    #[test]
    fn many_transfers_that_never_end_take_one_buffer_and_the_oldest_numbers_are_stale() {
        let mut ends = car(4096);
        let part = Part {
            total: 4096,
            ..Part::first("[1,")
        };
        let (mut stored, mut dropped) = (0, 0);
        let places = OPEN_MAX - 1;
        for number in 2..20_000 {
            match give_part(&mut ends, u64::from(number), number, part, "[1,") {
                Came::Part(PartFate::Stored) => stored += 1,
                // The account of what is not acknowledged is full: it is new when it comes again.
                Came::Nothing => dropped += 1,
                other => panic!("{other:?}"),
            }
        }
        assert_eq!((stored, dropped), (places, 19_998 - places));
        assert_eq!(ends.transfers[0].assembly.stored(), 3);
    }

    #[test]
    fn what_nobody_goes_on_with_is_dropped_when_its_time_is_over() {
        let mut ends = car(4096);
        assert_eq!(
            give(&mut ends, 1_000, 2, (0, LONG), "[1,"),
            Came::Part(PartFate::Stored)
        );
        assert_eq!(ends.expiry_ms(1_000), 61_000);
        assert_eq!(ends.drop_abandoned(60_999), 0);
        assert_eq!(ends.drop_abandoned(61_000), 1);
        assert_eq!(ends.expiry_ms(61_000), u64::MAX);
        let late = give(&mut ends, 62_000, 3, (3, LONG), "2,3");
        assert_eq!(late, Came::Part(PartFate::Refused(Step::PartMissing)));
    }

    #[test]
    fn part_that_could_not_be_noted_is_new_when_it_comes_again() {
        let mut ends = car(4096);
        give(&mut ends, 0, 2, (0, LONG), "[1,");
        let header = Header {
            epoch: epoch(HOST),
            peer: epoch(CAR),
            number: 3,
            ttl_s: 0,
            part: Some(Part {
                offset: 3,
                ..Part::first(LONG)
            }),
        };
        let mut buffer = vec![0; 256];
        let app = AppId::parse("app").unwrap();
        let payload = Marked::part(header, "2,3").encode_downlink(&app, &mut buffer);
        let payload = payload.unwrap().to_vec();
        let Arrived::Part(new, part, _, carried) = ends.arrived(1, 0, &payload) else {
            panic!("it is new");
        };
        assert_eq!(ends.part(1, new, part, &carried), PartFate::Stored);
        ends.part_not_noted(new, part);
        let again = give(&mut ends, 2, 3, (3, LONG), "2,3");
        assert_eq!(again, Came::Part(PartFate::Stored));
        let last = give(&mut ends, 2, 4, (6, LONG), ",4]");
        assert_eq!(last, Came::Part(PartFate::Last(9)));
    }
}
