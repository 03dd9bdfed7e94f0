//! The classes of characters in a block: one word for each, one bit for each byte.

use safe_arch::{
    bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, max_u8_m128i, min_u8_m128i,
    move_mask_i8_m128i, set_splat_i8_m128i, shl_imm_u16_m128i, sub_i8_m128i,
};

/// The bytes of a block, sixteen to a vector.
pub(super) struct Block([m128i; 4]);

impl Block {
    #[inline(always)]
    pub(super) fn new(bytes: &[u8; 64]) -> Self {
        let mut vectors = [set_splat_i8_m128i(0); 4];
        for (vector, bytes) in vectors.iter_mut().zip(bytes.as_chunks().0) {
            *vector = load_unaligned_m128i(bytes);
        }
        Self(vectors)
    }

    /// The bytes for which `test` sets the top bit.
    #[inline(always)]
    fn bits(&self, test: impl Fn(m128i) -> m128i) -> u64 {
        let [a, b, c, d] = self
            .0
            .map(|bytes| u64::from(move_mask_i8_m128i(test(bytes)) as u16));
        a | b << 16 | c << 32 | d << 48
    }

    #[inline(always)]
    pub(super) fn equal(&self, byte: u8) -> u64 {
        self.bits(|bytes| equal(bytes, byte))
    }

    /// `{` and `[`, which differ in one bit.
    #[inline(always)]
    pub(super) fn openers(&self) -> u64 {
        self.bits(|bytes| equal(with_0x20(bytes), b'{'))
    }

    /// `}` and `]`.
    #[inline(always)]
    pub(super) fn closers(&self) -> u64 {
        self.bits(|bytes| equal(with_0x20(bytes), b'}'))
    }

    /// Among brackets, the curly ones.
    #[inline(always)]
    pub(super) fn braces(&self) -> u64 {
        self.bits(shl_imm_u16_m128i::<2>)
    }

    /// `e` and `E`.
    #[inline(always)]
    pub(super) fn exponents(&self) -> u64 {
        self.bits(|bytes| equal(with_0x20(bytes), b'e'))
    }

    /// Whether all bytes stand for themselves in a string.
    #[inline(always)]
    pub(super) fn is_plain(&self) -> bool {
        let last = set_splat_i8_m128i(0x1f);
        let [a, b, c, d] = self.0.map(|bytes| {
            let control = cmp_eq_mask_i8_m128i(min_u8_m128i(bytes, last), bytes);
            let other = bitor_m128i(equal(bytes, b'"'), equal(bytes, b'\\'));
            bitor_m128i(control, other)
        });
        move_mask_i8_m128i(bitor_m128i(bitor_m128i(a, b), bitor_m128i(c, d))) == 0
    }

    /// All brackets and some other bytes, in fewer steps than the brackets alone.
    #[inline(always)]
    pub(super) fn maybe_brackets(&self) -> u64 {
        let first = set_splat_i8_m128i(0x7b);
        self.bits(|bytes| {
            let bytes = with_0x20(bytes);
            cmp_eq_mask_i8_m128i(max_u8_m128i(bytes, first), bytes)
        })
    }

    #[inline(always)]
    pub(super) fn controls(&self) -> u64 {
        let last = set_splat_i8_m128i(0x1f);
        self.bits(|bytes| cmp_eq_mask_i8_m128i(min_u8_m128i(bytes, last), bytes))
    }

    #[inline(always)]
    pub(super) fn digits(&self) -> u64 {
        let (zero, nine) = (set_splat_i8_m128i(0x30), set_splat_i8_m128i(9));
        self.bits(|bytes| {
            let value = sub_i8_m128i(bytes, zero);
            cmp_eq_mask_i8_m128i(min_u8_m128i(value, nine), value)
        })
    }
}

#[inline(always)]
fn equal(bytes: m128i, byte: u8) -> m128i {
    cmp_eq_mask_i8_m128i(bytes, set_splat_i8_m128i(byte as i8))
}

#[inline(always)]
fn with_0x20(bytes: m128i) -> m128i {
    bitor_m128i(bytes, set_splat_i8_m128i(0x20))
}
