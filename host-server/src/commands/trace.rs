//! `trace`: what became of a message for a vehicle, step by step.

use std::io::{self, Write};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{ClientError, Server};
use crate::cli::TraceArgs;

/// Why nothing was shown.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The server did not tell.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// What it told cannot be printed.
    #[error("the steps could not be printed: {0}")]
    Output(#[from] io::Error),
}

impl TraceError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

/// A message as the server shows it.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Traced {
    uid: String,
    vin: String,
    app: String,
    expires_at: String,
    steps: Vec<TracedStep>,
}

#[derive(Deserialize)]
struct TracedStep {
    step: String,
    at: String,
}

/// Prints one line for each step, or the server's own words.
///
/// # Errors
/// A [`TraceError`].
pub async fn run(args: TraceArgs) -> Result<(), TraceError> {
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
    Ok(io::stdout().write_all(text.as_bytes())?)
}

fn lines(message: &Traced) -> String {
    let line = |TracedStep { step, at }: &TracedStep| {
        let reason = reason(step, message);
        let line = format!("{at}  {step:<8}  {reason}");
        line.trim_end().to_owned() + "\n"
    };
    message.steps.iter().map(line).collect()
}

/// What a step means, as far as this program knows it.
fn reason(step: &str, message: &Traced) -> String {
    let Traced {
        uid,
        vin,
        app,
        expires_at,
        ..
    } = message;
    match step {
        "accepted" => format!("from {uid} for {app} in {vin}, worth sending until {expires_at}"),
        "held" => "the vehicle is offline, or does not listen to this partner".to_owned(),
        "sent" => "the broker has it".to_owned(),
        "rejected" => "the broker can never carry it; the server's log says why".to_owned(),
        "expired" => format!("the vehicle could not hear it before {expires_at}"),
        _ => String::new(),
    }
}
