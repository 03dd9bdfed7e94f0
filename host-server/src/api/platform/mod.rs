//! The REST interface of the bus, as a SERMAS platform has it: paths, bodies, statuses and the texts
//! of errors are that platform's (SPEC 14), so that programs written for it cannot tell the
//! difference. Errors are JSON as NestJS writes them, not problem documents.

pub(super) mod acl;
pub(super) mod clients;
mod error;
pub(super) mod token;
pub(super) mod well_known;

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;

use self::error::PlatformError;
use super::Api;
use super::body;
use crate::bus::{BusClient, BusIdentity, ClientKey, ClientName};
use crate::model::Principal;

/// Largest body of a request, in bytes.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Who asks, within its rate.
#[derive(Clone, Debug)]
pub(crate) enum Asker {
    /// The administrator.
    Admin,
    /// A client of the bus.
    Client {
        /// Who it is.
        client: Arc<BusClient>,
        /// What it showed.
        token: String,
    },
}

impl Asker {
    /// Whose token `bearer` is.
    async fn of(bearer: &str, api: &Api) -> Result<Self, PlatformError> {
        if let Some(principal) = api.credentials().principal(bearer) {
            api.rates().take_platform(None)?;
            return match principal {
                Principal::Admin => Ok(Self::Admin),
                // A partner belongs to vehicles and has nothing here.
                Principal::Partner(_) => Err(PlatformError::forbidden()),
            };
        }
        let unauthorized = |_| PlatformError::unauthorized();
        let BusIdentity { key, .. } = api
            .bus()
            .tokens
            .verify(bearer)
            .await
            .map_err(unauthorized)?;
        api.rates().take_platform(Some(&key))?;
        let client = api.bus().clients.find(&key);
        Ok(Self::Client {
            client: client.ok_or_else(PlatformError::unauthorized)?,
            token: bearer.to_owned(),
        })
    }

    /// Refuses whoever may not use `scope` of the platform in `app`.
    fn require(&self, app: &ClientName, scope: &str) -> Result<(), PlatformError> {
        match self {
            Self::Admin => Ok(()),
            Self::Client { client, .. }
                if client.key.app == *app && client.permissions.permit("platform", scope) =>
            {
                Ok(())
            }
            Self::Client { .. } => Err(PlatformError::forbidden()),
        }
    }
}

impl FromRequestParts<Api> for Asker {
    type Rejection = PlatformError;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, PlatformError> {
        match bearer(&parts.headers) {
            Some(token) => Self::of(token, api).await,
            None => Err(PlatformError::unauthorized()),
        }
    }
}

/// The token of a request, with or without `Bearer` before it, as that platform has it.
fn bearer(headers: &axum::http::HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?.trim();
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        Some(_) => return None,
        None => value,
    };
    (!token.is_empty()).then_some(token)
}

/// The body of a request as JSON; none is an empty object.
async fn json<T: DeserializeOwned>(
    api: &Api,
    headers: &axum::http::HeaderMap,
    body: axum::body::Body,
) -> Result<T, PlatformError> {
    let time = api.limits().body_time_max();
    let bytes = body::read(headers, body, BODY_BYTES_MAX, time).await?;
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(bytes).map_err(|error| PlatformError::bad_request(error.to_string()))
}

/// The key that a request names; the client may stand there with its app before it, as in a token.
fn key(app: &str, client: &str) -> Option<ClientKey> {
    let with_app = client.strip_prefix(app).and_then(|it| it.strip_prefix('-'));
    Some(ClientKey {
        app: ClientName::parse(app).ok()?,
        client: ClientName::parse(with_app.unwrap_or(client)).ok()?,
    })
}

/// The client that a request names.
fn find(api: &Api, app: &str, client: &str) -> Result<Arc<BusClient>, PlatformError> {
    let whole = ClientName::parse(app)
        .ok()
        .zip(ClientName::parse(client).ok());
    let whole = whole.map(|(app, client)| ClientKey { app, client });
    // A client whose own name begins with that of its app comes first.
    whole
        .and_then(|key| api.bus().clients.find(&key))
        .or_else(|| api.bus().clients.find(&key(app, client)?))
        .ok_or_else(|| PlatformError::new(StatusCode::NOT_FOUND, "client not found"))
}
