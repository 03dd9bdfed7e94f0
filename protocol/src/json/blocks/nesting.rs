//! Which containers are open.

use core::hint::select_unpredictable;

/// Containers that may be open at a time: one bit of a word for each, and one for the floor.
pub(super) const OPEN_MAX: usize = 63;

/// One bit for each open container, the innermost lowest: is it an object? Above them is a 1.
pub(super) struct Nesting(u64);

/// What the brackets of a block say.
pub(super) struct Nested {
    /// The bytes that belong to objects, as far as a comma's meaning depends on it; a bracket
    /// counts for what follows it.
    pub(super) in_objects: u64,
    /// Where the outermost container ends.
    pub(super) end: Option<u32>,
}

impl Default for Nesting {
    fn default() -> Self {
        Self(1)
    }
}

impl Nesting {
    /// Whether the innermost open container is an array.
    #[inline(always)]
    pub(super) fn in_array(&self) -> bool {
        self.0 & 1 == 0
    }

    /// Follows the brackets of a block; `None` if a closing one does not match, or more than
    /// [`OPEN_MAX`] are open.
    #[inline(always)]
    pub(super) fn read(&mut self, openers: u64, closers: u64, braces: u64) -> Option<Nested> {
        let Self(mut open) = *self;
        let mut in_objects = 0_u64.wrapping_sub(open & 1);
        let mut mismatch = 0;
        let mut left = openers | closers;
        while left != 0 {
            let bit = left & left.wrapping_neg();
            let at = left.trailing_zeros();
            left ^= bit;
            // No branch asks which bracket this is: nobody could predict the answer.
            let opens = openers & bit != 0;
            let brace = u64::from(braces & bit != 0);
            let (inner, outer) = (open << 1 | brace, open >> 1);
            mismatch |= select_unpredictable(opens, 0, open & 1 ^ brace);
            open = select_unpredictable(opens, inner, outer);
            if open.wrapping_sub(2) >> OPEN_MAX != 0 {
                let end = Some(at);
                let complete = open == 1 && mismatch == 0;
                return complete.then_some(Nested { in_objects, end });
            }
            let from_here = bit.wrapping_neg();
            in_objects = in_objects & !from_here | 0_u64.wrapping_sub(open & 1) & from_here;
        }
        *self = Self(open);
        let end = None;
        (mismatch == 0).then_some(Nested { in_objects, end })
    }
}
