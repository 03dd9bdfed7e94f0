//! Writing an envelope into a caller's buffer, exact to the byte.

use core::fmt;
use core::mem;

use crate::limits::PAYLOAD_BYTES_MAX;

/// Why a message was not encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EncodeError {
    /// The message would have `len` bytes where at most `max` are allowed; it cannot be sent.
    TooLarge {
        /// Bytes of the encoded message.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The caller's buffer is too small.
    Buffer {
        /// Bytes of the encoded message.
        needed: usize,
        /// Bytes of the buffer.
        available: usize,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { len, max } => write!(
                f,
                "the message has {len} bytes, at most {max} are allowed: send less, or in parts"
            ),
            Self::Buffer { needed, available } => write!(
                f,
                "the message needs {needed} bytes, the buffer has {available}"
            ),
        }
    }
}

impl core::error::Error for EncodeError {}

/// A message that can write itself, always the same way.
pub(crate) trait Encode {
    /// Longest that it may become, in bytes.
    fn bytes_max(&self) -> usize {
        PAYLOAD_BYTES_MAX
    }

    fn write(&self, out: &mut Out<'_>);
}

// Behind a pointer, and not copied to where they are called: so an image has these two once.
#[inline(never)]
pub(crate) fn encoded_len(message: &dyn Encode) -> usize {
    let mut nowhere = Out::new(&mut []);
    message.write(&mut nowhere);
    nowhere.len
}

#[inline(never)]
pub(crate) fn encode<'b>(
    message: &dyn Encode,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], EncodeError> {
    let (len, max) = (encoded_len(message), message.bytes_max());
    if len > max {
        return Err(EncodeError::TooLarge { len, max });
    }
    let error = EncodeError::Buffer {
        needed: len,
        available: buffer.len(),
    };
    let Some(out) = buffer.get_mut(..len) else {
        return Err(error);
    };
    message.write(&mut Out::new(&mut *out));
    Ok(out)
}

/// Where a message writes itself. All of it is counted, and written up to the first piece for which there
/// is no room.
///
/// One type for both, no formatting, and functions that are not copied to where they are called: so the code
/// that writes a message is in an image once, and little more than its texts.
pub(crate) struct Out<'b> {
    room: &'b mut [u8],
    len: usize,
}

impl<'b> Out<'b> {
    pub(crate) fn new(room: &'b mut [u8]) -> Self {
        Self { room, len: 0 }
    }

    /// Bytes of all that was to be written.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    /// Writes a number in decimal digits.
    #[inline(never)]
    pub(crate) fn number(&mut self, number: u32) {
        let mut digits = [0; 10];
        let (mut begin, mut rest) = (digits.len(), number);
        for place in digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            begin -= 1;
            if rest == 0 {
                break;
            }
        }
        self.bytes(digits.get(begin..).unwrap_or_default());
    }

    /// Writes numbers with commas between them.
    #[inline(never)]
    pub(crate) fn numbers(&mut self, numbers: &[u32]) {
        let mut before = "";
        for &number in numbers {
            self.text(before);
            self.number(number);
            before = ",";
        }
    }

    #[inline(never)]
    fn bytes(&mut self, bytes: &[u8]) {
        self.len = self.len.saturating_add(bytes.len());
        if let Some((place, room)) = mem::take(&mut self.room).split_at_mut_checked(bytes.len()) {
            place.copy_from_slice(bytes);
            self.room = room;
        }
    }
}

/// Never fails.
impl fmt::Write for Out<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.text(text);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::{Content, Uplink};

    fn uplink(json: &str) -> Uplink<'_> {
        Uplink {
            content: Content::parse(json.as_bytes()).unwrap(),
        }
    }

    #[test]
    fn only_the_message_itself_is_written() {
        let mut buffer = [0xa5; 20];
        assert_eq!(
            uplink("42").encode(&mut buffer),
            Ok(&b"{\"content\":42}"[..])
        );
        assert_eq!(buffer.get(14..), Some(&[0xa5; 6][..]));
    }

    #[test]
    fn buffer_must_hold_the_whole_message() {
        let message = uplink("42");
        assert_eq!(message.encoded_len(), 14);
        assert!(message.encode(&mut [0; 14]).is_ok());
        let mut short = [0xa5; 13];
        let error = EncodeError::Buffer {
            needed: 14,
            available: 13,
        };
        assert_eq!(message.encode(&mut short), Err(error));
        assert_eq!(short, [0xa5; 13]);
    }

    #[test]
    fn numbers_have_their_digits() {
        for number in [0, 7, 10, 99, 1_000_000_007, u32::MAX] {
            let mut buffer = [0xa5; 10];
            let mut out = Out::new(&mut buffer);
            out.number(number);
            let written = std::format!("{number}");
            assert_eq!(out.len(), written.len());
            assert!(buffer.starts_with(written.as_bytes()), "{number}");
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_nothing_follows_it() {
        let mut buffer = [0xa5; 4];
        let mut out = Out::new(&mut buffer);
        out.text("abc");
        out.text("de");
        out.text("f");
        assert_eq!(out.len(), 6);
        assert_eq!(&buffer, b"abc\xa5");
    }

    #[test]
    fn largest_payload_is_exact_to_the_byte() {
        let mut buffer = std::vec![0; PAYLOAD_BYTES_MAX + 1];
        let fits = std::format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - 14));
        let encoded = uplink(&fits).encode(&mut buffer).unwrap();
        assert_eq!(encoded.len(), 131_072);
        assert!(Uplink::decode(encoded).is_ok());
        let over = std::format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX - 13));
        let error = EncodeError::TooLarge {
            len: 131_073,
            max: 131_072,
        };
        assert_eq!(uplink(&over).encode(&mut buffer), Err(error));
    }
}
