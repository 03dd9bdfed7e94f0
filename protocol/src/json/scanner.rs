//! The cursor that checks JSON and finds spans.
//!
//! The cursor is what is left of the text, so moving it needs no arithmetic and no index. When a
//! method fails, the cursor stands at the offending byte.

use super::words::{after_digits, after_plain};
use super::{JsonReason, JsonString};

/// What a value is, as its first byte tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// A number of any range.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

/// A checked value of a text.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    /// What it is.
    pub kind: Kind,
    /// The value as written, without surrounding white space.
    pub text: &'a str,
    /// Offset of its first byte in the scanned text.
    pub offset: usize,
}

impl<'a> Value<'a> {
    /// Offset of what follows its last byte in the scanned text.
    pub(crate) const fn end(&self) -> usize {
        self.offset.saturating_add(self.text.len())
    }

    /// The inside of a string, between its quotes, with its escapes as written.
    pub(crate) fn string(&self) -> Option<&'a str> {
        self.text.strip_prefix('"')?.strip_suffix('"')
    }

    /// The characters, if it is a string.
    #[must_use]
    pub fn as_string(&self) -> Option<JsonString<'a>> {
        self.string().map(JsonString::new)
    }
}

/// A position in a JSON text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    /// A scanner at the first byte of `text` that is not white space.
    pub(crate) fn new(text: &'a str) -> Self {
        let mut scanner = Self {
            text,
            rest: text.as_bytes(),
        };
        scanner.skip_space();
        scanner
    }

    /// Bytes from the start of the text to the cursor.
    #[inline(always)]
    pub(crate) fn offset(&self) -> usize {
        self.text.len().saturating_sub(self.rest.len())
    }

    /// The byte at the cursor, or `None` at the end of the text.
    pub(crate) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Moves over `byte` and the white space behind it, if it is next.
    #[inline]
    pub(crate) fn eat(&mut self, byte: u8) -> bool {
        match self.rest {
            [first, tail @ ..] if *first == byte => {
                self.rest = tail;
                self.skip_space();
                true
            }
            _ => false,
        }
    }

    /// Moves over a member's name, the colon and the white space around them; returns the inside
    /// of the name's string.
    #[inline]
    pub(crate) fn name(&mut self) -> Result<&'a str, JsonReason> {
        let start = self.offset() + 1;
        self.skip_quoted(JsonReason::ExpectedName)?;
        let name = self.text.get(start..self.offset().saturating_sub(1));
        self.skip_space();
        self.skip_colon()?;
        Ok(name.unwrap_or_default())
    }

    /// Moves over one value, whose objects and arrays nest at most `depth_max` deep, and the white
    /// space behind it.
    #[inline]
    pub(crate) fn value(&mut self, depth_max: usize) -> Result<Value<'a>, JsonReason> {
        let offset = self.offset();
        let kind = match self.peek() {
            None => return Err(JsonReason::UnexpectedEnd),
            Some(b'"') => {
                self.skip_quoted(JsonReason::ExpectedValue)?;
                Kind::String
            }
            Some(b't') => {
                self.skip_literal(b"true")?;
                Kind::True
            }
            Some(b'f') => {
                self.skip_literal(b"false")?;
                Kind::False
            }
            Some(first) => {
                self.skip_value(depth_max)?;
                match first {
                    b'{' => Kind::Object,
                    b'[' => Kind::Array,
                    b'n' => Kind::Null,
                    _ => Kind::Number,
                }
            }
        };
        let text = self.span(offset);
        self.skip_space();
        Ok(Value { kind, text, offset })
    }

    /// Fails unless the whole text has been read.
    pub(crate) fn end(&self) -> Result<(), JsonReason> {
        match self.rest {
            [] => Ok(()),
            _ => Err(JsonReason::TrailingBytes),
        }
    }

    /// The text from `start` to the cursor.
    #[inline(always)]
    fn span(&self, start: usize) -> &'a str {
        self.text.get(start..self.offset()).unwrap_or_default()
    }

    fn skip_value(&mut self, depth_max: usize) -> Result<(), JsonReason> {
        #[cfg(all(
            target_arch = "x86_64",
            target_feature = "sse2",
            not(vinbus_scanner_alone)
        ))]
        if let [b'{' | b'[', ..] = self.rest
            && let Some(len) =
                super::blocks::container_len(self.text.as_bytes(), self.offset(), depth_max)
        {
            self.rest = self.rest.get(len..).unwrap_or_default();
            return Ok(());
        }
        // One bit for each open container around the innermost one: is it an object?
        let mut outer: u128 = 0;
        let mut in_object = false;
        let mut depth = 0_usize;
        loop {
            match self.rest {
                [b'"', ..] => self.skip_quoted(JsonReason::ExpectedValue)?,
                [b'-' | b'0'..=b'9', ..] => self.skip_number()?,
                [open @ (b'{' | b'['), tail @ ..] => {
                    if depth >= depth_max {
                        return Err(JsonReason::TooDeep);
                    }
                    depth += 1;
                    outer = outer << 1 | u128::from(in_object);
                    in_object = *open == b'{';
                    self.rest = tail;
                    self.skip_space();
                    match self.rest {
                        [b'}', ..] if in_object => {}
                        [b']', ..] if !in_object => {}
                        _ if in_object => {
                            self.skip_name()?;
                            continue;
                        }
                        _ => continue,
                    }
                }
                [b't', ..] => self.skip_literal(b"true")?,
                [b'f', ..] => self.skip_literal(b"false")?,
                [b'n', ..] => self.skip_literal(b"null")?,
                [] => return Err(JsonReason::UnexpectedEnd),
                _ => return Err(JsonReason::ExpectedValue),
            }
            // A value is complete, or a container that has just been opened is empty.
            loop {
                if depth == 0 {
                    return Ok(());
                }
                self.skip_space();
                match self.rest {
                    [b',', tail @ ..] => {
                        self.rest = tail;
                        self.skip_space();
                        if in_object {
                            self.skip_name()?;
                        }
                        break;
                    }
                    [b'}', tail @ ..] if in_object => self.rest = tail,
                    [b']', tail @ ..] if !in_object => self.rest = tail,
                    [] => return Err(JsonReason::UnexpectedEnd),
                    _ if in_object => return Err(JsonReason::ExpectedCommaOrBrace),
                    _ => return Err(JsonReason::ExpectedCommaOrBracket),
                }
                depth -= 1;
                in_object = outer & 1 == 1;
                outer >>= 1;
            }
        }
    }

    #[inline(always)]
    fn skip_name(&mut self) -> Result<(), JsonReason> {
        self.skip_quoted(JsonReason::ExpectedName)?;
        self.skip_space();
        self.skip_colon()
    }

    #[inline(always)]
    fn skip_colon(&mut self) -> Result<(), JsonReason> {
        match self.rest {
            [b':', tail @ ..] => self.rest = tail,
            [] => return Err(JsonReason::UnexpectedEnd),
            _ => return Err(JsonReason::ExpectedColon),
        }
        self.skip_space();
        Ok(())
    }

    #[inline(always)]
    fn skip_space(&mut self) {
        while let [b' ' | b'\n' | b'\r' | b'\t', tail @ ..] = self.rest {
            self.rest = tail;
        }
    }

    /// Moves over a string with its quotes.
    #[inline(always)]
    fn skip_quoted(&mut self, otherwise: JsonReason) -> Result<(), JsonReason> {
        match self.rest {
            [b'"', tail @ ..] => self.rest = tail,
            [] => return Err(JsonReason::UnexpectedEnd),
            _ => return Err(otherwise),
        }
        loop {
            self.rest = after_plain(self.rest);
            match self.rest {
                [b'"', tail @ ..] => {
                    self.rest = tail;
                    return Ok(());
                }
                [b'\\', ..] => self.skip_escape()?,
                [] => return Err(JsonReason::UnexpectedEnd),
                _ => return Err(JsonReason::ControlCharacter),
            }
        }
    }

    #[inline]
    fn skip_escape(&mut self) -> Result<(), JsonReason> {
        match self.rest {
            [
                _,
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't',
                tail @ ..,
            ] => {
                self.rest = tail;
                Ok(())
            }
            [_, b'u', digits @ ..] => match digits.split_at_checked(4) {
                Some((hex, tail)) if hex.iter().all(u8::is_ascii_hexdigit) => {
                    self.rest = tail;
                    Ok(())
                }
                None if digits.iter().all(u8::is_ascii_hexdigit) => Err(self.at_end()),
                _ => Err(JsonReason::Escape),
            },
            [_] => Err(self.at_end()),
            _ => Err(JsonReason::Escape),
        }
    }

    #[inline(always)]
    fn skip_number(&mut self) -> Result<(), JsonReason> {
        if let [b'-', tail @ ..] = self.rest {
            self.rest = tail;
        }
        match self.rest {
            [b'0', tail @ ..] => {
                self.rest = tail;
                if let [b'0'..=b'9', ..] = tail {
                    return Err(JsonReason::Number);
                }
            }
            _ => self.skip_digits()?,
        }
        if let [b'.', tail @ ..] = self.rest {
            self.rest = tail;
            self.skip_digits()?;
        }
        if let [b'e' | b'E', tail @ ..] = self.rest {
            self.rest = match tail {
                [b'+' | b'-', tail @ ..] => tail,
                _ => tail,
            };
            self.skip_digits()?;
        }
        Ok(())
    }

    /// Moves over one digit or more.
    #[inline(always)]
    fn skip_digits(&mut self) -> Result<(), JsonReason> {
        match self.rest {
            [b'0'..=b'9', tail @ ..] => {
                self.rest = after_digits(tail);
                Ok(())
            }
            [] => Err(JsonReason::UnexpectedEnd),
            _ => Err(JsonReason::Number),
        }
    }

    #[inline(always)]
    fn skip_literal(&mut self, word: &'static [u8]) -> Result<(), JsonReason> {
        match self.rest.strip_prefix(word) {
            Some(tail) => {
                self.rest = tail;
                Ok(())
            }
            None if word.starts_with(self.rest) => Err(self.at_end()),
            None => Err(JsonReason::Literal),
        }
    }

    /// The text ends inside a token: the offending position is its end.
    #[cold]
    fn at_end(&mut self) -> JsonReason {
        self.rest = &[];
        JsonReason::UnexpectedEnd
    }
}
