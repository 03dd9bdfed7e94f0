//! A session over its connections.

use core::pin::pin;

use embassy_time::{Duration, Instant, with_deadline, with_timeout};
use embedded_io_async::{Read, Write};
use minimq::{
    Buffers, ConfigBuilder, ConfigError, Error, Op, PeerError, PubError, Publication, QoS,
    ResourceError, Session, TopicFilter,
};

use crate::error::{ConnectError, Lost, OptionsError};
use crate::options::{Options, Qos};

/// Time for an orderly goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// The buffers and settings of a session, over all its connections.
pub struct Mqtt<'b> {
    session: Session<'b>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    qos: Qos,
}

impl<'b> Mqtt<'b> {
    /// A session over a receive and a send buffer; the crate's documentation says how large.
    ///
    /// # Errors
    /// An [`OptionsError`].
    pub fn new(
        receive: &'b mut [u8],
        send: &'b mut [u8],
        options: &Options<'b>,
    ) -> Result<Self, OptionsError> {
        let mut config = ConfigBuilder::new(Buffers::new(receive, send))
            .client_id(options.client_id)?
            .keepalive_interval(options.keep_alive_s)
            .autodowngrade_qos();
        if let Some(will) = options.will {
            config = config.will(minimq::Will::new(will.topic, will.payload, &[])?.retained())?;
        }
        if let Some(credentials) = options.credentials {
            config = config.auth(credentials.user_name, credentials.password)?;
        }
        Ok(Self {
            session: Session::new(config),
            connect_timeout: options.connect_timeout,
            answer_timeout: options.answer_timeout,
            qos: options.qos,
        })
    }

    /// Connects over an open stream and asks for the filters, at QoS 0. The broker takes packets in
    /// order, so whatever is published next finds them in place; a refused one ends the connection.
    ///
    /// # Errors
    /// A [`ConnectError`]; the stream is dropped then.
    pub async fn connect<IO: Read + Write>(
        &mut self,
        stream: IO,
        filters: impl IntoIterator<Item: AsRef<str>>,
    ) -> Result<Connection<'_, 'b, IO>, ConnectError> {
        let (qos, answer_timeout) = (self.qos, self.answer_timeout);
        // Pinned here, because a future that is passed on takes its room once more.
        let connecting = pin!(async {
            let mut connection = self.session.connect(stream).await?;
            for filter in filters {
                connection
                    .subscribe(&[TopicFilter::new(filter.as_ref())], &[])
                    .await?;
            }
            Ok(Connection {
                connection,
                qos,
                answer_timeout,
                open: None,
            })
        });
        with_timeout(self.connect_timeout, connecting)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }
}

impl From<ConfigError> for OptionsError {
    fn from(error: ConfigError) -> Self {
        match error {
            ConfigError::ClientIdTooLong => Self::ClientId,
            ConfigError::TopicTooLong => Self::WillTopic,
            // The other settings are ours, or a later minimq refuses more.
            _ => Self::Other,
        }
    }
}

/// What happens on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'m> {
    /// A message arrived.
    Received {
        /// Its topic.
        topic: &'m str,
        /// Its payload.
        payload: &'m [u8],
    },
    /// The fate of the message published last.
    Published(Fate),
    /// The connection was kept alive, or the like; nothing to do.
    Progress,
}

/// What became of a published message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The broker has it: acknowledged at QoS 1, written at QoS 0.
    Delivered,
    /// The broker refused it, or it exceeds a buffer or the broker's limit.
    Refused,
    /// There was no room for it now.
    Busy,
}

/// One connection. Dropping it without [`Connection::close`] has the broker publish the will.
pub struct Connection<'s, 'b, IO> {
    connection: minimq::Connection<'s, 'b, IO>,
    qos: Qos,
    answer_timeout: Duration,
    open: Option<Open>,
}

/// The message whose fate has not been told.
#[derive(Debug)]
enum Open {
    Settled(Fate),
    Unacknowledged { op: Op, until: Instant },
}

impl<IO: Read + Write> Connection<'_, '_, IO> {
    /// Waits for the next event. Cancel safe if the stream is.
    ///
    /// # Errors
    /// [`Lost`] when the connection is over.
    pub async fn next(&mut self) -> Result<Event<'_>, Lost> {
        if let Some(fate) = self.settled() {
            self.open = None;
            return Ok(Event::Published(fate));
        }
        let until = match self.open {
            Some(Open::Unacknowledged { until, .. }) => until,
            Some(Open::Settled(_)) | None => Instant::MAX,
        };
        let polled = with_deadline(until, self.connection.poll()).await;
        match polled.map_err(|_late| Lost)? {
            Ok(Some(message)) => Ok(Event::Received {
                topic: message.topic(),
                payload: message.payload(),
            }),
            Ok(None) => Ok(Event::Progress),
            Err(Error::Peer(PeerError::Rejected(_))) if self.open.is_some() => {
                self.open = None;
                Ok(Event::Published(Fate::Refused))
            }
            Err(_) => Err(Lost),
        }
    }

    /// Publishes a message; [`Event::Published`] tells its fate. Not to be called again before.
    ///
    /// # Errors
    /// [`Lost`] when the connection is over.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Lost> {
        let qos = match self.qos {
            Qos::AtMostOnce => QoS::AtMostOnce,
            Qos::AtLeastOnce => QoS::AtLeastOnce,
        };
        let mut publication = Publication::bytes(topic, payload).qos(qos);
        if retain {
            publication = publication.retain();
        }
        self.open = Some(match self.connection.publish(publication).await {
            Ok(Some(op)) => Open::Unacknowledged {
                op,
                until: Instant::now() + self.answer_timeout,
            },
            Ok(None) => Open::Settled(Fate::Delivered),
            Err(PubError::Session(
                Error::NotReady | Error::Resource(ResourceError::InflightExhausted),
            )) => Open::Settled(Fate::Busy),
            // The payload is bytes already: it fails to serialise only for want of room.
            Err(PubError::Payload(()) | PubError::Session(Error::Resource(_))) => {
                Open::Settled(Fate::Refused)
            }
            Err(PubError::Session(_)) => return Err(Lost),
        });
        Ok(())
    }

    /// Says goodbye, so that the broker keeps the will back.
    pub async fn close(mut self) {
        // A broker that does not read is left without a word.
        let _ = with_timeout(CLOSE_TIMEOUT, self.connection.disconnect()).await;
    }

    fn settled(&self) -> Option<Fate> {
        match self.open.as_ref()? {
            Open::Settled(fate) => Some(*fate),
            Open::Unacknowledged { op, .. } if self.connection.is_pending(op) => None,
            Open::Unacknowledged { .. } => Some(Fate::Delivered),
        }
    }
}
