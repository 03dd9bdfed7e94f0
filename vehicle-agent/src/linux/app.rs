//! `vehicle-agent app`: the smallest app. What the partner sends is printed as JSON lines, each line
//! of input is sent to the partner as content; `/answer JSON` answers the request that came last.
//!
//! Lines that begin with a slash, which no JSON does, are the driver's hand: `/show`, `/hide`,
//! `/pending`, `/ok`, `/cancel`, `/quit`. What is no message goes to the error output.

use std::collections::BTreeSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io::Write as _;

use anyhow::{Context, anyhow, bail, ensure};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader, Stdin};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::linux::args::AppArgs;

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The commands of the driver's hand that stand alone on their lines.
const ALONE: [&str; 6] = ["/show", "/hide", "/pending", "/ok", "/cancel", "/quit"];

/// Runs until the portal closes the socket, or `--exit-after` is fulfilled.
///
/// # Errors
/// When the portal cannot be reached, refuses the app, or has refused a message by the time that
/// `--exit-after` is fulfilled, or a line of the input was none.
pub async fn run(args: &AppArgs) -> anyhow::Result<()> {
    let url = format!("ws://{}/portal", args.portal);
    let (socket, _) = connect_async(&url)
        .await
        .map_err(|error| unreachable(args, &error))?;
    let (sink, stream) = socket.split();
    let mut app = App {
        sink,
        exit_after: args.exit_after,
        receipts: args.receipts,
        received: 0,
        sent: 0,
        settled: 0,
        refused: 0,
        kept: BTreeSet::new(),
        request: None,
        run: RandomState::new().hash_one(()) as u32,
    };
    let hello = json!({ "appId": args.app.as_str(), "background": args.background });
    app.send("hello", Some(&hello.to_string())).await?;
    app.send("WebPortal.onApplicationLoaded", None).await?;
    app.serve(stream).await
}

/// Why there is no socket. The error's own source repeats it.
fn unreachable(args: &AppArgs, error: &tungstenite::Error) -> anyhow::Error {
    let portal = args.portal;
    match error {
        tungstenite::Error::Io(error) => anyhow!(
            "cannot reach a portal at {portal}: {error}; start the agent with `vehicle-agent run`, or give --portal the address that it prints"
        ),
        error => anyhow!(
            "what listens at {portal} is no portal: {error}; give --portal the address that `vehicle-agent run` prints"
        ),
    }
}

/// Why the socket is gone. The error's own source repeats it.
fn broken(error: &tungstenite::Error) -> anyhow::Error {
    anyhow!(
        "the socket to the portal broke: {error}. The agent has ended, or this app read nothing for 30 s; start it again"
    )
}

struct App {
    sink: SplitSink<Socket, Message>,
    exit_after: Option<u64>,
    receipts: bool,
    received: u64,
    /// Messages sent, and those of them whose fate is known.
    sent: u64,
    settled: u64,
    /// Those that will not get to the partner, and lines of input that nothing could be done with.
    refused: u64,
    /// Messages with receipts that the agent keeps.
    kept: BTreeSet<u64>,
    /// The request that came last, until it is answered.
    request: Option<String>,
    /// Tells the identifiers of its messages apart from those of an earlier run of the same app.
    run: u32,
}

/// A message, as far as it asks for an answer.
#[derive(Deserialize)]
struct Asked {
    #[serde(rename = "requestId")]
    request: Option<String>,
}

#[derive(Deserialize)]
struct Frame<'f> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    value: Option<&'f RawValue>,
    upto: Option<u64>,
    /// Only messages have one.
    #[serde(borrow)]
    id: Option<&'f RawValue>,
}

