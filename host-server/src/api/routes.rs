//! The table of all routes, and the layers around them.

use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use vinbus_protocol::limits::REQUEST_TIMEOUT_S_MAX;

use super::platform::{self, acl, clients, token, well_known};
use super::problem::{self, Kind, Problem};
use super::{
    Api, Foundation, activity, asyncapi, console, fleet, health, messages, mqtt, openapi, requests,
    sent, status, stream, trace, uplink, vehicles, webhooks,
};

/// One method of one path.
pub(super) struct Route {
    /// The method.
    pub(super) method: Method,
    /// The path, as axum and OpenAPI both write it.
    pub(super) path: &'static str,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
}

const fn route(
    method: Method,
    path: &'static str,
    handler: fn(MethodFilter) -> MethodRouter<Api>,
) -> Route {
    Route {
        method,
        path,
        handler,
    }
}

const GET: Method = Method::GET;
const POST: Method = Method::POST;
const DELETE: Method = Method::DELETE;
const PATCH: Method = Method::PATCH;

/// Every route there is.
pub(super) const ROUTES: &[Route] = &[
    route(POST, "/api/v1/vehicles/{vin}/messages", |method| {
        on(method, messages::submit)
    }),
    route(POST, requests::PATH, |method| on(method, requests::ask)),
    route(DELETE, requests::PATH, |method| {
        on(method, requests::cancel)
    }),
    route(GET, "/api/v1/messages", |method| on(method, uplink::page)),
    route(GET, "/api/v1/messages/stream", |method| {
        on(method, stream::follow)
    }),
    route(GET, "/api/v1/messages/sent", |method| {
        on(method, sent::page)
    }),
    route(GET, "/api/v1/activity/stream", |method| {
        on(method, activity::follow)
    }),
    route(GET, "/api/v1/status", |method| on(method, status::show)),
    route(POST, "/api/v1/console/links", |method| {
        on(method, console::link)
    }),
    route(POST, "/api/v1/console/session", |method| {
        on(method, console::sign_in)
    }),
    route(DELETE, "/api/v1/console/session", |method| {
        on(method, console::sign_out)
    }),
    route(GET, "/", |method| on(method, console::page)),
    route(GET, "/console/{file}", |method| on(method, console::part)),
    route(GET, "/api/v1/messages/{id}", |method| {
        on(method, trace::trace)
    }),
    route(POST, "/api/v1/fleet/messages", |method| {
        on(method, fleet::submit)
    }),
    route(GET, "/api/v1/fleet/messages", |method| {
        on(method, fleet::list)
    }),
    route(GET, "/api/v1/fleet/messages/{id}", |method| {
        on(method, fleet::one)
    }),
    route(GET, "/api/v1/fleet/messages/{id}/vehicles", |method| {
        on(method, fleet::vehicles)
    }),
    route(POST, "/api/v1/fleet/messages/{id}/pause", |method| {
        on(method, fleet::pause)
    }),
    route(POST, "/api/v1/fleet/messages/{id}/resume", |method| {
        on(method, fleet::resume)
    }),
    route(POST, "/api/v1/fleet/messages/{id}/cancel", |method| {
        on(method, fleet::cancel)
    }),
    route(GET, "/api/v1/vehicles", |method| on(method, vehicles::list)),
    route(GET, "/api/v1/vehicles/{vin}", |method| {
        on(method, vehicles::one)
    }),
    route(POST, "/api/v1/webhooks", |method| {
        on(method, webhooks::create)
    }),
    route(GET, "/api/v1/webhooks", |method| on(method, webhooks::list)),
    route(GET, "/api/v1/webhooks/{id}", |method| {
        on(method, webhooks::one)
    }),
    route(DELETE, "/api/v1/webhooks/{id}", |method| {
        on(method, webhooks::remove)
    }),
    route(POST, "/api/platform/token/access_token", |method| {
        on(method, token::access)
    }),
    route(POST, "/api/platform/token", |method| {
        on(method, token::access)
    }),
    route(POST, "/api/platform/token/refresh_token", |method| {
        on(method, token::refresh)
    }),
    route(POST, "/api/platform/token/refresh", |method| {
        on(method, token::refresh)
    }),
    route(GET, "/api/auth/whoami", |method| on(method, token::whoami)),
    route(POST, "/api/platform/acl", |method| on(method, acl::explain)),
    route(GET, "/api/platform/client", |method| {
        on(method, clients::list_all)
    }),
    route(POST, "/api/platform/app/{appId}/client", |method| {
        on(method, clients::create)
    }),
    route(GET, "/api/platform/app/{appId}/client", |method| {
        on(method, clients::list)
    }),
    route(
        GET,
        "/api/platform/app/{appId}/client/{clientId}",
        |method| on(method, clients::one),
    ),
    route(
        PATCH,
        "/api/platform/app/{appId}/client/{clientId}",
        |method| on(method, clients::change),
    ),
    route(
        DELETE,
        "/api/platform/app/{appId}/client/{clientId}",
        |method| on(method, clients::remove),
    ),
    route(
        GET,
        "/api/platform/app/{appId}/client/{clientId}/topics",
        |method| on(method, clients::topics),
    ),
    route(GET, "/.well-known/jwks.json", |method| {
        on(method, well_known::keys)
    }),
    route(GET, "/.well-known/sermas.json", |method| {
        on(method, well_known::sermas)
    }),
    route(GET, "/api/openapi.json", |method| {
        on(method, openapi::document)
    }),
    route(GET, "/api/asyncapi.json", |method| {
        on(method, asyncapi::serve)
    }),
    route(GET, "/healthz", |method| on(method, health::alive)),
    route(GET, "/readyz", |method| on(method, health::ready)),
    route(GET, "/metrics", |method| on(method, health::metrics)),
    route(GET, "/mqtt", |method| on(method, mqtt::upgrade)),
];

