//! JSON as far as envelopes and an app's frames need it: one pass that checks a text completely and
//! finds the spans of its values, without a heap, without recursion and without copying.
//!
//! What is valid is what RFC 8259 says. Two things that other parsers decide differently are
//! decided here for content that is the app's own and is carried, not interpreted:
//!
//! - An escaped surrogate without its partner (`"\ud800"`) is valid, as it is in JavaScript and in
//!   `serde_json::value::RawValue`.
//! - A number has no range: `1e400` is valid.
//!
//! Values nest at most as deep as the caller allows. The bytes must be UTF-8, which the caller
//! checks once for the whole text.
//!
//! Other crates begin with [`Object`]. In here, begin with `Scanner`; on x86-64, `blocks` goes ahead
//! of it through valid objects and arrays. All tests pass without `blocks` as well:
//! `cargo xtask test` runs them again with `--cfg vinbus_scanner_alone`.

#[cfg(all(
    target_arch = "x86_64",
    target_feature = "sse2",
    not(vinbus_scanner_alone)
))]
mod blocks;
mod object;
mod scanner;
mod string;
#[cfg(all(
    target_arch = "x86_64",
    target_feature = "sse2",
    not(vinbus_scanner_alone)
))]
mod vectors;
mod words;

use core::fmt;

pub use object::{JsonError, Member, Object};
pub(crate) use scanner::Scanner;
pub use scanner::{Kind, Value};
pub use string::JsonString;
pub(crate) use string::unescape;
pub(crate) use words::split_plain;

/// Why a text is not JSON (RFC 8259).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonReason {
    /// The text ends before its value does.
    UnexpectedEnd,
    /// Something else stands where a value begins.
    ExpectedValue,
    /// Something else stands where a member's name begins.
    ExpectedName,
    /// Something else stands between a member's name and its value.
    ExpectedColon,
    /// Something else follows a member of an object.
    ExpectedCommaOrBrace,
    /// Something else follows an element of an array.
    ExpectedCommaOrBracket,
    /// A word begins like `true`, `false` or `null` and goes on differently.
    Literal,
    /// A number has a leading zero, or no digit where one is needed.
    Number,
    /// A backslash in a string is not followed by a known escape.
    Escape,
    /// A control character (U+0000 to U+001F) stands in a string without an escape.
    ControlCharacter,
    /// Objects and arrays nest deeper than [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX).
    TooDeep,
    /// Something follows the complete value.
    TrailingBytes,
}

impl JsonReason {
    /// The reason's stable name, for metrics, logs and golden vectors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::UnexpectedEnd => "json_unexpected_end",
            Self::ExpectedValue => "json_expected_value",
            Self::ExpectedName => "json_expected_name",
            Self::ExpectedColon => "json_expected_colon",
            Self::ExpectedCommaOrBrace => "json_expected_comma_or_brace",
            Self::ExpectedCommaOrBracket => "json_expected_comma_or_bracket",
            Self::Literal => "json_literal",
            Self::Number => "json_number",
            Self::Escape => "json_escape",
            Self::ControlCharacter => "json_control_character",
            Self::TooDeep => "json_too_deep",
            Self::TrailingBytes => "json_trailing_bytes",
        }
    }
}

impl fmt::Display for JsonReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnexpectedEnd => "the JSON text ends in the middle of a value",
            Self::ExpectedValue => "a JSON value is expected here",
            Self::ExpectedName => "a member name in double quotes is expected here",
            Self::ExpectedColon => "a colon is expected after the member name",
            Self::ExpectedCommaOrBrace => "a comma or `}` is expected after the member",
            Self::ExpectedCommaOrBracket => "a comma or `]` is expected after the element",
            Self::Literal => "this word is not `true`, `false` or `null`",
            Self::Number => "this is not a JSON number: a digit is missing or a zero leads",
            Self::Escape => "this backslash does not begin a JSON escape",
            Self::ControlCharacter => "a control character in a string must be escaped",
            Self::TooDeep => "objects and arrays nest too deep from here on",
            Self::TrailingBytes => "nothing but white space may follow the JSON value",
        })
    }
}
