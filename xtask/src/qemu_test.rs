//! The tests of the firmware: in QEMU, against the real host server and a real mosquitto.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::firmware::{self, Board};
use crate::setup;

/// Runs the cases whose names contain `filter`; all of them by default.
pub(crate) fn run_cases(filter: Option<&str>) -> Result<()> {
    setup::ensure_for_qemu()?;
    let image = firmware::build(Board::Mps2An500)?;
    run(&mut cargo(&[
        "build",
        "--package",
        "vinbus-host-server",
        "--bins",
    ]))?;
    let server = firmware::target_folder()?.join("debug/host-server");
    let mut cases = cargo(&[
        "test",
        "--package",
        "vinbus-vehicle-agent",
        "--test",
        "qemu",
    ]);
    cases
        .arg("--")
        .args(filter)
        .env("QEMU_TEST_IMAGE", image)
        .env("QEMU_TEST_HOST_SERVER", server);
    run(&mut cases)
}
