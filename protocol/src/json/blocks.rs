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

mod classes;
mod scalars;

use classes::Block;
use scalars::Scalars;

/// Bytes of a block: one for each bit of a word.
const BLOCK: usize = 64;

/// The length of the object or array that `json` begins with, if it is certainly valid and nests
/// at most `depth_max` deep.
pub(super) fn container_len(json: &[u8], depth_max: usize) -> Option<usize> {
    let mut blocks = Blocks::default();
    let mut rest = json;
    while let Some(tail) = rest.get(BLOCK..) {
        if let Some(len) = blocks.read(rest.first_chunk()?, rest, depth_max)? {
            return Some((json.len() - rest.len()) + len);
        }
        rest = tail;
    }
    let mut padded = [b' '; BLOCK];
    padded.get_mut(..rest.len())?.copy_from_slice(rest);
    let len = blocks.read(&padded, rest, depth_max)??;
    Some((json.len() - rest.len()) + len)
}

/// What one block needs to know of those before it. A `u64` that carries a token is 0 or 1.
#[derive(Default)]
struct Blocks {
    /// All ones if the block begins inside a string.
    in_string: u64,
    /// The first byte is escaped.
    escaped: u64,
    /// The string that the block begins in is a member's name.
    in_name: u64,
    /// The last byte belonged to a number or a word.
    in_scalar: u64,
    scalars: Scalars,
    after_name: u64,
    after_value: u64,
    after_brace: u64,
    after_bracket: u64,
    after_member_comma: u64,
    after_colon: u64,
    depth: usize,
    /// One bit for each open container, the innermost lowest: is it an object?
    nesting: u128,
}

impl Blocks {
    /// Reads a block, the start of `rest`: `None` if it is not certainly valid, `Some(Some(len))`
    /// if the outermost container ends in it.
    #[inline(always)]
    fn read(
        &mut self,
        block: &[u8; BLOCK],
        rest: &[u8],
        depth_max: usize,
    ) -> Option<Option<usize>> {
        let block = Block::new(block);
        if self.in_string != 0 && self.escaped == 0 && block.is_plain() {
            return Some(None);
        }
        let mut quotes = block.equal(b'"');
        let backslashes = block.equal(b'\\');
        if backslashes | self.escaped != 0 {
            quotes &= !self.escaped(backslashes, rest)?;
        }
        // From each opening quote up to its closing one, which is not included.
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        let outside = !strings & !quotes;

        let (mut openers, mut closers, mut braces) = (0, 0, 0);
        if block.maybe_brackets() & outside != 0 {
            openers = block.openers() & outside;
            closers = block.closers() & outside;
            braces = block.braces();
        }
        let (in_objects, end) = self.nest(openers, closers, braces, depth_max)?;
        // What stands behind the end of the outermost container is none of our business.
        let here = match end {
            Some(end) => u64::MAX >> (63 - end),
            None => u64::MAX,
        };
        let controls = block.controls();
        if (controls & strings | backslashes & outside) & here != 0 {
            return None;
        }
        let mut space = block.equal(b' ');
        if controls != 0 {
            space |= block.equal(b'\n') | block.equal(b'\r') | block.equal(b'\t');
        }
        let space = space & outside;

        let commas = block.equal(b',') & outside;
        let colons = block.equal(b':') & outside;
        let scalars = outside & !(openers | closers | commas | colons | space) & here;
        let was_in_scalar = self.in_scalar;
        let behind_scalars = shifted(scalars, &mut self.in_scalar);
        let scalar_starts = scalars & !behind_scalars;
        if scalars | was_in_scalar != 0 {
            self.scalars.read(&block, rest, scalars, scalar_starts)?;
        }
        let behind_scalars = behind_scalars & !scalars;

        let opening_quotes = quotes & strings;
        let value_starts = opening_quotes | scalar_starts | openers;
        let closing_braces = closers & braces;

        let after_brace = after(openers & braces, space, &mut self.after_brace);
        let after_bracket = after(openers & !braces, space, &mut self.after_bracket);
        let after_member_comma = after(commas & in_objects, space, &mut self.after_member_comma);
        let names = (after_brace | after_member_comma) & opening_quotes;
        let (ends, overflow) = strings.overflowing_add(names | self.in_name);
        self.in_name = u64::from(overflow);
        let name_ends = ends & !strings;
        let value_ends = quotes & !strings & !name_ends | closers;

        let after_name = after(name_ends, space, &mut self.after_name);
        let after_colon = after(colons | commas & !in_objects, space, &mut self.after_colon);
        let (sum, overflow) =
            space.overflowing_add(value_ends << 1 | self.after_value | behind_scalars);
        self.after_value = value_ends >> 63 | u64::from(overflow);
        let after_value = sum & !space;

        let wrong = after_brace & !(opening_quotes | closing_braces)
            | after_bracket & !(value_starts | closers & !braces)
            | after_member_comma & !opening_quotes
            | after_name & !colons
            | colons & !after_name
            | after_colon & !value_starts
            | after_value & !(commas | closers);
        if wrong & here != 0 {
            return None;
        }
        Some(end.map(|end| end as usize + 1))
    }

