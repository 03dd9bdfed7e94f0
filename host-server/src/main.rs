//! The `host-server` program: reads the command line, runs the command, and says how it ended.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use vinbus_host_server::cli::{self, Cli, Command};
use vinbus_host_server::commands::{
    console, doctor, enroll, explain, fleet, listen, request, send, token, trace,
};
use vinbus_host_server::config::{self, ServeOptions};
use vinbus_host_server::signals::Signals;
use vinbus_host_server::{logging, serve};

/// How long threads that wait for the disk or a pipe may hold up the end.
const END_TIME_MAX: Duration = Duration::from_secs(1);

/// How a command failed: what to print, and whose turn it is.
enum Failure {
    /// What was typed or configured has to change; exit status 2, as for a wrong option.
    Usage(String),
    /// It did not work; exit status 1.
    Failed(String),
}

impl Failure {
    fn usage(error: impl Display) -> Self {
        Self::Usage(error.to_string())
    }

    fn failed(error: impl Display) -> Self {
        Self::Failed(error.to_string())
    }

    fn of(is_usage: bool, error: impl Display) -> Self {
        if is_usage {
            Self::usage(error)
        } else {
            Self::failed(error)
        }
    }
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return report(&Failure::failed(error)),
    };
    let ended = runtime.block_on(run(cli));
    runtime.shutdown_timeout(END_TIME_MAX);
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => report(&failure),
    }
}

/// Ends on a command line that is none, or one that asks for help.
fn refuse(error: &clap::Error) -> ExitCode {
    // Nobody is there to be told when this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        if let Some(note) = cli::misplaced(error) {
            eprintln!("note: {note}");
        }
        if let Some(name) = cli::variable_at_fault(error) {
            eprintln!("note: the value comes from the environment variable {name}");
        }
        warn_of_unknown_variables();
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2))
}

fn report(failure: &Failure) -> ExitCode {
    let (text, status) = match failure {
        Failure::Usage(text) => (text, 2),
        Failure::Failed(text) => (text, 1),
    };
    eprintln!("error: {text}");
    ExitCode::from(status)
}

async fn run(cli: Cli) -> Result<(), Failure> {
    let command = cli
        .command
        .unwrap_or_else(|| Command::Serve(Box::new(cli.serve)));
    if !matches!(command, Command::Serve(_)) {
        warn_of_unknown_variables();
    }
    match command {
        Command::Serve(options) => serve(*options).await,
        Command::Enroll(args) => {
            enroll::run(args).map_err(|error| Failure::of(error.is_usage(), error))
        }
        Command::Send(args) => send::run(args)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::Fleet(args) => fleet::run(args)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::Request(args) => request::run(args)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::Trace(args) => trace::run(args)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::Console(access) => console::run(access)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::Token(args) => token::run(args)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::ExplainAcl(args) => explain::run(args)
            .await
            .map_err(|error| Failure::of(error.is_usage(), error)),
        Command::Doctor(args) => doctor::run(*args)
            .await
            .map_err(|error| Failure::of(error.is_without_report(), error)),
        Command::Listen(args) => {
            let mut signals = Signals::listen().map_err(Failure::failed)?;
            tokio::select! {
                ended = listen::run(args) => {
                    ended.map_err(|error| Failure::of(error.is_usage(), error))
                }
                _ = signals.first() => Ok(()),
            }
        }
    }
}

async fn serve(options: ServeOptions) -> Result<(), Failure> {
    let config = config::load(options).map_err(Failure::usage)?;
    logging::start(config.log_format, &config.log_filter).map_err(Failure::usage)?;
    for told in unknown_variables() {
        tracing::warn!("{told}");
    }
    serve::run(config)
        .await
        .map_err(|error| Failure::of(error.is_usage(), error))
}

fn warn_of_unknown_variables() {
    for told in unknown_variables() {
        eprintln!("warning: {told}");
    }
}

fn unknown_variables() -> Vec<String> {
    let set = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
    cli::unknown_variables(set)
}
