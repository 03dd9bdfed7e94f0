//! Delivery between two ends, told what happens one step at a time, through the public interface.

mod delivery_pair;

use std::num::NonZeroU32;

use delivery_pair::{
    AGENT, End, Got, HOST, PLAIN, Sent, end, epoch, give, lossy_transfers, offer, pair, sent,
    whole_transfer,
};
use proptest::prelude::*;
use vinbus_protocol::delivery::parts::{Assembly, PartError, piece};
use vinbus_protocol::delivery::{
    self, Endpoint, Event, Header, Loss, Marked, Message, MessageId, Offer, Part, Received,
    Snapshot, Step, SubmitError, Transmit, Verdict,
};
use vinbus_protocol::envelope::{Content, EncodeError, Uplink};
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_LONG_BYTES_MAX, DELIVERY_PARTS_MAX, PAYLOAD_BYTES_MAX,
};

fn new_at(end: &mut End, now_ms: u64, frame: &[u8]) -> MessageId {
    match give(end, now_ms, frame) {
        Got::Message(_, Verdict::New(id)) => id,
        other => panic!("{other:?} is not new"),
    }
}

fn control(text: &str) -> Sent {
    format!("{{\"content\":{{\"vinbus\":{text}}}}}").into_bytes()
}

#[test]
fn legacy_peer_hears_nothing() {
    let mut host = end(HOST);
    host.submit(0, PLAIN).unwrap();
    for minute in 0..1_000 {
        assert!(sent(&mut host, minute * 60_000).is_empty());
    }
}

#[test]
fn message_goes_through_all_its_steps_and_leaves_nothing_behind() {
    let (mut host, mut agent) = pair();
    assert_eq!(host.submit(100, PLAIN).unwrap().number, 1);
    let id = new_at(&mut agent, 150, &sent(&mut host, 100)[0]);
    for (at, step) in [
        (200, Step::Received),
        (400, Step::HeldBackground),
        (600, Step::Handed),
        (800, Step::Confirmed),
    ] {
        assert!(agent.report(at, id, step));
        assert_eq!(agent.poll_timeout(), Some(at + 20));
        let receipts = sent(&mut agent, at + 20);
        assert_eq!(
            give(&mut host, at + 70, &receipts[0]),
            Got::Told(vec![(step, 1, 1)])
        );
        give(&mut agent, at + 120, &sent(&mut host, at + 70)[0]);
    }
    assert!(
        !agent.report(1_000, id, Step::Evicted),
        "its fate is sealed"
    );
    assert_eq!((host.unanswered(), agent.open()), (0, 0));
    assert_eq!((host.poll_timeout(), agent.poll_timeout()), (None, None));
}

#[test]
fn lost_message_is_repeated_with_growing_patience_and_taken_once() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let first = sent(&mut host, 0).remove(0);
    for due in [1_003, 2_006, 3_009, 5_012] {
        assert_eq!(host.poll_timeout(), Some(due));
        assert!(sent(&mut host, due - 1).is_empty());
        assert_eq!(sent(&mut host, due).len(), 1);
    }
    assert!(matches!(
        give(&mut agent, 8_000, &first),
        Got::Message(1, Verdict::New(_))
    ));
    assert_eq!(
        give(&mut agent, 8_001, &first),
        Got::Message(1, Verdict::Repeated)
    );
    assert_eq!(agent.counters().receiver.taken, 1);
    assert_eq!(host.counters().sender.repeated, 4);
}

#[test]
fn message_that_three_later_ones_have_overtaken_is_repeated_at_once() {
    let (mut host, mut agent) = pair();
    for _ in 0..4 {
        host.submit(0, PLAIN).unwrap();
    }
    let frames = sent(&mut host, 0);
    for frame in &frames[1..] {
        let id = new_at(&mut agent, 50, frame);
        agent.report(50, id, Step::Taken);
    }
    let receipts = sent(&mut agent, 70);
    assert_eq!(
        give(&mut host, 120, &receipts[0]),
        Got::Told(vec![(Step::Taken, 2, 3)])
    );
    let again = sent(&mut host, 120);
    assert_eq!(again.len(), 2, "an acknowledgement and the lost message");
    assert!(matches!(
        give(&mut agent, 170, &again[1]),
        Got::Message(1, Verdict::New(_))
    ));
}

