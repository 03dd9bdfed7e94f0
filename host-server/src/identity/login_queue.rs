//! Who may have a password checked now: a bounded queue, and pauses after wrong passwords.
//!
//! A check is costly, so whoever floods the server with wrong passwords could keep others from
//! logging in. Three rules prevent it. The queue is bounded, and who does not fit is told to come
//! back. No address and no user has more than a part of it. And after some wrong passwords, an
//! address has to wait before it may try that user again, twice as long each time. The pause is for
//! the pair, not for the user: it must not be possible to lock somebody else out. Whoever tries one
//! name after the other has a bound for all of them.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::bucket::{Buckets, Rate};

/// Checks that run or wait, of all.
const TURNS_MAX: usize = 64;

/// Checks that run or wait, of one address.
const TURNS_OF_ADDRESS_MAX: usize = 16;

/// Checks that run or wait, of one user.
const TURNS_OF_USER_MAX: usize = 16;

/// Wrong passwords without a pause.
const FREE_FAILURES: u32 = 5;

/// The first pause; each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Wrong passwords are forgotten after this time without another.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(10 * 60);

/// Wrong passwords of one address, whatever the users, that bring no pause: some devices behind it may
/// have a wrong one, and all may try at once.
const ADDRESS_FAILURES: Rate = Rate {
    per_second: 0.2,
    burst: 100.0,
};

/// Pairs of address and user remembered; the oldest is forgotten for one more.
const REMEMBERED_MAX: usize = 10_000;

/// Why no check is made now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotNow {
    /// The queue, or the part of it that the address or user may have, is full.
    Busy,
    /// Too many wrong passwords.
    Paused {
        /// Time until the next try.
        left: Duration,
    },
}

/// The queue.
#[derive(Default)]
pub(super) struct LoginQueue(Mutex<State>);

struct State {
    turns: usize,
    of_address: HashMap<IpAddr, usize>,
    of_user: HashMap<String, usize>,
    failures: HashMap<(IpAddr, String), Failures>,
    failures_of_address: Buckets<IpAddr>,
}

impl Default for State {
    fn default() -> Self {
        Self {
            turns: 0,
            of_address: HashMap::new(),
            of_user: HashMap::new(),
            failures: HashMap::new(),
            failures_of_address: Buckets::new(ADDRESS_FAILURES),
        }
    }
}

struct Failures {
    count: u32,
    last: Instant,
}

impl Failures {
    fn pause(&self) -> Duration {
        match self.count.checked_sub(FREE_FAILURES) {
            None => Duration::ZERO,
            Some(doubled) => PAUSE_MIN
                .saturating_mul(2u32.saturating_pow(doubled))
                .min(PAUSE_MAX),
        }
    }
}

/// A place in the queue; gives itself back.
pub(super) struct Turn {
    queue: Arc<LoginQueue>,
    address: IpAddr,
    user: String,
}

