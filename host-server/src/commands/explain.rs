//! `explain-acl`: asks a server what a token may do on a topic of the bus, and why.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use super::client::Server;
use super::{AskError, print};
use crate::cli::{ExplainArgs, TopicAction};

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
/// An [`AskError`].
pub async fn run(args: ExplainArgs) -> Result<(), AskError> {
    let token = args.admin_token.as_ref();
    let server = Server::with_token(&args.server, token, "--admin-token")?;
    let url = server.at_root(&["api", "platform", "acl"]);
    let body = json!({"token": args.token.expose(), "topic": args.topic});
    let request = server.request(Method::POST, url).json(&body);
    let answer = server.send(request).await?;
    let explained: Explained = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    print(&shown(&explained, &args.topic, args.action))
}

fn shown(explained: &Explained, topic: &str, only: Option<TopicAction>) -> String {
    let is_filter = topic.starts_with("$share/") || topic.contains(['+', '#']);
    let subscribe_alone = only.is_none() && is_filter;
    let only = only.or(subscribe_alone.then_some(TopicAction::Subscribe));
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
    if subscribe_alone {
        text.push_str("(publish and deliver are about a topic; this is a filter)\n");
    }
    text
}
