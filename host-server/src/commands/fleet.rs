//! `fleet`: one message for many vehicles, and what became of it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use vinbus_protocol::id::Vin;

use super::client::Server;
use super::send::{self, SendError};
use super::vins::{self, VinsError};
use super::{AskError, ClientError, print};
use crate::cli::{Access, FleetArgs, FleetCommand, FleetRecipients, MessageArgs};

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum FleetCommandError {
    /// The message cannot be sent.
    #[error(transparent)]
    Message(#[from] SendError),
    /// The file with the vehicles names none, or something else.
    #[error(transparent)]
    Vins(#[from] VinsError),
    /// The server did not do it, or its answer cannot be printed.
    #[error(transparent)]
    Ask(#[from] AskError),
}

impl FleetCommandError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Message(error) => error.is_usage(),
            Self::Vins(_) => true,
            Self::Ask(error) => error.is_usage(),
        }
    }
}

impl From<ClientError> for FleetCommandError {
    fn from(error: ClientError) -> Self {
        AskError::from(error).into()
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Fleet {
    id: String,
    app: String,
    state: String,
    vehicles: usize,
    counts: BTreeMap<String, usize>,
    unseen: Option<usize>,
    #[serde(default)]
    unseen_vins: Vec<String>,
}

#[derive(Deserialize)]
struct Listed {
    messages: Vec<Fleet>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Vehicles {
    vehicles: Vec<Vehicle>,
    next: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Vehicle {
    vin: String,
    step: String,
    message_id: Option<String>,
}

/// Carries out a command.
///
/// # Errors
/// A [`FleetCommandError`].
pub async fn run(args: FleetArgs) -> Result<(), FleetCommandError> {
    match args.command {
        FleetCommand::Send {
            to,
            message,
            rate,
            access,
        } => send(&to, &message, rate, &access).await,
        FleetCommand::List { access } => list(&access).await,
        FleetCommand::Show(of) => ask(Method::GET, &of.id, None, &of.access).await,
        FleetCommand::Vehicles(of) => vehicles(&of.id, &of.access).await,
        FleetCommand::Pause(of) => ask(Method::POST, &of.id, Some("pause"), &of.access).await,
        FleetCommand::Resume(of) => ask(Method::POST, &of.id, Some("resume"), &of.access).await,
        FleetCommand::Cancel(of) => ask(Method::POST, &of.id, Some("cancel"), &of.access).await,
    }
}

async fn send(
    to: &FleetRecipients,
    message: &MessageArgs,
    rate: Option<u32>,
    access: &Access,
) -> Result<(), FleetCommandError> {
    let envelope = send::envelope(message, Some("in a fleet message"))?;
    let recipients = recipients(to)?;
    let server = Server::new(access)?;
    let mut url = server.at(&["fleet", "messages"]);
    send::ask(&mut url, message);
    if let Some(rate) = rate {
        url.query_pairs_mut().append_pair("rate", &rate.to_string());
    }
    // Both were written by ourselves a moment ago.
    let body = [
        b"{\"message\":".as_slice(),
        &envelope,
        b",",
        &recipients,
        b"}",
    ]
    .concat();
    let request = server
        .post(url)
        .header("content-type", "application/json")
        .body(body);
    let answer = server.send(request).await?;
    let fleet: Fleet = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    if let Some(unseen) = fleet.unseen.filter(|unseen| *unseen > 0) {
        let (vins, of) = (fleet.unseen_vins.join(", "), fleet.vehicles);
        // The server names the first ones.
        let more = match unseen > fleet.unseen_vins.len() {
            true => ", …",
            false => "",
        };
        eprintln!(
            "not seen since the server started, {unseen} of {of} vehicles: {vins}{more}; are the VINs right?"
        );
    }
    Ok(print(&format!("{}\n", fleet.id))?)
}

/// The member of the request that names the vehicles.
fn recipients(to: &FleetRecipients) -> Result<Vec<u8>, FleetCommandError> {
    let mut vins = to.vin.clone();
    if let Some(path) = &to.vins {
        vins.extend(vins::read(path)?);
    }
    let vins: Vec<&str> = vins.iter().map(Vin::as_str).collect();
    let named = !to.vin.is_empty() || to.vins.is_some();
    let member = match named {
        true => format!("\"vins\":{}", json!(vins)),
        false => {
            let mut filter = serde_json::Map::new();
            if to.online {
                filter.insert("online".to_owned(), true.into());
            }
            if let Some(prefix) = &to.vin_prefix {
                filter.insert("vinPrefix".to_owned(), prefix.as_str().into());
            }
            format!("\"filter\":{}", json!(filter))
        }
    };
    Ok(member.into_bytes())
}

async fn list(access: &Access) -> Result<(), FleetCommandError> {
    let server = Server::new(access)?;
    let mut before = None::<String>;
    loop {
        let mut url = server.at(&["fleet", "messages"]);
        if let Some(before) = &before {
            url.query_pairs_mut().append_pair("before", before);
        }
        let answer = server.send(server.get(url)).await?;
        let page: Listed = answer
            .json()
            .await
            .map_err(|error| server.strange(&error))?;
        let mut text = String::new();
        for Fleet {
            id,
            app,
            state,
            vehicles,
            counts,
            ..
        } in page.messages
        {
            let counts = counts.iter().map(|(step, count)| format!("{step} {count}"));
            let counts = counts.collect::<Vec<_>>().join(", ");
            // Writing to a String cannot fail.
            let vehicles = match vehicles {
                1 => "1 vehicle".to_owned(),
                count => format!("{count} vehicles"),
            };
            let _ = writeln!(text, "{id}  {state:<9}  {app}  {vehicles}: {counts}");
        }
        print(&text)?;
        before = page.next;
        if before.is_none() {
            return Ok(());
        }
    }
}

async fn ask(
    method: Method,
    id: &str,
    verb: Option<&str>,
    access: &Access,
) -> Result<(), FleetCommandError> {
    let server = Server::new(access)?;
    let path: Vec<&str> = ["fleet", "messages", id].into_iter().chain(verb).collect();
    let request = server.request(method, server.at(&path));
    let answer = server.send(request).await?;
    let told: Box<RawValue> = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    let fleet: Fleet = serde_json::from_str(told.get()).map_err(|error| server.strange(&error))?;
    let mut text = format!("{:<15}  {}\n", "state", fleet.state);
    let _ = writeln!(text, "{:<15}  {}", "vehicles", fleet.vehicles);
    for (step, count) in fleet.counts {
        let _ = writeln!(text, "{step:<15}  {count}");
    }
    Ok(print(&text)?)
}

async fn vehicles(id: &str, access: &Access) -> Result<(), FleetCommandError> {
    let server = Server::new(access)?;
    let mut after = None::<String>;
    loop {
        let mut url = server.at(&["fleet", "messages", id, "vehicles"]);
        if let Some(after) = &after {
            url.query_pairs_mut().append_pair("after", after);
        }
        let answer = server.send(server.get(url)).await?;
        let page: Vehicles = answer
            .json()
            .await
            .map_err(|error| server.strange(&error))?;
        let mut text = String::new();
        for Vehicle {
            vin,
            step,
            message_id,
        } in page.vehicles
        {
            let id = message_id.unwrap_or_default();
            let line = format!("{vin}  {step:<15}  {id}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        print(&text)?;
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        to: FleetRecipients,
    }

    fn named(words: &str) -> Option<String> {
        let line = Line::try_parse_from(["send"].into_iter().chain(words.split(' ')));
        let member = recipients(&line.ok()?.to).ok()?;
        String::from_utf8(member).ok()
    }

    #[test]
    fn all_vehicles_may_be_narrowed_and_those_that_are_named_may_not() {
        let filters = [
            ("--all", "{}"),
            ("--all --online", r#"{"online":true}"#),
            (
                "--online --all --vin-prefix WF0",
                r#"{"online":true,"vinPrefix":"WF0"}"#,
            ),
            ("--online", r#"{"online":true}"#),
        ];
        for (words, filter) in filters {
            assert_eq!(
                named(words),
                Some(format!("\"filter\":{filter}")),
                "{words}"
            );
        }
        for more in ["--all", "--online", "--vin-prefix WF0"] {
            assert_eq!(named(&format!("--vin 0123456789ABCDEFG {more}")), None);
        }
    }
}
