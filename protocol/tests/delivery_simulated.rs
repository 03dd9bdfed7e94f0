//! Delivery between a host and agents, over a network that does what networks do.

mod delivery_simulation;

use delivery_simulation::run;

/// Seeds of every run of the tests; `cargo xtask simulate` runs any others.
const SEEDS: std::ops::Range<u64> = 0..300;

#[test]
fn books_balance_whatever_the_network_does() {
    let failures: Vec<String> = SEEDS.filter_map(|seed| run(seed).err()).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
