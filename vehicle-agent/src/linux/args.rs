//! The program's options, each also in the environment as `VINBUS_AGENT_…`.

mod broker;
mod vehicle;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use vinbus_protocol::id::AppId;

pub use self::broker::{AccessArgs, BrokerArgs, Drop, Profile};
pub use self::vehicle::{InstalledApp, VehicleArgs};
use crate::linux::inspect::InspectArgs;
use crate::linux::pages::PagesArgs;
use crate::linux::portal::LOCALHOST;
use crate::linux::provision::ProvisionArgs;

const EXAMPLES: &str = "\
Examples:
  A vehicle enrolled with `host-server enroll vehicle 0123456789ABCDEFG --out car`:
    vehicle-agent run --vin 0123456789ABCDEFG --broker mqtts://localhost:8886 \\
      --ca car/ca.pem --cert car/cert.pem --key car/key.pem --app demo=demo-partner
  An app of that vehicle, in another terminal:
    vehicle-agent app --app demo
  A hundred vehicles that send one message a second each, once they are enrolled:
    host-server enroll vehicles --count 100 --out fleet
    vehicle-agent simulate --count 100 --broker mqtts://localhost:8886 --certs fleet --rate 1

Options can be set in the environment as well, as the help of each command says. VINBUS_LOG=debug
shows more.
Exit codes: 2 when an option, or a file that it names, is wrong; 1 when something else is.";

/// Plays the portal of a vehicle: connects it to the broker and its apps to their partners.
#[derive(Debug, Parser)]
#[command(name = "vehicle-agent", version, after_help = EXAMPLES)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve one vehicle: its link to the broker, and its apps through the portal.
    Run(RunArgs),
    /// Be an app: print what the partner sends as JSON lines, send each line of input to it.
    ///
    /// What comes while the app is in the foreground it does not confirm: with receipts, the partner is told
    /// `taken`. What waited it takes with a confirmation once it is printed: the partner is told `confirmed`.
    App(AppArgs),
    /// Run many vehicles in this process, each with its own connection, and sum up what happened.
    Simulate(SimulateArgs),
    /// Write the block of memory that makes a board one vehicle: its VIN, apps, broker and keys.
    ///
    /// A board has at most 8 apps, and speaks mqtts:// or mqtt://. With TLS the broker's certificate has to
    /// name the host.
    Provision(ProvisionArgs),
    /// Tell what such a block says, without its secrets, and fail if a board would refuse it.
    Inspect(InspectArgs),
    /// Serve the pages of apps to the browser on this machine, for the portal of a board.
    ///
    /// Prints the options that `provision` is given for each app.
    Pages(PagesArgs),
}

