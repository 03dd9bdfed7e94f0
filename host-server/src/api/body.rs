//! Reads a request's body without ever keeping more of it than is allowed.

use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use axum::http::header::CONTENT_LENGTH;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;

use super::problem::{Kind, Problem};

/// A body over its limit is still read, and thrown away, up to this many bytes: a client that is
/// busy sending sees the answer only when its bytes are taken.
const DISCARD_BYTES_MAX: usize = 1024 * 1024;

/// Reads at most `max` bytes within `time`.
///
/// # Errors
/// A [`Problem`]: too large, too slow, or broken off.
pub(crate) async fn read(
    headers: &HeaderMap,
    body: Body,
    max: usize,
    time: Duration,
) -> Result<Bytes, Problem> {
    let announced = announced_bytes(headers);
    if let Some(bytes) = announced.filter(|&bytes| bytes > max.max(DISCARD_BYTES_MAX)) {
        return Err(Problem::too_large(bytes, max));
    }
    let collected = tokio::time::timeout(time, collect(body, max));
    match collected.await {
        Ok(Ok(Collected::All(bytes))) => Ok(bytes),
        Ok(Ok(Collected::TooMany(bytes))) => {
            Err(Problem::too_large(announced.unwrap_or(bytes), max))
        }
        Ok(Err(error)) => Err(Problem::new(
            Kind::BadBody,
            format!("the body broke off: {error}"),
        )),
        Err(_) => Err(Problem::new(
            Kind::BodyTimeout,
            format!("the body did not arrive within {} s", time.as_secs()),
        )),
    }
}

enum Collected {
    All(Bytes),
    TooMany(usize),
}

async fn collect(body: Body, max: usize) -> Result<Collected, axum::Error> {
    let mut chunks = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut bytes = 0;
    while let Some(chunk) = chunks.next().await.transpose()? {
        bytes += chunk.len();
        if bytes > max.max(DISCARD_BYTES_MAX) {
            break;
        }
        if bytes <= max {
            kept.extend_from_slice(&chunk);
        } else {
            kept = BytesMut::new();
        }
    }
    Ok(if bytes <= max {
        Collected::All(kept.freeze())
    } else {
        Collected::TooMany(bytes)
    })
}

fn announced_bytes(headers: &HeaderMap) -> Option<usize> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}
