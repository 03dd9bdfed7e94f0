//! `POST /vehicles/{vin}/messages`: messages for vehicles.

use std::fmt::Display;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::Serialize;
use vinbus_protocol::delivery;
use vinbus_protocol::envelope::{DownlinkBody, EncodeError, EnvelopeError, EnvelopeReason};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::{envelope, limits};

use super::Api;
use super::auth::Caller;
use super::body;
use super::parameters::{self, PathPart, Query, query};
use super::problem::{Kind, Problem};
use super::requests;
use super::strictness;
use crate::hub::{Hub, SubmitError, TTL_MAX};
use crate::model::{Key, NewDownlink, Receipts, ReceiptsError};
use crate::place::Place;
use crate::uplink_json::timestamp;

query!(SubmitQuery {
    uid,
    ttl,
    receipts,
    key
});

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Submitted {
    id: String,
    uid: String,
    vin: String,
    expires_at: String,
    seen: bool,
}

/// Takes a message for a vehicle; answered 202 once it is on disk.
pub(crate) async fn submit(
    caller: Caller,
    State(api): State<Api>,
    PathPart(vin): PathPart,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    requests::refuse_key(&headers)?;
    let vin = parameters::vin(&vin)?;
    // What may be told of the vehicle is the caller's matter, and not that of whom it sends as.
    let reader = caller.reader(None)?;
    let uid = sender(&caller, &api, query.uid.as_deref())?;
    let ttl = ttl(query.ttl.as_deref(), api.hub())?;
    let receipts = query.receipts.as_deref().map(receipts).transpose()?;
    let key = query.key.as_deref().map(key).transpose()?;
    let time = api.limits().body_time_max();
    let parts = match key {
        Some(_) => Parts::Never,
        None => may_go_in_parts(receipts, api.hub()),
    };
    let max = match parts {
        Parts::Allowed => limits::DELIVERY_LONG_ENVELOPE_BYTES_MAX,
        Parts::Never => limits::PAYLOAD_BYTES_MAX,
    };
    let told = |problem| tell_how_long_ones_go(problem, receipts, key.is_some());
    let body = body::read(&headers, body, max, time).await;
    let body = body.map_err(told)?;
    // A body that comes slowly takes nothing of the message's time.
    let message = encode(uid, vin, SystemTime::now() + ttl, &body, parts);
    let mut message = message.map_err(told)?;
    ask_for_receipts(&mut message, receipts, api.hub(), parts).map_err(told)?;
    give_key(&mut message, key)?;
    let stored = api.hub().submit_downlink(message).await?;
    let location = format!("/api/v1/messages/{}", stored.id);
    let answer = Submitted {
        seen: api.hub().vehicle(&vin, reader.as_ref()).is_some(),
        id: stored.id.0,
        uid: stored.message.uid.to_string(),
        vin: stored.message.vin.to_string(),
        expires_at: timestamp(stored.message.expires_at),
    };
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(answer)))
}

/// Whether a message that is too long for one payload may travel in parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parts {
    Allowed,
    Never,
}

/// Only messages with receipts do; whether one has them is known when it is read.
fn may_go_in_parts(asked: Option<Receipts>, hub: &Hub) -> Parts {
    match asked {
        Some(Receipts::Asked | Receipts::Repeatable) => Parts::Allowed,
        None if hub.has_apps_with_receipts() => Parts::Allowed,
        None | Some(Receipts::No) => Parts::Never,
    }
}

/// A message that is too long for one payload goes with receipts and without a key, or not at all.
fn tell_how_long_ones_go(problem: Problem, asked: Option<Receipts>, has_key: bool) -> Problem {
    let max = limits::DELIVERY_LONG_BYTES_MAX;
    match (problem.kind(), asked, has_key) {
        (Kind::TooLarge, _, true) => {
            problem.and("a message with a key is never longer: leave the parameter key away")
        }
        (Kind::TooLarge, None | Some(Receipts::No), false) => problem.and(&format!(
            "with receipts=yes (`host-server send --receipts`) a content, but no popup, may have up to \
             {max} bytes, for a vehicle that takes as much"
        )),
        _ => problem,
    }
}

