//! The command line: what `host-server` understands, and its help.

mod doctor;
mod explain;
mod fleet;
mod message;
mod token;

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use vinbus_protocol::id::{Uid, Vin};

pub use doctor::DoctorArgs;
pub use explain::{ExplainArgs, TopicAction};
pub use fleet::{FleetArgs, FleetCommand, FleetRecipients};
pub use message::{MessageArgs, ReceiptsArg, RequestArgs, SendArgs};
pub use token::{Of, TokenArgs, TokenCommand};

use crate::config::ServeOptions;
use crate::identity::Secret;
use crate::model::StampedCursor;
use crate::nearest::nearest;

/// What our environment variables begin with.
const PREFIX: &str = "VINBUS_";

const EXAMPLES: &str = "\
Examples:
  host-server                                    serve with a broker of its own, data in ./vinbus-data
  host-server --http 127.0.0.1:0 --mqtts off     choose a free port; no vehicles over TLS
  host-server --config /etc/vinbus.toml          options from a file
  host-server --broker mqtts://broker.example:8886 --broker-ca ca.pem
  host-server enroll vehicle 0123456789ABCDEFG --out car
  host-server send --vin 0123456789ABCDEFG --app demo --content '{\"hello\":\"car\"}'
  host-server request --vin 0123456789ABCDEFG --app demo --content '{\"unlock\":true}'
  host-server trace ID                           what became of the message with the id that send printed
  host-server fleet send --vins vins.txt --app demo --content '{\"hello\":\"all\"}'
  host-server listen --vin 0123456789ABCDEFG
  host-server console                            a link to see the fleet in a browser
  host-server doctor --broker mqtts://broker.example:8886 --ca ca.pem --cert cert.pem --key key.pem
  host-server token create-client --app myapp --client dashboard --permission ui.content

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
    /// Send one message to many vehicles, and look after it
    Fleet(FleetArgs),
    /// Ask an app in a vehicle, wait for its answer, and print it
    Request(RequestArgs),
    /// Tell what became of a message that was sent, one step a line
    Trace(TraceArgs),
    /// Print a link that opens the console in a browser, once and within ten minutes
    Console(Access),
    /// Manage the clients of the bus and their tokens
    Token(TokenArgs),
    /// Tell what a token may do on a topic of the bus, and by which rule
    ExplainAcl(ExplainArgs),
    /// Look at a broker as a partner would, and say what to change
    Doctor(Box<DoctorArgs>),
    /// Print the messages of vehicles as they arrive, one JSON object a line
    ///
    /// Connects again whenever the connection is lost, for as long as it takes, and goes on after the
    /// last message that it printed. What happens to the connection is told on standard error. Ends
    /// with status 0 on Ctrl-C, and with 1 when the server cannot be reached at the start, or refuses
    /// the token.
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
        vin: Vin,
        /// Where to.
        #[command(flatten)]
        to: EnrollTo,
    },
    /// Many vehicles, for the simulator of `vehicle-agent`: writes the same into a folder for each VIN
    Vehicles {
        /// How many.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
        count: u32,
        /// How their VINs begin; zeros and their number follow, from 0 on.
        #[arg(long, value_name = "TEXT", default_value = "SIM")]
        vin_prefix: String,
        /// Where to.
        #[command(flatten)]
        to: EnrollTo,
    },
    /// A partner, known by its UID: writes ca.pem, cert.pem, key.pem, password and token
    Partner {
        /// The partner's login: 1 to 64 bytes without `/`, `+` and `#`, and not shaped as a VIN.
        uid: Uid,
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
    /// Found a certificate authority in the data folder if it has none. The first start of the server
    /// does so as well; this is for those who enroll before it.
    #[arg(long)]
    pub new_authority: bool,
}

/// Where the server is.
#[derive(Args, Debug)]
pub struct ServerArgs {
    /// The server. [default: that which runs on the data folder, else http://127.0.0.1:8080]
    #[arg(long, value_name = "URL", env = "VINBUS_URL")]
    pub url: Option<String>,
    /// The server's data folder, where the administrator's token is. [default: vinbus-data]
    #[arg(long, value_name = "DIR", env = "VINBUS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
}

