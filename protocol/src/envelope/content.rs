//! An app's own data, checked but not interpreted.

use core::fmt;

use super::EnvelopeError;
use super::members::{VALUE_DEPTH_MAX, only_value, text};
use crate::json::Value;
use crate::limits::{DELIVERY_LONG_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// One valid JSON value exactly as its sender wrote it, without surrounding white space.
///
/// It may be of any type and nests at most
/// [`JSON_DEPTH_MAX`](crate::limits::JSON_DEPTH_MAX)` - 1` deep, so that it fits into every
/// envelope. Escaped lone surrogates (`"\ud800"`) and numbers of any range are passed on as they
/// are: JavaScript reads both, while a reader that turns strings into UTF-8, such as
/// `serde_json::Value`, refuses the former.
///
/// `Debug` tells its length only, because what apps say to each other does not belong into logs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Content<'a>(&'a str);

impl<'a> Content<'a> {
    /// Checks a JSON text of at most
    /// [`PAYLOAD_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// An [`EnvelopeError`] when it is too large, empty, not UTF-8 or not JSON.
    ///
    /// ```
    /// use vinbus_protocol::envelope::Content;
    ///
    /// let content = Content::parse(b" {\"speed\": 42} ")?;
    /// assert_eq!(content.as_str(), "{\"speed\": 42}");
    /// # Ok::<(), vinbus_protocol::envelope::EnvelopeError>(())
    /// ```
    pub fn parse(json: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::parse_up_to(json, PAYLOAD_BYTES_MAX)
    }

    /// As [`Self::parse`], for a text of at most [`DELIVERY_LONG_BYTES_MAX`] bytes, which travels in
    /// [parts](crate::delivery::parts) if it is too long for a payload.
    ///
    /// # Errors
    /// As [`Self::parse`].
    pub fn parse_long(json: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::parse_up_to(json, DELIVERY_LONG_BYTES_MAX)
    }

    fn parse_up_to(json: &'a [u8], bytes_max: usize) -> Result<Self, EnvelopeError> {
        only_value(text(json, bytes_max)?, VALUE_DEPTH_MAX).map(Self::from_value)
    }

    pub(crate) fn from_value(value: Value<'a>) -> Self {
        Self::of_valid(value.text)
    }

    /// A value that a scanner has found valid.
    pub(crate) const fn of_valid(text: &'a str) -> Self {
        Self(text)
    }

    /// The JSON text.
    #[must_use]
    pub fn as_str(&self) -> &'a str {
        self.0
    }

    /// The JSON text as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Content<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Content({} bytes)", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{EnvelopeReason, JsonReason};

    fn check(json: &str, reason: JsonReason, offset: usize) {
        let error = EnvelopeReason::Json(reason).at(offset);
        assert_eq!(Content::parse(json.as_bytes()), Err(error), "{json}");
    }

    #[test]
    fn every_json_fault_has_its_reason_and_offset() {
        check(r#"{"a":"#, JsonReason::UnexpectedEnd, 5);
        check(r#""\u12"#, JsonReason::UnexpectedEnd, 5);
        check("[tru", JsonReason::UnexpectedEnd, 4);
        check("[1,]", JsonReason::ExpectedValue, 3);
        check(r#"{"a":1,}"#, JsonReason::ExpectedName, 7);
        check(r#"{"a" 1}"#, JsonReason::ExpectedColon, 5);
        check(r#"{"a":1 "b":2}"#, JsonReason::ExpectedCommaOrBrace, 7);
        check("[1 2]", JsonReason::ExpectedCommaOrBracket, 3);
        check("[1}", JsonReason::ExpectedCommaOrBracket, 2);
        check("nul1", JsonReason::Literal, 0);
        check("01", JsonReason::Number, 1);
        check("[-]", JsonReason::Number, 2);
        check("[1.]", JsonReason::Number, 3);
        check("[1e+]", JsonReason::Number, 4);
        check(r#""a\x""#, JsonReason::Escape, 2);
        check(r#""\u12g4""#, JsonReason::Escape, 1);
        check("\"a\n\"", JsonReason::ControlCharacter, 2);
        check("{} {}", JsonReason::TrailingBytes, 3);
    }

    #[test]
    fn nesting_is_bounded_exactly() {
        let nested = |depth| std::format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(Content::parse(nested(127).as_bytes()).is_ok());
        check(&nested(128), JsonReason::TooDeep, 127);
    }

    #[test]
    fn lone_surrogates_and_huge_numbers_pass_as_they_are() {
        for json in [
            r#""\ud800""#,
            "1e400",
            "-0",
            "123456789012345678901234567890",
        ] {
            assert_eq!(Content::parse(json.as_bytes()).unwrap().as_str(), json);
        }
    }

    #[test]
    fn invalid_utf8_is_refused_at_its_first_byte() {
        let error = Err(EnvelopeReason::Utf8.at(2));
        assert_eq!(Content::parse(b"\"a\xc3\""), error);
    }
}