/// Options of `run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The vehicle and its apps.
    #[command(flatten)]
    pub vehicle: VehicleArgs,

    /// Where the portal listens: http://ADDR/ for a browser, ws://ADDR/portal for programs. Port 0
    /// takes a free one.
    #[arg(
        long,
        env = "VINBUS_AGENT_PORTAL",
        value_name = "ADDR",
        default_value = "127.0.0.1:8090",
        value_parser = address
    )]
    pub portal: SocketAddr,

    /// The folder with the web pages of an app, an index.html among them, for the portal's page in a
    /// browser; may be repeated, or a list with commas. An app may do without: a program is one too.
    #[arg(
        long,
        env = "VINBUS_AGENT_APP_PAGES",
        value_name = "IDAPP=DIR",
        value_delimiter = ','
    )]
    pub app_pages: Vec<AppFolder>,

    /// An app all of whose messages go with receipts: they are repeated until the partner's server has
    /// them on disk, and may have up to 1 MiB where that server takes as much. May be repeated, or a list
    /// with commas. Any app may ask for it with a message.
    #[arg(long, env = "VINBUS_AGENT_RECEIPTS_FOR", value_name = "IDAPP")]
    pub receipts_for: Vec<AppList>,

    /// The domain below which each app's pages have a host name of their own, `http://IDAPP.DOMAIN:PORT/`.
    /// Browsers take localhost for the machine they run on; for those elsewhere, name a domain that
    /// leads here with all of its subdomains, and open the portal at http://DOMAIN:PORT/. There, apps
    /// can set cookies for each other, but not read each other's own.
    #[arg(
        long,
        env = "VINBUS_AGENT_PORTAL_DOMAIN",
        value_name = "DOMAIN",
        default_value = LOCALHOST,
        value_parser = domain
    )]
    pub portal_domain: String,

    /// A web origin whose pages may be apps, besides the portal's own; may be repeated, or a list
    /// with commas.
    #[arg(
        long,
        env = "VINBUS_AGENT_ALLOW_ORIGIN",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub allow_origin: Vec<String>,

    /// Frames that an app may send in a second, and twice as many at once.
    #[arg(long, env = "VINBUS_AGENT_APP_RATE", value_name = "N", default_value_t = 50,
        value_parser = whole::<1, 100_000>)]
    pub app_rate: u32,

    /// HTTP connections to the portal at a time, besides its 64 open sockets; one more is answered 503.
    #[arg(long, env = "VINBUS_AGENT_PORTAL_CONNECTIONS", value_name = "N", default_value_t = 64,
        value_parser = clap::value_parser!(u16).range(1..))]
    pub portal_connections: u16,

    /// Who connects to the portal sends the head of a request within so many seconds, and is idle no
    /// longer.
    #[arg(long, env = "VINBUS_AGENT_PORTAL_HEADER_TIME", value_name = "SECONDS", default_value = "10",
        value_parser = seconds)]
    pub portal_header_time: Duration,

    /// Keep what waits, for apps and for the broker, in this folder when the agent is stopped, and
    /// take it up at the next start. Messages with receipts are there at all times, so that a kill or
    /// a loss of power loses none; others are lost with a process that is killed, and all are without
    /// the folder. What the agent said when it panicked is kept as well, and reported after the next
    /// start.
    #[arg(long, env = "VINBUS_AGENT_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,

    /// The broker and how to speak to it.
    #[command(flatten)]
    pub broker: BrokerArgs,

    /// The vehicle's certificate, as PEM; its common name is the VIN.
    #[arg(long, env = "VINBUS_AGENT_CERT", value_name = "FILE", requires = "key")]
    pub cert: Option<PathBuf>,

    /// The private key of the certificate, as PEM.
    #[arg(long, env = "VINBUS_AGENT_KEY", value_name = "FILE", requires = "cert")]
    pub key: Option<PathBuf>,
}

/// Options of `app`.
#[derive(Debug, Args)]
pub struct AppArgs {
    /// The app to be: one that the agent was started with.
    #[arg(long, env = "VINBUS_AGENT_APP", value_name = "IDAPP")]
    pub app: AppId,

    /// Where the agent's portal listens.
    #[arg(
        long,
        env = "VINBUS_AGENT_PORTAL",
        value_name = "ADDR",
        default_value = "127.0.0.1:8090",
        value_parser = address
    )]
    pub portal: SocketAddr,

    /// Start in the background: messages wait until you type /show or /pending.
    #[arg(long)]
    pub background: bool,

    /// Send with receipts: each message is repeated until the partner's server has it on disk. Only such a
    /// message may be longer than 128 KiB: up to 1 MiB, to a server that takes as much.
    #[arg(long)]
    pub receipts: bool,

    /// Exit after so many messages were received; 0: when the input has ended and all of it is with
    /// the broker (with --receipts: with the partner's server), or was refused [default: never]. The
    /// exit code is 1 if a message was refused, or a line of the input was no JSON.
    #[arg(long, value_name = "N")]
    pub exit_after: Option<u64>,
}

