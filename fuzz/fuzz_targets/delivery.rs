//! Whatever comes, an end of a channel neither panics nor grows nor goes on for ever, hands on each
//! number once, and what is carried comes out as it went in. The input is a list of contents,
//! separated by line feeds; a line that begins with `!` is a message of the owner, `~` the clock, `+` an honest long
//! message, which is put together whatever came before it.
#![no_main]

use std::collections::HashSet;

use libfuzzer_sys::fuzz_target;
use vinbus_protocol::checksum::crc32;
use vinbus_protocol::delivery::parts::{self, Assembly};
use vinbus_protocol::delivery::{
    self, Endpoint, Epoch, Header, Marked, Message, Part, Received, Snapshot, Step, Transmit,
    Verdict,
};
use vinbus_protocol::envelope::Content;

type End = Endpoint<8, 16>;

/// The end of the year 9999: every clock is before it.
const CLOCK_MS_MAX: u64 = 253_402_300_799_999;

fuzz_target!(|input: &[u8]| {
    let mut end = End::new(Snapshot::fresh(Epoch::new(3).expect("an epoch")), 0);
    end.handle_link(0, true);
    let mut taken = HashSet::new();
    let mut assembly = Assembly::new([0; 64]);
    let mut now_ms = 0_u64;
    for line in input.split(|&byte| byte == b'\n') {
        match line.first() {
            Some(b'!') => own(&mut end, now_ms, line),
            Some(b'~') => now_ms = (now_ms + (1 << (line.len() % 48))).min(CLOCK_MS_MAX),
            Some(b'+') => honest(line, &mut assembly),
            _ => came(&mut end, now_ms, line, &mut taken, &mut assembly),
        }
        settle(&mut end, now_ms);
    }
});

fn own(end: &mut End, now_ms: u64, line: &[u8]) {
    let byte = line.get(1).copied().unwrap_or_default();
    let message = Message {
        bytes: line.len() as u32,
        expires_at_ms: (byte & 1 == 0).then(|| now_ms.saturating_add(u64::from(byte))),
        key: std::num::NonZeroU32::new(u32::from(byte >> 6)),
        repeatable: byte & 2 == 0,
    };
    // A full table is one of the answers.
    let _ = end.submit(now_ms, message);
}

fn came(
    end: &mut End,
    now_ms: u64,
    line: &[u8],
    taken: &mut HashSet<(u32, u32, u32)>,
    assembly: &mut Assembly<[u8; 64]>,
) {
    let Ok(content) = Content::parse(line) else {
        return;
    };
    match delivery::read(content) {
        Received::Plain => {}
        Received::Message(header, carried) => {
            let verdict = end.handle_message(now_ms, &header);
            if let Verdict::New(id) = verdict {
                let life = end.epoch().number();
                let new = taken.insert((life, id.epoch.number(), id.number));
                assert!(new, "{id:?} was handed on twice");
                if let Some(part) = header.part {
                    let step = match assembly.add(part, &carried) {
                        Ok(false) => Step::PartStored,
                        // Nothing but the message that its parts name is ever whole.
                        Ok(true) => match assembly.whole() {
                            Ok(_) => {
                                assert_eq!(crc32(assembly.stored_from(0)), part.checksum);
                                Step::Taken
                            }
                            Err(error) => error.step(),
                        },
                        Err(error) => error.step(),
                    };
                    assert!(assembly.stored() <= assembly.bytes_max());
                    if step != Step::PartStored {
                        assembly.clear();
                    }
                    end.report(now_ms, id, step);
                } else if header.ttl_s.is_multiple_of(2) {
                    end.report(now_ms, id, Step::Taken);
                }
            }
            carried_again(&carried.pieces().concat(), header);
        }
        Received::Control(control) => {
            if let Some(batch) = end.handle_control(now_ms, &control, |run| {
                assert!(run.count > 0 && run.first > 0);
            }) {
                end.acknowledge(batch);
            }
        }
    }
}

/// A long message that comes in order is put together, whatever was stored before.
fn honest(line: &[u8], assembly: &mut Assembly<[u8; 64]>) {
    let text = line.get(1..).unwrap_or_default();
    let Some(text) = Content::parse(text).ok().map(|content| content.as_str()) else {
        return;
    };
    if text.len() > assembly.bytes_max() {
        return;
    }
    let first = Part::first(text);
    let room = 4 + line.len() % 16;
    let mut offset = 0;
    while offset < text.len() {
        let piece = parts::piece(text, offset, room);
        let header = Header {
            epoch: Epoch::FIRST,
            peer: Epoch::FIRST,
            number: 1,
            ttl_s: 0,
            part: Some(Part {
                offset: offset as u32,
                ..first
            }),
        };
        let mut buffer = [0; 256];
        let encoded = Marked::part(header, piece).encode(&mut buffer);
        let content = Content::parse(encoded.expect("it fits")).expect("a part is JSON");
        let Received::Message(read, carried) = delivery::read(content) else {
            panic!("a part is no message");
        };
        assert_eq!(read, header);
        offset += piece.len();
        let is_last = assembly.add(read.part.expect("it was sent as one"), &carried);
        assert_eq!(is_last, Ok(offset == text.len()));
    }
    let whole = assembly.whole().expect("it is JSON");
    assert_eq!(whole.as_str(), text);
    assembly.clear();
}

/// What was carried can be carried again, and comes out the same.
fn carried_again(text: &str, header: delivery::Header) {
    let content = Content::parse(text.as_bytes()).expect("what was carried is JSON");
    let Ok(marked) = Marked::new(header, content) else {
        return;
    };
    let mut buffer = vec![0; text.len() + 128];
    let encoded = marked.encode(&mut buffer).expect("it fits");
    let content = Content::parse(encoded).expect("what is marked is JSON");
    let Received::Message(again, carried) = delivery::read(content) else {
        panic!("what was marked is no message");
    };
    assert_eq!((again, carried.pieces().concat().as_str()), (header, text));
}

fn settle(end: &mut End, now_ms: u64) {
    while end.poll_event(now_ms).is_some() {}
    for round in 0.. {
        assert!(round < 100, "it never stops sending");
        match end.poll_transmit(now_ms, 0x1234_5678) {
            None => break,
            Some(Transmit::Message(_)) => {}
            Some(Transmit::Control(frame)) => {
                let mut buffer = [0; 8192];
                frame.encode_uplink(&mut buffer).expect("it fits");
            }
        }
    }
    assert!(end.unanswered() <= 8 && end.open() <= 16);
    assert!(end.poll_timeout().is_none_or(|at| at > now_ms));
}
