//! `POST /vehicles/{vin}/requests`: a call to an app in a vehicle, answered with what the app says; and
//! `DELETE`, which cancels one (SPEC 19.9 to 19.11).

use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HeaderName, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom as _, SystemRandom};
use vinbus_protocol::delivery;
use vinbus_protocol::envelope::{Downlink, DownlinkBody};
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, PAYLOAD_BYTES_MAX, REQUEST_ADDED_BYTES_MAX, REQUEST_TIMEOUT_S_MAX,
};
use vinbus_protocol::request::{Absent, Request, RequestId};

use super::Api;
use super::auth::Caller;
use super::body;
use super::messages::{self, Parts};
use super::parameters::{self, PathPart, Query, query};
use super::problem::{Kind, Problem};
use crate::hub::{NewRequest, RequestDone, RequestError, RequestOutcome};
use crate::model::{NewDownlink, Receipts, Step, lost_request};

/// The path, as axum has it.
pub(super) const PATH: &str = "/api/v1/vehicles/{vin}/requests";

/// Time that a request has if its caller does not say, in seconds.
const TIMEOUT_S: u64 = 30;

const KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// Longest key, in bytes.
const KEY_BYTES_MAX: usize = 255;

query!(RequestQuery {
    uid,
    timeout,
    absent
});

query!(CancelQuery { uid });

/// Asks an app, and answers what it says.
pub(crate) async fn ask(
    caller: Caller,
    State(api): State<Api>,
    PathPart(vin): PathPart,
    Query(query): Query<RequestQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    let vin = parameters::vin(&vin)?;
    let uid = messages::sender(&caller, &api, query.uid.as_deref())?;
    let timeout = timeout(query.timeout.as_deref())?;
    let absent = absent(query.absent.as_deref())?;
    let key = key(&headers)?;
    let id = match &key {
        Some(key) => named(key),
        None => random()?,
    };
    let time = api.limits().body_time_max();
    let body = body::read(&headers, body, PAYLOAD_BYTES_MAX, time).await?;
    let message = messages::encode(uid, vin, SystemTime::now() + timeout, &body, Parts::Never)?;
    let new = NewRequest {
        id,
        message: into_request(message, id, absent)?,
        absent,
        has_key: key.is_some(),
    };
    let done = api.hub().request(new).await?;
    let location = format!("/api/v1/messages/{}", done.id);
    match done.outcome {
        RequestOutcome::Answered(content) => Ok((
            StatusCode::OK,
            [
                (CONTENT_TYPE, "application/json".to_owned()),
                (LOCATION, location),
            ],
            content,
        )),
        ref outcome => Err(ended(&done, outcome)),
    }
}

/// Cancels a request that is open.
pub(crate) async fn cancel(
    caller: Caller,
    State(api): State<Api>,
    PathPart(vin): PathPart,
    Query(query): Query<CancelQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let vin = parameters::vin(&vin)?;
    let uid = messages::sender(&caller, &api, query.uid.as_deref())?;
    let key = key(&headers)?.ok_or_else(|| {
        let detail = "the header Idempotency-Key says which request is to be cancelled";
        Problem::new(Kind::BadQuery, detail)
    })?;
    match api.hub().cancel_request(vin, uid, named(&key)) {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(Problem::new(
            Kind::NotFound,
            "no request with this key is open: it is answered, over, or was never made",
        )),
    }
}

fn timeout(asked: Option<&str>) -> Result<Duration, Problem> {
    let allowed = 1..=u64::from(REQUEST_TIMEOUT_S_MAX);
    let seconds = parameters::number("timeout", asked, "seconds", allowed, TIMEOUT_S)?;
    Ok(Duration::from_secs(seconds))
}

fn absent(asked: Option<&str>) -> Result<Absent, Problem> {
    match asked {
        None | Some("refuse") => Ok(Absent::Refuse),
        Some("wait") => Ok(Absent::Wait),
        Some(other) => Err(Problem::new(
            Kind::BadQuery,
            format!("the parameter absent is {other:?}; write refuse or wait"),
        )),
    }
}

fn key(headers: &HeaderMap) -> Result<Option<Vec<u8>>, Problem> {
    let Some(key) = headers.get(KEY) else {
        return Ok(None);
    };
    let key = key.as_bytes();
    if key.is_empty() || key.len() > KEY_BYTES_MAX || !key.iter().all(u8::is_ascii_graphic) {
        let detail = format!(
            "the header Idempotency-Key has 1 to {KEY_BYTES_MAX} visible ASCII characters, without \
             spaces"
        );
        return Err(Problem::new(Kind::BadQuery, detail));
    }
    Ok(Some(key.to_vec()))
}

/// Refuses the key of a request where there is none: who gives one relies on it that nothing is done twice.
pub(super) fn refuse_key(headers: &HeaderMap) -> Result<(), Problem> {
    if !headers.contains_key(KEY) {
        return Ok(());
    }
    let detail = "the header Idempotency-Key is for requests (POST /api/v1/vehicles/{vin}/requests): made again, \
                  this would be a second message; leave it away, and tell one message from another in its content";
    Err(Problem::new(Kind::BadQuery, detail))
}

