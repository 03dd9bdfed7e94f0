//! Real programs under load while seeded faults befall them, and then the books: what was accepted is
//! confirmed, still held, or told as lost, and nothing came twice or changed.
//!
//! `cargo xtask soak` builds what it needs and runs it. To read it, begin with [`world`], which has all that
//! runs: the [`host`] and its [`broker`], [`vehicle`]s, each a [`car`] with the agent for Linux or a [`board`]
//! in QEMU, with an [`app`] and a [`cable`], and a [`fleet`] in one process. [`faults`] says what befalls
//! them, and [`books`] what must come of it. Below is the course of a run: everything starts and works,
//! then there are faults, then calm until all is at its end; then the books are made, and the apps
//! that were away come and read what was held for them.

#[path = "../cli_support/mod.rs"]
mod cli_support;

mod app;
mod board;
mod books;
mod broker;
mod cable;
mod car;
mod clock;
mod faults;
mod fleet;
mod host;
mod process;
mod rest;
mod vehicle;
mod world;

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use futures_util::FutureExt as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep, timeout};

use books::{BOARD_LOSES, CAR_LOSES, Fate, SILENT_APP_LOSES, Sums, Table, Waiting};
use faults::Faults;
use world::World;

/// How long everything may take to work for the first time: boards and a fleet share a machine.
const START: Duration = Duration::from_secs(300);

/// How long after the last fault everything must have come to its end: more than the longest pause
/// between two repetitions (SPEC 16.13), twice.
const CALM: Duration = Duration::from_secs(180);

/// How long every other app is away while there is still load, so that messages are held for it.
const AWAY: Duration = Duration::from_secs(4);

/// Between two messages of a vehicle, in each direction.
const PAUSE: Duration = Duration::from_millis(200);

/// Between two lines on how far it is.
const TELL: Duration = Duration::from_secs(5);

/// Messages of which all steps are shown when the books do not balance.
const TRACES_MAX: usize = 20;

#[derive(Parser)]
pub(crate) struct Cli {
    /// How long there are faults and load.
    #[arg(long, value_name = "SECONDS")]
    seconds: u64,
    /// What the faults and their moments are made from.
    #[arg(long)]
    seed: u64,
    /// The broker.
    #[arg(long, value_enum)]
    broker: broker::Choice,
    /// Agents for Linux, each with an app.
    #[arg(long)]
    agents: usize,
    /// Boards in QEMU, each with an app.
    #[arg(long)]
    boards: usize,
    /// Vehicles in the fleet.
    #[arg(long)]
    fleet: usize,
    /// The firmware of the boards.
    #[arg(long)]
    image: Option<PathBuf>,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let folder = tempfile::tempdir().unwrap();
    // A panic is a program that ended by itself, or something that never came.
    let balanced = AssertUnwindSafe(soak(&cli, folder.path()))
        .catch_unwind()
        .await;
    if balanced.is_ok_and(|balanced| balanced) {
        return ExitCode::SUCCESS;
    }
    let kept = folder.keep();
    println!(
        "seed {} failed; what the programs kept and printed is in {}",
        cli.seed,
        kept.display()
    );
    ExitCode::FAILURE
}

/// Whether the books balance.
async fn soak(cli: &Cli, folder: &Path) -> bool {
    println!("seed {}: everything starts", cli.seed);
    let mut world = World::start(cli, folder).await;
    let load = watch::Sender::new(true);
    let (mut apps, senders) = world.work(&load);
    until_it_works(&world).await;
    let faults = trouble(cli, &mut world, &mut apps).await;

    world.calm();
    let vehicles = world.vehicles.iter();
    vehicles.skip(1).step_by(2).for_each(|it| it.set_app(false));
    sleep(AWAY).await;
    load.send_replace(false);
    // What was sent last may be accepted yet.
    senders.join_all().await;
    println!("calm after {} faults", faults.total());
    let mut books = balance(&world).await;
    println!("apps that were away come and read");
    read(&world, &mut books[0].1).await;
    world.lives();
    if let Some(fleet) = world.fleet.take() {
        books.push(("to the fleet", fleet.end(&world.rest).await));
    }
    println!("\n{faults}{:>7} messages were lost on cables", world.lost());
    println!("\nseed {}: the books\n{}", cli.seed, Table(&books));
    for (reason, count) in world.errors() {
        println!("{count:>7} frames of apps were refused: {reason}");
    }
    let mut balanced = true;
    for (name, sums) in &books {
        balanced &= sums.wrong.is_empty() && sums.is_whole();
        explain(name, sums, &world).await;
    }
    balanced
}

