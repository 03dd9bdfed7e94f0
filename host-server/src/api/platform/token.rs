//! `/api/platform/token/…` and `/api/auth/whoami`: how a client gets a token, gets a new one, and
//! learns what it says.

use std::net::IpAddr;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::header::CACHE_CONTROL;
use axum::http::{HeaderMap, HeaderName, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::PlatformError;
use super::{Api, Asker, bearer, find, json, key};
use crate::api::connections::Peer;
use crate::bus::{self, BusClient, TokenKind};

/// A request for a token. What is empty counts as missing.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Asked {
    app_id: Option<String>,
    client_id: Option<String>,
    client_secret: Option<String>,
    refresh_token: Option<String>,
}

/// A token as Keycloak gives it.
#[derive(Serialize)]
pub(crate) struct Given {
    access_token: String,
    expires_in: u64,
    refresh_expires_in: u64,
    refresh_token: String,
    token_type: &'static str,
    #[serde(rename = "not-before-policy")]
    not_before_policy: u64,
    session_state: String,
    scope: &'static str,
}

/// A fresh token, which nobody between us and the client is to keep.
type Answer = (StatusCode, [(HeaderName, &'static str); 1], Json<Given>);

/// Gives a token for a secret, or for the token of somebody who has `platform.token`.
pub(crate) async fn access(
    State(api): State<Api>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, PlatformError> {
    let asked: Asked = json(&api, &headers, body).await?;
    let app = given(asked.app_id).ok_or_else(|| PlatformError::bad_request("appId missing"))?;
    // That platform says appId here as well.
    let client =
        given(asked.client_id).ok_or_else(|| PlatformError::bad_request("appId missing"))?;
    let secret = given(asked.client_secret);
    match (bearer(&headers), secret) {
        (None, None) => Err(PlatformError::bad_request(
            "One of clientSecret or bearer token is required",
        )),
        (Some(token), None) => {
            let asker = Asker::of(token, &api).await?;
            let named = key(&app, &client).ok_or_else(|| unknown(&client))?;
            asker.require(&named.app, "token")?;
            let client = find(&api, &app, &client).map_err(|_| unknown(&client))?;
            asker.require_all_of(&client)?;
            give(&api, &client, TokenKind::Access)
        }
        // Whoever knows the secret needs no token beside it.
        (_, Some(secret)) => {
            let client = proven(&api, (&app, &client), &secret, peer.ip()).await?;
            give(&api, &client, TokenKind::Access)
        }
    }
}

/// Gives a new token for a refresh token, or for the secret.
pub(crate) async fn refresh(
    State(api): State<Api>,
    Extension(Peer(peer)): Extension<Peer>,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, PlatformError> {
    let asked: Asked = json(&api, &headers, body).await?;
    let missing = |what| move || PlatformError::bad_request(format!("{what} missing"));
    let app = given(asked.app_id).ok_or_else(missing("appId"))?;
    let client = given(asked.client_id).ok_or_else(missing("clientId"))?;
    let refresh_token = match (given(asked.refresh_token), given(asked.client_secret)) {
        (Some(refresh_token), _) => refresh_token,
        (None, Some(secret)) => {
            let client = proven(&api, (&app, &client), &secret, peer.ip()).await?;
            return give(&api, &client, TokenKind::Access);
        }
        (None, None) => return Err(missing("refreshToken")()),
    };
    let tokens = &api.bus().tokens;
    let identity = tokens.verify_kind(&refresh_token, TokenKind::Refresh).await;
    let identity = identity?;
    match find(&api, &app, &client) {
        Ok(client) if identity.key == client.key => give(&api, &client, TokenKind::Refresh),
        Ok(_) | Err(_) => Err(PlatformError::unauthorized()),
    }
}

/// The client whose secret this is. Who guesses learns neither by the answer nor by its time which
/// clients there are.
async fn proven(
    api: &Api,
    (app, client): (&str, &str),
    secret: &str,
    address: IpAddr,
) -> Result<Arc<BusClient>, PlatformError> {
    let clients = &api.bus().clients;
    if let Ok(client) = find(api, app, client) {
        clients.check_secret(&client, secret, address).await?;
        return Ok(client);
    }
    // What is no name is that of nobody, as anybody knows.
    let named = key(app, client).ok_or_else(PlatformError::unauthorized)?;
    Err(clients.refuse_unknown(&named, secret, address).await.into())
}

/// Says what the token of the request says.
pub(crate) async fn whoami(asker: Asker) -> Result<Json<Value>, PlatformError> {
    match asker {
        Asker::Client { token, .. } => bus::shown(token.expose())
            .map(|(_, claims)| Json(claims))
            .map_err(|_| PlatformError::unauthorized()),
        // The administrator's token says nothing.
        Asker::Admin => Err(PlatformError::unauthorized()),
    }
}

/// Makes an access token and a refresh token. `asked` is what was asked for, to be told to listeners.
fn give(api: &Api, client: &BusClient, asked: TokenKind) -> Result<Answer, PlatformError> {
    if client.disabled {
        return Err(PlatformError::unauthorized());
    }
    api.rates().take_token(&client.key).map_err(|wait| {
        let text = "too many tokens of this client; use the one that it has until it expires";
        PlatformError::later(StatusCode::TOO_MANY_REQUESTS, text, wait.as_secs() + 1)
    })?;
    let tokens = &api.bus().tokens;
    let access = tokens.issue(client, TokenKind::Access)?;
    let refresh = tokens.issue(client, TokenKind::Refresh)?;
    api.bus().token_issued(client.key.clone(), asked);
    let given = Given {
        access_token: access.token,
        expires_in: access.lifetime.as_secs(),
        refresh_expires_in: refresh.lifetime.as_secs(),
        refresh_token: refresh.token,
        token_type: "Bearer",
        not_before_policy: client.revoked_until,
        session_state: access.id,
        scope: bus::TOKEN_SCOPE,
    };
    Ok((
        StatusCode::CREATED,
        [(CACHE_CONTROL, "no-store")],
        Json(given),
    ))
}

fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

fn unknown(client: &str) -> PlatformError {
    PlatformError::new(StatusCode::NOT_FOUND, format!("Client {client} not found"))
}
