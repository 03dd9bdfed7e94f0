//! What a partner sends to an app in a vehicle.

use super::canonical;
use super::encode::{Encode, Out, encode, encoded_len};
use super::members::{Members, flag, text};
use super::{Content, EncodeError, EnvelopeError, EnvelopeReason, Member, Popup};
use crate::id::AppId;
use crate::limits::{DELIVERY_LONG_BYTES_MAX, DELIVERY_LONG_ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// A message from a partner to an app in a vehicle (seed 1, "From Server to App").
///
/// ```
/// use vinbus_protocol::envelope::{Downlink, DownlinkBody};
///
/// let message = Downlink::decode(br#"{"idApp": "weather", "content": [21.5]}"#)?;
/// assert_eq!(message.app.as_str(), "weather");
/// let DownlinkBody::Data(content) = message.body else { panic!() };
/// assert_eq!(content.as_str(), "[21.5]");
///
/// let mut buffer = [0; 64];
/// assert_eq!(
///     message.encode(&mut buffer)?,
///     br#"{"idApp":"weather","popup":false,"content":[21.5]}"#
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Downlink<'a> {
    /// The app that is meant.
    pub app: AppId,
    /// What it gets.
    pub body: DownlinkBody<'a>,
}

/// The two kinds of downlink messages, told apart by the member `popup`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownlinkBody<'a> {
    /// Data for the app.
    Data(Content<'a>),
    /// A popup for the user, on behalf of the app.
    Popup(Popup<'a>),
}

impl<'a> Downlink<'a> {
    /// Decodes a payload, which stays borrowed.
    ///
    /// # Errors
    /// An [`EnvelopeError`] with the reason and the byte offset.
    pub fn decode(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::decode_up_to(payload, PAYLOAD_BYTES_MAX)
    }

    /// As [`Self::decode`], for data that may be too long for a payload and then travels in
    /// [parts](crate::delivery::parts): a content of at most [`DELIVERY_LONG_BYTES_MAX`] bytes, an
    /// envelope of at most [`DELIVERY_LONG_ENVELOPE_BYTES_MAX`]. A popup is one payload.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_long(envelope: &'a [u8]) -> Result<Self, EnvelopeError> {
        let message = Self::decode_up_to(envelope, DELIVERY_LONG_ENVELOPE_BYTES_MAX)?;
        let (len, max) = match message.body {
            DownlinkBody::Data(content) => (content.as_str().len(), DELIVERY_LONG_BYTES_MAX),
            DownlinkBody::Popup(_) => (envelope.len(), PAYLOAD_BYTES_MAX),
        };
        if len > max {
            return Err(EnvelopeReason::TooLarge { len, max }.at(max));
        }
        Ok(message)
    }

    fn decode_up_to(payload: &'a [u8], bytes_max: usize) -> Result<Self, EnvelopeError> {
        let text = text(payload, bytes_max)?;
        if let Some((app, content)) = canonical::data(text) {
            let body = DownlinkBody::Data(content);
            return Ok(Self { app, body });
        }
        let members = Members::of(text)?;
        let app = members.app_id()?;
        let body = if flag(members.popup, Member::Popup)? {
            DownlinkBody::Popup(Popup::from_members(&members)?)
        } else {
            let content = members
                .content
                .ok_or_else(|| members.missing(Member::Content))?;
            DownlinkBody::Data(Content::from_value(content))
        };
        Ok(Self { app, body })
    }

    /// Bytes that [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(self)
    }

    /// Writes the message to the start of `buffer` and returns what was written.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(self, buffer)
    }

    /// Writes the envelope of a message that may be too long for a payload, as
    /// [`decode_long`](Self::decode_long) reads it.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_long<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(&Long(self), buffer)
    }
}

/// An envelope that is no payload.
struct Long<'m, 'a>(&'m Downlink<'a>);

impl Encode for Long<'_, '_> {
    fn bytes_max(&self) -> usize {
        match self.0.body {
            DownlinkBody::Data(_) => DELIVERY_LONG_ENVELOPE_BYTES_MAX,
            DownlinkBody::Popup(_) => PAYLOAD_BYTES_MAX,
        }
    }

    fn write(&self, out: &mut Out<'_>) {
        self.0.write(out);
    }
}

impl Encode for Downlink<'_> {
    fn write(&self, out: &mut Out<'_>) {
        out.text("{\"idApp\":\"");
        write_escaped(self.app.as_str(), out);
        match &self.body {
            DownlinkBody::Data(content) => {
                out.text("\",\"popup\":false,\"content\":");
                out.text(content.as_str());
            }
            DownlinkBody::Popup(popup) => {
                out.text("\",\"popup\":true,\"popupBtn\":");
                out.text(if popup.button { "true" } else { "false" });
                out.text(",\"popupText\":");
                out.text(popup.text.as_json());
                if let Some(content) = popup.content {
                    out.text(",\"content\":");
                    out.text(content.as_str());
                }
            }
        }
        out.text("}");
    }
}

