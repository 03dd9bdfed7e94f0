//! `/fleet/messages`: one message for many vehicles (SPEC 9.9): made, paused, resumed, cancelled, and
//! what became of it.

use std::time::SystemTime;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::LOCATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::limits;

use super::Api;
use super::auth::Caller;
use super::body;
use super::messages::{self, Parts};
use super::parameters::{self, NoParameters, PathPart, Query, query};
use super::problem::{Kind, Problem};
use super::requests;
use crate::hub::{FLEET_VEHICLES_MAX, FleetError};
use crate::model::{Presence, Receipts, Step};
use crate::store::fleets::{FleetId, FleetProgress, FleetState, NewFleet};
use crate::uplink_json::timestamp;

/// Largest body: the largest message, and a VIN in quotes with a comma and white space for each vehicle.
const BODY_BYTES_MAX: usize = 2 * limits::PAYLOAD_BYTES_MAX + FLEET_VEHICLES_MAX * 32;

/// What is wrong with VINs is told of so many of them.
const NAMED_MAX: usize = 20;

/// Fleet messages of a page, and vehicles of one.
const LIMIT_MAX: usize = 1_000;
const LIMIT_DEFAULT: usize = 100;

query!(SubmitQuery {
    uid,
    ttl,
    receipts,
    rate
});

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked<'a> {
    #[serde(borrow)]
    message: &'a RawValue,
    vins: Option<Vec<String>>,
    filter: Option<Filter>,
}

/// Vehicles that have sent something to the partner, and are like this.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Filter {
    online: Option<bool>,
    vin_prefix: Option<String>,
}

query!(ListQuery { before, uid, limit });

query!(VehiclesQuery { after, limit });

/// A fleet message as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    id: String,
    uid: String,
    app: String,
    state: &'static str,
    accepted_at: String,
    expires_at: String,
    receipts: &'static str,
    rate: u32,
    vehicles: usize,
    /// How many vehicles' messages are how far.
    counts: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<Box<RawValue>>,
    /// Vehicles of a list that the partner has never heard of.
    #[serde(skip_serializing_if = "Option::is_none")]
    unseen: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unseen_vins: Vec<String>,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    messages: Vec<Shown>,
    next: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ListedVehicles {
    vehicles: Vec<ShownVehicle>,
    next: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ShownVehicle {
    vin: String,
    step: &'static str,
    message_id: Option<String>,
}

/// Takes a message for many vehicles; answered 202 once it is on disk.
pub(crate) async fn submit(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<SubmitQuery>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    requests::refuse_key(&headers)?;
    let uid = messages::sender(&caller, &api, query.uid.as_deref())?;
    let ttl = messages::ttl(query.ttl.as_deref(), api.hub())?;
    let receipts = query.receipts.as_deref().map(messages::receipts);
    let receipts = receipts.transpose()?;
    let per_second = rate(query.rate.as_deref(), api.hub().fleet_rate())?;
    let time = api.limits().body_time_max();
    let body = body::read(&headers, body, BODY_BYTES_MAX, time).await?;
    let caller = caller.again(&api)?;
    let asked: Asked<'_> = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(Kind::BadBody, error.to_string())
            .with("line", error.line())
            .with("column", error.column())
    })?;
    let (vins, unseen) = match (asked.vins, asked.filter) {
        (Some(vins), None) => {
            let vins = parse(&vins)?;
            let of = caller.reader(None)?;
            let is_unseen = |vin: &&Vin| api.hub().vehicle(vin, of.as_ref()).is_none();
            let unseen: Vec<Vin> = vins.iter().filter(is_unseen).copied().collect();
            (vins, Some(unseen))
        }
        (None, Some(filter)) => (matching(&api, &uid, &filter)?, None),
        (Some(_), Some(_)) | (None, None) => {
            let detail = "name the vehicles by `vins` or by `filter`, one of the two";
            return Err(Problem::new(Kind::BadBody, detail));
        }
    };
    let expires_at = SystemTime::now() + ttl;
    // The vehicle is the first of them, for the checks that all messages pass.
    let vin = *vins.first().ok_or(FleetError::Nobody)?;
    let message = asked.message.get().as_bytes();
    let mut message = messages::encode(uid, vin, expires_at, message, Parts::Never)?;
    messages::ask_for_receipts(&mut message, receipts, api.hub(), Parts::Never)?;
    let fleet = NewFleet {
        uid: message.uid,
        app: message.app,
        envelope: message.envelope,
        expires_at,
        receipts: message.receipts,
        per_second,
        vins,
    };
    let stored = api.hub().submit_fleet(fleet).await?;
    let location = format!("/api/v1/fleet/messages/{}", stored.fleet.id);
    let mut answer = Shown::of(&stored);
    if let Some(unseen) = unseen {
        answer.unseen = Some(unseen.len());
        let named = unseen.iter().take(NAMED_MAX);
        answer.unseen_vins = named.map(ToString::to_string).collect();
    }
    Ok((StatusCode::ACCEPTED, [(LOCATION, location)], Json(answer)))
}

