//! Ends of delivery that go on from an older copy of their memory, as from a backup.

mod delivery_pair;

use delivery_pair::{AGENT, End, Got, HOST, PLAIN, control, give, new_at, offer, pair, sent, talk};
use vinbus_protocol::delivery::{
    self, Event, Loss, Message, Received, Snapshot, Step, Transmit, Verdict,
};
use vinbus_protocol::envelope::Uplink;
use vinbus_protocol::limits::DELIVERY_LEAP_MAX;

/// A message that may be sent to another life.
const REPEATABLE: Message = Message {
    repeatable: true,
    ..PLAIN
};

/// An end that goes on from this memory, with its link up.
fn resumed(memory: Snapshot) -> End {
    let mut end = End::new(memory, 0);
    end.handle_link(1_000, true);
    end
}

/// A message goes from one end to the other, which has the last word of it.
fn deliver(from: &mut End, to: &mut End, now_ms: u64) -> u32 {
    let number = from.submit(now_ms, PLAIN).unwrap().number;
    let id = new_at(to, now_ms, &sent(from, now_ms)[0]);
    to.report(now_ms, id, Step::Taken);
    talk(now_ms + 20, to, from);
    assert_eq!((from.unanswered(), to.open()), (0, 0));
    number
}

fn text(frame: &[u8]) -> &str {
    core::str::from_utf8(frame).unwrap()
}

/// The numbers that a frame says are open.
fn open_of(frame: &[u8]) -> Vec<u32> {
    let Received::Control(control) = delivery::read(Uplink::decode(frame).unwrap().content) else {
        panic!("{} is none of delivery's own", text(frame));
    };
    let open = control.open.iter();
    open.flat_map(delivery::Open::numbers).collect()
}

/// What an end says that believes these numbers open.
fn said_with(end: &mut End, open: &[u32]) -> Vec<u8> {
    let Some(Transmit::Control(frame)) = end.poll_transmit(1_000, 0) else {
        panic!("it says nothing");
    };
    let mut buffer = vec![0; 8192];
    let frame = frame.with_open(open.iter().copied());
    frame.encode_uplink(&mut buffer).unwrap().to_vec()
}

#[test]
fn sender_of_an_older_copy_begins_an_epoch_before_it_uses_a_number_again() {
    let (mut host, mut agent) = pair();
    deliver(&mut host, &mut agent, 0);
    let copy = host.snapshot();
    deliver(&mut host, &mut agent, 100);
    let mut host = resumed(copy);
    host.submit(1_000, PLAIN).unwrap();
    let greeting = sent(&mut host, 1_000);
    assert_eq!(greeting.len(), 1, "no message before it has heard");
    give(&mut agent, 1_000, &greeting[0]);
    let answer = sent(&mut agent, 1_000).remove(0);
    assert_eq!(
        text(&answer),
        r#"{"content":{"vinbus":{"e":9,"x":5,"h":2}}}"#
    );
    give(&mut host, 1_000, &answer);
    let Some(Event::EpochChanged(epoch)) = host.poll_event(1_000) else {
        panic!("it goes on with numbers that came before");
    };
    assert!(epoch.number() > HOST);
    assert_eq!(host.poll_event(1_000), None, "the message was not sent");
    give(&mut agent, 2_000, &sent(&mut host, 2_000)[0]);
    assert_eq!(agent.poll_event(2_000), Some(Event::PeerRestarted));
    give(&mut host, 2_000, &sent(&mut agent, 2_000)[0]);
    let id = new_at(&mut agent, 2_000, &sent(&mut host, 2_000)[0]);
    assert_eq!((id.epoch, id.number), (epoch, 2));
}

#[test]
fn what_waited_while_nothing_was_heard_hides_no_number() {
    let (mut host, mut agent) = pair();
    let copy = host.snapshot();
    deliver(&mut host, &mut agent, 0);
    let mut host = resumed(copy);
    for _ in 0..5 {
        host.submit(1_000, PLAIN).unwrap();
    }
    talk(1_000, &mut host, &mut agent);
    let changed = host.poll_event(1_000);
    assert!(
        matches!(changed, Some(Event::EpochChanged(_))),
        "{changed:?}"
    );
}