impl App {
    async fn serve(&mut self, mut stream: SplitStream<Socket>) -> anyhow::Result<()> {
        let mut input: Option<BufReader<Stdin>> = Some(BufReader::new(tokio::io::stdin()));
        let mut line = Vec::new();
        loop {
            if self.is_done(input.is_none()) {
                return self.end();
            }
            tokio::select! {
                frame = stream.next() => match frame {
                    Some(Ok(Message::Text(text))) => self.handle_frame(&text).await?,
                    Some(Ok(Message::Close(_))) | None => bail!("the portal closed the socket"),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(broken(&error)),
                },
                more = read_line(&mut input, &mut line) => {
                    if !more? {
                        input = None;
                    } else if !self.handle_line(&std::mem::take(&mut line)).await? {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn is_done(&self, input_ended: bool) -> bool {
        match self.exit_after {
            Some(0) => input_ended && self.settled >= self.sent,
            Some(messages) => self.received >= messages,
            None => false,
        }
    }

    fn end(&self) -> anyhow::Result<()> {
        let App { refused, sent, .. } = self;
        ensure!(
            *refused == 0,
            "{refused} of {sent} messages were not delivered; each was told above"
        );
        Ok(())
    }

    async fn handle_frame(&mut self, text: &str) -> anyhow::Result<()> {
        let frame: Frame<'_> = serde_json::from_str(text).context("the portal sent no JSON")?;
        let value = frame.value.map_or("null", RawValue::get);
        match frame.kind.as_str() {
            "WebPortal.onCurrentNotificationReceived" => self.print(value)?,
            "WebPortal.getPendingNotifications" => {
                let messages: Vec<&RawValue> = serde_json::from_str(value)?;
                for message in messages {
                    self.print(message.get())?;
                }
                if let Some(upto) = frame.upto {
                    let upto = json!({ "upto": upto }).to_string();
                    self.send("WebPortal.confirmPendingNotifications", Some(&upto))
                        .await?;
                }
            }
            "WebPortal.onApplicationShow" => {
                eprintln!("in the foreground");
                self.take_pending().await?;
            }
            "WebPortal.onApplicationHide" => eprintln!("in the background: messages wait"),
            "WebPortal.MQTT.evt.messageAccepted" => {
                if let Some(Ok(id)) = self.own(frame.id) {
                    self.kept.insert(id);
                    eprintln!("message {id} is kept until the partner's server has it");
                }
            }
            "WebPortal.MQTT.evt.messageDelivered" => {
                let (id, kept) = match self.own(frame.id) {
                    Some(Ok(id)) => {
                        self.settled += 1;
                        (id.to_string(), self.kept.remove(&id))
                    }
                    Some(Err(id)) => (format!("{id} of an earlier run"), true),
                    None => return Ok(()),
                };
                let told: Value = serde_json::from_str(value)?;
                if !kept {
                    return Ok(());
                }
                if told["receipts"] == false {
                    eprintln!(
                        "message {id} went without receipts, as no server answered that knows them: the broker has it"
                    );
                } else {
                    eprintln!("message {id} is with the partner's server");
                }
            }
            "WebPortal.MQTT.evt.messageNotDelivered" => {
                let earlier = match self.own(frame.id) {
                    Some(Ok(_)) => {
                        self.settled += 1;
                        self.refused += 1;
                        String::new()
                    }
                    Some(Err(id)) => format!("message {id} of an earlier run "),
                    None => "a message of an earlier run ".to_owned(),
                };
                eprintln!("{earlier}not delivered: {}", explained(value));
            }
            "error" => {
                if let Some(Ok(_)) = self.own(frame.id) {
                    self.settled += 1;
                    self.refused += 1;
                }
                eprintln!("the portal says: {}", explained(value));
            }
            "WebPortal.onPopupShow" => eprintln!("popup, answer with /ok or /cancel: {value}"),
            other => eprintln!("{}: {value}", other.trim_start_matches("WebPortal.")),
        }
        Ok(())
    }

    /// Which of its messages this is, or, of an earlier run, how that called it.
    fn own<'i>(&self, id: Option<&'i RawValue>) -> Option<Result<u64, &'i str>> {
        let id = id?.get();
        let own = id.trim_matches('"').split_once('-');
        let own = own.filter(|(run, _)| *run == format!("{:08x}", self.run));
        let number = own.and_then(|(_, number)| number.parse().ok());
        Some(number.ok_or(id))
    }

    /// Handles a line of input; `false` at `/quit`.
    async fn handle_line(&mut self, line: &[u8]) -> anyhow::Result<bool> {
        let line = String::from_utf8_lossy(line);
        match line.trim() {
            "" => {}
            "/quit" => return Ok(false),
            "/show" => self.send("WebPortal.onApplicationShow", None).await?,
            "/hide" => self.send("WebPortal.onApplicationHide", None).await?,
            "/pending" => self.take_pending().await?,
            "/ok" => {
                self.send("WebPortal.okBtnPopupRequestClicked", None)
                    .await?;
            }
            "/cancel" => {
                self.send("WebPortal.cancelBtnPopupRequestClicked", None)
                    .await?;
            }
            command if command.starts_with('/') => {
                let (word, rest) = command
                    .split_once(char::is_whitespace)
                    .unwrap_or((command, ""));
                match word {
                    "/answer" => self.answer(rest.trim_start()).await?,
                    word if ALONE.contains(&word) => {
                        self.refuse_line(&format!("{word} takes nothing behind it"));
                    }
                    word => self.refuse_line(&format!(
                        "there is no {word}: there are /answer JSON (to the request that came last), {}, and JSON to send",
                        ALONE.join(" ")
                    )),
                }
            }
            content => {
                self.send_content(content, None).await?;
            }
        }
        Ok(true)
    }

    /// Answers the request that came last, which waits for another answer if this one is none.
    async fn answer(&mut self, answer: &str) -> anyhow::Result<()> {
        if answer.is_empty() {
            self.refuse_line("/answer needs a JSON value behind it, such as: /answer \"yes\"");
            return Ok(());
        }
        match self.request.clone() {
            Some(request) => {
                if self.send_content(answer, Some(&request)).await? {
                    self.request = None;
                }
            }
            None => self.refuse_line("no request has come that is not answered"),
        }
        Ok(())
    }

    /// A line of input that nothing can be done with counts as a message that was refused.
    fn refuse_line(&mut self, why: &str) {
        self.sent += 1;
        self.settled += 1;
        self.refused += 1;
        eprintln!("{why}");
    }

    /// Sends content, as the answer to a request if one is named; `false` if it is none.
    async fn send_content(&mut self, content: &str, request: Option<&str>) -> anyhow::Result<bool> {
        if let Err(error) = serde_json::from_str::<&RawValue>(content) {
            self.refuse_line(&format!(
                "not sent, as this line is not JSON: {error}; write text in double quotes, such as \"hello\""
            ));
            return Ok(false);
        }
        self.sent += 1;
        let id = format!(r#""{:08x}-{}""#, self.run, self.sent);
        let kind = "WebPortal.onSendNotificationRequest";
        let receipts = if self.receipts {
            r#","receipts":true"#
        } else {
            ""
        };
        let answers = request.map_or_else(String::new, |id| format!(r#","requestId":"{id}""#));
        let text = format!(r#"{{"type":"{kind}","id":{id}{receipts}{answers},"value":{content}}}"#);
        self.sink
            .send(Message::text(text))
            .await
            .map_err(|error| broken(&error))?;
        Ok(true)
    }

    async fn take_pending(&mut self) -> anyhow::Result<()> {
        self.send(
            "WebPortal.getPendingNotifications",
            Some(r#"{"confirm":true}"#),
        )
        .await
    }

    async fn send(&mut self, kind: &str, value: Option<&str>) -> anyhow::Result<()> {
        let value = value.map_or_else(String::new, |value| format!(r#","value":{value}"#));
        let text = format!(r#"{{"type":"{kind}"{value}}}"#);
        self.sink
            .send(Message::text(text))
            .await
            .map_err(|error| broken(&error))
    }

    /// Prints a message on one line: JSON has line ends between its tokens only.
    fn print(&mut self, message: &str) -> anyhow::Result<()> {
        self.received += 1;
        if let Ok(Asked { request: Some(id) }) = serde_json::from_str(message) {
            self.request = Some(id);
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", message.replace(['\n', '\r'], " "))
            .and_then(|()| out.flush())
            .context("cannot write to the output")
    }
}

/// Reads a line into `line`; `false` at the end of the input. Cancel safe: what was read stays.
async fn read_line(
    input: &mut Option<BufReader<Stdin>>,
    line: &mut Vec<u8>,
) -> anyhow::Result<bool> {
    let Some(input) = input else {
        return std::future::pending().await;
    };
    let read = input
        .read_until(b'\n', line)
        .await
        .context("cannot read the input")?;
    Ok(read > 0 || !line.is_empty())
}

fn explained(value: &str) -> String {
    let value: Value = serde_json::from_str(value).unwrap_or_default();
    let text = |member: &str| value[member].as_str().unwrap_or_default().to_owned();
    format!("{} ({})", text("message"), text("reason"))
}
