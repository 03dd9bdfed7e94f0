//! What happens in the hub, told to whoever follows it: never waited for, and dropped where nobody
//! listens.
//!
//! A follower that is slower than [`EVENTS_MAX`] events misses the oldest and is told how many
//! (`RecvError::Lagged`). An event takes a kilobyte at most, whatever the message that it is about.
//! What vehicles send is not among them: it is followed in the log.

use std::fmt::Display;
use std::time::SystemTime;

use tokio::sync::broadcast;
use vinbus_protocol::envelope::{self, DownlinkBody};
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::json::Object;

use crate::model::{Brief, Downlink, MessageId, NewDownlink, Presence, Step};

/// Events that wait for a follower.
pub const EVENTS_MAX: usize = 4096;

/// Longest `requestId` that is told, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 256;

/// Bytes of a sentence about a refusal that are told.
const DETAIL_BYTES_MAX: usize = 256;

/// Something that a follower may want to know. Whoever passes it on, does so to the partners alone
/// that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubEvent {
    /// A vehicle can hear us, or no longer can, or partners came to know it.
    Presence {
        /// The vehicle.
        vin: Vin,
        /// Whether it can hear us.
        presence: Presence,
        /// Since when.
        since: SystemTime,
        /// The partners that may know.
        partners: Vec<Uid>,
    },
    /// A vehicle reported its health.
    Health {
        /// The vehicle.
        vin: Vin,
        /// The partner that it reported to.
        uid: Uid,
        /// The report: a JSON object (SPEC 6.7).
        report: Box<str>,
    },
    /// A vehicle sent what breaks the protocol.
    Refused {
        /// The vehicle.
        vin: Vin,
        /// The partner that it was for.
        uid: Uid,
        /// Why, as a word.
        reason: &'static str,
        /// Why, as a sentence.
        detail: String,
    },
    /// A message for a vehicle came to a step, which is on disk.
    Step {
        /// The message.
        id: MessageId,
        /// What of it is told.
        message: MessageHead,
        /// The step.
        step: Step,
        /// When it came there.
        at: SystemTime,
    },
}

/// A message for a vehicle, and how its content begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHead {
    /// The vehicle.
    pub vin: Vin,
    /// The partner whose topic carries it.
    pub uid: Uid,
    /// The app in the vehicle.
    pub app: AppId,
    /// When it is not worth sending any more.
    pub expires_at: SystemTime,
    /// What is told of its content.
    pub brief: Brief,
    /// The `requestId` in its content, if that is an object with one.
    pub request_id: Option<Box<str>>,
}

/// Tells events. A handle that is cheap to clone.
#[derive(Clone)]
pub(super) struct Events(broadcast::Sender<HubEvent>);

impl Events {
    pub(super) fn new() -> Self {
        Self(broadcast::Sender::new(EVENTS_MAX))
    }

    /// What happens from now on.
    pub(super) fn follow(&self) -> broadcast::Receiver<HubEvent> {
        self.0.subscribe()
    }

    /// Whether anybody listens.
    pub(super) fn is_followed(&self) -> bool {
        self.0.receiver_count() > 0
    }

    pub(super) fn presence(
        &self,
        vin: Vin,
        presence: Presence,
        since: SystemTime,
        partners: Vec<Uid>,
    ) {
        self.tell(HubEvent::Presence {
            vin,
            presence,
            since,
            partners,
        });
    }

    pub(super) fn refused(&self, vin: Vin, uid: Uid, reason: &'static str, detail: &dyn Display) {
        if self.is_followed() {
            let mut detail = detail.to_string();
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            self.tell(HubEvent::Refused {
                vin,
                uid,
                reason,
                detail,
            });
        }
    }

    pub(super) fn step(&self, downlink: &Downlink, step: Step, at: SystemTime) {
        if self.is_followed() {
            self.tell(HubEvent::Step {
                id: downlink.id.clone(),
                message: MessageHead::of(&downlink.message),
                step,
                at,
            });
        }
    }

    pub(super) fn tell(&self, event: HubEvent) {
        // Nobody has to listen.
        let _ = self.0.send(event);
    }
}

impl MessageHead {
    /// The head of a message.
    #[must_use]
    pub fn of(message: &NewDownlink) -> Self {
        Self {
            vin: message.vin,
            uid: message.uid.clone(),
            app: message.app.clone(),
            expires_at: message.expires_at,
            brief: Brief::of(&message.envelope),
            request_id: request_id_of(&message.envelope),
        }
    }
}

/// The `requestId` in the content of an envelope for a vehicle.
fn request_id_of(envelope: &[u8]) -> Option<Box<str>> {
    let downlink = envelope::Downlink::decode_long(envelope).ok()?;
    let content = match downlink.body {
        DownlinkBody::Data(content) => content,
        DownlinkBody::Popup(popup) => popup.content?,
    };
    request_id(content.as_bytes())
}

/// The `requestId` of a JSON object, which may be longer than a payload, unless it is too long to be told.
pub(crate) fn request_id(object: &[u8]) -> Option<Box<str>> {
    let mut object = Object::open(str::from_utf8(object).ok()?)?;
    let mut id = None;
    while let Some(member) = object.next_member().ok()? {
        if member.name.is("requestId") {
            id = member.value.as_string();
        }
    }
    let id = id?.to_string();
    (id.len() <= REQUEST_ID_BYTES_MAX).then(|| id.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_id_is_read_from_the_content() {
        let check = |content: &str, expected: Option<&str>| {
            let envelope = format!(r#"{{"idApp":"demo","popup":false,"content":{content}}}"#);
            assert_eq!(request_id_of(envelope.as_bytes()).as_deref(), expected);
        };
        check(r#"{"requestId":"r-1"}"#, Some("r-1"));
        check(r#"{"requestId":"r-\u0031"}"#, Some("r-1"));
        check(r#"{"requestId":1}"#, None);
        check(r#"{"requestId":"r-1","requestId":1}"#, None);
        let long = "x".repeat(300_000);
        check(
            &format!(r#"{{"a":"{long}","requestId":"r-1"}}"#),
            Some("r-1"),
        );
        check(r#"{"deeper":{"requestId":"r-1"}}"#, None);
        check(r#""requestId""#, None);
        let longest = "r".repeat(REQUEST_ID_BYTES_MAX);
        check(&format!(r#"{{"requestId":"{longest}"}}"#), Some(&longest));
        check(&format!(r#"{{"requestId":"{longest}r"}}"#), None);
    }
}
