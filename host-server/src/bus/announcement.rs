//! What happens to clients and tokens, as messages on the bus: topics and payloads of a SERMAS
//! platform.

use std::time::SystemTime;

use serde_json::{Value, json};
use vinbus_protocol::bus::{BuildError, BusTopicText, topics};

use super::{BusClient, BusEvent, ClientKey, Operation, TokenKind};

/// Topic and payload of an event that happened at `now`.
///
/// # Errors
/// None for a key that was parsed: its names are levels of a topic.
pub(crate) fn announcement(
    event: &BusEvent,
    now: SystemTime,
) -> Result<(BusTopicText, Value), BuildError> {
    let ts = humantime::format_rfc3339_millis(now).to_string();
    match event {
        BusEvent::TokenIssued { key, kind } => {
            let topic = topics::PLATFORM_TOKEN_REQUESTED.topic(&[("appId", key.app.as_str())])?;
            // That platform names the client in two ways.
            let (client, kind) = match kind {
                TokenKind::Access => (key.composite(), "access"),
                TokenKind::Refresh => (key.client.to_string(), "refresh"),
            };
            let payload = json!({
                "appId": key.app.as_str(), "clientId": client, "ts": ts, "tokenType": kind,
            });
            Ok((topic, payload))
        }
        BusEvent::ClientChanged { operation, client } => {
            let ClientKey { app, client: name } = &client.key;
            let variables = [("appId", app.as_str()), ("clientId", name.as_str())];
            let topic = topics::PLATFORM_CLIENT_CHANGED.topic(&variables)?;
            let payload = json!({
                "appId": app.as_str(),
                "clientId": name.as_str(),
                "ts": ts,
                "operation": word(*operation),
                "record": record(client),
            });
            Ok((topic, payload))
        }
    }
}

fn word(operation: Operation) -> &'static str {
    match operation {
        Operation::Created => "created",
        Operation::Updated => "updated",
        Operation::Deleted => "deleted",
    }
}

/// A client as others may see it.
fn record(client: &BusClient) -> Value {
    json!({
        "appId": client.key.app.as_str(),
        "clientId": client.key.client.as_str(),
        "name": client.name,
        "permissions": client.permissions.iter().collect::<Vec<_>>(),
        "disabled": client.disabled,
    })
}
