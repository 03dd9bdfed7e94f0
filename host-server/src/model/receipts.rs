//! Whether a message for a vehicle goes with receipts, and whether it can.

use vinbus_protocol::delivery::{self, Epoch, Header, Marked, Received, TooDeep};
use vinbus_protocol::envelope::Content;
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_LONG_BYTES_MAX, PAYLOAD_BYTES_MAX,
};
use vinbus_protocol::request::Request;

/// Whether an envelope of so many bytes is too long for one payload with what receipts add.
pub(super) const fn is_long(envelope_len: usize) -> bool {
    envelope_len + DELIVERY_ADDED_BYTES_MAX > PAYLOAD_BYTES_MAX
}

/// Whether a message for a vehicle is repeated until the vehicle answers, and its sender told what
/// became of it there (SPEC 16). A vehicle that knows nothing of receipts gets an ordinary message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Receipts {
    /// It is sent once.
    #[default]
    No,
    /// It reaches its app once, or its sender is told why not.
    Asked,
    /// The same, but if the vehicle loses its memory on the way, the message is sent to its next life,
    /// and may reach its app twice.
    Repeatable,
}

impl Receipts {
    /// As good as any, to see that one fits in.
    pub(crate) const HEADER: Header = Header {
        epoch: Epoch::FIRST,
        peer: Epoch::FIRST,
        number: 1,
        ttl_s: 0,
        part: None,
    };

    /// As [`check`](Self::check), for a message that may travel in parts.
    ///
    /// # Errors
    /// Why it cannot go like this.
    pub fn check_long(
        self,
        content: Content<'_>,
        envelope_len: usize,
    ) -> Result<(), ReceiptsError> {
        if self == Self::No || !is_long(envelope_len) {
            return self.check(content, envelope_len);
        }
        if Request::read(content).is_some() {
            return Err(ReceiptsError::Request);
        }
        let (len, max) = (content.as_str().len(), DELIVERY_LONG_BYTES_MAX);
        if len > max {
            return Err(ReceiptsError::TooLarge { len, max });
        }
        Ok(())
    }

    /// Whether a message of this content, whose envelope has `envelope_len` bytes, can go like this in
    /// one payload.
    ///
    /// # Errors
    /// Why not.
    pub fn check(self, content: Content<'_>, envelope_len: usize) -> Result<(), ReceiptsError> {
        // With receipts, such a content is a request.
        if Request::read(content).is_some() {
            return Err(ReceiptsError::Request);
        }
        if self == Self::No {
            return match delivery::read(content) {
                Received::Plain => Ok(()),
                _ => Err(ReceiptsError::Reserved),
            };
        }
        if is_long(envelope_len) {
            let (len, max) = (envelope_len + DELIVERY_ADDED_BYTES_MAX, PAYLOAD_BYTES_MAX);
            return Err(ReceiptsError::TooLarge { len, max });
        }
        Marked::new(Self::HEADER, content)?;
        Ok(())
    }
}

/// Why a message cannot go with receipts, or not without.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptsError {
    /// It asks for none, and its content has the member that receipts have.
    #[error("the content has a member `vinbus` of the form that receipts have")]
    Reserved,
    /// Its content has the member that requests have.
    #[error("the content has a member `vinbus` of the form that requests have")]
    Request,
    /// It does not fit.
    #[error("with receipts the message has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes of its envelope with what receipts may add, or of the content of one that may go in
        /// parts.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// What is in it lies too deep.
    #[error(transparent)]
    TooDeep(#[from] TooDeep),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn message_goes_with_receipts_if_they_fit_and_without_if_it_looks_like_none() {
        let plain = Content::parse(b"{}").expect("JSON");
        let most = PAYLOAD_BYTES_MAX - DELIVERY_ADDED_BYTES_MAX;
        for receipts in [Receipts::Asked, Receipts::Repeatable] {
            assert_eq!(receipts.check(plain, most), Ok(()));
            let len = PAYLOAD_BYTES_MAX + 1;
            let max = PAYLOAD_BYTES_MAX;
            let error = ReceiptsError::TooLarge { len, max };
            assert_eq!(receipts.check(plain, most + 1), Err(error));
            assert_eq!(receipts.check_long(plain, most + 1), Ok(()));
        }
        assert_eq!(Receipts::No.check(plain, PAYLOAD_BYTES_MAX), Ok(()));

        let marked = Marked::new(Receipts::HEADER, plain).expect("shallow");
        let mut bytes = [0; 256];
        let bytes = marked.encode(&mut bytes).expect("room");
        let marked = Content::parse(bytes).expect("JSON");
        let reserved = Err(ReceiptsError::Reserved);
        assert_eq!(Receipts::No.check(marked, bytes.len()), reserved);

        let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let deep = Content::parse(deep.as_bytes()).expect("JSON");
        assert_eq!(Receipts::No.check(deep, 254), Ok(()));
        let too_deep = Err(ReceiptsError::TooDeep(TooDeep));
        assert_eq!(Receipts::Asked.check(deep, 254), too_deep);
    }
}