    /// The bytes that a backslash escapes, after checking each escape.
    #[cold]
    fn escaped(&mut self, backslashes: u64, rest: &[u8]) -> Option<u64> {
        let mut escaped = self.escaped;
        self.escaped = 0;
        let mut left = backslashes & !escaped;
        while left != 0 {
            let at = left.trailing_zeros();
            match rest.get(at as usize + 1..)? {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {}
                [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) => {}
                _ => return None,
            }
            match 2_u64.checked_shl(at) {
                Some(0) | None => self.escaped = 1,
                Some(next) => escaped |= next,
            }
            left &= left - 1;
            left &= !escaped;
        }
        Some(escaped)
    }

    /// Follows the nesting; returns the bytes that belong to objects, as far as a comma's meaning
    /// depends on it, and where the outermost container ends.
    #[inline(always)]
    fn nest(
        &mut self,
        openers: u64,
        closers: u64,
        braces: u64,
        depth_max: usize,
    ) -> Option<(u64, Option<u32>)> {
        let mut in_objects = 0_u64.wrapping_sub(self.nesting as u64 & 1);
        let mut mismatch = false;
        let mut left = openers | closers;
        while left != 0 {
            let at = left.trailing_zeros();
            let bit = left & left.wrapping_neg();
            left ^= bit;
            // No branch asks which bracket this is: nobody could predict the answer.
            let opens = openers & bit != 0;
            let brace = u128::from(braces & bit != 0);
            mismatch |= !opens & (self.nesting & 1 != brace);
            let (inner, outer) = (self.nesting << 1 | brace, self.nesting >> 1);
            self.nesting = if opens { inner } else { outer };
            self.depth = self.depth.wrapping_add(if opens { 1 } else { usize::MAX });
            if self.depth.wrapping_sub(1) >= depth_max {
                let complete = self.depth == 0 && !mismatch;
                return complete.then_some((in_objects, Some(at)));
            }
            let from_here = bit.wrapping_neg();
            let in_object = 0_u64.wrapping_sub(self.nesting as u64 & 1);
            in_objects = in_objects & !from_here | in_object & from_here;
        }
        if mismatch {
            return None;
        }
        Some((in_objects, None))
    }
}

/// The bits behind those of `bits`.
#[inline(always)]
fn shifted(bits: u64, carry: &mut u64) -> u64 {
    let shifted = bits << 1 | *carry;
    *carry = bits >> 63;
    shifted
}

/// The first bits behind those of `bits` that are not in `space`.
#[inline(always)]
fn after(bits: u64, space: u64, carry: &mut u64) -> u64 {
    let (sum, overflow) = space.overflowing_add(bits << 1 | *carry);
    *carry = bits >> 63 | u64::from(overflow);
    sum & !space
}

/// Each bit becomes the parity of itself and all bits below it.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
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
                let len = container_len(text.as_bytes(), 128);
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
    fn nesting_is_bounded_exactly() {
        let nested = "[".repeat(128) + &"]".repeat(128);
        assert_eq!(container_len(nested.as_bytes(), 128), Some(256));
        assert_eq!(container_len(nested.as_bytes(), 127), None);
        assert_eq!(container_len("[".repeat(1000).as_bytes(), 128), None);
    }
}
