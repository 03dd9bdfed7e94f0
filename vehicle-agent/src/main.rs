//! The `vehicle-agent` program.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tokio::runtime::Runtime;

use vinbus_vehicle_agent::linux::args::{Cli, Command};
use vinbus_vehicle_agent::linux::failure::Failure;
use vinbus_vehicle_agent::linux::{app, logging, provision, run, simulate};

fn main() -> ExitCode {
    let cli = Cli::parse();
    // A thousand vehicles that come and go are news for the summary, not for the log.
    let level = match cli.command {
        Command::Simulate(_) => "error",
        Command::Run(_) | Command::App(_) | Command::Provision(_) => "info",
    };
    match logging::start(level)
        .map_err(Failure::Configuration)
        .and_then(|()| execute(cli))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vehicle-agent: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn execute(cli: Cli) -> Result<(), Failure> {
    let runtime = Runtime::new().context("the runtime cannot start")?;
    let done = runtime.block_on(async {
        match cli.command {
            Command::Run(args) => run::run(args).await,
            Command::App(args) => app::run(&args).await.map_err(Failure::Operation),
            Command::Simulate(args) => simulate::run(&args).await,
            Command::Provision(args) => provision::run(&args).map_err(Failure::Configuration),
        }
    });
    // A read of standard input that waits for its next line must not keep the program alive.
    runtime.shutdown_background();
    done
}
