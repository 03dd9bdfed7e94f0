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
use crate::write_limit::WriteLimit;

/// Time for an orderly goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Filters in one SUBSCRIBE packet. minimq keeps up to 8 packets until they are acknowledged, of
/// which one is left for the first message.
const FILTERS_PER_PACKET: usize = 8;

/// SUBSCRIBE packets on their way at most.
const SUBSCRIBES_MAX: usize = 7;

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

    /// Connects over an open stream and asks for the filters, 56 at most, at QoS 0. The broker takes
    /// packets in order, so whatever is published next finds them in place. Its answers come later,
    /// messages among them: [`Connection::next`] takes both, and tells of a refused filter with
    /// [`Lost::SubscriptionRefused`], of one without an answer with [`Lost::SubscriptionUnconfirmed`].
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
            let stream = WriteLimit::new(stream, answer_timeout);
            let mut connection = self.session.connect(stream).await?;
            let asked = subscribe(&mut connection, filters).await?;
            Ok(Connection {
                connection,
                qos,
                answer_timeout,
                unconfirmed: Some((asked, Instant::now() + answer_timeout)),
                open: None,
                publishing: false,
                rejected: false,
            })
        });
        with_timeout(self.connect_timeout, connecting)
            .await
            .unwrap_or(Err(ConnectError::Timeout))
    }
}

/// What was asked of the broker.
type Asked = [Option<Op>; SUBSCRIBES_MAX];

/// Asks for all filters, a few at a time.
async fn subscribe<IO: Read + Write>(
    connection: &mut minimq::Connection<'_, '_, IO>,
    filters: impl IntoIterator<Item: AsRef<str>>,
) -> Result<Asked, Error<IO::Error>> {
    let mut filters = filters.into_iter();
    let mut asked = [None; SUBSCRIBES_MAX];
    for asked in &mut asked {
        let mut batch = [const { None }; FILTERS_PER_PACKET];
        let mut len = 0;
        for (place, filter) in batch.iter_mut().zip(&mut filters) {
            *place = Some(filter);
            len += 1;
        }
        let topics = batch
            .each_ref()
            .map(|filter| TopicFilter::new(filter.as_ref().map_or("", AsRef::as_ref)));
        if len > 0 {
            *asked = Some(connection.subscribe(&topics[..len], &[]).await?);
        }
        if len < FILTERS_PER_PACKET {
            break;
        }
    }
    match filters.next() {
        None => Ok(asked),
        Some(_) => Err(Error::Resource(ResourceError::InflightExhausted)),
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
    connection: minimq::Connection<'s, 'b, WriteLimit<IO>>,
    qos: Qos,
    answer_timeout: Duration,
    /// The subscriptions that the broker has not answered yet, and by when it has to.
    unconfirmed: Option<(Asked, Instant)>,
    open: Option<Open>,
    /// Set while a message is written, and so after that has been cut short.
    publishing: bool,
    /// The broker's last answer was a refusal.
    rejected: bool,
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
    /// [`Lost`] when the connection is over, or has to be.
    pub async fn next(&mut self) -> Result<Event<'_>, Lost> {
        if self.publishing {
            return Err(Lost::Broken);
        }
        let rejected = core::mem::take(&mut self.rejected);
        if let Some(fate) = self.settled() {
            self.open = None;
            return Ok(Event::Published(if rejected {
                Fate::Refused
            } else {
                fate
            }));
        }
        if rejected {
            // The message is still unanswered, so it was a filter.
            return Err(Lost::SubscriptionRefused);
        }
        let (until, lost) = self.deadline();
        // A broker that keeps sending leaves no moment in which time passes.
        if until <= Instant::now() {
            return Err(lost);
        }
        let polled = with_deadline(until, self.connection.poll()).await;
        match polled.map_err(|_late| lost)? {
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

    /// Publishes a message; [`Event::Published`] tells its fate. Not to be called again before. Not
    /// cancel safe: the connection is lost when the future is dropped before it is done.
    ///
    /// # Errors
    /// [`Lost`] when the connection is over.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Lost> {
        if core::mem::take(&mut self.rejected) {
            return Err(Lost::SubscriptionRefused);
        }
        if core::mem::replace(&mut self.publishing, true) {
            return Err(Lost::Broken);
        }
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
            Err(PubError::Session(_)) => return Err(Lost::Broken),
        });
        self.publishing = false;
        Ok(())
    }

    /// Says goodbye, so that the broker keeps the will back.
    pub async fn close(mut self) {
        // A broker that does not read is left without a word.
        let _ = with_timeout(CLOSE_TIMEOUT, self.connection.disconnect()).await;
    }

    /// By when the broker has to answer, and what it is if it does not.
    fn deadline(&mut self) -> (Instant, Lost) {
        let connection = &self.connection;
        self.unconfirmed.take_if(|(asked, _)| {
            let mut asked = asked.iter().flatten();
            !asked.any(|op| connection.is_pending(op))
        });
        let message = match self.open {
            Some(Open::Unacknowledged { until, .. }) => until,
            Some(Open::Settled(_)) | None => Instant::MAX,
        };
        match self.unconfirmed {
            Some((_, until)) if until < message => (until, Lost::SubscriptionUnconfirmed),
            _ => (message, Lost::Broken),
        }
    }

    fn settled(&self) -> Option<Fate> {
        match self.open.as_ref()? {
            Open::Settled(fate) => Some(*fate),
            Open::Unacknowledged { op, .. } if self.connection.is_pending(op) => None,
            Open::Unacknowledged { .. } => Some(Fate::Delivered),
        }
    }
}
