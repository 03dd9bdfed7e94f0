//! A popup that a partner asks the vehicle to show.

use core::fmt;

use super::members::{Members, VALUE_DEPTH_MAX, flag, only_value, string, text};
use super::{Content, EnvelopeError, EnvelopeReason, Member};
use crate::json::{Value, unescape};
use crate::limits::{PAYLOAD_BYTES_MAX, POPUP_TEXT_BYTES_MAX};

/// What a popup shows, and what the app gets once the user has answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Popup<'a> {
    /// Whether the popup has buttons to accept and to cancel.
    pub button: bool,
    /// What it says.
    pub text: PopupText<'a>,
    /// Data for the app, handed over together with the user's answer.
    pub content: Option<Content<'a>>,
}

impl<'a> Popup<'a> {
    pub(super) fn from_members(members: &Members<'a>) -> Result<Self, EnvelopeError> {
        let text = members
            .text
            .ok_or_else(|| members.missing(Member::PopupText))?;
        Ok(Self {
            button: flag(members.button, Member::PopupButton)?,
            text: PopupText::from_value(&text)?,
            content: members.content.map(Content::from_value),
        })
    }
}

/// The text of a popup: a valid JSON string as its sender wrote it, of at most
/// [`POPUP_TEXT_BYTES_MAX`] bytes between its quotes.
///
/// `Debug` tells its length only.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PopupText<'a> {
    /// With its quotes.
    json: &'a str,
}

impl<'a> PopupText<'a> {
    /// Checks a JSON text that must be a string.
    ///
    /// # Errors
    /// An [`EnvelopeError`] when it is not JSON, not a string or too long.
    pub fn parse(json: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::from_value(&only_value(
            text(json, PAYLOAD_BYTES_MAX)?,
            VALUE_DEPTH_MAX,
        )?)
    }

    fn from_value(value: &Value<'a>) -> Result<Self, EnvelopeError> {
        let len = string(value, Member::PopupText)?.len();
        if len > POPUP_TEXT_BYTES_MAX {
            return Err(EnvelopeReason::PopupTextTooLong { len }.at(value.offset));
        }
        Ok(Self { json: value.text })
    }

    /// The JSON string with its quotes, escapes as written.
    #[must_use]
    pub fn as_json(&self) -> &'a str {
        self.json
    }

    /// The characters to show, escapes decoded. A surrogate escape without its partner becomes
    /// U+FFFD, as it does on a screen.
    pub fn chars(&self) -> impl Iterator<Item = char> + Clone + 'a {
        let inside = self
            .json
            .strip_prefix('"')
            .and_then(|text| text.strip_suffix('"'))
            .unwrap_or_default();
        unescape(inside).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
    }
}

impl fmt::Debug for PopupText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PopupText({} bytes)", self.json.len())
    }
}