/// Messages in a second: no more than the server's own rate.
fn rate(asked: Option<&str>, max: u32) -> Result<u32, Problem> {
    let (what, allowed) = ("messages a second", 1..=u64::from(max));
    let rate = parameters::number("rate", asked, what, allowed, u64::from(max))?;
    Ok(u32::try_from(rate).unwrap_or(max))
}

/// All VINs, or what is wrong with which.
fn parse(texts: &[String]) -> Result<Vec<Vin>, Problem> {
    if texts.is_empty() {
        return Err(FleetError::Nobody.into());
    }
    if texts.len() > 2 * FLEET_VEHICLES_MAX {
        let count = texts.len();
        return Err(FleetError::TooManyVehicles { count }.into());
    }
    let (mut vins, mut wrong) = (Vec::with_capacity(texts.len()), Vec::new());
    for (place, text) in texts.iter().enumerate() {
        match Vin::parse(text) {
            Ok(vin) => vins.push(vin),
            Err(error) => wrong.push((place, text, error)),
        }
    }
    let Some((place, text, error)) = wrong.first() else {
        vins.sort_unstable();
        vins.dedup();
        return Ok(vins);
    };
    let named = wrong.iter().take(NAMED_MAX).map(|(place, text, _)| {
        serde_json::json!({ "index": place, "vin": text.chars().take(64).collect::<String>() })
    });
    let detail = format!(
        "{} of {} in `vins` are no VINs; the first is number {}, {text:.64?}: {error}; nothing was \
         accepted",
        wrong.len(),
        texts.len(),
        place + 1,
    );
    Err(Problem::new(Kind::BadVin, detail).with("vins", named.collect::<Vec<_>>()))
}

fn matching(api: &Api, uid: &Uid, filter: &Filter) -> Result<Vec<Vin>, Problem> {
    let prefix = filter.vin_prefix.as_deref().unwrap_or_default();
    if prefix.len() > limits::VIN_BYTES || !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric())
    {
        return Err(Problem::new(
            Kind::BadBody,
            format!(
                "filter.vinPrefix is {prefix:.64?}, expected up to {} letters and digits",
                limits::VIN_BYTES
            ),
        ));
    }
    let presence = filter.online.map(|online| match online {
        true => Presence::Online,
        false => Presence::Offline,
    });
    let found = api.hub().vehicles_of(uid, prefix, presence);
    if found.is_empty() {
        let all = api.hub().vehicles_of(uid, "", None).len();
        return Err(Problem::new(
            Kind::NoVehicle,
            format!(
                "the filter fits none of the {all} vehicles that have sent partner {uid} something \
                 since the server started; widen it, or name vehicles by `vins`"
            ),
        )
        .with("known", all));
    }
    Ok(found)
}

impl Shown {
    pub(super) fn of(progress: &FleetProgress) -> Self {
        let fleet = &progress.fleet;
        let mut counts = Map::new();
        let waiting = progress.waiting();
        if waiting > 0 {
            counts.insert(not_begun(fleet.state).to_owned(), waiting.into());
        }
        for (step, count) in &progress.steps {
            let already = counts.get(step.name()).and_then(Value::as_u64);
            let count = *count as u64 + already.unwrap_or(0);
            counts.insert(step.name().to_owned(), count.into());
        }
        Self {
            id: fleet.id.to_string(),
            uid: fleet.uid.to_string(),
            app: fleet.app.to_string(),
            state: fleet.state.name(),
            accepted_at: timestamp(fleet.accepted_at),
            expires_at: timestamp(fleet.expires_at),
            receipts: match fleet.receipts {
                Receipts::No => "no",
                Receipts::Asked => "yes",
                Receipts::Repeatable => "repeatable",
            },
            rate: fleet.per_second,
            vehicles: fleet.vehicles,
            counts,
            message: None,
            unseen: None,
            unseen_vins: Vec::new(),
        }
    }
}

/// What a vehicle's message is called that was not put on its way.
fn not_begun(state: FleetState) -> &'static str {
    match state {
        FleetState::Running | FleetState::Paused => "waiting",
        FleetState::Cancelled => "cancelled",
        FleetState::Finished => Step::Expired.name(),
    }
}

