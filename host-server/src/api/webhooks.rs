//! `POST`, `GET` and `DELETE /webhooks`: where messages from vehicles are delivered to.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, LOCATION};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::Caller;
use super::body;
use super::parameters::{self, NoParameters, PathPart, Query};
use super::problem::{Kind, Problem};
use crate::hub::{NewWebhook, WebhookError};
use crate::model::Webhook;

/// Largest body of a request that makes a webhook, in bytes.
const BODY_BYTES_MAX: usize = 16 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: String,
    uid: Option<String>,
    secret: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Shown {
    id: String,
    url: String,
    uid: Option<String>,
    cursor: String,
    disabled: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct Listed {
    webhooks: Vec<Shown>,
}

/// Makes a webhook; its secret is shown in this answer only.
pub(crate) async fn create(
    caller: Caller,
    State(api): State<Api>,
    _: Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    let time = api.limits().body_time_max();
    let body = body::read(&headers, body, BODY_BYTES_MAX, time).await?;
    let caller = caller.again(&api)?;
    let asked: Asked = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(Kind::BadBody, error.to_string())
            .with("line", error.line())
            .with("column", error.column())
    })?;
    let uid = caller.reader(parameters::uid(asked.uid.as_deref())?)?;
    let webhook = NewWebhook {
        url: asked.url,
        uid,
        secret: asked.secret,
        // Who may do everything here may let the server reach everything.
        private_allowed: caller.is_admin(),
    };
    let webhook = api.hub().add_webhook(webhook).await?;
    let location = format!("/api/v1/webhooks/{}", webhook.id);
    let headers = [(LOCATION, location), (CACHE_CONTROL, "no-store".to_owned())];
    let secret = Some(webhook.secret.clone());
    let shown = Shown {
        secret,
        ..shown(webhook, &api).await
    };
    Ok((StatusCode::CREATED, headers, Json(shown)))
}

/// Lists the principal's webhooks, without secrets.
pub(crate) async fn list(
    caller: Caller,
    State(api): State<Api>,
    _: Query<NoParameters>,
) -> Result<Json<Listed>, Problem> {
    let mut webhooks = Vec::new();
    for webhook in api.hub().webhooks().await? {
        if caller.sees(webhook.uid.as_ref()) {
            webhooks.push(shown(webhook, &api).await);
        }
    }
    Ok(Json(Listed { webhooks }))
}

/// Shows one webhook, without its secret.
pub(crate) async fn one(
    caller: Caller,
    State(api): State<Api>,
    PathPart(id): PathPart,
    _: Query<NoParameters>,
) -> Result<Json<Shown>, Problem> {
    let webhook = find(&caller, &api, &id).await?;
    Ok(Json(shown(webhook, &api).await))
}

/// Removes a webhook.
pub(crate) async fn remove(
    caller: Caller,
    State(api): State<Api>,
    PathPart(id): PathPart,
    _: Query<NoParameters>,
) -> Result<StatusCode, Problem> {
    find(&caller, &api, &id).await?;
    if api.hub().remove_webhook(&id).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(unknown())
    }
}

async fn find(caller: &Caller, api: &Api, id: &str) -> Result<Webhook, Problem> {
    let mut all = api.hub().webhooks().await?.into_iter();
    // To a partner, somebody else's webhook looks like none at all.
    all.find(|webhook| webhook.id == id && caller.sees(webhook.uid.as_ref()))
        .ok_or_else(unknown)
}

fn unknown() -> Problem {
    Problem::new(Kind::NotFound, "no webhook has this id")
}

async fn shown(webhook: Webhook, api: &Api) -> Shown {
    let cursor = api.hub().stamped(webhook.cursor).await;
    Shown {
        id: webhook.id,
        url: webhook.url,
        uid: webhook.uid.map(|uid| uid.to_string()),
        cursor: cursor.to_string(),
        disabled: webhook.disabled,
        secret: None,
    }
}

impl From<WebhookError> for Problem {
    fn from(error: WebhookError) -> Self {
        let detail = error.to_string();
        match error {
            WebhookError::Url { .. } | WebhookError::Secret => Self::new(Kind::BadBody, detail),
            WebhookError::Exists { id } => Self::new(Kind::WebhookExists, detail).with("id", id),
            WebhookError::TooMany { max } => Self::new(Kind::TooMany, detail).with("max", max),
            WebhookError::Store(error) => error.into(),
        }
    }
}