#[test]
fn copy_after_which_nothing_was_sent_goes_on() {
    let (mut host, mut agent) = pair();
    deliver(&mut host, &mut agent, 0);
    let mut host = resumed(host.snapshot());
    talk(1_000, &mut host, &mut agent);
    assert_eq!(host.poll_event(1_000), None);
    assert_eq!(deliver(&mut host, &mut agent, 1_000), 2);
}

#[test]
fn word_that_is_late_changes_nothing() {
    let (mut host, mut agent) = pair();
    for now_ms in [0, 100, 200] {
        deliver(&mut host, &mut agent, now_ms);
    }
    for highest in 0..=3 {
        let late = control(&format!(
            "{{\"e\":{AGENT},\"x\":{HOST},\"v\":1,\"h\":{highest}}}"
        ));
        give(&mut host, 1_000, &late);
        assert_eq!(host.poll_event(1_000), None, "{highest}");
    }
    // What was held when it was said has met its end since, and is told once more.
    let late = control(&format!("{{\"e\":{HOST},\"x\":{AGENT},\"o\":[1,2,3]}}"));
    give(&mut agent, 1_000, &late);
    assert_eq!(agent.poll_event(1_000), None);
    let receipts = sent(&mut agent, 1_020).remove(0);
    let known = vec![(Step::Known, 1, 3)];
    assert_eq!(give(&mut host, 1_020, &receipts), Got::Told(known));
}

#[test]
fn receipts_beside_a_number_that_was_never_sent_are_not_used() {
    let (mut host, _) = pair();
    host.submit(0, PLAIN).unwrap();
    sent(&mut host, 0);
    let receipts = control(&format!(
        "{{\"e\":{AGENT},\"x\":{HOST},\"h\":2,\"k\":1,\"r\":[6,1,1]}}"
    ));
    assert_eq!(give(&mut host, 1, &receipts), Got::Told(Vec::new()));
    assert!(matches!(host.poll_event(1), Some(Event::EpochChanged(_))));
    let loss = Loss::PeerRestarted;
    assert_eq!(host.poll_event(1), Some(Event::Lost { number: 1, loss }));
}

#[test]
fn leap_is_random_also_of_an_end_whose_first_frame_is_the_one_that_makes_it_leap() {
    let memory = Snapshot::fresh(delivery_pair::epoch(AGENT));
    let later = control(&format!("{{\"e\":{HOST},\"x\":1000,\"v\":1}}"));
    let leaps = [0, 0x1234_5678, u32::MAX].map(|random| {
        let mut end = End::new(memory, random);
        end.handle_link(0, true);
        give(&mut end, 0, &later);
        end.epoch().number()
    });
    assert!(
        leaps
            .iter()
            .all(|leap| (1_001..=1_000 + DELIVERY_LEAP_MAX).contains(leap)),
        "{leaps:?}"
    );
    assert!(leaps[0] != leaps[1] && leaps[1] != leaps[2], "{leaps:?}");
}

#[test]
fn epoch_that_is_begun_late_leaps_as_far_at_random() {
    let later = control(&format!("{{\"e\":{HOST},\"x\":1000,\"v\":1}}"));
    let leaps = [1, 2].map(|random| {
        let mut end = End::new(Snapshot::fresh(delivery_pair::epoch(1)), random);
        assert!(end.begin(delivery_pair::epoch(AGENT)));
        end.handle_link(0, true);
        give(&mut end, 0, &later);
        end.epoch().number()
    });
    assert_ne!(leaps[0], leaps[1]);
}