/// Lists fleet messages, newest first.
pub(crate) async fn list(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listed>, Problem> {
    let uid = caller.reader(parameters::uid(query.uid.as_deref())?)?;
    let before = parameters::before(query.before.as_deref())?;
    let limit = parameters::limit(query.limit.as_deref(), LIMIT_DEFAULT, LIMIT_DEFAULT)?;
    let page = api.hub().fleets_before(before, uid, limit).await?;
    let next = page.last().filter(|_| page.len() >= limit);
    Ok(Json(Listed {
        next: next.map(|last| last.fleet.number.to_string()),
        messages: page.iter().map(Shown::of).collect(),
    }))
}

/// Shows one.
pub(crate) async fn one(
    caller: Caller,
    State(api): State<Api>,
    PathPart(id): PathPart,
    _: Query<NoParameters>,
) -> Result<Json<Shown>, Problem> {
    let progress = find(&caller, &api, id).await?;
    let message = String::from_utf8(progress.fleet.envelope.to_vec()).ok();
    Ok(Json(Shown {
        // It was written by ourselves.
        message: message.and_then(|text| RawValue::from_string(text).ok()),
        ..Shown::of(&progress)
    }))
}

async fn find(caller: &Caller, api: &Api, id: String) -> Result<FleetProgress, Problem> {
    let found = api.hub().fleet(FleetId(id)).await?;
    // To a partner, somebody else's looks like none at all.
    let found = found.filter(|found| caller.sees(Some(&found.fleet.uid)));
    found.ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            "no fleet message has this id, or it was over so long ago that it is not kept any more",
        )
    })
}

/// Lists the vehicles of one, and how far each one's message is.
pub(crate) async fn vehicles(
    caller: Caller,
    State(api): State<Api>,
    PathPart(id): PathPart,
    Query(query): Query<VehiclesQuery>,
) -> Result<Json<ListedVehicles>, Problem> {
    let after = query.after.as_deref().map(parameters::vin).transpose()?;
    let limit = parameters::limit(query.limit.as_deref(), LIMIT_MAX, LIMIT_MAX)?;
    let fleet = find(&caller, &api, id).await?.fleet;
    let page = api.hub().fleet_vehicles(fleet.number, after, limit).await?;
    let next = page.last().filter(|_| page.len() >= limit);
    let next = next.map(|(vin, _)| vin.to_string());
    let shown = page.into_iter().map(|(vin, message)| ShownVehicle {
        vin: vin.to_string(),
        step: match &message {
            Some((_, step)) => step.name(),
            None => not_begun(fleet.state),
        },
        message_id: message.map(|(id, _)| id.0),
    });
    Ok(Json(ListedVehicles {
        vehicles: shown.collect(),
        next,
    }))
}

/// Puts no more of its messages on their way for now.
pub(crate) async fn pause(
    caller: Caller,
    state: State<Api>,
    id: PathPart,
    _: Query<NoParameters>,
) -> Result<Json<Shown>, Problem> {
    change(caller, state, id, FleetState::Paused).await
}

/// Goes on with one that is paused.
pub(crate) async fn resume(
    caller: Caller,
    state: State<Api>,
    id: PathPart,
    _: Query<NoParameters>,
) -> Result<Json<Shown>, Problem> {
    change(caller, state, id, FleetState::Running).await
}

/// Ends one for good.
pub(crate) async fn cancel(
    caller: Caller,
    state: State<Api>,
    id: PathPart,
    _: Query<NoParameters>,
) -> Result<Json<Shown>, Problem> {
    change(caller, state, id, FleetState::Cancelled).await
}

async fn change(
    caller: Caller,
    State(api): State<Api>,
    PathPart(id): PathPart,
    to: FleetState,
) -> Result<Json<Shown>, Problem> {
    let fleet = find(&caller, &api, id.clone()).await?.fleet;
    api.hub().set_fleet_state(fleet.number, to).await?;
    let changed = find(&caller, &api, id).await?;
    Ok(Json(Shown::of(&changed)))
}

impl From<FleetError> for Problem {
    fn from(error: FleetError) -> Self {
        let detail = error.to_string();
        match error {
            FleetError::Nobody => Self::new(Kind::NoVehicle, detail),
            FleetError::TooManyVehicles { count } => Self::new(Kind::BadBody, detail)
                .with("vehicles", count)
                .with("max", FLEET_VEHICLES_MAX),
            FleetError::PartnerTooMany { .. } | FleetError::TooMany => {
                Self::new(Kind::TooMany, detail)
            }
            FleetError::Over { state } => {
                Self::new(Kind::FleetOver, detail).with("state", state.name())
            }
            FleetError::Stopping => Self::new(Kind::Unavailable, detail).retry_after(5),
            FleetError::Store(error) => error.into(),
        }
    }
}
