//! The agent's way to the broker, as two traits: a [`Link`] that can connect, and the [`Session`]
//! that exists while it is connected.
//!
//! A session borrows its link, so code that holds none cannot publish. An implementation names its
//! MQTT client and nothing of portals or apps; the agent names no MQTT client.
//!
//! A session has at most one published message whose fate is open. The agent keeps each message
//! until its fate is known, so what the session took is never lost with it.

use crate::identity::Identity;

/// Something that can bring up an MQTT session for one vehicle.
pub trait Link {
    /// The session while it is up.
    type Session<'s>: Session
    where
        Self: 's;

    /// Whether the link spaces its own reconnections. If not, the agent waits before each attempt
    /// but the first for the jittered delay of [`vinbus_protocol::backoff::Backoff`].
    const PACES_ITSELF: bool;

    /// Connects, with [`crate::presence::will`] as the retained will, and subscribes to every
    /// filter of [`Identity::filters`]. A filter that the broker refuses, or does not confirm in
    /// time, ends the attempt, or the session that it led to.
    ///
    /// # Errors
    /// [`NotConnected`] when the attempt failed. The link itself reports why; the agent tries again
    /// for ever, as a vehicle out of coverage has nothing better to do.
    #[expect(
        async_fn_in_trait,
        reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
    )]
    async fn connect<const APPS: usize>(
        &mut self,
        identity: &Identity<APPS>,
    ) -> Result<Self::Session<'_>, NotConnected>;
}

/// One MQTT session that is up.
#[expect(
    async_fn_in_trait,
    reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
)]
pub trait Session {
    /// Waits for the next event. Cancel safe: a dropped future has taken nothing.
    ///
    /// # Errors
    /// [`Lost`] when the session is over; the fate of a message that was open stays unknown.
    async fn next(&mut self) -> Result<Event<'_>, Lost>;

    /// Takes one message to publish; [`Event::Published`] tells its fate. Not called again before.
    ///
    /// It should not wait for the peer: apps wait meanwhile. Where it has to, it gives up by itself,
    /// and an agent that is stopped drops it. After that the session is over: [`Session::next`] and
    /// [`Session::publish`] say so, and [`Session::close`] sends nothing more.
    ///
    /// # Errors
    /// [`Lost`] when the session is over, or the peer took too long.
    async fn publish(&mut self, message: Outgoing<'_>) -> Result<(), Lost>;

    /// Disconnects in order, so that the broker keeps the will back. Gives up by itself when the
    /// peer does not answer.
    async fn close(self);
}

/// What happens in a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'m> {
    /// A message arrived. It counts as handled when [`Session::next`] is called again.
    Received {
        /// Its topic.
        topic: &'m str,
        /// Its payload, of any length and content.
        payload: &'m [u8],
    },
    /// The fate of the message that was published last.
    Published(Fate),
    /// The session was kept alive, or the like; nothing to do.
    Progress,
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it, as far as its quality of service tells.
    Delivered,
    /// The broker refused it, or it exceeds what this session can carry; trying again is no use.
    Refused,
    /// The broker did not answer in time, or there was no room to send it, though the session is
    /// up; to be tried again.
    Unknown,
}

/// A message to publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outgoing<'m> {
    /// Its topic.
    pub topic: &'m str,
    /// Its payload.
    pub payload: &'m [u8],
    /// Whether the broker keeps it as the topic's last value.
    pub retain: bool,
}

/// An attempt to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotConnected;

/// The session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost;
