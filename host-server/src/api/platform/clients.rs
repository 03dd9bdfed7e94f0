//! `/api/platform/app/{appId}/client/…`: the clients of an app. The administrator may do everything; a
//! client that has `platform.client` may do it in its own app, and pass on what it has itself.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};
use vinbus_protocol::bus::{Owner, topics};

use super::error::PlatformError;
use super::{Api, Asker, find};
use crate::bus::{BusClient, ClientChange, ClientName, NewClient, Permissions};

/// The permission that managing clients takes, a scope of the platform.
const SCOPE: &str = "client";

type AppPath = Result<Path<String>, PathRejection>;
type ClientPath = Result<Path<(String, String)>, PathRejection>;

/// What a client is made of or changed to. Members that say nothing to us are passed over, as that
/// platform does.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    client_id: Option<String>,
    name: Option<String>,
    permissions: Option<Vec<String>>,
    disabled: Option<bool>,
    revoke_tokens: bool,
}

/// A client as it is shown.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Shown {
    app_id: String,
    client_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    /// In the answer to its making only.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
    permissions: Vec<String>,
    disabled: bool,
    created_at: String,
    changed_at: String,
}

impl Shown {
    fn of(client: &BusClient) -> Self {
        let time = |time| humantime::format_rfc3339_millis(time).to_string();
        Self {
            app_id: client.key.app.to_string(),
            client_id: client.key.client.to_string(),
            name: client.name.clone(),
            secret: None,
            permissions: client.permissions.iter().map(str::to_owned).collect(),
            disabled: client.disabled,
            created_at: time(client.created_at),
            changed_at: time(client.changed_at),
        }
    }
}

/// Makes a client; its secret is shown in this answer only.
pub(crate) async fn create(
    asker: Asker,
    State(api): State<Api>,
    app: AppPath,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, PlatformError> {
    let app = app_of(app)?;
    asker.require(&app, SCOPE)?;
    let (asker, asked): (_, Asked) = asker.with_body(&api, &headers, body).await?;
    asker.require(&app, SCOPE)?;
    let client = asked.client_id.filter(|text| !text.is_empty());
    let client = client.as_deref().map(ClientName::parse).transpose();
    let permissions = parse(&api, &asked.permissions.unwrap_or_default())?;
    asker.require_all(&permissions)?;
    let new = NewClient {
        app,
        client: client.map_err(|error| PlatformError::bad_request(format!("clientId: {error}")))?,
        name: asked.name,
        permissions,
    };
    let given = new.permissions.clone();
    let may = || asker.still_may(&api, SCOPE, [&given]);
    let (client, secret) = api.bus().clients.create(new, may).await?;
    let shown = Shown {
        secret: Some(secret.expose().to_owned()),
        ..Shown::of(&client)
    };
    Ok((
        StatusCode::CREATED,
        [(CACHE_CONTROL, "no-store")],
        Json(shown),
    ))
}

/// Lists the clients of an app.
pub(crate) async fn list(
    asker: Asker,
    State(api): State<Api>,
    app: AppPath,
) -> Result<Json<Vec<Shown>>, PlatformError> {
    let app = app_of(app)?;
    asker.require(&app, SCOPE)?;
    let clients = api.bus().clients.list(Some(&app));
    Ok(Json(clients.iter().map(|it| Shown::of(it)).collect()))
}

/// Lists the clients of all apps, or of the asker's own.
pub(crate) async fn list_all(
    asker: Asker,
    State(api): State<Api>,
) -> Result<Json<Vec<Shown>>, PlatformError> {
    let own = match &asker {
        Asker::Admin => None,
        Asker::Client { client, .. } => Some(&client.key.app),
    };
    if let Some(app) = own {
        asker.require(app, SCOPE)?;
    }
    let clients = api.bus().clients.list(own);
    Ok(Json(clients.iter().map(|it| Shown::of(it)).collect()))
}

/// Shows a client, without its secret, which nobody knows but the client.
pub(crate) async fn one(
    asker: Asker,
    State(api): State<Api>,
    path: ClientPath,
) -> Result<Json<Shown>, PlatformError> {
    let client = readable(&asker, &api, path)?;
    Ok(Json(Shown::of(&client)))
}

/// Lists the topics of the topic map, and of the host beside it, that a client may use, as the map
/// writes them.
pub(crate) async fn topics(
    asker: Asker,
    State(api): State<Api>,
    path: ClientPath,
) -> Result<Json<Vec<&'static str>>, PlatformError> {
    let client = readable(&asker, &api, path)?;
    let mut list = Vec::new();
    for topic in topics::ALL.iter().chain(topics::OF_HOST) {
        let of_app = matches!(topic.owner, Owner::App(_));
        if of_app && client.permissions.permit(topic.resource, topic.scope) {
            list.push(topic.pattern);
        }
    }
    Ok(Json(list))
}

