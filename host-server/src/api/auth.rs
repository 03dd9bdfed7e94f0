//! Who asks: the bearer token of a request, or the session of the console's page, turned into a
//! [`Principal`], and what that may do.
//!
//! A browser sends the session's cookie whatever page asks. So one counts only where the browser says
//! that the page is our own: in `Origin` for whatever changes something, in `Sec-Fetch-Site` for all
//! else, where it sends that. (Another port of the same host is another origin, and yet gets and sends
//! the same cookies.)

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE, HOST};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use vinbus_protocol::id::Uid;

use super::problem::{Kind, Problem};
use super::{Api, origin};
use crate::bus;
use crate::identity::{Secret, SessionEnd};
use crate::model::Principal;

/// The principal of a request, within its rate.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    principal: Principal,
    proof: Proof,
}

/// What shows who asks.
#[derive(Clone, Debug)]
enum Proof {
    Token(Secret),
    Session(SessionEnd),
}

impl Caller {
    /// The principal again, now that a body is there that may have come slowly: its token may have
    /// been replaced meanwhile, or its session ended.
    pub(crate) fn again(self, api: &Api) -> Result<Self, Problem> {
        let principal = match &self.proof {
            Proof::Token(token) => principal(api, token.expose())?,
            Proof::Session(end) if end.is_reached() => return Err(session_is_over()),
            Proof::Session(_) => Principal::Admin,
        };
        Ok(Self { principal, ..self })
    }

    /// The UID to send as: a partner's own, the administrator's choice or else `default`.
    pub(crate) fn sender(&self, asked: Option<Uid>, default: &Uid) -> Result<Uid, Problem> {
        match (&self.principal, asked) {
            (Principal::Admin, asked) => Ok(asked.unwrap_or_else(|| default.clone())),
            (Principal::Partner(own), None) => Ok(own.clone()),
            (Principal::Partner(own), Some(asked)) if *own == asked => Ok(asked),
            (Principal::Partner(own), Some(asked)) => Err(foreign(own, &asked)),
        }
    }

    /// Whose messages this principal reads: a partner's own; the administrator's choice, or all.
    pub(crate) fn reader(&self, asked: Option<Uid>) -> Result<Option<Uid>, Problem> {
        match (&self.principal, asked) {
            (Principal::Admin, asked) => Ok(asked),
            (Principal::Partner(own), Some(asked)) if *own != asked => Err(foreign(own, &asked)),
            (Principal::Partner(own), _) => Ok(Some(own.clone())),
        }
    }

    /// Whether this principal may know of something that belongs to `uid`.
    pub(crate) fn sees(&self, uid: Option<&Uid>) -> bool {
        match &self.principal {
            Principal::Admin => true,
            Principal::Partner(own) => uid == Some(own),
        }
    }

    /// Whether this is the partner `uid`.
    pub(crate) fn is(&self, uid: &Uid) -> bool {
        matches!(&self.principal, Principal::Partner(own) if own == uid)
    }

    /// When the session ends by which it asks; `None` for who shows a token.
    pub(crate) fn session_end(&self) -> Option<SessionEnd> {
        match &self.proof {
            Proof::Token(_) => None,
            Proof::Session(end) => Some(end.clone()),
        }
    }

    /// Whether this is the administrator.
    pub(crate) fn is_admin(&self) -> bool {
        self.principal == Principal::Admin
    }
}

fn foreign(own: &Uid, asked: &Uid) -> Problem {
    Problem::new(
        Kind::Forbidden,
        format!("the token belongs to partner {own}, who may not act for {asked}"),
    )
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let (principal, proof) = match session_cookie(&parts.headers) {
            Some(secret) if !parts.headers.contains_key(AUTHORIZATION) => {
                check_page(parts)?;
                let end = api.sessions().session(secret).ok_or_else(session_is_over)?;
                (Principal::Admin, Proof::Session(end))
            }
            Some(_) | None => {
                let token = bearer(parts)?;
                let principal = principal(api, token)?;
                (principal, Proof::Token(Secret::new(token.to_owned())))
            }
        };
        api.rates().take(&principal)?;
        Ok(Self { principal, proof })
    }
}

fn principal(api: &Api, token: &str) -> Result<Principal, Problem> {
    api.credentials().principal(token).ok_or_else(|| {
        // Whose it is, and whether it counts, is not told.
        Problem::unauthorized(match bus::shown(token) {
            Ok(_) => {
                "this has the form of a token of the bus, which is for MQTT and /api/platform; this \
                 path needs the administrator's token or a partner's (in the server's data folder, \
                 admin/token and partners/UID/token)"
            }
            Err(_) => "nobody has this token; it may be mistyped, or of another server",
        })
    })
}

fn session_is_over() -> Problem {
    Problem::unauthorized("this session is over; sign in with a new link")
}

/// Refuses to take a session's word for a page that is not our own.
fn check_page(parts: &Parts) -> Result<(), Problem> {
    let headers = &parts.headers;
    let is_own = if parts.method.is_safe() {
        let site = headers.get("sec-fetch-site").map(HeaderValue::as_bytes);
        matches!(site, None | Some(b"same-origin" | b"none"))
    } else {
        origin::is_own(headers)
    };
    if is_own {
        return Ok(());
    }
    Err(Problem::new(
        Kind::Forbidden,
        "a session is for the console's own page; programs show a token",
    ))
}

/// The name of the session's cookie. Cookies are the same for all ports of a host, and so the port is
/// part of the name: two servers on one machine have a session each.
pub(super) fn cookie_name(headers: &HeaderMap) -> String {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let port = host.and_then(|host| host.rsplit_once(':'));
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    port.map_or("vinbus-session".to_owned(), |port| {
        format!("vinbus-session-{port}")
    })
}

/// The secret of the session in a request's cookies.
pub(super) fn session_cookie(headers: &HeaderMap) -> Option<&str> {
    let name = cookie_name(headers);
    let mut cookies = headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split(';'));
    cookies.find_map(|cookie| {
        let (found, value) = cookie.trim().split_once('=')?;
        (found == name).then_some(value)
    })
}

fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let Some(value) = parts.headers.get(AUTHORIZATION) else {
        return Err(Problem::unauthorized(
            "the request has no header `Authorization: Bearer TOKEN`",
        ));
    };
    value
        .to_str()
        .ok()
        .and_then(|text| text.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .map(|(_, token)| token.trim())
        .ok_or_else(|| {
            Problem::unauthorized("the Authorization header is not of the form `Bearer TOKEN`")
        })
}
