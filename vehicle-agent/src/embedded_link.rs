//! The agent's link over `vinbus-transport-embedded`: no heap, any byte stream.
//!
//! It speaks MQTT 5 and listens at QoS 0. A [`Dial`] brings the streams: the network stack of a
//! board, or TCP and TLS of Linux.

use core::fmt;

use embedded_io_async::{Read, Write};

use vinbus_protocol::topic::TopicText;
use vinbus_transport_embedded as transport;
use vinbus_transport_embedded::{ConnectError, Connection, Credentials, Mqtt, Options, Will};

use crate::identity::Identity;
use crate::link::{Event, Fate, Link, Lost, NotConnected, Outgoing, Session};
use crate::provisioned::Provisioned;

/// The settings of a provisioned vehicle's session, with the will of [`crate::presence::will`].
#[must_use]
pub fn options<'c, 'o>(
    provisioned: &'c Provisioned<'o>,
    will: Option<&'c (TopicText, &'static str)>,
) -> Options<'c, 'o> {
    let mut options = Options::new(provisioned.vin.as_str());
    options.will = will.map(|(topic, payload)| Will {
        topic,
        payload: payload.as_bytes(),
    });
    options.credentials = provisioned.login.map(|login| Credentials {
        user_name: login.user_name,
        password: login.password,
    });
    options
}

/// Opens streams to the broker.
pub trait Dial {
    /// An open stream, with TLS done. Its reads and writes have to be cancel safe.
    type Stream: Read + Write;

    /// Opens one, within a time limit of its own. `None` when there is none now, which it reports
    /// itself.
    #[expect(
        async_fn_in_trait,
        reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
    )]
    async fn dial(&mut self) -> Option<Self::Stream>;

    /// Takes note of why no session came up over the stream that was opened last, or why the one
    /// that did cannot be used.
    fn failed(&mut self, error: ConnectError);

    /// Takes note that the session over the stream that was opened last is over.
    fn lost(&mut self);
}

/// One vehicle's MQTT session, over all its connections.
pub struct EmbeddedLink<'b, D> {
    mqtt: Mqtt<'b>,
    dial: D,
}

impl<D: fmt::Debug> fmt::Debug for EmbeddedLink<'_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedLink")
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}

impl<'b, D> EmbeddedLink<'b, D> {
    /// A link of `mqtt`, whose options name the vehicle and its will ([`crate::presence::will`]).
    pub fn new(mqtt: Mqtt<'b>, dial: D) -> Self {
        Self { mqtt, dial }
    }
}

impl<'b, D: Dial> Link for EmbeddedLink<'b, D> {
    type Session<'s>
        = EmbeddedSession<'s, 'b, D>
    where
        Self: 's;

    const PACES_ITSELF: bool = false;

    async fn connect<const APPS: usize>(
        &mut self,
        identity: &Identity<APPS>,
    ) -> Result<Self::Session<'_>, NotConnected> {
        let Self { mqtt, dial } = self;
        let stream = dial.dial().await.ok_or(NotConnected)?;
        match mqtt.connect(stream, identity.filters()).await {
            Ok(connection) => Ok(EmbeddedSession { connection, dial }),
            Err(error) => {
                dial.failed(error);
                Err(NotConnected)
            }
        }
    }
}

/// One connection of the session.
pub struct EmbeddedSession<'s, 'b, D: Dial> {
    connection: Connection<'s, 'b, D::Stream>,
    dial: &'s mut D,
}

impl<D: Dial + fmt::Debug> fmt::Debug for EmbeddedSession<'_, '_, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EmbeddedSession")
            .field("dial", &self.dial)
            .finish_non_exhaustive()
    }
}

impl<D: Dial> Session for EmbeddedSession<'_, '_, D> {
    async fn next(&mut self) -> Result<Event<'_>, Lost> {
        match self.connection.next().await {
            Ok(transport::Event::Received { topic, payload }) => {
                Ok(Event::Received { topic, payload })
            }
            Ok(transport::Event::Published(fate)) => Ok(Event::Published(match fate {
                transport::Fate::Delivered => Fate::Delivered,
                transport::Fate::Refused => Fate::Refused,
                transport::Fate::Busy => Fate::Unknown,
            })),
            Ok(transport::Event::Progress) => Ok(Event::Progress),
            Err(lost) => {
                match lost {
                    transport::Lost::Broken => self.dial.lost(),
                    transport::Lost::SubscriptionRefused => {
                        self.dial.failed(ConnectError::SubscriptionRefused);
                    }
                    transport::Lost::SubscriptionUnconfirmed => {
                        self.dial.failed(ConnectError::SubscriptionUnconfirmed);
                    }
                }
                Err(Lost)
            }
        }
    }

    async fn publish(&mut self, message: Outgoing<'_>) -> Result<(), Lost> {
        let published = self
            .connection
            .publish(message.topic, message.payload, message.retain)
            .await;
        published.map_err(|_lost| {
            self.dial.lost();
            Lost
        })
    }

    async fn close(self) {
        self.connection.close().await;
    }
}
