//! Properties of the envelope codec, with serde_json as the oracle.

#[path = "oracle/mod.rs"]
mod model;

use model::check;
use proptest::prelude::*;
use vinbus_protocol::envelope::{Content, Downlink, EnvelopeReason, JsonReason};

const NAMES: [&str; 9] = [
    "idApp",
    "popup",
    "popupBtn",
    "popupText",
    "popupAction",
    "content",
    r"\u0069dApp",
    r"con\u0074ent",
    r"\ud800",
];

/// White space that JSON allows.
fn space() -> impl Strategy<Value = String> {
    "[ \t\r\n]{0,3}"
}

/// A JSON string with escapes of every kind, lone surrogates included.
fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => "[ -!#-\\[\\]-~]{1,12}",
        1 => "[é车🚗\u{7f}\u{2028}\u{10ffff}]{1,3}",
        1 => "\\\\[\"\\\\/bfnrt]",
        1 => "\\\\u[0-9a-fA-F]{4}",
        1 => "\\\\ud[89ab][0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}",
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

/// A JSON value as text.
fn value() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        "true|false|null",
        "-?(0|[1-9][0-9]{0,20})(\\.[0-9]{1,12})?([eE][+-]?[0-9]{1,4})?",
        string(),
    ];
    leaf.prop_recursive(6, 40, 6, |inner| {
        let element = (space(), inner.clone(), space())
            .prop_map(|(a, v, b)| a + &v + &b)
            .boxed();
        let member = (space(), string(), space(), element.clone())
            .prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        prop_oneof![
            prop::collection::vec(element, 0..6).prop_map(|all| format!("[{}]", all.join(","))),
            prop::collection::vec(member, 0..6).prop_map(|all| format!("{{{}}}", all.join(","))),
        ]
    })
}