#[test]
fn forged_numbers_cost_epochs_and_no_more() {
    let (mut host, _) = pair();
    for round in 0..1_000_u64 {
        let own = host.epoch();
        let forged = control(&format!(
            "{{\"e\":{AGENT},\"x\":{},\"h\":4294967295}}",
            own.number()
        ));
        give(&mut host, round, &forged);
        assert_eq!(
            host.poll_event(round),
            Some(Event::EpochChanged(host.epoch()))
        );
        assert!(host.epoch() > own && host.epoch().number() <= own.number() + DELIVERY_LEAP_MAX);
        assert!(sent(&mut host, round).len() <= 1);
    }
    let mut last = resumed(Snapshot {
        epoch: delivery_pair::epoch(999_999_999),
        ..host.snapshot()
    });
    let forged = control(&format!(
        "{{\"e\":{AGENT},\"x\":999999999,\"h\":4294967295}}"
    ));
    give(&mut last, 2_000, &forged);
    assert_eq!(last.poll_event(2_000), None, "there is no greater one");
}

#[test]
fn receiver_of_an_older_copy_begins_an_epoch_when_it_hears_what_it_was_told_to_hold() {
    let (mut host, mut agent) = pair();
    deliver(&mut host, &mut agent, 0);
    let copy = agent.snapshot();
    host.submit(100, REPEATABLE).unwrap();
    let id = new_at(&mut agent, 100, &sent(&mut host, 100)[0]);
    agent.report(100, id, Step::HeldBackground);
    talk(120, &mut agent, &mut host);
    assert_eq!(host.unanswered(), 0);
    let mut agent = resumed(copy);
    let mut host = resumed(host.snapshot());
    give(&mut agent, 1_000, &said_with(&mut host, &[2]));
    let changed = agent.poll_event(1_000);
    assert!(
        matches!(changed, Some(Event::EpochChanged(_))),
        "{changed:?}"
    );
    talk(2_000, &mut agent, &mut host);
    assert_eq!(host.poll_event(2_000), Some(Event::PeerRestarted));
}

#[test]
fn number_that_did_not_come_is_missed_also_below_the_highest() {
    let (mut host, mut agent) = pair();
    for _ in 0..2 {
        host.submit(0, PLAIN).unwrap();
    }
    let frames = sent(&mut host, 0);
    new_at(&mut agent, 0, &frames[1]);
    let greeting = said_with(&mut resumed(host.snapshot()), &[1]);
    give(&mut agent, 1_000, &greeting);
    assert!(matches!(
        agent.poll_event(1_000),
        Some(Event::EpochChanged(_))
    ));
}

#[test]
fn message_that_a_copy_holds_for_ever_gets_its_last_word() {
    let (mut host, mut agent) = pair();
    host.submit(0, PLAIN).unwrap();
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    agent.report(0, id, Step::HeldBackground);
    talk(20, &mut agent, &mut host);
    let copy = host.snapshot();
    agent.report(100, id, Step::Confirmed);
    talk(120, &mut agent, &mut host);
    assert_eq!(agent.open(), 0);
    let mut host = resumed(copy);
    give(&mut agent, 1_000, &said_with(&mut host, &[1]));
    let told = sent(&mut agent, 1_020)
        .iter()
        .map(|frame| give(&mut host, 1_020, frame))
        .collect::<Vec<_>>();
    assert!(
        told.contains(&Got::Told(vec![(Step::Known, 1, 1)])),
        "{told:?}"
    );
    assert_eq!(host.poll_event(1_020), None);
}

#[test]
fn message_does_not_show_how_far_its_sender_has_come() {
    let (host, mut agent) = pair();
    agent.submit(0, PLAIN).unwrap();
    let frame = sent(&mut agent, 0).remove(0);
    let mut host = resumed(host.snapshot());
    sent(&mut host, 1_000);
    host.submit(1_000, PLAIN).unwrap();
    assert!(matches!(
        give(&mut host, 1_001, &frame),
        Got::Message(1, Verdict::New(_))
    ));
    assert!(!host.is_established());
    assert!(sent(&mut host, 1_001).is_empty());
}

