//! Who asks: the bearer token of a request, turned into a [`Principal`], and what that may do.

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;
use vinbus_protocol::id::Uid;

use super::Api;
use super::problem::{Kind, Problem};
use crate::identity::Secret;
use crate::model::Principal;

/// The principal of a request, within its rate.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    principal: Principal,
    token: Secret,
}

impl Caller {
    /// The principal again, now that a body is there that may have come slowly: its token may have
    /// been replaced meanwhile.
    pub(crate) fn again(self, api: &Api) -> Result<Self, Problem> {
        let principal = principal(api, self.token.expose())?;
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
        let token = bearer(parts)?;
        let principal = principal(api, token)?;
        api.rates().take(&principal)?;
        let token = Secret::new(token.to_owned());
        Ok(Self { principal, token })
    }
}

fn principal(api: &Api, token: &str) -> Result<Principal, Problem> {
    api.credentials().principal(token).ok_or_else(|| {
        Problem::unauthorized("nobody has this token; it may be mistyped, or of another server")
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
