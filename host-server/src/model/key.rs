//! What makes several messages values of one thing, of which only the newest matters.

use std::fmt;
use std::str::FromStr;

use vinbus_protocol::id::{AppId, IdError};

/// The key of a message: of those of one partner, vehicle, app and key that wait, only the newest is sent
/// (SPEC 9.4c). It obeys the rules of an app identifier (SPEC 1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Box<str>);

impl Key {
    /// Parses a key.
    ///
    /// # Errors
    /// The rule of [`AppId::parse`] that it breaks.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        AppId::parse(text)?;
        Ok(Self(text.into()))
    }

    /// The key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Key {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
