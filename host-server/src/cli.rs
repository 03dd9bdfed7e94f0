//! The command line: what `host-server` understands, and its help.

mod doctor;
mod explain;
mod fleet;
mod token;

use std::collections::HashMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::REQUEST_TIMEOUT_S_MAX;

pub use doctor::DoctorArgs;
pub use explain::{ExplainArgs, TopicAction};
pub use fleet::{FleetArgs, FleetCommand, FleetRecipients};
pub use token::{Of, TokenArgs, TokenCommand};

use crate::config::{self, ServeOptions};
use crate::hub::TTL_MAX;
use crate::identity::Secret;
use crate::model::Key;

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

fn ttl(text: &str) -> Result<Duration, &'static str> {
    whole_seconds(text, TTL_MAX).ok_or(
        "expected whole seconds with their unit, from 1s to 30days, such as 90s, 5min or 7days",
    )
}

fn request_time(text: &str) -> Result<Duration, &'static str> {
    let max = Duration::from_secs(u64::from(REQUEST_TIMEOUT_S_MAX));
    whole_seconds(text, max)
        .ok_or("expected whole seconds with their unit, from 1s to 10min, such as 90s or 5min")
}

/// The server takes whole seconds.
fn whole_seconds(text: &str, max: Duration) -> Option<Duration> {
    let time = config::parse_time(text).ok()?;
    let fits = (Duration::from_secs(1)..=max).contains(&time) && time.subsec_nanos() == 0;
    fits.then_some(time)
}

/// As the server takes it.
fn request_key(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.len() > 255 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("expected 1 to 255 visible ASCII characters, without spaces");
    }
    Ok(text.to_owned())
}

fn popup(text: &str) -> Result<String, &'static str> {
    if text.trim().is_empty() {
        return Err(
            "expected a text that the driver can read; leave --popup away for a message \
                    without one",
        );
    }
    Ok(text.to_owned())
}

/// `send`: what to whom.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// The vehicle: 17 letters and digits.
    #[arg(long)]
    pub vin: Vin,
    /// What.
    #[command(flatten)]
    pub message: MessageArgs,
    /// What the message is a value of, 1 to 64 bytes: of those with the same key for the app that wait for
    /// the vehicle, only the newest is sent, and the others are told as superseded. Needs --receipts; not
    /// for a message longer than 128 KiB.
    #[arg(long, value_name = "NAME", requires = "receipts")]
    pub key: Option<Key>,
    /// Where to.
    #[command(flatten)]
    pub access: Access,
}

/// A message for an app in a vehicle.
#[derive(Args, Debug)]
#[command(group = clap::ArgGroup::new("payload").required(true).multiple(true).args(["content", "popup"]))]
pub struct MessageArgs {
    /// The app in the vehicle, its `idApp`.
    #[arg(long, value_name = "IDAPP")]
    pub app: AppId,
    /// What the app gets: JSON, `@FILE` to read it from a file, or `-` to read it from standard
    /// input. It travels byte for byte.
    #[arg(long, value_name = "JSON")]
    pub content: Option<String>,
    /// Show this text to the driver, over whatever is on screen. Goes without --receipts.
    #[arg(long, value_name = "TEXT", value_parser = popup)]
    pub popup: Option<String>,
    /// Show the buttons OK and Cancel below the text.
    #[arg(long, requires = "popup")]
    pub popup_btn: bool,
    /// Give the message up when the vehicle cannot hear it within this time. 1s to 30days. [default:
    /// the server's --message-ttl]
    #[arg(long, value_name = "TIME", value_parser = ttl, allow_hyphen_values = true)]
    pub ttl: Option<Duration>,
    /// Have the message repeated until the vehicle answers, and be told what became of it in the
    /// car: see `trace`. With `=repeatable` it may reach its app twice if the vehicle loses its
    /// memory. Only such a message, to one vehicle, may be longer than 128 KiB: a content of up to
    /// 1 MiB, to a vehicle that takes it. [default: as the server's --receipts-for says]
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "yes")]
    pub receipts: Option<ReceiptsArg>,
    /// Send as this partner; only the administrator may choose.
    #[arg(long)]
    pub uid: Option<Uid>,
}

