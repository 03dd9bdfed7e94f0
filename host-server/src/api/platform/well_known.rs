//! `/.well-known/…`: the keys that sign our tokens, and where the descriptions of the interfaces are.

use axum::Json;
use axum::extract::State;
use axum::http::header::CACHE_CONTROL;
use axum::response::IntoResponse;
use serde_json::{Value, json};

use crate::api::Api;

/// The public keys of our tokens (RFC 7517). A key is served as soon as it signs, so whoever meets an
/// unknown one asks again.
pub(crate) async fn keys(State(api): State<Api>) -> impl IntoResponse {
    let keys = api.bus().tokens.public_keys();
    ([(CACHE_CONTROL, "public, max-age=60")], Json(keys))
}

/// Where that platform's tools look for the descriptions.
pub(crate) async fn sermas() -> Json<Value> {
    Json(json!({
        "openapiSpec": "/api/openapi.json",
        "openapiUi": "/api/openapi.json",
        "asyncapiSpec": "/api/asyncapi.json",
        "asyncapiUi": "/api/asyncapi.json",
    }))
}
