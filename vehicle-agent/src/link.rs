//! The agent's way to the broker, as two traits: a [`Link`] that can connect and the [`Session`]
//! that exists while it is connected.
//!
//! A session borrows its link, so code that holds none cannot publish. An implementation names its
//! MQTT client and nothing of portals or apps; the agent names no MQTT client.
//!
//! Both ends of a session are told apart by who must act: [`PublishError`] says whether waiting
//! helps, [`Lost`] says that only connecting again does.

use vinbus_protocol::envelope::{Content, EncodeError, Uplink};
use vinbus_protocol::topic::TopicText;

use crate::identity::Identity;
use crate::presence;

/// Something that can bring up an MQTT session for one vehicle.
pub trait Link {
    /// The session while it is up.
    type Session<'s>: Session
    where
        Self: 's;
    /// Why a connection attempt failed.
    type Error;

    /// Whether [`Link::connect`] spaces its own attempts. If not, the agent waits between two calls
    /// for the jittered delay of [`vinbus_protocol::backoff::Backoff`].
    const PACES_ITSELF: bool;

    /// Connects, with the will of [`presence::will`], and subscribes to every filter of
    /// [`Identity::filters`]. Completes when the broker has confirmed all of it.
    ///
    /// # Errors
    /// [`Link::Error`] when the attempt failed; the agent tries again for ever.
    #[expect(
        async_fn_in_trait,
        reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
    )]
    async fn connect<'s, const APPS: usize>(
        &'s mut self,
        identity: &Identity<APPS>,
    ) -> Result<Self::Session<'s>, Self::Error>;
}

/// One MQTT session that is up.
#[expect(
    async_fn_in_trait,
    reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
)]
pub trait Session {
    /// Waits for the next message. Cancel safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// [`Lost`] when the session is over.
    async fn receive(&mut self) -> Result<Received<'_>, Lost>;

    /// Hands one message to the session. Returns when the session has taken it, which is not yet
    /// when the broker has it.
    ///
    /// # Errors
    /// A [`PublishError`]; the session has then taken nothing.
    async fn publish(&mut self, message: Outgoing<'_>) -> Result<(), PublishError>;

    /// Sends what was taken and disconnects in order, so that the broker keeps the will back. Gives
    /// up by itself when the peer does not answer.
    async fn close(self);
}

/// A message that arrived.
#[derive(Clone, Copy, Debug)]
pub struct Received<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// Its payload, of any length and content.
    pub payload: &'m [u8],
}

/// A message to publish.
#[derive(Clone, Copy, Debug)]
pub struct Outgoing<'m> {
    /// Its topic.
    pub topic: &'m TopicText,
    /// Its payload, not yet encoded, so that it is written once: into the buffer of the session.
    pub payload: Payload<'m>,
    /// Whether the broker keeps it as the topic's last value.
    pub retain: bool,
}

/// The payload of an [`Outgoing`] message.
#[derive(Clone, Copy, Debug)]
pub enum Payload<'m> {
    /// What an app sends to its partner.
    Uplink(Uplink<'m>),
    /// Whether the vehicle is online.
    Presence {
        /// It is.
        online: bool,
    },
}

impl<'m> Payload<'m> {
    /// The payload of an app's message.
    #[must_use]
    pub fn uplink(content: Content<'m>) -> Self {
        Self::Uplink(Uplink { content })
    }

    /// Length of the encoded payload, in bytes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        match self {
            Self::Uplink(uplink) => uplink.encoded_len(),
            Self::Presence { online } => presence::payload(*online).len(),
        }
    }

    /// Encodes the payload to the start of `buffer` and returns its length in bytes.
    ///
    /// # Errors
    /// [`EncodeError::TooLarge`] above the limit of a message, [`EncodeError::Buffer`] when
    /// `buffer` is shorter than [`Payload::encoded_len`].
    pub fn encode(&self, buffer: &mut [u8]) -> Result<usize, EncodeError> {
        match self {
            Self::Uplink(uplink) => uplink.encode(buffer).map(<[u8]>::len),
            Self::Presence { online } => {
                let payload = presence::payload(*online).as_bytes();
                let available = buffer.len();
                let target = buffer.get_mut(..payload.len()).ok_or(EncodeError::Buffer {
                    needed: payload.len(),
                    available,
                })?;
                target.copy_from_slice(payload);
                Ok(payload.len())
            }
        }
    }
}

/// The session is over; the agent connects again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;

/// Why a session did not take a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// There is no room right now; the agent keeps the message and tries again soon.
    Busy,
    /// The session is over; the agent keeps the message for the next one.
    Lost,
    /// The message can never pass this session, whose buffer or broker takes `max` bytes of payload.
    TooLarge {
        /// Bytes of the payload.
        len: usize,
        /// Bytes that pass.
        max: usize,
    },
}
