use std::vec::Vec;
use std::{format, string::String, vec};

use vinbus_protocol::delivery::{Epoch, Snapshot, Verdict};
use vinbus_protocol::limits::DELIVERY_LONG_UPLINK_BYTES_MAX;

use super::super::{Arrived, Leaving};
use super::*;
use crate::clock::NEVER;

type Ends = Receipts<Vec<u8>, 4, 32>;

const SLOT: AppSlot = AppSlot::new(1);

fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

/// A vehicle whose queue holds two of the longest messages.
fn car() -> Ends {
    let queue = vec![0; 2 * DELIVERY_LONG_UPLINK_BYTES_MAX + 1024];
    let mut ends = Ends::new(epoch(9), 7, queue);
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
        let mut end = Endpoint::new(Snapshot::fresh(self::epoch(epoch)), 0);
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
    accept(&mut ends, &long(140_001)).unwrap();
    let next = ends.next_frame(5_000).map(|(_, leaving)| match leaving {
        Leaving::Plain(ticket) => ticket,
        Leaving::Control(_) | Leaving::Marked(..) => panic!("nobody speaks"),
    });
    assert_eq!(next, Some(1));
    ends.handle_fate(1, Fate::WithBroker);
    assert_eq!(fates(&mut ends), [(1, Fate::WithBroker)]);
    // Long ones wait for it for ten minutes.
    assert_eq!(ends.deadline_ms(), 600_000);
    assert!(ends.next_frame(599_999).is_none());
    assert!(fates(&mut ends).is_empty());
    let _ = ends.next_frame(600_000);
    for ticket in [0, 2] {
        assert_eq!(ends.deadline_ms(), 0, "the app is to be told");
        assert_eq!(fates(&mut ends), [(ticket, too_large)], "one at a time");
        let _ = ends.next_frame(600_000);
    }
    assert!(fates(&mut ends).is_empty());
}

#[test]
fn host_that_comes_back_minutes_after_the_link_gets_the_long_messages_that_waited() {
    let (mut ends, mut host) = (car(), Host::new(5, MIB));
    accept(&mut ends, &long(200_000)).unwrap();
    for now_ms in (0..400_000).step_by(1_000) {
        assert!(ends.next_frame(now_ms).is_none());
    }
    assert!(fates(&mut ends).is_empty());
    host.says = vec![Step::PartStored, Step::Confirmed];
    for now_ms in (400_000..500_000).step_by(100) {
        host.talk(&mut ends, now_ms);
    }
    assert_eq!(fates(&mut ends), [(0, Fate::Confirmed)]);
}

#[test]
fn link_that_comes_and_goes_keeps_no_message_for_ever() {
    let too_large = Fate::RefusedByHost(Step::TooLarge);
    let mut ends = car();
    accept(&mut ends, &long(200_000)).unwrap();
    // Up for four minutes of each five.
    for came_up_ms in [0, 300_000] {
        assert!(ends.next_frame(came_up_ms + 239_999).is_none());
        ends.link_changed(came_up_ms + 240_000, false);
        assert_eq!(ends.deadline_ms(), NEVER);
        ends.link_changed(came_up_ms + 300_000, true);
    }
    assert_eq!(ends.deadline_ms(), 720_000);
    assert!(ends.next_frame(719_999).is_none());
    assert_eq!(fates(&mut ends), []);
    assert!(ends.next_frame(720_000).is_none());
    assert_eq!(fates(&mut ends), [(0, too_large)]);
    // On each later link its host has the time to greet.
    ends.link_changed(720_000, false);
    ends.link_changed(800_000, true);
    accept(&mut ends, &long(200_000)).unwrap();
    assert_eq!(ends.deadline_ms(), 805_000);
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
    let mut ends = Ends::new(epoch(9), 7, vec![0; DELIVERY_LONG_UPLINK_BYTES_MAX]);
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

#[test]
fn later_life_sends_each_long_message_that_waits() {
    let (mut ends, mut host) = (car(), Host::new(5, MIB));
    let content = long(200_000);
    for (ticket, number, begun) in [(3, Some(4), 1), (5, None, 0), (6, None, 0)] {
        let waiting = Waiting {
            ticket,
            partner: 0,
            slot: SLOT,
            subtopic: None,
            content: content.as_bytes(),
        };
        let stored = 0;
        let sent = Sent {
            number,
            stored,
            begun,
        };
        assert!(ends.resume_uplink(waiting, sent));
    }
    host.says = [Step::PartStored, Step::Confirmed].repeat(3);
    for now_ms in (100..60_000).step_by(100) {
        host.talk(&mut ends, now_ms);
    }
    let confirmed = |ticket| (ticket, Fate::Confirmed);
    assert_eq!(fates(&mut ends), [3, 5, 6].map(confirmed));
}
