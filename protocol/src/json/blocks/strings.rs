//! Where strings begin and end.

use super::planes::Planes;

/// The string that a block may begin in.
#[derive(Default)]
pub(super) struct Strings {
    /// All ones if the block begins inside a string.
    inside: u64,
    /// The first byte is escaped: 0 or 1.
    escaped: u64,
}

/// The strings of one block.
pub(super) struct Quoted {
    /// From each opening quote up to its closing one, which is not included.
    pub(super) strings: u64,
    pub(super) opening: u64,
    pub(super) closing: u64,
}

impl Strings {
    /// Whether a block of plain bytes changes nothing.
    #[inline(always)]
    pub(super) fn go_on(&self) -> bool {
        self.inside != 0 && self.escaped == 0
    }

    /// Reads the block that `rest` begins with; `None` if an escape is not certainly valid.
    #[inline(always)]
    pub(super) fn read(&mut self, planes: &Planes, rest: &[u8]) -> Option<Quoted> {
        let mut quotes = planes.equal(b'"');
        let backslashes = planes.equal(b'\\');
        if backslashes | self.escaped != 0 {
            quotes &= !self.escapes(backslashes, rest)?;
        }
        let strings = prefix_xor(quotes) ^ self.inside;
        self.inside = 0_u64.wrapping_sub(strings >> 63);
        Some(Quoted {
            strings,
            opening: quotes & strings,
            closing: quotes & !strings,
        })
    }

    /// The bytes that a backslash escapes, after checking each escape.
    #[cold]
    fn escapes(&mut self, backslashes: u64, rest: &[u8]) -> Option<u64> {
        let mut escaped = self.escaped;
        self.escaped = 0;
        let mut left = backslashes & !escaped;
        while left != 0 {
            let at = left.trailing_zeros();
            match rest.get(at as usize + 1..)? {
                [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', ..] => {}
                [b'u', a, b, c, d, ..] if [a, b, c, d].iter().all(|x| x.is_ascii_hexdigit()) => {}
                _ => return None,
            }
            match 2_u64.checked_shl(at) {
                Some(0) | None => self.escaped = 1,
                Some(next) => escaped |= next,
            }
            left &= left - 1;
            left &= !escaped;
        }
        Some(escaped)
    }
}

/// Each bit becomes the parity of itself and all bits below it.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}
