//! From a message of a vehicle to a payload of the bus (SPEC 18.4).

use vinbus_protocol::bus::BusTopicText;
use vinbus_protocol::envelope;
use vinbus_protocol::json::{Kind, Object, Value};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::pattern::Unmapped;
use super::rules::{Rule, Up};
use super::{BRIDGE_NAME, BRIDGED_BY};
use crate::model::Uplink;
use crate::uplink_json::timestamp;

/// Why a message of a vehicle is not published on the bus.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum UpError {
    #[error(transparent)]
    Unmapped(#[from] Unmapped),
    #[error(
        "with the base fields it has {len} bytes, at most {PAYLOAD_BYTES_MAX} are allowed on the bus"
    )]
    TooLarge { len: usize },
    #[error("the stored message is damaged")]
    Damaged,
}

impl UpError {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Unmapped(_) => "unmapped",
            Self::TooLarge { .. } => "too_large",
            Self::Damaged => "damaged",
        }
    }
}

/// Members that the bridge writes itself, whatever the app wrote.
const OWN: [&str; 3] = ["appId", "vin", BRIDGED_BY];

/// Topic and payload.
pub(super) fn message(
    rule: &Rule,
    up: &Up,
    uplink: &Uplink,
) -> Result<(BusTopicText, Vec<u8>), UpError> {
    let message = &uplink.message;
    let decoded = envelope::Uplink::decode(&message.payload).map_err(|_| UpError::Damaged)?;
    let content = decoded.content.as_str();
    let members = members(content);
    let value = |name: &str| {
        let found = members.iter().rev().find(|(known, _)| known == name);
        found.and_then(|(_, value)| text(value))
    };
    let topic = up.to.topic(rule.app.as_str(), &message.vin, value)?;
    let mut payload = Vec::with_capacity(content.len() + 256);
    let has_ts = members.iter().any(|(name, _)| name == "ts");
    write(&mut payload, "appId", rule.app.as_str());
    write(&mut payload, "vin", message.vin.as_str());
    write(&mut payload, BRIDGED_BY, BRIDGE_NAME);
    if !has_ts {
        write(&mut payload, "ts", &timestamp(message.received_at));
    }
    if content.starts_with('{') {
        let kept = members.iter().filter(|(name, _)| !OWN.contains(&&**name));
        for (name, value) in kept {
            write_raw(&mut payload, name, value.text);
        }
    } else {
        write_raw(&mut payload, "content", content);
    }
    payload.push(b'}');
    let len = payload.len();
    if len > PAYLOAD_BYTES_MAX {
        return Err(UpError::TooLarge { len });
    }
    Ok((topic, payload))
}

/// The members of an object, in their order; none of another value.
fn members(content: &str) -> Vec<(String, Value<'_>)> {
    let mut members = Vec::new();
    if let Some(mut object) = Object::open(content) {
        while let Ok(Some(member)) = object.next_member() {
            members.push((member.name.to_string(), member.value));
        }
    }
    members
}

/// A text or number, as a level of a topic.
fn text(value: &Value<'_>) -> Option<String> {
    match value.as_string() {
        Some(string) => Some(string.to_string()),
        None => (value.kind == Kind::Number).then(|| value.text.to_owned()),
    }
}

fn write(payload: &mut Vec<u8>, name: &str, value: &str) {
    let value = serde_json::Value::from(value).to_string();
    write_raw(payload, name, &value);
}

fn write_raw(payload: &mut Vec<u8>, name: &str, value: &str) {
    payload.push(if payload.is_empty() { b'{' } else { b',' });
    payload.extend_from_slice(serde_json::Value::from(name).to_string().as_bytes());
    payload.push(b':');
    payload.extend_from_slice(value.as_bytes());
}
