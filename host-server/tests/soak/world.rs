//! All that runs: the broker, the server, vehicles with their apps and who sends to them, and the fleet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use crate::app::App;
use crate::books::{content, is_long};
use crate::broker::Broker;
use crate::cable::Cable;
use crate::clock::Clocks;
use crate::fleet::{Fleet, VIN_PREFIX};
use crate::host::Host;
use crate::rest::Rest;
use crate::vehicle::Vehicle;
use crate::{Cli, PAUSE, START};

/// Of so many agents for Linux, one has an app that confirms nothing.
const SILENT_EVERY: usize = 3;

pub(crate) struct World {
    pub(crate) broker: Broker,
    pub(crate) host: Host,
    pub(crate) rest: Rest,
    /// The agents for Linux, then the boards.
    pub(crate) vehicles: Vec<Vehicle>,
    pub(crate) fleet: Option<Fleet>,
}

impl World {
    /// Starts all of it in this folder.
    pub(crate) async fn start(cli: &Cli, folder: &Path) -> Self {
        let clocks = Clocks::new(folder);
        let broker = Broker::start(cli.broker, folder).await;
        let clock = clocks.clock(folder.join("host.clock"));
        let host = Host::start(folder.join("host"), clock, broker.options()).await;
        let count = ["--count".to_owned(), (cli.agents + cli.boards).to_string()];
        let folders = host.enroll(&folder.join("vehicles"), &count).await;
        let mut vehicles = Vec::new();
        for (index, folder) in folders.iter().enumerate() {
            vehicles.push(match index.checked_sub(cli.agents) {
                None => {
                    let confirms = index % SILENT_EVERY != SILENT_EVERY - 1;
                    Vehicle::car(folder, &broker, &clocks, confirms).await
                }
                Some(board) => {
                    let (image, clear) = (cli.image(), board % 2 == 1);
                    Vehicle::board(folder, &broker, &clocks, &image, clear).await
                }
            });
        }
        let mut world = Self {
            rest: host.rest(),
            broker,
            host,
            vehicles,
            fleet: None,
        };
        world.until_online("", world.vehicles.len()).await;
        if cli.fleet > 0 {
            world.fleet = Some(world.start_fleet(&folder.join("fleet"), cli.fleet).await);
        }
        world
    }

    async fn start_fleet(&self, folder: &Path, vehicles: usize) -> Fleet {
        if !self.broker.is_apart() {
            self.host.enroll(folder, &Fleet::enrolment(vehicles)).await;
        }
        let mut fleet = Fleet::start(folder, vehicles, &self.broker).await;
        self.until_online(VIN_PREFIX, vehicles).await;
        fleet.send(&self.rest).await;
        fleet
    }

    /// Waits until so many vehicles whose VINs begin like this are online: what is sent to a vehicle that was
    /// never there goes without receipts (SPEC 9.4a).
    async fn until_online(&self, vin_prefix: &str, vehicles: usize) {
        let online = async {
            while self.rest.online(vin_prefix).await < vehicles {
                sleep(Duration::from_millis(500)).await;
            }
        };
        let all = timeout(START, online).await;
        all.unwrap_or_else(|_| panic!("{vehicles} vehicles {vin_prefix}… are online"));
    }

    /// Has apps send, which go on until the end, and sends to them, while there is load.
    pub(crate) fn work(&self, load: &watch::Sender<bool>) -> (JoinSet<()>, JoinSet<()>) {
        let (mut apps, mut senders) = (JoinSet::new(), JoinSet::new());
        for vehicle in &self.vehicles {
            let (book, there) = (vehicle.book.clone(), vehicle.app());
            let app = App::new(book, vehicle.confirms, !vehicle.is_board());
            apps.spawn(app.run(vehicle.portal(), there, load.subscribe()));
            senders.spawn(send(self.rest.clone(), vehicle, load.subscribe()));
        }
        (apps, senders)
    }

    /// Whether messages with receipts have gone both ways, and to the whole fleet.
    pub(crate) async fn works(&self) -> bool {
        let works = |vehicle: &Vehicle| {
            let book = vehicle.books();
            !book.down.seen.is_empty() && book.up.delivered_count() > 0
        };
        let there = match &self.fleet {
            Some(fleet) => fleet.steps(&self.rest).await.get("taken") == Some(&fleet.vehicles),
            None => true,
        };
        there && self.vehicles.iter().all(works)
    }

    /// Everything is as it should be, from now on.
    pub(crate) fn calm(&self) {
        let fleet = self.fleet.iter().map(|fleet| &fleet.cable);
        let cables = self.vehicles.iter().map(|vehicle| &vehicle.cable);
        cables.chain(fleet).for_each(Cable::calm);
    }

    /// Nobody but the faults may end a program.
    pub(crate) fn lives(&mut self) {
        self.vehicles.iter_mut().for_each(Vehicle::lives);
    }

    /// How many messages were lost on cables.
    pub(crate) fn lost(&self) -> usize {
        self.vehicles
            .iter()
            .map(|vehicle| vehicle.cable.lost())
            .sum()
    }

    /// What the portals complained of, and how often.
    pub(crate) fn errors(&self) -> BTreeMap<String, usize> {
        let mut errors = BTreeMap::new();
        for vehicle in &self.vehicles {
            for (reason, count) in &vehicle.books().errors {
                *errors.entry(reason.clone()).or_default() += count;
            }
        }
        errors
    }

    /// One line on how far it is.
    pub(crate) async fn progress(&self) -> String {
        let (mut accepted, mut seen, mut delivered) = (0, 0, 0);
        for vehicle in &self.vehicles {
            let book = vehicle.books();
            accepted += book.down.accepted.len();
            seen += book.down.seen.len();
            delivered += book.up.delivered_count();
        }
        let mut line =
            format!("to apps {accepted} accepted, {seen} seen; from apps {delivered} delivered");
        if let Some(fleet) = &self.fleet {
            line += "; to the fleet";
            for (step, count) in fleet.steps(&self.rest).await {
                line += &format!(" {count} {step}");
            }
        }
        line
    }
}

impl Cli {
    fn image(&self) -> PathBuf {
        let image = self.image.clone();
        image.expect("boards need an image: run `cargo xtask soak`, which builds it")
    }
}

/// Sends to the app as long as there is load. An answer that does not come leaves it open whether the
/// message was accepted; one that does counts.
fn send(
    rest: Rest,
    vehicle: &Vehicle,
    load: watch::Receiver<bool>,
) -> impl Future<Output = ()> + use<> {
    let (vin, book, is_board) = (
        vehicle.vin.clone(),
        vehicle.book.clone(),
        vehicle.is_board(),
    );
    async move {
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for n in (1..).filter(|n| !(is_board && is_long(*n))) {
            ticks.tick().await;
            if !*load.borrow() {
                return;
            }
            book.lock().unwrap().down.sent += 1;
            if let Some(id) = rest.send(&vin, &content(n)).await {
                book.lock().unwrap().down.accepted.insert(n, id);
            }
        }
    }
}
