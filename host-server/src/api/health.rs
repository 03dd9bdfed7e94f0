//! `/healthz`, `/readyz` and `/metrics`: what watches the server asks, without a token.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use serde_json::json;

use super::Api;

const STORE_FULL: &str = "the store is full: messages are answered 507, and what vehicles send is not taken; make room on \
     its disk, or raise --store-bytes-max";

/// Says that the process answers.
pub(crate) async fn alive() -> &'static str {
    "ok\n"
}

/// Says whether messages go through now, or why not.
pub(crate) async fn ready(State(api): State<Api>) -> impl IntoResponse {
    let reasons = reasons(&api);
    let status = if reasons.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "ready": reasons.is_empty(), "reasons": reasons })),
    )
}

/// Why messages do not go through now, if they do not.
pub(super) fn reasons(api: &Api) -> Vec<&'static str> {
    let mut reasons = Vec::new();
    if api.stop().is_requested() {
        reasons.push("the server is shutting down");
    }
    if !api.hub().is_link_up() {
        reasons.push("there is no connection to the broker; messages are accepted and wait");
    }
    if api.hub().is_store_full() {
        reasons.push(STORE_FULL);
    }
    reasons
}

/// Answers the figures as Prometheus text.
pub(crate) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    let page = api.metrics().render() + &api.broker_figures();
    ([(CONTENT_TYPE, content_type)], page)
}