/// Changes a client; what is not named stays as it is.
pub(crate) async fn change(
    asker: Asker,
    State(api): State<Api>,
    path: ClientPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Shown>, PlatformError> {
    let (asker, asked): (_, Asked) = asker.with_body(&api, &headers, body).await?;
    let client = client_of(&asker, &api, path)?;
    // Nobody raises, and nobody cuts down, who may more than itself.
    asker.require_all_of(&client)?;
    // Only a client that is made gets everything when nothing is named.
    if asked.permissions.as_ref().is_some_and(Vec::is_empty) {
        let detail = "permissions: name at least one; \"disabled\":true takes all of them away";
        return Err(PlatformError::bad_request(detail));
    }
    let permissions = asked.permissions.as_deref().map(|it| parse(&api, it));
    let permissions = permissions.transpose()?;
    if let Some(permissions) = &permissions {
        asker.require_all(permissions)?;
    }
    let change = ClientChange {
        permissions,
        name: asked.name,
        disabled: asked.disabled,
        revoke: asked.revoke_tokens,
    };
    let given = change.permissions.clone();
    let may = |client: &BusClient| {
        let all = given.iter().chain([&*client.permissions]);
        asker.still_may(&api, SCOPE, all)
    };
    let changed = api.bus().clients.change(&client.key, change, may).await?;
    Ok(Json(Shown::of(&changed)))
}

/// Removes a client.
pub(crate) async fn remove(
    asker: Asker,
    State(api): State<Api>,
    path: ClientPath,
) -> Result<StatusCode, PlatformError> {
    let client = client_of(&asker, &api, path)?;
    asker.require_all_of(&client)?;
    let may = |client: &BusClient| asker.still_may(&api, SCOPE, [&*client.permissions]);
    api.bus().clients.remove(&client.key, may).await?;
    Ok(StatusCode::OK)
}

fn app_of(path: AppPath) -> Result<ClientName, PlatformError> {
    let Path(app) = path.map_err(|_| not_found("app not found"))?;
    ClientName::parse(&app).map_err(|error| PlatformError::bad_request(format!("appId: {error}")))
}

/// The client of a path, if the asker may manage it.
fn client_of(asker: &Asker, api: &Api, path: ClientPath) -> Result<Arc<BusClient>, PlatformError> {
    let Path((app, client)) = path.map_err(|_| not_found("client not found"))?;
    let app = ClientName::parse(&app).map_err(|_| not_found("app not found"))?;
    asker.require(&app, SCOPE)?;
    find(api, app.as_str(), &client)
}

/// The client of a path, if the asker may manage it or is it.
fn readable(asker: &Asker, api: &Api, path: ClientPath) -> Result<Arc<BusClient>, PlatformError> {
    if let (Asker::Client { client: own, .. }, Ok(Path((app, client)))) = (asker, &path)
        && find(api, app, client).is_ok_and(|client| client.key == own.key)
    {
        return Ok(Arc::clone(own));
    }
    client_of(asker, api, path)
}

fn not_found(message: &str) -> PlatformError {
    PlatformError::new(StatusCode::NOT_FOUND, message)
}

fn parse(api: &Api, permissions: &[String]) -> Result<Permissions, PlatformError> {
    let parsed = Permissions::parse(permissions);
    let checked = parsed.and_then(|it| api.bus().rules.check(&it).map(|()| it));
    checked.map_err(|error| PlatformError::bad_request(error.to_string()))
}
