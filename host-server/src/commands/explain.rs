//! `explain-acl`: asks a server what a token may do on a topic of the bus, and why.

use std::io::{self, Write};

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::{ClientError, Server};
use crate::cli::{ExplainArgs, TopicAction};

/// Why nothing was explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The server did not do it.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The explanation cannot be printed.
    #[error("the explanation could not be printed: {0}")]
    Output(#[from] io::Error),
}

impl ExplainError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Explained {
    app_id: Option<String>,
    client_id: Option<String>,
    permissions: Vec<String>,
    publish: Decision,
    subscribe: Decision,
    deliver: Decision,
}

#[derive(Deserialize)]
struct Decision {
    allowed: bool,
    rule: String,
}

/// Asks, and prints a line for who the token stands for and one for each action.
///
/// # Errors
/// An [`ExplainError`].
pub async fn run(args: ExplainArgs) -> Result<(), ExplainError> {
    let server = Server::new(&args.access())?;
    let url = server.at_root(&["api", "platform", "acl"]);
    let body = json!({"token": args.token.expose(), "topic": args.topic});
    let request = server.request(Method::POST, url).json(&body);
    let answer = server.send(request).await?;
    let explained: Explained = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    Ok(io::stdout().write_all(shown(&explained, args.action).as_bytes())?)
}

fn shown(explained: &Explained, only: Option<TopicAction>) -> String {
    let mut text = String::new();
    if let (Some(app), Some(client)) = (&explained.app_id, &explained.client_id) {
        let permissions = explained.permissions.join(" ");
        text = format!("client     {app}/{client}  {permissions}\n");
    }
    let decisions = [
        (TopicAction::Publish, "publish", &explained.publish),
        (TopicAction::Subscribe, "subscribe", &explained.subscribe),
        (TopicAction::Deliver, "deliver", &explained.deliver),
    ];
    for (action, name, decision) in decisions {
        if only.is_none_or(|only| only == action) {
            let verdict = if decision.allowed {
                "allowed"
            } else {
                "denied"
            };
            text.push_str(&format!("{name:<9}  {verdict}: {}\n", decision.rule));
        }
    }
    text
}
