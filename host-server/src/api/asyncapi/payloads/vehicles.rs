//! What the host tells of vehicles and their messages, as schemas (SPEC 17).

use serde_json::{Value, json};

use super::{time, with_base};
use crate::bridge::REFUSED;
use crate::model::{Presence, Step};

pub(super) fn presence() -> Value {
    with_base(
        &["presence", "since", "vin"],
        json!({
            "vin": text(),
            "presence": { "enum": Presence::ALL.map(Presence::name) },
            "since": time(),
        }),
    )
}

pub(super) fn received() -> Value {
    of_partner(
        &["cursor", "receivedAt"],
        json!({
            "cursor": described("string", "Its place in the log of `GET /api/v1/messages`."),
            "receivedAt": time(),
            "subtopic": text(),
            "content": { "description": "What the app sent; not there if it does not fit." },
            "contentBytes": described("integer", "In place of a content that does not fit."),
        }),
    )
}

pub(super) fn refused() -> Value {
    of_partner(
        &["detail", "reason"],
        json!({ "reason": text(), "detail": text() }),
    )
}

pub(super) fn health() -> Value {
    of_partner(
        &["report"],
        json!({ "report": described("object", "As the vehicle's agent wrote it.") }),
    )
}

pub(super) fn message_step() -> Value {
    let steps = Step::ALL.map(Step::name).into_iter().chain([REFUSED]);
    of_partner(
        &["idApp", "step"],
        json!({
            "messageId": described("string", "Not there if it was refused."),
            "idApp": described("string", "The app in the vehicle."),
            "step": { "enum": steps.collect::<Vec<_>>() },
            "reason": described("string", "Why it was refused, as a word."),
            "detail": described("string", "Why it was refused, as a sentence."),
        }),
    )
}

pub(super) fn events_missed() -> Value {
    with_base(
        &["count"],
        json!({ "count": described("integer", "How many were left out.") }),
    )
}

fn text() -> Value {
    json!({ "type": "string" })
}

fn described(kind: &str, description: &str) -> Value {
    json!({ "type": kind, "description": description })
}

/// What is about a vehicle and one partner.
fn of_partner(required: &[&str], mut properties: Value) -> Value {
    properties["vin"] = text();
    properties["uid"] = described("string", "The partner.");
    let required: Vec<_> = required.iter().chain(&["uid", "vin"]).copied().collect();
    with_base(&required, properties)
}
