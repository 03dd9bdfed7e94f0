//! The `vehicle-agent` program.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use clap::Parser;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use vinbus_vehicle_agent::linux::args::{Cli, Command};
use vinbus_vehicle_agent::linux::{app, provision, run, simulate};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A thousand vehicles that come and go are news for the summary, not for the log.
    let level = match cli.command {
        Command::Simulate(_) => "error",
        Command::Run(_) | Command::App(_) | Command::Provision(_) => "info",
    };
    let filter = EnvFilter::try_from_env("VINBUS_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let runtime = match Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("vehicle-agent: the runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::App(args) => app::run(&args).await,
            Command::Simulate(args) => simulate::run(&args).await,
            Command::Provision(args) => provision::run(&args),
        }
    });
    // A read of standard input that waits for its next line must not keep the program alive.
    runtime.shutdown_background();
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vehicle-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
