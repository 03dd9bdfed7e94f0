//! Faults on the real programs: builds them and starts the program that drives them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;

use crate::command::{cargo, run};

/// Runs for so many minutes, and fails if the books do not balance.
pub(crate) fn run_for(minutes: u64, agents: u16, seed: Option<u64>) -> Result<()> {
    run(&mut cargo(&["build", "--package", "vinbus-vehicle-agent"]))?;
    let by_the_clock = || Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
    let seed = seed.map_or_else(by_the_clock, Ok::<u64, anyhow::Error>)?;
    let mut soak = cargo(&["test", "--package", "vinbus-host-server", "--test", "soak"]);
    soak.args(["--", "--minutes", &minutes.to_string()]);
    soak.args(["--agents", &agents.to_string(), "--seed", &seed.to_string()]);
    run(&mut soak)
}