impl LoginQueue {
    /// Takes a place for a check.
    pub(super) fn enter(
        self: &Arc<Self>,
        address: IpAddr,
        user: &str,
        now: Instant,
    ) -> Result<Turn, NotNow> {
        let mut state = self.lock();
        if let Some(failures) = state.failures.get(&(address, user.to_owned())) {
            let left = failures
                .pause()
                .saturating_sub(now.saturating_duration_since(failures.last));
            if !left.is_zero() {
                return Err(NotNow::Paused { left });
            }
        }
        let of_address = state.failures_of_address.look(&address, now);
        of_address.map_err(|left| NotNow::Paused { left })?;
        let of_address = state.of_address.get(&address).copied().unwrap_or_default();
        let of_user = state.of_user.get(user).copied().unwrap_or_default();
        if state.turns >= TURNS_MAX
            || of_address >= TURNS_OF_ADDRESS_MAX
            || of_user >= TURNS_OF_USER_MAX
        {
            return Err(NotNow::Busy);
        }
        state.turns += 1;
        state.of_address.insert(address, of_address + 1);
        state.of_user.insert(user.to_owned(), of_user + 1);
        Ok(Turn {
            queue: Arc::clone(self),
            address,
            user: user.to_owned(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// The password was wrong.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.queue.lock();
        // It entered while there was one; others may have been faster.
        let _ = state.failures_of_address.take(self.address, now);
        let pair = (self.address, self.user.clone());
        let forgotten = |it: &Failures| now.saturating_duration_since(it.last) >= FORGOTTEN_AFTER;
        if state.failures.len() >= REMEMBERED_MAX && !state.failures.contains_key(&pair) {
            state.failures.retain(|_, it| !forgotten(it));
            // So many come from many addresses only: the oldest makes room.
            if state.failures.len() >= REMEMBERED_MAX
                && let Some(oldest) = oldest(&state.failures)
            {
                state.failures.remove(&oldest);
            }
        }
        let failures = state.failures.entry(pair).or_insert(Failures {
            count: 0,
            last: now,
        });
        if forgotten(failures) {
            failures.count = 0;
        }
        failures.count = failures.count.saturating_add(1);
        failures.last = now;
    }

    /// The password was right.
    pub(super) fn succeeded(&self) {
        let mut state = self.queue.lock();
        state.failures.remove(&(self.address, self.user.clone()));
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut state = self.queue.lock();
        state.turns -= 1;
        give_back(&mut state.of_address, &self.address);
        give_back(&mut state.of_user, &self.user);
    }
}

fn oldest(failures: &HashMap<(IpAddr, String), Failures>) -> Option<(IpAddr, String)> {
    let oldest = failures.iter().min_by_key(|(_, it)| it.last);
    oldest.map(|(pair, _)| pair.clone())
}

fn give_back<K: Eq + Hash>(turns: &mut HashMap<K, usize>, of: &K) {
    if let Some(count) = turns.get_mut(of) {
        *count -= 1;
        if *count == 0 {
            turns.remove(of);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(last: u8) -> IpAddr {
        [127, 0, 0, last].into()
    }

    #[test]
    fn flood_of_one_address_or_user_leaves_room_for_others() {
        let queue = Arc::<LoginQueue>::default();
        let now = Instant::now();
        let enter = |address, user: &str| queue.enter(address, user, now);
        let mut turns = Vec::new();
        while let Ok(turn) = enter(address(1), &format!("user-{}", turns.len())) {
            turns.push(turn);
        }
        assert_eq!(turns.len(), TURNS_OF_ADDRESS_MAX);
        let mut of_user = Vec::new();
        while let Ok(turn) = enter(address(2 + of_user.len() as u8), "acme") {
            of_user.push(turn);
        }
        assert_eq!(of_user.len(), TURNS_OF_USER_MAX);
        assert!(enter(address(100), "other").is_ok());
        turns.clear();
        assert!(enter(address(1), "other").is_ok());
    }

    #[test]
    fn queue_is_bounded() {
        let queue = Arc::<LoginQueue>::default();
        let mut turns = Vec::new();
        loop {
            let number = turns.len();
            let entered = queue.enter(
                address(number as u8),
                &format!("user-{number}"),
                Instant::now(),
            );
            match entered {
                Ok(turn) => turns.push(turn),
                Err(not_now) => break assert_eq!(not_now, NotNow::Busy),
            }
        }
        assert_eq!(turns.len(), TURNS_MAX);
    }

    #[test]
    fn wrong_passwords_bring_growing_pauses_for_that_address_and_user_only() {
        let queue = Arc::<LoginQueue>::default();
        let (acme, other) = ("acme", "other");
        let mut now = Instant::now();
        let fail = |now| queue.enter(address(1), acme, now).unwrap().failed(now);
        for _ in 0..FREE_FAILURES {
            fail(now);
        }
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let left = Duration::from_secs(seconds);
            let entered = queue.enter(address(1), acme, now);
            assert_eq!(entered.err(), Some(NotNow::Paused { left }));
            assert!(queue.enter(address(1), other, now).is_ok());
            assert!(queue.enter(address(2), acme, now).is_ok());
            now += left;
            fail(now);
        }
        now += PAUSE_MAX;
        queue.enter(address(1), acme, now).unwrap().succeeded();
        assert!(queue.enter(address(1), acme, now).is_ok());
    }

    #[test]
    fn trying_one_name_after_the_other_brings_a_pause_for_that_address() {
        let queue = Arc::<LoginQueue>::default();
        let mut now = Instant::now();
        let try_names = |now| {
            let entered = (0..1000).map_while(|name| {
                let turn = queue.enter(address(1), &format!("user-{name}"), now);
                turn.ok().map(|turn| turn.failed(now))
            });
            entered.count()
        };
        assert_eq!(try_names(now), 100);
        now += Duration::from_secs(60);
        assert_eq!(try_names(now), 12);
        assert!(queue.enter(address(2), "user-1", now).is_ok());
    }
}