/// Where the server is and how to prove who asks.
#[derive(Args, Debug)]
pub struct Access {
    /// Where the server is.
    #[command(flatten)]
    pub server: ServerArgs,
    /// The token to ask the server with; without it, the administrator's in the data folder is used.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "VINBUS_TOKEN",
        hide_env_values = true,
        value_parser = secret
    )]
    pub token: Option<Secret>,
}

fn cursor(text: &str) -> Result<StampedCursor, &'static str> {
    let expected = "expected the `cursor` of a message that was printed, or 0 for everything";
    text.parse().map_err(|_| expected)
}

fn secret(text: &str) -> Result<Secret, Infallible> {
    Ok(Secret::new(text.trim().to_owned()))
}

/// `trace`: of which message.
#[derive(Args, Debug)]
pub struct TraceArgs {
    /// The message, by the id that `send` has printed.
    pub id: String,
    /// Print what the server says as one line of JSON.
    #[arg(long)]
    pub json: bool,
    /// Where from.
    #[command(flatten)]
    pub access: Access,
}

/// `listen`: to whom, from when.
#[derive(Args, Debug)]
pub struct ListenArgs {
    /// Only this vehicle.
    #[arg(long)]
    pub vin: Option<Vin>,
    /// Begin after this `cursor` of a message that was printed, 0 for everything that is stored; without it,
    /// begin with the messages that arrive from now on.
    #[arg(long, value_name = "CURSOR", value_parser = cursor, allow_negative_numbers = true)]
    pub after: Option<StampedCursor>,
    /// Where from.
    #[command(flatten)]
    pub access: Access,
}

/// What to type instead, where options stand in front of a command.
pub fn misplaced(error: &clap::Error) -> Option<String> {
    let (ErrorKind::ArgumentConflict, Some(ContextValue::String(command))) =
        (error.kind(), error.get(ContextKind::InvalidSubcommand))
    else {
        return None;
    };
    Some(format!(
        "an option in front of a command is one of `serve`; type those of `{command}` behind it, as in \
         `host-server {command} … --data-dir DIR`"
    ))
}

/// The environment variable that the value which `error` complains of was read from, if it was.
pub fn variable_at_fault(error: &clap::Error) -> Option<String> {
    let said = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text),
        _ => None,
    };
    let option = said(ContextKind::InvalidArg)?;
    let value = said(ContextKind::InvalidValue)?;
    let of_option = |(name, known): (String, String)| (known == *option).then_some(name);
    let mut names = variables().into_iter().filter_map(of_option);
    names.find(|name| std::env::var(name).is_ok_and(|set| set == *value))
}

/// What to say of those of `names` that look like our environment variables and are not: misspelt ones. The
/// vehicle agent's have a prefix of their own.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = variables();
    names
        .filter(|name| name.starts_with(PREFIX) && !name.starts_with("VINBUS_AGENT_"))
        .filter(|name| !known.contains_key(name.as_str()))
        .map(|name| {
            let rests = known.keys().filter_map(|known| known.strip_prefix(PREFIX));
            let meant = nearest(&name[PREFIX.len()..], rests).map_or_else(
                || "is it misspelt?".to_owned(),
                |rest| format!("did you mean {PREFIX}{rest}?"),
            );
            format!("the environment variable {name} is none of ours and has no effect: {meant}")
        })
        .collect()
}

/// Our variables, each with its option as clap writes it.
fn variables() -> HashMap<String, String> {
    let mut command = Cli::command();
    command.build();
    let mut known = HashMap::new();
    collect_variables(&command, &mut known);
    known
}

fn collect_variables(command: &clap::Command, known: &mut HashMap<String, String>) {
    for option in command.get_arguments() {
        if let Some(name) = option.get_env() {
            known.insert(name.to_string_lossy().into_owned(), option.to_string());
        }
    }
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
        let [http] = &unknown[..] else {
            panic!("{unknown:?}");
        };
        assert!(http.contains("variable VINBUS_HTPP is"), "{http}");
        assert!(http.ends_with("did you mean VINBUS_HTTP?"), "{http}");
        let other = unknown_variables(std::iter::once("VINBUS_XYZZY".to_owned()));
        assert!(other[0].ends_with("is it misspelt?"), "{other:?}");
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
}
