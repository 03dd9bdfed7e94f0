//! `/api/asyncapi.json`: the description of the bus (AsyncAPI 3.0), made of the protocol's own topic
//! map. `asyncapi.json` beside this file is the same text, so that a change of it is seen in review:
//! `cargo xtask golden` writes it.
//!
//! It is written from a client's side: a client *sends* what it publishes and *receives* what it
//! subscribes to.

mod payloads;

use std::sync::LazyLock;

use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};
use vinbus_protocol::bus::access::TELLS_OF_VEHICLES;
use vinbus_protocol::bus::{Owner, RENEWAL_TOPIC, TopicSpec, topics};
use vinbus_protocol::limits::{BUS_LEVEL_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// What a client may do with a topic of the map; those of the host are there to be received.
const ACTIONS: [&str; 2] = ["send", "receive"];

/// The channel on which a client gives the host its next token.
const RENEWAL: &str = "vinbus.token";

/// Every topic that is described.
fn described() -> impl Iterator<Item = &'static TopicSpec> {
    topics::ALL.iter().chain(topics::OF_HOST)
}

/// Answers the document.
pub(crate) async fn serve() -> impl IntoResponse {
    static TEXT: LazyLock<String> = LazyLock::new(text);
    ([(CONTENT_TYPE, "application/json")], TEXT.as_str())
}

/// The document as text, as it is served and kept.
#[must_use]
pub fn text() -> String {
    format!("{:#}\n", document())
}

fn document() -> Value {
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "vinbus bus",
            "version": env!("CARGO_PKG_VERSION"),
            "description": format!(
                "Where programs talk to each other and to the platform, over MQTT. A client publishes \
                 and subscribes with a token of `/api/platform/token/access_token` as its user name \
                 and any password that is not empty. In the topic of an application, this must be one \
                 of the token's, and the client needs the permission that the channel names, \
                 `{{resource}}.*` or `*`. Wildcards may follow the scope. A payload has at most \
                 {PAYLOAD_BYTES_MAX} bytes. Topics that are not described here are carried as well."
            ),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "defaultContentType": "application/json",
        "servers": servers(),
        "channels": keyed(described().map(|spec| (name(spec), channel(spec))).chain([renewal_channel()])),
        "operations": keyed(described().flat_map(operations).chain([renewal_operation()])),
        "components": {
            "parameters": parameters(),
            "messages": payloads::messages(),
            "schemas": payloads::schemas(),
            "securitySchemes": {
                "token": {
                    "type": "userPassword",
                    "description": "The access token is the user name.",
                },
            },
        },
    })
}

fn servers() -> Value {
    let security = json!([{ "$ref": "#/components/securitySchemes/token" }]);
    json!({
        "webSocket": {
            "host": "localhost:8080",
            "pathname": "/mqtt",
            "protocol": "ws",
            "description": "MQTT 5 and 3.1.1 over WebSocket, subprotocol `mqtt`.",
            "security": security,
        },
        "tcp": {
            "host": "localhost:1883",
            "protocol": "mqtt",
            "protocolVersion": "5.0",
            "description": "On this machine only, without TLS.",
            "security": security,
        },
    })
}

/// The name of a channel: group and key, as the platform's source has them.
fn name(spec: &TopicSpec) -> String {
    format!("{}.{}", spec.group, spec.key)
}

/// The topic with its variables in braces.
fn address(spec: &TopicSpec) -> String {
    let levels = spec.pattern.split('/').map(|level| {
        level
            .strip_prefix(':')
            .map_or_else(|| level.to_owned(), |variable| format!("{{{variable}}}"))
    });
    levels.collect::<Vec<_>>().join("/")
}

fn channel(spec: &TopicSpec) -> Value {
    let (resource, scope) = (spec.resource, spec.scope);
    let description = match spec.owner {
        _ if *spec == topics::PLATFORM_TOKEN_EXPIRING => {
            format!(
                "Published by the host alone. Permission: `{resource}.{scope}`, but none for the client \
                 that it names."
            )
        }
        _ if topics::OF_HOST.contains(spec) => format!(
            "Published by the host alone, or a client with `{TELLS_OF_VEHICLES}`. Permission: \
             `{resource}.{scope}`."
        ),
        Owner::App(_) | Owner::User(_) => format!("Permission: `{resource}.{scope}`."),
        Owner::System => "The platform's own: for superusers.".to_owned(),
    };
    let message = payloads::name(spec.payload);
    let parameters = spec
        .variables()
        .map(|name| (name, reference("parameters", name)));
    json!({
        "address": address(spec),
        "description": description,
        "tags": [{ "name": spec.group }],
        "parameters": keyed(parameters),
        "messages": { message: reference("messages", message) },
    })
}

fn operations(spec: &TopicSpec) -> impl Iterator<Item = (String, Value)> + use<> {
    let name = name(spec);
    let message = payloads::name(spec.payload);
    let actions = match topics::OF_HOST.contains(spec) {
        true => &ACTIONS[1..],
        false => &ACTIONS,
    };
    actions
        .iter()
        .map(move |action| operation(action, &name, message))
}

