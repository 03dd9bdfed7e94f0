//! The `vehicle-agent` program.

use std::env;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Parser;
use tokio::runtime::Runtime;

use vinbus_vehicle_agent::linux::args::{Cli, Command};
use vinbus_vehicle_agent::linux::failure::Failure;
use vinbus_vehicle_agent::linux::{
    app, inspect, logging, pages, provision, run, simulate, variables,
};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    tell_of_variables(None);
    // A thousand vehicles that come and go are news for the summary, not for the log.
    let level = match cli.command {
        Command::Simulate(_) => "error",
        Command::Run(_)
        | Command::App(_)
        | Command::Provision(_)
        | Command::Inspect(_)
        | Command::Pages(_) => "info",
    };
    match logging::start(level)
        .map_err(Failure::Configuration)
        .and_then(|()| execute(cli))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

/// Ends on a command line that is none, or one that asks for help.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nobody is there to be told when this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        tell_of_variables(Some(error));
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn tell_of_variables(refused: Option<&clap::Error>) {
    // A name or value that is not UTF-8 is none that an option takes.
    let set = env::vars_os()
        .filter_map(|(name, value)| name.into_string().ok().zip(value.into_string().ok()));
    for note in variables::notes(refused, set) {
        eprintln!("{note}");
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
            Command::Pages(args) => pages::run(args).await,
            Command::Inspect(args) => inspect::run(&args).map_err(Failure::Configuration),
        }
    });
    // A read of standard input that waits for its next line must not keep the program alive.
    runtime.shutdown_background();
    done
}
