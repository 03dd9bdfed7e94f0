//! The little DER (X.690) that keys, certificates and signatures on P-256 take.
//!
//! What is refused comes back as `None`: whoever asks knows what it was to be.

/// Tags.
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const SEQUENCE: u8 = 0x30;

/// `id-ecPublicKey` on `prime256v1` (RFC 5480, section 2.1.1), in the sequence of an algorithm.
pub(super) const P256_ALGORITHM: &[u8] = &[
    0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D,
    0x03, 0x01, 0x07,
];

/// Bytes of a number below the order of P-256.
pub(super) const SCALAR_BYTES: usize = 32;

/// The longest signature: two numbers with a zero before each.
const SIGNATURE_BYTES_MAX: usize = 2 + 2 * (2 + 1 + SCALAR_BYTES);

/// Values one after the other.
#[derive(Clone, Copy)]
pub(super) struct Values<'d>(&'d [u8]);

impl<'d> Values<'d> {
    pub(super) fn of(bytes: &'d [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0.is_empty()
    }

    /// The contents of the next value, which has to have this tag.
    pub(super) fn take(&mut self, tag: u8) -> Option<&'d [u8]> {
        let (found, contents) = self.next()?;
        (found == tag).then_some(contents)
    }

    /// The values in the next value, which has to be a sequence.
    pub(super) fn sequence(&mut self) -> Option<Self> {
        self.take(SEQUENCE).map(Self)
    }

    /// The tag and the contents of the next value. Tags of more than one byte are refused, and so is
    /// a length of more than two bytes, or of more than it takes.
    pub(super) fn next(&mut self) -> Option<(u8, &'d [u8])> {
        let (len, rest) = match *self.0.get(1..)? {
            [len @ 0..=0x7F, ref rest @ ..] => (usize::from(len), rest),
            [0x81, len @ 0x80..=0xFF, ref rest @ ..] => (usize::from(len), rest),
            [0x82, high @ 1..=0xFF, low, ref rest @ ..] => {
                (usize::from(u16::from_be_bytes([high, low])), rest)
            }
            _ => return None,
        };
        let tag = *self.0.first()?;
        let (contents, rest) = rest.split_at_checked(len)?;
        self.0 = rest;
        (tag & 0x1F != 0x1F).then_some((tag, contents))
    }

    /// The next value as a number that is not negative and takes no more bytes than it has to,
    /// padded with zeros in front.
    pub(super) fn scalar(&mut self) -> Option<[u8; SCALAR_BYTES]> {
        let digits = match self.take(INTEGER)? {
            [0, digits @ ..] if matches!(digits, [0x80..=0xFF, ..]) => digits,
            digits @ [1..=0x7F, ..] => digits,
            _ => return None,
        };
        let mut scalar = [0; SCALAR_BYTES];
        let zeros = SCALAR_BYTES.checked_sub(digits.len())?;
        scalar.get_mut(zeros..)?.copy_from_slice(digits);
        Some(scalar)
    }
}

/// A signature of ECDSA as it is sent (RFC 3279, section 2.2.3).
pub(super) struct SignatureBytes {
    bytes: [u8; SIGNATURE_BYTES_MAX],
    len: usize,
}

impl SignatureBytes {
    /// Of its two numbers, of which none is zero.
    pub(super) fn of(numbers: [&[u8]; 2]) -> Self {
        let mut signature = Self {
            bytes: [0; SIGNATURE_BYTES_MAX],
            len: 2,
        };
        for number in numbers {
            let zeros = number.iter().take_while(|byte| **byte == 0).count();
            let digits = number.get(zeros..).unwrap_or_default();
            let negative = digits.first().is_some_and(|first| *first >= 0x80);
            signature.push(&[INTEGER, digits.len() as u8 + u8::from(negative)]);
            signature.push(if negative { &[0] } else { &[] });
            signature.push(digits);
        }
        let len = signature.len as u8 - 2;
        signature.bytes[..2].copy_from_slice(&[SEQUENCE, len]);
        signature
    }

    fn push(&mut self, bytes: &[u8]) {
        let end = self.len + bytes.len();
        self.bytes[self.len..end].copy_from_slice(bytes);
        self.len = end;
    }
}

impl AsRef<[u8]> for SignatureBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalar(der: &[u8]) -> Option<[u8; SCALAR_BYTES]> {
        Values::of(der).scalar()
    }

    #[test]
    fn number_has_one_spelling() {
        let mut one = [0; SCALAR_BYTES];
        one[31] = 1;
        assert_eq!(scalar(&[2, 1, 1]), Some(one));
        one[31] = 0x80;
        assert_eq!(scalar(&[2, 2, 0, 0x80]), Some(one));
        for refused in [
            &[2, 0][..],
            &[2, 1, 0],
            &[2, 1, 0x80],
            &[2, 2, 0, 1],
            &[2, 0x81, 1, 1],
            &[2, 2, 1],
            &[3, 1, 1],
            &[2],
            &[],
        ] {
            assert_eq!(scalar(refused), None, "{refused:x?}");
        }
        let mut long = [0xFF; 2 + 1 + SCALAR_BYTES];
        long[..3].copy_from_slice(&[2, 33, 0]);
        assert!(scalar(&long).is_some());
        long[2] = 1;
        assert_eq!(scalar(&long), None, "33 bytes");
    }

    #[test]
    fn length_has_one_spelling_and_may_not_exceed_what_is_there() {
        let mut bytes = std::vec![0; 0x201];
        for (head, len) in [
            (&[4, 0][..], 0),
            (&[4, 0x7F], 0x7F),
            (&[4, 0x81, 0x80], 0x80),
            (&[4, 0x81, 0xFF], 0xFF),
            (&[4, 0x82, 1, 0], 0x100),
        ] {
            bytes[..head.len()].copy_from_slice(head);
            let taken = Values::of(&bytes).take(OCTET_STRING).unwrap();
            assert_eq!(taken.len(), len, "{head:x?}");
        }
        for refused in [
            &[4, 0x80][..],
            &[4, 0x81, 0x7F],
            &[4, 0x82, 0, 0xFF],
            &[4, 0x83, 0, 1, 0],
            &[4, 0x82, 2, 0],
            &[0x1F, 0],
        ] {
            bytes[..refused.len()].copy_from_slice(refused);
            assert!(Values::of(&bytes).next().is_none(), "{refused:x?}");
        }
    }

    #[test]
    fn signature_is_read_as_it_is_written() {
        let (mut small, mut large) = ([0; SCALAR_BYTES], [0xFF; SCALAR_BYTES]);
        (small[31], large[31]) = (7, 1);
        for (numbers, len) in [
            ([small, large], 2 + 3 + 35),
            ([large, large], SIGNATURE_BYTES_MAX),
        ] {
            let written = SignatureBytes::of(numbers.each_ref().map(|number| &number[..]));
            assert_eq!(written.as_ref().len(), len);
            let mut all = Values::of(written.as_ref());
            let mut read = all.sequence().unwrap();
            assert_eq!([read.scalar(), read.scalar()], numbers.map(Some));
            assert!(read.is_empty() && all.is_empty());
        }
    }
}
