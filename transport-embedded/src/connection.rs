//! A session over its connections.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;

use embassy_time::{Duration, Instant, with_deadline, with_timeout};
use embedded_io_async::{Read, Write};
use minimq::{
    Buffers, ConfigBuilder, ConfigError, ConnectEvent, Error, Op, PeerError, PubError, Publication,
    QoS, ResourceError, Session, TopicFilter,
};

use crate::error::{ConnectError, Lost, OptionsError};
use crate::options::{Options, Qos};
use crate::write_limit::WriteLimit;

/// Time for an orderly goodbye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Filters in one SUBSCRIBE packet, each of which takes 236 bytes meanwhile. minimq keeps up to 8
/// packets until they are acknowledged, of which one is left for the first message.
const FILTERS_PER_PACKET: usize = 4;

/// SUBSCRIBE packets on their way at most.
const SUBSCRIBES_MAX: usize = 7;

/// The buffers and settings of a session, over all its connections.
pub struct Mqtt<'b> {
    session: Session<'b>,
    connect_timeout: Duration,
    answer_timeout: Duration,
    bytes_per_s_min: u32,
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
        options: &Options<'_, 'b>,
    ) -> Result<Self, OptionsError> {
        let mut config = ConfigBuilder::new(Buffers::new(receive, send))
            .client_id(options.client_id)?
            .keepalive_interval(options.keep_alive_s);
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
            bytes_per_s_min: options.bytes_per_s_min,
            qos: options.qos,
        })
    }

    /// Connects over an open stream and asks for the filters, 28 at most, at QoS 0. The broker takes
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
        let (qos, answer_timeout, bytes_per_s_min) =
            (self.qos, self.answer_timeout, self.bytes_per_s_min);
        // Pinned here, because a future that is passed on takes its room once more.
        let connecting = pin!(async {
            let stream = WriteLimit::new(stream, answer_timeout);
            let mut connection = self.session.connect(stream).await?;
            let asked = subscribe(&mut connection, filters).await?;
            let resumed = connection.connect_event() == ConnectEvent::Reconnected;
            Ok(Connection {
                connection,
                qos,
                answer_timeout,
                bytes_per_s_min,
                resumed,
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
    /// Becomes the lower one when the broker takes no other.
    qos: Qos,
    answer_timeout: Duration,
    bytes_per_s_min: u32,
    /// The broker has kept the session, as one may that does not know yet that the connection before is
    /// over: minimq sends again what had no answer there.
    resumed: bool,
    /// The subscriptions that the broker has not answered yet, and by when it has to; and to answer what
    /// is sent again.
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
    Unacknowledged {
        /// Unknown of a message that was not written at once, which is then all that is on its way.
        op: Option<Op>,
        until: Instant,
    },
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

    /// Publishes a message; [`Event::Published`] tells its fate. Not to be called again before.
    ///
    /// At QoS 1 it takes the message over, and [`Connection::next`] writes what the stream does not
    /// take at once. It waits for the stream only at QoS 0, and for the first messages, while
    /// subscriptions are without their answer. Not cancel safe: when the future is dropped before it is
    /// done, the connection is over.
    ///
    /// # Errors
    /// [`Lost`] when the connection is over, or the broker took too long to take the message.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], retain: bool) -> Result<(), Lost> {
        if core::mem::take(&mut self.rejected) {
            return Err(Lost::SubscriptionRefused);
        }
        if core::mem::replace(&mut self.publishing, true) {
            return Err(Lost::Broken);
        }
        let bytes = topic.len() + payload.len();
        let writing_s = bytes as u64 / u64::from(self.bytes_per_s_min.max(1));
        let until = Instant::now() + self.answer_timeout + Duration::from_secs(writing_s);
        let open = {
            // Pinned here, because a future that is passed on takes its room once more.
            let taking = pin!(self.take(topic, payload, retain, until));
            with_deadline(until, taking).await
        };
        self.open = Some(open.unwrap_or(Err(Lost::Broken))?);
        self.publishing = false;
        Ok(())
    }

    /// Gives a message to minimq, at QoS 0 if the broker takes no other.
    async fn take(
        &mut self,
        topic: &str,
        payload: &[u8],
        retain: bool,
        until: Instant,
    ) -> Result<Open, Lost> {
        if self.replays() {
            return Ok(Open::Settled(Fate::Busy));
        }
        loop {
            let (qos, later) = match self.qos {
                Qos::AtMostOnce => (QoS::AtMostOnce, false),
                // What is on its way afterwards can only be this message.
                Qos::AtLeastOnce => (QoS::AtLeastOnce, self.nothing_is_on_its_way()),
            };
            let mut publication = Publication::bytes(topic, payload).qos(qos);
            if retain {
                publication = publication.retain();
            }
            let published = {
                let publishing = pin!(self.connection.publish(publication));
                if later {
                    at_once(publishing).await
                } else {
                    Some(publishing.await)
                }
            };
            return Ok(match published {
                Some(Ok(Some(op))) => Open::Unacknowledged {
                    op: Some(op),
                    until,
                },
                Some(Ok(None)) => Open::Settled(Fate::Delivered),
                Some(Err(PubError::Session(Error::InvalidRequest)))
                    if self.qos == Qos::AtLeastOnce =>
                {
                    self.qos = Qos::AtMostOnce;
                    continue;
                }
                Some(Err(PubError::Session(
                    Error::NotReady | Error::Resource(ResourceError::InflightExhausted),
                ))) => Open::Settled(Fate::Busy),
                // The payload is bytes already: it fails to serialise only for want of room.
                Some(Err(PubError::Payload(()) | PubError::Session(Error::Resource(_)))) => {
                    // There is more once the rest has its answer.
                    Open::Settled(if self.nothing_is_on_its_way() {
                        Fate::Refused
                    } else {
                        Fate::Busy
                    })
                }
                Some(Err(PubError::Session(_))) => return Err(Lost::Broken),
                // minimq refuses it, but has something else to write first.
                None if self.nothing_is_on_its_way() => Open::Settled(Fate::Busy),
                None => Open::Unacknowledged { op: None, until },
            });
        }
    }

    /// Says goodbye, so that the broker keeps the will back.
    pub async fn close(mut self) {
        if self.publishing {
            // The broker would take it for the rest of a message.
            return;
        }
        // A broker that does not read is left without a word.
        let _ = with_timeout(CLOSE_TIMEOUT, self.connection.disconnect()).await;
    }

    /// By when the broker has to answer, and what it is if it does not.
    fn deadline(&mut self) -> (Instant, Lost) {
        let message = match self.open {
            Some(Open::Unacknowledged { until, .. }) => until,
            Some(Open::Settled(_)) | None => Instant::MAX,
        };
        match self.first_answers() {
            Some((until, lost)) if until < message => (until, lost),
            _ => (message, Lost::Broken),
        }
    }

    /// The same for what was asked first of all, as long as something of it has no answer.
    fn first_answers(&mut self) -> Option<(Instant, Lost)> {
        let replays = self.replays();
        let (asked, until) = self.unconfirmed.as_ref()?;
        let mut asked = asked.iter().flatten();
        if asked.any(|op| self.connection.is_pending(op)) {
            Some((*until, Lost::SubscriptionUnconfirmed))
        } else if replays {
            Some((*until, Lost::Broken))
        } else {
            self.unconfirmed = None;
            None
        }
    }

    /// Whether something that is sent again has no answer yet. Nothing else is sent meanwhile.
    fn replays(&mut self) -> bool {
        self.resumed &= !self.nothing_is_on_its_way();
        self.resumed
    }

    fn settled(&self) -> Option<Fate> {
        match self.open.as_ref()? {
            Open::Settled(fate) => Some(*fate),
            Open::Unacknowledged { op, .. } => {
                let answered = match op {
                    Some(op) => !self.connection.is_pending(op),
                    None => self.nothing_is_on_its_way(),
                };
                answered.then_some(Fate::Delivered)
            }
        }
    }

    /// Whether every subscription and message has its answer.
    fn nothing_is_on_its_way(&self) -> bool {
        self.connection.session().is_publish_quiescent()
    }
}

/// What a future comes to without waiting; one that would have to wait is dropped.
async fn at_once<T>(mut future: Pin<&mut impl Future<Output = T>>) -> Option<T> {
    poll_fn(|cx| {
        Poll::Ready(match future.as_mut().poll(cx) {
            Poll::Ready(value) => Some(value),
            Poll::Pending => None,
        })
    })
    .await
}
