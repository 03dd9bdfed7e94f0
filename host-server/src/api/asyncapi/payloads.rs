//! What is published on the bus, as schemas (SPEC 12.6).

mod vehicles;

use serde_json::{Value, json};
use vinbus_protocol::bus::PayloadKind;

/// The message and schema of a token.
pub(super) const TOKEN: &str = "Token";

const KINDS: [PayloadKind; 15] = [
    PayloadKind::Event,
    PayloadKind::Change,
    PayloadKind::DialogueMessage,
    PayloadKind::UiInteraction,
    PayloadKind::AgentHeartBeat,
    PayloadKind::OperationState,
    PayloadKind::TokenRequested,
    PayloadKind::TokenExpiring,
    PayloadKind::VehiclePresence,
    PayloadKind::VehicleReceived,
    PayloadKind::VehicleRefused,
    PayloadKind::VehicleHealth,
    PayloadKind::MessageStep,
    PayloadKind::EventsMissed,
    PayloadKind::Bytes,
];

/// The name of the message and of its schema.
pub(super) const fn name(kind: PayloadKind) -> &'static str {
    match kind {
        PayloadKind::Event => "Event",
        PayloadKind::Change => "Change",
        PayloadKind::DialogueMessage => "DialogueMessage",
        PayloadKind::UiInteraction => "UiInteraction",
        PayloadKind::AgentHeartBeat => "AgentHeartBeat",
        PayloadKind::OperationState => "OperationState",
        PayloadKind::TokenRequested => "TokenRequested",
        PayloadKind::TokenExpiring => "TokenExpiring",
        PayloadKind::VehiclePresence => "VehiclePresence",
        PayloadKind::VehicleReceived => "VehicleReceived",
        PayloadKind::VehicleRefused => "VehicleRefused",
        PayloadKind::VehicleHealth => "VehicleHealth",
        PayloadKind::MessageStep => "MessageStep",
        PayloadKind::EventsMissed => "EventsMissed",
        PayloadKind::Bytes => "Bytes",
    }
}

const fn summary(kind: PayloadKind) -> &'static str {
    match kind {
        PayloadKind::Event => "What happened, with members of its own.",
        PayloadKind::Change => "A record was made, changed or removed.",
        PayloadKind::DialogueMessage => "What a user or an agent said.",
        PayloadKind::UiInteraction => "What a user did to a module's interface.",
        PayloadKind::AgentHeartBeat => "How an agent is.",
        PayloadKind::OperationState => "What a robot does.",
        PayloadKind::TokenRequested => "A client was given a token.",
        PayloadKind::TokenExpiring => "A client's token is over soon.",
        PayloadKind::VehiclePresence => "A vehicle can hear the host, or no longer can.",
        PayloadKind::VehicleReceived => "A vehicle sent a message, which is on disk.",
        PayloadKind::VehicleRefused => "A vehicle sent what breaks the protocol.",
        PayloadKind::VehicleHealth => "A vehicle told of its condition.",
        PayloadKind::MessageStep => "What became of a message for a vehicle.",
        PayloadKind::EventsMissed => "Events came faster than they could be told.",
        PayloadKind::Bytes => "Raw bytes, such as sound.",
    }
}

pub(super) fn messages() -> Value {
    let token = json!({
        "summary": "An access token.",
        "contentType": "text/plain",
        "payload": super::reference("schemas", TOKEN),
    });
    let messages = KINDS.into_iter().map(|kind| {
        let content_type = match kind.is_json() {
            true => "application/json",
            false => "application/octet-stream",
        };
        let message = json!({
            "summary": summary(kind),
            "contentType": content_type,
            "payload": super::reference("schemas", name(kind)),
        });
        (name(kind), message)
    });
    super::keyed(messages.chain([(TOKEN, token)]))
}