#[test]
fn end_that_is_not_heard_greets_on_and_its_messages_expire() {
    let (host, _) = pair();
    let mut host = resumed(host.snapshot());
    let expires_at_ms = Some(24 * 3_600_000);
    host.submit(
        1_000,
        Message {
            expires_at_ms,
            ..PLAIN
        },
    )
    .unwrap();
    let (mut now_ms, mut greetings) = (1_000, 0_u64);
    let lost = loop {
        if let Some(event) = host.poll_event(now_ms) {
            break event;
        }
        for frame in sent(&mut host, now_ms) {
            assert!(text(&frame).contains("\"v\":1"), "{}", text(&frame));
            greetings += 1;
        }
        let next = host.poll_timeout().expect("it greets on");
        assert!(next > now_ms);
        now_ms = next;
    };
    let loss = Loss::Expired;
    assert_eq!(lost, Event::Lost { number: 1, loss });
    assert_eq!(Some(now_ms), expires_at_ms);
    assert!(greetings < 24 * 60 + 20, "{greetings}");
}

#[test]
fn end_that_awaits_what_is_open_neither_sends_nor_takes_anything_before() {
    let (mut host, mut agent) = pair();
    let copy = agent.snapshot();
    host.submit(0, PLAIN).unwrap();
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    agent.report(0, id, Step::HeldBackground);
    talk(20, &mut agent, &mut host);

    let mut agent = resumed(copy);
    agent.await_open();
    agent.submit(1_000, PLAIN).unwrap();
    give(&mut host, 1_000, &sent(&mut agent, 1_000)[0]);
    // Its answer is lost, and what comes next does not say it.
    sent(&mut host, 1_000);
    host.submit(1_000, PLAIN).unwrap();
    let next = sent(&mut host, 1_000).remove(0);
    assert_eq!(
        give(&mut agent, 1_000, &next),
        Got::Message(2, Verdict::Busy)
    );
    let silent = control(&format!("{{\"e\":{HOST},\"x\":{AGENT}}}"));
    give(&mut agent, 1_000, &silent);
    assert!(!agent.is_established());
    let again = sent(&mut agent, 2_000);
    assert_eq!(again.len(), 1, "it greets once more, and sends nothing");
    assert!(text(&again[0]).contains("\"v\":1"), "{}", text(&again[0]));
    assert_eq!(agent.poll_event(2_000), None);
    let answer = control(&format!("{{\"e\":{HOST},\"x\":{AGENT},\"o\":[1]}}"));
    give(&mut agent, 2_000, &answer);
    assert!(matches!(
        agent.poll_event(2_000),
        Some(Event::EpochChanged(_))
    ));
}

#[test]
fn end_that_awaits_what_is_open_goes_on_when_it_knows_all_of_it() {
    let (mut host, mut agent) = pair();
    deliver(&mut host, &mut agent, 0);
    let mut agent = resumed(agent.snapshot());
    agent.await_open();
    agent.submit(1_000, PLAIN).unwrap();
    give(&mut host, 1_000, &sent(&mut agent, 1_000)[0]);
    let answer = said_with(&mut host, &[]);
    give(&mut agent, 1_000, &answer);
    assert_eq!(agent.poll_event(1_000), None);
    new_at(&mut host, 1_000, &sent(&mut agent, 1_000)[0]);
    host.submit(1_000, PLAIN).unwrap();
    let next = sent(&mut host, 1_000).remove(0);
    new_at(&mut agent, 1_000, &next);
}

#[test]
fn open_messages_are_said_in_greetings_and_answers_alone_and_read_as_they_were_written() {
    let (mut host, mut agent) = pair();
    let all: Vec<u32> = (1..=300).map(|number| number * 3).collect();
    for open in [&[][..], &[7], &[1, 2, 3, 9, 11, 12], &all] {
        let greeting = said_with(&mut resumed(host.snapshot()), open);
        assert_eq!(open_of(&greeting), open[..open.len().min(256)]);
        assert!(text(&greeting).contains("\"o\":["), "{}", text(&greeting));
    }
    host.submit(0, PLAIN).unwrap();
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    agent.report(0, id, Step::Taken);
    let receipts = said_with(&mut agent, &[7]);
    assert!(!text(&receipts).contains("\"o\""), "{}", text(&receipts));
}

