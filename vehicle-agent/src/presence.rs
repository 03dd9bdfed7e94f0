//! How a vehicle tells that it is online, for brokers that do not tell it themselves (SPEC 6).
//!
//! The agent publishes [`payload`]`(true)`, retained, on the uplink subtopic [`SUBTOPIC`] of every
//! partner it has an app of, as soon as its subscriptions are confirmed; `payload(false)` when it
//! stops. Its will is `payload(false)` there. MQTT allows one will per connection, so a power cut is
//! told to the partner of the first app only.

use vinbus_protocol::id::Uid;
use vinbus_protocol::presence::{SUBTOPIC, payload};
use vinbus_protocol::topic::TopicText;

use crate::identity::Identity;

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
