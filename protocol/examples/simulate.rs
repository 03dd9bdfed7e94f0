//! Runs the simulations of delivery and of requests for many seeds. `cargo xtask simulate` runs it.

#[path = "../tests/delivery_simulation/mod.rs"]
mod delivery_simulation;
#[path = "../tests/requests_simulation/mod.rs"]
mod requests_simulation;
#[path = "../tests/seeds/mod.rs"]
mod seeds;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const USAGE: &str = "usage: simulate A..B MINUTES";

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is shared by those who run seeds.
struct Run {
    seeds: Range<u64>,
    next: AtomicU64,
    stop: AtomicBool,
    end: Instant,
    sums: Mutex<Sums>,
}

/// What all seeds have seen together.
#[derive(Default)]
struct Sums {
    seeds: u64,
    delivery: delivery_simulation::Summary,
    requests: requests_simulation::Summary,
    failures: u64,
}

impl Sums {
    /// A failure is told at once, as the rest may take long.
    fn fail(&mut self, failure: &str) {
        println!("{failure}");
        self.failures += 1;
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((seeds, minutes)) = parse(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    // A failure is told once, with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let run = Run {
        next: AtomicU64::new(seeds.start),
        seeds,
        stop: AtomicBool::new(false),
        end: start + Duration::from_secs(60 * minutes),
        sums: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| work(&run));
        }
    });
    let Sums {
        seeds,
        delivery,
        requests,
        failures,
    } = run.sums.into_inner().expect("nobody panicked");
    println!(
        "{seeds} seeds in {:.1} s, {:.0} days of simulated time: {} messages accepted = {} settled + {} \
         still held + {} told as lost + {} gone with the memory of their sender; {} of them arrived in \
         parts, {} began again; {} requests, of which apps began with {} and {} were answered; {} failures",
        start.elapsed().as_secs_f64(),
        (delivery.virtual_ms + requests.virtual_ms) as f64 / 86_400_000.0,
        delivery.accepted,
        delivery.settled,
        delivery.held,
        delivery.lost,
        delivery.accepted - delivery.settled - delivery.held - delivery.lost,
        delivery.long_delivered,
        delivery.begun_again,
        requests.requests,
        requests.executed,
        requests.answered,
        failures
    );
    ExitCode::from(u8::from(failures > 0))
}

fn parse(arguments: &[String]) -> Option<(Range<u64>, u64)> {
    let [seeds, minutes] = arguments else {
        return None;
    };
    let (first, end) = seeds.split_once("..")?;
    let seeds = first.parse().ok()?..end.parse().ok()?;
    Some((seeds, minutes.parse().ok()?))
}

/// Runs seeds until there are no more, or the time is over, or too many have failed.
fn work(run: &Run) {
    let mut told = Instant::now();
    while Instant::now() < run.end && !run.stop.load(Ordering::Relaxed) {
        let seed = run.next.fetch_add(1, Ordering::Relaxed);
        if !run.seeds.contains(&seed) {
            return;
        }
        let delivery = delivery_simulation::run(seed);
        let requests = requests_simulation::run(seed);
        let mut sums = run.sums.lock().expect("nobody panicked");
        sums.seeds += 1;
        match delivery {
            Ok(summary) => sums.delivery = sums.delivery + summary,
            Err(failure) => sums.fail(&failure),
        }
        match requests {
            Ok(summary) => sums.requests = sums.requests + summary,
            Err(failure) => sums.fail(&failure),
        }
        run.stop.store(sums.failures >= 10, Ordering::Relaxed);
        drop(sums);
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            println!("at seed {seed} of {:?}", run.seeds);
        }
    }
}
