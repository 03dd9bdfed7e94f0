//! What a client is told when a request is not done: problem details (RFC 9457).
//!
//! A [`Problem`] says what happened, with which value, and what to do; what only the operator may
//! know goes to the log instead. Handlers return problems without knowing the request's path; the
//! outermost layer, [`name_the_instance`], writes the document.

use std::sync::LazyLock;
use std::time::Instant;

use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Map, Value};
use vinbus_transport_std::guards::LogThrottle;

use crate::identity::IdentityError;
use crate::store::StoreError;

/// The kinds of problems. Each has its own `type` in the document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// The VIN in the path or the query is none.
    BadVin,
    /// The body is no downlink envelope.
    BadEnvelope,
    /// The body is no JSON object with the expected members.
    BadBody,
    /// The query has an unknown or wrong parameter.
    BadQuery,
    /// No token, or one that nobody has.
    Unauthorized,
    /// The token's owner may not do this.
    Forbidden,
    /// There is no such thing.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// There is a webhook already that does the same.
    WebhookExists,
    /// There are as many of these as there may be.
    TooMany,
    /// The fleet message is for no vehicle.
    NoVehicle,
    /// The fleet message is over.
    FleetOver,
    /// The message has more bytes than the vehicle's broker carries.
    TooLarge,
    /// The principal asks more often than it may.
    RateLimited,
    /// The vehicle has as many unsent messages as it may.
    VehicleQueueFull,
    /// The partner has as many unsent messages as it may.
    PartnerQueueFull,
    /// The request was not carried out.
    RequestRefused,
    /// The request was cancelled.
    RequestCancelled,
    /// Another request had this key.
    KeyReused,
    /// Nobody knows whether the request was carried out.
    RequestLost,
    /// The app did not answer in time.
    RequestTimedOut,
    /// The sign-in link opens nothing.
    LinkRefused,
    /// The path speaks another protocol than HTTP.
    UpgradeRequired,
    /// There is no room for it now.
    Busy,
    /// The server cannot do it now.
    Unavailable,
    /// The store has no room.
    StoreFull,
}

impl Kind {
    /// Every kind, for the OpenAPI document's test.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 27] = [
        Self::BadVin,
        Self::BadEnvelope,
        Self::BadBody,
        Self::BadQuery,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::WebhookExists,
        Self::TooMany,
        Self::NoVehicle,
        Self::FleetOver,
        Self::TooLarge,
        Self::RateLimited,
        Self::VehicleQueueFull,
        Self::PartnerQueueFull,
        Self::RequestRefused,
        Self::RequestCancelled,
        Self::KeyReused,
        Self::RequestLost,
        Self::RequestTimedOut,
        Self::LinkRefused,
        Self::UpgradeRequired,
        Self::Busy,
        Self::Unavailable,
        Self::StoreFull,
    ];

    /// The status, the last part of the `type`, and the title.
    pub(crate) fn entry(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadVin => (StatusCode::BAD_REQUEST, "bad-vin", "The VIN is not valid"),
            Self::BadEnvelope => (
                StatusCode::BAD_REQUEST,
                "bad-envelope",
                "The body is not a message for a vehicle",
            ),
            Self::BadBody => (StatusCode::BAD_REQUEST, "bad-body", "The body is not valid"),
            Self::BadQuery => (
                StatusCode::BAD_REQUEST,
                "bad-query",
                "The query is not valid",
            ),
            Self::Unauthorized => (
                StatusCode::UNAUTHORIZED,
                "unauthorized",
                "A valid bearer token is required",
            ),
            Self::Forbidden => (
                StatusCode::FORBIDDEN,
                "forbidden",
                "This token may not do that",
            ),
            Self::NotFound => (StatusCode::NOT_FOUND, "not-found", "There is nothing here"),
            Self::MethodNotAllowed => (
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "The method is not allowed here",
            ),
            Self::BodyTimeout => (
                StatusCode::REQUEST_TIMEOUT,
                "body-timeout",
                "The body did not arrive in time",
            ),
            Self::WebhookExists => (
                StatusCode::CONFLICT,
                "webhook-exists",
                "There is such a webhook already",
            ),
            Self::TooMany => (
                StatusCode::CONFLICT,
                "too-many",
                "There are too many of these",
            ),
            Self::NoVehicle => (
                StatusCode::BAD_REQUEST,
                "no-vehicle",
                "The fleet message is for no vehicle",
            ),
            Self::FleetOver => (
                StatusCode::CONFLICT,
                "fleet-over",
                "The fleet message is over",
            ),
            Self::TooLarge => (
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                "The message is too large",
            ),
            Self::RateLimited => (
                StatusCode::TOO_MANY_REQUESTS,
                "rate-limited",
                "Too many requests",
            ),
            Self::VehicleQueueFull => (
                StatusCode::TOO_MANY_REQUESTS,
                "vehicle-queue-full",
                "Too many messages wait for this vehicle",
            ),
            Self::PartnerQueueFull => (
                StatusCode::TOO_MANY_REQUESTS,
                "partner-queue-full",
                "Too many messages of this partner wait",
            ),
            Self::RequestRefused => (
                StatusCode::CONFLICT,
                "request-refused",
                "The request was not carried out",
            ),
            Self::RequestCancelled => (
                StatusCode::GONE,
                "request-cancelled",
                "The request was cancelled",
            ),
            Self::KeyReused => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "key-reused",
                "Another request had this key",
            ),
            Self::RequestLost => (
                StatusCode::BAD_GATEWAY,
                "request-lost",
                "What became of the request is not known",
            ),
            Self::RequestTimedOut => (
                StatusCode::GATEWAY_TIMEOUT,
                "request-timed-out",
                "The app did not answer in time",
            ),
            Self::LinkRefused => (
                StatusCode::GONE,
                "link-refused",
                "The sign-in link opens nothing",
            ),
            Self::UpgradeRequired => (
                StatusCode::UPGRADE_REQUIRED,
                "upgrade-required",
                "This path speaks another protocol",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "The server has no room for this now",
            ),
            Self::Unavailable => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The server cannot do this now",
            ),
            Self::StoreFull => (
                StatusCode::INSUFFICIENT_STORAGE,
                "store-full",
                "The store is full",
            ),
        }
    }

    /// The `type` member.
    pub(crate) fn uri(self) -> String {
        format!("urn:vinbus:problem:{}", self.entry().1)
    }
}

