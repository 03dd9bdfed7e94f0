//! What befalls the programs, at moments that a seed decides: something on the side of the server, or
//! one vehicle, or both at once.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::sleep;

use crate::vehicle::Vehicle;
use crate::world::World;

/// What can happen on the side of the server.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum ServerFault {
    Killed,
    DiskFull,
    ClockSetBack,
    BrokerRestarted,
    CutFromBroker,
    FleetCut,
}

impl ServerFault {
    const ALL: &[Self] = &[
        Self::Killed,
        Self::DiskFull,
        Self::ClockSetBack,
        Self::BrokerRestarted,
        Self::CutFromBroker,
        Self::FleetCut,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Killed => "the server is killed",
            Self::DiskFull => "the server's disk is full",
            Self::ClockSetBack => "the server's clock is set back",
            Self::BrokerRestarted => "the broker is restarted",
            Self::CutFromBroker => "the server's connection to the broker is cut",
            Self::FleetCut => "the whole fleet is cut off, and a message is sent to all of it",
        }
    }

    fn can_befall(self, world: &World) -> bool {
        match self {
            Self::Killed | Self::DiskFull | Self::ClockSetBack => true,
            Self::BrokerRestarted | Self::CutFromBroker => world.broker.is_apart(),
            Self::FleetCut => world.fleet.is_some(),
        }
    }
}

/// What can happen to a vehicle.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum VehicleFault {
    Killed,
    Reset,
    Cut,
    Unplugged,
    Losses,
    ClockSetBack,
    DiskFull,
    AppAway,
}

impl VehicleFault {
    const ALL: &[Self] = &[
        Self::Killed,
        Self::Reset,
        Self::Cut,
        Self::Unplugged,
        Self::Losses,
        Self::ClockSetBack,
        Self::DiskFull,
        Self::AppAway,
    ];

    const fn name(self, is_board: bool) -> &'static str {
        match (self, is_board) {
            (Self::Killed, false) => "an agent is killed",
            (Self::Killed, true) => "a board loses its power",
            (Self::Reset, _) => "a board is reset",
            (Self::Cut, false) => "an agent's connection is cut",
            (Self::Cut, true) => "a board's connection is cut",
            (Self::Unplugged, false) => "an agent has no way to the broker",
            (Self::Unplugged, true) => "a board's network cable is pulled",
            (Self::Losses, false) => "an agent's cable loses one message in five",
            (Self::Losses, true) => "a board's cable loses one message in five",
            (Self::ClockSetBack, false) => "an agent's clock is set back",
            (Self::ClockSetBack, true) => "a board's clock is set back",
            (Self::DiskFull, _) => "an agent's disk is full",
            (Self::AppAway, _) => "an app is away",
        }
    }

    fn can_befall(self, vehicle: &Vehicle) -> bool {
        match self {
            Self::Killed | Self::Cut | Self::Unplugged | Self::ClockSetBack | Self::AppAway => true,
            Self::Reset => vehicle.is_board(),
            Self::DiskFull => !vehicle.is_board(),
            Self::Losses => vehicle.can_lose,
        }
    }

    async fn befall(self, vehicle: &mut Vehicle, time: Duration, back_s: i64) {
        match self {
            Self::Killed => vehicle.kill(time).await,
            Self::Reset => vehicle.reset().await,
            Self::Cut => vehicle.cable.cut(),
            Self::Unplugged => vehicle.unplug(time).await,
            Self::Losses => vehicle.cable.lose(2 * time),
            Self::ClockSetBack => vehicle.set_clock_back(back_s),
            Self::DiskFull => vehicle.fill_disk(time).await,
            Self::AppAway => {
                vehicle.set_app(false);
                sleep(time).await;
                vehicle.set_app(true);
            }
        }
    }
}

/// How often each has happened.
#[derive(Default)]
pub(crate) struct Faults {
    /// The state of a SplitMix64.
    random: u64,
    count: BTreeMap<&'static str, usize>,
}

impl Faults {
    pub(crate) fn new(seed: u64) -> Self {
        let (random, count) = (seed, BTreeMap::new());
        Self { random, count }
    }

    /// Waits for the next moment, and lets happen what happens then. Some of it goes on afterwards.
    pub(crate) async fn next(&mut self, world: &mut World) {
        let pause = self.time(300, 3_000);
        let server = self.choose(ServerFault::ALL, |fault| fault.can_befall(world));
        let index = self.below(world.vehicles.len() as u64);
        let index = usize::try_from(index).unwrap();
        let vehicle = &world.vehicles[index];
        let is_board = vehicle.is_board();
        let fault = self.choose(VehicleFault::ALL, |fault| fault.can_befall(vehicle));
        // One time in four to both; else twice as often to a vehicle as to the server.
        let which = self.below(4);
        let (time, server_time) = (self.time(200, 3_000), self.time(200, 3_000));
        let (back_s, server_back_s) = (self.seconds(), self.seconds());
        sleep(pause).await;
        if which != 1 && which != 2 {
            *self.count.entry(server.name()).or_default() += 1;
        }
        if which != 0 {
            *self.count.entry(fault.name(is_board)).or_default() += 1;
        }
        let World {
            broker,
            host,
            vehicles,
            fleet,
            rest,
        } = world;
        let to_server = async {
            match server {
                _ if which == 1 || which == 2 => {}
                ServerFault::Killed => host.restart(server_time).await,
                ServerFault::DiskFull => host.fill_disk(server_time).await,
                ServerFault::ClockSetBack => host.set_clock_back(server_back_s),
                ServerFault::BrokerRestarted => broker.restart(server_time).await,
                ServerFault::CutFromBroker => broker.cut(),
                ServerFault::FleetCut => {
                    let fleet = fleet.as_mut().expect("it can befall a fleet");
                    fleet.cable.cut();
                    fleet.send(rest).await;
                }
            }
        };
        let to_vehicle = async {
            if which != 0 {
                fault.befall(&mut vehicles[index], time, back_s).await;
            }
        };
        tokio::join!(to_server, to_vehicle);
    }

    /// How many there were.
    pub(crate) fn total(&self) -> usize {
        self.count.values().sum()
    }

    fn choose<F: Copy>(&mut self, all: &[F], can_befall: impl Fn(F) -> bool) -> F {
        let possible: Vec<_> = all
            .iter()
            .copied()
            .filter(|fault| can_befall(*fault))
            .collect();
        let index = self.below(possible.len() as u64);
        possible[usize::try_from(index).unwrap()]
    }

    /// How far a clock is set back.
    fn seconds(&mut self) -> i64 {
        i64::try_from(1 + self.below(600)).unwrap()
    }

    fn time(&mut self, min: u64, max: u64) -> Duration {
        Duration::from_millis(min + self.below(max - min))
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % limit
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, n) in &self.count {
            writeln!(f, "{n:>7} x {name}")?;
        }
        Ok(())
    }
}
