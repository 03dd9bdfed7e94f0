//! `GET /vehicles` and `GET /vehicles/{vin}`: whether vehicles can hear us.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use vinbus_protocol::id::Vin;

use super::Api;
use super::auth::Caller;
use super::parameters::{self, PathPart, Query};
use super::problem::{Kind, Problem};
use crate::model::{Presence, Vehicle};
use crate::uplink_json::timestamp;

/// Vehicles of a page where the query says nothing, and at most.
const LIMIT_MAX: usize = 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListQuery {
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    vehicles: Vec<Shown>,
    next: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Shown {
    vin: String,
    presence: &'static str,
    since: String,
}

/// Lists the vehicles that were seen, by VIN. A VIN is personal data and belongs to no partner
/// alone, so that only the administrator sees them all.
pub(crate) async fn list(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listed>, Problem> {
    caller.admin("list all vehicles; ask for one by its VIN, /api/v1/vehicles/{vin}")?;
    let after = query.after.as_deref().map(parameters::vin).transpose()?;
    let limit = query.limit.unwrap_or(LIMIT_MAX);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::new(
            Kind::BadQuery,
            format!("the parameter limit is {limit}, expected 1 to {LIMIT_MAX}"),
        ));
    }
    let known = api.hub().vehicles().into_iter();
    let mut rest = known.filter(|vehicle| after.is_none_or(|after| vehicle.vin > after));
    let vehicles: Vec<_> = rest.by_ref().take(limit).map(shown).collect();
    let more = rest.next().is_some();
    let next = vehicles
        .last()
        .filter(|_| more)
        .map(|last| last.vin.clone());
    Ok(Json(Listed { vehicles, next }))
}

/// Tells about one vehicle.
pub(crate) async fn one(
    _caller: Caller,
    State(api): State<Api>,
    PathPart(vin): PathPart,
) -> Result<Json<Shown>, Problem> {
    let vin: Vin = parameters::vin(&vin)?;
    let vehicle = api.hub().vehicle(&vin).ok_or_else(|| {
        Problem::new(
            Kind::NotFound,
            format!("vehicle {vin} was not seen since the server started; messages for it are accepted all the same"),
        )
    })?;
    Ok(Json(shown(vehicle)))
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is mapped over owned vehicles"
)]
fn shown(vehicle: Vehicle) -> Shown {
    Shown {
        vin: vehicle.vin.to_string(),
        presence: match vehicle.presence {
            Presence::Online => "online",
            Presence::Offline => "offline",
            Presence::Unknown => "unknown",
        },
        since: timestamp(vehicle.since),
    }
}
