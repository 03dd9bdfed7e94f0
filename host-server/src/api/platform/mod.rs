//! The REST interface of the bus, as a SERMAS platform has it: paths, bodies, statuses and the texts
//! of errors are that platform's (SPEC 14), so that programs written for it cannot tell the
//! difference. Errors are JSON as NestJS writes them, not problem documents.

pub(super) mod acl;
pub(super) mod clients;
mod error;
pub(super) mod token;
pub(super) mod well_known;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;

use self::error::PlatformError;
use super::Api;
use super::body;
use super::problem::Problem;
use crate::bus::{BusClient, BusIdentity, ClientKey, ClientName, Permissions};
use crate::identity::Secret;
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
        token: Secret,
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
        let client = client_of(bearer, api).await?;
        api.rates().take_platform(Some(&client.key))?;
        Ok(Self::Client {
            client,
            token: Secret::new(bearer.to_owned()),
        })
    }

    /// Refuses whoever may less than `client`: who has its tokens, or gives it rights, may what it may.
    fn require_all_of(&self, client: &BusClient) -> Result<(), PlatformError> {
        self.require_all(&client.permissions)
    }

    /// Whether it may, as it is now, use `scope` of the platform and all of these permissions. For what
    /// waited for its turn: rights may have been taken away meanwhile.
    fn still_may<'p>(
        &self,
        api: &Api,
        scope: &str,
        permissions: impl IntoIterator<Item = &'p Permissions>,
    ) -> bool {
        let Self::Client { client, .. } = self else {
            return true;
        };
        api.bus().clients.find(&client.key).is_some_and(|now| {
            let own = &now.permissions;
            !now.disabled
                && now.generation == client.generation
                && now.subject == client.subject
                && own.permit("platform", scope)
                && permissions.into_iter().all(|it| own.include(it))
        })
    }

    /// Refuses whoever has not all of these permissions.
    fn require_all(&self, permissions: &Permissions) -> Result<(), PlatformError> {
        match self {
            Self::Client { client, .. } if !client.permissions.include(permissions) => {
                Err(PlatformError::forbidden())
            }
            Self::Admin | Self::Client { .. } => Ok(()),
        }
    }

    /// Reads the body of a request, and gives it with the asker as it is now that the body is there: a
    /// body may come slowly, and rights may be taken away meanwhile.
    async fn with_body<T: DeserializeOwned>(
        self,
        api: &Api,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<(Self, T), PlatformError> {
        let asked = json(api, headers, body).await?;
        let asker = match self {
            Self::Admin => Self::Admin,
            Self::Client { token, .. } => Self::Client {
                client: client_of(token.expose(), api).await?,
                token,
            },
        };
        Ok((asker, asked))
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

/// What a request to a path or method of that platform is told that is not here; `None` for other paths.
pub(super) fn not_here(status: StatusCode, method: &Method, path: &str) -> Option<PlatformError> {
    is_of_platform(path).then(|| PlatformError::new(status, format!("Cannot {method} {path}")))
}

/// The answer of a problem, as that platform would tell it where `path` is one of its own.
pub(super) fn problem_here(problem: Problem, path: &str) -> Response {
    match is_of_platform(path) {
        true => PlatformError::from(problem).into_response(),
        false => problem.into_response(),
    }
}

/// Whether a path is that platform's, whether or not there is anything.
fn is_of_platform(path: &str) -> bool {
    ["/api/platform", "/api/auth"].iter().any(|root| {
        let rest = path.strip_prefix(root);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// The client that `token` stands for.
async fn client_of(token: &str, api: &Api) -> Result<Arc<BusClient>, PlatformError> {
    let verified = api.bus().tokens.verify(token).await;
    let BusIdentity { key, .. } = verified?;
    let client = api.bus().clients.find(&key);
    client.ok_or_else(PlatformError::unauthorized)
}

/// The token of a request, with or without `Bearer` before it, as that platform has it.
fn bearer(headers: &HeaderMap) -> Option<&str> {
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
    headers: &HeaderMap,
    body: Body,
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