#[test]
fn receipts_are_told_again_until_they_are_acknowledged() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    agent.report(0, id, Step::Taken);
    assert_eq!(sent(&mut agent, 20).len(), 1);
    assert!(sent(&mut agent, 500).is_empty());
    let again = sent(&mut agent, 1_100);
    assert_eq!(
        give(&mut host, 1_100, &again[0]),
        Got::Told(vec![(Step::Taken, 1, 1)])
    );
    give(&mut agent, 1_100, &sent(&mut host, 1_100)[0]);
    assert_eq!(agent.open(), 0);
}

#[test]
fn receipts_are_sent_while_the_owner_keeps_messages_back() {
    let (mut host, mut agent) = pair();
    agent.submit(0, PLAIN).unwrap();
    host.submit(0, PLAIN).unwrap();
    assert!(host.poll_control(0, 0).is_none());
    assert_eq!(
        (host.control_timeout(), host.poll_timeout()),
        (None, Some(0))
    );
    let id = new_at(&mut host, 0, &sent(&mut agent, 0)[0]);
    host.report(0, id, Step::Confirmed);
    assert_eq!(host.control_timeout(), Some(20));
    assert!(host.poll_control(20, 0).is_some());
    assert!(matches!(
        host.poll_transmit(20, 0),
        Some(Transmit::Message(_))
    ));
}

#[test]
fn what_came_is_not_told_before_its_owner_says_so() {
    let (mut host, mut agent) = pair();
    agent.submit(0, PLAIN).unwrap();
    let frame = sent(&mut agent, 0).remove(0);
    let id = new_at(&mut host, 0, &frame);
    assert!(sent(&mut host, 10_000).is_empty(), "it is not on disk yet");
    assert!(host.forget(id), "and never was");
    assert_eq!(new_at(&mut host, 10_000, &frame), id);
    assert!(host.report(10_000, id, Step::Confirmed));
    assert!(!host.forget(id));
}

#[test]
fn message_whose_time_is_over_is_told_as_lost() {
    let (mut host, _) = pair();
    let expires = |at| Message {
        expires_at_ms: Some(at),
        ..PLAIN
    };
    host.submit(1_000, expires(0)).unwrap();
    host.submit(1_000, expires(1_500)).unwrap();
    let year_9999 = 253_370_764_800_000;
    host.submit(1_000, expires(year_9999)).unwrap();
    let lost = |number| Event::Lost {
        number,
        loss: Loss::Expired,
    };
    assert_eq!(host.poll_event(1_000), Some(lost(1)));
    assert_eq!(sent(&mut host, 1_000).len(), 2);
    assert_eq!(host.poll_event(1_499), None);
    assert_eq!(host.poll_event(1_500), Some(lost(2)));
    let Some(Transmit::Message(header)) = host.poll_transmit(10_000, 0) else {
        panic!("the third is repeated");
    };
    assert_eq!((header.number, header.ttl_s), (3, 2_592_000));
    assert_eq!(host.poll_event(u64::MAX), Some(lost(3)));
}

#[test]
fn message_without_an_end_is_given_up_after_twenty_repetitions() {
    let (mut host, _) = pair();
    host.submit(0, PLAIN).unwrap();
    let mut now_ms = 0;
    let mut repetitions = 0;
    loop {
        if let Some(event) = host.poll_event(now_ms) {
            let loss = Loss::GivenUp;
            assert_eq!(event, Event::Lost { number: 1, loss });
            break;
        }
        repetitions += sent(&mut host, now_ms).len();
        now_ms = host.poll_timeout().unwrap();
    }
    assert_eq!(repetitions, 21);
    assert!((13 * 60_000..17 * 60_000).contains(&now_ms), "{now_ms}");
}

#[test]
fn newest_of_a_key_takes_the_place_of_one_that_waits() {
    let (mut host, mut agent) = pair();
    let keyed = Message {
        key: NonZeroU32::new(7),
        ..PLAIN
    };
    host.submit(0, keyed).unwrap();
    let first = sent(&mut host, 0).remove(0);
    assert_eq!(
        host.submit(1, keyed).unwrap().superseded,
        None,
        "1 is on its way"
    );
    assert!(sent(&mut host, 1).is_empty(), "and goes first");
    assert_eq!(host.submit(2, keyed).unwrap().superseded, Some(2));
    let id = new_at(&mut agent, 2, &first);
    agent.report(2, id, Step::Taken);
    give(&mut host, 30, &sent(&mut agent, 22)[0]);
    assert_eq!(new_at(&mut agent, 50, &sent(&mut host, 30)[1]).number, 3);
}

