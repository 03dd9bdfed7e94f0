//! `GET /vehicles` and `GET /vehicles/{vin}`: whether vehicles can hear us, and how they are.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use serde_json::value::RawValue;
use vinbus_protocol::id::Vin;

use super::Api;
use super::auth::Caller;
use super::parameters::{self, NoParameters, PathPart, Query, query};
use super::problem::{Kind, Problem};
use crate::model::{Vehicle, VehicleHealth};
use crate::uplink_json::timestamp;

/// Vehicles of a page where the query says nothing, and at most.
const LIMIT_MAX: usize = 1000;

query!(ListQuery { after, limit });

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

#[derive(Serialize)]
pub(crate) struct Detailed {
    #[serde(flatten)]
    vehicle: Shown,
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Health {
    reported_at: String,
    report: Box<RawValue>,
}

/// Lists the vehicles that were seen, by VIN; a partner those that sent it something. A VIN and where
/// its car is are personal data, and anybody may address any VIN: only the vehicle's own word shows
/// that it has to do with a partner.
pub(crate) async fn list(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<ListQuery>,
) -> Result<Json<Listed>, Problem> {
    let uid = caller.reader(None)?;
    let after = query.after.as_deref().map(parameters::vin).transpose()?;
    let limit = parameters::limit(query.limit.as_deref(), LIMIT_MAX, LIMIT_MAX)?;
    let (vehicles, next) = api.hub().vehicles(after.as_ref(), uid.as_ref(), limit);
    Ok(Json(Listed {
        vehicles: vehicles.into_iter().map(shown).collect(),
        next: next.map(|vin| vin.to_string()),
    }))
}

/// Tells about one vehicle.
pub(crate) async fn one(
    caller: Caller,
    State(api): State<Api>,
    PathPart(vin): PathPart,
    _: Query<NoParameters>,
) -> Result<Json<Detailed>, Problem> {
    let vin: Vin = parameters::vin(&vin)?;
    let uid = caller.reader(None)?;
    // To a partner, a vehicle that it may not know of looks like one that was not seen.
    let vehicle = api.hub().vehicle(&vin, uid.as_ref()).ok_or_else(|| {
        let what = match uid {
            Some(_) => "sent you nothing",
            None => "was not seen",
        };
        Problem::new(
            Kind::NotFound,
            format!(
                "vehicle {vin} {what} since the server started; messages for it are accepted all \
                 the same"
            ),
        )
    })?;
    let health = api.hub().vehicle_health(&vin, uid.as_ref());
    Ok(Json(Detailed {
        vehicle: shown(vehicle),
        health: health.and_then(reported),
    }))
}

fn reported(health: VehicleHealth) -> Option<Health> {
    let reported_at = timestamp(health.reported_at);
    // It was checked when it came.
    let report = RawValue::from_string(health.report.into()).ok()?;
    Some(Health {
        reported_at,
        report,
    })
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "it is mapped over owned vehicles"
)]
pub(super) fn shown(vehicle: Vehicle) -> Shown {
    Shown {
        vin: vehicle.vin.to_string(),
        presence: vehicle.presence.name(),
        since: timestamp(vehicle.since),
    }
}
