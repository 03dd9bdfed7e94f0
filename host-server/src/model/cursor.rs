//! Places in the log of uplink messages, and how they are written where others keep them.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

/// A position in the log of uplink messages. Positions grow by the order of arrival, and a store uses
/// none twice; one that is put back from an older copy uses those behind the copy's end again. 0 is
/// before the first message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cursor(pub u64);

/// What an entry of the log is known by beside its position: the microseconds within the second of its
/// arrival. Another entry at the same position has the same once in a million times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp(u32);

impl Stamp {
    /// The stamp of an entry that arrived then.
    #[must_use]
    pub fn of(received_at: SystemTime) -> Self {
        // No entry arrives before 1970, but where the clock is wrong.
        let since = received_at.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(since.subsec_micros())
    }
}

/// A cursor as it is handed out and asked with, `95-123456` (SPEC 9.3): the position and the stamp of
/// its entry. Without a stamp, `95`, no entry is meant, or none that the log still has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StampedCursor {
    /// The position.
    pub cursor: Cursor,
    /// That of the entry there.
    pub stamp: Option<Stamp>,
}

impl From<Cursor> for StampedCursor {
    /// The position alone.
    fn from(cursor: Cursor) -> Self {
        let stamp = None;
        Self { cursor, stamp }
    }
}

/// Digits of a stamp.
const STAMP_DIGITS: usize = 6;

impl fmt::Display for StampedCursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cursor, stamp } = self;
        write!(f, "{}", cursor.0)?;
        match stamp {
            Some(Stamp(micros)) => write!(f, "-{micros:0STAMP_DIGITS$}"),
            None => Ok(()),
        }
    }
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a cursor is up to 19 digits, or those, a hyphen and 6 digits")]
pub struct CursorError;

impl FromStr for StampedCursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, CursorError> {
        let (position, stamp) = match text.split_once('-') {
            Some((position, stamp)) if stamp.len() == STAMP_DIGITS => {
                let micros = digits(stamp).and_then(|micros| u32::try_from(micros).ok());
                (position, Some(micros.map(Stamp).ok_or(CursorError)?))
            }
            Some(_) => return Err(CursorError),
            None => (text, None),
        };
        let position = digits(position).ok_or(CursorError)?;
        Ok(Self {
            cursor: Cursor(position),
            stamp,
        })
    }
}

/// A number of digits alone. The store keeps a position in 63 bits.
fn digits(text: &str) -> Option<u64> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number: i64 = text.parse().ok().filter(|_| is_number)?;
    u64::try_from(number).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn arrived(micros: u64) -> Option<Stamp> {
        Some(Stamp::of(UNIX_EPOCH + Duration::from_micros(micros)))
    }

    #[test]
    fn cursor_is_read_as_it_is_written() {
        let check = |position, stamp, text: &str| {
            let cursor = Cursor(position);
            let stamped = StampedCursor { cursor, stamp };
            assert_eq!(stamped.to_string(), text);
            assert_eq!(text.parse(), Ok(stamped));
        };
        check(0, None, "0");
        check(95, None, "95");
        check(95, arrived(1_700_000_000_123_456), "95-123456");
        check(1, arrived(7_000_042), "1-000042");
        check(
            i64::MAX as u64,
            arrived(999_999),
            "9223372036854775807-999999",
        );
    }

    #[test]
    fn what_is_no_cursor_is_refused() {
        let wrong = [
            "",
            "x",
            "-1",
            "+1",
            " 1",
            "1 ",
            "1.0",
            "0x1",
            "１",
            "-",
            "1-",
            "-123456",
            "1-12345",
            "1-1234567",
            "1-+12345",
            "1--12345",
            "1-12345x",
            "1-123456-",
            "1_123456",
            "9223372036854775808",
            "18446744073709551616-000000",
        ];
        for text in wrong {
            assert_eq!(text.parse::<StampedCursor>(), Err(CursorError), "{text:?}");
        }
    }

    #[test]
    fn stamp_is_that_of_the_microseconds_which_the_store_keeps() {
        let arrived_at = UNIX_EPOCH + Duration::new(1_700_000_000, 123_456_999);
        assert_eq!(Some(Stamp::of(arrived_at)), arrived(123_456));
        assert_eq!(Stamp::of(UNIX_EPOCH - Duration::from_micros(1)), Stamp(0));
    }
}
