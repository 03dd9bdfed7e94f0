//! Pictures for the README, taken by the test that drives what they show.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::setup;

/// Rewrites the pictures in `docs/images/`.
pub(crate) fn take() -> Result<()> {
    setup::ensure(true)?;
    let folder = std::env::current_dir()?.join("docs/images");
    std::fs::create_dir_all(&folder)?;
    let test = "browser::next_stop";
    let mut tests = cargo(&["test", "--package", "vinbus-vehicle-agent"]);
    tests.args(["--test", "mosquitto", test]);
    run(tests.env("VINBUS_SCREENSHOTS", folder))
}
