//! The characters of a JSON string that the scanner has found valid.

use core::fmt::{self, Write};

/// The text of a valid JSON string, whose escapes are decoded as it is read. `Display` writes it
/// with U+FFFD for a surrogate escape without its partner; `Debug` tells its length only.
#[derive(Clone, Copy)]
pub struct JsonString<'a> {
    /// The inside, between the quotes.
    raw: &'a str,
}

impl<'a> JsonString<'a> {
    pub(crate) fn new(raw: &'a str) -> Self {
        Self { raw }
    }

    /// Whether it stands for `text`.
    #[must_use]
    pub fn is(&self, text: &str) -> bool {
        if self.raw.contains('\\') {
            unescape(self.raw).eq(text.chars().map(Ok))
        } else {
            self.raw == text
        }
    }

    /// Its characters, with U+FFFD for a surrogate escape without its partner.
    pub fn chars(&self) -> impl Iterator<Item = char> + use<'a> {
        unescape(self.raw).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

impl fmt::Display for JsonString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.chars().try_for_each(|c| f.write_char(c))
    }
}

impl fmt::Debug for JsonString<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JsonString({} bytes)", self.raw.len())
    }
}

/// A surrogate escape without its partner, which is no character.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LoneSurrogate;

/// The characters of `raw`, the inside of a valid JSON string, with escapes decoded.
pub(crate) fn unescape(raw: &str) -> Unescaped<'_> {
    Unescaped { rest: raw }
}

/// Iterator over the decoded characters of a JSON string.
#[derive(Clone, Debug)]
pub(crate) struct Unescaped<'a> {
    rest: &'a str,
}

impl Iterator for Unescaped<'_> {
    type Item = Result<char, LoneSurrogate>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut chars = self.rest.chars();
        let c = match chars.next()? {
            '\\' => match chars.next()? {
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'u' => return Some(self.unicode_escape()),
                itself => itself,
            },
            plain => plain,
        };
        self.rest = chars.as_str();
        Some(Ok(c))
    }
}

impl Unescaped<'_> {
    /// Decodes the `\u` escape at the start of the rest, or a pair of them that make one character.
    fn unicode_escape(&mut self) -> Result<char, LoneSurrogate> {
        let Some((first, rest)) = code_unit(self.rest) else {
            self.rest = "";
            return Err(LoneSurrogate);
        };
        self.rest = rest;
        if let Some(c) = char::from_u32(first) {
            return Ok(c);
        }
        if let 0xd800..=0xdbff = first
            && let Some((second @ 0xdc00..=0xdfff, rest)) = code_unit(self.rest)
        {
            self.rest = rest;
            let c = 0x1_0000 + ((first & 0x3ff) << 10) + (second & 0x3ff);
            return char::from_u32(c).ok_or(LoneSurrogate);
        }
        Err(LoneSurrogate)
    }
}

/// The code unit of the `\u` escape that `text` begins with, and what follows it.
fn code_unit(text: &str) -> Option<(u32, &str)> {
    let (hex, rest) = text.strip_prefix("\\u")?.split_at_checked(4)?;
    Some((u32::from_str_radix(hex, 16).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::String;

    fn check(raw: &str, expected: &str) {
        let text: String = unescape(raw).map(|c| c.unwrap_or('?')).collect();
        assert_eq!(text, expected, "{raw}");
    }

    #[test]
    fn every_escape_is_decoded() {
        check(r#"a\"\\\/\b\f\n\r\tz"#, "a\"\\/\u{8}\u{c}\n\r\tz");
        check(r"\u0041\u00e9\u20AC", "Aé€");
        check("plain é €", "plain é €");
    }

    #[test]
    fn surrogate_pair_is_one_character() {
        check(r"\ud83d\ude97!", "🚗!");
    }

    #[test]
    fn lone_surrogates_are_told_apart_from_characters() {
        check(r"\ud83d", "?");
        check(r"\ude97x", "?x");
        check(r"\ud83dx", "?x");
        check(r"\ud83d\n", "?\n");
        check(r"\ud83d\ud83d\ude97", "?🚗");
    }
}
