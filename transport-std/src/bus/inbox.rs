//! What arrives on the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use vinbus_protocol::bus::{BaseFields, BusTopic, BusTopicError};
use vinbus_protocol::envelope::EnvelopeError;

use super::client::Shared;
use crate::message::{Inbox, Message};

/// A message of the bus. At QoS 1 the platform keeps it until [`ack`](Self::ack).
#[derive(Debug)]
pub struct BusMessage(Message);

impl BusMessage {
    /// Its topic as text.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// Its topic, taken apart.
    ///
    /// # Errors
    /// A [`BusTopicError`] when it is none of the bus.
    pub fn parsed_topic(&self) -> Result<BusTopic<'_>, BusTopicError> {
        BusTopic::parse(&self.0.topic)
    }

    /// Its bytes, at most 131,072.
    #[must_use]
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// What its payload says about itself.
    ///
    /// # Errors
    /// An [`EnvelopeError`] when the payload is not a JSON object, as those of some topics are not.
    pub fn fields(&self) -> Result<BaseFields<'_>, EnvelopeError> {
        BaseFields::read(&self.0.payload)
    }

    /// Whether the platform had kept it, so that it says nothing about now.
    #[must_use]
    pub fn is_retained(&self) -> bool {
        self.0.retain
    }

    /// Tells the platform that the message is safe here; see [`Message::ack`].
    pub fn ack(self) {
        self.0.ack();
    }

    /// Whether it names another session than `session`, in its payload or its topic.
    fn is_of_another_session(&self, session: &str) -> bool {
        if let Ok(topic) = self.parsed_topic()
            && let Some(named) = topic.variable("sessionId")
            && named != session
        {
            return true;
        }
        let fields = self.fields().ok();
        let named = fields.and_then(|fields| fields.session_id);
        named.is_some_and(|named| !named.is(session))
    }
}

/// The messages that arrived, in order. While it is full nothing is read from the connection.
#[derive(Debug)]
pub struct BusInbox {
    pub(super) inbox: Inbox,
    pub(super) shared: Arc<Shared>,
}

impl BusInbox {
    /// The next message, or `None` once the client is closed and the inbox is empty. Messages of
    /// another session than [`BusClient::set_session`](super::BusClient::set_session) says are
    /// acknowledged, counted and passed over. Cancel-safe: a dropped future loses nothing.
    pub async fn recv(&mut self) -> Option<BusMessage> {
        loop {
            let message = BusMessage(self.inbox.recv().await?);
            let session = self.shared.session();
            match session {
                Some(session) if message.is_of_another_session(&session) => {
                    self.shared.other_session.fetch_add(1, Relaxed);
                    message.ack();
                }
                Some(_) | None => return Some(message),
            }
        }
    }
}
