//! Measurements, one file each: criterion for the codec, whole programs for the rest.
//!
//! The whole programs are driven by the benchmark `service` of the host-server, which prints its
//! tables itself. Every table holds ratios between things measured in the same run on the same machine.

mod bus;
mod codec;
mod delivery;
mod service;
mod table;

use anyhow::Result;
use clap::ValueEnum;

use crate::qemu_test;

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Bench {
    /// Decoding envelopes, beside `serde_json` and sonic-rs.
    Codec,
    /// Broker, host, disk, event stream; beside a client that only reads.
    Path,
    /// REST, disk, car; beside a bare MQTT publish.
    Downlink,
    /// Receipts on beside receipts off, for 1,000 vehicles; what delivery costs where a fifth of all is lost;
    /// beside plain QoS 1.
    Delivery,
    /// The bus: messages with access rules beside none, decisions of the rules, connections with tokens.
    Bus,
    /// The console's page in Chromium while 1,000 messages a second arrive.
    Console,
    /// From the broker into an app's page in Chromium; beside a page that speaks MQTT itself.
    Portal,
    /// Memory of a server and of a simulator with 1,000 vehicles.
    Memory,
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
            Self::Path => service::run("path", &[]),
            Self::Downlink => service::run("downlink", &[]),
            Self::Delivery => delivery::run(),
            Self::Bus => bus::run(),
            Self::Console => service::console(),
            Self::Portal => qemu_test::bench_portal(),
            Self::Memory => service::with_vehicles("memory"),
        }
    }
}
