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
    /// Bit `i` is the number `highest - i`.
    seen: u128,
}

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
        Self { highest, seen }
    }

    /// The highest number that came, 0 before the first.
    #[must_use]
    pub const fn highest(&self) -> u32 {
        self.highest
    }

    /// Bit `i` says whether the number `highest - i` came.
    #[must_use]
    pub const fn seen(&self) -> u128 {
        self.seen
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
            Some(below) if self.seen >> below & 1 == 1 => Novelty::Repeated,
            Some(_) => Novelty::New,
        }
    }

    /// Notes that a number came; a stale one changes nothing.
    pub fn insert(&mut self, number: u32) {
        if let Some(ahead) = number.checked_sub(self.highest) {
            self.seen = self.seen.checked_shl(ahead).unwrap_or(0) | 1;
            self.highest = number;
        } else if let Some(bit) = 1_u128.checked_shl(self.highest.saturating_sub(number)) {
            self.seen |= bit;
        }
    }

    /// Takes a number back, as if it had not come.
    pub fn remove(&mut self, number: u32) {
        let below = self.highest.checked_sub(number);
        if let Some(bit) = below.and_then(|below| 1_u128.checked_shl(below)) {
            self.seen &= !bit;
        }
    }
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
