//! `GET /messages/stream`: what vehicles send, as it arrives, as server-sent events (WHATWG HTML,
//! section 9.2).
//!
//! The event's id is the message's cursor, so a client that reconnects with `Last-Event-ID` gets
//! every message once. The stream begins with an id alone, and repeats it while nothing arrives:
//! a client that loses the connection before its first message loses nothing either. The log is
//! read only as fast as the client takes it; what was deleted before it was read is told by an
//! event `lost`. Who shows many messages, as the console does, asks for them in brief: a content may have
//! a mebibyte.

use std::convert::Infallible;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use tokio::sync::watch;

use super::auth::Caller;
use super::connections::Endless;
use super::end::End;
use super::feed::{self, Feed};
use super::parameters::{self, Query, query};
use super::problem::{Kind, Problem};
use super::{Api, StreamSlot};
use crate::model::{Cursor, StampedCursor, Uplink};

/// Pause after which a quiet stream shows that it lives.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

query!(StreamQuery {
    after,
    vin,
    uid,
    content
});

/// Answers the endless stream.
pub(crate) async fn follow(
    caller: Caller,
    State(api): State<Api>,
    Extension(endless): Extension<Endless>,
    headers: HeaderMap,
    Query(query): Query<StreamQuery>,
) -> Result<Response, Problem> {
    let vin = query.vin.as_deref().map(parameters::vin).transpose()?;
    let uid = caller.reader(parameters::uid(query.uid.as_deref())?)?;
    let write = query.content.as_deref().map_or(Ok(WHOLE), writer)?;
    let changes = api.hub().uplink_changes();
    let now = *changes.borrow();
    let begin = match beginning(&headers, query.after.as_deref())? {
        Some(asked) => parameters::within_log(asked, api.hub()).await?,
        None => now,
    };
    let slot = api.stream_slot().ok_or_else(|| {
        Problem::new(Kind::Busy, "as many event streams are open as there may be").retry_after(5)
    })?;
    endless.begins();
    let follower = Follower {
        feed: Feed::new(api.hub().clone(), uid, vin, begin),
        changes,
        end: End::new(api.stop(), caller.session_end()),
        progress: Progress::Begin,
        write,
        _slot: slot,
    };
    let body = Body::from_stream(futures_util::stream::unfold(follower, Follower::next));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

/// Where a client wants to begin: `Last-Event-ID` is newer than the `after` of its first request.
fn beginning(headers: &HeaderMap, after: Option<&str>) -> Result<Option<StampedCursor>, Problem> {
    let last = match headers.get("last-event-id") {
        Some(value) => Some(value.to_str().map_err(|_| {
            Problem::new(Kind::BadQuery, "the header Last-Event-ID is not a cursor")
        })?),
        None => after,
    };
    last.map(parameters::cursor).transpose()
}

/// What a client wants to see of contents.
fn writer(content: &str) -> Result<Write, Problem> {
    match content {
        "whole" => Ok(WHOLE),
        "brief" => Ok(feed::write_brief),
        _ => Err(Problem::new(
            Kind::BadQuery,
            format!("the parameter content is {content:?}; write whole or brief"),
        )),
    }
}

struct Follower {
    feed: Feed,
    changes: watch::Receiver<Cursor>,
    end: End,
    progress: Progress,
    write: Write,
    _slot: StreamSlot,
}

/// How a message is written.
type Write = fn(&mut Vec<u8>, &Uplink);

const WHOLE: Write = feed::write;

#[derive(Clone, Copy)]
enum Progress {
    /// Nothing was shown yet.
    Begin,
    /// The log has more.
    Reading,
    /// Everything was shown.
    Waiting,
}

impl Follower {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let shown = self.show().await?;
        Some((Ok(shown), self))
    }

    /// What the client sees next; `None` ends the stream.
    async fn show(&mut self) -> Option<Bytes> {
        // Whoever is behind reads the rest from the next server, with its last id.
        while !self.end.is_reached() {
            match self.progress {
                Progress::Begin => {
                    self.progress = Progress::Reading;
                    return Some(self.position().await);
                }
                Progress::Reading => {
                    let events = self.read().await?;
                    if !events.is_empty() {
                        return Some(events);
                    }
                }
                Progress::Waiting => {
                    tokio::select! {
                        () = self.end.reached() => return None,
                        changed = self.changes.changed() => {
                            changed.ok()?;
                            self.progress = Progress::Reading;
                        }
                        () = tokio::time::sleep(KEEP_ALIVE) => {
                            return Some(self.position().await);
                        }
                    }
                }
            }
        }
        None
    }

    /// A comment, and an id without data, which moves a client's `Last-Event-ID` and shows nothing.
    async fn position(&self) -> Bytes {
        let cursor = self.feed.stamped_position().await;
        format!(": keep-alive\nid: {cursor}\n\n").into()
    }

    /// The events of one batch; none when everything was shown, or when a search met nothing yet.
    async fn read(&mut self) -> Option<Bytes> {
        self.changes.mark_unchanged();
        let before = self.feed.position();
        let batch = match self.feed.next(usize::MAX).await {
            Ok(batch) => batch,
            Err(error) => {
                tracing::error!(%error, "an event stream ends, the store failed");
                return None;
            }
        };
        if batch.at_end {
            self.progress = Progress::Waiting;
        }
        let mut events = Vec::new();
        if batch.lost > 0 {
            let upto = Cursor(before.0 + batch.lost);
            events.extend_from_slice(lost(upto, batch.lost).as_bytes());
        }
        let mut object = Vec::new();
        for uplink in &batch.messages {
            object.clear();
            (self.write)(&mut object, uplink);
            write_event(&mut events, uplink.stamped(), &object);
        }
        Some(events.into())
    }
}

/// An event of its own type for a client whose position is older than what is kept: `count`
/// positions, the last of them `upto`, were deleted. So there is no entry whose stamp it could have.
fn lost(upto: Cursor, count: u64) -> String {
    format!(
        "event: lost\nid: {}\ndata: {{\"lost\":{count}}}\n\n",
        upto.0
    )
}

/// Writes one event. JSON has line ends between its tokens only; each begins a new `data` line,
/// which the client joins by a line feed again.
fn write_event(out: &mut Vec<u8>, cursor: StampedCursor, object: &[u8]) {
    out.extend_from_slice(format!("id: {cursor}\n").as_bytes());
    let mut rest = object;
    loop {
        let end = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(&rest[..end.unwrap_or(rest.len())]);
        out.push(b'\n');
        let Some(end) = end else { break };
        let crlf = rest[end..].starts_with(b"\r\n");
        rest = &rest[end + if crlf { 2 } else { 1 }..];
    }
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(object: &str, expected: &str) {
        let mut out = Vec::new();
        write_event(&mut out, "7-000042".parse().unwrap(), object.as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn line_ends_between_tokens_become_data_lines() {
        check("{}", "id: 7-000042\ndata: {}\n\n");
        check("{\n}", "id: 7-000042\ndata: {\ndata: }\n\n");
        check(
            "{\r\n\r}\n",
            "id: 7-000042\ndata: {\ndata: \ndata: }\ndata: \n\n",
        );
    }
}
