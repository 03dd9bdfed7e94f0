//! The firmware in QEMU, against the real host server and a real mosquitto.
//!
//! `cargo xtask qemu-test` builds all of it and runs this. Each case boots a board of its own and
//! is one line of output; the last line counts. An argument chooses the cases whose names contain it;
//! `--list` prints all names.
//!
//! `cargo xtask bench --qemu` runs it with `--bench`, as cargo calls benchmarks: then it measures. With
//! `portal` it measures how fast messages come into an app's page.

mod app;
mod bench;
mod board;
mod cabin;
mod cases;
mod gate;
mod log;
mod server;
mod time_server;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::future::BoxFuture;

use log::{REPORT, TRANSCRIPT};

/// Longest time for anything to happen. Only a broken board takes it: one that cannot connect because
/// this machine is busy pauses for up to 60 s, and may have to try twice.
const PATIENCE: Duration = Duration::from_secs(180);

const HOW_TO_RUN: &str = "these tests need an image and a server: run `cargo xtask qemu-test`";

/// A claim about the board, and the test that it holds.
type Case = (&'static str, fn() -> BoxFuture<'static, ()>);

/// Cases that run at once: most of each is waiting.
const AT_ONCE: usize = 3;

#[tokio::main]
async fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let is_given = |arg: &str| args.iter().any(|given| given == arg);
    if is_given("--bench") {
        let transcript = Arc::default();
        if is_given("portal") {
            TRANSCRIPT.scope(transcript, bench::portal::run()).await;
        } else {
            TRANSCRIPT.scope(transcript, bench::run()).await;
        }
        return ExitCode::SUCCESS;
    }
    if is_given("--list") {
        for (name, _) in cases::ALL {
            println!("{name}");
        }
        return ExitCode::SUCCESS;
    }
    let filter = args.into_iter().next().unwrap_or_default();
    // A failure is told with its case's line.
    std::panic::set_hook(Box::new(|_| {}));
    let cases = cases::ALL.iter().filter(|(name, _)| name.contains(&filter));
    let mut outcomes = futures_util::stream::iter(cases)
        .map(run)
        .buffer_unordered(AT_ONCE);
    let (mut passed, mut failed) = (0, 0);
    while let Some(ok) = outcomes.next().await {
        if ok { passed += 1 } else { failed += 1 }
    }
    println!("{passed} passed, {failed} failed");
    if failed == 0 && passed > 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

async fn run((name, case): &Case) -> bool {
    let start = Instant::now();
    let transcript = Arc::new(Mutex::new(String::new()));
    let report = Arc::new(Mutex::new(String::new()));
    let case = TRANSCRIPT.scope(Arc::clone(&transcript), case());
    let outcome = tokio::spawn(REPORT.scope(Arc::clone(&report), case)).await;
    let seconds = start.elapsed().as_secs_f32();
    match outcome {
        Ok(()) => {
            let report = report.lock().unwrap();
            println!("ok     {name} ({seconds:.1} s){report}");
        }
        Err(error) => {
            let panic = error.into_panic();
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            let (text, transcript) = (text.unwrap_or("no message"), transcript.lock().unwrap());
            println!("FAILED {name} ({seconds:.1} s): {text}\n{transcript}");
            return false;
        }
    }
    true
}
