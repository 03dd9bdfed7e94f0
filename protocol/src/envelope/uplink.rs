//! What an app in a vehicle sends to its partner.

use super::canonical;
use super::encode::{Encode, Out, encode, encoded_len};
use super::members::{Members, text};
use super::{Content, EncodeError, EnvelopeError, Member};
use crate::limits::{DELIVERY_LONG_UPLINK_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// A message from an app in a vehicle to its partner (seed 1, "Receiving an App Message").
/// Which app sent it is not told on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uplink<'a> {
    /// The app's data.
    pub content: Content<'a>,
}

impl<'a> Uplink<'a> {
    /// Decodes a payload, which stays borrowed.
    ///
    /// # Errors
    /// An [`EnvelopeError`] with the reason and the byte offset.
    pub fn decode(payload: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::decode_up_to(payload, PAYLOAD_BYTES_MAX)
    }

    /// As [`Self::decode`], for an envelope of at most [`DELIVERY_LONG_UPLINK_BYTES_MAX`] bytes: that of a
    /// message that came in [parts](crate::delivery::parts), as its receiver keeps it.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub fn decode_long(envelope: &'a [u8]) -> Result<Self, EnvelopeError> {
        Self::decode_up_to(envelope, DELIVERY_LONG_UPLINK_BYTES_MAX)
    }

    fn decode_up_to(payload: &'a [u8], bytes_max: usize) -> Result<Self, EnvelopeError> {
        let text = text(payload, bytes_max)?;
        if let Some(content) = canonical::content_alone(text) {
            return Ok(Self { content });
        }
        let members = Members::of(text)?;
        let content = members
            .content
            .ok_or_else(|| members.missing(Member::Content))?;
        Ok(Self {
            content: Content::from_value(content),
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

impl Encode for Uplink<'_> {
    fn write(&self, out: &mut Out<'_>) {
        out.text("{\"content\":");
        out.text(self.content.as_str());
        out.text("}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::EnvelopeReason;
    use crate::limits::DELIVERY_LONG_BYTES_MAX;

    #[test]
    fn content_may_be_of_any_type() {
        for content in ["{}", "\"text\"", "[1, 2]", "null", "false", "-0.5e+3"] {
            let payload = std::format!("{{ \"content\" : {content} }}");
            let message = Uplink::decode(payload.as_bytes()).unwrap();
            assert_eq!(message.content.as_str(), content);
        }
    }

    #[test]
    fn one_byte_too_many_is_refused_before_it_is_read() {
        let payload = std::vec![b'x'; PAYLOAD_BYTES_MAX + 1];
        let reason = EnvelopeReason::TooLarge {
            len: 131_073,
            max: 131_072,
        };
        assert_eq!(Uplink::decode(&payload), Err(reason.at(131_072)));
    }

    #[test]
    fn longest_content_that_came_in_parts_is_read_and_one_byte_more_is_not() {
        let envelope = |len: usize| std::format!("{{\"content\":\"{}\"}}", "x".repeat(len - 2));
        let longest = envelope(DELIVERY_LONG_BYTES_MAX);
        let content = Uplink::decode_long(longest.as_bytes()).unwrap().content;
        assert_eq!(content.as_str().len(), DELIVERY_LONG_BYTES_MAX);
        let (len, max) = (longest.len() + 1, longest.len());
        let reason = EnvelopeReason::TooLarge { len, max };
        let more = envelope(DELIVERY_LONG_BYTES_MAX + 1);
        assert_eq!(Uplink::decode_long(more.as_bytes()), Err(reason.at(max)));
    }
}
