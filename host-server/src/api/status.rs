//! `GET /status`: how the server is, and all of its figures, in one object.

use std::collections::BTreeMap;
use std::time::SystemTime;

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use vinbus_protocol::limits;

use super::auth::Caller;
use super::parameters::{NoParameters, Query};
use super::{Api, health};
use crate::uplink_json::timestamp;

/// How the server is at one moment.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    at: String,
    started_at: String,
    version: &'static str,
    ready: bool,
    reasons: Vec<&'static str>,
    partner: String,
    newest: String,
    unsent: usize,
    vehicles: VehicleCounts,
    limits: Limits,
    figures: BTreeMap<String, f64>,
}

#[derive(Serialize)]
struct VehicleCounts {
    known: usize,
    online: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Limits {
    payload_bytes: usize,
}

/// Answers it.
pub(crate) async fn show(
    _: Caller,
    State(api): State<Api>,
    _: Query<NoParameters>,
) -> Json<Status> {
    Json(Status::of(&api).await)
}

impl Status {
    pub(super) async fn of(api: &Api) -> Self {
        let newest = api.hub().newest().await;
        let reasons = health::reasons(api);
        let (known, online) = api.hub().vehicle_counts();
        let page = api.metrics().render() + &api.broker_figures();
        Self {
            at: timestamp(SystemTime::now()),
            started_at: timestamp(api.started_at()),
            version: env!("CARGO_PKG_VERSION"),
            ready: reasons.is_empty(),
            reasons,
            partner: api.partner().to_string(),
            newest: newest.to_string(),
            unsent: api.hub().unsent(),
            vehicles: VehicleCounts { known, online },
            limits: Limits {
                payload_bytes: limits::PAYLOAD_BYTES_MAX,
            },
            figures: figures(&page),
        }
    }
}

/// The figures of a page of Prometheus text, without the buckets of histograms.
fn figures(page: &str) -> BTreeMap<String, f64> {
    let figure = |line: &str| {
        let (name, value) = line.rsplit_once(' ')?;
        let is_bucket = name.contains("_bucket{");
        (!is_bucket && !line.starts_with('#')).then_some((name.to_owned(), value.parse().ok()?))
    };
    page.lines().filter_map(figure).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_page_without_buckets() {
        let page = "# TYPE a counter\na{x=\"1 2\"} 3\nh_bucket{le=\"1\"} 4\nh_sum 0.5\nb -2\n";
        let expected = [("a{x=\"1 2\"}", 3.0), ("b", -2.0), ("h_sum", 0.5)];
        let expected = expected.map(|(name, value)| (name.to_owned(), value));
        assert_eq!(figures(page), expected.into());
    }
}