/// The whole REST interface.
pub fn router(foundation: Foundation) -> Router {
    let api = Api::new(foundation);
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| {
            // Every method of the table has a filter.
            let filter = MethodFilter::try_from(route.method.clone()).unwrap_or(MethodFilter::GET);
            router.route(route.path, (route.handler)(filter))
        })
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(api.clone(), answer_in_time))
        .layer(from_fn_with_state(api.clone(), count))
        .layer(from_fn(problem::name_the_instance))
        .with_state(api)
}

async fn not_found(method: Method, uri: Uri) -> Response {
    match platform::not_here(StatusCode::NOT_FOUND, &method, uri.path()) {
        Some(error) => error.into_response(),
        None => problem::not_found().into_response(),
    }
}

async fn method_not_allowed(method: Method, uri: Uri) -> Response {
    match platform::not_here(StatusCode::METHOD_NOT_ALLOWED, &method, uri.path()) {
        Some(error) => error.into_response(),
        None => problem::method_not_allowed().into_response(),
    }
}

/// Answers 503 where a handler takes too long to begin its answer.
async fn answer_in_time(State(api): State<Api>, request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>();
    let waits = path.is_some_and(|path| path.as_str() == requests::PATH);
    // Who asks an app waits for it.
    let for_the_app = match waits {
        true => Duration::from_secs(u64::from(REQUEST_TIMEOUT_S_MAX)),
        false => Duration::ZERO,
    };
    let time = api.limits().request_time_max + for_the_app;
    let asked = request.uri().clone();
    match tokio::time::timeout(time, next.run(request)).await {
        Ok(response) => response,
        Err(_) => platform::problem_here(too_slow(time), asked.path()),
    }
}

fn too_slow(time: Duration) -> Problem {
    Problem::new(
        Kind::Unavailable,
        format!(
            "there was no answer within {} s; a message may have been accepted all the same",
            time.as_secs_f32()
        ),
    )
    .retry_after(5)
}

/// Counts the answer by its status, and by its route and class.
async fn count(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    // The path of the table, not what was asked: there are only so many.
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    tracing::debug!(%method, path, status = response.status().as_u16(), "answered");
    let help = "Answers to HTTP requests by status.";
    let status = response.status();
    api.metrics()
        .counter(
            "vinbus_http_answers_total",
            help,
            &[("status", status.as_str())],
        )
        .increment();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    api.metrics()
        .counter(
            "vinbus_http_requests_total",
            "HTTP requests by route, method not regarded, and by class of their answer's status.",
            &[("route", route), ("class", class(status))],
        )
        .increment();
    response
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() {
        100..200 => "1xx",
        200..300 => "2xx",
        300..400 => "3xx",
        400..500 => "4xx",
        _ => "5xx",
    }
}
