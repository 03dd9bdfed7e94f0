//! One seed of a simulation, its random numbers, and how it fails.

pub(crate) mod random;

use std::ops::{Add, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs one seed of the simulation that is called so.
///
/// # Errors
/// What it panicked with; the text names the simulation and the seed, which panic again the same way.
pub(crate) fn run_seed<T>(
    simulation: &str,
    seed: u64,
    run: impl FnOnce(u64) -> T,
) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(|| run(seed))).map_err(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied());
        let text = text.unwrap_or("it panicked");
        format!("{simulation}, seed {seed}: {text}")
    })
}

/// Runs all of these seeds; what they have seen together.
///
/// # Panics
/// With each failure, if there is one.
#[allow(
    dead_code,
    reason = "tests call it, the program that runs many seeds has threads"
)]
pub(crate) fn run_all<T: Add<Output = T> + Default>(
    seeds: Range<u64>,
    run: impl Fn(u64) -> Result<T, String>,
) -> T {
    let (mut sum, mut failures) = (T::default(), Vec::new());
    for seed in seeds {
        match run(seed) {
            Ok(seen) => sum = sum + seen,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    sum
}
