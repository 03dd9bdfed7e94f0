//! Delivery between a host and agents, over a network that does what networks do.

mod delivery_simulation;
mod seeds;

use delivery_simulation::run;
use seeds::run_all;

/// Seeds of every run of the tests; `cargo xtask simulate` runs any others.
const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn books_balance_whatever_the_network_does() {
    let sums = run_all(SEEDS, run);
    // What is told of them was not told of nothing.
    assert!(sums.long_delivered > 1_000, "{sums:?}");
    assert!(sums.begun_again > 50, "{sums:?}");
}
