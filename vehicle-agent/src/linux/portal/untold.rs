//! What an app has not been told of its messages that went with receipts: bounded, and what gives way is
//! counted.

use std::collections::VecDeque;

/// Fates that are kept for an app that is away: no more than its socket takes at once.
const UNTOLD_MAX: usize = 64;

/// Fates of messages, oldest first, each as a frame or as where one stands.
#[derive(Debug)]
pub(crate) struct Untold<T> {
    fates: VecDeque<Untelling<T>>,
    forgotten: u64,
}

#[derive(Debug)]
struct Untelling<T> {
    ticket: u64,
    is_good: bool,
    frame: T,
}

impl<T> Untold<T> {
    /// Takes the fate of the message with this ticket. Where there are as many as may be, the oldest good one
    /// gives way, or else the oldest.
    pub(crate) fn push(&mut self, ticket: u64, is_good: bool, frame: T) {
        if self.fates.len() >= UNTOLD_MAX {
            let good = self.fates.iter().position(|fate| fate.is_good);
            self.fates.remove(good.unwrap_or_default());
            self.forgotten += 1;
        }
        self.fates.push_back(Untelling {
            ticket,
            is_good,
            frame,
        });
    }

    /// So many more have given way.
    pub(crate) fn forget(&mut self, fates: u64) {
        self.forgotten = self.forgotten.saturating_add(fates);
    }

    /// How many have given way.
    pub(crate) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// The newest one, if it is of this message.
    pub(crate) fn newest(&self, ticket: u64) -> Option<&T> {
        let newest = self.fates.back().filter(|fate| fate.ticket == ticket);
        newest.map(|fate| &fate.frame)
    }

    /// Tickets and frames.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.fates.iter().map(|fate| (fate.ticket, &fate.frame))
    }

    /// The frames, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.fates.iter_mut().map(|fate| &mut fate.frame)
    }

    /// Takes all.
    pub(crate) fn take(&mut self) -> Self {
        std::mem::take(self)
    }
}

impl<T> Default for Untold<T> {
    fn default() -> Self {
        Self {
            fates: VecDeque::new(),
            forgotten: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_fates_give_way_first_and_are_counted() {
        let mut untold = Untold::default();
        let max = UNTOLD_MAX as u64;
        for ticket in 0..max {
            untold.push(ticket, ticket > 0, ticket);
        }
        for ticket in max..max + 10 {
            untold.push(ticket, false, ticket);
        }
        let left: Vec<u64> = untold.iter().map(|(ticket, _)| ticket).collect();
        let expected: Vec<u64> = std::iter::once(0).chain(11..max + 10).collect();
        assert_eq!((left, untold.forgotten()), (expected, 10));
        assert_eq!(untold.newest(max + 9), Some(&(max + 9)));
        assert_eq!(untold.newest(0), None);
        for ticket in 2 * max..4 * max {
            untold.push(ticket, false, ticket);
        }
        assert_eq!(untold.take().iter().next(), Some((3 * max, &(3 * max))));
        assert_eq!(untold.forgotten(), 0);
    }
}
