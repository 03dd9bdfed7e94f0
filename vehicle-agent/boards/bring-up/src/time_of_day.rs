//! The time of day, from the network.
//!
//! Without it no certificate can be checked, and so there is no TLS.

use core::cell::Cell;
use core::net::SocketAddr;

use embassy_net::Stack;
use embassy_time::{Duration, Timer};
use vinbus_transport_embedded::dial;
use vinbus_transport_embedded::net::{Resolver, Udp};
use vinbus_transport_embedded::sntp::{self, NetworkTime};
use vinbus_transport_embedded::tls::rand_core::RngCore;

/// 2026-01-01: this firmware is younger, so it cannot be earlier.
const EARLIEST_UNIX_S: u64 = 1_767_225_600;

const ANSWER_LIMIT: Duration = Duration::from_secs(5);
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);

/// The oscillators of boards are wrong by minutes a day at worst.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// The time of day, once it is known.
#[derive(Debug, Default)]
pub struct TimeOfDay(Cell<Option<NetworkTime>>);

impl TimeOfDay {
    /// Not known yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Cell::new(None))
    }

    /// Seconds since 1970, if they are known.
    pub fn unix_s(&self) -> Option<u64> {
        self.0.get().map(|time| time.unix_s())
    }

    /// Asks `server`, a name or an address, until it answers, and again every few hours.
    pub async fn keep(
        &self,
        stack: Stack<'_>,
        mut socket: Udp<'_>,
        server: &str,
        mut random: impl RngCore,
    ) -> ! {
        let dns = Resolver::new(stack);
        loop {
            stack.wait_config_up().await;
            let address = match dial::resolve(&dns, server, RESOLVE_LIMIT).await {
                Ok(address) => [SocketAddr::new(address, sntp::PORT)],
                Err(error) => {
                    log::warn!("time server {server}: {error}; {}", error.advice());
                    Timer::after(TRY_AGAIN).await;
                    continue;
                }
            };
            let asked = sntp::ask(
                &mut socket,
                &address,
                EARLIEST_UNIX_S,
                || random.next_u64(),
                ANSWER_LIMIT,
            );
            match asked.await {
                Ok(time) => {
                    log::info!(
                        "the time is {} s since 1970, as {server} says",
                        time.unix_s()
                    );
                    self.0.set(Some(time));
                    Timer::after(ASK_AGAIN).await;
                }
                Err(error) => {
                    log::warn!("time server {server}: {error}");
                    Timer::after(TRY_AGAIN).await;
                }
            }
        }
    }
}
