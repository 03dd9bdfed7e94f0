//! What the agent hands to an app.

use super::canonical;
use super::encode::{Encode, Out, encode, encoded_len};
use super::members::{Members, string, text};
use super::{Content, EncodeError, EnvelopeError, EnvelopeReason, Member};
use crate::json::JsonString;
use crate::limits::{APP_MESSAGE_BYTES_MAX, DELIVERY_LONG_BYTES_MAX, LONG_APP_MESSAGE_BYTES_MAX};
use crate::request::RequestId;

/// What became of a popup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PopupAction {
    /// The user accepted it.
    Ok,
    /// The user refused it, or went back.
    Cancel,
    /// Nobody answered in time.
    Timeout,
}

impl PopupAction {
    const ALL: [Self; 3] = [Self::Ok, Self::Cancel, Self::Timeout];

    /// The action's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "WebPortal.okBtnPopupRequestClicked",
            Self::Cancel => "WebPortal.cancelBtnPopupRequestClicked",
            Self::Timeout => "WebPortal.closeTimeoutPopupRequest",
        }
    }
}

/// A message that the agent hands to an app (seed 1, "From Server to App: Receive"). It has at most
/// [`APP_MESSAGE_BYTES_MAX`] bytes, which holds the content of every downlink message; data that came in
/// [parts](crate::delivery::parts) has at most [`LONG_APP_MESSAGE_BYTES_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppMessage<'a> {
    /// Data from the app's partner.
    Data(Content<'a>),
    /// A request of the app's partner, which the app is to answer (SPEC 19).
    Request {
        /// What the answer is to name.
        id: RequestId,
        /// What is asked.
        content: Content<'a>,
    },
    /// What became of a popup that the app's partner asked for.
    PopupOutcome {
        /// What the user did.
        action: PopupAction,
        /// The content of the popup, if it had one.
        content: Option<Content<'a>>,
    },
}

impl<'a> AppMessage<'a> {
    /// Bytes that surround the content of data.
    pub const DATA_FRAME_BYTES: usize = LONG_APP_MESSAGE_BYTES_MAX - DELIVERY_LONG_BYTES_MAX;

    /// Decodes a payload, which stays borrowed. It is a popup's outcome if it has a `popupAction`, and
    /// else a request if it has a `requestId` of the form of one.
    ///
    /// # Errors
    /// An [`EnvelopeError`] with the reason and the byte offset.
    pub fn decode(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::decode_up_to(payload, APP_MESSAGE_BYTES_MAX)
    }

    /// As [`Self::decode`], for data that may have come in [parts](crate::delivery::parts): at most
    /// [`LONG_APP_MESSAGE_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_long(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::decode_up_to(payload, LONG_APP_MESSAGE_BYTES_MAX)
    }

    fn decode_up_to(payload: &'a [u8], bytes_max: usize) -> Result<Self, EnvelopeError> {
        let text = text(payload, bytes_max)?;
        if let Some(content) = canonical::content_alone(text) {
            return Ok(Self::Data(content));
        }
        let members = Members::of(text)?;
        let content = members.content.map(Content::from_value);
        if let Some(value) = members.action {
            let raw = string(&value, Member::PopupAction)?;
            let action = PopupAction::ALL
                .into_iter()
                .find(|action| JsonString::new(raw).is(action.name()))
                .ok_or_else(|| EnvelopeReason::UnknownPopupAction.at(value.offset))?;
            return Ok(Self::PopupOutcome { action, content });
        }
        let content = content.ok_or_else(|| members.missing(Member::Content))?;
        let id = members.request.and_then(|value| value.as_string());
        Ok(match id.and_then(RequestId::read) {
            Some(id) => Self::Request { id, content },
            None => Self::Data(content),
        })
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
}

