//! Measurements, one file each: criterion for the codec, whole programs for the rest.
//!
//! Every table holds ratios between things measured in the same run on the same machine.

mod codec;
mod table;

use anyhow::Result;
use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// Decoding envelopes, beside `serde_json` and sonic-rs.
    Codec,
}

/// Measures what is chosen, or everything.
pub(crate) fn run(chosen: &[Bench]) -> Result<()> {
    for bench in Bench::value_variants() {
        if chosen.is_empty() || chosen.contains(bench) {
            bench.run()?;
        }
    }
    Ok(())
}

impl Bench {
    fn run(self) -> Result<()> {
        match self {
            Self::Codec => codec::run(),
        }
    }
}