/// Options of `simulate`.
#[derive(Debug, Args)]
pub struct SimulateArgs {
    /// Number of vehicles.
    #[arg(long, env = "VINBUS_AGENT_COUNT", value_name = "N",
        value_parser = whole::<1, 100_000>)]
    pub count: u32,

    /// How their VINs begin; zeros and their number follow, from 0 on.
    #[arg(
        long,
        env = "VINBUS_AGENT_VIN_PREFIX",
        value_name = "TEXT",
        default_value = "SIM"
    )]
    pub vin_prefix: String,

    /// The app of every vehicle and the partner it belongs to.
    #[arg(
        long,
        env = "VINBUS_AGENT_APPS",
        value_name = "IDAPP=UID",
        default_value = "demo=demo-partner"
    )]
    pub app: InstalledApp,

    /// Messages that each vehicle sends in a second; 0: it only listens.
    #[arg(
        long,
        env = "VINBUS_AGENT_RATE",
        value_name = "N",
        default_value = "0",
        value_parser = rate
    )]
    pub rate: f64,

    /// Bytes of content of each message sent.
    #[arg(long, env = "VINBUS_AGENT_SIZE", value_name = "BYTES", default_value_t = 64,
        value_parser = whole::<32, 131_060>)]
    pub size: u32,

    /// Send every message that arrives back to the partner.
    #[arg(long, env = "VINBUS_AGENT_ECHO")]
    pub echo: bool,

    /// Print each data message that an app gets, as one JSON object a line with its VIN and its content.
    #[arg(long, env = "VINBUS_AGENT_PRINT_RECEIVED")]
    pub print_received: bool,

    /// Offer receipts to the partner, and answer for each message that has them; what they need is kept
    /// in memory.
    #[arg(long, env = "VINBUS_AGENT_RECEIPTS")]
    pub receipts: bool,

    /// Stop after so many seconds, counted from when all are connected, or from when
    /// --connect-timeout is over [default: at Ctrl-C].
    #[arg(long, env = "VINBUS_AGENT_DURATION", value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,

    /// Give up when no vehicle is connected so many seconds after the first was started, and wait
    /// no longer for the rest after the last was.
    #[arg(long, env = "VINBUS_AGENT_CONNECT_TIMEOUT", value_name = "SECONDS", default_value = "30",
        value_parser = seconds)]
    pub connect_timeout: Duration,

    /// Vehicles that start in a second.
    #[arg(long, env = "VINBUS_AGENT_RAMP", value_name = "N", default_value_t = 500,
        value_parser = whole::<1, 100_000>)]
    pub ramp: u32,

    /// Certificates of the vehicles: DIR/{VIN}/cert.pem and key.pem, as `host-server enroll` makes
    /// them, and ca.pem unless --ca is given.
    #[arg(long, env = "VINBUS_AGENT_CERTS", value_name = "DIR")]
    pub certs: Option<PathBuf>,

    /// The MQTT client of each vehicle [default: embedded where it can speak to the broker, else std].
    #[arg(long, env = "VINBUS_AGENT_TRANSPORT")]
    pub transport: Option<Transport>,

    /// The broker and how to speak to it.
    #[command(flatten)]
    pub broker: BrokerArgs,
}

/// An MQTT client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// The client of boards: little memory; MQTT 5 over mqtt:// or mqtts://; listens at QoS 0
    Embedded,
    /// The client of `run`: every version of MQTT and every URL; listens at QoS 1
    Std,
}

/// Apps, written with commas between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppList(pub Vec<AppId>);

impl FromStr for AppList {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_list = text.contains(',');
        let parse = |name: &str| {
            AppId::parse(name).map_err(|error| match name {
                "" if is_list => {
                    "it has an empty name: leave out the comma that is too many".into()
                }
                name if is_list => format!("{name:?}: {error}"),
                _ => error.to_string(),
            })
        };
        text.split(',')
            .map(parse)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

/// An app and the folder of its pages, written `IDAPP=DIR`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppFolder {
    /// The app.
    pub app: AppId,
    /// The folder.
    pub folder: PathBuf,
}

