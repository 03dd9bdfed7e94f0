//! The block of memory that makes a board one vehicle, by `vehicle-agent provision`.

use anyhow::Result;

use crate::command::{cargo, run};

/// Runs `vehicle-agent provision` with these options.
pub(crate) fn provision(options: &[String]) -> Result<()> {
    let agent = [
        "run",
        "--quiet",
        "--package",
        "vinbus-vehicle-agent",
        "--bin",
        "vehicle-agent",
    ];
    run(cargo(&agent).args(["--", "provision"]).args(options))
}
