//! `GET /messages`: a page of what vehicles sent.

use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};

use super::Api;
use super::auth::Caller;
use super::feed::{self, Feed};
use super::parameters::{self, Query, query};
use super::problem::Problem;
use crate::model::Cursor;

/// Messages of a page where the query says nothing.
const LIMIT_DEFAULT: usize = 100;

/// Messages of a page at most.
const LIMIT_MAX: usize = 1000;

/// A page ends with the message that brings it over this many bytes.
const PAGE_BYTES: usize = 512 * 1024;

/// A page ends when the search for its messages took this long: a vehicle's may be rare.
const SEARCH_TIME: Duration = Duration::from_secs(2);

query!(PageQuery {
    after,
    vin,
    uid,
    limit
});

/// Answers one page, and where the next one begins. A page may be empty though there is more.
pub(crate) async fn page(
    caller: Caller,
    State(api): State<Api>,
    Query(query): Query<PageQuery>,
) -> Result<Response, Problem> {
    let after = query.after.as_deref().map(parameters::cursor).transpose()?;
    let vin = query.vin.as_deref().map(parameters::vin).transpose()?;
    let uid = caller.reader(parameters::uid(query.uid.as_deref())?)?;
    let limit = parameters::limit(query.limit.as_deref(), LIMIT_DEFAULT, LIMIT_MAX)?;
    let begin = after.unwrap_or(Cursor(0).into());
    let begin = parameters::within_log(begin, api.hub()).await?;
    let feed = Feed::new(api.hub().clone(), uid, vin, begin);
    let page = collect(feed, limit, after.is_some()).await?;
    Ok(([(CONTENT_TYPE, "application/json")], page).into_response())
}

/// Reads one page. Who reads on from a cursor is told what was deleted behind it; who begins with
/// what there is has lost nothing.
async fn collect(mut feed: Feed, limit: usize, reads_on: bool) -> Result<Vec<u8>, Problem> {
    let mut page = b"{\"messages\":[".to_vec();
    let (mut count, mut lost) = (0, 0);
    let begin = Instant::now();
    let more = loop {
        let batch = feed.next(limit - count).await?;
        if reads_on || count > 0 {
            lost += batch.lost;
        }
        for uplink in &batch.messages {
            if count > 0 {
                page.push(b',');
            }
            feed::write(&mut page, uplink);
            count += 1;
        }
        if batch.at_end {
            break false;
        }
        if count == limit || page.len() >= PAGE_BYTES || begin.elapsed() >= SEARCH_TIME {
            break true;
        }
    };
    let next = feed.stamped_position().await;
    let end = format!("],\"next\":\"{next}\",\"more\":{more},\"lost\":{lost}}}");
    page.extend_from_slice(end.as_bytes());
    Ok(page)
}