pub(super) fn schemas() -> Value {
    let base = ("BaseFields", base_fields());
    let token = (
        TOKEN,
        json!({ "type": "string", "description": "A JSON Web Token." }),
    );
    let payloads = KINDS.into_iter().map(|kind| (name(kind), schema(kind)));
    super::keyed(payloads.chain([base, token]))
}

/// The base fields. All of them are optional: the topic names the application, too.
fn base_fields() -> Value {
    json!({
        "type": "object",
        "properties": {
            "appId": { "type": "string" },
            "clientId": { "type": "string", "description": "The program that sent it." },
            "requestId": { "type": "string", "description": "What an answer repeats." },
            "userId": { "type": "string" },
            "ts": { "type": "string", "format": "date-time" },
            "sessionId": { "type": "string", "description": "The user's session." },
        },
    })
}

fn schema(kind: PayloadKind) -> Value {
    let string = || json!({ "type": "string" });
    match kind {
        PayloadKind::Event => with_base(&[], json!({})),
        PayloadKind::Change => with_base(
            &["operation", "record"],
            json!({
                "operation": {
                    "enum": ["created", "updated", "deleted"],
                    "description": "Some senders say `removed` for `deleted`.",
                },
                "record": { "type": "object" },
            }),
        ),
        PayloadKind::DialogueMessage => with_base(
            &["actor", "language", "text"],
            json!({
                "actor": { "enum": ["user", "agent"] },
                "text": string(),
                "language": string(),
                "gender": string(),
                "emotion": string(),
                "llm": string(),
                "avatar": string(),
                "messageId": { "type": "string", "description": "A ULID." },
                "chunkId": { "type": "string", "description": "A ULID." },
                "ttsEnabled": { "type": "boolean", "default": true },
                "isWelcome": { "type": "boolean", "default": false },
            }),
        ),
        PayloadKind::UiInteraction => with_base(
            &["interaction", "moduleId"],
            json!({
                "moduleId": string(),
                "interaction": {
                    "type": "object",
                    "properties": { "context": {}, "element": {}, "value": {} },
                },
            }),
        ),
        PayloadKind::AgentHeartBeat => with_base(
            &["status"],
            json!({
                "agentId": string(),
                "moduleId": string(),
                "status": {
                    "enum": [
                        "unavailable", "error", "not_ready", "ready", "loading", "interacting",
                        "waiting", "processing",
                    ],
                },
                "settings": { "type": "object" },
            }),
        ),
        PayloadKind::OperationState => with_base(
            &["op", "state"],
            json!({
                "op": { "enum": ["navigate", "move", "take"] },
                "state": { "enum": ["started", "finished", "failed"] },
            }),
        ),
        PayloadKind::TokenRequested => with_base(
            &["tokenType"],
            json!({ "tokenType": { "enum": ["access", "refresh"] } }),
        ),
        PayloadKind::TokenExpiring => with_base(
            &["expiresAt", "tokenId"],
            json!({
                "tokenId": { "type": "string", "description": "The token's `jti`." },
                "expiresAt": time(),
                "mqttClientId": { "type": "string", "description": "The session that ends with it." },
            }),
        ),
        PayloadKind::VehiclePresence => vehicles::presence(),
        PayloadKind::VehicleReceived => vehicles::received(),
        PayloadKind::VehicleRefused => vehicles::refused(),
        PayloadKind::VehicleHealth => vehicles::health(),
        PayloadKind::MessageStep => vehicles::message_step(),
        PayloadKind::EventsMissed => vehicles::events_missed(),
        PayloadKind::Bytes => json!({ "type": "string", "format": "binary" }),
    }
}

fn time() -> Value {
    json!({ "type": "string", "format": "date-time" })
}

/// An object with the base fields and these members; others may stand beside them.
fn with_base(required: &[&str], properties: Value) -> Value {
    let mut own = json!({ "type": "object" });
    own["properties"] = properties;
    if !required.is_empty() {
        own["required"] = json!(required);
    }
    json!({ "allOf": [super::reference("schemas", "BaseFields"), own] })
}