impl Encode for AppMessage<'_> {
    fn bytes_max(&self) -> usize {
        match self {
            Self::Data(_) => LONG_APP_MESSAGE_BYTES_MAX,
            Self::Request { .. } | Self::PopupOutcome { .. } => APP_MESSAGE_BYTES_MAX,
        }
    }

    fn write(&self, out: &mut Out<'_>) {
        match self {
            Self::Data(content) => {
                out.text("{\"content\":");
                out.text(content.as_str());
            }
            Self::Request { id, content } => {
                out.text("{\"requestId\":\"");
                id.write(out);
                out.text("\",\"content\":");
                out.text(content.as_str());
            }
            Self::PopupOutcome { action, content } => {
                out.text("{\"popupAction\":\"");
                out.text(action.name());
                out.text("\"");
                if let Some(content) = content {
                    out.text(",\"content\":");
                    out.text(content.as_str());
                }
            }
        }
        out.text("}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::Downlink;
    use crate::limits::PAYLOAD_BYTES_MAX;

    #[test]
    fn requests_survive_encoding() {
        let content = Content::parse(b"{ \"unlock\": true }").unwrap();
        let id = RequestId::new(0xa7);
        let message = AppMessage::Request { id, content };
        let mut buffer = [0; 100];
        let encoded = message.encode(&mut buffer).unwrap();
        let expected = r#"{"requestId":"00000000000000a7","content":{ "unlock": true }}"#;
        assert_eq!(encoded, expected.as_bytes());
        assert_eq!(AppMessage::decode(encoded), Ok(message));
        let unlike = br#"{"requestId":"a7","content":1}"#;
        let data = AppMessage::Data(Content::parse(b"1").unwrap());
        assert_eq!(AppMessage::decode(unlike), Ok(data));
    }

    #[test]
    fn outcomes_survive_encoding() {
        for action in PopupAction::ALL {
            for content in [None, Content::parse(b"{\"id\":1}").ok()] {
                let message = AppMessage::PopupOutcome { action, content };
                let mut buffer = [0; 100];
                let encoded = message.encode(&mut buffer).unwrap();
                assert_eq!(AppMessage::decode(encoded), Ok(message));
            }
        }
    }

    #[test]
    fn outcome_of_the_largest_popup_is_the_largest_message() {
        let frame = r#"{"idApp":"a","popup":true,"popupText":"","content":}"#;
        let content = std::format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - frame.len() - 2));
        let popup = frame.replace('}', &content) + "}";
        assert_eq!(popup.len(), 131_072);
        assert!(Downlink::decode(popup.as_bytes()).is_ok());
        let content = Content::parse(content.as_bytes()).ok();
        let mut buffer = std::vec![0; APP_MESSAGE_BYTES_MAX];
        let longest = PopupAction::ALL.map(|action| {
            let message = AppMessage::PopupOutcome { action, content };
            let encoded = message.encode(&mut buffer).unwrap();
            assert_eq!(AppMessage::decode(encoded), Ok(message));
            encoded.len()
        });
        assert_eq!(longest.into_iter().max(), Some(131_087));
    }

    #[test]
    fn one_byte_more_is_refused_both_ways() {
        let (len, max) = (131_088, 131_087);
        let content = std::format!("\"{}\"", "x".repeat(len - 67 - 2));
        let payload = std::format!(
            r#"{{"popupAction":"WebPortal.cancelBtnPopupRequestClicked","content":{content}}}"#
        );
        let error = EnvelopeReason::TooLarge { len, max }.at(max);
        assert_eq!(AppMessage::decode(payload.as_bytes()), Err(error));
        let message = AppMessage::PopupOutcome {
            action: PopupAction::Cancel,
            content: Content::parse(content.as_bytes()).ok(),
        };
        assert_eq!(
            message.encode(&mut std::vec![0; len]),
            Err(EncodeError::TooLarge { len, max })
        );
    }

    #[test]
    fn message_without_action_is_data() {
        let content = Content::parse(b"\"hello\"").unwrap();
        assert_eq!(
            AppMessage::decode(b"{\"content\":\"hello\"}"),
            Ok(AppMessage::Data(content))
        );
    }

    #[test]
    fn unknown_action_is_refused() {
        let error = AppMessage::decode(br#"{"popupAction":"WebPortal.ok","content":1}"#);
        assert_eq!(error, Err(EnvelopeReason::UnknownPopupAction.at(15)));
    }
}
