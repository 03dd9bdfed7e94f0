//! The bus: decisions of the access rules, measured by criterion in `protocol/benches/access.rs`, and
//! whole programs.

use std::time::SystemTime;

use anyhow::Result;

use super::codec::median_ns;
use super::{service, table};
use crate::command::{cargo, run as run_command};

/// Decisions of one iteration: one of each client.
const CLIENTS: f64 = 1_000.0;

/// What a decision may take, in nanoseconds.
const GOAL_NS: f64 = 1_000.0;

/// Measures, and prints what is beside its goal.
pub(super) fn run() -> Result<()> {
    let start = SystemTime::now();
    let bench = ["bench", "--package", "vinbus-protocol", "--bench", "access"];
    run_command(&mut cargo(&bench))?;
    let decision = median_ns("access/decide", start)? / CLIENTS;
    let row = vec![
        "1,000 clients, 50 permissions each".to_owned(),
        format!("{decision:.0} ns"),
        format!("{GOAL_NS:.0} ns"),
    ];
    table::print(
        "a decision of the access rules, median time",
        &["by", "decision", "goal below"],
        &[row],
    );
    service::run("bus", &[])
}
