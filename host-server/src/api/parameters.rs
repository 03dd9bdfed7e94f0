//! What a request's path and query say. An unknown parameter is an error and not a silent nothing.

use std::str::FromStr;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use vinbus_protocol::id::{Uid, Vin};

use super::problem::{Kind, Problem};
use crate::hub::Hub;
use crate::model::Cursor;

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

/// The one variable part of a path, decoded.
pub(crate) struct PathPart(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathPart {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let broken = || Problem::new(Kind::NotFound, "the path is not valid UTF-8 when decoded");
        let params = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| broken())?;
        let part = params
            .iter()
            .next()
            .map(|(_, value)| Self(value.to_owned()));
        part.ok_or_else(broken)
    }
}

/// The UID that a query names, if any.
pub(crate) fn uid(text: Option<&str>) -> Result<Option<Uid>, Problem> {
    text.map(Uid::parse).transpose().map_err(|error| {
        Problem::new(
            Kind::BadQuery,
            format!("the parameter uid is not a UID: {error}"),
        )
    })
}

/// A VIN of a path or a query.
pub(crate) fn vin(text: &str) -> Result<Vin, Problem> {
    Vin::parse(text).map_err(|error| {
        Problem::new(Kind::BadVin, format!("{text:?} is not a VIN: {error}")).with("vin", text)
    })
}

/// A cursor of a query or a header.
pub(crate) fn cursor(text: &str) -> Result<Cursor, Problem> {
    // A cursor is kept in 63 bits by the store.
    i64::from_str(text)
        .ok()
        .and_then(|position| u64::try_from(position).ok())
        .map(Cursor)
        .ok_or_else(|| {
            Problem::new(
                Kind::BadQuery,
                format!(
                    "{text:?} is not a cursor of this server; 0 begins with the oldest message"
                ),
            )
        })
}

/// Refuses a cursor beyond the newest message: the log that it comes from is gone, and to wait for
/// this one to grow past it would lose messages silently.
pub(crate) async fn within_log(cursor: Cursor, hub: &Hub) -> Result<(), Problem> {
    let Cursor(newest) = hub.uplink_end().await?;
    if cursor.0 <= newest {
        return Ok(());
    }
    let Cursor(asked) = cursor;
    Err(Problem::new(
        Kind::BadQuery,
        format!(
            "the cursor {asked} is beyond the newest, {newest}: the store was replaced or \
             restored; begin again with 0"
        ),
    ))
}
