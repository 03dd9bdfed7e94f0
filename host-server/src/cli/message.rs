//! The command line of what is said to one app: `send`, `request`, and the message of both `send` and `fleet`.

use std::time::Duration;

use clap::Args;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::REQUEST_TIMEOUT_S_MAX;

use super::Access;
use crate::config;
use crate::hub::TTL_MAX;
use crate::model::Key;

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
    /// car: see `trace`. With `repeatable` it may reach its app twice if the vehicle loses its
    /// memory. Only such a message, to one vehicle, may be longer than 128 KiB: a content of up to
    /// 1 MiB, to a vehicle that takes it. [default: as the server's --receipts-for says]
    #[arg(long, value_name = "HOW", num_args = 0..=1, default_missing_value = "yes")]
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
    /// It does, and may be sent again where the vehicle or the server lost what it knew of it.
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

fn ttl(text: &str) -> Result<Duration, String> {
    whole_seconds(text, TTL_MAX, "30days", "90s, 5min or 7days")
}

fn request_time(text: &str) -> Result<Duration, String> {
    let max = Duration::from_secs(u64::from(REQUEST_TIMEOUT_S_MAX));
    whole_seconds(text, max, "10min", "90s or 5min")
}

/// The server takes whole seconds; `most` is `max` as people write it.
fn whole_seconds(text: &str, max: Duration, most: &str, such_as: &str) -> Result<Duration, String> {
    match config::parse_time(text) {
        Ok(time) if time > max => Err(format!("it is too much: at most {most}")),
        Ok(time) if time >= Duration::from_secs(1) && time.subsec_nanos() == 0 => Ok(time),
        Ok(_) | Err(_) => Err(format!(
            "expected whole seconds with their unit, from 1s to {most}, such as {such_as}"
        )),
    }
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

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

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
    fn how_receipts_are_asked_for_is_written_with_or_without_an_equals_sign() {
        let parse = |words: &str| {
            let head = "host-server send --vin 0123456789ABCDEFG --app A --content 1";
            let words = head.split(' ').chain(words.split_whitespace());
            match Cli::try_parse_from(words).unwrap().command {
                Some(Command::Send(send)) => send.message.receipts,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(parse(""), None);
        for yes in [
            "--receipts",
            "--receipts yes",
            "--receipts=yes",
            "--receipts --key k",
        ] {
            assert_eq!(parse(yes), Some(ReceiptsArg::Yes), "{yes}");
        }
        for repeatable in ["--receipts repeatable", "--receipts=repeatable"] {
            assert_eq!(
                parse(repeatable),
                Some(ReceiptsArg::Repeatable),
                "{repeatable}"
            );
        }
        assert_eq!(parse("--receipts no"), Some(ReceiptsArg::No));
    }

    #[test]
    fn a_time_to_live_is_whole_seconds_up_to_thirty_days() {
        assert_eq!(ttl("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(ttl("30days"), Ok(TTL_MAX));
        let to = "--vin 0123456789ABCDEFG --app A --content 1";
        for (command, max) in [("send --ttl", "30days"), ("request --timeout", "10min")] {
            let (command, option) = command.split_once(' ').unwrap();
            let check = |wrong: &str, told: &str| {
                let words = format!("host-server {command} {to} {option}");
                let words = words.split(' ').chain([wrong]);
                let shown = Cli::try_parse_from(words).unwrap_err().to_string();
                assert!(shown.contains(&format!("{told} {max}")), "{wrong}: {shown}");
            };
            for wrong in ["0s", "1500ms", "90", "-5", "-5s", ""] {
                check(wrong, "from 1s to");
            }
            check("40days", "it is too much: at most");
        }
    }
}