/// Writes the inside of a JSON string. Identifiers hold no control characters, so the quote and
/// the backslash are all that need an escape.
pub(crate) fn write_escaped(text: &str, out: &mut Out<'_>) {
    for part in text.split_inclusive(['"', '\\']) {
        match part.strip_suffix(['"', '\\']) {
            Some(before) => {
                out.text(before);
                out.text(if part.ends_with('"') { "\\\"" } else { "\\\\" });
            }
            None => out.text(part),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{EnvelopeError, EnvelopeReason};
    use crate::id::IdError;
    use crate::limits::POPUP_TEXT_BYTES_MAX;
    use std::string::String;

    fn data(payload: &str) -> (String, &str) {
        let message = Downlink::decode(payload.as_bytes()).unwrap();
        match message.body {
            DownlinkBody::Data(content) => (message.app.as_str().into(), content.as_str()),
            DownlinkBody::Popup(_) => panic!("{payload} is a popup"),
        }
    }

    fn check_error(payload: &str, reason: EnvelopeReason, offset: usize) {
        let error = EnvelopeError { reason, offset };
        assert_eq!(
            Downlink::decode(payload.as_bytes()),
            Err(error),
            "{payload}"
        );
    }

    #[test]
    fn content_keeps_its_bytes_and_loses_the_space_around_it() {
        let (app, content) = data("{\"content\" :\n { \"a\" : 1.50 } ,\"idApp\":\"x\"}");
        assert_eq!((app.as_str(), content), ("x", "{ \"a\" : 1.50 }"));
    }

    #[test]
    fn last_of_duplicate_members_counts() {
        let payload = r#"{"idApp":7,"popup":1,"content":1,"idApp":"x","content":2,"popup":false}"#;
        assert_eq!(data(payload), ("x".into(), "2"));
    }

    #[test]
    fn names_and_identifiers_may_be_written_with_escapes() {
        let payload = r#"{"\u0069dApp":"a\"\u00e9\ud83d\ude97","conten\u0074":null}"#;
        assert_eq!(data(payload), ("a\"é🚗".into(), "null"));
    }

    #[test]
    fn unknown_members_and_members_of_popups_are_ignored_in_data() {
        let payload = r#"{"x":[{}],"idApp":"a","popupText":3,"popupBtn":"","content":[]}"#;
        assert_eq!(data(payload), ("a".into(), "[]"));
    }

    #[test]
    fn popup_needs_a_text_only() {
        let message = Downlink::decode(br#"{"idApp":"a","popup":true,"popupText":"Go\nnow"}"#);
        let DownlinkBody::Popup(popup) = message.unwrap().body else {
            panic!("it is a popup")
        };
        assert_eq!((popup.button, popup.content), (false, None));
        assert_eq!(popup.text.as_json(), r#""Go\nnow""#);
        assert_eq!(popup.text.chars().collect::<String>(), "Go\nnow");
    }

    #[test]
    fn error_points_at_the_member_that_is_wrong() {
        use EnvelopeReason::{Missing, WrongType};
        check_error(r#"{"content":1}"#, Missing(Member::AppId), 12);
        check_error(r#"{"idApp":"a"}"#, Missing(Member::Content), 12);
        check_error(
            r#"{"idApp":"a","popup":true}"#,
            Missing(Member::PopupText),
            25,
        );
        check_error(r#"{"idApp": 1}"#, WrongType(Member::AppId), 10);
        check_error(r#"{"idApp":"a","popup":0}"#, WrongType(Member::Popup), 21);
        let empty = EnvelopeReason::AppId(IdError::Empty);
        check_error(r#"{"idApp":""}"#, empty, 9);
        check_error(r#"{"idApp":"\ud800"}"#, EnvelopeReason::AppIdSurrogate, 9);
        check_error("[1]", EnvelopeReason::NotAnObject, 0);
        check_error(" \n", EnvelopeReason::Empty, 2);
    }

    #[test]
    fn identifier_length_is_counted_after_decoding_escapes() {
        let payload =
            |n: usize| std::format!(r#"{{"idApp":"{}","content":1}}"#, r"\u00e9".repeat(n));
        assert_eq!(data(&payload(32)).0, "é".repeat(32));
        check_error(
            &payload(33),
            EnvelopeReason::AppId(IdError::TooLong { len: 66, max: 64 }),
            9,
        );
    }

    #[test]
    fn popup_text_is_bounded_as_written() {
        let payload = |n: usize| {
            let text = "x".repeat(n);
            std::format!(r#"{{"idApp":"a","popup":true,"popupText":"{text}"}}"#)
        };
        assert!(Downlink::decode(payload(POPUP_TEXT_BYTES_MAX).as_bytes()).is_ok());
        let len = POPUP_TEXT_BYTES_MAX + 1;
        check_error(&payload(len), EnvelopeReason::PopupTextTooLong { len }, 38);
    }

    #[test]
    fn identifiers_are_escaped_when_encoded() {
        for id in ["a\"b", "\\", "\"\"\\x", "com.example/app"] {
            let message = Downlink {
                app: AppId::parse(id).unwrap(),
                body: DownlinkBody::Data(Content::parse(b"{}").unwrap()),
            };
            let mut buffer = [0xa5; 100];
            let encoded = message.encode(&mut buffer).unwrap();
            assert_eq!(encoded.len(), message.encoded_len());
            assert_eq!(Downlink::decode(encoded), Ok(message));
        }
    }
}
