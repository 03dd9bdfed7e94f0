//! How a vehicle tells whether it is online, for brokers that do not tell it themselves (SPEC 6).
//!
//! An agent publishes [`payload`], retained, on the uplink subtopic [`SUBTOPIC`]. The host server
//! asks [`ParsedTopic::is_presence`](crate::topic::ParsedTopic::is_presence), and then [`reported`].

use crate::envelope::Content;
use crate::json::{Kind, Object};

/// The uplink subtopic of presence.
pub const SUBTOPIC: &str = "vinbus/presence";

/// The first level of the subtopics that are the agent's own (SPEC 6.5).
pub const RESERVED_LEVEL: &str = "vinbus";

/// The payload that tells whether the vehicle is online.
#[must_use]
pub const fn payload(online: bool) -> &'static str {
    if online {
        r#"{"content":{"online":true}}"#
    } else {
        r#"{"content":{"online":false}}"#
    }
}

/// Whether the vehicle is online, as the content of an uplink message on [`SUBTOPIC`] says; `None`
/// unless it is an object whose member `online` is `true` or `false`. As in envelopes, the last of
/// several counts, and other members are ignored.
///
/// ```
/// use vinbus_protocol::envelope::Uplink;
/// use vinbus_protocol::presence;
///
/// let message = Uplink::decode(presence::payload(true).as_bytes())?;
/// assert_eq!(presence::reported(message.content), Some(true));
/// # Ok::<(), vinbus_protocol::envelope::EnvelopeError>(())
/// ```
#[must_use]
pub fn reported(content: Content<'_>) -> Option<bool> {
    let mut object = Object::open(content.as_str())?;
    let mut online = None;
    while let Ok(Some(member)) = object.next_member() {
        if member.name.is("online") {
            online = Some(member.value.kind);
        }
    }
    match online? {
        Kind::True => Some(true),
        Kind::False => Some(false),
        Kind::Object | Kind::Array | Kind::String | Kind::Number | Kind::Null => None,
    }
}

/// Whether a subtopic, with or without its leading slash, is one of the agent's own, which apps may
/// not publish on.
#[must_use]
pub fn is_reserved(subtopic: &str) -> bool {
    let subtopic = subtopic.strip_prefix('/').unwrap_or(subtopic);
    subtopic == RESERVED_LEVEL
        || subtopic
            .strip_prefix(RESERVED_LEVEL)
            .is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(content: &str, expected: Option<bool>) {
        let content = Content::parse(content.as_bytes()).unwrap();
        assert_eq!(reported(content), expected, "{}", content.as_str());
    }

    #[test]
    fn report_must_say_online_or_not() {
        check(r#"{"online":true}"#, Some(true));
        check(r#"{ "online" : false , "x":[{}] }"#, Some(false));
        check(r#"{"online":1,"\u006fnline":true}"#, Some(true));
        for silent in ["{}", "true", r#"{"online":1}"#, r#"{"x":true}"#, "[]"] {
            check(silent, None);
        }
    }

    #[test]
    fn apps_cannot_claim_the_agents_subtopics() {
        for reserved in [SUBTOPIC, "/vinbus/presence", "vinbus", "vinbus/"] {
            assert!(is_reserved(reserved), "{reserved}");
        }
        for free in ["my/vinbus", "vinbus2/presence", "presence", ""] {
            assert!(!is_reserved(free), "{free}");
        }
    }
}
