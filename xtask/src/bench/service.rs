//! Whole programs: builds them and starts the benchmark that drives them.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::command::{cargo, find, root, run as run_command};
use crate::setup;

/// Runs one measurement of the benchmark `service`.
pub(super) fn run(what: &str, options: &[&str]) -> Result<()> {
    if what != "bus" && find("mosquitto").is_none() {
        bail!("mosquitto is the rival and is not installed: `sudo apt-get install mosquitto`");
    }
    bench(what, options)
}

fn bench(what: &str, options: &[&str]) -> Result<()> {
    let mut bench = cargo(&["bench", "--package", "vinbus-host-server"]);
    bench.args(["--bench", "service", "--", what]).args(options);
    run_command(&mut bench)
}

/// The one measurement that needs a browser.
pub(super) fn console() -> Result<()> {
    setup::ensure_browser()?;
    bench("console", &[])
}

/// Runs one that needs simulated vehicles, a program of another package.
pub(super) fn with_vehicles(what: &str) -> Result<()> {
    run_command(&mut cargo(&[
        "build",
        "--release",
        "--bin",
        "vehicle-agent",
    ]))?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let agent = target.join("release/vehicle-agent");
    run(what, &["--vehicle-agent", &agent.to_string_lossy()])
}