/// One problem, to be told to a client.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    kind: Kind,
    detail: String,
    members: Map<String, Value>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Problem {
    /// A problem of `kind`; `detail` is a sentence for the client.
    pub(crate) fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            members: Map::new(),
            headers: Vec::new(),
        }
    }

    /// Adds a member that programs can read.
    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.members.insert(name.to_owned(), value.into());
        self
    }

    /// Says more in the sentence for the client.
    pub(crate) fn and(mut self, more: &str) -> Self {
        self.detail.push_str("; ");
        self.detail.push_str(more);
        self
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Says after how many seconds the same request may work.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        self.with("retryAfter", seconds)
            .header(RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// A message of `bytes` bytes where `max` are allowed.
    pub(crate) fn too_large(bytes: usize, max: usize) -> Self {
        Self::new(
            Kind::TooLarge,
            format!("the message has {bytes} bytes, at most {max} are allowed"),
        )
        .with("bytes", bytes)
        .with("max", max)
    }

    /// No token, or an unknown one.
    pub(crate) fn unauthorized(detail: &str) -> Self {
        Self::new(Kind::Unauthorized, detail)
            .header(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))
    }

    /// What it is.
    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// The status of the answer.
    pub(crate) fn status(&self) -> StatusCode {
        self.kind.entry().0
    }

    /// The sentence for the client.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }

    /// Seconds after which the same request may work.
    pub(crate) fn seconds_to_wait(&self) -> Option<u64> {
        self.members.get("retryAfter").and_then(Value::as_u64)
    }

    fn write(&self, instance: &str) -> Vec<u8> {
        let (status, _, title) = self.kind.entry();
        let document = Document {
            kind: self.kind.uri(),
            title,
            status: status.as_u16(),
            detail: &self.detail,
            instance,
            members: &self.members,
        };
        // Strings and numbers always make JSON.
        serde_json::to_vec(&document).unwrap_or_default()
    }
}

/// The document as it is written.
#[derive(Serialize)]
struct Document<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    instance: &'a str,
    #[serde(flatten)]
    members: &'a Map<String, Value>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.headers_mut().extend(self.headers.iter().cloned());
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { detail } => {
                log_store_error(&detail, "the store is full");
                Self::new(
                    Kind::StoreFull,
                    "the server's store is full; the message was not accepted. The operator has \
                     to free disk space or raise --store-bytes-max",
                )
            }
            StoreError::Busy { waiting } => Self::new(
                Kind::Busy,
                format!("{waiting} messages are waiting for the disk; try again"),
            )
            .with("waiting", waiting)
            .retry_after(1),
            StoreError::Corrupt { detail } | StoreError::Failed { detail } => {
                log_store_error(&detail, "the store failed");
                Self::new(
                    Kind::Unavailable,
                    "the server's store failed; the operator finds the cause in the server's log",
                )
                .retry_after(5)
            }
        }
    }
}

impl From<IdentityError> for Problem {
    fn from(error: IdentityError) -> Self {
        log_store_error(&error.to_string(), "a partner's record cannot be read");
        Self::new(
            Kind::Unavailable,
            "a partner's record cannot be read; the operator finds the cause in the server's log",
        )
        .retry_after(5)
    }
}

/// Tells the operator, and not more often than one can read: every request may fail of the same.
fn log_store_error(detail: &str, what: &str) {
    static THROTTLE: LazyLock<LogThrottle> = LazyLock::new(LogThrottle::default);
    if let Some(left_out) = THROTTLE.pass(Instant::now()) {
        tracing::error!(detail, left_out, "{what}");
    }
}

/// Writes the document of a problem that a handler returned, with the request's path as instance.
pub(crate) async fn name_the_instance(request: Request, next: Next) -> Response {
    let instance = request.uri().path().to_owned();
    let mut response = next.run(request).await;
    let Some(problem) = response.extensions_mut().remove::<Problem>() else {
        return response;
    };
    let (mut parts, _) = response.into_parts();
    let content_type = HeaderValue::from_static("application/problem+json");
    parts.headers.insert(CONTENT_TYPE, content_type);
    parts.headers.remove(CONTENT_LENGTH);
    Response::from_parts(parts, problem.write(&instance).into())
}

/// What a request to an unknown path is told.
pub(crate) fn not_found() -> Problem {
    Problem::new(
        Kind::NotFound,
        "this server knows no such path; /api/openapi.json lists those it knows",
    )
}

/// What a request with a method that its path does not know is told.
pub(crate) fn method_not_allowed() -> Problem {
    Problem::new(
        Kind::MethodNotAllowed,
        "the Allow header lists the methods of this path",
    )
}
