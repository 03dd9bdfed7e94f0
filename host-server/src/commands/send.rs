//! `send`: one message to an app in a vehicle, through a server's REST interface.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use reqwest::Url;
use serde::Deserialize;
use vinbus_protocol::envelope::{
    Content, Downlink, DownlinkBody, EncodeError, EnvelopeError, EnvelopeReason, Popup, PopupText,
};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{DELIVERY_LONG_BYTES_MAX, PAYLOAD_BYTES_MAX};

use super::client::{ClientError, Server};
use crate::cli::{MessageArgs, ReceiptsArg, SendArgs};
use crate::place::Place;

/// Why a message was not sent.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The content cannot be read.
    #[error("--content: {path:?} cannot be read: {source}")]
    Read {
        /// The file; `-` is standard input.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The content is not JSON.
    #[error(
        "--content is not JSON: {reason}, at byte {offset}, line {line}, column {column} (a text is \
         JSON in double quotes: '\"hello\"')"
    )]
    Content {
        /// Why not.
        reason: EnvelopeReason,
        /// Bytes from its start.
        offset: usize,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
    },
    /// The popup's text cannot be shown.
    #[error("--popup cannot be sent: {0}")]
    Popup(EnvelopeReason),
    /// The message is larger than one may be.
    #[error(
        "the message has {bytes} bytes, {envelope} of them for the envelope around what was given; at \
         most {PAYLOAD_BYTES_MAX} are allowed {why}, nothing was sent"
    )]
    TooLarge {
        /// Why it may not go in parts.
        why: &'static str,
        /// Bytes of the whole message.
        bytes: usize,
        /// Bytes beside the content and the popup's text.
        envelope: usize,
    },
    /// The content is larger than a message may be.
    #[error(
        "the content alone has {bytes} bytes; a message has at most {PAYLOAD_BYTES_MAX}, with the \
         envelope around its content, or a content of {DELIVERY_LONG_BYTES_MAX} with --receipts; nothing \
         was sent"
    )]
    ContentTooLarge {
        /// Bytes of the content.
        bytes: usize,
    },
    /// A key, and receipts that are declined.
    #[error("--key goes with receipts: leave --receipts=no away, or --key")]
    KeyWithoutReceipts,
    /// A popup with receipts.
    #[error("--popup carries no receipts: leave --receipts away")]
    PopupWithReceipts,
    /// The server did not take it.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The id cannot be printed.
    #[error("the message was sent, its id could not be printed: {0}")]
    Output(io::Error),
}

impl SendError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Read { .. } | Self::Content { .. } | Self::Popup(_) => true,
            Self::TooLarge { .. } | Self::ContentTooLarge { .. } => true,
            Self::KeyWithoutReceipts | Self::PopupWithReceipts => true,
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct Accepted {
    id: String,
    /// Servers of before do not say.
    seen: Option<bool>,
}

/// Sends the message and prints its id, and on standard error when its vehicle was not seen yet.
///
/// # Errors
/// A [`SendError`]; nothing was sent unless it is [`SendError::Output`].
pub async fn run(args: SendArgs) -> Result<(), SendError> {
    let body = of_one(&args)?;
    let server = Server::new(&args.access)?;
    let mut url = server.at(&["vehicles", args.vin.as_str(), "messages"]);
    ask_of_one(&mut url, &args);
    let request = server
        .post(url)
        .header("content-type", "application/json")
        .body(body);
    let answer = server.send(request).await?;
    let accepted: Accepted = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    if accepted.seen == Some(false) {
        eprintln!(
            "note: nothing was heard of vehicle {} since the server started: is the VIN right? Upper \
             and lower case are different VINs",
            args.vin
        );
    }
    writeln!(io::stdout(), "{}", accepted.id).map_err(SendError::Output)
}

/// What is asked for beside the message itself.
pub(super) fn ask(url: &mut Url, message: &MessageArgs) {
    if let Some(uid) = &message.uid {
        url.query_pairs_mut().append_pair("uid", uid.as_str());
    }
    if let Some(ttl) = message.ttl {
        let seconds = ttl.as_secs().to_string();
        url.query_pairs_mut().append_pair("ttl", &seconds);
    }
    if let Some(receipts) = message.receipts {
        url.query_pairs_mut()
            .append_pair("receipts", receipts.name());
    }
}

/// The same, for a message to one vehicle.
fn ask_of_one(url: &mut Url, args: &SendArgs) {
    ask(url, &args.message);
    if let Some(key) = &args.key {
        url.query_pairs_mut().append_pair("key", key.as_str());
    }
}

