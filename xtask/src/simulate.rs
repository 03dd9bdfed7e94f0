//! Runs the simulations of delivery and of requests, optimised.

use std::ops::Range;

use anyhow::Result;

use crate::command::{cargo, run};

/// Runs these seeds, for at most so many minutes.
pub(crate) fn run_seeds(seeds: &Range<u64>, minutes: u64) -> Result<()> {
    let seeds = format!("{}..{}", seeds.start, seeds.end);
    let arguments = ["run", "--release", "--package", "vinbus-protocol"];
    run(cargo(&arguments).args(["--example", "simulate", "--", &seeds, &minutes.to_string()]))
}

/// Parses `A..B`.
pub(crate) fn seeds(text: &str) -> Result<Range<u64>, String> {
    let seeds = text.split_once("..").and_then(|(first, end)| {
        let (first, end) = (first.parse().ok()?, end.parse().ok()?);
        (first < end).then_some(first..end)
    });
    seeds.ok_or_else(|| format!("`{text}` is no range of seeds: write, for example, 0..1000"))
}
