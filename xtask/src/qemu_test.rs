//! The tests of the firmware: in QEMU, against the real host server and a real mosquitto. The same
//! program measures.

use anyhow::Result;

use crate::command::{cargo, run};
use crate::examples;
use crate::firmware::{self, Board, Step};
use crate::setup;
use crate::size::Budget;

/// The program: `vehicle-agent/tests/qemu/`.
pub(crate) const PROGRAM: &[&str] = &["--package", "vinbus-vehicle-agent", "--test", "qemu"];

/// Runs the cases whose names contain `filter`; all of them by default.
pub(crate) fn run_cases(filter: Option<&str>) -> Result<()> {
    setup::ensure_for_qemu()?;
    let image = firmware::build(Board::Mps2An500)?;
    let golden_image = firmware::build_golden()?;
    run(&mut cargo(&[
        "build",
        "--package",
        "vinbus-host-server",
        "--bins",
    ]))?;
    let budget = Budget::of(Board::Mps2An500)?;
    let stack_bytes_max = budget.bytes(Step::Page.name(), "stack")?;
    let server = firmware::target_folder()?.join("debug/host-server");
    let mut cases = cargo(&["test"]);
    cases
        .args(PROGRAM)
        .arg("--")
        .args(filter)
        .env("QEMU_TEST_IMAGE", image)
        .env("QEMU_TEST_GOLDEN_IMAGE", golden_image)
        .env("QEMU_TEST_HOST_SERVER", server)
        .env("QEMU_TEST_STACK_BYTES_MAX", stack_bytes_max.to_string());
    run(&mut cases)
}

/// Measures the firmware beside the agent for Linux.
pub(crate) fn bench() -> Result<()> {
    setup::ensure_for_qemu()?;
    let image = firmware::build(Board::Mps2An500)?;
    let mut bench = cargo(&["bench"]);
    run(bench.args(PROGRAM).env("QEMU_TEST_IMAGE", image))
}

/// Measures how fast messages come into an app's page in a browser, through the agent for Linux.
pub(crate) fn bench_portal() -> Result<()> {
    setup::ensure(true)?;
    examples::prepare()?;
    let mut bench = cargo(&["bench"]);
    run(bench.args(PROGRAM).args(["--", "portal"]))
}