#[test]
fn receipts_that_name_what_was_never_sent_are_ignored() {
    let (mut host, _) = pair();
    host.submit(0, PLAIN).unwrap();
    sent(&mut host, 0);
    host.submit(0, PLAIN).unwrap();
    for (runs, told) in [
        ("[6,2,1]", vec![]),
        ("[6,2,4294967295]", vec![]),
        ("[6,4294967295,4294967295]", vec![]),
        ("[6,0,1]", vec![]),
        ("[6,0,4294967295]", vec![(Step::Confirmed, 1, 1)]),
        ("[6,1,1,6,1,1]", vec![(Step::Confirmed, 1, 1); 2]),
    ] {
        let frame = control(&format!(
            "{{\"e\":{AGENT},\"x\":{HOST},\"k\":1,\"r\":{runs}}}"
        ));
        assert_eq!(give(&mut host, 1, &frame), Got::Told(told), "{runs}");
    }
    assert_eq!(host.unanswered(), 1, "the second was not sent");
    assert_eq!(host.counters().sender.forged, 4);
}

#[test]
fn acknowledgements_of_batches_that_were_never_sent_are_ignored() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    agent.report(0, id, Step::Taken);
    for batch in [0, 1, u32::MAX] {
        let frame = control(&format!("{{\"e\":{HOST},\"x\":{AGENT},\"a\":{batch}}}"));
        give(&mut agent, 1, &frame);
    }
    assert_eq!(agent.open(), 1);
    assert_eq!(agent.counters().receiver.forged, 3);
}

