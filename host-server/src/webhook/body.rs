//! What a delivery says: the event in its envelope.

use vinbus_protocol::envelope::EnvelopeError;

use crate::model::Uplink;
use crate::uplink_json::{self, timestamp};

/// The body of the event `uplink.received`: its `data` is the message as a page shows it, with the
/// bytes of `content` as the app wrote them.
///
/// # Errors
/// Why the payload is no envelope, which only a damaged store has.
pub(super) fn uplink_received(uplink: &Uplink) -> Result<Vec<u8>, EnvelopeError> {
    let timestamp = timestamp(uplink.message.received_at);
    let mut body =
        format!("{{\"type\":\"uplink.received\",\"timestamp\":\"{timestamp}\",\"data\":")
            .into_bytes();
    uplink_json::write(&mut body, uplink)?;
    body.push(b'}');
    Ok(body)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use vinbus_protocol::id::{Uid, Vin};
    use vinbus_protocol::limits::DELIVERY_LONG_BYTES_MAX;

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

    fn body(payload: &str) -> String {
        String::from_utf8(uplink_received(&uplink(payload)).unwrap()).unwrap()
    }

    #[test]
    fn message_that_came_in_parts_is_delivered_whole() {
        let content = format!("\"{}\"", "x".repeat(DELIVERY_LONG_BYTES_MAX - 2));
        let body = body(&format!("{{\"content\":{content}}}"));
        assert!(body.ends_with(&format!("\"content\":{content}}}}}")));
    }

    #[test]
    fn cursor_is_a_string_and_content_is_not_touched() {
        let content = "{ \"a\" : [1.0e3 , \"\\u00e9\\ud800\"],\"a\":0.10 }";
        assert_eq!(
            body(&format!("{{\"content\": {content} }}")),
            format!(
                "{{\"type\":\"uplink.received\",\"timestamp\":\"2023-11-14T22:13:20.123Z\",\
                 \"data\":{{\"cursor\":\"7-123000\",\"vin\":\"0123456789ABCDEFG\",\"uid\":\"part\\\"ner\",\
                 \"subtopic\":null,\"receivedAt\":\"2023-11-14T22:13:20.123Z\",\
                 \"content\":{content}}}}}"
            )
        );
    }

    #[test]
    fn deepest_content_that_the_protocol_takes_is_delivered() {
        let content = format!("{}{}", "[".repeat(127), "]".repeat(127));
        assert!(body(&format!("{{\"content\":{content}}}")).contains(&content));
    }

    #[test]
    fn payload_of_a_damaged_store_is_told() {
        assert!(uplink_received(&uplink("nonsense")).is_err());
    }
}
