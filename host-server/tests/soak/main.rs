//! Real programs under load while seeded faults befall them, and then the books: what was accepted is
//! confirmed, still held, or told as lost, and nothing came twice or changed.
//!
//! `cargo xtask soak` builds what it needs and runs it. Each vehicle is a [`car::Car`] with an
//! [`app::App`]; [`faults`] says what befalls them and the [`host::Host`].

#[path = "../car_support/mod.rs"]
mod car_support;
#[path = "../cli_support/mod.rs"]
mod cli_support;

mod app;
mod books;
mod car;
mod faults;
mod host;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Parser;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use app::App;
use books::{Book, Sums, content_down, is_last};
use car::Car;
use cli_support::within;
use faults::Faults;
use host::{Host, Rest};

/// How long after the last fault everything must have come to its end: more than the longest pause
/// between two repetitions (SPEC 16.13), twice.
const CALM: Duration = Duration::from_secs(180);

/// Between two messages of a vehicle, in each direction.
const PAUSE: Duration = Duration::from_millis(200);

#[derive(Parser)]
struct Cli {
    /// How long there are faults and load.
    #[arg(long)]
    minutes: u64,
    /// How many vehicles, each with an app.
    #[arg(long)]
    agents: usize,
    /// What the faults and their moments are made from.
    #[arg(long)]
    seed: u64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let dir = tempfile::tempdir().unwrap();
    let mut host = Host::start(dir.path().join("host")).await;
    let rest = host.rest();
    let load = watch::Sender::new(true);
    let (mut cars, mut books) = (Vec::new(), Vec::new());
    for path in host.enroll(cli.agents).await {
        let car = Car::start(path, host.mqtts).await;
        let book = Arc::<Mutex<Book>>::default();
        let app = App::run(car.portal(), Arc::clone(&book), load.subscribe(), PAUSE);
        tokio::spawn(app);
        let (vin, listen) = (car.vin.clone(), load.subscribe());
        tokio::spawn(send(rest.clone(), vin, Arc::clone(&book), listen));
        cars.push(car);
        books.push(book);
    }
    within("messages with receipts go both ways", all_work(&books)).await;

    let mut faults = Faults::new(cli.seed);
    let end = Instant::now() + Duration::from_secs(60 * cli.minutes);
    let mut ticks = interval(Duration::from_secs(10));
    ticks.tick().await;
    while Instant::now() < end {
        let progress = async {
            loop {
                ticks.tick().await;
                tell(end, &books);
            }
        };
        tokio::select! {
            () = progress => {}
            () = faults.next(&mut host, &mut cars) => {}
        }
    }
    println!("calm after {faults}");
    load.send_replace(false);
    host.disk_is_full(false);
    cars.iter().for_each(Car::calm);
    let (down, up) = balance(&rest, &cars, &books).await;
    let lost: usize = cars.iter().map(Car::lost).sum();
    println!(
        "\nseed {}, {} agents, {lost} packets lost",
        cli.seed, cli.agents
    );
    down.print("to apps");
    up.print("from apps");
    for book in &books {
        for error in book.lock().unwrap().errors.iter().take(5) {
            println!("    a portal said: {error}");
        }
    }
    if down.wrong.is_empty() && up.wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    host.log();
    for car in &mut cars {
        car.kill().await;
    }
    println!(
        "what the programs left and printed is in {}",
        dir.keep().display()
    );
    ExitCode::FAILURE
}

/// Sends to the app as long as there is load. An answer that does not come leaves it open whether the
/// message was accepted; one that does counts.
async fn send(rest: Rest, vin: String, book: Arc<Mutex<Book>>, load: watch::Receiver<bool>) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for n in 1.. {
        ticks.tick().await;
        if !*load.borrow() {
            return;
        }
        book.lock().unwrap().down.sent += 1;
        if let Some(id) = rest.send(&vin, &content_down(n)).await {
            book.lock().unwrap().down.accepted.insert(n, id);
        }
    }
}

async fn all_work(books: &[Arc<Mutex<Book>>]) {
    let works = |book: &Arc<Mutex<Book>>| {
        let book = book.lock().unwrap();
        !book.down.seen.is_empty() && book.up.delivered_count() > 0
    };
    while !books.iter().all(works) {
        sleep(Duration::from_millis(50)).await;
    }
}

fn tell(end: Instant, books: &[Arc<Mutex<Book>>]) {
    let (mut accepted, mut seen, mut delivered) = (0, 0, 0);
    for book in books {
        let book = book.lock().unwrap();
        accepted += book.down.accepted.len();
        seen += book.down.seen.len();
        delivered += book.up.delivered_count();
    }
    let left = end.saturating_duration_since(Instant::now()).as_secs();
    println!(
        "{left} s left: to apps {accepted} accepted, {seen} seen; from apps {delivered} delivered"
    );
}

/// Waits until everything has come to its end, or had its time, and balances.
async fn balance(rest: &Rest, cars: &[Car], books: &[Arc<Mutex<Book>>]) -> (Sums, Sums) {
    let (mut down, mut up) = (Sums::default(), Sums::default());
    let end = Instant::now() + CALM;
    for (car, book) in cars.iter().zip(books) {
        let mut status = BTreeMap::<u64, String>::new();
        loop {
            let accepted = book.lock().unwrap().down.accepted.clone();
            for (n, id) in accepted {
                if !status.get(&n).is_some_and(|status| is_last(status)) {
                    status.insert(n, rest.status(&id).await);
                }
            }
            let log = rest.log(&car.vin).await;
            let settled = status.values().all(|status| is_last(status));
            {
                let book = book.lock().unwrap();
                if (settled && book.up.is_settled(&log)) || Instant::now() > end {
                    down.down(&car.vin, &book.down, &status);
                    up.up(&car.vin, &book.up, &log);
                    break;
                }
            }
            sleep(Duration::from_secs(1)).await;
        }
    }
    (down, up)
}

/// Adds to a log.
fn append(path: &Path, text: &str) {
    let file = std::fs::File::options()
        .create(true)
        .append(true)
        .open(path);
    writeln!(file.unwrap(), "{text}\n-- the end of this process").unwrap();
}
