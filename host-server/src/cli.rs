//! The command line: what `host-server` understands, and its help.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::PathBuf;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::ServeOptions;
use crate::identity::Secret;

const EXAMPLES: &str = "\
Examples:
  host-server                                    serve with a broker of its own, data in ./vinbus-data
  host-server --http 127.0.0.1:0 --mqtts off     choose a free port; no vehicles over TLS
  host-server --config /etc/vinbus.toml          options from a file
  host-server --broker mqtts://broker.example:8886 --broker-ca ca.pem
  host-server enroll vehicle 0123456789ABCDEFG --out car
  host-server send --vin 0123456789ABCDEFG --app demo --content '{\"hello\":\"car\"}'
  host-server listen --vin 0123456789ABCDEFG

`host-server serve --help` lists the options of serve; they work without the word serve, too.
Exit status: 0 done, 1 it failed, 2 the command line or the configuration is wrong.";

/// The partner's application server: sends messages to apps in vehicles and hears their answers.
#[derive(Debug, Parser)]
#[command(
    name = "host-server",
    version,
    after_help = EXAMPLES,
    args_conflicts_with_subcommands = true,
    subcommand_value_name = "COMMAND"
)]
pub struct Cli {
    /// What to do; serving is the default.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// The options of `serve` where no command is named.
    #[command(flatten)]
    pub serve: ServeOptions,
}

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server; this is what happens when no command is named
    Serve(Box<ServeOptions>),
    /// Make the certificate and key of a vehicle or a partner
    Enroll(EnrollArgs),
    /// Send a message to an app in a vehicle, and print its id
    Send(SendArgs),
    /// Print the messages of vehicles as they arrive, one JSON object a line
    Listen(ListenArgs),
}

/// `enroll`: whom.
#[derive(Args, Debug)]
#[command(arg_required_else_help = true)]
pub struct EnrollArgs {
    /// Whom to enroll.
    #[command(subcommand)]
    pub who: Enrollee,
}

/// Whom to enroll.
#[derive(Debug, Subcommand)]
pub enum Enrollee {
    /// A vehicle, known by its VIN: writes ca.pem, cert.pem and key.pem
    Vehicle {
        /// The vehicle identification number: 17 letters and digits.
        vin: String,
        /// Where to.
        #[command(flatten)]
        to: EnrollTo,
    },
    /// A partner, known by its UID: writes ca.pem, cert.pem, key.pem, password and token
    Partner {
        /// The partner's login: 1 to 64 bytes without `/`, `+` and `#`, and not shaped as a VIN.
        uid: String,
        /// Where to.
        #[command(flatten)]
        to: EnrollTo,
    },
}

/// Where the credentials go, and whose authority signs them.
#[derive(Args, Debug)]
pub struct EnrollTo {
    /// The folder to write to; made if it is not there.
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,
    /// Replace credentials that are there already; those of a partner stop working.
    #[arg(long)]
    pub replace: bool,
    /// The server's data folder, with its certificate authority. [default: vinbus-data]
    #[arg(long, value_name = "DIR", env = "VINBUS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Where the server is and how to prove who asks.
#[derive(Args, Debug)]
pub struct Access {
    /// The server.
    #[arg(
        long,
        value_name = "URL",
        env = "VINBUS_URL",
        default_value = "http://127.0.0.1:8080"
    )]
    pub url: String,
    /// The token to show; without it, the administrator's in the data folder is used.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VINBUS_TOKEN",
        hide_env_values = true,
        value_parser = secret
    )]
    pub token: Option<Secret>,
    /// The server's data folder, where the administrator's token is. [default: vinbus-data]
    #[arg(long, value_name = "DIR", env = "VINBUS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

fn cursor(text: &str) -> Result<u64, &'static str> {
    // The store keeps a cursor in 63 bits.
    text.parse()
        .ok()
        .filter(|&cursor| i64::try_from(cursor).is_ok())
        .ok_or("expected the `cursor` of a message that was printed, or 0 for everything")
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim().to_owned()))
}

/// `send`: what to whom.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("message").required(true).multiple(true).args(["content", "popup"]))]
pub struct SendArgs {
    /// The vehicle: 17 letters and digits.
    #[arg(long)]
    pub vin: String,
    /// The app in the vehicle, its `idApp`.
    #[arg(long, value_name = "IDAPP")]
    pub app: String,
    /// What the app gets: JSON, `@FILE` to read it from a file, or `-` to read it from standard
    /// input. It travels byte for byte.
    #[arg(long, value_name = "JSON")]
    pub content: Option<String>,
    /// Show this text to the driver, over whatever is on screen.
    #[arg(long, value_name = "TEXT")]
    pub popup: Option<String>,
    /// Show buttons below the text.
    #[arg(long, requires = "popup")]
    pub popup_btn: bool,
    /// Send as this partner; only the administrator may choose.
    #[arg(long)]
    pub uid: Option<String>,
    /// Where to.
    #[command(flatten)]
    pub access: Access,
}

/// `listen`: to whom, from when.
#[derive(Args, Debug)]
pub struct ListenArgs {
    /// Only this vehicle.
    #[arg(long)]
    pub vin: Option<String>,
    /// Begin after this cursor, 0 for everything that is stored; without it, begin with the
    /// messages that arrive from now on.
    #[arg(long, value_name = "CURSOR", value_parser = cursor, allow_negative_numbers = true)]
    pub after: Option<u64>,
    /// Where from.
    #[command(flatten)]
    pub access: Access,
}

/// Those of `names` that look like our environment variables and are not: misspelt ones. The vehicle
/// agent's have a prefix of their own.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut known = HashSet::new();
    collect_variables(&Cli::command(), &mut known);
    names
        .filter(|name| name.starts_with("VINBUS_") && !name.starts_with("VINBUS_AGENT_"))
        .filter(|name| !known.contains(name.as_str()))
        .collect()
}

fn collect_variables(command: &clap::Command, known: &mut HashSet<String>) {
    let variables = command.get_arguments().filter_map(clap::Arg::get_env);
    known.extend(variables.map(|name| name.to_string_lossy().into_owned()));
    for subcommand in command.get_subcommands() {
        collect_variables(subcommand, known);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_variable_is_found() {
        let set = [
            "VINBUS_HTPP",
            "VINBUS_HTTP",
            "VINBUS_TOKEN",
            "VINBUS_AGENT_VIN",
            "PATH",
        ];
        let unknown = unknown_variables(set.into_iter().map(str::to_owned));
        assert_eq!(unknown, ["VINBUS_HTPP"]);
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn options_of_serve_work_without_its_name() {
        let bare = Cli::parse_from(["host-server", "--http", "127.0.0.1:0"]);
        assert_eq!(bare.serve.http.unwrap().port(), 0);
        let named = Cli::parse_from(["host-server", "serve", "--http", "127.0.0.1:0"]);
        assert!(matches!(named.command, Some(Command::Serve(options)) if options.http.is_some()));
    }

    #[test]
    fn a_message_needs_content_or_popup() {
        let parse = |rest: &[&str]| {
            let head = ["host-server", "send", "--vin", "V", "--app", "A"];
            Cli::try_parse_from(head.iter().chain(rest)).map(drop)
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--popup-btn", "--content", "1"]).is_err());
        assert!(parse(&["--popup", "Hello"]).is_ok());
        assert!(parse(&["--content", "1", "--popup", "Hello"]).is_ok());
    }
}
