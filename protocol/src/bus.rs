//! The bus of a SERMAS-like platform: MQTT topics `app/{appId}/{resource}/{scope}/…` on which
//! programs in the cloud talk to each other, who may use which, and the fields that their payloads
//! share (SPEC 12, 13).
//!
//! The vehicle tree is another one, see [`topic`](crate::topic); the two never overlap.
//!
//! - [`topics`] is the platform's whole topic map. Each [`TopicSpec`] in it builds its topic and the
//!   filter to subscribe with.
//! - [`BusTopic::parse`] takes any topic apart, whether the map knows it or not.
//! - [`BaseFields::read`] reads what every payload that is JSON may say about itself.
//! - [`access`] decides who may publish, subscribe to and hear what.
//!
//! ```
//! use vinbus_protocol::bus::{BusTopic, topics};
//!
//! let variables = [("appId", "myapp"), ("sessionId", "s1")];
//! let topic = topics::DIALOGUE_MESSAGES.topic(&variables)?;
//! assert_eq!(topic, "app/myapp/dialogue/messages/s1");
//! let filter = topics::DIALOGUE_MESSAGES.filter(&[("appId", "myapp")])?;
//! assert_eq!(filter, "app/myapp/dialogue/messages/+");
//!
//! let parsed = BusTopic::parse(&topic).unwrap();
//! assert_eq!(parsed.spec, Some(&topics::DIALOGUE_MESSAGES));
//! assert_eq!(parsed.variable("sessionId"), Some("s1"));
//! # Ok::<(), vinbus_protocol::bus::BuildError>(())
//! ```

pub mod access;
mod base_fields;
mod build;
mod parse;
mod spec;
pub mod topics;

use heapless::String;

use crate::limits::BUS_TOPIC_BYTES_MAX;

pub use base_fields::BaseFields;
pub use build::BuildError;
pub use parse::{BusTopic, BusTopicError};
pub use spec::{Owner, PayloadKind, TopicSpec};

/// Where a vinbus host server takes a client's next token, so that the session goes on with it
/// (SPEC 15.7). Nobody hears what is published there; another platform may well let others hear it.
pub const RENEWAL_TOPIC: &str = "$vinbus/token";

/// A topic of the bus or a filter for some, as text of at most [`BUS_TOPIC_BYTES_MAX`] bytes.
pub type BusTopicText = String<BUS_TOPIC_BYTES_MAX>;
