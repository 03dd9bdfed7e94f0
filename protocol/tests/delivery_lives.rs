//! Ends of delivery that lose their memory, keep it, or are taken for another life of theirs.

mod delivery_pair;

use delivery_pair::{
    AGENT, End, Got, HOST, PLAIN, control, end, epoch, give, new_at, offer, pair, sent,
};
use vinbus_protocol::delivery::{Event, Loss, Message, Snapshot, Step, SubmitError, Verdict};

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
    let greeting = sent(&mut agent, 5_000).remove(0);
    give(&mut host, 5_000, &greeting);
    assert_eq!(host.poll_event(5_000), Some(Event::PeerRestarted));
    give(&mut agent, 6_000, &sent(&mut host, 6_000)[0]);
    let frame = sent(&mut agent, 6_000).remove(0);
    assert_eq!(new_at(&mut host, 6_000, &frame).epoch, greater);
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
    give(&mut host, 5_000, &sent(&mut agent, 5_000)[0]);
    give(&mut agent, 6_000, &sent(&mut host, 6_000)[0]);
    let frame = sent(&mut agent, 6_000).remove(0);
    assert_eq!(new_at(&mut host, 6_000, &frame).number, 2);
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
    give(&mut agent, 100, &sent(&mut host, 100)[0]);
    give(&mut host, 100, &sent(&mut agent, 100)[0]);
    let numbers: Vec<u32> = sent(&mut host, 100)
        .iter()
        .map(|frame| new_at(&mut agent, 100, frame).number)
        .collect();
    assert_eq!(numbers, [2, 3], "the third was not sent before");
}

#[test]
fn what_may_be_repeated_comes_again_to_an_end_whose_epoch_had_to_become_greater() {
    let (mut host, _) = pair();
    let mut agent = end(AGENT + 1);
    host.handle_announcement(0, offer(AGENT + 1));
    let greeting = sent(&mut host, 0).remove(0);
    give(&mut agent, 0, &greeting);
    let answer = sent(&mut agent, 0).remove(0);
    give(&mut host, 0, &answer);
    let repeatable = true;
    let message = Message {
        repeatable,
        ..PLAIN
    };
    host.submit(0, message).unwrap();
    assert_eq!(new_at(&mut agent, 0, &sent(&mut host, 0)[0]).number, 1);
    // A word of a life before, whose clock was ahead, is late.
    host.handle_announcement(1_000, offer(AGENT + 100));
    assert_eq!(host.poll_event(1_000), Some(Event::PeerRestarted));
    for frame in sent(&mut host, 1_000) {
        give(&mut agent, 1_000, &frame);
    }
    let Some(Event::EpochChanged(greater)) = agent.poll_event(1_000) else {
        panic!("the host knows a greater one");
    };
    host.handle_announcement(2_000, offer(greater.number()));
    assert_eq!(host.poll_event(2_000), Some(Event::PeerRestarted));
    for frame in sent(&mut host, 2_000) {
        give(&mut agent, 2_000, &frame);
    }
    for frame in sent(&mut agent, 2_000) {
        give(&mut host, 2_000, &frame);
    }
    let frames = sent(&mut host, 2_000);
    let frame = frames.last().expect("the message");
    assert_eq!(new_at(&mut agent, 2_000, frame).number, 1);
}

#[test]
fn ends_that_keep_their_memory_go_on_as_if_nothing_had_happened() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let frame = sent(&mut host, 0).remove(0);
    let id = new_at(&mut agent, 0, &frame);
    agent.report(0, id, Step::HeldBackground);
    let (kept, open): (_, Vec<_>) = (agent.snapshot(), agent.open_messages().collect());
    let mut agent = End::new(Snapshot::from_bytes(&kept.to_bytes()).unwrap(), 0);
    agent.handle_link(1_000, true);
    for (id, step) in open {
        assert!(agent.resume_open(1_000, id, step));
    }
    let kept = host.snapshot();
    let mut host = End::new(kept, 0);
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
    let memory = agent.snapshot();
    // The batch may have been noted last before there was any.
    for batch in [memory.batch, 0] {
        let mut agent = End::new(Snapshot { batch, ..memory }, 0);
        agent.handle_link(1_000, true);
        agent.resume_open(1_000, id, Step::Taken);
        assert_eq!(sent(&mut agent, 1_020).len(), 1);
        give(&mut agent, 1_030, &late);
        assert_eq!(agent.open(), 1, "nobody has heard that it was taken");
        assert_eq!(agent.counters().receiver.forged, 0);
    }
}

#[test]
fn message_that_is_resumed_may_have_been_sent_and_is_not_sent_to_another_life() {
    let (host, _) = pair();
    let mut host = End::new(host.snapshot(), 0);
    host.handle_link(0, true);
    host.resume_sent(0, 1, PLAIN).unwrap();
    host.handle_announcement(0, offer(AGENT + 1));
    assert_eq!(host.poll_event(0), Some(Event::PeerRestarted));
    let loss = Loss::PeerRestarted;
    assert_eq!(host.poll_event(0), Some(Event::Lost { number: 1, loss }));
}

#[test]
fn message_that_waits_to_be_sent_to_a_life_that_has_it_already_is_over() {
    let (_, mut agent) = pair();
    let repeatable = Message {
        repeatable: true,
        ..PLAIN
    };
    agent.submit(0, repeatable).unwrap();
    assert_eq!(sent(&mut agent, 0).len(), 1);
    // The host stored it, had to begin a greater epoch, and tells of it from its disk.
    let life = HOST + 1;
    let told = control(&format!(
        "{{\"e\":{life},\"x\":{AGENT},\"k\":9,\"r\":[6,1,1]}}"
    ));
    give(&mut agent, 20, &told);
    assert_eq!(agent.poll_event(20), Some(Event::PeerRestarted));
    assert_eq!(agent.poll_event(20), None);
    assert_eq!(agent.unanswered(), 0, "it is not sent again");
}