/// The message for one vehicle, as it travels there.
fn of_one(args: &SendArgs) -> Result<Vec<u8>, SendError> {
    if args.key.is_some() && args.message.receipts == Some(ReceiptsArg::No) {
        return Err(SendError::KeyWithoutReceipts);
    }
    envelope(&args.message, args.key.as_ref().map(|_| "with --key"))
}

/// The message as it travels to a vehicle; `never` says why it may not go in parts, if that is so whatever
/// was asked for.
pub(super) fn envelope(
    args: &MessageArgs,
    never: Option<&'static str>,
) -> Result<Vec<u8>, SendError> {
    let json = args.content.as_deref().map(read_content).transpose()?;
    let content = json.as_deref().map(parse_content).transpose()?;
    let receipts = args.receipts.is_some_and(ReceiptsArg::are_asked_for);
    if args.popup.is_some() && receipts {
        return Err(SendError::PopupWithReceipts);
    }
    let why = match (never, receipts) {
        (Some(why), _) => Some(why),
        (None, false) => Some("without --receipts"),
        (None, true) => None,
    };
    let text = args
        .popup
        .as_ref()
        .map(|text| serde_json::Value::from(text.as_str()).to_string());
    let popup = text.as_ref().map(|text| PopupText::parse(text.as_bytes()));
    let body = match (popup.transpose(), content) {
        (Err(error), _) => return Err(SendError::Popup(error.reason)),
        (Ok(Some(text)), content) => DownlinkBody::Popup(Popup {
            button: args.popup_btn,
            text,
            content,
        }),
        (Ok(None), content) => DownlinkBody::Data(match content {
            Some(content) => content,
            // The command line asks for one of the two.
            None => parse_content(b"null")?,
        }),
    };
    let app = args.app.clone();
    let message = Downlink { app, body };
    let mut buffer = vec![0; message.encoded_len()];
    let given = json.as_ref().map_or(0, Vec::len) + text.as_ref().map_or(0, String::len);
    let encoded = match why {
        None => message.encode_long(&mut buffer),
        Some(_) => message.encode(&mut buffer),
    };
    match encoded {
        Ok(_) => Ok(buffer),
        Err(
            EncodeError::TooLarge { len: bytes, .. } | EncodeError::Buffer { needed: bytes, .. },
        ) => {
            let envelope = bytes.saturating_sub(given);
            let why = why.unwrap_or_default();
            Err(SendError::TooLarge {
                why,
                bytes,
                envelope,
            })
        }
    }
}

/// A data message with the content that an argument names.
pub(super) fn data(app: &AppId, content: &str) -> Result<Vec<u8>, SendError> {
    let json = read_content(content)?;
    let message = Downlink {
        app: app.clone(),
        body: DownlinkBody::Data(parse_content(&json)?),
    };
    let mut buffer = vec![0; message.encoded_len()];
    match message.encode(&mut buffer) {
        Ok(_) => Ok(buffer),
        Err(
            EncodeError::TooLarge { len: bytes, .. } | EncodeError::Buffer { needed: bytes, .. },
        ) => {
            let envelope = bytes.saturating_sub(json.len());
            let why = "in a request";
            Err(SendError::TooLarge {
                why,
                bytes,
                envelope,
            })
        }
    }
}

