//! Measurements: criterion for the codec, whole programs for the rest, one file each.
//!
//! Every table holds ratios between things measured in the same run on the same machine.

use anyhow::Result;

use crate::command::{cargo, run as run_command};

/// Runs all benchmarks, or those whose name contains `filter`.
pub(crate) fn run(filter: Option<&str>) -> Result<()> {
    let mut codec = cargo(&["bench", "--package", "vinbus-protocol"]);
    if let Some(filter) = filter {
        codec.args(["--", filter]);
    }
    run_command(&mut codec)
}
