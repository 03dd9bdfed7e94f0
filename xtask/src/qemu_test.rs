//! The tests of the firmware: in QEMU, against the real host server and a real mosquitto. The same
//! program measures.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

use crate::command::{cargo, run, stdout};
use crate::examples;
use crate::firmware::{self, Board, Step};
use crate::setup;
use crate::size::Budget;

/// The program: `vehicle-agent/tests/qemu/`.
pub(crate) const PROGRAM: &[&str] = &["--package", "vinbus-vehicle-agent", "--test", "qemu"];

/// Runs the cases whose names contain `filter`; all of them by default.
pub(crate) fn run_cases(filter: Option<&str>) -> Result<()> {
    // Before it takes minutes to build what no case would run on.
    if let Some(filter) = filter {
        ensure_case(&names()?, filter)?;
    }
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
    let stack_bytes_max = budget.bytes(Step::Delivery.name(), "stack")?;
    let server = firmware::target_folder()?.join("debug/host-server");
    let mut cases = program(&[]);
    cases
        .args(filter)
        .env("QEMU_TEST_IMAGE", image)
        .env("QEMU_TEST_GOLDEN_IMAGE", golden_image)
        .env("QEMU_TEST_HOST_SERVER", server)
        .env("QEMU_TEST_STACK_BYTES_MAX", stack_bytes_max.to_string());
    run(&mut cases)
}

/// Prints the names of the cases.
pub(crate) fn list() -> Result<()> {
    println!("{}", names()?);
    Ok(())
}

/// The names of all cases, a line for each.
fn names() -> Result<String> {
    let mut list = program(&["--quiet"]);
    // What the compiler has to say is for the reader.
    list.arg("--list").stderr(Stdio::inherit());
    stdout(&mut list).context("cannot list the cases: their program does not build or run")
}

fn ensure_case(names: &str, filter: &str) -> Result<()> {
    ensure!(
        names.lines().any(|name| name.contains(filter)),
        "no case contains {filter:?}; there are\n{names}"
    );
    Ok(())
}

/// The program with the cases, by `cargo test` with these options; its own arguments may follow.
fn program(options: &[&str]) -> Command {
    let mut program = cargo(&["test"]);
    program.args(options).args(PROGRAM).arg("--");
    program
}

/// Measures the firmware beside the agent for Linux.
pub(crate) fn bench() -> Result<()> {
    setup::ensure_for_qemu()?;
    let image = firmware::build(Board::Mps2An500)?;
    let mut bench = cargo(&["bench"]);
    run(bench.args(PROGRAM).env("QEMU_TEST_IMAGE", image))
}

/// Measures how fast messages come into an app's page in a browser, through the agent for Linux and
/// through the firmware.
pub(crate) fn bench_portal() -> Result<()> {
    setup::ensure_for_qemu()?;
    examples::prepare()?;
    let image = firmware::build(Board::Mps2An500)?;
    let mut bench = cargo(&["bench"]);
    bench.args(PROGRAM).args(["--", "portal"]);
    run(bench.env("QEMU_TEST_IMAGE", image))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filter_that_no_case_contains_is_told_what_there_is() {
        let names = "messages_go_both_ways\ncable_is_pulled";
        assert!(ensure_case(names, "both_ways").is_ok());
        let error = ensure_case(names, "cabel").expect_err("it is misspelt");
        let expected =
            "no case contains \"cabel\"; there are\nmessages_go_both_ways\ncable_is_pulled";
        assert_eq!(error.to_string(), expected);
    }
}
