//! `GET /activity/stream`: what happens now, as server-sent events: messages for vehicles that are
//! accepted, their steps, how far fleet messages are, vehicles that come and go, and how the server is.
//!
//! It has no memory: it begins with the present status, and whoever reconnects asks the pages what
//! happened meanwhile. Whoever reads too slowly is told by an event `lost` how much was missed.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Interval, MissedTickBehavior, interval};
use vinbus_protocol::id::Uid;

use super::auth::Caller;
use super::connections::Endless;
use super::end::End;
use super::fleet::Shown;
use super::parameters::{NoParameters, Query};
use super::problem::{Kind, Problem};
use super::sent::Sent;
use super::status::Status;
use super::{Api, StreamSlot, vehicles};
use crate::hub::HubEvent;
use crate::model::{Step, Vehicle};
use crate::store::fleets::FleetProgress;
use crate::uplink_json::timestamp;

/// How often the status is told.
const STATUS_INTERVAL: Duration = Duration::from_secs(1);

/// Bytes after which events that wait are written, rather than more of them gathered.
const BATCH_BYTES: usize = 64 * 1024;

/// Answers the endless stream.
pub(crate) async fn follow(
    caller: Caller,
    State(api): State<Api>,
    _: Query<NoParameters>,
    Extension(endless): Extension<Endless>,
) -> Result<Response, Problem> {
    let uid = caller.reader(None)?;
    let slot = api.stream_slot().ok_or_else(|| {
        Problem::new(Kind::Busy, "as many event streams are open as there may be").retry_after(5)
    })?;
    endless.begins();
    // Its first tick is now: the stream begins with the status.
    let mut status_due = interval(STATUS_INTERVAL);
    status_due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        events: api.hub().events(),
        fleets: api.hub().fleet_changes(),
        status_due,
        end: End::new(api.stop(), caller.session_end()),
        uid,
        api,
        _slot: slot,
    };
    let body = Body::from_stream(futures_util::stream::unfold(watcher, Watcher::next));
    let headers = [
        (CONTENT_TYPE, "text/event-stream"),
        (CACHE_CONTROL, "no-store"),
    ];
    Ok((headers, body).into_response())
}

struct Watcher {
    api: Api,
    events: Receiver<HubEvent>,
    fleets: Receiver<Arc<FleetProgress>>,
    status_due: Interval,
    end: End,
    uid: Option<Uid>,
    _slot: StreamSlot,
}

impl Watcher {
    async fn next(mut self) -> Option<(Result<Bytes, Infallible>, Self)> {
        let mut text = Vec::new();
        while text.is_empty() {
            tokio::select! {
                biased;
                () = self.end.reached() => return None,
                _ = self.status_due.tick() => {
                    write(&mut text, "status", &Status::of(&self.api).await);
                }
                event = self.events.recv() => match event {
                    Ok(event) => self.show(&mut text, event),
                    Err(RecvError::Lagged(count)) => lost(&mut text, count),
                    Err(RecvError::Closed) => return None,
                },
                fleet = self.fleets.recv() => match fleet {
                    Ok(fleet) if self.may_see(&fleet.fleet.uid) => {
                        write(&mut text, "fleet", &Shown::of(&fleet));
                    }
                    // The next one tells as much.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => return None,
                },
            }
        }
        // What has happened already goes into the same write.
        while text.len() < BATCH_BYTES {
            match self.events.try_recv() {
                Ok(event) => self.show(&mut text, event),
                Err(TryRecvError::Lagged(count)) => lost(&mut text, count),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        Some((Ok(text.into()), self))
    }

    fn show(&self, text: &mut Vec<u8>, event: HubEvent) {
        match event {
            HubEvent::Step {
                id,
                message,
                step,
                at,
            } if self.may_see(&message.uid) => {
                if step == Step::Accepted {
                    write(text, "accepted", &Sent::accepted(id, message, at));
                } else {
                    let at = timestamp(at);
                    write(
                        text,
                        "step",
                        &json!({ "id": id.0, "step": step.name(), "at": at }),
                    );
                }
            }
            HubEvent::Presence {
                vin,
                presence,
                since,
                partners,
            } if self.uid.as_ref().is_none_or(|uid| partners.contains(uid)) => {
                let vehicle = Vehicle {
                    vin,
                    presence,
                    since,
                };
                write(text, "vehicle", &vehicles::shown(vehicle));
            }
            HubEvent::Step { .. }
            | HubEvent::Presence { .. }
            | HubEvent::Health { .. }
            | HubEvent::Refused { .. } => {}
        }
    }

    fn may_see(&self, owner: &Uid) -> bool {
        self.uid.as_ref().is_none_or(|uid| uid == owner)
    }
}

/// Tells that so many events were not taken in time.
fn lost(text: &mut Vec<u8>, count: u64) {
    write(text, "lost", &json!({ "lost": count }));
}

/// Writes one event, whose JSON is on one line.
fn write(text: &mut Vec<u8>, kind: &str, data: &impl Serialize) {
    text.extend_from_slice(format!("event: {kind}\ndata: ").as_bytes());
    // Texts and numbers always make JSON.
    let _ = serde_json::to_writer(&mut *text, data);
    text.extend_from_slice(b"\n\n");
}