/// Whether a message carries receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ReceiptsArg {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It does, and may be sent again to a vehicle that has lost its memory.
    Repeatable,
}

impl ReceiptsArg {
    /// As the server takes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Repeatable => "repeatable",
        }
    }

    /// Whether the message carries any, so that a long one may go in parts.
    #[must_use]
    pub fn are_asked_for(self) -> bool {
        match self {
            Self::Yes | Self::Repeatable => true,
            Self::No => false,
        }
    }
}

const REQUEST_STATUS: &str = "\
Prints the content that the app answers with, as one line of JSON. Exit status: 0 the app has answered, 1 \
it has not, for a reason that is told, 2 the command line is wrong. To hear the answer to a request that \
ran out of time or whose connection broke, make the same request again with the same --key.";

/// `request`: what is asked of whom.
#[derive(Args, Debug)]
#[command(after_help = REQUEST_STATUS)]
pub struct RequestArgs {
    /// The vehicle: 17 letters and digits.
    #[arg(long)]
    pub vin: Vin,
    /// The app in the vehicle, its `idApp`.
    #[arg(long, value_name = "IDAPP")]
    pub app: AppId,
    /// What the app is asked: JSON, `@FILE` to read it from a file, or `-` to read it from standard
    /// input. It travels byte for byte.
    #[arg(long, value_name = "JSON")]
    pub content: String,
    /// Time for the answer. 1s to 10min.
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        value_parser = request_time,
        allow_hyphen_values = true
    )]
    pub timeout: Duration,
    /// Wait for a vehicle that is offline, and for an app that is not in the foreground, instead of
    /// being refused at once.
    #[arg(long)]
    pub wait: bool,
    /// A name for the request, 1 to 255 visible ASCII characters: with the same one it is carried out once,
    /// however often it is made, and not cancelled when this command is.
    #[arg(long, value_name = "KEY", value_parser = request_key)]
    pub key: Option<String>,
    /// Ask as this partner; only the administrator may choose.
    #[arg(long)]
    pub uid: Option<Uid>,
    /// Where to.
    #[command(flatten)]
    pub access: Access,
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
    /// Begin after this cursor, 0 for everything that is stored; without it, begin with the
    /// messages that arrive from now on.
    #[arg(long, value_name = "CURSOR", value_parser = cursor, allow_negative_numbers = true)]
    pub after: Option<u64>,
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

/// Those of `names` that look like our environment variables and are not: misspelt ones. The vehicle
/// agent's have a prefix of their own.
pub fn unknown_variables(names: impl Iterator<Item = String>) -> Vec<String> {
    let known = variables();
    names
        .filter(|name| name.starts_with("VINBUS_") && !name.starts_with("VINBUS_AGENT_"))
        .filter(|name| !known.contains_key(name.as_str()))
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
            let vin = "0123456789ABCDEFG";
            let head = ["host-server", "send", "--vin", vin, "--app", "A"];
            Cli::try_parse_from(head.iter().chain(rest)).map(drop)
        };
        assert!(parse(&[]).is_err());
        assert!(parse(&["--popup-btn", "--content", "1"]).is_err());
        assert!(parse(&["--popup", ""]).is_err());
        assert!(parse(&["--popup", "Hello"]).is_ok());
        assert!(parse(&["--content", "1", "--popup", "Hello"]).is_ok());
    }

    #[test]
    fn a_time_to_live_is_whole_seconds_up_to_thirty_days() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("30days"), Ok(TTL_MAX));
        let to = "--vin 0123456789ABCDEFG --app A --content 1";
        for wrong in ["0s", "1500ms", "31days", "90", "-5", "-5s", ""] {
            for (command, max) in [("send --ttl", "30days"), ("request --timeout", "10min")] {
                let (command, option) = command.split_once(' ').unwrap();
                let words = format!("host-server {command} {to} {option}");
                let words = words.split(' ').chain([wrong]);
                let shown = Cli::try_parse_from(words).unwrap_err().to_string();
                assert!(
                    shown.contains(&format!("from 1s to {max}")),
                    "{wrong}: {shown}"
                );
            }
        }
    }
}
