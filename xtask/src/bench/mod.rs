//! Measurements: criterion for the codec, whole programs for the rest.
//!
//! Every table holds ratios between things measured in the same run on the same machine. The whole
//! programs are driven by the benchmark `service` of the host-server, which prints its own tables.

mod codec;
mod service;

use anyhow::Result;
use clap::ValueEnum;

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Measurement {
    /// Decoding of envelopes, beside serde_json and sonic-rs.
    Codec,
    /// Broker, host, disk, event stream; beside a client that only reads.
    Path,
    /// REST, disk, car; beside a bare MQTT publish.
    Downlink,
    /// Memory of a server and of a simulator with 1,000 vehicles.
    Memory,
}

/// Measures `what`, or everything.
pub(crate) fn run(what: Option<Measurement>) -> Result<()> {
    let all = Measurement::value_variants();
    for measurement in what.as_ref().map_or(all, std::slice::from_ref) {
        match measurement {
            Measurement::Codec => codec::measure()?,
            Measurement::Path => service::measure("path", &[])?,
            Measurement::Downlink => service::measure("downlink", &[])?,
            Measurement::Memory => service::memory()?,
        }
    }
    Ok(())
}
