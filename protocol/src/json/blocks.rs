//! The fast path for objects and arrays: 64 bytes at a time, all of them at once.
//!
//! Each class of characters becomes a word with one bit for each byte of the block, and the rules
//! of JSON become arithmetic on these words: what follows a token is one shift away, what follows
//! a run of digits or white space is one addition away (the carry runs through the run). There is
//! no branch whose outcome depends on how long a string or a number is, and that is what makes it
//! fast: on messages that differ, mispredicted branches cost more than anything else.
//!
//! It only ever says "valid, and this long". Where it does not, the scanner reads the same bytes
//! with care and names the fault, so this file never has to explain one. It uses SSE2, which every
//! x86-64 has; other processors have the scanner alone.

use safe_arch::{
    bitor_m128i, cmp_eq_mask_i8_m128i, load_unaligned_m128i, m128i, max_u8_m128i, min_u8_m128i,
    move_mask_i8_m128i, set_splat_i8_m128i, shl_imm_u16_m128i, sub_i8_m128i,
};

/// Bytes of a block: one for each bit of a word.
const BLOCK: usize = 64;

/// The length of the object or array that `json` begins with, if it is certainly valid and nests
/// at most `depth_max` deep.
pub(super) fn container_len(json: &[u8], depth_max: usize) -> Option<usize> {
    let mut blocks = Blocks::default();
    let mut rest = json;
    while let Some(tail) = rest.get(BLOCK..) {
        if let Some(len) = blocks.read(rest.first_chunk()?, rest, depth_max)? {
            return Some((json.len() - rest.len()) + len);
        }
        rest = tail;
    }
    let mut padded = [b' '; BLOCK];
    padded.get_mut(..rest.len())?.copy_from_slice(rest);
    let len = blocks.read(&padded, rest, depth_max)??;
    Some((json.len() - rest.len()) + len)
}

/// What one block needs to know of those before it. A `u64` that carries a token is 0 or 1.
#[derive(Default)]
struct Blocks {
    /// All ones if the block begins inside a string.
    in_string: u64,
    /// The first byte is escaped.
    escaped: u64,
    /// The string that the block begins in is a member's name.
    in_name: u64,
    /// The last byte belonged to a number or a word.
    in_scalar: u64,
    scalars: Scalars,
    after_name: u64,
    after_value: u64,
    after_brace: u64,
    after_bracket: u64,
    after_member_comma: u64,
    after_colon: u64,
    depth: usize,
    /// One bit for each open container, the innermost lowest: is it an object?
    nesting: u128,
}

impl Blocks {
    /// Reads a block, the start of `rest`: `None` if it is not certainly valid, `Some(Some(len))`
    /// if the outermost container ends in it.
    #[inline(always)]
    fn read(
        &mut self,
        block: &[u8; BLOCK],
        rest: &[u8],
        depth_max: usize,
    ) -> Option<Option<usize>> {
        let block = Block::new(block);
        if self.in_string != 0 && self.escaped == 0 && block.is_plain() {
            return Some(None);
        }
        let mut quotes = block.equal(b'"');
        let backslashes = block.equal(b'\\');
        if backslashes | self.escaped != 0 {
            quotes &= !self.escaped(backslashes, rest)?;
        }
        // From each opening quote up to its closing one, which is not included.
        let strings = prefix_xor(quotes) ^ self.in_string;
        self.in_string = 0_u64.wrapping_sub(strings >> 63);
        let outside = !strings & !quotes;

        let (mut openers, mut closers, mut braces) = (0, 0, 0);
        if block.maybe_brackets() & outside != 0 {
            openers = block.openers() & outside;
            closers = block.closers() & outside;
            braces = block.braces();
        }
        let (in_objects, end) = self.nest(openers, closers, braces, depth_max)?;
        // What stands behind the end of the outermost container is none of our business.
        let here = match end {
            Some(end) => u64::MAX >> (63 - end),
            None => u64::MAX,
        };
        let controls = block.controls();
        if (controls & strings | backslashes & outside) & here != 0 {
            return None;
        }
        let mut space = block.equal(b' ');
        if controls != 0 {
            space |= block.equal(b'\n') | block.equal(b'\r') | block.equal(b'\t');
        }
        let space = space & outside;

        let commas = block.equal(b',') & outside;
        let colons = block.equal(b':') & outside;
        let scalars = outside & !(openers | closers | commas | colons | space) & here;
        let was_in_scalar = self.in_scalar;
        let behind_scalars = shifted(scalars, &mut self.in_scalar);
        let scalar_starts = scalars & !behind_scalars;
        if scalars | was_in_scalar != 0 {
            self.scalars.read(&block, rest, scalars, scalar_starts)?;
        }
        let behind_scalars = behind_scalars & !scalars;

        let opening_quotes = quotes & strings;
        let value_starts = opening_quotes | scalar_starts | openers;
        let closing_braces = closers & braces;

        let after_brace = after(openers & braces, space, &mut self.after_brace);
        let after_bracket = after(openers & !braces, space, &mut self.after_bracket);
        let after_member_comma = after(commas & in_objects, space, &mut self.after_member_comma);
        let names = (after_brace | after_member_comma) & opening_quotes;
        let (ends, overflow) = strings.overflowing_add(names | self.in_name);
        self.in_name = u64::from(overflow);
        let name_ends = ends & !strings;
        let value_ends = quotes & !strings & !name_ends | closers;

        let after_name = after(name_ends, space, &mut self.after_name);
        let after_colon = after(colons | commas & !in_objects, space, &mut self.after_colon);
        let (sum, overflow) =
            space.overflowing_add(value_ends << 1 | self.after_value | behind_scalars);
        self.after_value = value_ends >> 63 | u64::from(overflow);
        let after_value = sum & !space;

        let wrong = after_brace & !(opening_quotes | closing_braces)
            | after_bracket & !(value_starts | closers & !braces)
            | after_member_comma & !opening_quotes
            | after_name & !colons
            | colons & !after_name
            | after_colon & !value_starts
            | after_value & !(commas | closers);
        if wrong & here != 0 {
            return None;
        }
        Some(end.map(|end| end as usize + 1))
    }

