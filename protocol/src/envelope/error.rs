//! Why a payload is not an envelope, and at which byte.

use core::fmt;

use crate::id::IdError;
use crate::json::JsonReason;
use crate::limits::POPUP_TEXT_BYTES_MAX;

/// Why a payload was refused. The sender's payload is at fault and has to be changed; sending it
/// again does not help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EnvelopeError {
    /// What is wrong.
    pub reason: EnvelopeReason,
    /// Where, in bytes from the start of the payload. For a member that is missing it is the
    /// closing brace of the envelope, for a payload that is too large its first byte too many.
    pub offset: usize,
}

/// What is wrong with a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnvelopeReason {
    /// The payload has `len` bytes where at most `max` are allowed.
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The payload holds nothing but white space.
    Empty,
    /// The payload is not UTF-8.
    Utf8,
    /// The payload is not JSON.
    Json(JsonReason),
    /// The payload is JSON, but not an object.
    NotAnObject,
    /// A member that this shape needs is not there.
    Missing(Member),
    /// A member's value is not of the type that it must have.
    WrongType(Member),
    /// `idApp` is not an application identifier.
    AppId(IdError),
    /// `idApp` holds a surrogate escape without its partner, which is no character.
    AppIdSurrogate,
    /// `popupText` has `len` bytes between its quotes where at most
    /// [`POPUP_TEXT_BYTES_MAX`] are allowed.
    PopupTextTooLong {
        /// Bytes of the text as written.
        len: usize,
    },
    /// `popupAction` is none of the three outcomes of a popup.
    UnknownPopupAction,
}

/// A member of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Member {
    /// `idApp`: the application, a string.
    AppId,
    /// `popup`: whether the message is a popup.
    Popup,
    /// `popupBtn`: whether the popup has buttons.
    PopupButton,
    /// `popupText`: what the popup says, a string.
    PopupText,
    /// `popupAction`: what became of a popup, a string.
    PopupAction,
    /// `requestId`: which request an app is to answer, a string.
    RequestId,
    /// `content`: the app's own data, any JSON value.
    Content,
}

impl Member {
    pub(crate) const ALL: [Self; 7] = [
        Self::AppId,
        Self::Popup,
        Self::PopupButton,
        Self::PopupText,
        Self::PopupAction,
        Self::RequestId,
        Self::Content,
    ];

    /// The member's name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AppId => "idApp",
            Self::Popup => "popup",
            Self::PopupButton => "popupBtn",
            Self::PopupText => "popupText",
            Self::PopupAction => "popupAction",
            Self::RequestId => "requestId",
            Self::Content => "content",
        }
    }

    /// What its value must be, for error texts.
    const fn expected(self) -> &'static str {
        match self {
            Self::AppId | Self::PopupText | Self::PopupAction | Self::RequestId => "a string",
            Self::Popup | Self::PopupButton => "`true` or `false`",
            Self::Content => "a JSON value",
        }
    }
}

impl EnvelopeReason {
    /// The reason's stable name, for metrics, logs and golden vectors.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::Empty => "empty",
            Self::Utf8 => "not_utf8",
            Self::Json(reason) => reason.name(),
            Self::NotAnObject => "not_an_object",
            Self::Missing(_) => "missing_member",
            Self::WrongType(_) => "wrong_type",
            Self::AppId(_) | Self::AppIdSurrogate => "bad_app_id",
            Self::PopupTextTooLong { .. } => "popup_text_too_long",
            Self::UnknownPopupAction => "unknown_popup_action",
        }
    }

    /// The member that is at fault, if it is a known one.
    #[must_use]
    pub const fn member(self) -> Option<Member> {
        match self {
            Self::Missing(member) | Self::WrongType(member) => Some(member),
            Self::AppId(_) | Self::AppIdSurrogate => Some(Member::AppId),
            Self::PopupTextTooLong { .. } => Some(Member::PopupText),
            Self::UnknownPopupAction => Some(Member::PopupAction),
            Self::TooLarge { .. }
            | Self::Empty
            | Self::Utf8
            | Self::Json(_)
            | Self::NotAnObject => None,
        }
    }

    pub(crate) fn at(self, offset: usize) -> EnvelopeError {
        EnvelopeError {
            reason: self,
            offset,
        }
    }
}

impl fmt::Display for EnvelopeReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => write!(
                f,
                "the payload has {len} bytes, at most {max} are allowed: send less, or in parts"
            ),
            Self::Empty => f.write_str("the payload is empty: send JSON"),
            Self::Utf8 => f.write_str("the payload is not UTF-8"),
            Self::Json(reason) => reason.fmt(f),
            Self::NotAnObject => f.write_str("the payload is not a JSON object"),
            Self::Missing(member) => write!(f, "the member `{}` is missing", member.name()),
            Self::WrongType(member) => {
                write!(f, "`{}` must be {}", member.name(), member.expected())
            }
            Self::AppId(error) => {
                write!(f, "`idApp` is not an application identifier: {error}")
            }
            Self::AppIdSurrogate => {
                f.write_str("`idApp` holds a surrogate escape without its partner")
            }
            Self::PopupTextTooLong { len } => write!(
                f,
                "`popupText` has {len} bytes, at most {POPUP_TEXT_BYTES_MAX} are allowed"
            ),
            Self::UnknownPopupAction => f.write_str(
                "`popupAction` must be `WebPortal.okBtnPopupRequestClicked`, \
                 `WebPortal.cancelBtnPopupRequestClicked` or \
                 `WebPortal.closeTimeoutPopupRequest`",
            ),
        }
    }
}

impl fmt::Display for EnvelopeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.reason, self.offset)
    }
}

impl core::error::Error for EnvelopeError {}
