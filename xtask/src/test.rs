//! All tests, cheapest first, the test runner's summary last.

use anyhow::Result;

use crate::command::{cargo, program, run, succeeds};
use crate::{bare_metal, dist, examples, fuzz, golden, no_panic, qemu_test, setup, simulate, size};

/// Seeds of every run, other than those of the protocol's own tests.
const SEEDS: std::ops::Range<u64> = 1_000..6_000;

/// How long each fuzz target may look for what is new; first it tries all of its corpus.
const FUZZ_SECONDS: u32 = 5;

/// Runs every test there is.
pub(crate) fn all(host_only: bool) -> Result<()> {
    setup::ensure(host_only)?;
    examples::prepare()?;
    if !host_only {
        for target in dist::targets() {
            dist::ensure(target)?;
        }
        bare_metal::check()?;
    }
    no_panic::prove(host_only)?;
    golden::all(true)?;
    run(&mut cargo(&["test", "--workspace", "--doc", "--quiet"]))?;
    run_tests_of_the_scanner_alone()?;
    simulate::run_seeds(&SEEDS, 5)?;
    fuzz::run_targets(None, FUZZ_SECONDS)?;
    if !host_only {
        size::check(&[])?;
        qemu_test::run_cases(None)?;
        for target in dist::targets() {
            dist::agent(target, true)?;
        }
    }
    run_tests()
}

/// The protocol's tests without its fast path for x86-64: what other processors run.
fn run_tests_of_the_scanner_alone() -> Result<()> {
    run(&mut cargo(&[
        "test",
        "--package",
        "vinbus-protocol",
        "--tests",
        "--quiet",
        "--config",
        "build.rustflags=[\"--cfg=vinbus_scanner_alone\"]",
        "--target-dir",
        "target/scanner-alone",
    ]))
}

fn run_tests() -> Result<()> {
    if succeeds(&mut program("cargo-nextest", &["--version"])) {
        return run(&mut cargo(&["nextest", "run", "--workspace"]));
    }
    // Without `--doc`, which has run already.
    run(&mut cargo(&[
        "test",
        "--workspace",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
    ]))
}
