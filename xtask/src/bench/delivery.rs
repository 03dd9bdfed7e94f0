//! Delivery: its costs in simulated time, by `protocol/examples/delivery_cost.rs`, plain QoS 1 on a slow link, and
//! whole programs.

use anyhow::Result;

use super::service;
use crate::command::{cargo, run as run_command};

/// Measures, and prints what is beside its goal.
pub(super) fn run() -> Result<()> {
    let cost = ["run", "--release", "--package", "vinbus-protocol"];
    run_command(cargo(&cost).args(["--example", "delivery_cost"]))?;
    service::run("transfer", &[])?;
    service::with_vehicles("delivery")
}
