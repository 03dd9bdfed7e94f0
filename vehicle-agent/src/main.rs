//! The `vehicle-agent` program.

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use vinbus_vehicle_agent::linux::args::{Cli, Command};
use vinbus_vehicle_agent::linux::{app, run, simulate};

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    // A thousand vehicles that come and go are news for the summary, not for the log.
    let level = match cli.command {
        Command::Simulate(_) => "error",
        Command::Run(_) | Command::App(_) => "info",
    };
    let filter = EnvFilter::try_from_env("VINBUS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .init();
    let done = match cli.command {
        Command::Run(args) => run::run(args).await,
        Command::App(args) => app::run(&args).await,
        Command::Simulate(args) => simulate::run(&args).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vehicle-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
