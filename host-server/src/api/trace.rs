//! `GET /messages/{id}`: what became of a message for a vehicle.

use std::borrow::Cow;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use axum::response::IntoResponse;
use serde::Serialize;
use serde_json::value::RawValue;
use vinbus_protocol::envelope::{self, DownlinkBody};
use vinbus_protocol::request::{Absent, Request};

use super::Api;
use super::auth::Caller;
use super::parameters::{NoParameters, PathPart, Query};
use super::problem::{Kind, Problem};
use crate::hub::Hub;
use crate::model::{Key, MessageId, NewDownlink, Receipts, Step, Trace};
use crate::uplink_json::timestamp;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Traced<'a> {
    id: String,
    uid: String,
    vin: String,
    app: String,
    expires_at: String,
    receipts: &'static str,
    /// It was asked for receipts, and went without.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    without_receipts: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fleet: Option<String>,
    status: &'static str,
    steps: Vec<TracedStep>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transfer: Option<TracedTransfer>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request: Option<TracedRequest>,
    message: &'a RawValue,
}

/// A message that is a request.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TracedRequest {
    /// As its app is told.
    request_id: String,
    absent: &'static str,
}

/// How far a message is that travels in parts.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TracedTransfer {
    bytes: u32,
    stored: u32,
    begun: u32,
    /// What the vehicle takes, as far as it has said.
    #[serde(skip_serializing_if = "Option::is_none")]
    vehicle_max: Option<u32>,
}

/// A step as it is shown.
#[derive(Serialize)]
pub(super) struct TracedStep {
    pub(super) step: &'static str,
    pub(super) at: String,
}

impl From<(Step, SystemTime)> for TracedStep {
    fn from((step, at): (Step, SystemTime)) -> Self {
        Self {
            step: step.name(),
            at: timestamp(at),
        }
    }
}

/// Tells what became of a message for a vehicle, step by step.
pub(crate) async fn trace(
    caller: Caller,
    State(api): State<Api>,
    PathPart(id): PathPart,
    _: Query<NoParameters>,
) -> Result<impl IntoResponse, Problem> {
    let trace = api.hub().trace(MessageId(id)).await?;
    // To a partner, somebody else's message looks like none at all.
    let trace = trace
        .filter(|trace| caller.sees(Some(&trace.downlink.message.uid)))
        .ok_or_else(|| {
            Problem::new(
                Kind::NotFound,
                "no message for a vehicle has this id, or it was sent so long ago that it is \
                 not kept any more",
            )
        })?;
    let damaged = |error| {
        tracing::error!(id = %trace.downlink.id, %error, "a stored message is damaged");
        Problem::new(Kind::Unavailable, "the stored message is damaged")
    };
    let envelope = &trace.downlink.message.envelope;
    let (request, asked) = match as_asked(envelope) {
        Some((request, asked)) => (Some(request), Cow::Owned(asked)),
        None => (None, Cow::Borrowed(&**envelope)),
    };
    let message = serde_json::from_slice(&asked).map_err(damaged)?;
    let traced = Traced {
        request,
        ..traced(&trace, transfer(&trace, api.hub()), message)
    };
    Ok(Json(traced).into_response())
}

/// A request as its caller made it, without what carries it in its vehicle.
fn as_asked(envelope: &[u8]) -> Option<(TracedRequest, Vec<u8>)> {
    let downlink = envelope::Downlink::decode(envelope).ok()?;
    let DownlinkBody::Data(content) = downlink.body else {
        return None;
    };
    let request = Request::read(content)?;
    let asked = envelope::Downlink {
        body: DownlinkBody::Data(request.content),
        ..downlink
    };
    let mut buffer = vec![0; asked.encoded_len()];
    asked.encode(&mut buffer).ok()?;
    let shown = TracedRequest {
        request_id: request.id.to_string(),
        absent: match request.absent {
            Absent::Refuse => "refuse",
            Absent::Wait => "wait",
        },
    };
    Some((shown, buffer))
}

/// How far a message is that is too long for one payload.
fn transfer(trace: &Trace, hub: &Hub) -> Option<TracedTransfer> {
    let sent = &trace.downlink.message;
    if !sent.is_long() {
        return None;
    }
    let content = |message: &NewDownlink| {
        let downlink = envelope::Downlink::decode_long(&message.envelope).ok()?;
        match downlink.body {
            DownlinkBody::Data(content) => u32::try_from(content.as_str().len()).ok(),
            DownlinkBody::Popup(_) => None,
        }
    };
    let transfer = trace.transfer;
    Some(TracedTransfer {
        bytes: transfer.map(|it| it.total).or_else(|| content(sent))?,
        stored: transfer.map_or(0, |it| it.stored),
        begun: transfer.map_or(0, |it| it.begun),
        vehicle_max: hub.vehicle_takes(&sent.vin, &sent.uid),
    })
}

fn traced<'a>(
    trace: &'a Trace,
    transfer: Option<TracedTransfer>,
    message: &'a RawValue,
) -> Traced<'a> {
    let downlink = &trace.downlink;
    let steps = trace.steps.iter().map(|&step| step.into());
    Traced {
        id: downlink.id.to_string(),
        uid: downlink.message.uid.to_string(),
        vin: downlink.message.vin.to_string(),
        app: downlink.message.app.to_string(),
        expires_at: timestamp(downlink.message.expires_at),
        receipts: match downlink.message.receipts {
            Receipts::No => "no",
            Receipts::Asked => "yes",
            Receipts::Repeatable => "repeatable",
        },
        without_receipts: trace.without_receipts,
        key: downlink.message.key.as_ref().map(Key::as_str),
        fleet: trace.fleet.as_ref().map(ToString::to_string),
        status: trace
            .steps
            .last()
            .map_or(Step::Accepted, |&(step, _)| step)
            .name(),
        steps: steps.collect(),
        transfer,
        request: None,
        message,
    }
}
