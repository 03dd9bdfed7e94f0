//! The fast path for objects and arrays: 64 bytes at a time, all of them at once.
//!
//! Each class of characters becomes a word with one bit for each byte of the block, and the rules
//! of JSON become arithmetic on these words: what follows a token is one shift away, what follows
//! a run of digits or white space is one addition away (the carry runs through the run). There is
//! no branch whose outcome depends on how long a string or a number is, and that is what makes it
//! fast: on messages that differ, mispredicted branches cost more than anything else.
//!
//! It only ever says "valid, and this long". Where it does not, the scanner reads the same bytes
//! with care and names the fault, so this file never has to explain one. It uses SSE2, which every
//! x86-64 has; other processors have the scanner alone.
//!
//! A short text of long strings has few tokens, and the scanner is through it sooner; so it is left to
//! the scanner.

mod nesting;
mod order;
mod planes;
mod scalars;
mod strings;

use nesting::{Nested, Nesting, OPEN_MAX};
use order::{Order, Tokens};
use planes::Planes;
use scalars::Scalars;
use strings::Strings;

use super::vectors::{BLOCK, Vectors};

/// Letters and spaces of a first block that promise long strings.
const LETTERS_MANY: u32 = 48;

/// Up to here the scanner is faster through long strings: at 400 bytes of text by 9 %, while at 600
/// bytes it takes 4 % longer.
const SHORT_BYTES_MAX: usize = 512;

/// The length of the object or array that begins at `start`, if it is certainly valid and nests at
/// most `depth_max` deep. What the scanner is faster with is left to it.
pub(super) fn container_len(text: &[u8], start: usize, depth_max: usize) -> Option<usize> {
    let json = text.get(start..)?;
    if depth_max < OPEN_MAX || is_short_text(json) {
        return None;
    }
    valid_len(text, json)
}

/// Whether `json` is short and seems to be of long strings.
#[inline(always)]
fn is_short_text(json: &[u8]) -> bool {
    json.len() <= SHORT_BYTES_MAX
        && json
            .first_chunk()
            .is_some_and(|block| Vectors::of(block).letters() >= LETTERS_MANY)
}

/// The length of the container that `json` begins with, if it is certainly valid. It is the end of
/// `text`, which has at least a block's length.
#[inline(always)]
fn valid_len(text: &[u8], json: &[u8]) -> Option<usize> {
    let mut blocks = Blocks::default();
    let mut rest = json;
    let mut in_text = false;
    while let Some((block, tail)) = rest.split_first_chunk() {
        let vectors = Vectors::of(block);
        // Short strings rarely begin like this, so that the branch can be predicted.
        if in_text || blocks.strings.go_on() & vectors.begin_plain() {
            let len = blocks.unchanged_len(vectors, rest);
            in_text = len > 0;
            if in_text {
                rest = rest.get(len..)?;
                continue;
            }
        }
        if let Some(len) = blocks.read(&Planes::of(vectors), rest)? {
            return Some(json.len() - rest.len() + len);
        }
        rest = tail;
    }
    if rest.is_empty() {
        return None;
    }
    // The last block begins before the rest does, so that it need not be copied.
    let planes = Planes::of(Vectors::of(text.last_chunk()?)).last(rest.len());
    let len = blocks.read(&planes, rest)??;
    Some(json.len() - rest.len() + len)
}

/// What one block needs to know of those before it.
#[derive(Default)]
struct Blocks {
    strings: Strings,
    nesting: Nesting,
    scalars: Scalars,
    order: Order,
}

impl Blocks {
    /// Of a block that begins inside a string, the bytes that change nothing: plain ones, short
    /// escapes, and from the end of an array's string to the beginning of the next. This is what
    /// long texts are made of.
    #[inline(always)]
    fn unchanged_len(&self, vectors: Vectors, rest: &[u8]) -> usize {
        let in_array = self.nesting.in_array() && !self.order.in_name();
        if in_array && vectors.is_text() {
            return BLOCK;
        }
        let mut special = vectors.special();
        while special != 0 {
            let at = special.trailing_zeros() as usize;
            let next = at
                + match rest.get(at..) {
                    Some([b'"', b',', b'"', ..]) if in_array => 3,
                    Some(
                        [
                            b'\\',
                            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                            ..,
                        ],
                    ) => 2,
                    _ => return at,
                };
            if next >= BLOCK {
                return next;
            }
            special = special >> next << next;
        }
        BLOCK
    }

