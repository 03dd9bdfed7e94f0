//! `trace`: what became of a message for a vehicle, step by step.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::Server;
use super::{AskError, print};
use crate::cli::TraceArgs;

/// A message as the server shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traced {
    uid: String,
    vin: String,
    app: String,
    key: Option<String>,
    expires_at: String,
    steps: Vec<TracedStep>,
    transfer: Option<Transfer>,
}

/// How far a message is that travels in parts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Transfer {
    bytes: u64,
    stored: u64,
    begun: u64,
    vehicle_max: Option<u64>,
}

#[derive(Deserialize)]
struct TracedStep {
    step: String,
    at: String,
}

/// Prints one line for each step, or the server's own words.
///
/// # Errors
/// An [`AskError`].
pub async fn run(args: TraceArgs) -> Result<(), AskError> {
    let server = Server::new(&args.access)?;
    let url = server.at(&["messages", &args.id]);
    let answer = server.send(server.get(url)).await?;
    let told: Box<RawValue> = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    let text = if args.json {
        // JSON has line ends between its tokens only.
        told.get().replace(['\n', '\r'], " ") + "\n"
    } else {
        lines(&serde_json::from_str(told.get()).map_err(|error| server.strange(&error))?)
    };
    print(&text)
}

fn lines(message: &Traced) -> String {
    let line = |TracedStep { step, at }: &TracedStep| {
        let reason = reason(step, message);
        let line = format!("{at}  {step:<15}  {reason}");
        line.trim_end().to_owned() + "\n"
    };
    let mut lines: String = message.steps.iter().map(line).collect();
    if let Some(transfer) = &message.transfer {
        lines += &progress(transfer);
    }
    lines
}

/// How far a message is that travels in parts, as one line.
fn progress(transfer: &Transfer) -> String {
    let Transfer {
        bytes,
        stored,
        begun,
        vehicle_max,
    } = transfer;
    let mut line = format!("in parts: the vehicle has {stored} of {bytes} bytes");
    if *begun > 1 {
        line += &format!(", begun {begun} times");
    }
    match vehicle_max {
        Some(max) if max < bytes => {
            line += &format!("; it announced that it takes at most {max} in parts");
        }
        Some(_) | None => {}
    }
    line + "\n"
}

/// What a step means, as far as this program knows it.
fn reason(step: &str, message: &Traced) -> String {
    let Traced {
        uid,
        vin,
        app,
        key,
        expires_at,
        ..
    } = message;
    match step {
        "accepted" => {
            let key = key.as_ref().map(|key| format!(", key {key}"));
            let key = key.unwrap_or_default();
            format!("from {uid} for {app} in {vin}{key}, worth sending until {expires_at}")
        }
        "superseded" => "a newer message of its key took its place before it was sent".to_owned(),
        "held" => "the vehicle is offline, or does not listen to this partner".to_owned(),
        "sent" => "the broker has it".to_owned(),
        "rejected" => "the broker can never carry it; the server's log says why".to_owned(),
        "expired" => format!("no app in the vehicle took it before {expires_at}"),
        "at_agent" => "the vehicle has it".to_owned(),
        "held_background" => "it waits for its app, which is in the background".to_owned(),
        "held_privacy" => "it waits, as privacy is asked for".to_owned(),
        "handed" => "the app was given it, and is to confirm it".to_owned(),
        "taken" => "the app has it; it confirms nothing".to_owned(),
        "confirmed" => "the app has confirmed it".to_owned(),
        "part_stored" => "the vehicle has a part of it, and more follow".to_owned(),
        "part_missing" => "the vehicle had lost what was stored: it begins again".to_owned(),
        "known" => "the vehicle had it before; what became of it was told then".to_owned(),
        "evicted" => "the app did not come up, and newer messages took its place".to_owned(),
        "unknown_app" => format!("{app} is not installed in the vehicle"),
        "too_large" => "the vehicle cannot take a message of this size".to_owned(),
        "bad_content" => "the vehicle could not read it".to_owned(),
        "denied" => format!("the vehicle does not let {uid} send to {app}"),
        "refused_by_app" => "the app refused it".to_owned(),
        "given_up" => "the vehicle never said what became of it".to_owned(),
        "peer_restarted" => {
            "the vehicle lost its memory: the app may have it or not, and it is not sent again"
                .to_owned()
        }
        "unsupported" => "the vehicle answers no requests".to_owned(),
        "answered" => "the app has answered the request".to_owned(),
        "not_there" => {
            "the app was not in the foreground, and the request did not wait for it".to_owned()
        }
        "cancelled" => "the request was cancelled".to_owned(),
        "busy" => "the vehicle has as many open requests as it may".to_owned(),
        _ => String::new(),
    }
}
