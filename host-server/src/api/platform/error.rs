//! What a client of that platform is told when a request is not done.

use axum::Json;
use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::problem::Problem;
use crate::bus::{ClientError, KEYS_FETCH_PAUSE, TokenError};
use crate::identity::{IdentityError, LoginError};
use crate::store::StoreError;

/// An error as NestJS writes it.
#[derive(Debug)]
pub(crate) struct PlatformError {
    status: StatusCode,
    message: String,
    /// Seconds after which the same request may work.
    retry_after: Option<u64>,
}

#[derive(Serialize)]
struct Document<'a> {
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'static str>,
    #[serde(rename = "statusCode")]
    status_code: u16,
}

impl PlatformError {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry_after: None,
        }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// No token or secret, or one that does not count.
    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
    }

    /// Who asks may not.
    pub(super) fn forbidden() -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden")
    }

    pub(super) fn later(status: StatusCode, message: impl Into<String>, seconds: u64) -> Self {
        Self {
            retry_after: Some(seconds),
            ..Self::new(status, message)
        }
    }
}

impl IntoResponse for PlatformError {
    fn into_response(self) -> Response {
        let reason = self.status.canonical_reason();
        let document = Document {
            message: &self.message,
            // An error without a text of its own has the reason for one, and does not repeat it.
            error: reason.filter(|reason| *reason != self.message),
            status_code: self.status.as_u16(),
        };
        let mut response = (self.status, Json(document)).into_response();
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<LoginError> for PlatformError {
    fn from(error: LoginError) -> Self {
        let text = error.to_string();
        match error {
            LoginError::UnknownUser | LoginError::WrongPassword => Self::unauthorized(),
            LoginError::Busy => Self::later(StatusCode::TOO_MANY_REQUESTS, text, 1),
            LoginError::Paused { left } => {
                Self::later(StatusCode::TOO_MANY_REQUESTS, text, left.as_secs() + 1)
            }
            LoginError::Unreadable(error) => error.into(),
        }
    }
}

impl From<TokenError> for PlatformError {
    /// Why a token does not count is for the log of its client; that it cannot be told now is not the
    /// client's fault, who may come again.
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Keys { .. } => {
                let seconds = KEYS_FETCH_PAUSE.as_secs();
                Self::later(StatusCode::SERVICE_UNAVAILABLE, error.to_string(), seconds)
            }
            _ => Self::unauthorized(),
        }
    }
}

impl From<ClientError> for PlatformError {
    fn from(error: ClientError) -> Self {
        let text = error.to_string();
        match error {
            ClientError::Exists { .. } | ClientError::Permissions(_) | ClientError::Name => {
                Self::bad_request(text)
            }
            ClientError::Forbidden => Self::forbidden(),
            ClientError::Unknown => Self::new(StatusCode::NOT_FOUND, text),
            ClientError::TooMany | ClientError::TooManyOfApp => {
                Self::new(StatusCode::CONFLICT, text)
            }
            ClientError::Secret(error) => error.into(),
            ClientError::Store(error) => error.into(),
        }
    }
}

/// What the rest of the interface has a problem document for: the same status and text, the log as
/// there.
impl From<Problem> for PlatformError {
    fn from(problem: Problem) -> Self {
        Self {
            status: problem.status(),
            message: problem.detail().to_owned(),
            retry_after: problem.seconds_to_wait(),
        }
    }
}

impl From<StoreError> for PlatformError {
    fn from(error: StoreError) -> Self {
        Problem::from(error).into()
    }
}

impl From<IdentityError> for PlatformError {
    fn from(error: IdentityError) -> Self {
        Problem::from(error).into()
    }
}
