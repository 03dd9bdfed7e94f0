//! The console: its page, as it stands in `console/`, and the sessions of those who sign in to it.
//!
//! Nothing in the page comes from anywhere else, and its content-security policy allows nothing else.
//! It shows what the REST interface tells anybody with the administrator's token.

use std::time::Instant;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ORIGIN, REFERRER_POLICY, SET_COOKIE,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, StatusCode};
use axum::response::IntoResponse;
use serde::{Deserialize, Serialize};

use super::Api;
use super::auth::{self, Caller};
use super::parameters::{NoParameters, PathPart, Query};
use super::problem::{Kind, Problem};
use super::{body, origin};
use crate::identity::LinkError;

/// Largest body of a request to sign in, in bytes.
const BODY_BYTES_MAX: usize = 1024;

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

macro_rules! files {
    ($($name:literal $media_type:literal,)+) => {
        /// Each file of the page: its name, its media type and its text.
        const FILES: &[(&str, &str, &str)] = &[
            $(($name, $media_type, include_str!(concat!("../../console/", $name))),)+
        ];
    };
}

files! {
    "index.html" "text/html; charset=utf-8",
    "console.css" "text/css; charset=utf-8",
    "console.js" "text/javascript; charset=utf-8",
    "charts.js" "text/javascript; charset=utf-8",
    "detail.js" "text/javascript; charset=utf-8",
    "envelope.js" "text/javascript; charset=utf-8",
    "fleet-detail.js" "text/javascript; charset=utf-8",
    "fleets.js" "text/javascript; charset=utf-8",
    "health.js" "text/javascript; charset=utf-8",
    "list.js" "text/javascript; charset=utf-8",
    "live.js" "text/javascript; charset=utf-8",
    "messages.js" "text/javascript; charset=utf-8",
    "outlook.js" "text/javascript; charset=utf-8",
    "progress.js" "text/javascript; charset=utf-8",
    "recipients.js" "text/javascript; charset=utf-8",
    "send.js" "text/javascript; charset=utf-8",
    "server.js" "text/javascript; charset=utf-8",
    "tabs.js" "text/javascript; charset=utf-8",
    "texts.js" "text/javascript; charset=utf-8",
    "vehicles.js" "text/javascript; charset=utf-8",
}

/// Answers the page.
pub(crate) async fn page() -> impl IntoResponse {
    file("index.html")
}

/// Answers a file of the page.
pub(crate) async fn part(PathPart(name): PathPart) -> impl IntoResponse {
    file(&name)
}

fn file(name: &str) -> Result<impl IntoResponse + use<>, Problem> {
    let found = FILES.iter().find(|(known, ..)| *known == name);
    let &(_, media_type, text) = found
        .ok_or_else(|| Problem::new(Kind::NotFound, "the console has no such file; it is at /"))?;
    let headers = [
        (CONTENT_TYPE, media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        // A newer server has a newer page.
        (CACHE_CONTROL, "no-cache"),
    ];
    Ok((headers, text))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Link {
    link: String,
    seconds: u64,
}

/// Makes a sign-in link, for whoever shows the administrator's token itself: a session cannot
/// prolong itself.
pub(crate) async fn link(
    caller: Caller,
    State(api): State<Api>,
    _: Query<NoParameters>,
) -> Result<impl IntoResponse, Problem> {
    if !caller.is_admin() || caller.session_end().is_some() {
        return Err(Problem::new(
            Kind::Forbidden,
            "sign-in links are made with the administrator's token alone",
        ));
    }
    let secret = api.sessions().link().ok_or_else(|| {
        Problem::new(
            Kind::Unavailable,
            "the system has no random numbers for a link",
        )
    })?;
    let link = Link {
        link: secret.expose().to_owned(),
        seconds: api.sessions().link_life().as_secs(),
    };
    let headers = [(CACHE_CONTROL, "no-store")];
    Ok((StatusCode::CREATED, headers, Json(link)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignIn {
    link: String,
}

/// Opens a session with a link's secret; the browser keeps the session's in a cookie.
pub(crate) async fn sign_in(
    State(api): State<Api>,
    _: Query<NoParameters>,
    headers: HeaderMap,
    body: Body,
) -> Result<impl IntoResponse, Problem> {
    origin::check_own(&headers)?;
    let time = api.limits().body_time_max();
    let body = body::read(&headers, body, BODY_BYTES_MAX, time).await?;
    // What is wrong with it could quote the secret.
    let asked: SignIn = serde_json::from_slice(&body).map_err(|_| {
        Problem::new(
            Kind::BadBody,
            r#"expected {"link": "…"} with the secret of a sign-in link"#,
        )
    })?;
    let session = api.sessions().open(&asked.link).map_err(|error| {
        let kind = match error {
            LinkError::Unknown | LinkError::Used | LinkError::Expired => Kind::LinkRefused,
            LinkError::NoRandomness => Kind::Unavailable,
        };
        if let Some(left_out) = api.refused_links().pass(Instant::now()) {
            tracing::warn!(%error, left_out, "nobody was signed in to the console");
        }
        Problem::new(kind, error.to_string())
    })?;
    tracing::info!("somebody signed in to the console");
    let seconds = api.sessions().session_life().as_secs();
    let cookie = cookie(&headers, session.expose(), seconds);
    Ok((StatusCode::NO_CONTENT, [(SET_COOKIE, cookie)]))
}

/// Ends the session, if there is one, and takes the cookie away.
pub(crate) async fn sign_out(
    State(api): State<Api>,
    _: Query<NoParameters>,
    headers: HeaderMap,
) -> Result<impl IntoResponse, Problem> {
    origin::check_own(&headers)?;
    if let Some(session) = auth::session_cookie(&headers) {
        api.sessions().end(session);
    }
    Ok((
        StatusCode::NO_CONTENT,
        [(SET_COOKIE, cookie(&headers, "", 0))],
    ))
}

/// No script reads it, and no other site's page sends it. It is for encrypted connections alone where
/// the page came over one, through a proxy.
fn cookie(headers: &HeaderMap, value: &str, seconds: u64) -> String {
    let name = auth::cookie_name(headers);
    let is_https = headers
        .get(ORIGIN)
        .is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if is_https { "; Secure" } else { "" };
    format!("{name}={value}; Path=/; HttpOnly; SameSite=Strict; Max-Age={seconds}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_folder_is_served_and_all_of_them_are_small() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/console")).unwrap();
        let mut names: Vec<_> = folder
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let mut served: Vec<_> = FILES.iter().map(|(name, ..)| (*name).to_owned()).collect();
        served.sort();
        assert_eq!(served, names);
        let bytes: usize = FILES.iter().map(|(.., text)| text.len()).sum();
        assert!(bytes < 112 * 1024, "the page has {bytes} bytes");
    }

    #[test]
    fn page_names_nothing_of_others_and_has_no_script_or_style_within() {
        for (name, _, text) in FILES {
            for foreign in [
                "https://",
                "//cdn",
                "innerHTML",
                "insertAdjacentHTML",
                "eval(",
            ] {
                assert!(!text.contains(foreign), "{name} has {foreign}");
            }
        }
        let page = FILES[0].2;
        for inline in ["<style", "style=", "onclick", "<script>"] {
            assert!(!page.contains(inline), "{inline}");
        }
    }
}
