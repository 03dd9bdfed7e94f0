//! What a request's path and query say. An unknown parameter is an error and not a silent nothing.

use std::ops::RangeInclusive;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use vinbus_protocol::id::{Uid, Vin};

use super::problem::{Kind, Problem};
use crate::hub::Hub;
use crate::model::{Cursor, StampedCursor};
use crate::nearest::nearest;

/// The parameters of a query, as `T` names them.
pub(crate) struct Query<T>(pub(crate) T);

/// What a query may say. Made by [`query!`].
pub(crate) trait Parameters: Default {
    const NAMES: &'static [&'static str];

    /// Where the value of a parameter goes; `None` if there is no such parameter.
    fn place(&mut self, name: &str) -> Option<&mut Option<String>>;
}

/// A struct with the parameters of one query, each an `Option<String>`.
macro_rules! query {
    ($query:ident { $($name:ident),+ $(,)? }) => {
        #[derive(Default)]
        pub(crate) struct $query {
            $($name: Option<String>,)+
        }

        impl $crate::api::parameters::Parameters for $query {
            const NAMES: &'static [&'static str] = &[$(stringify!($name)),+];

            fn place(&mut self, name: &str) -> Option<&mut Option<String>> {
                match name {
                    $(stringify!($name) => Some(&mut self.$name),)+
                    _ => None,
                }
            }
        }
    };
}
pub(crate) use query;

/// The query of a path that has no parameters.
#[derive(Default)]
pub(crate) struct NoParameters;

impl Parameters for NoParameters {
    const NAMES: &'static [&'static str] = &[];

    fn place(&mut self, _: &str) -> Option<&mut Option<String>> {
        None
    }
}

impl<S: Send + Sync, T: Parameters> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri)
            .map_err(|rejection| Problem::new(Kind::BadQuery, rejection.body_text()))?;
        let mut query = T::default();
        for (name, value) in pairs.0 {
            let place = query.place(&name).ok_or_else(|| unknown::<T>(&name))?;
            if let Some(first) = place.replace(value.clone()) {
                let detail =
                    format!("the parameter {name} stands twice, as {first:?} and {value:?}");
                return Err(Problem::new(Kind::BadQuery, detail));
            }
        }
        Ok(Self(query))
    }
}

fn unknown<T: Parameters>(name: &str) -> Problem {
    let meant = nearest(name, T::NAMES.iter().copied());
    let meant = meant.map_or_else(String::new, |meant| format!("; did you mean {meant}?"));
    let known = match T::NAMES {
        [] => "nor any other".to_owned(),
        names => format!("known: {}", names.join(", ")),
    };
    let detail = format!("there is no parameter {name:?} here{meant} ({known})");
    Problem::new(Kind::BadQuery, detail)
}

/// A whole number of a query: `what` it counts, what is allowed, and what it is if the query does not say.
pub(crate) fn number(
    name: &str,
    asked: Option<&str>,
    what: &str,
    allowed: RangeInclusive<u64>,
    default: u64,
) -> Result<u64, Problem> {
    let Some(text) = asked else {
        return Ok(default);
    };
    let number = text.parse().ok().filter(|number| allowed.contains(number));
    number.ok_or_else(|| {
        let (min, max) = allowed.into_inner();
        let detail = format!(
            "the parameter {name} is {text:?}; write {what}, {min} to {max}, as in {name}={}",
            default.clamp(min, max)
        );
        Problem::new(Kind::BadQuery, detail)
    })
}

/// How much a page has at most.
pub(crate) fn limit(asked: Option<&str>, default: usize, max: usize) -> Result<usize, Problem> {
    let allowed = 1..=max as u64;
    let limit = number("limit", asked, "a number", allowed, default as u64)?;
    Ok(usize::try_from(limit).unwrap_or(max))
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
pub(crate) fn cursor(text: &str) -> Result<StampedCursor, Problem> {
    text.parse().map_err(|error| {
        let detail = format!(
            "{text:?} is not a cursor of this server: {error}; 0 begins with the oldest message"
        );
        Problem::new(Kind::BadQuery, detail)
    })
}

/// Where a page of a list begins that shows the newest first.
pub(crate) fn before(asked: Option<&str>) -> Result<u64, Problem> {
    let Some(text) = asked else {
        return Ok(u64::MAX);
    };
    // A sequence is kept in 63 bits by the store.
    let before = text
        .parse()
        .ok()
        .filter(|&before| before <= i64::MAX as u64);
    before.ok_or_else(|| {
        let detail = format!(
            "the parameter before is {text:?}; write the `next` of a page, which is a number, or \
             leave it away to begin with the newest"
        );
        Problem::new(Kind::BadQuery, detail)
    })
}

/// Where to go on for who asks with a cursor. One beyond the newest message, or with the stamp of another
/// entry than the one there, is refused: the log that it comes from is gone, and to go on in this one would
/// lose silently what it has before that position.
pub(crate) async fn within_log(asked: StampedCursor, hub: &Hub) -> Result<Cursor, Problem> {
    let StampedCursor { cursor, stamp } = asked;
    let newest = hub.uplink_end().await?;
    let entry = match stamp {
        Some(_) => hub.uplink_stamp(cursor).await?,
        None => None,
    };
    let gone = if cursor > newest {
        format!("is beyond the newest, {}", newest.0)
    } else if entry.is_some_and(|entry| Some(entry) != stamp) {
        "is that of a message which this log does not have".to_owned()
    } else {
        return Ok(cursor);
    };
    Err(Problem::new(
        Kind::BadQuery,
        format!(
            "the cursor {asked} {gone}: the store was replaced, or restored from an older copy; go on \
             with the cursor of a message that you had before the copy was made, or with after=0 for all \
             that there is"
        ),
    ))
}