fn operation(action: &str, channel: &str, message: &str) -> (String, Value) {
    let reference = format!("#/channels/{channel}");
    let operation = json!({
        "action": action,
        "channel": { "$ref": reference },
        "messages": [{ "$ref": format!("{reference}/messages/{message}") }],
    });
    (format!("{action}.{channel}"), operation)
}

fn renewal_channel() -> (String, Value) {
    let channel = json!({
        "address": RENEWAL_TOPIC,
        "description": "No permission: a new token of its own, with which the client's session goes on. \
                        Nobody hears it.",
        "tags": [{ "name": "vinbus" }],
        "messages": { payloads::TOKEN: reference("messages", payloads::TOKEN) },
    });
    (RENEWAL.to_owned(), channel)
}

fn renewal_operation() -> (String, Value) {
    operation("send", RENEWAL, payloads::TOKEN)
}

fn parameters() -> Value {
    let names = described().flat_map(TopicSpec::variables);
    keyed(names.map(|name| {
        let of = match name {
            "appId" => "The application, one of the token's.",
            "name" => "The name of the tool.",
            "vin" => "The vehicle.",
            "step" => "What became of the message.",
            _ => "An identifier, chosen by whoever made what it names.",
        };
        let description = format!(
            "{of} 1 to {BUS_LEVEL_BYTES_MAX} bytes without `/`, `+`, `#` and control characters."
        );
        (name, json!({ "description": description }))
    }))
}

fn reference(kind: &str, name: &str) -> Value {
    json!({ "$ref": format!("#/components/{kind}/{name}") })
}

fn keyed<K: Into<String>>(entries: impl Iterator<Item = (K, Value)>) -> Value {
    Value::Object(
        entries
            .map(|(key, value)| (key.into(), value))
            .collect::<Map<_, _>>(),
    )
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use vinbus_protocol::bus::BusTopic;

    use super::*;

    fn object(value: &Value) -> &Map<String, Value> {
        value.as_object().expect("an object")
    }

    /// Everything in the document that refers to something else in it.
    fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
        match value {
            Value::Object(members) => {
                if let Some(Value::String(to)) = members.get("$ref") {
                    assert_eq!(members.len(), 1, "nothing stands beside a reference");
                    found.push(to);
                }
                members.values().for_each(|value| references(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| references(value, found)),
            _ => {}
        }
    }

    #[test]
    fn golden_file_is_what_is_served() {
        assert!(
            text() == include_str!("asyncapi.json"),
            "if the change is wanted, run `cargo xtask golden` and review the diff"
        );
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 57 * 4);
        for to in found {
            let pointer = to.strip_prefix('#').expect("into the document itself");
            assert!(document.pointer(pointer).is_some(), "{to}");
        }
    }

    #[test]
    fn nothing_is_described_that_no_channel_uses() {
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        let used: BTreeSet<_> = found.into_iter().collect();
        for (kind, components) in object(&document["components"]) {
            for name in object(components).keys() {
                let reference = format!("#/components/{kind}/{name}");
                assert!(used.contains(reference.as_str()), "{reference}");
            }
        }
    }

    #[test]
    fn every_channel_is_a_topic_with_all_its_parameters() {
        let document = document();
        let channels = object(&document["channels"]);
        assert_eq!(channels.len(), described().count() + 1);
        for (name, channel) in channels.iter().filter(|(name, _)| *name != RENEWAL) {
            let address = channel["address"].as_str().expect("an address");
            let variables: BTreeSet<_> = address
                .split('/')
                .filter_map(|level| level.strip_prefix('{')?.strip_suffix('}'))
                .collect();
            let parameters = object(&channel["parameters"]).keys();
            assert_eq!(
                variables,
                parameters.map(String::as_str).collect(),
                "{name}"
            );
            let topic = address.replace(['{', '}'], "");
            let spec = BusTopic::parse(&topic)
                .expect("a topic")
                .spec
                .expect("known");
            assert_eq!(*name, super::name(spec));
            assert_eq!(object(&channel["messages"]).len(), 1);
        }
    }

    #[test]
    fn every_operation_is_of_a_channel_and_carries_its_message() {
        let document = document();
        let operations = object(&document["operations"]);
        let of_map = topics::ALL.len() * ACTIONS.len();
        assert_eq!(operations.len(), of_map + topics::OF_HOST.len() + 1);
        for (name, operation) in operations {
            let action = operation["action"].as_str().expect("an action");
            let channel = operation["channel"]["$ref"].as_str().expect("a reference");
            let of = channel.strip_prefix("#/channels/").expect("a channel");
            assert_eq!(*name, format!("{action}.{of}"));
            let message = operation["messages"][0]["$ref"].as_str();
            assert!(message.is_some_and(|it| it.starts_with(&format!("{channel}/messages/"))));
        }
    }
}
