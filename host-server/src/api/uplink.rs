//! `GET /messages`: a page of what vehicles sent.

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;

use super::Api;
use super::auth::Caller;
use super::feed::Feed;
use super::item;
use super::parameters::{self, Query};
use super::problem::{Kind, Problem};
use crate::model::Cursor;

/// Messages of a page where the query says nothing.
const LIMIT_DEFAULT: usize = 100;

/// Messages of a page at most.
const LIMIT_MAX: usize = 1000;

/// A page ends with the message that brings it over this many bytes.
const PAGE_BYTES: usize = 512 * 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageQuery {
    after: Option<String>,
    vin: Option<String>,
    uid: Option<String>,
    limit: Option<usize>,
}

/// Answers one page, and where the next one begins.
pub(crate) async fn page(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after = query.after.as_deref().map(parameters::cursor).transpose()?;
    let vin = query.vin.as_deref().map(parameters::vin).transpose()?;
    let uid = caller.reader(parameters::uid(query.uid.as_deref())?)?;
    let limit = limit(query.limit)?;
    let feed = Feed::new(api.hub().clone(), uid, vin, after.unwrap_or(Cursor(0)));
    let page = collect(feed, limit).await?;
    Ok(([(CONTENT_TYPE, "application/json")], page).into_response())
}

async fn collect(mut feed: Feed, limit: usize) -> Result<Vec<u8>, Problem> {
    let mut page = b"{\"messages\":[".to_vec();
    let mut count = 0;
    let more = loop {
        let batch = feed.next(limit - count).await?;
        for uplink in &batch.messages {
            if count > 0 {
                page.push(b',');
            }
            item::write(&mut page, uplink);
            count += 1;
        }
        if batch.at_end {
            break false;
        }
        if count == limit || page.len() >= PAGE_BYTES {
            break true;
        }
    };
    let end = format!("],\"next\":\"{}\",\"more\":{more}}}", feed.position().0);
    page.extend_from_slice(end.as_bytes());
    Ok(page)
}

fn limit(asked: Option<usize>) -> Result<usize, Problem> {
    match asked.unwrap_or(LIMIT_DEFAULT) {
        limit @ 1..=LIMIT_MAX => Ok(limit),
        other => Err(Problem::new(
            Kind::BadQuery,
            format!("the parameter limit is {other}, expected 1 to {LIMIT_MAX}"),
        )),
    }
}
