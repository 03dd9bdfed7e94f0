//! Writing an envelope into a caller's buffer, exact to the byte.

use core::fmt::{self, Write};
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

    fn write(&self, out: &mut impl Write) -> fmt::Result;
}

pub(crate) fn encoded_len(message: &impl Encode) -> usize {
    let mut length = Length(0);
    let counted = message.write(&mut length);
    debug_assert!(counted.is_ok(), "counting never fails");
    length.0
}

pub(crate) fn encode<'b, M: Encode>(
    message: &M,
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
    message
        .write(&mut Unwritten(&mut *out))
        .map_err(|fmt::Error| error)?;
    Ok(out)
}

/// Counts bytes.
struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(part.len());
        Ok(())
    }
}

/// The part of a buffer that nothing has been written to yet.
pub(crate) struct Unwritten<'b>(pub(crate) &'b mut [u8]);

impl Write for Unwritten<'_> {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let (head, tail) = mem::take(&mut self.0)
            .split_at_mut_checked(part.len())
            .ok_or(fmt::Error)?;
        head.copy_from_slice(part.as_bytes());
        self.0 = tail;
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
