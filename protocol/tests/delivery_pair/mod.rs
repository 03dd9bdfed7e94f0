//! Two ends of a channel that are told what happens one step at a time, and how long they take to get
//! messages through.

#![allow(dead_code, reason = "each program uses its part")]

use std::collections::VecDeque;

use vinbus_protocol::delivery::{
    self, Endpoint, Epoch, Marked, Message, MessageId, Offer, Received, Run, Snapshot, Step,
    Transmit, Verdict,
};
use vinbus_protocol::envelope::{Content, Uplink};

pub(crate) type End = Endpoint<32, 64>;

pub(crate) const HOST: u32 = 5;
pub(crate) const AGENT: u32 = 9;

/// The content of a frame that was sent.
pub(crate) type Sent = Vec<u8>;

pub(crate) fn epoch(number: u32) -> Epoch {
    Epoch::new(number).unwrap()
}

pub(crate) fn end(number: u32) -> End {
    let mut end = End::new(Snapshot::fresh(epoch(number)), 0);
    end.handle_link(0, true);
    end
}

pub(crate) const PLAIN: Message = Message {
    bytes: 100,
    expires_at_ms: None,
    key: None,
    repeatable: false,
};

/// The message that comes with a frame, which is new.
pub(crate) fn new_at(end: &mut End, now_ms: u64, frame: &[u8]) -> MessageId {
    match give(end, now_ms, frame) {
        Got::Message(_, Verdict::New(id)) => id,
        other => panic!("{other:?} is not new"),
    }
}

/// A message of delivery's own that says this.
pub(crate) fn control(text: &str) -> Sent {
    format!("{{\"content\":{{\"vinbus\":{text}}}}}").into_bytes()
}

/// All that an end sends now, each message with its number as content.
pub(crate) fn sent(end: &mut End, now_ms: u64) -> Vec<Sent> {
    let mut buffer = vec![0; 8192];
    let mut all = Vec::new();
    while let Some(transmit) = end.poll_transmit(now_ms, 0) {
        let payload = match transmit {
            Transmit::Control(frame) => frame.encode_uplink(&mut buffer).unwrap(),
            Transmit::Message(header) => {
                let text = header.number.to_string();
                let content = Content::parse(text.as_bytes()).unwrap();
                let marked = Marked::new(header, content).unwrap();
                marked.encode_uplink(&mut buffer).unwrap()
            }
        };
        all.push(payload.to_vec());
    }
    all
}

/// What an end makes of a frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Got {
    Message(u32, Verdict),
    Told(Vec<(Step, u32, u32)>),
}

pub(crate) fn give(end: &mut End, now_ms: u64, frame: &[u8]) -> Got {
    let content = Uplink::decode(frame).unwrap().content;
    match delivery::read(content) {
        Received::Plain => panic!("{content:?} is plain"),
        Received::Message(header, _) => {
            Got::Message(header.number, end.handle_message(now_ms, &header))
        }
        Received::Control(control) => {
            let mut told = Vec::new();
            let batch = end.handle_control(now_ms, &control, |Run { step, first, count }| {
                told.push((step, first, count));
            });
            if let Some(batch) = batch {
                end.acknowledge(batch);
            }
            Got::Told(told)
        }
    }
}

pub(crate) fn offer(number: u32) -> Offer {
    Offer {
        epoch: epoch(number),
        long_bytes_max: 0,
    }
}

/// Each end hears what the other one says, until neither says more.
pub(crate) fn talk(now_ms: u64, one: &mut End, other: &mut End) {
    for _ in 0..3 {
        for frame in sent(one, now_ms) {
            give(other, now_ms, &frame);
        }
        for frame in sent(other, now_ms) {
            give(one, now_ms, &frame);
        }
    }
}

/// Two ends that know each other.
pub(crate) fn pair() -> (End, End) {
    let (mut host, mut agent) = (end(HOST), end(AGENT));
    host.handle_announcement(0, offer(AGENT));
    talk(0, &mut host, &mut agent);
    assert!(host.is_established() && agent.is_established());
    assert_eq!((host.poll_timeout(), agent.poll_timeout()), (None, None));
    (host, agent)
}

/// Milliseconds that a transfer takes without losses.
pub(crate) fn whole_transfer() -> u64 {
    transfer(|_, _| false)
}

/// Frames that tell what became of messages, or acknowledge that, of a transfer without losses, and the bytes of
/// their payloads.
pub(crate) fn receipts_of_whole_transfer() -> (usize, usize) {
    let (mut frames, mut bytes) = (0, 0);
    transfer(|_, frame| {
        let content = Uplink::decode(frame).unwrap().content;
        if matches!(delivery::read(content), Received::Control(_)) {
            frames += 1;
            bytes += frame.len();
        }
        false
    });
    (frames, bytes)
}

/// Milliseconds that it takes when a fifth of all frames is lost: ten patterns that are regular, and
/// forty that are random.
pub(crate) fn lossy_transfers() -> Vec<u64> {
    let regular =
        (0..10).map(|offset| transfer(|frame, _| (frame * 7 + frame / 5 + offset) % 5 == 0));
    let random = (1..=40_u64).map(|seed| {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        transfer(move |frame, _| {
            let mixed = (state ^ frame).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            state = mixed ^ mixed >> 31;
            state % 5 == 0
        })
    });
    regular.chain(random).collect()
}

/// Messages each way of a transfer.
pub(crate) const MESSAGES: usize = 200;

/// The time until all messages are known to be confirmed, 100 ms there and back.
fn transfer(mut lost: impl FnMut(u64, &[u8]) -> bool) -> u64 {
    let (mut host, mut agent) = pair();
    let mut frames = 0;
    let mut on_the_way: VecDeque<(u64, bool, Sent)> = VecDeque::new();
    let (mut submitted, mut now_ms) = ([0; 2], 0);
    loop {
        let ends = [&mut host, &mut agent];
        for ((from_host, end), submitted) in [true, false].into_iter().zip(ends).zip(&mut submitted)
        {
            while *submitted < MESSAGES && end.submit(now_ms, PLAIN).is_ok() {
                *submitted += 1;
            }
            for frame in sent(end, now_ms) {
                frames += 1;
                if !lost(frames, &frame) {
                    on_the_way.push_back((now_ms + 50, from_host, frame));
                }
            }
        }
        if submitted == [MESSAGES; 2] && host.unanswered() + agent.unanswered() == 0 {
            return now_ms;
        }
        // An end is asked for what it has to send after each frame that came.
        match on_the_way.pop_front_if(|frame| frame.0 <= now_ms) {
            Some((_, from_host, frame)) => {
                let end = if from_host { &mut agent } else { &mut host };
                if let Got::Message(_, Verdict::New(id)) = give(end, now_ms, &frame) {
                    end.report(now_ms, id, Step::Confirmed);
                }
            }
            None => now_ms += 1,
        }
        assert!(now_ms < 600_000);
    }
}
