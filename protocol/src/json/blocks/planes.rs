//! A block turned on its side: eight words, one for each bit of a byte.
//!
//! Where a character stands is then a boolean expression of these words, and all of the block's
//! bytes answer at once. The expressions share most of their parts, so that one class more costs
//! two or three instructions.

use super::super::vectors::{BLOCK, Vectors};

/// Word `n` holds bit `n` of each byte.
#[derive(Clone, Copy)]
pub(super) struct Planes([u64; 8]);

impl Planes {
    #[inline(always)]
    pub(super) fn of(mut vectors: Vectors) -> Self {
        let mut planes = [0; 8];
        for plane in planes.iter_mut().rev() {
            *plane = vectors.top_bits();
            vectors = vectors.shifted();
        }
        Self(planes)
    }

    /// Only the last `len` bytes, at least one, and spaces behind them.
    #[inline(always)]
    pub(super) fn last(self, len: usize) -> Self {
        let shift = (BLOCK - len) as u32 % 64;
        let [a, b, c, d, e, f, g, h] = self.0.map(|plane| plane >> shift);
        Self([a, b, c, d, e, f | !(u64::MAX >> shift), g, h])
    }

    /// The bytes whose bits are those of `value`, from bit `low` on and two of them.
    #[inline(always)]
    fn pair(&self, low: usize, value: u8) -> u64 {
        let [a, b] = [low, low + 1].map(|bit| {
            let plane = self.0[bit & 7];
            if value >> bit & 1 == 1 { plane } else { !plane }
        });
        a & b
    }

    #[inline(always)]
    pub(super) fn equal(&self, byte: u8) -> u64 {
        let high = self.pair(6, byte) & self.pair(4, byte);
        let low = self.pair(2, byte) & self.pair(0, byte);
        high & low
    }

    /// The bytes that are `byte` but perhaps for bit 5, which tells `{` from `[` and `e` from `E`.
    #[inline(always)]
    fn equal_but_for_0x20(&self, byte: u8) -> u64 {
        let bit_4 = if byte & 0x10 == 0 {
            !self.0[4]
        } else {
            self.0[4]
        };
        self.pair(6, byte) & bit_4 & (self.pair(2, byte) & self.pair(0, byte))
    }

    /// `{` and `[`.
    #[inline(always)]
    pub(super) fn openers(&self) -> u64 {
        self.equal_but_for_0x20(b'{')
    }

    /// `}` and `]`.
    #[inline(always)]
    pub(super) fn closers(&self) -> u64 {
        self.equal_but_for_0x20(b'}')
    }

    /// Among brackets, the curly ones.
    #[inline(always)]
    pub(super) fn braces(&self) -> u64 {
        self.0[5]
    }

    /// `e` and `E`.
    #[inline(always)]
    pub(super) fn exponents(&self) -> u64 {
        self.equal_but_for_0x20(b'e')
    }

    /// U+0000 to U+001F.
    #[inline(always)]
    pub(super) fn controls(&self) -> u64 {
        self.pair(6, 0) & !self.0[5]
    }

    #[inline(always)]
    pub(super) fn spaces(&self) -> u64 {
        self.equal(b' ') | self.equal(b'\t') | self.equal(b'\n') | self.equal(b'\r')
    }

    #[inline(always)]
    pub(super) fn digits(&self) -> u64 {
        let to_seven = !self.0[3];
        let eight_or_nine = self.pair(2, b'8') & !self.0[1];
        self.pair(6, b'0') & self.pair(4, b'0') & (to_seven | eight_or_nine)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, class: impl Fn(&Planes) -> u64, belongs: impl Fn(u8) -> bool) {
        for first in [0, 64, 128, 192] {
            let block: [u8; BLOCK] = core::array::from_fn(|at| first + at as u8);
            let bits = class(&Planes::of(Vectors::of(&block)));
            for (at, byte) in block.into_iter().enumerate() {
                assert_eq!(bits >> at & 1 == 1, belongs(byte), "{name}: {byte:#x}");
            }
        }
    }

    #[test]
    fn each_class_holds_its_bytes_and_no_other() {
        check("openers", Planes::openers, |byte| b"{[".contains(&byte));
        check("closers", Planes::closers, |byte| b"}]".contains(&byte));
        check("exponents", Planes::exponents, |byte| b"eE".contains(&byte));
        check("controls", Planes::controls, |byte| byte < 0x20);
        check("spaces", Planes::spaces, |byte| b" \t\n\r".contains(&byte));
        check("digits", Planes::digits, |byte| byte.is_ascii_digit());
        for expected in 0..=255 {
            check(
                "equal",
                |planes| planes.equal(expected),
                |byte| byte == expected,
            );
        }
    }

    #[test]
    fn last_bytes_move_to_the_front_and_spaces_follow() {
        let block: [u8; BLOCK] = core::array::from_fn(|at| b'0' + at as u8);
        for len in 1..BLOCK {
            let planes = Planes::of(Vectors::of(&block)).last(len);
            for at in 0..BLOCK {
                let expected = block.get(BLOCK - len + at).copied().unwrap_or(b' ');
                assert_eq!(planes.equal(expected) >> at & 1, 1);
            }
        }
    }
}
