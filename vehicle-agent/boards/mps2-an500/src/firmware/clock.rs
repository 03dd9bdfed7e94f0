//! The time since the start, and the alarm of embassy-time, over two CMSDK timers of 25 MHz.
//!
//! Timer 0 counts down for ever and interrupts when it wraps, every 171 s. Timer 1 counts down to
//! the next deadline.
//!
//! So that a test need not wait ten minutes for what takes ten minutes, the time can go faster than
//! QEMU's: `-device loader,addr=0x60000000,data=5,data-len=4` makes it go five times as fast.

use core::cell::RefCell;
use core::task::Waker;

use critical_section::{CriticalSection, Mutex};
use embassy_time_driver::{Driver, TICK_HZ, time_driver_impl};
use embassy_time_queue_utils::Queue;

use super::interrupts::{Line, unmask};
use super::mmio::{Device, SPEED, TIMER0, TIMER1};

/// The registers of a CMSDK timer, by their offsets.
const CTRL: usize = 0x0;
const VALUE: usize = 0x4;
const RELOAD: usize = 0x8;
/// Reads as the status; a one clears it.
const INTERRUPT: usize = 0xC;

const ENABLE: u32 = 1 << 0;
const ENABLE_INTERRUPT: u32 = 1 << 3;

const CYCLES_PER_TICK: u64 = 25;
const _: () = assert!(TICK_HZ * CYCLES_PER_TICK == 25_000_000);

struct BoardTime {
    state: Mutex<RefCell<State>>,
}

struct State {
    wraps: u32,
    queue: Queue,
}

time_driver_impl!(static DRIVER: BoardTime = BoardTime {
    state: Mutex::new(RefCell::new(State { wraps: 0, queue: Queue::new() })),
});

/// Starts the time. To be called once, before anything asks for it.
pub(crate) fn start() {
    count_down(&TIMER0, u32::MAX);
    unmask(Line::Timer0);
    unmask(Line::Timer1);
}

/// Timer 0 has wrapped.
pub(crate) fn handle_wrap() {
    DRIVER.with_state(|state| {
        state.now();
    });
}

/// Timer 1 has reached the next deadline.
pub(crate) fn handle_alarm() {
    TIMER1.write(CTRL, 0);
    TIMER1.write(INTERRUPT, 1);
    DRIVER.with_state(State::wake_due);
}

impl BoardTime {
    fn with_state<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        critical_section::with(|cs: CriticalSection<'_>| f(&mut self.state.borrow_ref_mut(cs)))
    }
}

impl Driver for BoardTime {
    fn now(&self) -> u64 {
        self.with_state(State::now)
    }

    fn schedule_wake(&self, at: u64, waker: &Waker) {
        self.with_state(|state| {
            if state.queue.schedule_wake(at, waker) {
                state.wake_due();
            }
        });
    }
}

impl State {
    fn now(&mut self) -> u64 {
        let mut value = TIMER0.read(VALUE);
        if TIMER0.read(INTERRUPT) != 0 {
            TIMER0.write(INTERRUPT, 1);
            self.wraps += 1;
            value = TIMER0.read(VALUE);
        }
        let cycles = u64::from(self.wraps) << 32 | u64::from(u32::MAX - value);
        cycles * speed() / CYCLES_PER_TICK
    }

    /// Wakes the tasks whose deadline has passed and sets the alarm for the next one.
    fn wake_due(&mut self) {
        loop {
            let now = self.now();
            let next = self.queue.next_expiration(now);
            if next == u64::MAX {
                return TIMER1.write(CTRL, 0);
            }
            if next > now {
                // What is further away than the timer can count is looked at again on the way.
                let cycles = (next - now)
                    .saturating_mul(CYCLES_PER_TICK)
                    .div_ceil(speed());
                return count_down(&TIMER1, u32::try_from(cycles).unwrap_or(u32::MAX));
            }
        }
    }
}

/// How many times as fast as QEMU's the time goes.
fn speed() -> u64 {
    u64::from(SPEED.read(0).max(1))
}

fn count_down(timer: &Device, cycles: u32) {
    timer.write(CTRL, 0);
    timer.write(INTERRUPT, 1);
    timer.write(RELOAD, cycles);
    timer.write(VALUE, cycles);
    timer.write(CTRL, ENABLE | ENABLE_INTERRUPT);
}
