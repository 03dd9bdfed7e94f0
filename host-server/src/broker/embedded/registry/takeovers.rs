//! Vehicles that connect while they are connected: once when a link was lost without a word, again and again
//! when two agents have the same VIN.

use std::time::Duration;

use tokio::time::Instant;

/// What happens within this time is counted together.
const WINDOW: Duration = Duration::from_secs(60);

/// So many within that time: an agent takes longer to notice as often that its link is lost.
const MANY: u32 = 3;

/// How long nothing more is told of a vehicle that was told to do so many times.
const QUIET_TIME: Duration = Duration::from_secs(10 * 60);

/// Counts them for one vehicle.
#[derive(Debug, Default)]
pub(super) struct Takeovers {
    began: Option<Instant>,
    count: u32,
    quiet_until: Option<Instant>,
}

/// What to tell of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It is the first for a while.
    First,
    /// There were so many in a short time.
    Many,
}

impl Takeovers {
    /// Counts one more; what to tell of it, if anything.
    pub(super) fn note(&mut self, now: Instant) -> Option<Told> {
        if self.began.is_none_or(|began| now - began >= WINDOW) {
            self.began = Some(now);
            self.count = 0;
        }
        self.count = self.count.saturating_add(1);
        if self.quiet_until.is_some_and(|until| now < until) {
            return None;
        }
        match self.count {
            1 => Some(Told::First),
            MANY => {
                self.quiet_until = Some(now + QUIET_TIME);
                Some(Told::Many)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vehicle_that_lost_its_link_is_told_as_such_each_time() {
        let (mut takeovers, mut now) = (Takeovers::default(), Instant::now());
        for _ in 0..10 {
            assert_eq!(takeovers.note(now), Some(Told::First));
            assert_eq!(takeovers.note(now), None);
            now += WINDOW;
        }
    }

    #[test]
    fn two_agents_with_one_vin_are_told_once_in_ten_minutes() {
        let (mut takeovers, begin) = (Takeovers::default(), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let told: Vec<_> = (0..=1300)
            .step_by(5)
            .filter_map(|second| Some((second, takeovers.note(at(second))?)))
            .collect();
        let expected = [
            (0, Told::First),
            (10, Told::Many),
            (610, Told::Many),
            (1210, Told::Many),
        ];
        assert_eq!(told, expected);
    }
}