#[test]
fn frames_for_or_of_another_life_are_answered_and_not_used() {
    let (_, mut agent) = pair();
    let frame = |e: u32, x: u32| {
        let text = format!("{{\"content\":{{\"vinbus\":[{e},{x},1,0],\"content\":1}}}}");
        text.into_bytes()
    };
    for old in [frame(HOST - 1, AGENT), frame(HOST, AGENT - 1)] {
        assert_eq!(give(&mut agent, 0, &old), Got::Message(1, Verdict::Stale));
    }
    let answer = String::from_utf8(sent(&mut agent, 0).concat()).unwrap();
    assert_eq!(answer, "", "it answered a moment ago");
    let answer = String::from_utf8(sent(&mut agent, 1_000).concat()).unwrap();
    assert_eq!(answer, r#"{"content":{"vinbus":{"e":9,"x":5}}}"#);
    for _ in 0..1_000_000 {
        give(&mut agent, 1_000, &frame(HOST - 1, AGENT));
    }
    assert_eq!(sent(&mut agent, 1_000).len(), 0);
    assert_eq!(agent.counters().receiver.taken, 0);
}

#[test]
fn end_whose_epoch_went_back_takes_a_greater_one() {
    let (mut host, _) = pair();
    let mut agent = end(AGENT - 3);
    agent.submit(0, PLAIN).unwrap();
    host.handle_announcement(5_000, offer(AGENT - 3));
    give(&mut agent, 5_000, &sent(&mut host, 5_000)[0]);
    let Some(Event::EpochChanged(greater)) = agent.poll_event(5_000) else {
        panic!("its epoch is the old one");
    };
    assert!(greater > epoch(AGENT));
    let frames = sent(&mut agent, 5_000);
    give(&mut host, 5_000, &frames[0]);
    assert_eq!(host.poll_event(5_000), Some(Event::PeerRestarted));
    assert_eq!(new_at(&mut host, 5_000, &frames[1]).epoch, greater);
}

#[test]
fn message_that_may_have_come_is_not_sent_again_under_a_greater_epoch() {
    let (mut host, mut agent) = pair();
    for repeatable in [false, true] {
        let message = Message {
            repeatable,
            ..PLAIN
        };
        agent.submit(0, message).unwrap();
    }
    for frame in sent(&mut agent, 0) {
        new_at(&mut host, 0, &frame);
    }
    // Before their receipts, something of a life comes that had a greater epoch, and was long over.
    let later = control(&format!("{{\"e\":{},\"x\":{HOST}}}", AGENT + 100));
    give(&mut host, 5_000, &later);
    assert_eq!(host.poll_event(5_000), Some(Event::PeerRestarted));
    for frame in sent(&mut agent, 5_000) {
        give(&mut host, 5_000, &frame);
    }
    for frame in sent(&mut host, 5_000) {
        give(&mut agent, 5_000, &frame);
    }
    let changed = agent.poll_event(5_000);
    assert!(
        matches!(changed, Some(Event::EpochChanged(_))),
        "{changed:?}"
    );
    let lost = Event::Lost {
        number: 1,
        loss: Loss::PeerRestarted,
    };
    assert_eq!(agent.poll_event(5_000), Some(lost));
    assert_eq!(agent.poll_event(5_000), None);
    let frames = sent(&mut agent, 5_000);
    let last = frames.last().unwrap();
    give(&mut host, 5_000, &frames[0]);
    assert_eq!(new_at(&mut host, 5_000, last).number, 2);
}

#[test]
fn epoch_at_the_end_of_its_range_is_not_followed() {
    let (mut host, _) = pair();
    let frame = control(&format!("{{\"e\":{AGENT},\"x\":999999999,\"v\":1}}"));
    give(&mut host, 0, &frame);
    assert_eq!((host.epoch(), host.poll_event(0)), (epoch(HOST), None));
}

#[test]
fn peer_that_lost_its_memory_gets_again_only_what_may_be_repeated() {
    let (mut host, mut agent) = pair();
    for repeatable in [false, true, false] {
        host.submit(
            0,
            Message {
                repeatable,
                ..PLAIN
            },
        )
        .unwrap();
        if host.unanswered() < 3 {
            for frame in sent(&mut host, 0) {
                new_at(&mut agent, 0, &frame);
            }
        }
    }
    let mut agent = end(AGENT + 1);
    host.handle_announcement(100, offer(AGENT + 1));
    assert_eq!(host.poll_event(100), Some(Event::PeerRestarted));
    let loss = Loss::PeerRestarted;
    assert_eq!(host.poll_event(100), Some(Event::Lost { number: 1, loss }));
    assert_eq!(host.poll_event(100), None);
    let frames = sent(&mut host, 100);
    give(&mut agent, 100, &frames[0]);
    let numbers: Vec<u32> = frames[1..]
        .iter()
        .map(|frame| new_at(&mut agent, 100, frame).number)
        .collect();
    assert_eq!(numbers, [2, 3], "the third was not sent before");
}

#[test]
fn ends_that_keep_their_memory_go_on_as_if_nothing_had_happened() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let frame = sent(&mut host, 0).remove(0);
    let id = new_at(&mut agent, 0, &frame);
    agent.report(0, id, Step::HeldBackground);
    let (kept, open): (_, Vec<_>) = (agent.snapshot(), agent.open_messages().collect());
    let mut agent = End::new(Snapshot::from_bytes(&kept.to_bytes()).unwrap());
    agent.handle_link(1_000, true);
    for (id, step) in open {
        assert!(agent.resume_open(1_000, id, step));
    }
    let kept = host.snapshot();
    let mut host = End::new(kept);
    host.resume_sent(1_000, 1, PLAIN).unwrap();
    assert_eq!(host.resume_sent(1_000, 1, PLAIN), Err(SubmitError::Number));
    assert_eq!(host.submit(1_000, PLAIN).unwrap().number, 2);
    host.handle_link(1_000, true);
    assert_eq!(
        give(&mut agent, 1_000, &frame),
        Got::Message(1, Verdict::Repeated)
    );
    let receipts = sent(&mut agent, 1_020);
    assert_eq!(
        give(&mut host, 1_020, &receipts[0]),
        Got::Told(vec![(Step::HeldBackground, 1, 1)])
    );
    agent.report(1_030, id, Step::Taken);
    assert_eq!(
        give(&mut host, 1_050, &sent(&mut agent, 1_050)[0]),
        Got::Told(vec![(Step::Taken, 1, 1)])
    );
}

// What the simulation has found.

#[test]
fn acknowledgement_of_the_life_before_closes_nothing() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    agent.report(0, id, Step::Received);
    give(&mut host, 20, &sent(&mut agent, 20)[0]);
    let late = sent(&mut host, 20).remove(0);
    let mut agent = End::new(agent.snapshot());
    agent.handle_link(1_000, true);
    agent.resume_open(1_000, id, Step::Taken);
    assert_eq!(sent(&mut agent, 1_020).len(), 1);
    give(&mut agent, 1_030, &late);
    assert_eq!(agent.open(), 1, "nobody has heard that it was taken");
}

#[test]
fn message_that_is_resumed_may_have_been_sent_and_is_not_sent_to_another_life() {
    let (host, _) = pair();
    let mut host = End::new(host.snapshot());
    host.handle_link(0, true);
    host.resume_sent(0, 1, PLAIN).unwrap();
    host.handle_announcement(0, offer(AGENT + 1));
    assert_eq!(host.poll_event(0), Some(Event::PeerRestarted));
    let loss = Loss::PeerRestarted;
    assert_eq!(host.poll_event(0), Some(Event::Lost { number: 1, loss }));
}