/// The JSON itself, from the argument, a file or standard input.
fn read_content(argument: &str) -> Result<Vec<u8>, SendError> {
    let read = match argument.strip_prefix('@') {
        Some(path) => File::open(path)
            .and_then(read_bounded)
            .map_err(|source| (Path::new(path), source)),
        None if argument == "-" => {
            read_bounded(io::stdin().lock()).map_err(|source| (Path::new("-"), source))
        }
        None => return Ok(argument.as_bytes().to_vec()),
    };
    match read {
        Ok(Ok(json)) => Ok(json),
        Ok(Err(bytes)) => Err(SendError::ContentTooLarge { bytes }),
        Err((path, source)) => Err(SendError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Everything that `source` has, or how many bytes that were when it is more than a message holds.
fn read_bounded(mut source: impl Read) -> io::Result<Result<Vec<u8>, usize>> {
    let mut json = Vec::new();
    source
        .by_ref()
        .take(DELIVERY_LONG_BYTES_MAX as u64 + 1)
        .read_to_end(&mut json)?;
    if json.len() <= DELIVERY_LONG_BYTES_MAX {
        return Ok(Ok(json));
    }
    let rest = io::copy(&mut source, &mut io::sink())?;
    Ok(Err(json.len().saturating_add(
        usize::try_from(rest).unwrap_or(usize::MAX),
    )))
}

fn parse_content(json: &[u8]) -> Result<Content<'_>, SendError> {
    Content::parse_long(json).map_err(|EnvelopeError { reason, offset }| match reason {
        EnvelopeReason::TooLarge { len: bytes, .. } => SendError::ContentTooLarge { bytes },
        reason => {
            let Place { line, column } = Place::of(json, offset);
            SendError::Content {
                reason,
                offset,
                line,
                column,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn encoded(rest: &[&str]) -> Result<String, SendError> {
        let head = [
            "host-server",
            "send",
            "--vin",
            "0123456789ABCDEFG",
            "--app",
            "demo",
        ];
        let Some(Command::Send(args)) = Cli::parse_from(head.iter().chain(rest)).command else {
            panic!("not parsed as send")
        };
        of_one(&args).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    #[test]
    fn content_keeps_its_bytes() {
        assert_eq!(
            encoded(&["--content", "{ \"a\" : 1.50 }"]).unwrap(),
            r#"{"idApp":"demo","popup":false,"content":{ "a" : 1.50 }}"#
        );
    }

    #[test]
    fn a_popup_is_written_as_the_protocol_has_it() {
        assert_eq!(
            encoded(&["--popup", "Hello\n\"you\"", "--popup-btn"]).unwrap(),
            r#"{"idApp":"demo","popup":true,"popupBtn":true,"popupText":"Hello\n\"you\""}"#
        );
    }

    #[test]
    fn broken_content_is_refused_at_its_place() {
        let shown = encoded(&["--content", "{\n\"a\": }"])
            .unwrap_err()
            .to_string();
        assert!(shown.contains("at byte 7, line 2, column 6"), "{shown}");
    }

    #[test]
    fn one_byte_too_many_is_refused_with_the_bytes_of_the_envelope() {
        let envelope = r#"{"idApp":"demo","popup":false,"content":}"#.len();
        let content = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
        let check = |bytes: usize, part: &str| {
            let refused = encoded(&["--content", &content(bytes)]).unwrap_err();
            let shown = refused.to_string();
            assert!(shown.contains(part) && shown.contains("131072"), "{shown}");
        };
        let fits = content(PAYLOAD_BYTES_MAX - envelope);
        let sent = encoded(&["--content", &fits]).unwrap();
        assert_eq!(sent.len(), PAYLOAD_BYTES_MAX);
        check(PAYLOAD_BYTES_MAX - envelope + 1, "131073 bytes, 41 of them");
        check(PAYLOAD_BYTES_MAX, "131113 bytes, 41 of them");
        check(
            DELIVERY_LONG_BYTES_MAX + 1,
            "the content alone has 1048577 bytes",
        );
    }

    #[test]
    fn content_of_a_mebibyte_goes_with_receipts() {
        let content = format!("\"{}\"", "x".repeat(DELIVERY_LONG_BYTES_MAX - 2));
        let sent = encoded(&["--receipts", "--content", &content]).unwrap();
        assert_eq!(sent.len(), DELIVERY_LONG_BYTES_MAX + 41);
        let refused = encoded(&["--content", &content]).unwrap_err();
        assert!(refused.to_string().contains("without --receipts"));
    }

    #[test]
    fn what_receipts_do_not_go_with_is_told_in_options() {
        let check = |rest: &[&str], part: &str| {
            let refused = encoded(rest).unwrap_err();
            assert!(refused.is_usage());
            let shown = refused.to_string();
            assert!(shown.contains(part), "{shown}");
        };
        let no = ["--content", "1", "--receipts=no", "--key", "k"];
        check(&no, "--key goes with receipts: leave --receipts=no away");
        let popup = ["--popup", "Hello", "--receipts"];
        check(&popup, "--popup carries no receipts: leave --receipts away");
        let long = format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX));
        let key = ["--content", &long, "--receipts", "--key", "k"];
        check(&key, "at most 131072 are allowed with --key");
    }

    #[test]
    fn key_is_asked_for_with_receipts_only() {
        let head = "host-server send --vin 0123456789ABCDEFG --app demo --content 1 --key";
        let parse =
            |rest: &[&str]| Cli::try_parse_from(head.split(' ').chain(rest.iter().copied()));
        let Some(Command::Send(args)) = parse(&["a b", "--receipts"]).unwrap().command else {
            panic!("not parsed as send")
        };
        let mut url = Url::parse("http://server/messages").unwrap();
        ask_of_one(&mut url, &args);
        assert_eq!(url.query(), Some("receipts=yes&key=a+b"));
        let refused = parse(&["k"]).unwrap_err().to_string();
        assert!(refused.contains("--receipts"), "{refused}");
        let refused = parse(&["", "--receipts"]).unwrap_err().to_string();
        assert!(refused.contains("--key"), "{refused}");
    }

    #[test]
    fn a_file_too_large_is_counted_to_its_end() {
        let read = read_bounded(io::repeat(b' ').take(3_000_000)).unwrap();
        assert_eq!(read, Err(3_000_000));
    }
}
