//! What names a request.

use core::fmt::{self, Write};

use crate::envelope::encode::{Encode, Out};
use crate::json::JsonString;

/// Names a request for good: the same for every repetition of it, and different for all others of the
/// same vehicle and partner. It is written as 16 small hexadecimal digits.
///
/// ```
/// use vinbus_protocol::request::RequestId;
///
/// let id = RequestId::new(0x00c0_ffee);
/// assert_eq!(id.to_string(), "0000000000c0ffee");
/// assert_eq!(RequestId::parse("0000000000c0ffee"), Some(id));
/// assert_eq!(RequestId::parse("C0FFEE"), None);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(u64);

/// Digits of an identifier as it is written.
pub(super) const DIGITS: usize = 16;

impl RequestId {
    /// The identifier with this value.
    #[must_use]
    pub const fn new(value: u64) -> Self {
        Self(value)
    }

    /// Its value.
    #[must_use]
    pub const fn value(self) -> u64 {
        self.0
    }

    /// Reads an identifier as it is written.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::of(text.chars())
    }

    /// Reads an identifier out of a JSON string.
    #[must_use]
    pub fn read(text: JsonString<'_>) -> Option<Self> {
        Self::of(text.chars())
    }

    fn of(digits: impl Iterator<Item = char>) -> Option<Self> {
        let (mut value, mut count) = (0_u64, 0_usize);
        for digit in digits {
            let digit = digit.to_digit(16).filter(|_| !digit.is_ascii_uppercase())?;
            count = count.checked_add(1).filter(|count| *count <= DIGITS)?;
            value = (value << 4) | u64::from(digit);
        }
        (count == DIGITS).then_some(Self(value))
    }
}

impl Encode for RequestId {
    fn write(&self, out: &mut Out<'_>) {
        // Writing there never fails.
        let _ = write!(out, "{self}");
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0;
        for _ in 0..DIGITS {
            rest = rest.rotate_left(4);
            f.write_char(char::from_digit((rest & 0xf) as u32, 16).unwrap_or('0'))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn identifiers_have_exactly_sixteen_small_digits() {
        for value in [0, 1, 0xdead_beef, u64::MAX] {
            let id = RequestId::new(value);
            assert_eq!(id.to_string(), std::format!("{value:016x}"));
            assert_eq!(RequestId::parse(&id.to_string()), Some(id));
        }
        for bad in [
            "",
            "123456789abcdef",
            "0123456789abcdef0",
            "0123456789ABCDEF",
            "g123456789abcdef",
            "+123456789abcdef",
        ] {
            assert_eq!(RequestId::parse(bad), None, "{bad}");
        }
    }
}