#[test]
fn resumed_messages_of_a_key_go_one_after_the_other() {
    let (host, mut agent) = pair();
    let mut host = End::new(host.snapshot());
    host.handle_link(0, true);
    let keyed = Message {
        key: NonZeroU32::new(7),
        ..PLAIN
    };
    for number in [1, 2] {
        host.resume_sent(0, number, keyed).unwrap();
    }
    assert_eq!(host.submit(0, keyed).unwrap().superseded, None);
    let frames = sent(&mut host, 0);
    assert_eq!(frames.len(), 2, "a greeting and one of them");
    let id = new_at(&mut agent, 0, &frames[1]);
    assert_eq!(id.number, 1);
    agent.report(0, id, Step::Taken);
    give(&mut host, 20, &sent(&mut agent, 20)[0]);
    assert_eq!(new_at(&mut agent, 20, &sent(&mut host, 20)[1]).number, 2);
}

#[test]
fn account_that_is_full_makes_the_sender_wait() {
    let (mut host, _) = pair();
    let mut agent = Endpoint::<8, 2>::new(Snapshot::fresh(epoch(AGENT)));
    agent.handle_announcement(0, offer(HOST));
    for _ in 0..3 {
        host.submit(0, PLAIN).unwrap();
    }
    let verdicts: Vec<Verdict> = sent(&mut host, 0)
        .iter()
        .map(|frame| {
            let content = Uplink::decode(frame).unwrap().content;
            let Received::Message(header, _) = delivery::read(content) else {
                panic!("no message");
            };
            agent.handle_message(0, &header)
        })
        .collect();
    assert_eq!(verdicts[2], Verdict::Busy);
    assert_eq!(agent.counters().receiver.busy, 1);
}

#[test]
fn places_and_bytes_on_the_wire_are_bounded() {
    let (mut host, _) = pair();
    for _ in 0..32 {
        host.submit(
            0,
            Message {
                bytes: 131_072,
                ..PLAIN
            },
        )
        .unwrap();
    }
    assert_eq!(host.submit(0, PLAIN), Err(SubmitError::Full));
    assert_eq!(sent(&mut host, 0).len(), 2);
    assert!(host.withdraw(1) && !host.withdraw(1));
    assert_eq!(sent(&mut host, 0).len(), 1);
}

#[test]
fn patience_rests_while_the_link_is_down() {
    let (mut host, _) = pair();
    host.submit(0, PLAIN).unwrap();
    sent(&mut host, 0);
    host.handle_link(10, false);
    assert_eq!(host.poll_timeout(), None);
    assert!(sent(&mut host, 3_600_000).is_empty());
    host.handle_link(3_600_000, true);
    assert_eq!(sent(&mut host, 3_600_000).len(), 1);
    assert_eq!(host.poll_event(3_600_000), None);
}

#[test]
fn clock_that_goes_back_stands_still() {
    let (mut host, _) = pair();
    host.submit(10_000, PLAIN).unwrap();
    assert_eq!(sent(&mut host, 0).len(), 1);
    assert_eq!(host.poll_timeout(), Some(11_003));
    assert!(sent(&mut host, 5_000).is_empty());
}

#[test]
fn ten_thousand_vehicles_take_less_than_64_mb() {
    assert!(
        size_of::<End>() * 10_000 < 64_000_000,
        "{}",
        size_of::<End>()
    );
}

#[test]
fn fifth_of_all_lost_costs_less_than_three_times_the_time_whichever_they_are() {
    let (whole, lossy) = (whole_transfer(), lossy_transfers());
    let longest = lossy.iter().max().unwrap();
    assert!(
        *longest < 3 * whole,
        "{lossy:?} ms, without losses {whole} ms"
    );
}

// The reserved member.

fn header(number: u32, part: Option<Part>) -> Header {
    Header {
        epoch: epoch(999_999_999),
        peer: epoch(999_999_999),
        number,
        ttl_s: 2_592_000,
        part,
    }
}

#[test]
fn no_message_grows_by_more_than_64_bytes() {
    for text in ["{}", "{\"a\":1}", "{\"content\":1}", "1"] {
        let content = Content::parse(text.as_bytes()).unwrap();
        let marked = Marked::new(header(u32::MAX, None), content).unwrap();
        assert!(marked.encoded_len() <= text.len() + DELIVERY_ADDED_BYTES_MAX);
    }
}

