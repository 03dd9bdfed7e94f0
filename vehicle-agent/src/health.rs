//! When the agent reports its health, and to whom (SPEC 6.6).
//!
//! Reports go out in rounds: one to every partner. Whether a round is due is looked at once in
//! [`HEALTH_INTERVAL_MS`], so that neither a flood of bad messages nor a link that comes and goes
//! makes more of them.

use vinbus_protocol::health::Troubles;
use vinbus_protocol::limits::HEALTH_INTERVAL_MS;

/// The rounds of reports, over all sessions.
#[derive(Debug)]
pub(crate) struct Rounds {
    /// Partners that have the report of the last round; before the first round, all there could be.
    told: usize,
    /// A session came up since the last round began.
    came_up: bool,
    /// The troubles that the last round told of.
    troubles: Troubles,
    look_at_ms: u64,
}

impl Rounds {
    pub(crate) fn new() -> Self {
        Self {
            told: usize::MAX,
            came_up: false,
            troubles: Troubles::default(),
            look_at_ms: 0,
        }
    }

    /// Notes that a session came up.
    pub(crate) fn session_came_up(&mut self) {
        self.came_up = true;
    }

    /// The partner that is to be told next, by its place among the partners; one that does not exist
    /// when all know.
    pub(crate) fn next(&mut self, now_ms: u64, troubles: impl FnOnce() -> Troubles) -> usize {
        if now_ms >= self.look_at_ms {
            self.look_at_ms = now_ms + HEALTH_INTERVAL_MS;
            let troubles = troubles();
            if core::mem::take(&mut self.came_up) || troubles != self.troubles {
                self.troubles = troubles;
                self.told = 0;
            }
        }
        self.told
    }

    /// The partner that [`Rounds::next`] named knows.
    pub(crate) fn told(&mut self) {
        self.told += 1;
    }

    /// When [`Rounds::next`] looks again whether a round is due.
    pub(crate) fn look_at_ms(&self) -> u64 {
        self.look_at_ms
    }
}

/// A count as reports have it.
pub(crate) fn at_most(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn evicted(evicted: u32) -> impl FnOnce() -> Troubles {
        move || Troubles {
            evicted,
            ..Troubles::default()
        }
    }

    #[test]
    fn round_is_due_after_a_session_came_up_or_troubles_changed_and_once_in_an_interval() {
        let mut rounds = Rounds::new();
        let mut round = |now_ms, up, count| {
            if up {
                rounds.session_came_up();
            }
            let begins = rounds.next(now_ms, evicted(count)) == 0;
            if begins {
                rounds.told();
            }
            begins
        };
        let minute = HEALTH_INTERVAL_MS;
        assert!(round(5, true, 0), "the first session");
        assert!(!round(6, true, 9), "too soon");
        assert!(round(5 + minute, false, 9), "it came up again");
        assert!(!round(5 + 2 * minute, false, 9), "nothing is new");
        assert!(!round(6 + 2 * minute, false, 10), "too soon");
        assert!(round(5 + 3 * minute, false, 10), "more troubles");
        assert!(!round(5 + 9 * minute, false, 10), "nothing is new");
    }

    #[test]
    fn round_goes_on_with_the_partners_that_do_not_know_yet() {
        let mut rounds = Rounds::new();
        rounds.session_came_up();
        assert_eq!(rounds.next(0, evicted(0)), 0);
        rounds.told();
        assert_eq!(rounds.next(1, evicted(0)), 1);
        assert_eq!(rounds.next(2 * HEALTH_INTERVAL_MS, evicted(0)), 1);
        assert_eq!(rounds.next(4 * HEALTH_INTERVAL_MS, evicted(1)), 0, "anew");
    }
}
