//! Faults on the real programs: builds them and starts the program that drives them.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::command::{cargo, run};
use crate::firmware::{self, Board};
use crate::setup;

/// The program: `host-server/tests/soak/`.
pub(crate) const PROGRAM: &[&str] = &["--package", "vinbus-host-server", "--test", "soak"];

/// What runs, and for how long.
#[derive(Args)]
pub(crate) struct Soak {
    /// How long there are faults. What starts before, and the calm after them, at most 3 minutes, come on
    /// top.
    #[arg(long, value_name = "M", value_parser = minutes)]
    minutes: f64,
    /// What the faults and their moments are made from; by default the time. It is printed.
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// The broker between server and vehicles.
    #[arg(long, default_value = "mosquitto")]
    broker: Broker,
    /// Agents for Linux, each a program with a data folder, and with an app: one in three confirms nothing.
    #[arg(long, value_name = "N", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=100))]
    agents: u16,
    /// Boards, each a QEMU with the firmware, and with an app. 0 needs neither QEMU nor a compiler for
    /// boards.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(0..=16))]
    boards: u16,
    /// Vehicles of a fleet in one process, which come back all at once.
    #[arg(long, value_name = "N", default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(0..=5_000))]
    fleet: u16,
}

/// A broker.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Broker {
    /// A mosquitto, which is restarted, and cut off from the server, alone.
    Mosquitto,
    /// The one that the host server brings along, over mutual TLS. It ends with the server.
    Embedded,
}

impl Soak {
    /// Runs, and fails if the books do not balance.
    pub(crate) fn run(&self) -> Result<()> {
        setup::ensure_for_soak(self.broker == Broker::Mosquitto, self.boards > 0)?;
        run(&mut cargo(&["build", "--package", "vinbus-vehicle-agent"]))?;
        let by_the_clock = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let seed = self.seed.unwrap_or(by_the_clock).to_string();
        let seconds = (60.0 * self.minutes).ceil().to_string();
        let broker = self.broker.to_possible_value();
        let counts = [self.agents, self.boards, self.fleet].map(|count| count.to_string());
        let mut soak = cargo(&["test"]);
        soak.args(PROGRAM);
        soak.args(["--", "--seconds", &seconds, "--seed", &seed]);
        soak.args([
            "--agents", &counts[0], "--boards", &counts[1], "--fleet", &counts[2],
        ]);
        if let Some(broker) = &broker {
            soak.args(["--broker", broker.get_name()]);
        }
        if self.boards > 0 {
            soak.arg("--image").arg(firmware::build(Board::Mps2An500)?);
        }
        run(&mut soak)
    }
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes = text.parse().ok();
    let minutes = minutes.filter(|minutes| (0.1..=10_000.0).contains(minutes));
    minutes.ok_or_else(|| "write a number of minutes from 0.1 to 10000".to_owned())
}
