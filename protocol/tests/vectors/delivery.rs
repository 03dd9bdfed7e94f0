//! Delivery vectors: the reserved member, and what is delivery's own.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::delivery::parts::{self, Assembly};
use vinbus_protocol::delivery::{
    self, Control, Epoch, Header, Marked, Open, Part, Receipts, Received, Step,
};
use vinbus_protocol::envelope::Content;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    #[serde(default)]
    steps: Vec<(u8, String, bool)>,
    mark: Vec<Mark>,
    cut: Vec<Cut>,
    read: Vec<Read>,
}

/// A content that is marked, and read again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mark {
    name: String,
    epoch: u32,
    peer: u32,
    number: u32,
    ttl_s: u32,
    content: String,
    #[serde(default)]
    marked: String,
}

/// A long message that is cut in parts, and put together again.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cut {
    name: String,
    content: String,
    /// Most bytes of a piece as it is written.
    piece_bytes: usize,
    #[serde(default)]
    checksum: u32,
    #[serde(default)]
    parts: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Read {
    name: String,
    content: String,
    #[serde(default)]
    is: Option<Is>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Is {
    Plain,
    Message {
        epoch: u32,
        peer: u32,
        number: u32,
        ttl_s: u32,
        part: Option<(u32, u32, u32)>,
        content: String,
    },
    Control {
        epoch: u32,
        peer: Option<u32>,
        greeting: bool,
        acknowledged: Option<u32>,
        batch: Option<u32>,
        runs: Vec<(String, u32, u32)>,
        long_bytes_max: u32,
        highest: u32,
        open: Vec<u32>,
    },
}

/// Derives everything that is not an input.
pub(crate) fn derive(file: &mut File) {
    file.steps = Step::ALL
        .map(|step| (step.code(), step.name().into(), step.is_final()))
        .into();
    for case in &mut file.mark {
        let epoch = |number| Epoch::new(number).expect("an epoch");
        let header = Header {
            epoch: epoch(case.epoch),
            peer: epoch(case.peer),
            number: case.number,
            ttl_s: case.ttl_s,
            part: None,
        };
        let content = Content::parse(case.content.as_bytes()).expect("JSON");
        let marked = Marked::new(header, content).expect("it is not too deep");
        let mut buffer = vec![0xA5; 4096];
        let bytes = marked.encode(&mut buffer).expect("it fits");
        case.marked = String::from_utf8(bytes.to_vec()).expect("UTF-8");
        let again = Content::parse(bytes).expect("JSON");
        let Received::Message(read, carried) = delivery::read(again) else {
            panic!("{} is not read as a message", case.name);
        };
        assert_eq!(
            (read, carried.pieces().concat()),
            (header, case.content.clone())
        );
    }
    for case in &mut file.cut {
        cut(case);
    }
    for case in &mut file.read {
        let content = Content::parse(case.content.as_bytes()).expect("JSON");
        case.is = Some(match delivery::read(content) {
            Received::Plain => Is::Plain,
            Received::Message(header, carried) => Is::Message {
                epoch: header.epoch.number(),
                peer: header.peer.number(),
                number: header.number,
                ttl_s: header.ttl_s,
                part: header
                    .part
                    .map(|part| (part.offset, part.total, part.checksum)),
                content: carried.pieces().concat(),
            },
            Received::Control(control) => describe(&control),
        });
    }
}

fn cut(case: &mut Cut) {
    let first = Part::first(&case.content);
    case.checksum = first.checksum;
    case.parts.clear();
    let mut assembly = Assembly::new(vec![0; case.content.len()]);
    let (mut offset, mut number) = (0, 42);
    let mut is_whole = false;
    while !is_whole {
        let piece = parts::piece(&case.content, offset, case.piece_bytes);
        let header = Header {
            epoch: Epoch::new(7).expect("an epoch"),
            peer: Epoch::new(3).expect("an epoch"),
            number,
            ttl_s: 60,
            part: Some(Part {
                offset: u32::try_from(offset).expect("it is short"),
                ..first
            }),
        };
        let mut buffer = vec![0xA5; 4096];
        let bytes = Marked::part(header, piece).encode(&mut buffer);
        let bytes = bytes.expect("it fits");
        case.parts
            .push(String::from_utf8(bytes.to_vec()).expect("UTF-8"));
        let again = Content::parse(bytes).expect("JSON");
        let Received::Message(read, carried) = delivery::read(again) else {
            panic!("{} is not read as a message", case.name);
        };
        assert_eq!(read, header);
        let part = read.part.expect("it is a part");
        is_whole = assembly.add(part, &carried).expect("it is the next one");
        offset += piece.len();
        number += 1;
    }
    let whole = assembly.whole().expect("it is whole");
    assert_eq!(whole.as_str(), case.content);
}

fn describe(control: &Control<'_>) -> Is {
    let runs = control.receipts.iter().flat_map(Receipts::runs);
    Is::Control {
        epoch: control.epoch.number(),
        peer: control.peer.map(Epoch::number),
        greeting: control.greeting,
        acknowledged: control.acknowledged,
        batch: control.receipts.map(|receipts| receipts.batch),
        runs: runs
            .map(|run| (run.step.name().into(), run.first, run.count))
            .collect(),
        long_bytes_max: control.long_bytes_max,
        highest: control.highest,
        open: control.open.iter().flat_map(Open::numbers).collect(),
    }
}
