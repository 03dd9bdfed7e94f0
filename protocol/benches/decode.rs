//! How fast a downlink message is decoded, beside serde_json with `RawValue` and sonic-rs with
//! `LazyValue` on the same bytes.
//!
//! All three check the whole payload and find `idApp`, `popup` and the span of `content`; vinbus
//! also checks the size, the identifier and the nesting. The messages are built below: three kinds
//! of content (objects as in the source document's example, long text, arrays of numbers), each
//! padded to exactly 200 bytes and to exactly 131,072 bytes, the largest payload.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use serde::Deserialize;
use serde_json::value::RawValue;
use vinbus_protocol::envelope::Downlink;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded, never read")]
struct SerdeJson<'a> {
    #[serde(rename = "idApp")]
    app: &'a str,
    #[serde(default)]
    popup: bool,
    #[serde(borrow)]
    content: &'a RawValue,
}

#[derive(Deserialize)]
#[allow(dead_code, reason = "decoded, never read")]
struct SonicRs<'a> {
    #[serde(rename = "idApp")]
    app: &'a str,
    #[serde(default)]
    popup: bool,
    #[serde(borrow)]
    content: sonic_rs::LazyValue<'a>,
}

/// A downlink message of exactly `len` bytes. Its content is an object of two members: an array of
/// as many `items` as fit, cycled, and a string that fills what is left.
fn message(len: usize, items: &[&str]) -> Vec<u8> {
    let head = r#"{"idApp":"MY_APP_ID","popup":false,"content":{"data":["#;
    let (middle, tail) = (r#"],"fill":""#, r#""}}"#);
    let room = len - head.len() - middle.len() - tail.len();
    let mut list = String::new();
    for item in items.iter().cycle() {
        let comma = if list.is_empty() { "" } else { "," };
        if list.len() + comma.len() + item.len() > room {
            break;
        }
        list += comma;
        list += item;
    }
    let fill = "x".repeat(room - list.len());
    let message = [head, &list, middle, &fill, tail].concat().into_bytes();
    assert_eq!(message.len(), len);
    message
}

fn kinds(len: usize) -> [(&'static str, Vec<u8>); 3] {
    let object = r#"{"type":"action","action":"doSomething","params":{"arg1":42,"arg2":"a string","arg3":[1,2,3,4],"arg4":{"firstname":"John","lastname":"Doe"}}}"#;
    let small = r#"{"type":"action","params":{"arg1":42,"arg3":[1,2]}}"#;
    let text = "Turn left after 200 m, then follow the road to the charging station. ".repeat(5);
    let text = format!(
        "\"{}\"",
        if len > 1000 {
            &text
        } else {
            "Turn left after 200 m, then follow the road."
        }
    );
    let numbers = [
        "48.8566969",
        "2.3514616",
        "-17",
        "0",
        "1732190400123",
        "3.6e2",
        "21.5",
    ];
    [
        (
            "objects",
            message(len, &[if len > 1000 { object } else { small }]),
        ),
        ("text", message(len, &[&text])),
        ("numbers", message(len, &numbers)),
    ]
}

fn decode(c: &mut Criterion) {
    for len in [200, PAYLOAD_BYTES_MAX] {
        for (kind, payload) in kinds(len) {
            let mut group = c.benchmark_group(format!("decode/{len}/{kind}"));
            group.throughput(Throughput::Bytes(len as u64));
            group.bench_function("vinbus", |b| {
                b.iter(|| Downlink::decode(black_box(&payload)).unwrap());
            });
            group.bench_function("serde_json", |b| {
                b.iter(|| serde_json::from_slice::<SerdeJson<'_>>(black_box(&payload)).unwrap());
            });
            group.bench_function("sonic-rs", |b| {
                b.iter(|| sonic_rs::from_slice::<SonicRs<'_>>(black_box(&payload)).unwrap());
            });
            group.finish();
        }
    }
}

criterion_group!(benches, decode);
criterion_main!(benches);