    /// The bytes that a backslash escapes, after checking each escape.
    #[cold]
    fn escaped(&mut self, backslashes: u64, rest: &[u8]) -> Option<u64> {
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

    /// Follows the nesting; returns the bytes that belong to objects, as far as a comma's meaning
    /// depends on it, and where the outermost container ends.
    #[inline(always)]
    fn nest(
        &mut self,
        openers: u64,
        closers: u64,
        braces: u64,
        depth_max: usize,
    ) -> Option<(u64, Option<u32>)> {
        let mut in_objects = 0_u64.wrapping_sub(self.nesting as u64 & 1);
        let mut mismatch = false;
        let mut left = openers | closers;
        while left != 0 {
            let at = left.trailing_zeros();
            let bit = left & left.wrapping_neg();
            left ^= bit;
            // No branch asks which bracket this is: nobody could predict the answer.
            let opens = openers & bit != 0;
            let brace = u128::from(braces & bit != 0);
            mismatch |= !opens & (self.nesting & 1 != brace);
            let (inner, outer) = (self.nesting << 1 | brace, self.nesting >> 1);
            self.nesting = if opens { inner } else { outer };
            self.depth = self.depth.wrapping_add(if opens { 1 } else { usize::MAX });
            if self.depth.wrapping_sub(1) >= depth_max {
                let complete = self.depth == 0 && !mismatch;
                return complete.then_some((in_objects, Some(at)));
            }
            let from_here = bit.wrapping_neg();
            let in_object = 0_u64.wrapping_sub(self.nesting as u64 & 1);
            in_objects = in_objects & !from_here | in_object & from_here;
        }
        if mismatch {
            return None;
        }
        Some((in_objects, None))
    }
}

/// Numbers and the three words, across blocks. Each field is 0 or 1 unless it says otherwise.
#[derive(Default)]
struct Scalars {
    after_minus: u64,
    after_zero: u64,
    in_integer: u64,
    after_point: u64,
    in_fraction: u64,
    after_exponent: u64,
    after_sign: u64,
    in_exponent: u64,
    /// Bytes of this block that belong to a word of the last one, and the byte behind it.
    word: u64,
    behind_word: u64,
}

impl Scalars {
    /// Checks the bytes of `scalars`, the block at the start of `rest`.
    #[inline(always)]
    fn read(&mut self, block: &Block, rest: &[u8], scalars: u64, starts: u64) -> Option<()> {
        let digits = block.digits() & scalars;
        let minuses = block.equal(b'-') & scalars;
        let mut words = self.word;
        let mut behind_words = self.behind_word;
        (self.word, self.behind_word) = (0, 0);
        let mut left = starts & !digits & !minuses;
        while left != 0 {
            let at = left.trailing_zeros();
            left &= left - 1;
            let word = match rest.get(at as usize..)? {
                [b't', b'r', b'u', b'e', ..] | [b'n', b'u', b'l', b'l', ..] => 0b1111_u128,
                [b'f', b'a', b'l', b's', b'e', ..] => 0b1_1111,
                _ => return None,
            } << at;
            // Adding the lowest bit carries through the word to the bit behind it.
            let behind = word.wrapping_add(1 << at);
            words |= word as u64;
            self.word |= (word >> 64) as u64;
            behind_words |= behind as u64;
            self.behind_word |= (behind >> 64) as u64;
        }
        let numbers = scalars & !words;
        let digits = digits & numbers;
        let points = block.equal(b'.') & numbers;
        let exponents = block.exponents() & numbers;
        let pluses = block.equal(b'+') & numbers;
        let zeros = block.equal(b'0') & digits;

        let after_minus = shifted(minuses & starts, &mut self.after_minus);
        let integers = starts & digits | after_minus;
        let behind_integers = run_end(digits, integers, &mut self.in_integer);
        let after_zero = shifted(zeros & integers, &mut self.after_zero);
        let after_point = shifted(points, &mut self.after_point);
        let behind_fractions = run_end(digits, after_point, &mut self.in_fraction);
        let after_exponent = shifted(exponents, &mut self.after_exponent);
        let signs = (pluses | minuses) & after_exponent;
        let after_sign = shifted(signs, &mut self.after_sign);
        let powers = after_exponent & !signs | after_sign;
        let behind_powers = run_end(digits, powers, &mut self.in_exponent);

        let wrong = behind_words & scalars
            | numbers & !(digits | points | exponents | signs | minuses & starts)
            | (after_minus | after_point | powers) & !digits
            | after_zero & digits
            | points & !behind_integers
            | exponents & !(behind_integers | behind_fractions)
            | behind_powers & numbers;
        (wrong == 0).then_some(())
    }
}

/// The bits behind those of `bits`.
#[inline(always)]
fn shifted(bits: u64, carry: &mut u64) -> u64 {
    let shifted = bits << 1 | *carry;
    *carry = bits >> 63;
    shifted
}

/// The bits behind those runs of `runs` that begin with a bit of `starts`.
#[inline(always)]
fn run_end(runs: u64, starts: u64, carry: &mut u64) -> u64 {
    let (sum, overflow) = runs.overflowing_add(starts | *carry);
    *carry = u64::from(overflow);
    sum & !runs
}

/// The first bits behind those of `bits` that are not in `space`.
#[inline(always)]
fn after(bits: u64, space: u64, carry: &mut u64) -> u64 {
    let (sum, overflow) = space.overflowing_add(bits << 1 | *carry);
    *carry = bits >> 63 | u64::from(overflow);
    sum & !space
}

/// Each bit becomes the parity of itself and all bits below it.
#[inline(always)]
fn prefix_xor(mut bits: u64) -> u64 {
    for distance in [1, 2, 4, 8, 16, 32] {
        bits ^= bits << distance;
    }
    bits
}

/// The bytes of a block, sixteen to a vector.
struct Block([m128i; 4]);

impl Block {
    #[inline(always)]
    fn new(bytes: &[u8; BLOCK]) -> Self {
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
    fn equal(&self, byte: u8) -> u64 {
        self.bits(|bytes| equal(bytes, byte))
    }

    /// `{` and `[`, which differ in one bit.
    #[inline(always)]
    fn openers(&self) -> u64 {
        self.bits(|bytes| equal(with_0x20(bytes), b'{'))
    }

    /// `}` and `]`.
    #[inline(always)]
    fn closers(&self) -> u64 {
        self.bits(|bytes| equal(with_0x20(bytes), b'}'))
    }

    /// Among brackets, the curly ones.
    #[inline(always)]
    fn braces(&self) -> u64 {
        self.bits(|bytes| shl_imm_u16_m128i::<2>(bytes))
    }

    /// `e` and `E`.
    #[inline(always)]
    fn exponents(&self) -> u64 {
        self.bits(|bytes| equal(with_0x20(bytes), b'e'))
    }

    /// Whether all bytes stand for themselves in a string.
    #[inline(always)]
    fn is_plain(&self) -> bool {
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
    fn maybe_brackets(&self) -> u64 {
        let first = set_splat_i8_m128i(0x7b);
        self.bits(|bytes| {
            let bytes = with_0x20(bytes);
            cmp_eq_mask_i8_m128i(max_u8_m128i(bytes, first), bytes)
        })
    }

    #[inline(always)]
    fn controls(&self) -> u64 {
        let last = set_splat_i8_m128i(0x1f);
        self.bits(|bytes| cmp_eq_mask_i8_m128i(min_u8_m128i(bytes, last), bytes))
    }

    #[inline(always)]
    fn digits(&self) -> u64 {
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
