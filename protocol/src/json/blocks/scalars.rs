//! The rules of numbers, `true`, `false` and `null`, for all of a block's at once.

use super::planes::Planes;

/// Numbers and the three words, across blocks. Each field is 0 or 1 unless it says otherwise.
#[derive(Default)]
pub(super) struct Scalars {
    /// The last byte belonged to a number or a word.
    inside: u64,
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

/// The bounds of a block's numbers and words.
pub(super) struct Bounds {
    pub(super) starts: u64,
    pub(super) behind: u64,
}

impl Scalars {
    /// Checks the bytes of `scalars` in the block that `rest` begins with.
    #[inline(always)]
    pub(super) fn read(&mut self, planes: &Planes, rest: &[u8], scalars: u64) -> Option<Bounds> {
        let was_inside = self.inside;
        let behind = shifted(scalars, &mut self.inside);
        let starts = scalars & !behind;
        let behind = behind & !scalars;
        if scalars | was_inside != 0 {
            self.check(planes, rest, scalars, starts)?;
        }
        Some(Bounds { starts, behind })
    }

    #[inline(always)]
    fn check(&mut self, planes: &Planes, rest: &[u8], scalars: u64, starts: u64) -> Option<()> {
        let digits = planes.digits() & scalars;
        let minuses = planes.equal(b'-') & scalars;
        let (words, behind_words) = self.words(starts & !digits & !minuses, rest)?;
        let numbers = scalars & !words;
        let digits = digits & numbers;
        let points = planes.equal(b'.') & numbers;
        let exponents = planes.exponents() & numbers;
        let pluses = planes.equal(b'+') & numbers;
        let zeros = planes.equal(b'0') & digits;

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

    /// The bytes of `true`, `false` and `null`, one of which begins at each of `starts`, and the
    /// bytes behind them.
    #[inline(always)]
    fn words(&mut self, starts: u64, rest: &[u8]) -> Option<(u64, u64)> {
        let (mut words, mut behind_words) = (self.word, self.behind_word);
        (self.word, self.behind_word) = (0, 0);
        let mut left = starts;
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
        Some((words, behind_words))
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
