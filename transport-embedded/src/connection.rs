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
    /// order, so whatever is published next finds them in place. Its answers are not awaited here, as
    /// messages may come before them: [`Connection::next`] takes them, and a filter that is refused
    /// or stays without an answer ends the connection.
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
            let mut last = None;
            for filter in filters {
                let filter = TopicFilter::new(filter.as_ref());
                last = Some(connection.subscribe(&[filter], &[]).await?);
            }
            let until = Instant::now() + answer_timeout;
            Ok(Connection {
                connection,
                qos,
                answer_timeout,
                subscribing: last.map(|op| Unanswered { op, until }),
                open: None,
                rejected: false,
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
    /// The last SUBSCRIBE, while it has no answer. Brokers answer them in order.
    subscribing: Option<Unanswered>,
    open: Option<Open>,
    /// The broker has refused something, and it is not known yet what.
    rejected: bool,
}

/// A packet that the broker is to answer.
#[derive(Debug)]
struct Unanswered {
    op: Op,
    until: Instant,
}

/// The message whose fate has not been told.
#[derive(Debug)]
enum Open {
    Settled(Fate),
    Unacknowledged(Unanswered),
}

impl<IO: Read + Write> Connection<'_, '_, IO> {
    /// Waits for the next event. Cancel safe if the stream is.
    ///
    /// # Errors
    /// [`Lost`] when the connection is over.
    pub async fn next(&mut self) -> Result<Event<'_>, Lost> {
        if core::mem::take(&mut self.rejected) {
            // Every SUBSCRIBE is answered before the first message is.
            if self.subscribing.is_some() {
                return Err(Lost::SubscriptionRefused);
            }
            self.settled().ok_or(Lost::Broken)?;
            self.open = None;
            return Ok(Event::Published(Fate::Refused));
        }
        self.subscribing
            .take_if(|last| !self.connection.is_pending(&last.op));
        if let Some(fate) = self.settled() {
            self.open = None;
            return Ok(Event::Published(fate));
        }
        let polled = with_deadline(self.answers_until(), self.connection.poll()).await;
        match polled.map_err(|_late| Lost::Silent)? {
            Ok(Some(message)) => Ok(Event::Received {
                topic: message.topic(),
                payload: message.payload(),
            }),
            Ok(None) => Ok(Event::Progress),
            Err(Error::Peer(PeerError::Rejected(_))) => {
                self.rejected = true;
                Ok(Event::Progress)
            }
            Err(_) => Err(Lost::Broken),
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
            Ok(Some(op)) => Open::Unacknowledged(Unanswered {
                op,
                until: Instant::now() + self.answer_timeout,
            }),
            Ok(None) => Open::Settled(Fate::Delivered),
            Err(PubError::Session(
                Error::NotReady | Error::Resource(ResourceError::InflightExhausted),
            )) => Open::Settled(Fate::Busy),
            // The payload is bytes already: it fails to serialise only for want of room.
            Err(PubError::Payload(()) | PubError::Session(Error::Resource(_))) => {
                Open::Settled(Fate::Refused)
            }
            Err(PubError::Session(_)) => return Err(Lost::Broken),
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
            Open::Unacknowledged(message) if self.connection.is_pending(&message.op) => None,
            Open::Unacknowledged(_) => Some(Fate::Delivered),
        }
    }

    /// When the broker is to have answered.
    fn answers_until(&self) -> Instant {
        let message = match &self.open {
            Some(Open::Unacknowledged(message)) => Some(message),
            Some(Open::Settled(_)) | None => None,
        };
        let unanswered = self.subscribing.iter().chain(message);
        let until = unanswered.map(|unanswered| unanswered.until).min();
        until.unwrap_or(Instant::MAX)
    }
}
