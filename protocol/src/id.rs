//! Identifiers that cannot be wrong: [`Vin`], [`Uid`], [`AppId`].
//!
//! Each is parsed once, at the edge; inside, a value of these types is safe to put into a topic or
//! to compare with a configured one. None of them allocates.

use core::fmt;

use heapless::String;

use crate::limits::{APP_ID_BYTES_MAX, UID_BYTES_MAX, VIN_BYTES};

/// Why a text is not an identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdError {
    /// The text is empty.
    Empty,
    /// The text has `len` bytes where at most `max` are allowed.
    TooLong {
        /// Bytes of the text.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A VIN has exactly [`VIN_BYTES`] letters and digits; the text has `len` bytes.
    VinLength {
        /// Bytes of the text.
        len: usize,
    },
    /// The character at byte `offset` is not allowed in this identifier.
    Character {
        /// Offset in bytes from the start of the text.
        offset: usize,
    },
}

impl fmt::Display for IdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { len, max } => {
                write!(f, "it has {len} bytes, at most {max} are allowed")
            }
            Self::VinLength { len } => {
                write!(
                    f,
                    "it has {len} bytes, a VIN has exactly {VIN_BYTES} letters and digits"
                )
            }
            Self::Character { offset } => {
                write!(f, "the character at byte {offset} is not allowed")
            }
        }
    }
}

impl core::error::Error for IdError {}

/// A vehicle identification number: exactly 17 ASCII letters or digits, no check digit
/// (SPEC 1.1). Upper and lower case are different VINs, as they are different MQTT topics.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Vin([u8; VIN_BYTES]);

impl Vin {
    /// Parses a VIN.
    ///
    /// # Errors
    /// [`IdError::VinLength`] or [`IdError::Character`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let bytes: [u8; VIN_BYTES] = text
            .as_bytes()
            .try_into()
            .map_err(|_| IdError::VinLength { len: text.len() })?;
        match bytes.iter().position(|byte| !byte.is_ascii_alphanumeric()) {
            Some(offset) => Err(IdError::Character { offset }),
            None => Ok(Self(bytes)),
        }
    }

    /// The VIN as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // The constructor admits ASCII only, so the empty text is never returned.
        core::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// A partner's login, the `{UID}` of a topic: 1 to 64 bytes without `/`, `+`, `#` and control
/// characters (SPEC 1.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(String<UID_BYTES_MAX>);

impl Uid {
    /// Parses a UID.
    ///
    /// # Errors
    /// [`IdError::Empty`], [`IdError::TooLong`] or [`IdError::Character`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        bounded_text(text, is_topic_safe).map(Self)
    }

    /// The UID as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// An application identifier, the `idApp` of a downlink envelope: 1 to 64 bytes without control
/// characters (SPEC 1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppId(String<APP_ID_BYTES_MAX>);

impl AppId {
    /// Parses an application identifier.
    ///
    /// # Errors
    /// [`IdError::Empty`], [`IdError::TooLong`] or [`IdError::Character`].
    #[inline]
    pub fn parse(text: &str) -> Result<Self, IdError> {
        bounded_text(text, |c| !c.is_control()).map(Self)
    }

    /// The identifier as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a character may stand inside one level of a topic.
pub(crate) fn is_topic_safe(c: char) -> bool {
    !c.is_control() && !matches!(c, '/' | '+' | '#')
}

#[inline]
fn bounded_text<const N: usize>(
    text: &str,
    allowed: impl Fn(char) -> bool,
) -> Result<String<N>, IdError> {
    if text.is_empty() {
        return Err(IdError::Empty);
    }
    // All bytes, whatever they are: no branch, and several at a time.
    let plain = text.bytes().fold(true, |plain, byte| {
        plain & byte.is_ascii() & allowed(char::from(byte))
    });
    if !plain && let Some((offset, _)) = text.char_indices().find(|&(_, c)| !allowed(c)) {
        return Err(IdError::Character { offset });
    }
    String::try_from(text).map_err(|_| IdError::TooLong {
        len: text.len(),
        max: N,
    })
}

macro_rules! text_identifier {
    ($($name:ident),+) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.as_str())
            }
        }

        impl core::str::FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::parse(text)
            }
        }
    )+};
}

text_identifier!(Vin, Uid, AppId);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vin_of_the_seed_is_accepted() {
        assert_eq!(
            Vin::parse("0123456789ABCDEFG").unwrap().as_str(),
            "0123456789ABCDEFG"
        );
    }

    #[test]
    fn vin_of_another_length_is_refused_with_its_length() {
        assert_eq!(
            Vin::parse("0123456789ABCDEF"),
            Err(IdError::VinLength { len: 16 })
        );
        assert_eq!(Vin::parse(""), Err(IdError::VinLength { len: 0 }));
        assert_eq!(
            Vin::parse("0123456789ABCDEFGH"),
            Err(IdError::VinLength { len: 18 })
        );
    }

    #[test]
    fn vin_cannot_inject_a_topic() {
        for bad in ['/', '+', '#', '\0', ' ', '-'] {
            let text = std::format!("0123456{bad}89ABCDEFG");
            assert_eq!(Vin::parse(&text), Err(IdError::Character { offset: 7 }));
        }
    }

    #[test]
    fn uid_cannot_inject_a_topic() {
        for bad in ["/", "+", "#", "\0", "\n", "\u{7f}", "\u{80}"] {
            let text = std::format!("partner{bad}x");
            assert_eq!(Uid::parse(&text), Err(IdError::Character { offset: 7 }));
        }
    }

    #[test]
    fn uid_length_is_exact_to_the_byte() {
        assert!(Uid::parse(&"u".repeat(64)).is_ok());
        assert_eq!(
            Uid::parse(&"u".repeat(65)),
            Err(IdError::TooLong { len: 65, max: 64 })
        );
        assert_eq!(
            Uid::parse(&"é".repeat(33)),
            Err(IdError::TooLong { len: 66, max: 64 })
        );
        assert_eq!(Uid::parse(""), Err(IdError::Empty));
    }

    #[test]
    fn app_id_may_hold_what_a_topic_may_not() {
        assert_eq!(
            AppId::parse("com.example/app+1").unwrap().as_str(),
            "com.example/app+1"
        );
        assert_eq!(
            AppId::parse("a\u{1}"),
            Err(IdError::Character { offset: 1 })
        );
    }
}
