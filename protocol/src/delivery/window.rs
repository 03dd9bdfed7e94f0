//! Which numbers have come: the memory that makes "at least once" into "once".

use crate::limits::DELIVERY_REMEMBERED;

/// The highest number that came, and which of the [`DELIVERY_REMEMBERED`] up to it did. It is 20
/// bytes, whatever comes.
///
/// | a number | is |
/// |---|---|
/// | above the highest | new, and the window moves up to it |
/// | within the window, not seen | new |
/// | within the window, seen | a repetition |
/// | below the window, or 0 | stale: no sender that keeps to [`DELIVERY_SPAN`](crate::limits::DELIVERY_SPAN) sends it |
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    highest: u32,
    /// A ring: bit `n % 32` of word `n / 32 % 4` is the number `n` of those up to the highest.
    seen: [u32; WORDS],
}

const WORDS: usize = (DELIVERY_REMEMBERED / u32::BITS) as usize;

/// What a window knows of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It has not come yet.
    New,
    /// It has come.
    Repeated,
    /// It is too old to know.
    Stale,
}

impl Window {
    /// A window in which `highest` and those below it have come as the bits of `seen` say: bit `i`
    /// is the number `highest - i`.
    #[must_use]
    pub const fn new(highest: u32, seen: u128) -> Self {
        // Bit `127 - i` belongs where the number `highest - i` has its place.
        let ring = seen.reverse_bits();
        let ring = ring.rotate_left(highest.wrapping_add(1) % DELIVERY_REMEMBERED);
        let seen = [
            ring as u32,
            (ring >> 32) as u32,
            (ring >> 64) as u32,
            (ring >> 96) as u32,
        ];
        Self { highest, seen }
    }

    /// The highest number that came, 0 before the first.
    #[must_use]
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Bit `i` says whether the number `highest - i` came.
    #[must_use]
    pub fn seen(&self) -> u128 {
        let words = self.seen.iter().rev();
        let ring = words.fold(0, |ring, &word| (ring << 32) | u128::from(word));
        let ring = ring.rotate_right(self.highest.wrapping_add(1) % DELIVERY_REMEMBERED);
        ring.reverse_bits()
    }

    /// What is known of a number.
    #[must_use]
    pub fn novelty(&self, number: u32) -> Novelty {
        if number == 0 {
            return Novelty::Stale;
        }
        match self.highest.checked_sub(number) {
            None => Novelty::New,
            Some(below) if below >= DELIVERY_REMEMBERED => Novelty::Stale,
            Some(_) if self.has(number) => Novelty::Repeated,
            Some(_) => Novelty::New,
        }
    }

    /// Notes that a number came; a stale one changes nothing.
    pub fn insert(&mut self, number: u32) {
        if number.saturating_sub(self.highest) >= DELIVERY_REMEMBERED {
            self.seen = [0; WORDS];
            self.highest = number;
        }
        while self.highest < number {
            self.highest += 1;
            self.set(self.highest, false);
        }
        self.set(number, true);
    }

    /// Takes a number back, as if it had not come.
    pub fn remove(&mut self, number: u32) {
        self.set(number, false);
    }

    fn has(&self, number: u32) -> bool {
        let word = self.seen.get(word_of(number)).copied().unwrap_or(0);
        word >> (number % u32::BITS) & 1 == 1
    }

    /// Changes nothing for a number outside of the window.
    fn set(&mut self, number: u32, seen: bool) {
        let below = self.highest.checked_sub(number);
        let bit = 1 << (number % u32::BITS);
        if below.is_some_and(|below| below < DELIVERY_REMEMBERED)
            && let Some(word) = self.seen.get_mut(word_of(number))
        {
            *word = if seen { *word | bit } else { *word & !bit };
        }
    }
}

const fn word_of(number: u32) -> usize {
    (number / u32::BITS) as usize % WORDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_number_is_new_once() {
        let mut window = Window::default();
        for number in [1, 2, 5, 3, 130, 4, 129, u32::MAX, u32::MAX - 127] {
            assert_eq!(window.novelty(number), Novelty::New, "{number}");
            window.insert(number);
            assert_eq!(window.novelty(number), Novelty::Repeated, "{number}");
        }
    }

    #[test]
    fn bits_count_down_from_the_highest_number() {
        for highest in [0, 1, 5, 127, 128, 1_000_003, u32::MAX] {
            let seen = 0x8000_0000_0000_0000_0000_0000_0000_0005;
            let window = Window::new(highest, seen);
            assert_eq!((window.highest(), window.seen()), (highest, seen));
        }
        let mut window = Window::new(1_000, 0b101);
        let novelties = [1_000, 999, 998].map(|number| window.novelty(number));
        assert_eq!(
            novelties,
            [Novelty::Repeated, Novelty::New, Novelty::Repeated]
        );
        window.insert(1_003);
        assert_eq!(window.seen(), 0b101_001);
        window.remove(1_000);
        assert_eq!(window.seen(), 0b100_001);
        window.insert(2_000);
        assert_eq!(window, Window::new(2_000, 1));
    }

    #[test]
    fn what_is_below_the_window_is_stale() {
        let mut window = Window::default();
        window.insert(1);
        window.insert(129);
        assert_eq!(window.novelty(1), Novelty::Stale);
        assert_eq!(window.novelty(2), Novelty::New);
        assert_eq!(window.novelty(0), Novelty::Stale);
        window.insert(1);
        assert_eq!(window.highest(), 129);
        assert_eq!(window.seen(), 1);
    }

    #[test]
    fn million_stale_numbers_change_nothing() {
        let mut window = Window::default();
        window.insert(2_000_000);
        let before = window;
        for number in 0..1_000_000 {
            assert_eq!(window.novelty(number), Novelty::Stale);
            window.insert(number);
        }
        assert_eq!(window, before);
    }
}