/// The partner to send as.
pub(super) fn sender(caller: &Caller, api: &Api, asked: Option<&str>) -> Result<Uid, Problem> {
    let uid = caller.sender(parameters::uid(asked)?, api.partner())?;
    if !caller.is(&uid) && !api.credentials().has_partner(&uid)? {
        return Err(unknown_partner(&uid));
    }
    Ok(uid)
}

fn unknown_partner(uid: &Uid) -> Problem {
    Problem::new(
        Kind::BadQuery,
        format!(
            "no partner is enrolled as {uid}: correct the parameter uid, or enroll the partner by \
             `host-server enroll partner {uid} --out DIR`"
        ),
    )
    .with("uid", uid.as_str())
}

/// How long the message is worth sending, asked for in seconds.
pub(super) fn ttl(asked: Option<&str>, hub: &Hub) -> Result<Duration, Problem> {
    let default = hub.message_ttl();
    if asked.is_none() {
        return Ok(default);
    }
    let allowed = 1..=TTL_MAX.as_secs();
    let seconds = parameters::number("ttl", asked, "seconds", allowed, default.as_secs())?;
    Ok(Duration::from_secs(seconds))
}

pub(super) fn receipts(asked: &str) -> Result<Receipts, Problem> {
    match asked {
        "yes" => Ok(Receipts::Asked),
        "repeatable" => Ok(Receipts::Repeatable),
        "no" => Ok(Receipts::No),
        _ => Err(Problem::new(
            Kind::BadQuery,
            format!("the parameter receipts is {asked:?}; write yes, no or repeatable"),
        )),
    }
}

fn key(asked: &str) -> Result<Key, Problem> {
    Key::parse(asked).map_err(|error| {
        Problem::new(
            Kind::BadQuery,
            format!("the parameter key is {asked:?}: {error}"),
        )
    })
}

/// Only of messages with receipts is it told that a newer one took their place.
fn give_key(message: &mut NewDownlink, key: Option<Key>) -> Result<(), Problem> {
    if key.is_some() && message.receipts == Receipts::No {
        let detail = "a message with a key needs receipts: add receipts=yes, or leave the parameter \
                      key away";
        return Err(Problem::new(Kind::BadQuery, detail));
    }
    message.key = key;
    Ok(())
}

/// Has the message carry receipts, if its sender asked for them or the operator did for its app.
pub(super) fn ask_for_receipts(
    message: &mut NewDownlink,
    asked: Option<Receipts>,
    hub: &Hub,
    parts: Parts,
) -> Result<(), Problem> {
    // It was written a moment ago.
    let Ok(downlink) = envelope::Downlink::decode_long(&message.envelope) else {
        return Ok(());
    };
    let DownlinkBody::Data(content) = downlink.body else {
        return match asked {
            None | Some(Receipts::No) => Ok(()),
            Some(Receipts::Asked | Receipts::Repeatable) => Err(Problem::new(
                Kind::BadQuery,
                "a popup carries no receipts; leave the parameter receipts away",
            )),
        };
    };
    message.receipts = asked.unwrap_or_else(|| hub.receipts_for(&message.app));
    let len = message.envelope.len();
    if message.receipts == Receipts::No && len > limits::PAYLOAD_BYTES_MAX {
        return Err(Problem::too_large(len, limits::PAYLOAD_BYTES_MAX));
    }
    let checked = match parts {
        Parts::Allowed => message.receipts.check_long(content, len),
        Parts::Never => message.receipts.check(content, len),
    };
    checked.map_err(|error| match error {
        ReceiptsError::Reserved => Problem::new(
            Kind::BadEnvelope,
            format!("{error}: name it otherwise, or send the message with receipts=yes"),
        ),
        ReceiptsError::Request => Problem::new(
            Kind::BadEnvelope,
            format!("{error}: name it otherwise, or make a request (POST …/requests)"),
        ),
        ReceiptsError::TooLarge { len, max } => Problem::too_large(len, max),
        ReceiptsError::TooDeep(error) => Problem::new(Kind::BadEnvelope, error.to_string()),
    })
}

