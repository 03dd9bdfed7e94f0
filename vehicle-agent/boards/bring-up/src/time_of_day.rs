//! The time of day, which TLS needs to judge certificates: from a time server if the block names one,
//! else from the board's own clock, if it has one.

use core::cell::Cell;
use core::fmt;
use core::net::SocketAddr;

use embassy_executor::Spawner;
use embassy_net::Stack;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use embassy_time::{Duration, Timer, with_timeout};
use rand_core::RngCore as _;
use static_cell::{ConstStaticCell, StaticCell};
use vinbus_transport_embedded::dial;
use vinbus_transport_embedded::net::{Resolver, Udp, UdpBuffers};
use vinbus_transport_embedded::sntp::{self, NetworkTime};
use vinbus_vehicle_agent::provisioned::TimeServer;

use crate::random::Random;

/// 1 November 2026: no certificate is checked against an earlier time.
const EARLIEST_UNIX_S: u64 = 1_793_491_200;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
/// The shortest pause between two questions to a server (RFC 4330, section 10). It doubles with each
/// question that gets no good answer, this many times at most.
const PAUSE_MIN: Duration = Duration::from_secs(15);
const DOUBLINGS_MAX: u32 = 4;
const REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The time of day, once it is known.
pub struct TimeOfDay {
    source: Cell<Source>,
    doubted: Signal<NoopRawMutex, ()>,
}

#[derive(Clone, Copy)]
enum Source {
    Board(fn() -> u64),
    Network(Option<NetworkTime>),
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TimeOfDay").field(&self.unix_s()).finish()
    }
}

impl TimeOfDay {
    /// Seconds since 1970; `None` as long as nobody has told.
    pub fn unix_s(&self) -> Option<u64> {
        match self.source.get() {
            Source::Board(clock) => Some(clock()),
            Source::Network(time) => time.map(|time| time.unix_s()),
        }
    }

    /// Has the time server asked again soon: a certificate was refused for its dates, and the time may
    /// be wrong rather than the certificate.
    pub fn doubt(&self) {
        self.doubted.signal(());
    }
}

/// Starts the task that asks `server` now and then. Without one the time is
/// that of `board`, a clock of the board's own that tells seconds since 1970. `seed` has to be
/// random. Who does without TLS needs no time, and must not be told that there is none.
///
/// # Panics
/// If it is called twice.
pub(crate) fn start(
    spawner: Spawner,
    stack: Stack<'static>,
    server: Option<TimeServer<'static>>,
    board: Option<fn() -> u64>,
    seed: [u8; 32],
) -> &'static TimeOfDay {
    static TIME: StaticCell<TimeOfDay> = StaticCell::new();
    let source = match (server, board) {
        (None, Some(clock)) => Source::Board(clock),
        (None, None) => {
            log::error!("no TLS: the board has no clock, and its block names no time server");
            Source::Network(None)
        }
        (Some(_), _) => Source::Network(None),
    };
    let time = &*TIME.init(TimeOfDay {
        source: Cell::new(source),
        doubted: Signal::new(),
    });
    if let Some(server) = server {
        spawner.spawn(keep(time, stack, server, seed).expect("started once"));
    }
    time
}

#[embassy_executor::task]
async fn keep(
    time: &'static TimeOfDay,
    stack: Stack<'static>,
    server: TimeServer<'static>,
    seed: [u8; 32],
) {
    let mut random = Random::from_seed(seed);
    static BUFFERS: ConstStaticCell<UdpBuffers> = ConstStaticCell::new(UdpBuffers::new());
    let dns = Resolver::new(stack);
    let mut socket = match Udp::new(stack, BUFFERS.take()) {
        Ok(socket) => socket,
        Err(error) => return log::error!("no socket for the time server: {error}"),
    };
    let mut in_vain = 0_u32;
    loop {
        stack.wait_config_up().await;
        match dial::resolve(&dns, server.host, ANSWER_LIMIT).await {
            Ok(address) => {
                let server = SocketAddr::new(address, server.port);
                if let Some(told) = ask(&mut socket, server, &mut random).await {
                    time.source.set(Source::Network(Some(told)));
                    time.doubted.reset();
                    in_vain = 0;
                    let _doubted = with_timeout(REFRESH, time.doubted.wait()).await;
                } else {
                    in_vain = in_vain.saturating_add(1);
                }
            }
            Err(error) => {
                log::warn!("no time of {}: {error}; {}", server.host, error.advice());
            }
        }
        Timer::after(pause_after(in_vain)).await;
    }
}

/// How long not to ask, after so many questions in a row that got no good answer.
fn pause_after(in_vain: u32) -> Duration {
    PAUSE_MIN * (1 << in_vain.saturating_sub(1).min(DOUBLINGS_MAX))
}

async fn ask(socket: &mut Udp<'_>, server: SocketAddr, random: &mut Random) -> Option<NetworkTime> {
    let random = || random.next_u64();
    match sntp::ask(socket, &[server], EARLIEST_UNIX_S, random, ANSWER_LIMIT).await {
        Ok(time) => {
            log::info!("the time is {} s since 1970", time.unix_s());
            Some(time)
        }
        Err(error) => {
            log::warn!("no time: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_that_gives_no_good_answer_is_asked_less_and_less_often() {
        let pauses = [0, 1, 2, 3, 4, 5, 6, u32::MAX].map(|in_vain| pause_after(in_vain).as_secs());
        assert_eq!(pauses, [15, 15, 30, 60, 120, 240, 240, 240]);
    }
}