#[test]
fn open_messages_that_are_not_of_the_form_are_none_of_deliverys() {
    let too_many = format!("{:?}", [1; 257]);
    for open in [
        "7",
        "[0]",
        "[1,0]",
        "[1,-1]",
        "[1,]",
        "[\"1\",1]",
        "[4294967296]",
        "{}",
        "[1,1,]x",
        &too_many,
    ] {
        let frame = control(&format!("{{\"e\":{HOST},\"x\":{AGENT},\"o\":{open}}}"));
        let Ok(uplink) = Uplink::decode(&frame) else {
            continue;
        };
        assert!(
            matches!(delivery::read(uplink.content), Received::Plain),
            "{open}"
        );
    }
}

#[test]
fn both_ends_may_be_older_copies() {
    let (mut host, mut agent) = pair();
    deliver(&mut host, &mut agent, 0);
    let host_copy = host.snapshot();
    deliver(&mut host, &mut agent, 100);
    deliver(&mut agent, &mut host, 200);
    let agent_copy = agent.snapshot();
    deliver(&mut agent, &mut host, 300);
    let (mut host, mut agent) = (resumed(host_copy), resumed(agent_copy));
    host.handle_announcement(1_000, offer(AGENT));
    for now_ms in [1_000, 3_000, 5_000] {
        talk(now_ms, &mut host, &mut agent);
    }
    assert!(host.is_established() && agent.is_established());
    assert!(host.epoch().number() > HOST, "the agent has had 2 of it");
    assert_eq!(agent.epoch().number(), AGENT, "the host knows of less");
}

#[test]
fn end_that_is_heard_after_a_long_silence_is_greeted_within_a_second() {
    let (host, _) = pair();
    let mut host = resumed(host.snapshot());
    let mut now_ms = 1_000;
    for _ in 0..12 {
        assert_eq!(sent(&mut host, now_ms).len(), 1);
        now_ms = host.poll_timeout().expect("it greets on");
    }
    assert_eq!(sent(&mut host, now_ms).len(), 1);
    let silence_ends_ms = host.poll_timeout().unwrap();
    assert!(silence_ends_ms > now_ms + 50_000);
    host.handle_announcement(now_ms + 5_000, offer(AGENT));
    assert_eq!(host.poll_timeout(), Some(now_ms + 6_000));
    // One that begins a new life knows nothing yet, and is greeted at once.
    host.handle_announcement(now_ms + 5_001, offer(AGENT + 1));
    assert_eq!(sent(&mut host, now_ms + 5_001).len(), 1);
}

#[test]
fn end_that_is_heard_and_never_answers_is_greeted_about_once_a_second() {
    let (mut host, mut agent) = pair();
    // The link is fast, so patience is short at first.
    deliver(&mut host, &mut agent, 0);
    let mut greetings = 0;
    for now_ms in (10_000..70_000).step_by(10) {
        if now_ms % 50 == 0 {
            host.handle_announcement(now_ms, offer(AGENT + 1));
        }
        greetings += sent(&mut host, now_ms).len();
    }
    assert!((50..70).contains(&greetings), "{greetings} in a minute");
}

#[test]
fn answer_that_goes_with_an_acknowledgement_says_what_is_open() {
    let (mut host, mut agent) = pair();
    let number = host.submit(0, PLAIN).unwrap().number;
    let id = new_at(&mut agent, 0, &sent(&mut host, 0)[0]);
    // An answer has just been sent, so the next one has to wait.
    let greeting = sent(&mut resumed(agent.snapshot()), 1_000).remove(0);
    give(&mut host, 1_000, &greeting);
    assert_eq!(open_of(&said_with(&mut host, &[number])), [number]);

    let mut agent = resumed(agent.snapshot());
    assert!(agent.resume_open(1_000, id, Step::HeldBackground));
    give(&mut host, 1_000, &sent(&mut agent, 1_020)[0]);
    let acknowledgement = said_with(&mut host, &[number]);
    assert_eq!(open_of(&acknowledgement), [number]);
    assert!(
        host.control_timeout().is_none_or(|at_ms| at_ms > 2_000),
        "it was the answer"
    );
}
