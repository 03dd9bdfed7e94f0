//! Pictures for the README, taken by the tests that drive what they show.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::setup;

/// Rewrites the pictures in `docs/images/`.
pub(crate) fn take() -> Result<()> {
    setup::ensure(true)?;
    let folder = std::env::current_dir()?.join("docs/images");
    std::fs::create_dir_all(&folder)?;
    for (package, program, test) in [
        ("vinbus-vehicle-agent", "mosquitto", "browser::next_stop"),
        ("vinbus-host-server", "console", "pictures"),
    ] {
        let mut tests = cargo(&["test", "--package", package, "--test", program, test]);
        run(tests.env("VINBUS_SCREENSHOTS", &folder))?;
    }
    Ok(())
}
