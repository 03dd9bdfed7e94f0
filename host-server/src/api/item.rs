//! A message from a vehicle as JSON: what pages, event streams and webhooks show of it.

use std::time::SystemTime;

use serde::Serialize;
use vinbus_protocol::envelope;

use crate::model::Uplink;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    cursor: String,
    vin: &'a str,
    uid: &'a str,
    subtopic: Option<&'a str>,
    received_at: String,
}

/// Appends the JSON object of `uplink` to `out`; `content` keeps every byte it arrived with.
pub(crate) fn write(out: &mut Vec<u8>, uplink: &Uplink) {
    let message = &uplink.message;
    let head = Head {
        cursor: uplink.cursor.0.to_string(),
        vin: message.vin.as_str(),
        uid: message.uid.as_str(),
        subtopic: message.subtopic.as_deref(),
        received_at: timestamp(message.received_at),
    };
    // Writing strings to a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, &head);
    out.pop();
    out.extend_from_slice(b",\"content\":");
    match envelope::Uplink::decode(&message.payload) {
        Ok(decoded) => out.extend_from_slice(decoded.content.as_bytes()),
        Err(error) => {
            tracing::error!(cursor = uplink.cursor.0, %error, "a stored message is damaged");
            out.extend_from_slice(b"null");
        }
    }
    out.push(b'}');
}

/// A time as RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