#[test]
fn content_too_deep_to_be_wrapped_is_refused() {
    let nested = |depth| "[".repeat(depth) + &"]".repeat(depth);
    let mark = |text: &str| {
        let content = Content::parse(text.as_bytes()).unwrap();
        Marked::new(header(1, None), content).map(|marked| marked.encoded_len())
    };
    assert_eq!(mark(&nested(126)), Ok(252 + 53));
    let error = mark(&nested(127)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the content nests deeper than 126 and cannot be wrapped: send it without delivery"
    );
    assert!(mark(&format!("\"{}\"", "[".repeat(500))).is_ok());
    assert!(
        mark(&format!("{{\"a\":{}}}", nested(126))).is_ok(),
        "it is inserted"
    );
}

#[test]
fn largest_payload_is_exact_to_the_byte() {
    let frame = "{\"content\":{\"vinbus\":[999999999,999999999,1,2592000],\"content\":\"\"}}";
    let text = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - frame.len()));
    let mut buffer = vec![0; PAYLOAD_BYTES_MAX];
    let encode = |text: &str, buffer: &mut Vec<u8>| {
        let content = Content::parse(text.as_bytes()).unwrap();
        let marked = Marked::new(header(1, None), content).unwrap();
        marked.encode_uplink(buffer).map(<[u8]>::len)
    };
    assert_eq!(encode(&text, &mut buffer), Ok(131_072));
    let over = text.replacen('x', "xx", 1);
    let (len, max) = (131_073, 131_072);
    assert_eq!(
        encode(&over, &mut buffer),
        Err(EncodeError::TooLarge { len, max })
    );
}