    /// Reads the block that `rest` begins with: `None` if it is not certainly valid, and
    /// `Some(Some(len))` if the outermost container ends in it.
    #[inline(always)]
    fn read(&mut self, planes: &Planes, rest: &[u8]) -> Option<Option<usize>> {
        let quoted = self.strings.read(planes, rest)?;
        let outside = !quoted.strings & !quoted.closing;
        let openers = planes.openers() & outside;
        let closers = planes.closers() & outside;
        let Nested { in_objects, end } = self.nesting.read(openers, closers, planes.braces())?;
        // What stands behind the end of the outermost container is none of our business.
        let here = end.map_or(u64::MAX, |end| u64::MAX >> (63 - end));

        let space = planes.spaces() & outside;
        let commas = planes.equal(b',') & outside;
        let colons = planes.equal(b':') & outside;
        let scalars = outside & !(openers | closers | commas | colons | space) & here;
        let bounds = self.scalars.read(planes, rest, scalars)?;
        let wrong = self.order.wrong(&Tokens {
            strings: quoted.strings,
            opening_quotes: quoted.opening,
            closing_quotes: quoted.closing,
            scalar_starts: bounds.starts,
            behind_scalars: bounds.behind,
            openers,
            closers,
            commas,
            colons,
            space,
            in_objects,
        });
        if (wrong | planes.controls() & quoted.strings) & here != 0 {
            return None;
        }
        Some(end.map(|end| end as usize + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    /// Every position of a text in its blocks is tried.
    fn check(json: &str, expected: bool) {
        for shift in 0..BLOCK {
            let shifted = std::format!("[{}{json}]", " ".repeat(shift));
            for behind in ["", " ", ",\"next\":\"\\n\u{1}", "]]}}"] {
                let text = String::from(&shifted) + behind;
                // Shorter texts are not read at all.
                let text = " ".repeat(BLOCK) + &text;
                let len = valid_len(text.as_bytes(), &text.as_bytes()[BLOCK..]);
                assert_eq!(len, expected.then_some(shifted.len()), "{text}");
            }
        }
    }

    #[test]
    fn valid_values_are_accepted_wherever_they_stand_in_a_block() {
        for json in [
            r#""", "\"\\\\\"", "\u00e9\ud800", "a\nb\/", "\\""#,
            "0, -0, 10, -1.5, 0.0e0, 12E+34, 1e-9, 1234567890123456789012345678901234567890123456789012345678901234567890.5",
            "true, false ,null,true",
            r#"{"a":1,"b" : {"c":[],"d":{}} , "e":"x"}, [[1,2],[{}, []]]"#,
            r#"{"a":"b","c":["d","e"],"":true}"#,
        ] {
            check(json, true);
        }
    }

    #[test]
    fn invalid_values_are_left_to_the_scanner_wherever_they_stand_in_a_block() {
        for json in [
            "1,",
            ",1",
            "1 2",
            "01",
            "-",
            "-a",
            "1.",
            "1.e1",
            ".5",
            "1e",
            "1e+",
            "+1",
            "1.2.3",
            "1e2e3",
            "1-2",
            "00",
            "1e1.5",
            "--1",
            "tru",
            "truex",
            "true1",
            "nulll",
            "1true",
            "x",
            "\u{1}",
            "\"a\u{1}\"",
            r#""\x""#,
            r#""\u12g4""#,
            r#""a""b""#,
            r#""a"1"#,
            r#"1"a""#,
            r#""a":1"#,
            "{1}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1 "b":2}"#,
            r#"{"a":"b":1}"#,
            r#"{,"a":1}"#,
            r#"{"a",1}"#,
            r#"{"a"::1}"#,
            "{]",
            "[}",
            r#"{"a":[1}]"#,
            r#"{"a":1},"#,
            "{}{}",
            "[][]",
            r#"[{"a":1}"b"]"#,
            ":",
            "\\",
        ] {
            check(json, false);
        }
    }

    #[test]
    fn a_container_without_an_end_is_left_to_the_scanner_whatever_its_length() {
        // The brackets are inside of strings; read from elsewhere, they would end something.
        for open in [r#"["]]]"#, r#"["\"]]"#, r#"{"a":"}}"#, r#"["","]]"#] {
            for len in open.len()..=4 * BLOCK {
                let text = " ".repeat(BLOCK) + &std::format!("{open:0<len$}");
                let found = valid_len(text.as_bytes(), &text.as_bytes()[BLOCK..]);
                assert_eq!(found, None, "{text}");
            }
        }
    }

    #[test]
    fn short_text_is_left_to_the_scanner() {
        let len = |words: &str, times| {
            let json = std::format!("[{}0]", words.repeat(times));
            container_len(json.as_bytes(), 0, 128)
        };
        let sentence = "\"to the charging station\",";
        assert_eq!(len(sentence, 3), None);
        assert_eq!(len(sentence, 19), None);
        assert_eq!(len(sentence, 20), Some(523));
        assert_eq!(len("1234,", 20), Some(103));
    }

    #[test]
    fn nesting_is_bounded_exactly() {
        let behind = " ".repeat(SHORT_BYTES_MAX);
        let nested = |depth| " ".repeat(BLOCK) + &"[".repeat(depth) + &"]".repeat(depth) + &behind;
        let len = |depth, depth_max| container_len(nested(depth).as_bytes(), BLOCK, depth_max);
        assert_eq!(len(OPEN_MAX, 128), Some(2 * OPEN_MAX));
        assert_eq!(len(OPEN_MAX + 1, 128), None);
        assert_eq!(len(1, OPEN_MAX - 1), None);
        assert_eq!(len(1000, 1000), None);
    }
}