/// Checks the envelope and writes it again in the one order and form that vehicles get.
pub(super) fn encode(
    uid: Uid,
    vin: Vin,
    expires_at: SystemTime,
    body: &[u8],
    parts: Parts,
) -> Result<NewDownlink, Problem> {
    let decoded = match parts {
        Parts::Allowed => envelope::Downlink::decode_long(body),
        Parts::Never => envelope::Downlink::decode(body),
    };
    let downlink = decoded.map_err(|error| refuse_envelope(body, error))?;
    // What was decoded is UTF-8.
    let text = std::str::from_utf8(body).unwrap_or_default();
    strictness::check(text, &downlink.body)
        .map_err(|objection| bad_envelope(body, objection.offset, &objection.reason))?;
    let mut buffer = vec![0; downlink.encoded_len()];
    let encoded = match parts {
        Parts::Allowed => downlink.encode_long(&mut buffer),
        Parts::Never => downlink.encode(&mut buffer),
    };
    let written = encoded.map_err(|error| match error {
        EncodeError::TooLarge { len, max } => Problem::too_large(len, max),
        EncodeError::Buffer { needed, .. } => Problem::too_large(needed, limits::PAYLOAD_BYTES_MAX),
    })?;
    let len = written.len();
    let app = downlink.app;
    if app.as_str() == delivery::CONTROL_APP {
        let detail = "the idApp \"vinbus\" is the server's own; no app has it";
        return Err(Problem::new(Kind::BadEnvelope, detail));
    }
    buffer.truncate(len);
    Ok(NewDownlink {
        uid,
        vin,
        app,
        envelope: Bytes::from(buffer),
        expires_at,
        receipts: Receipts::No,
        key: None,
    })
}

fn refuse_envelope(body: &[u8], error: EnvelopeError) -> Problem {
    if let EnvelopeReason::TooLarge { len, max } = error.reason {
        return Problem::too_large(len, max);
    }
    if let EnvelopeReason::Missing(member) = error.reason {
        let text = std::str::from_utf8(body).unwrap_or_default();
        if let Some((offset, name)) = strictness::lookalike(text, member.name()) {
            let reason = format!("{}; a member {name:?} is here instead", error.reason);
            return bad_envelope(body, offset, &reason);
        }
    }
    bad_envelope(body, error.offset, &error.reason)
}

fn bad_envelope(body: &[u8], offset: usize, reason: &dyn Display) -> Problem {
    let Place { line, column } = Place::of(body, offset);
    Problem::new(
        Kind::BadEnvelope,
        format!("{reason}, at byte {offset}, line {line}, column {column}"),
    )
    .with("offset", offset)
    .with("line", line)
    .with("column", column)
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let detail = error.to_string();
        match error {
            SubmitError::TooLarge { len, max } => Self::too_large(len, max),
            SubmitError::VehicleTakesLess { vin, len, max } => Self::new(Kind::TooLarge, detail)
                .with("vin", vin.as_str())
                .with("bytes", len)
                .with("max", max),
            SubmitError::VehicleQueueFull { vin, max } => Self::new(Kind::VehicleQueueFull, detail)
                .with("vin", vin.as_str())
                .with("max", max)
                .retry_after(60),
            SubmitError::QueueFull { max } => Self::new(Kind::Busy, detail)
                .with("max", max)
                .retry_after(60),
            SubmitError::QueueBytesFull { max } => Self::new(Kind::StoreFull, detail)
                .with("max", max)
                .retry_after(60),
            SubmitError::PartnerQueueFull { uid, max } => Self::new(Kind::PartnerQueueFull, detail)
                .with("uid", uid.as_str())
                .with("max", max)
                .retry_after(60),
            SubmitError::PartnerBytesFull { uid, max } => Self::new(Kind::StoreFull, detail)
                .with("uid", uid.as_str())
                .with("max", max)
                .retry_after(60),
            SubmitError::OtherRequest => Self::new(Kind::KeyReused, detail),
            SubmitError::Stopping => Self::new(Kind::Unavailable, detail).retry_after(5),
            SubmitError::Store(error) => error.into(),
        }
    }
}
