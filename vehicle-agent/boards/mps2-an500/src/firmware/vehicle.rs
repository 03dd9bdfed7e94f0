//! The vehicle: the agent over the board's link, apps, clock and random numbers.

use core::future::pending;

use embassy_executor::Spawner;
use embassy_net::Stack;
use static_cell::ConstStaticCell;

use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_transport_embedded::{Credentials, Mqtt, Options, Will};
use vinbus_vehicle_agent::agent::{self, World};
use vinbus_vehicle_agent::clock::Random;
use vinbus_vehicle_agent::desk::Desk;
use vinbus_vehicle_agent::embedded_link::EmbeddedLink;
use vinbus_vehicle_agent::identity::Identity;
use vinbus_vehicle_agent::presence;
use vinbus_vehicle_agent::provisioned::Provisioned;

use super::broker::BoardDial;
use super::clock::BoardClock;
use super::host;
use super::portal::{self, BoardPortal, Reported};
use super::sizes::{
    APPS_MAX, PENDING_BYTES, POPUPS_BYTES, RECEIVE_BYTES, SEND_BYTES, UPLINKS_BYTES, UPLINKS_MAX,
};

static RECEIVE: ConstStaticCell<[u8; RECEIVE_BYTES]> = ConstStaticCell::new([0; RECEIVE_BYTES]);
static SEND: ConstStaticCell<[u8; SEND_BYTES]> = ConstStaticCell::new([0; SEND_BYTES]);
static UPLINKS: ConstStaticCell<[u8; UPLINKS_BYTES]> = ConstStaticCell::new([0; UPLINKS_BYTES]);
static POPUPS: ConstStaticCell<[u8; POPUPS_BYTES]> = ConstStaticCell::new([0; POPUPS_BYTES]);
static PENDING: ConstStaticCell<[[u8; PENDING_BYTES]; APPS_MAX]> =
    ConstStaticCell::new([[0; PENDING_BYTES]; APPS_MAX]);

/// The desk of this board.
type BoardDesk = Desk<&'static mut [u8], &'static mut [u8], APPS_MAX, UPLINKS_MAX>;

/// Starts the agent; it gives up when the block does not fit the image.
pub(crate) fn start(
    spawner: Spawner,
    stack: Stack<'static>,
    provisioned: &'static Provisioned<'static>,
) {
    let dial = match BoardDial::new(spawner, stack, provisioned) {
        Ok(dial) => dial,
        Err(error) => {
            host::log!("the provisioned credentials cannot be used: {error}");
            host::exit(false);
        }
    };
    let portal = portal::start(spawner, stack, provisioned);
    spawner.spawn(run(dial, portal, provisioned).expect("started once"));
}

#[embassy_executor::task]
async fn run(
    dial: BoardDial,
    portal: &'static BoardPortal,
    provisioned: &'static Provisioned<'static>,
) {
    let mut desk = desk(provisioned);
    let will = presence::will(desk.identity());
    let mut options = Options::new(provisioned.vin.as_str());
    options.will = will.as_ref().map(|(topic, payload)| Will {
        topic,
        payload: payload.as_bytes(),
    });
    options.credentials = provisioned.login.map(|login| Credentials {
        user_name: login.user_name,
        password: login.password,
    });
    let mqtt = match Mqtt::new(RECEIVE.take(), SEND.take(), &options) {
        Ok(mqtt) => mqtt,
        Err(error) => panic!("the provisioned block does not fit: {error}"),
    };
    let world = World {
        link: &mut EmbeddedLink::new(mqtt, dial),
        apps: &mut Reported(portal.apps::<UPLINKS_MAX>()),
        clock: &BoardClock,
        random: &mut Jitter::new(),
    };
    agent::run(&mut desk, world, pending()).await;
}

fn desk(provisioned: &Provisioned<'_>) -> BoardDesk {
    let identity = Identity::new(
        provisioned.vin,
        provisioned.scheme.clone(),
        provisioned.subtree,
    );
    let mut desk = Desk::new(
        identity,
        &mut POPUPS.take()[..],
        &mut UPLINKS.take()[..],
        DropPolicy::Oldest,
    );
    for ((app, uid), pending) in provisioned.apps.iter().zip(PENDING.take()) {
        if let Err(error) = desk.install(app.clone(), uid, pending) {
            // The other apps need not suffer for it.
            host::log!("app {app} is not installed: {error:?}");
        }
    }
    desk
}

/// Random words for the jitter of reconnections (xorshift); no secrets.
struct Jitter(u32);

impl Jitter {
    fn new() -> Self {
        Self(u32::from_le_bytes(host::random()) | 1)
    }
}

impl Random for Jitter {
    fn next_u32(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}
