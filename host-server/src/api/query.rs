//! The query of a request, where an unknown parameter is an error and not a silent nothing.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use vinbus_protocol::id::{Uid, Vin};

use super::problem::{Kind, Problem};

/// The parameters of a query, as `T` (which denies unknown fields) names them.
pub(crate) struct Query<T>(pub(crate) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        axum::extract::Query::try_from_uri(&parts.uri)
            .map(|axum::extract::Query(query)| Self(query))
            .map_err(|rejection| Problem::new(Kind::BadQuery, rejection.body_text()))
    }
}

/// The UID that a query names, if any.
pub(crate) fn uid(text: Option<&str>) -> Result<Option<Uid>, Problem> {
    text.map(Uid::parse).transpose().map_err(|error| {
        Problem::new(Kind::BadQuery, format!("the parameter uid is not a UID: {error}"))
    })
}

/// A VIN of a path or a query.
pub(crate) fn vin(text: &str) -> Result<Vin, Problem> {
    Vin::parse(text).map_err(|error| {
        Problem::new(Kind::BadVin, format!("{text:?} is not a VIN: {error}")).with("vin", text)
    })
}
