//! What a delivery says: the event in its envelope.

use serde::Serialize;
use serde_json::value::RawValue;
use vinbus_protocol::envelope;

use crate::model::Uplink;

#[derive(Serialize)]
struct Event<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: String,
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    cursor: u64,
    vin: &'a str,
    uid: &'a str,
    subtopic: Option<&'a str>,
    content: &'a RawValue,
}

/// The body of the event `uplink.received`, with the bytes of `content` as the app wrote them; says
/// why not for a payload that is no envelope, which only a damaged store has.
pub(super) fn uplink_received(uplink: &Uplink) -> Result<String, String> {
    let message = &uplink.message;
    let envelope = envelope::Uplink::decode(&message.payload).map_err(|error| error.to_string())?;
    let event = Event {
        kind: "uplink.received",
        timestamp: humantime::format_rfc3339_millis(message.received_at).to_string(),
        data: Data {
            cursor: uplink.cursor.0,
            vin: message.vin.as_str(),
            uid: message.uid.as_str(),
            subtopic: message.subtopic.as_deref(),
            content: serde_json::from_str(envelope.content.as_str())
                .map_err(|error| error.to_string())?,
        },
    };
    serde_json::to_string(&event).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use vinbus_protocol::id::{Uid, Vin};

    use super::*;
    use crate::model::{Cursor, NewUplink};

    fn uplink(payload: &str) -> Uplink {
        Uplink {
            cursor: Cursor(7),
            message: NewUplink {
                uid: Uid::parse("part\"ner").unwrap(),
                vin: Vin::parse("0123456789ABCDEFG").unwrap(),
                subtopic: None,
                payload: payload.to_owned().into(),
                received_at: UNIX_EPOCH + Duration::from_millis(1_700_000_000_123),
            },
        }
    }

    #[test]
    fn content_is_not_touched() {
        let content = "{ \"a\" : [1.0e3 , \"\\u00e9\\ud800\"],\"a\":0.10 }";
        let body = uplink_received(&uplink(&format!("{{\"content\": {content} }}"))).unwrap();
        assert_eq!(
            body,
            format!(
                "{{\"type\":\"uplink.received\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\
                 \"data\":{{\"cursor\":7,\"vin\":\"0123456789ABCDEFG\",\"uid\":\"part\\\"ner\",\
                 \"subtopic\":null,\"content\":{content}}}}}"
            )
        );
    }

    #[test]
    fn deepest_content_that_the_protocol_takes_is_delivered() {
        let content = format!("{}{}", "[".repeat(127), "]".repeat(127));
        let body = uplink_received(&uplink(&format!("{{\"content\":{content}}}"))).unwrap();
        assert!(body.contains(&content));
    }

    #[test]
    fn payload_of_a_damaged_store_is_told() {
        assert!(uplink_received(&uplink("nonsense")).is_err());
    }
}
