//! Sixteen bytes at a time with SSE2, and four times that: blocks.
//!
//! The instructions come through `safe_arch`, so that there is no unsafe code here.

use safe_arch::{
    add_i8_m128i, bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, max_u8_m128i,
    min_u8_m128i, move_mask_i8_m128i, set_splat_i8_m128i,
};

/// Bytes of a block: one for each bit of a word.
pub(super) const BLOCK: usize = 64;

/// Which bytes do not stand for themselves in a string, the first byte's bit lowest.
#[inline(always)]
pub(super) fn special_bits(bytes: &[u8; 16]) -> u16 {
    move_mask_i8_m128i(special(load_unaligned_m128i(bytes))) as u16
}

/// The bytes of a block, sixteen to a vector.
#[derive(Clone, Copy)]
pub(super) struct Vectors([m128i; 4]);

impl Vectors {
    #[inline(always)]
    pub(super) fn of(block: &[u8; BLOCK]) -> Self {
        let mut vectors = [set_splat_i8_m128i(0); 4];
        for (vector, bytes) in vectors.iter_mut().zip(block.as_chunks().0) {
            *vector = load_unaligned_m128i(bytes);
        }
        Self(vectors)
    }

    /// The bytes that do not stand for themselves in a string.
    #[inline(always)]
    pub(super) fn special(self) -> u64 {
        Self(self.0.map(special)).top_bits()
    }

    /// Whether the first sixteen bytes stand for themselves in a string.
    #[inline(always)]
    pub(super) fn begin_plain(self) -> bool {
        move_mask_i8_m128i(special(self.0[0])) == 0
    }

    /// Whether a block that begins inside an array's string is made of bytes that stand for
    /// themselves and of whole `","`, each of which ends a string and begins the next. No branch
    /// depends on where these are.
    #[inline(always)]
    pub(super) fn is_text(self) -> bool {
        let unquoted = |bytes| bitor_m128i(controls(bytes), equal(bytes, b'\\'));
        let [a, b, c, d] = self.0.map(unquoted);
        let unquoted = bitor_m128i(bitor_m128i(a, b), bitor_m128i(c, d));
        let quotes = Self(self.0.map(|bytes| equal(bytes, b'"'))).top_bits();
        let commas = Self(self.0.map(|bytes| equal(bytes, b','))).top_bits();
        let bounds = quotes & commas >> 1 & quotes >> 2;
        // In `",","` it depends on what was before which of the commas is a string.
        let doubtful = bounds & bounds << 2 | quotes & !(bounds | bounds << 2);
        move_mask_i8_m128i(unquoted) == 0 && doubtful == 0
    }

    /// How many bytes are spaces, or letters and what else stands behind `A` in ASCII and Unicode.
    #[inline(always)]
    pub(super) fn letters(self) -> u32 {
        let letters = |bytes| {
            let from_a = max_u8_m128i(bytes, set_splat_i8_m128i(b'A' as i8));
            bitor_m128i(cmp_eq_mask_i8_m128i(from_a, bytes), equal(bytes, b' '))
        };
        Self(self.0.map(letters)).top_bits().count_ones()
    }

    /// The top bits of all bytes, the first byte's lowest.
    #[inline(always)]
    pub(super) fn top_bits(self) -> u64 {
        let [a, b, c, d] = self
            .0
            .map(|bytes| u64::from(move_mask_i8_m128i(bytes) as u16));
        a | b << 16 | c << 32 | d << 48
    }

    /// Each byte shifted left by one bit.
    #[inline(always)]
    pub(super) fn shifted(self) -> Self {
        Self(self.0.map(|bytes| add_i8_m128i(bytes, bytes)))
    }
}

/// The bytes that do not stand for themselves in a string.
#[inline(always)]
fn special(bytes: m128i) -> m128i {
    let quotes_and_backslashes = bitor_m128i(equal(bytes, b'"'), equal(bytes, b'\\'));
    bitor_m128i(controls(bytes), quotes_and_backslashes)
}

/// U+0000 to U+001F.
#[inline(always)]
fn controls(bytes: m128i) -> m128i {
    cmp_eq_mask_i8_m128i(min_u8_m128i(bytes, set_splat_i8_m128i(0x1f)), bytes)
}

#[inline(always)]
fn equal(bytes: m128i, byte: u8) -> m128i {
    cmp_eq_mask_i8_m128i(bytes, set_splat_i8_m128i(byte as i8))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks() -> [[u8; BLOCK]; 4] {
        [0, 64, 128, 192].map(|first| core::array::from_fn(|at| first + at as u8))
    }

    #[test]
    fn special_bytes_are_those_that_need_an_escape() {
        for block in blocks() {
            let special = Vectors::of(&block).special();
            for (at, byte) in block.into_iter().enumerate() {
                let expected = byte < 0x20 || b"\"\\".contains(&byte);
                assert_eq!(special >> at & 1 == 1, expected, "{byte:#x}");
            }
            for (part, bytes) in block.as_chunks().0.iter().enumerate() {
                assert_eq!(special_bits(bytes), (special >> (16 * part)) as u16);
            }
        }
    }

    #[test]
    fn letters_are_counted_with_spaces_and_without_digits_and_separators() {
        let counts = blocks().map(|block| Vectors::of(&block).letters());
        assert_eq!(counts, [1, 63, 64, 64]);
    }

    #[test]
    fn text_is_plain_bytes_and_whole_bounds_between_strings() {
        let is_text = |part: &str, at: usize| {
            let mut block = [b'x'; BLOCK];
            block[at..at + part.len()].copy_from_slice(part.as_bytes());
            Vectors::of(&block).is_text()
        };
        for at in 0..BLOCK - 9 {
            for good in ["", "\",\"", "\",\"x\",\"", "\",\"\",\"", "é {}[]:,"] {
                assert!(is_text(good, at), "{good} at {at}");
            }
            for bad in [
                "\"", "\"\"", "\",", "\" ,\"", "\",\",\"", "\",x\"", "\\\",\"", "\\n", "\u{1f}",
                "\":\"", "\"]",
            ] {
                assert!(!is_text(bad, at), "{bad} at {at}");
            }
        }
        for (part, at) in [("\"", 63), ("\",", 62)] {
            assert!(!is_text(part, at), "{part} at the end");
        }
    }
}
