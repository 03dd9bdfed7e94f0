//! The watchdog: resets the board when nothing runs any more, or when everything but the agent does.
//!
//! The chip's watchdog has a clock of its own and bites after [`PERIOD`] without food. A task feeds
//! it, which proves that tasks run; and, once the agent runs, only as long as its loop has come by
//! within [`AGENT_SILENCE_MAX`]. The loop comes by every second, whatever the broker does: wherever it
//! waits, a message that is being written included, it looks after its heartbeat too. A board whose
//! block cannot be used has no agent: it has said so, and waits.

use embassy_executor::Spawner;
use embassy_stm32::wdg::IndependentWatchdog;
use embassy_stm32::{Peri, pac, peripherals};
use embassy_time::{Duration, Timer};
use vinbus_board_bring_up::heartbeat::Heartbeat;

const PERIOD: Duration = Duration::from_secs(20);
const AGENT_SILENCE_MAX: Duration = Duration::from_secs(120);
const FEED_EVERY: Duration = Duration::from_secs(1);

type Watchdog = IndependentWatchdog<'static, peripherals::IWDG1>;

/// The agent's.
pub(crate) static HEARTBEAT: Heartbeat = Heartbeat::new();

/// Starts the watchdog, which nothing can stop from here on, and the task that feeds it.
pub(crate) fn start(spawner: Spawner, peripheral: Peri<'static, peripherals::IWDG1>) {
    // It waits while a debugger holds the processor.
    pac::DBGMCU.apb4fzr1().modify(|w| w.set_iwdg1(true));
    let mut watchdog = Watchdog::new(peripheral, PERIOD.as_micros() as u32);
    watchdog.unleash();
    spawner.spawn(feed(watchdog).expect("started once"));
}

#[embassy_executor::task]
async fn feed(mut watchdog: Watchdog) {
    while HEARTBEAT.silence().unwrap_or_default() < AGENT_SILENCE_MAX {
        watchdog.pet();
        Timer::after(FEED_EVERY).await;
    }
    log::error!("the agent has been stuck for {AGENT_SILENCE_MAX}: the watchdog will end this run");
}
