//! What may follow what.

/// The tokens of a block, each class with one bit for each of its bytes.
pub(super) struct Tokens {
    /// From each opening quote up to its closing one, which is not included.
    pub(super) strings: u64,
    pub(super) opening_quotes: u64,
    pub(super) closing_quotes: u64,
    /// First bytes of numbers and words.
    pub(super) scalar_starts: u64,
    /// The bytes behind numbers and words.
    pub(super) behind_scalars: u64,
    pub(super) openers: u64,
    pub(super) closers: u64,
    pub(super) commas: u64,
    pub(super) colons: u64,
    /// White space outside of strings.
    pub(super) space: u64,
    /// The bytes that belong to objects; a bracket counts for what follows it.
    pub(super) in_objects: u64,
}

/// What the last token of a block asks of the first one of the next: each field is 0 or 1.
#[derive(Default)]
pub(super) struct Order {
    after_opener: u64,
    value_due: u64,
    name_due: u64,
    /// The string that the block begins in is a member's name.
    in_name: u64,
    colon_due: u64,
    comma_due: u64,
}

impl Order {
    /// Whether the string that the block begins in is a member's name.
    #[inline(always)]
    pub(super) fn in_name(&self) -> bool {
        self.in_name != 0
    }

    /// The tokens that stand where they must not.
    ///
    /// Every token but the first follows exactly one other, so that it is in exactly one of the
    /// four `due` sets, and each set says what its tokens must be.
    #[inline(always)]
    pub(super) fn wrong(&mut self, tokens: &Tokens) -> u64 {
        let &Tokens { strings, space, .. } = tokens;
        let after_opener = after(tokens.openers, space, &mut self.after_opener);
        let separators = tokens.openers | tokens.commas;
        let names = separators & tokens.in_objects;
        let name_due = after(names, space, &mut self.name_due);
        let values = separators & !tokens.in_objects | tokens.colons;
        let value_due = after(values, space, &mut self.value_due);

        // The carry of the addition runs through each name to its closing quote.
        let names = name_due & tokens.opening_quotes;
        let (ends, overflow) = strings.overflowing_add(names | self.in_name);
        self.in_name = u64::from(overflow);
        let name_ends = ends & tokens.closing_quotes;
        let value_ends = tokens.closing_quotes & !name_ends | tokens.closers;
        let colon_due = after(name_ends, space, &mut self.colon_due);
        let comma_due = after_with(
            value_ends,
            tokens.behind_scalars,
            space,
            &mut self.comma_due,
        );

        let value_starts = tokens.opening_quotes | tokens.scalar_starts | tokens.openers;
        let empty = after_opener & tokens.closers;
        value_due & !(value_starts | empty)
            | name_due & !(tokens.opening_quotes | empty)
            | colon_due & !tokens.colons
            | comma_due & !(tokens.commas | tokens.closers)
    }
}

/// The first bytes behind those of `bits` that are not `space`.
#[inline(always)]
fn after(bits: u64, space: u64, carry: &mut u64) -> u64 {
    after_with(bits, 0, space, carry)
}

/// As [`after`], and the first bytes from those of `here` on that are not `space`.
#[inline(always)]
fn after_with(bits: u64, here: u64, space: u64, carry: &mut u64) -> u64 {
    let (sum, overflow) = space.overflowing_add(bits << 1 | *carry | here);
    *carry = bits >> 63 | u64::from(overflow);
    sum & !space
}
