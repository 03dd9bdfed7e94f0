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
        "its payload has {len} bytes or more, at most {PAYLOAD_BYTES_MAX} are allowed on the bus"
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

    /// Whether it is no more than a message that the rule is not about, such as one that answers nothing.
    pub(super) const fn is_ordinary(&self) -> bool {
        matches!(self, Self::Unmapped(Unmapped::Missing { .. }))
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
    let decoded = envelope::Uplink::decode_long(&message.payload).map_err(|_| UpError::Damaged)?;
    let content = decoded.content.as_str();
    // One that came in parts is not written anew for each rule only to be refused.
    if content.len() > PAYLOAD_BYTES_MAX {
        let len = content.len();
        return Err(UpError::TooLarge { len });
    }
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

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use vinbus_protocol::id::{Uid, Vin};
    use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

    use super::*;
    use crate::bridge::Pattern;
    use crate::bus::ClientName;
    use crate::model::{Cursor, NewUplink};

    const VIN: &str = "0123456789ABCDEFG";

    fn carried(to: &str, content: &str) -> Result<(String, String), UpError> {
        let up = Up {
            to: Pattern::parse(to).unwrap(),
            subtopic: None,
        };
        let rule = Rule {
            app: ClientName::parse("myapp").unwrap(),
            uid: Uid::parse("partner").unwrap(),
            vin: None,
            down: None,
            up: None,
        };
        let uplink = Uplink {
            cursor: Cursor(1),
            message: NewUplink {
                uid: rule.uid.clone(),
                vin: Vin::parse(VIN).unwrap(),
                subtopic: None,
                payload: format!("{{\"content\":{content}}}").into(),
                received_at: UNIX_EPOCH,
            },
        };
        let (topic, payload) = message(&rule, &up, &uplink)?;
        Ok((
            topic.as_str().to_owned(),
            String::from_utf8(payload).unwrap(),
        ))
    }

    fn payload(content: &str) -> String {
        carried("a/b", content).unwrap().1
    }

    #[test]
    fn members_stay_as_they_are_behind_those_of_the_bridge() {
        let own = format!(r#"{{"appId":"myapp","vin":"{VIN}","bridgedBy":"vinbus","#);
        let ts = r#""ts":"1970-01-01T00:00:00.000Z""#;
        assert_eq!(
            payload(r#"{ "requestId" : "r-1","a":[1.50 , "\u00e9"],"a":2}"#),
            format!(r#"{own}{ts},"requestId":"r-1","a":[1.50 , "\u00e9"],"a":2}}"#)
        );
        assert_eq!(
            payload(r#"{"ts":"noon"}"#),
            format!(r#"{own}"ts":"noon"}}"#)
        );
        assert_eq!(payload("{}"), format!("{own}{ts}}}"));
        assert_eq!(
            payload("[1, 2]"),
            format!(r#"{own}{ts},"content":[1, 2]}}"#)
        );
    }

    #[test]
    fn app_cannot_speak_for_another_or_take_the_mark_away() {
        let forged = r#"{"appId":"other","v\u0069n":"other","bridgedBy":null,"ts":"t"}"#;
        let expected =
            format!(r#"{{"appId":"myapp","vin":"{VIN}","bridgedBy":"vinbus","ts":"t"}}"#);
        assert_eq!(payload(forged), expected);
    }

    #[test]
    fn topic_has_the_texts_and_numbers_of_the_content() {
        let topic = |content: &str| carried("a/b/:of/:vin", content).map(|(topic, _)| topic);
        let expected = |of: &str| Ok(format!("app/myapp/a/b/{of}/{VIN}"));
        assert_eq!(topic(r#"{"of":"s-1"}"#), expected("s-1"));
        assert_eq!(topic(r#"{"of":-7}"#), expected("-7"));
        assert_eq!(topic(r#"{"of":1,"of":2}"#), expected("2"));
        for none in [
            r#"{"of":true}"#,
            r#"{"of":null}"#,
            "{}",
            "[1]",
            r#"{"of":"a/b"}"#,
        ] {
            let error = topic(none).unwrap_err();
            assert_eq!(error.name(), "unmapped", "{none}");
        }
    }

    #[test]
    fn what_does_not_fit_with_the_base_fields_is_refused() {
        let empty = payload(r#"{"a":""}"#).len();
        let content = |room: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(room));
        let room = PAYLOAD_BYTES_MAX - empty;
        assert_eq!(payload(&content(room)).len(), PAYLOAD_BYTES_MAX);
        let error = carried("a/b", &content(room + 1)).unwrap_err();
        assert_eq!(
            error,
            UpError::TooLarge {
                len: PAYLOAD_BYTES_MAX + 1
            }
        );
        // One that came in parts is as readable, and as much too large, whatever the rule asks for.
        let long = carried("a/b/:of", &content(DELIVERY_LONG_BYTES_MAX - 8)).unwrap_err();
        let len = DELIVERY_LONG_BYTES_MAX;
        assert_eq!(long, UpError::TooLarge { len });
    }
}
