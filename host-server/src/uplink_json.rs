//! A message from a vehicle as JSON: the one object that pages, event streams and webhooks show of
//! it. Cursors are strings, since a JSON number need not hold 64 bits (RFC 8259, section 6).

use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use vinbus_protocol::envelope::{self, EnvelopeError};

use crate::model::{EXCERPT_CHARS, Step, Uplink};

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
///
/// # Errors
/// Why the payload is no envelope, which only a damaged store has; `content` is `null` then.
pub(crate) fn write(out: &mut Vec<u8>, uplink: &Uplink) -> Result<(), EnvelopeError> {
    write_with(out, uplink, |out, content| {
        out.extend_from_slice(b",\"content\":");
        out.extend_from_slice(content.as_bytes());
    })
}

/// The same in brief: in place of `content` stand its `contentBytes`, and its `excerpt`, which has at most
/// [`EXCERPT_CHARS`] characters.
///
/// # Errors
/// As [`write()`].
pub(crate) fn write_brief(out: &mut Vec<u8>, uplink: &Uplink) -> Result<(), EnvelopeError> {
    write_with(out, uplink, |out, content| {
        let excerpt: String = content.chars().take(EXCERPT_CHARS).collect();
        out.extend_from_slice(format!(",\"contentBytes\":{}", content.len()).as_bytes());
        out.extend_from_slice(b",\"excerpt\":");
        let _ = serde_json::to_writer(out, &excerpt);
    })
}

fn write_with(
    out: &mut Vec<u8>,
    uplink: &Uplink,
    show: impl FnOnce(&mut Vec<u8>, &str),
) -> Result<(), EnvelopeError> {
    let message = &uplink.message;
    let head = Head {
        cursor: uplink.stamped().to_string(),
        vin: message.vin.as_str(),
        uid: message.uid.as_str(),
        subtopic: message.subtopic.as_deref(),
        received_at: timestamp(message.received_at),
    };
    // Writing strings to a Vec cannot fail.
    let _ = serde_json::to_writer(&mut *out, &head);
    out.pop();
    let decoded = envelope::Uplink::decode_long(&message.payload);
    let content = decoded.as_ref().map(|decoded| decoded.content.as_str());
    show(out, content.unwrap_or("null"));
    out.push(b'}');
    decoded.map(|_| ())
}

/// The envelope that tells one step of a message for a vehicle in the log.
pub(crate) fn receipt(id: &str, app: &str, step: Step, at: SystemTime) -> Bytes {
    let content = Receipt {
        id,
        id_app: app,
        step: step.name(),
        at: timestamp(at),
    };
    let envelope = serde_json::json!({ "content": content });
    Bytes::from(envelope.to_string())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Receipt<'a> {
    id: &'a str,
    id_app: &'a str,
    step: &'static str,
    at: String,
}

/// A time as RFC 3339 in UTC with milliseconds.
pub(crate) fn timestamp(time: SystemTime) -> String {
    humantime::format_rfc3339_millis(time).to_string()
}
