//! How fast and how big the whole service is: real programs, real sockets, a real disk.
//!
//! `path` is the way up, from the broker to an event stream, beside a client that only reads;
//! `downlink` the way down, from REST to the car; `delivery` the same with receipts and without; `transfer` plain
//! QoS 1 over a link that breaks; `bus` programs with tokens among each other;
//! `console` the console's page in a browser; `memory` a server and a simulator with many
//! vehicles. Each prints one table, whose rows were all measured in the same run. How, and with
//! which inputs, is in `docs/BENCHMARKS.md`; `cargo xtask bench` builds what is needed and runs it.

mod table;
mod usage;

mod http;
mod programs;
mod wire;

mod consumers;
mod load;
mod path;

mod console;
mod delivery;
mod downlink;
mod memory;
mod transfer;

mod bus;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand};

/// Whole programs, measured.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    what: What,
    /// What cargo adds.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum What {
    /// Broker, host, disk, event stream; beside a bare reader.
    Path {
        /// Seconds that are measured, for each row of each round.
        #[arg(long, default_value_t = 5)]
        seconds: u64,
        /// Rounds; the median is printed.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// REST, disk, car; beside bare MQTT.
    Downlink {
        /// Seconds for each row.
        #[arg(long, default_value_t = 10)]
        seconds: u64,
    },
    /// REST, disk, a fleet: with receipts and without; beside MQTT at QoS 1.
    Delivery {
        /// The program that simulates.
        #[arg(long)]
        vehicle_agent: PathBuf,
        /// Pairs of turns; the median is printed.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..))]
        pairs: u16,
    },
    /// Plain QoS 1 on a slow link, whole and where it breaks.
    Transfer {
        /// Rounds; medians are printed.
        #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
    },
    /// Clients of the bus: messages with access rules, and connections.
    Bus {
        /// Pairs of turns, a second each, of messages with rules and without; the median is printed.
        #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..))]
        pairs: u16,
        /// Rounds of connections; the median is printed.
        #[arg(long, default_value_t = 3)]
        rounds: usize,
    },
    /// The console's page while messages arrive.
    Console {
        /// Messages that arrive in a second.
        #[arg(long, default_value_t = 1000)]
        rate: u64,
        /// Seconds of the trace.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
    },
    /// Memory of the server and of the simulator.
    Memory {
        /// The program that simulates.
        #[arg(long)]
        vehicle_agent: PathBuf,
        /// Vehicles.
        #[arg(long, default_value_t = 1000)]
        vehicles: u32,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().what {
        What::Path { seconds, rounds } => path::measure(Duration::from_secs(seconds), rounds),
        What::Downlink { seconds } => downlink::measure(Duration::from_secs(seconds)),
        What::Delivery {
            vehicle_agent,
            pairs,
        } => delivery::measure(&vehicle_agent, usize::from(pairs)),
        What::Transfer { rounds } => transfer::measure(rounds),
        What::Bus { pairs, rounds } => bus::measure(usize::from(pairs), rounds),
        What::Console { rate, seconds } => console::measure(rate, Duration::from_secs(seconds)),
        What::Memory {
            vehicle_agent,
            vehicles,
        } => memory::measure(&vehicle_agent, vehicles),
    }
}
