//! The vehicle: the agent over a board's link, apps, clock and random numbers.

use core::future::Future;

use embassy_time::{Duration, Instant, Timer};
use vinbus_protocol::delivery::Epoch;
use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_transport_embedded::{Mqtt, OptionsError};
use vinbus_vehicle_agent::agent::{self, World};
use vinbus_vehicle_agent::apps::Apps;
use vinbus_vehicle_agent::clock::{Clock, Random};
use vinbus_vehicle_agent::desk::Desk;
use vinbus_vehicle_agent::embedded_link::{self, Dial, EmbeddedLink};
use vinbus_vehicle_agent::identity::Identity;
use vinbus_vehicle_agent::presence;
use vinbus_vehicle_agent::provisioned::{APPS_MAX, Provisioned};

/// Messages that may wait for the broker, if they are small.
pub const UPLINKS_MAX: usize = 64;

/// Messages with receipts that may be on their way to each partner. They leave one after the other, each when
/// the broker has the one before, so that a few cover the time of a round trip; each takes 48 bytes for each
/// partner.
pub const SENT_MAX: usize = 8;

/// What a board keeps messages in.
#[derive(Debug)]
pub struct Memory {
    /// One packet of MQTT that arrives.
    pub receive: &'static mut [u8],
    /// Packets that are sent, until the broker has them.
    pub send: &'static mut [u8],
    /// Messages that wait for the broker.
    pub uplinks: &'static mut [u8],
    /// Popups that wait for the screen.
    pub popups: &'static mut [u8],
    /// Messages that wait for each of the apps.
    pub pending: [&'static mut [u8]; APPS_MAX],
    /// A message with receipts that is put together, which is as long as the longest of them.
    #[cfg(feature = "delivery")]
    pub with_receipts: &'static mut [u8],
    /// Messages of apps that go with receipts, until partners have them.
    #[cfg(feature = "delivery")]
    pub uplinks_with_receipts: &'static mut [u8],
}

/// Serves the vehicle for ever, or until `stop` completes.
///
/// `unix_s` tells the time of day, in seconds since 1970, once it is known: no two lives of the vehicle may
/// begin in one second of it. `seed` has to be random.
///
/// # Errors
/// When the block does not fit into the memory.
pub async fn run<D: Dial, A: Apps>(
    provisioned: &Provisioned<'_>,
    memory: Memory,
    dial: D,
    apps: &mut A,
    unix_s: impl Fn() -> Option<u64>,
    seed: u32,
    stop: impl Future<Output = ()>,
) -> Result<(), OptionsError> {
    let identity = Identity::new(
        provisioned.vin,
        provisioned.scheme.clone(),
        provisioned.subtree,
    );
    let mut desk: Desk<_, _, APPS_MAX, UPLINKS_MAX, SENT_MAX> =
        Desk::new(identity, memory.popups, memory.uplinks, DropPolicy::Oldest);
    for ((app, uid), pending) in provisioned.apps.iter().zip(memory.pending) {
        if let Err(error) = desk.install(app.clone(), uid, pending) {
            // The other apps need not suffer for it.
            log::error!("app {app} is not installed: {error}");
        }
    }
    #[cfg(feature = "delivery")]
    desk.offer_receipts(
        epoch_without_clock(seed),
        seed,
        memory.with_receipts,
        memory.uplinks_with_receipts,
    );
    let mqtt = {
        // The session copies what it needs of these; nobody else has to keep them.
        let will = presence::will(desk.identity());
        let options = embedded_link::options(provisioned, will.as_ref());
        Mqtt::new(memory.receive, memory.send, &options)?
    };
    let world = World {
        link: &mut EmbeddedLink::new(mqtt, dial),
        apps,
        clock: &AgentClock { unix_s },
        random: &mut Jitter(seed),
    };
    agent::run(&mut desk, world, stop).await;
    Ok(())
}

/// The clock of embassy-time, as the agent sees it.
#[derive(Clone, Copy, Debug)]
pub struct BoardClock;

impl Clock for BoardClock {
    fn now_ms(&self) -> u64 {
        Instant::now().as_millis()
    }

    async fn sleep_until(&self, deadline_ms: u64) {
        Timer::at(Instant::MIN + Duration::from_millis(deadline_ms)).await;
    }

    fn epoch(&self) -> Option<Epoch> {
        None
    }
}

/// The same, beside the time of day.
struct AgentClock<T> {
    unix_s: T,
}

impl<T: Fn() -> Option<u64>> Clock for AgentClock<T> {
    fn now_ms(&self) -> u64 {
        BoardClock.now_ms()
    }

    async fn sleep_until(&self, deadline_ms: u64) {
        BoardClock.sleep_until(deadline_ms).await;
    }

    fn epoch(&self) -> Option<Epoch> {
        (self.unix_s)().and_then(Epoch::at)
    }
}

/// The epoch of a board that nobody tells the time: any low one. A host that has heard of a later life
/// says so, and the board leaps above it (SPEC 16.11).
#[cfg(feature = "delivery")]
fn epoch_without_clock(seed: u32) -> Epoch {
    Epoch::new(seed >> 16).unwrap_or(Epoch::FIRST)
}

/// Words for the jitter of reconnections, which differ between vehicles and are no secret (Numerical
/// Recipes' generator).
struct Jitter(u32);

impl Random for Jitter {
    fn next_u32(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0
    }
}
