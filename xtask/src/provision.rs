//! The block of memory that makes a board one vehicle, by `vehicle-agent provision` and `inspect`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, run};
use crate::firmware::Board;

/// Runs `vehicle-agent provision` with these options, where the caller stands: they name files.
pub(crate) fn provision(options: &[String]) -> Result<()> {
    let here = std::env::current_dir()?;
    run(agent("provision").args(options).current_dir(here))
}

/// What tells what a block says, and fails if the board would refuse it.
pub(crate) fn inspection(board: Board, block: &Path) -> Command {
    let mut inspect = agent("inspect");
    if !board.has_clock() {
        inspect.arg("--without-clock");
    }
    inspect.arg(block);
    inspect
}

fn agent(command: &str) -> Command {
    let agent = [
        "run",
        "--quiet",
        "--package",
        "vinbus-vehicle-agent",
        "--bin",
        "vehicle-agent",
    ];
    let mut agent = cargo(&agent);
    agent.args(["--", command]);
    agent
}