#[test]
fn reserved_name_is_mentioned_however_it_is_written() {
    for (at, letter) in "vinbus".char_indices() {
        let escaped = format!("\\u{:04X}", u32::from(letter));
        let mut name = "vinbus".to_owned();
        name.replace_range(at..=at, &escaped);
        let text = format!("{{\"{name}\":[7,3,42,60],\"a\":1}}");
        let content = Content::parse(text.as_bytes()).unwrap();
        let read = delivery::read(content);
        assert!(matches!(read, Received::Message(..)), "{text}");
        assert!(delivery::mentioned(text.as_bytes()), "{text}");
    }
    for plain in ["", "v", "vinbu", "\\", r#"{"vinbu":"s","Vinbus":"\n\\"}"#] {
        assert!(!delivery::mentioned(plain.as_bytes()), "{plain}");
    }
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<i64>().prop_map(|number| number.to_string()),
        "[a-zé\\\\\"\n]{0,8}".prop_map(|text| serde_json::to_string(&text).unwrap()),
    ];
    let name = prop_oneof![Just("vinbus"), Just("content"), Just("a"), Just("\\u0061")];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        let member = (name.clone(), inner.clone());
        prop_oneof![
            prop::collection::vec(inner, 0..4).prop_map(|all| format!("[{}]", all.join(" , "))),
            prop::collection::vec(member, 0..4).prop_map(|all| {
                let all: Vec<String> = all
                    .into_iter()
                    .map(|(name, value)| format!("\"{name}\" : {value}"))
                    .collect();
                format!("{{ {} }}", all.join(","))
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_content_comes_out_as_it_went_in(text in json(), number in 1..u32::MAX) {
        let content = Content::parse(text.as_bytes()).unwrap();
        let mut buffer = [0xA5; 4096];
        let marked = Marked::new(header(number, None), content).unwrap();
        let encoded = marked.encode(&mut buffer).unwrap();
        prop_assert!(serde_json::from_slice::<serde_json::Value>(encoded).is_ok());
        let Received::Message(read, carried) = delivery::read(Content::parse(encoded).unwrap())
        else { panic!("no message") };
        prop_assert_eq!(read, header(number, None));
        let mut out = [0xA5; 4096];
        prop_assert_eq!(carried.copy_to(&mut out).unwrap(), content.as_bytes());
        prop_assert!(delivery::mentioned(encoded));
    }

    #[test]
    fn what_does_not_mention_the_reserved_name_is_plain(text in json()) {
        let content = Content::parse(text.as_bytes()).unwrap();
        let is_plain = matches!(delivery::read(content), Received::Plain);
        prop_assert!(is_plain || delivery::mentioned(text.as_bytes()));
        prop_assert!(!text.contains("vinbus") || delivery::mentioned(text.as_bytes()));
    }

    #[test]
    fn long_content_is_put_together_from_any_pieces(text in json(), room in 16..64_usize) {
        let mut assembly = Assembly::new(vec![0; 4096]);
        let mut offset = 0;
        let whole = loop {
            let piece = piece(&text, offset, room);
            match insert(&mut assembly, part(offset, &text), piece).unwrap() {
                Some(whole) => break whole,
                None => offset += piece.len(),
            }
        };
        prop_assert_eq!(whole, text);
    }

    #[test]
    fn parts_of_two_messages_of_one_length_never_make_one(
        pieces in prop::collection::vec((any::<bool>(), 0..4_usize), 1..24)
    ) {
        let texts = [r#"["aaaa","bbbb","cc"]"#, r#"["xxxx","yyyy","zz"]"#];
        let mut assembly = Assembly::new(vec![0; 64]);
        for (second, place) in pieces {
            let text = texts[usize::from(second)];
            let offset = 5 * place;
            let piece = &text[offset..offset + 5];
            match insert(&mut assembly, part(offset, text), piece) {
                Ok(None) | Err(PartError::Missing) => {}
                Ok(Some(whole)) => prop_assert_eq!(whole, text),
                Err(other) => panic!("{other}"),
            }
        }
    }
}

/// The part of a text that begins there.
fn part(offset: usize, text: &str) -> Part {
    let offset = offset as u32;
    Part {
        offset,
        ..Part::first(text)
    }
}

/// A part that says that the whole has another length.
fn part_of(offset: usize, total: usize, text: &str) -> Part {
    let total = total as u32;
    Part {
        total,
        ..part(offset, text)
    }
}

fn insert(
    assembly: &mut Assembly<Vec<u8>>,
    part: Part,
    piece: &str,
) -> Result<Option<String>, PartError> {
    let mut buffer = vec![0; 2 * piece.len() + 200];
    let encoded = Marked::part(header(1, Some(part)), piece).encode(&mut buffer);
    let content = Content::parse(encoded.unwrap()).unwrap();
    let Received::Message(header, carried) = delivery::read(content) else {
        panic!("no message");
    };
    if !assembly.add(header.part.unwrap(), &carried)? {
        return Ok(None);
    }
    let whole = assembly.whole().map(|content| content.as_str().to_owned());
    assembly.clear();
    whole.map(Some)
}

#[test]
fn parts_that_do_not_fit_together_are_refused() {
    const TEXT: &str = "[12]";
    let mut assembly = Assembly::new(vec![0; 16]);
    let mut check = |part, piece, expected| {
        assert_eq!(
            insert(&mut assembly, part, piece),
            expected,
            "{part:?} {piece}"
        );
        if expected.is_err() {
            assert_eq!(assembly.stored(), 0);
        }
    };
    check(part(0, TEXT), "[1", Ok(None));
    check(part(3, TEXT), "]", Err(PartError::Missing));
    check(part(2, TEXT), "2]", Err(PartError::Missing));
    check(part(0, TEXT), "[1", Ok(None));
    check(part_of(2, 5, TEXT), "2]", Err(PartError::Missing));
    check(part(0, TEXT), "[1", Ok(None));
    check(part(2, "[13]"), "3]", Err(PartError::Missing));
    check(part(0, TEXT), "[1", Ok(None));
    check(part(2, TEXT), "2]]", Err(PartError::Bad));
    check(part(0, TEXT), "", Err(PartError::Bad));
    check(part_of(0, 2, "[1"), "[1", Err(PartError::Bad));
}

#[test]
fn whole_that_is_not_what_its_parts_name_is_refused_and_begins_again() {
    let mut assembly = Assembly::new(vec![0; 16]);
    assert_eq!(insert(&mut assembly, part(0, "[12]"), "[1"), Ok(None));
    assert_eq!(
        insert(&mut assembly, part(2, "[12]"), "3]"),
        Err(PartError::Damaged)
    );
    assert_eq!(PartError::Damaged.step(), Step::PartMissing);
    assert_eq!(assembly.stored(), 0);
    assert_eq!(insert(&mut assembly, part(0, "[12]"), "[1"), Ok(None));
    let whole = insert(&mut assembly, part(2, "[12]"), "2]");
    assert_eq!(whole, Ok(Some("[12]".to_owned())));
}

#[test]
fn bomb_of_parts_is_refused_before_anything_is_stored() {
    let mut assembly = Assembly::new(vec![0; 16]);
    for total in [17, u32::MAX as usize] {
        assert_eq!(
            insert(&mut assembly, part_of(0, total, "["), "["),
            Err(PartError::TooLarge)
        );
    }
    let mut large = Assembly::new(vec![0; DELIVERY_LONG_BYTES_MAX + 1]);
    let bomb = part_of(0, DELIVERY_LONG_BYTES_MAX + 1, "[");
    assert_eq!(insert(&mut large, bomb, "["), Err(PartError::TooLarge));
    for _ in 0..1_000 {
        assert_eq!(insert(&mut assembly, part_of(0, 16, "["), "["), Ok(None));
        assert_eq!(assembly.stored(), 1);
    }
}

#[test]
fn message_in_crumbs_is_refused_at_the_last_part_that_may_be() {
    let mut assembly = Assembly::new(vec![0; 4096]);
    let crumb = |offset| part_of(offset, 4096, "1");
    for offset in 0..DELIVERY_PARTS_MAX as usize {
        assert_eq!(insert(&mut assembly, crumb(offset), "1"), Ok(None));
    }
    let last = crumb(DELIVERY_PARTS_MAX as usize);
    assert_eq!(insert(&mut assembly, last, "1"), Err(PartError::Bad));
    assert_eq!(assembly.stored(), 0);
    let whole = insert(&mut assembly, part(0, "1"), "1");
    assert_eq!(whole, Ok(Some("1".to_owned())));
}

#[test]
fn transfer_goes_on_from_pieces_that_were_kept() {
    const TEXT: &str = r#"[1,"é",]"#;
    let mut assembly = Assembly::new(vec![0; 16]);
    assert_eq!(assembly.restore(part(0, TEXT), "[1,"), Ok(false));
    assert_eq!(assembly.whole(), Err(PartError::Missing));
    assert_eq!(insert(&mut assembly, part(3, TEXT), "\"é\","), Ok(None));
    assert_eq!(assembly.stored_from(3), "\"é\",".as_bytes());
    // It could not be kept, and comes again.
    assembly.truncate(3);
    assert_eq!(assembly.stored(), 3);
    assert_eq!(insert(&mut assembly, part(3, TEXT), "\"é\","), Ok(None));
    let whole = insert(&mut assembly, part(8, TEXT), "]");
    assert_eq!(whole, Err(PartError::Bad), "it ends in a comma");
    assert_eq!(
        assembly.restore(part(4, TEXT), "x"),
        Err(PartError::Missing)
    );
    // What was kept of another message is none of this one.
    assert_eq!(assembly.restore(part(0, TEXT), "[1,"), Ok(false));
    assert_eq!(
        assembly.restore(part(3, r#"[1,"è",]"#), "\"è\","),
        Err(PartError::Missing)
    );
}

#[test]
fn each_end_says_what_it_takes_in_parts_and_none_before_it_is_heard() {
    let (mut host, mut agent) = (end(HOST), end(AGENT));
    host.take_parts(1_000_000);
    agent.take_parts(70_000);
    assert_eq!(host.peer_takes_parts(), None);
    let mut buffer = [0; 96];
    let report = delivery::announcement(agent.offer(), &mut buffer).unwrap();
    let report = delivery::announced(Uplink::decode(report).unwrap().content);
    host.handle_announcement(0, report.unwrap());
    assert_eq!(host.peer_takes_parts(), Some(70_000));
    for frame in sent(&mut host, 0) {
        give(&mut agent, 0, &frame);
    }
    assert_eq!(agent.peer_takes_parts(), Some(1_000_000));
    // What an earlier life says changes nothing; the next one may take none.
    let old = Offer {
        long_bytes_max: 5,
        ..offer(AGENT - 1)
    };
    host.handle_announcement(1, old);
    assert_eq!(host.peer_takes_parts(), Some(70_000));
    host.handle_announcement(2, offer(AGENT + 1));
    assert_eq!(host.peer_takes_parts(), Some(0));
}

#[test]
fn million_numbers_that_are_stale_change_nothing() {
    let (_, mut agent) = pair();
    let stale = |number| Header {
        epoch: epoch(HOST),
        peer: epoch(AGENT),
        number,
        ttl_s: 0,
        part: None,
    };
    assert!(matches!(
        agent.handle_message(0, &stale(2_000_000)),
        Verdict::New(_)
    ));
    for number in 1..=1_000_000 {
        assert_eq!(agent.handle_message(0, &stale(number)), Verdict::Stale);
    }
    assert_eq!((agent.open(), agent.poll_timeout()), (1, None));
    assert_eq!(agent.counters().receiver.stale, 1_000_000);
}

#[test]
fn numbers_end_at_the_last_one() {
    let memory = Snapshot {
        next_number: u32::MAX,
        ..Snapshot::fresh(epoch(HOST))
    };
    let mut host = End::new(memory);
    assert_eq!(host.submit(0, PLAIN), Err(SubmitError::Number));
    assert_eq!(host.resume_sent(0, 0, PLAIN), Err(SubmitError::Number));
}
