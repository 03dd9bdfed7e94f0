//! How fast downlink messages are decoded, beside serde_json with `RawValue` and sonic-rs with
//! `LazyValue` on the same bytes.
//!
//! All three check the whole payload as JSON in UTF-8, check the identifier, and find `popup` and
//! the span of `content`; vinbus also checks the size and the nesting. The others are used as their
//! documentation advises for borrowed data; what does not check UTF-8 is not used.
//!
//! Each benchmark decodes 1 MiB of messages of one length, 200 bytes or 131,072 bytes, and of one
//! kind of content: objects like the source document's example, sentences (one word in 100 is
//! quoted, with escapes), or arrays of numbers.
//! The envelopes are written as vinbus and `JSON.stringify` write them, which vinbus decodes by a
//! shorter path than others.
//! The messages differ, as in life: a decoder that sees one message again and again runs on
//! perfectly predicted branches and looks faster than it is. They come from a fixed seed.

use std::borrow::Cow;
use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use vinbus_protocol::envelope::Downlink;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

/// Bytes of messages in one iteration.
const BATCH_BYTES: usize = 1 << 20;

#[derive(Deserialize)]
struct SerdeJson<'a> {
    #[serde(rename = "idApp", borrow)]
    app: Cow<'a, str>,
    #[serde(default)]
    popup: bool,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
struct SonicRs<'a> {
    #[serde(rename = "idApp", borrow)]
    app: Cow<'a, str>,
    #[serde(default)]
    popup: bool,
    #[serde(borrow)]
    content: sonic_rs::LazyValue<'a>,
}

/// xorshift64*, so that the inputs need no dependency and never change.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % bound
    }

    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 24] = [
            "a",
            "to",
            "of",
            "km",
            "the",
            "left",
            "right",
            "route",
            "action",
            "charge",
            "station",
            "doSomething",
            "type",
            "name",
            "speed",
            "battery",
            "temperature",
            "id",
            "John",
            "Doe",
            "firstname",
            "params",
            "position",
            "destination",
        ];
        WORDS[self.below(WORDS.len() as u64) as usize]
    }

    fn number(&mut self) -> String {
        match self.below(5) {
            0 => self.below(100).to_string(),
            1 => format!("-{}", self.below(3000)),
            2 => format!("{}.{}", self.below(180), self.below(10_000_000)),
            3 => format!("{}.{}", self.below(100), self.below(10)),
            _ => (1_732_190_400_000 + self.below(1 << 31)).to_string(),
        }
    }

    fn sentence(&mut self) -> String {
        let words: Vec<&str> = (0..3 + self.below(30))
            .map(|_| match self.below(100) {
                0 => "\\\"here\\\"",
                _ => self.word(),
            })
            .collect();
        format!("\"{}.\"", words.join(" "))
    }

    fn object(&mut self, depth: u32) -> String {
        let members: Vec<String> = (0..1 + self.below(4))
            .map(|_| {
                let value = match self.below(6) {
                    0 | 1 => format!("\"{}\"", self.word()),
                    2 => self.number(),
                    3 => "true".to_owned(),
                    4 if depth > 0 => self.object(depth - 1),
                    _ => format!("[{},{}]", self.below(10), self.below(100)),
                };
                format!("\"{}\":{value}", self.word())
            })
            .collect();
        format!("{{{}}}", members.join(","))
    }
}

/// A downlink message of exactly `len` bytes, most of it items; a string fills what is left.
fn message(len: usize, mut item: impl FnMut() -> String) -> Vec<u8> {
    let head = r#"{"idApp":"MY_APP_ID","popup":false,"content":{"data":["#;
    let (middle, tail) = (r#"],"fill":""#, r#""}}"#);
    let room = len - head.len() - middle.len() - tail.len();
    let mut list = item();
    while list.len() > room {
        list = item();
    }
    loop {
        let next = item();
        if list.len() + 1 + next.len() > room {
            break;
        }
        list += ",";
        list += &next;
    }
    let fill = "x".repeat(room - list.len());
    let message = [head, &list, middle, &fill, tail].concat().into_bytes();
    assert_eq!(message.len(), len);
    message
}

fn messages(kind: &str, len: usize) -> Vec<Vec<u8>> {
    let mut random = Random(0x0076_696e_6275_7301);
    let mut item = || match kind {
        "objects" => random.object(2),
        "text" => random.sentence(),
        _ => random.number(),
    };
    (0..BATCH_BYTES / len)
        .map(|_| message(len, &mut item))
        .collect()
}

fn decode(c: &mut Criterion) {
    for len in [200, PAYLOAD_BYTES_MAX] {
        for kind in ["objects", "text", "numbers"] {
            let messages = messages(kind, len);
            let mut group = c.benchmark_group(format!("decode/{len}/{kind}"));
            group.throughput(Throughput::Bytes((messages.len() * len) as u64));
            group.bench_function("vinbus", |b| {
                b.iter(|| {
                    for payload in &messages {
                        black_box(Downlink::decode(payload).unwrap());
                    }
                });
            });
            group.bench_function("serde_json", |b| {
                b.iter(|| {
                    for payload in &messages {
                        let message: SerdeJson<'_> = serde_json::from_slice(payload).unwrap();
                        let app = AppId::parse(&message.app).unwrap();
                        black_box((app, message.popup, message.content));
                    }
                });
            });
            group.bench_function("sonic-rs", |b| {
                b.iter(|| {
                    for payload in &messages {
                        let message: SonicRs<'_> = sonic_rs::from_slice(payload).unwrap();
                        let app = AppId::parse(&message.app).unwrap();
                        black_box((app, message.popup, message.content));
                    }
                });
            });
            group.finish();
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
