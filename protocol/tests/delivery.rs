//! Delivery between two ends, told what happens one step at a time, through the public interface.

mod delivery_pair;

use std::num::NonZeroU32;

use delivery_pair::{
    AGENT, End, Got, HOST, PLAIN, control, end, epoch, give, lossy_transfers, new_at, offer, pair,
    sent, whole_transfer,
};
use vinbus_protocol::delivery::{
    self, Endpoint, Event, Header, Loss, Message, Offer, Received, Snapshot, Step, SubmitError,
    Transmit, Verdict,
};
use vinbus_protocol::envelope::Uplink;

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
fn resumed_messages_of_a_key_go_one_after_the_other() {
    let (host, mut agent) = pair();
    let mut host = End::new(host.snapshot(), 0);
    host.handle_link(0, true);
    let keyed = Message {
        key: NonZeroU32::new(7),
        ..PLAIN
    };
    for number in [1, 2] {
        host.resume_sent(0, number, keyed).unwrap();
    }
    assert_eq!(host.submit(0, keyed).unwrap().superseded, None);
    give(&mut agent, 1_000, &sent(&mut host, 1_000)[0]);
    give(&mut host, 1_000, &sent(&mut agent, 1_000)[0]);
    let frames = sent(&mut host, 1_000);
    assert_eq!(frames.len(), 1, "one of them");
    let id = new_at(&mut agent, 1_000, &frames[0]);
    assert_eq!(id.number, 1);
    agent.report(1_000, id, Step::Taken);
    give(&mut host, 1_020, &sent(&mut agent, 1_020)[0]);
    assert_eq!(
        new_at(&mut agent, 1_020, &sent(&mut host, 1_020)[1]).number,
        2
    );
}

#[test]
fn account_that_is_full_makes_the_sender_wait() {
    let (mut host, _) = pair();
    let mut agent = Endpoint::<8, 2>::new(Snapshot::fresh(epoch(AGENT)), 0);
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
fn end_takes_no_more_memory_than_its_places_say() {
    // As docs/DELIVERY.md has it.
    const fn most(on_their_way: usize, to_account_for: usize) -> usize {
        48 * on_their_way + 12 * to_account_for + 320
    }
    for (takes, most) in [
        (size_of::<Endpoint<1, 1>>(), most(1, 1)),
        (size_of::<Endpoint<8, 16>>(), most(8, 16)),
        (size_of::<Endpoint<32, 64>>(), most(32, 64)),
        (size_of::<Endpoint<32, 256>>(), most(32, 256)),
    ] {
        assert!(takes <= most, "{takes} bytes, {most} are said");
    }
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
    let mut host = End::new(memory, 0);
    assert_eq!(host.submit(0, PLAIN), Err(SubmitError::Number));
    assert_eq!(host.resume_sent(0, 0, PLAIN), Err(SubmitError::Number));
}