impl FromStr for AppFolder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (app, folder) = text
            .split_once('=')
            .ok_or("write the app's identifier and the folder of its pages as IDAPP=DIR")?;
        let app = AppId::parse(app).map_err(|error| format!("the app's identifier: {error}"))?;
        let folder = folder.into();
        Ok(Self { app, folder })
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text
        .parse()
        .ok()
        .filter(|rate| (0.0..=10_000.0).contains(rate));
    rate.ok_or_else(|| "it is from 0 to 10000 messages a second".into())
}

/// A number without a unit, both bounds included.
fn whole<const MIN: u32, const MAX: u32>(text: &str) -> Result<u32, String> {
    let number = text.parse().ok();
    number
        .filter(|number| (MIN..=MAX).contains(number))
        .ok_or_else(|| format!("it is a whole number from {MIN} to {MAX}, without a unit"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok();
    let duration = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.ok_or_else(|| "it is a number of seconds, such as 10 or 0.5".into())
}

/// Longest domain: a host name has 253 bytes, and an app's label with its dot 64.
const DOMAIN_BYTES_MAX: usize = 253 - 64;

fn domain(text: &str) -> Result<String, String> {
    let is_label = |label: &str| {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        (1..=63).contains(&label.len())
            && label.bytes().all(is_plain)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_number = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    // What ends with a number is an address, which has no subdomains.
    let is_name = text.split('.').all(is_label) && !text.rsplit('.').next().is_some_and(is_number);
    (is_name && text.len() <= DOMAIN_BYTES_MAX)
        .then(|| text.to_ascii_lowercase())
        .ok_or_else(|| {
            format!("it is a host name of at most {DOMAIN_BYTES_MAX} letters, digits, hyphens and dots, such as car.example")
        })
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "it is an IP address with a port, such as 127.0.0.1:8090 or [::1]:0".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn options_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    fn refused(args: &[&str]) -> String {
        Cli::try_parse_from(args).unwrap_err().to_string()
    }

    #[test]
    fn wrong_values_say_what_is_right() {
        let run = [
            "vehicle-agent",
            "run",
            "--broker",
            "mqtt://h",
            "--app",
            "demo=p",
        ];
        let vin = refused(&[&run[..], &["--vin", "123"]].concat());
        assert!(vin.contains("exactly 17"), "{vin}");
        let cert = refused(&[&run[..], &["--vin", "0123456789ABCDEFG", "--cert", "c"]].concat());
        assert!(cert.contains("--key"), "{cert}");
        let url = refused(&[
            "vehicle-agent",
            "simulate",
            "--count",
            "1",
            "--broker",
            "http://h",
        ]);
        assert!(url.contains("mqtt"), "{url}");
        let list = [
            &run[..],
            &["--vin", "0123456789ABCDEFG", "--receipts-for", "a,,b"],
        ];
        let list = refused(&list.concat());
        for part in ["'a,,b'", "leave out the comma that is too many"] {
            assert!(list.contains(part), "{list}");
        }
        for domain in [
            "192.168.1.20",
            "a..b",
            "-a.b",
            "car.example:80",
            "http://car",
            "",
        ] {
            let domain = format!("--portal-domain={domain}");
            let said = refused(&[&run[..], &["--vin", "0123456789ABCDEFG", &domain]].concat());
            assert!(said.contains("such as car.example"), "{said}");
        }
        for queue in [
            "1023",
            "1073741825",
            "4294967296",
            "99999999999999999999",
            "4MiB",
            "-1",
        ] {
            let queue = format!("--uplink-queue={queue}");
            let said = refused(&[&run[..], &["--vin", "0123456789ABCDEFG", &queue]].concat());
            assert!(said.contains("from 1024 to 1073741824"), "{said}");
        }
        for portal in ["localhost:8090", "8090"] {
            let app = ["vehicle-agent", "app", "--app", "demo", "--portal", portal];
            let said = refused(&app);
            assert!(said.contains("such as 127.0.0.1:8090"), "{said}");
        }
    }
}
