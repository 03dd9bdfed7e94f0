//! Requests between a caller and a vehicle, over a network that does what networks do.

mod requests_simulation;
mod seeds;

use requests_simulation::{answered_of_ten_without_losses, run};
use seeds::run_all;

/// Seeds of every run of the tests; `cargo xtask simulate` runs any others.
const SEEDS: std::ops::Range<u64> = 0..600;

#[test]
fn every_request_is_carried_out_and_answered_once_and_ends_in_time() {
    let sums = run_all(SEEDS, run);
    // What is true of them is not true of nothing.
    assert!(sums.answered > 1_000, "{sums:?}");
}

#[test]
fn without_losses_every_request_that_is_not_cancelled_is_answered_before_its_time_is_over() {
    assert_eq!(answered_of_ten_without_losses(), 10);
}
