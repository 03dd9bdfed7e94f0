//! Runs the simulation of delivery for many seeds. `cargo xtask simulate` runs it.

#[path = "../tests/delivery_simulation/mod.rs"]
mod delivery_simulation;

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use delivery_simulation::Summary;

const USAGE: &str = "usage: simulate A..B MINUTES";

/// How often the progress is told.
const PROGRESS: Duration = Duration::from_secs(10);

/// What is shared by those who run seeds.
struct Run {
    seeds: Range<u64>,
    next: AtomicU64,
    stop: AtomicBool,
    end: Instant,
    sums: Mutex<(u64, Summary)>,
    failures: Mutex<Vec<String>>,
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
        failures: Mutex::default(),
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| work(&run));
        }
    });
    let (ran, sums) = *run.sums.lock().expect("nobody panicked");
    let failures = run.failures.lock().expect("nobody panicked");
    println!(
        "{ran} seeds in {:.1} s, {:.0} days of simulated time: {} messages accepted = {} settled + {} \
         still held + {} told as lost + {} gone with the memory of their sender; {} of them arrived in \
         parts, {} began again; {} failures",
        start.elapsed().as_secs_f64(),
        sums.virtual_ms as f64 / 86_400_000.0,
        sums.accepted,
        sums.settled,
        sums.held,
        sums.lost,
        sums.accepted - sums.settled - sums.held - sums.lost,
        sums.long_delivered,
        sums.begun_again,
        failures.len()
    );
    ExitCode::from(u8::from(!failures.is_empty()))
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
        match delivery_simulation::run(seed) {
            Ok(summary) => {
                let mut sums = run.sums.lock().expect("nobody panicked");
                sums.0 += 1;
                sums.1 = sums.1 + summary;
            }
            Err(failure) => {
                println!("{failure}");
                let mut failures = run.failures.lock().expect("nobody panicked");
                failures.push(failure);
                run.stop.store(failures.len() >= 10, Ordering::Relaxed);
            }
        }
        if told.elapsed() >= PROGRESS {
            told = Instant::now();
            println!("at seed {seed} of {:?}", run.seeds);
        }
    }
}
