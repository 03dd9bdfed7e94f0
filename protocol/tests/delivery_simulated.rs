//! Delivery between a host and agents, over a network that does what networks do.

mod delivery_simulation;
mod seeds;

use delivery_simulation::{Summary, run};

/// Seeds of every run of the tests; `cargo xtask simulate` runs any others.
const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn books_balance_whatever_the_network_does() {
    let mut sums = Summary::default();
    let mut failures = Vec::new();
    for seed in SEEDS {
        match run(seed) {
            Ok(summary) => sums = sums + summary,
            Err(failure) => failures.push(failure),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    // What is told of them was not told of nothing.
    assert!(sums.long_delivered > 1_000, "{sums:?}");
    assert!(sums.begun_again > 50, "{sums:?}");
}
