//! What delivery adds to a content, and parts of long ones: written, read, put together again, or refused.

use proptest::prelude::*;
use vinbus_protocol::delivery::parts::{Assembly, PartError, piece};
use vinbus_protocol::delivery::{self, Epoch, Header, Marked, Part, Received, Step};
use vinbus_protocol::envelope::{Content, EncodeError};
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_LONG_BYTES_MAX, DELIVERY_PARTS_MAX, PAYLOAD_BYTES_MAX,
};

fn header(number: u32, part: Option<Part>) -> Header {
    let longest = Epoch::new(999_999_999).unwrap();
    Header {
        epoch: longest,
        peer: longest,
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
        "the content nests deeper than 126 and cannot be wrapped: send it without receipts"
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