/// The name of a request with a key: a vehicle knows it again even if this server does not.
fn named(key: &[u8]) -> RequestId {
    let hash = digest(&SHA256, key);
    let first = hash.as_ref().first_chunk().copied().unwrap_or_default();
    RequestId::new(u64::from_be_bytes(first))
}

fn random() -> Result<RequestId, Problem> {
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| {
        let detail = "the system has no random numbers to name a request with";
        Problem::new(Kind::Unavailable, detail)
    })?;
    Ok(RequestId::new(u64::from_be_bytes(bytes)))
}

/// The message as a request, which goes with receipts.
fn into_request(
    message: NewDownlink,
    id: RequestId,
    absent: Absent,
) -> Result<NewDownlink, Problem> {
    // It was written a moment ago.
    let Ok(downlink) = Downlink::decode(&message.envelope) else {
        return Err(Problem::new(Kind::BadEnvelope, "it is no message"));
    };
    let DownlinkBody::Data(content) = downlink.body else {
        let detail = "a popup is no request; leave the member popup away";
        return Err(Problem::new(Kind::BadEnvelope, detail));
    };
    let len = message.envelope.len() + REQUEST_ADDED_BYTES_MAX + DELIVERY_ADDED_BYTES_MAX;
    if len > PAYLOAD_BYTES_MAX {
        return Err(Problem::too_large(len, PAYLOAD_BYTES_MAX));
    }
    let request = Request {
        id,
        absent,
        content,
    };
    let mut buffer = vec![0; len];
    let written = request.encode_downlink(&downlink.app, &mut buffer);
    let written = written.map(<[u8]>::len).unwrap_or_default();
    buffer.truncate(written);
    // What nests too deep would not be JSON any more in its two wrappings.
    let fits = Downlink::decode(&buffer).is_ok_and(|downlink| match downlink.body {
        DownlinkBody::Data(content) => delivery::Marked::new(Receipts::HEADER, content).is_ok(),
        DownlinkBody::Popup(_) => false,
    });
    if !fits {
        let detail = "the content nests too deep to be asked: send less of it";
        return Err(Problem::new(Kind::BadEnvelope, detail));
    }
    Ok(NewDownlink {
        envelope: Bytes::from(buffer),
        receipts: Receipts::Asked,
        key: None,
        ..message
    })
}

/// What the caller is told of a request without an answer.
fn ended(done: &RequestDone, outcome: &RequestOutcome) -> Problem {
    let last = done.last;
    let (kind, detail) = match outcome {
        RequestOutcome::Cancelled => (
            Kind::RequestCancelled,
            "it was cancelled; whether the app has begun with it is not known".to_owned(),
        ),
        // Answered is none of these.
        RequestOutcome::TimedOut | RequestOutcome::Answered(_) => (
            Kind::RequestTimedOut,
            match last {
                Step::Accepted | Step::Held => {
                    "it did not come to the vehicle in time: the vehicle \
                     is not there, or takes nothing of this partner"
                        .to_owned()
                }
                _ => format!(
                    "the app did not answer in time; the last that is known of it is {last}",
                    last = last.name()
                ),
            },
        ),
        RequestOutcome::Ended(
            step @ (Step::GivenUp | Step::PeerRestarted | Step::Told(delivery::Step::Known)),
        ) => (Kind::RequestLost, lost_request(step.name()).to_owned()),
        RequestOutcome::Ended(step) => (
            Kind::RequestRefused,
            format!("nothing was done: {}", why(*step)),
        ),
    };
    Problem::new(kind, detail)
        .with("id", done.id.to_string())
        .with("step", last.name())
}

fn why(step: Step) -> &'static str {
    match step {
        Step::Held => "the vehicle is offline; absent=wait waits for it",
        Step::Unsupported => "the vehicle answers no requests",
        Step::Told(delivery::Step::NotThere) => {
            "the app is not in the foreground; absent=wait waits for it"
        }
        Step::Told(delivery::Step::UnknownApp) => "the vehicle has no such app of this partner",
        Step::Told(delivery::Step::Denied) => "the vehicle does not let this partner ask the app",
        Step::Told(delivery::Step::Busy) => "the vehicle has as many open requests as it may",
        Step::Told(delivery::Step::Evicted) => {
            "the app did not come up, and newer messages took its place"
        }
        _ => "it cannot be carried to the app; the trace of the message says more",
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let detail = error.to_string();
        match error {
            RequestError::Offline { vin } => Self::new(
                Kind::RequestRefused,
                format!("{detail}; absent=wait has it wait"),
            )
            .with("vin", vin.as_str())
            .with("step", Step::Held.name()),
            RequestError::KeyReused => Self::new(
                Kind::KeyReused,
                format!("{detail}: give each request a key of its own"),
            ),
            RequestError::TooMany { max } => Self::new(Kind::Busy, detail)
                .with("max", max)
                .retry_after(5),
            RequestError::Submit(error) => error.into(),
        }
    }
}
