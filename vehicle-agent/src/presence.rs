//! How a vehicle tells that it is online, for brokers that do not tell it themselves (SPEC 6).
//!
//! The agent publishes [`payload`]`(true)`, retained, on the uplink subtopic [`SUBTOPIC`] of every
//! partner it has an app of, as soon as its subscriptions are confirmed; `payload(false)` when it
//! stops. Its will is `payload(false)` there. MQTT allows one will per connection, so a power cut is
//! told to the partner of the first app only.

use vinbus_protocol::id::Uid;
use vinbus_protocol::topic::TopicText;

use crate::identity::Identity;

/// The uplink subtopic of presence messages.
pub const SUBTOPIC: &str = "vinbus/presence";

/// The first level of the subtopics that apps may not publish on.
pub const RESERVED_LEVEL: &str = "vinbus";

/// The payload that tells whether the vehicle is online.
#[must_use]
pub fn payload(online: bool) -> &'static str {
    if online {
        r#"{"content":{"online":true}}"#
    } else {
        r#"{"content":{"online":false}}"#
    }
}

/// Topic and payload of the connection's will, to be retained; `None` without any app.
#[must_use]
pub fn will<const APPS: usize>(identity: &Identity<APPS>) -> Option<(TopicText, &'static str)> {
    let uid = identity.uids().next()?;
    Some((topic(identity, uid)?, payload(false)))
}

/// The presence topic towards one partner.
pub(crate) fn topic<const APPS: usize>(identity: &Identity<APPS>, uid: &Uid) -> Option<TopicText> {
    identity.uplink_topic(uid, Some(SUBTOPIC)).ok()
}

/// Whether an app's subtopic is one of the agent's own.
pub(crate) fn is_reserved(subtopic: &str) -> bool {
    let subtopic = subtopic.strip_prefix('/').unwrap_or(subtopic);
    subtopic.split('/').next() == Some(RESERVED_LEVEL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_cannot_claim_the_agents_subtopics() {
        for reserved in ["vinbus/presence", "/vinbus/presence", "vinbus", "vinbus/"] {
            assert!(is_reserved(reserved), "{reserved}");
        }
        for free in ["my/vinbus", "vinbus2/presence", "presence"] {
            assert!(!is_reserved(free), "{free}");
        }
    }
}