/// An object with the members of envelopes, often of the right types, in any order.
fn envelope() -> impl Strategy<Value = String> {
    let name = prop_oneof![9 => prop::sample::select(&NAMES[..]), 1 => Just("other")];
    let value = prop_oneof![
        3 => value(),
        2 => prop::sample::select(&["true", "false", "\"my.app\"", "\"\"", "{}"][..])
            .prop_map(String::from),
        1 => prop::sample::select(&[
            "\"WebPortal.okBtnPopupRequestClicked\"",
            "\"WebPortal.closeTimeoutPopupRequest\"",
        ][..])
            .prop_map(String::from),
    ];
    let member = (space(), name, space(), space(), value, space())
        .prop_map(|(a, name, b, c, value, d)| format!("{a}\"{name}\"{b}:{c}{value}{d}"));
    let head = prop_oneof![
        Just(String::new()),
        Just(r#""idApp":"a","content":0,"#.into()),
        Just(r#""idApp":"a","popup":true,"popupText":"t","#.into()),
    ];
    (space(), head, prop::collection::vec(member, 1..7), space())
        .prop_map(|(a, head, members, b)| format!("{a}{{{head}{}}}{b}", members.join(",")))
}

/// A message without white space, its members in the order in which the crate writes them.
fn canonical() -> impl Strategy<Value = String> {
    let app = prop_oneof![
        2 => "\"[a-zA-Z_.é\u{7f}]{0,70}\"",
        1 => string(),
    ];
    let tail = prop_oneof![
        4 => Just(String::new()),
        1 => space(),
        1 => value().prop_map(|value| format!(",\"content\":{value}")),
        1 => Just(",\"popup\":true,\"popupText\":\"t\"".into()),
        1 => Just(",\"popupAction\":\"WebPortal.okBtnPopupRequestClicked\"".into()),
    ];
    (any::<bool>(), app, value(), tail).prop_map(|(downlink, app, content, tail)| {
        let head = if downlink {
            format!("\"idApp\":{app},\"popup\":false,")
        } else {
            String::new()
        };
        format!("{{{head}\"content\":{content}{tail}}}")
    })
}

/// A change of one place in a text.
#[derive(Clone, Debug)]
enum Change {
    Replace(u8),
    Insert(u8),
    Remove,
    Cut,
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    let byte = prop_oneof![
        4 => prop::sample::select(&b"{}[]\",:\\/u0129.-+eE tfn\n\x00\x1f\x7f\x80\xc3\xa9\xed\xff"[..]),
        1 => any::<u8>(),
    ];
    let change = prop_oneof![
        4 => byte.clone().prop_map(Change::Replace),
        4 => byte.prop_map(Change::Insert),
        4 => Just(Change::Remove),
        1 => Just(Change::Cut),
    ];
    prop::collection::vec((any::<prop::sample::Index>(), change), 1..4)
}

fn changed(text: &str, changes: Vec<(prop::sample::Index, Change)>) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for (place, change) in changes {
        if bytes.is_empty() {
            break;
        }
        let at = place.index(bytes.len());
        match change {
            Change::Replace(byte) => bytes[at] = byte,
            Change::Insert(byte) => bytes.insert(at, byte),
            Change::Remove => drop(bytes.remove(at)),
            Change::Cut => bytes.truncate(at),
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_json_value_is_read_as_serde_json_reads_it(text in value()) {
        check(text.as_bytes());
        prop_assert!(Content::parse(text.as_bytes()).is_ok());
    }

    #[test]
    fn any_envelope_is_read_as_serde_json_reads_it(text in envelope()) {
        check(text.as_bytes());
    }

    #[test]
    fn damaged_envelope_is_judged_as_serde_json_judges_it(
        text in envelope(),
        changes in changes(),
    ) {
        check(&changed(&text, changes));
    }

    #[test]
    fn canonical_message_is_read_as_serde_json_reads_it(text in canonical()) {
        check(text.as_bytes());
    }

    #[test]
    fn damaged_canonical_message_is_judged_as_serde_json_judges_it(
        text in canonical(),
        changes in changes(),
    ) {
        check(&changed(&text, changes));
    }

    #[test]
    fn anything_written_with_json_characters_is_judged_as_serde_json_judges_it(
        text in "[\\[\\]{}\",:\\\\tfn01.eE+\\- ]{0,24}",
    ) {
        check(text.as_bytes());
    }

    #[test]
    fn beginning_of_a_message_is_an_unexpected_end(text in value(), cut in any::<prop::sample::Index>()) {
        let message = format!("{{\"idApp\":\"é\",\"content\":{text}}}");
        let cut = 1 + cut.index(message.len() - 1);
        let (head, _) = message.as_bytes().split_at(cut);
        let error = Downlink::decode(head).unwrap_err();
        match std::str::from_utf8(head) {
            Ok(_) => {
                prop_assert_eq!(error.reason, EnvelopeReason::Json(JsonReason::UnexpectedEnd));
                prop_assert_eq!(error.offset, cut);
            }
            Err(_) => prop_assert_eq!(error.reason, EnvelopeReason::Utf8),
        }
    }
}

/// Whoever reads in blocks may take the last one for another: the brackets are inside of strings.
#[test]
fn content_without_an_end_is_refused_whatever_its_length() {
    for open in [r#"["]]]"#, r#"{"a":"}}"#, r#"["","]]"#] {
        for len in open.len()..300 {
            let content = format!("{open:0<len$}");
            check(content.as_bytes());
            check(format!("{{\"content\":{content}}}").as_bytes());
            check(format!(r#"{{"idApp":"a","popup":false,"content":{content}}}"#).as_bytes());
        }
    }
}

/// What `serde_json::Value` refuses of the content that is passed on.
#[test]
fn content_that_a_parser_of_values_refuses_is_passed_on() {
    for json in [r#""\ud800""#, r#"{"\udc00":1}"#, "1e400"] {
        assert!(serde_json::from_str::<serde_json::Value>(json).is_err());
        assert_eq!(Content::parse(json.as_bytes()).unwrap().as_str(), json);
        check(json.as_bytes());
    }
}

/// The deepest content is the deepest that `serde_json::Value` reads.
#[test]
fn deepest_content_is_read_by_a_parser_of_values() {
    for (depth, accepted) in [(127, true), (128, false)] {
        let json = "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(Content::parse(json.as_bytes()).is_ok(), accepted);
        let theirs = serde_json::from_str::<serde_json::Value>(&json);
        assert_eq!(theirs.is_ok(), accepted);
        check(json.as_bytes());
        check(format!("{{\"content\":{json}}}").as_bytes());
    }
}
