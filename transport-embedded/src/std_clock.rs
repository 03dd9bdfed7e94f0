//! The clock of embassy-time on Linux, for any number of tasks.
//!
//! The one that embassy-time brings has room for 128 tasks at most and searches them one by one.

use core::task::Waker;
use std::collections::{BTreeSet, HashMap};
use std::sync::{Condvar, LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use embassy_time_driver::{Driver, TICK_HZ, time_driver_impl};

struct StdClock;

time_driver_impl!(static DRIVER: StdClock = StdClock);

/// When time began.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

static ALARMS: LazyLock<Alarms> = LazyLock::new(|| {
    // Without the thread no deadline would ever pass; there is nobody to tell but the program.
    thread::Builder::new()
        .name("clock".into())
        .spawn(|| ALARMS.ring())
        .expect("the system has no thread left for the clock");
    Alarms::default()
});

impl Driver for StdClock {
    fn now(&self) -> u64 {
        ticks(START.elapsed())
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        ALARMS.set(at, waker);
    }
}

fn ticks(time: Duration) -> u64 {
    let fraction = u64::from(time.subsec_nanos()) * TICK_HZ / 1_000_000_000;
    time.as_secs() * TICK_HZ + fraction
}

/// Longest sleep of the clock, in seconds: what is further away may be never.
const NAP_MAX: u64 = 3600;

/// Tells tasks apart: all wakers of a task have the same data.
type Task = (usize, usize);

fn task(waker: &Waker) -> Task {
    (
        waker.data().addr(),
        core::ptr::from_ref(waker.vtable()).addr(),
    )
}

/// The tasks that wait, each for its earliest deadline. A task that is woken sets the others anew.
#[derive(Default)]
struct Alarms {
    state: Mutex<State>,
    earlier: Condvar,
}

#[derive(Default)]
struct State {
    wakers: HashMap<Task, (u64, Waker)>,
    order: BTreeSet<(u64, Task)>,
}

impl Alarms {
    fn set(&self, at: u64, waker: &Waker) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let task = task(waker);
        let first = state.order.first().copied();
        match state.wakers.get_mut(&task) {
            Some((set, _)) if *set <= at => return,
            Some((set, _)) => {
                let later = core::mem::replace(set, at);
                state.order.remove(&(later, task));
            }
            None => {
                state.wakers.insert(task, (at, waker.clone()));
            }
        }
        state.order.insert((at, task));
        if first.is_none_or(|(first, _)| at < first) {
            self.earlier.notify_one();
        }
    }

    fn ring(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let now = DRIVER.now();
            let mut due = std::vec::Vec::new();
            while let Some(&(at, task)) = state.order.first()
                && at <= now
            {
                state.order.pop_first();
                due.extend(state.wakers.remove(&task));
            }
            if !due.is_empty() {
                // A waker may drop its task, whose timers may come back here.
                drop(state);
                for (_, waker) in due {
                    waker.wake();
                }
                state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state = match state.order.first() {
                None => self
                    .earlier
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(&(at, _)) => {
                    let ticks = (at - now).min(NAP_MAX * TICK_HZ);
                    let left = Duration::from_micros(ticks * 1_000_000 / TICK_HZ + 1);
                    self.earlier
                        .wait_timeout(state, left)
                        .unwrap_or_else(PoisonError::into_inner)
                        .0
                }
            };
        }
    }
}