/// Waits until messages with receipts have gone both ways everywhere.
async fn until_it_works(world: &World) {
    let works = async {
        let mut looks = interval(TELL);
        while !world.works().await {
            looks.tick().await;
        }
    };
    if timeout(START, works).await.is_err() {
        panic!("it does not work: {}", world.progress().await);
    }
}

/// Faults, one after the other, as long as it was told.
async fn trouble(cli: &Cli, world: &mut World, apps: &mut JoinSet<()>) -> Faults {
    let mut faults = Faults::new(cli.seed);
    let end = Instant::now() + Duration::from_secs(cli.seconds);
    let mut told = Instant::now();
    while Instant::now() < end {
        faults.next(world).await;
        world.lives();
        while let Some(ended) = apps.try_join_next() {
            ended.expect("an app goes on until the end");
        }
        if told.elapsed() > TELL {
            told = Instant::now();
            let left = end.saturating_duration_since(told).as_secs();
            let (count, progress) = (faults.total(), world.progress().await);
            println!("{left:>4} s left: {count} faults; {progress}");
        }
    }
    faults
}

/// Waits until everything has come to its end, or had its time, and makes the books.
async fn balance(world: &World) -> Vec<(&'static str, Sums)> {
    let (mut down, mut up) = (Sums::default(), Sums::default());
    let end = Instant::now() + CALM;
    let mut looks = interval(Duration::from_secs(1));
    for vehicle in &world.vehicles {
        let mut status = BTreeMap::<u64, String>::new();
        loop {
            let accepted = vehicle.books().down.accepted.clone();
            for (n, id) in accepted {
                if !status
                    .get(&n)
                    .is_some_and(|status| Fate::of(status).is_last(true))
                {
                    status.insert(n, world.rest.status(&id).await);
                }
            }
            let log = world.rest.log(&vehicle.vin).await;
            let has_app = vehicle.has_app();
            let settled = status
                .values()
                .all(|status| Fate::of(status).is_last(has_app));
            {
                let book = vehicle.books();
                if (settled && book.up.is_settled(&log)) || Instant::now() > end {
                    let forgets = vehicle.is_board();
                    let may_lose = match vehicle.confirms {
                        _ if forgets => BOARD_LOSES,
                        true => CAR_LOSES,
                        false => SILENT_APP_LOSES,
                    };
                    down.down(&vehicle.vin, &book.down, &status, (has_app, may_lose));
                    up.up(&vehicle.vin, &book.up, &log, forgets);
                    break;
                }
            }
            looks.tick().await;
        }
    }
    if let Some(fleet) = &world.fleet {
        let is_open = |status: &String| !Fate::of(status).is_last(true);
        while Instant::now() < end && fleet.steps(&world.rest).await.keys().any(is_open) {
            looks.tick().await;
        }
    }
    vec![("to apps", down), ("from apps", up)]
}

/// Has the apps that are away come: each message that is still held must come to its app, once, and be
/// confirmed then, or taken.
async fn read(world: &World, books: &mut Sums) {
    let held = std::mem::take(&mut books.waiting);
    world
        .vehicles
        .iter()
        .for_each(|vehicle| vehicle.set_app(true));
    let end = Instant::now() + CALM;
    for Waiting { vin, n, id } in held {
        let vehicle = world
            .vehicles
            .iter()
            .find(|vehicle| vehicle.vin == vin)
            .unwrap();
        loop {
            let status = world.rest.status(&id).await;
            let times = vehicle
                .books()
                .down
                .seen
                .get(&n)
                .copied()
                .unwrap_or_default();
            if (Fate::of(&status) == Fate::Confirmed && times == 1) || Instant::now() > end {
                books.read(&vin, n, id, &status, times);
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Tells what does not balance, and all that the server knows of it.
async fn explain(name: &str, sums: &Sums, world: &World) {
    if !sums.is_whole() {
        println!("{name}: the sums are not those of the messages that were accepted");
    }
    for (index, wrong) in sums.wrong.iter().enumerate() {
        println!("{name}: {}", wrong.what);
        if let (Some(id), true) = (&wrong.id, index < TRACES_MAX) {
            println!("    {}", world.rest.get(&format!("/messages/{id}")).await);
        }
    }
}
