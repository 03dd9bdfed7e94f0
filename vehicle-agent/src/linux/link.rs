//! The agent's link over `vinbus-transport-std`, which reconnects and subscribes anew by itself.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::timeout;

use vinbus_transport_std::{Client, Inbox, LinkState, Message, PublishError, Qos};

use crate::identity::Identity;
use crate::link::{Event, Fate, Link, Lost, NotConnected, Outgoing, Session};

/// Time for an orderly goodbye: less than the client gives a broker for its answers, as whoever stops
/// the agent may kill it soon, and what waits is yet to be saved.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes note of what a link is doing; the client itself logs it.
pub(crate) type Report = Box<dyn Fn(&LinkState) + Send + Sync>;

/// One vehicle's client.
pub(crate) struct StdLink {
    client: Client,
    inbox: Inbox,
    qos: Qos,
    subscribed: bool,
    report: Report,
}

impl StdLink {
    /// A link that publishes at `qos`; `report` hears of its states while it is not connected.
    pub(crate) fn new(client: Client, inbox: Inbox, qos: Qos, report: Report) -> Self {
        Self {
            client,
            inbox,
            qos,
            subscribed: false,
            report,
        }
    }

    /// Waits until the client is connected; notes on the way why it is not.
    async fn connected(&self) -> Result<(), NotConnected> {
        let mut link = self.client.link();
        loop {
            let state = link.borrow_and_update().clone();
            (self.report)(&state);
            match state {
                LinkState::Connected { .. } => return Ok(()),
                LinkState::Connecting | LinkState::Down(_) => {}
                LinkState::Closed => return Err(NotConnected),
            }
            link.changed().await.map_err(|_| NotConnected)?;
        }
    }

    /// Subscribes on the first connection; the client remembers on all others.
    async fn subscribe<const APPS: usize>(
        &mut self,
        identity: &Identity<APPS>,
    ) -> Result<(), NotConnected> {
        for filter in identity.filters() {
            if let Err(error) = self.client.subscribe(&filter, Qos::AtLeastOnce).await {
                tracing::error!(%filter, reason = %error, "cannot listen; ask the broker's operator to allow this vehicle its downlink topic");
                return Err(NotConnected);
            }
        }
        self.subscribed = true;
        Ok(())
    }
}

impl Link for StdLink {
    type Session<'s> = StdSession<'s>;

    const PACES_ITSELF: bool = true;

    async fn connect<const APPS: usize>(
        &mut self,
        identity: &Identity<APPS>,
    ) -> Result<StdSession<'_>, NotConnected> {
        self.connected().await?;
        if !self.subscribed {
            self.subscribe(identity).await?;
        }
        let connections = self.client.counters().connections;
        Ok(StdSession {
            state: self.client.link(),
            connections,
            open: None,
            handled: None,
            link: self,
        })
    }
}

/// A message on its way to the broker.
type Publishing = Pin<Box<dyn Future<Output = Result<(), PublishError>> + Send>>;

/// The time in which the client stays on one connection.
pub(crate) struct StdSession<'l> {
    link: &'l mut StdLink,
    state: watch::Receiver<LinkState>,
    /// Which connection of the client this is.
    connections: u64,
    /// The message whose fate is open.
    open: Option<Publishing>,
    /// The message that the agent is handling.
    handled: Option<Message>,
}

enum Happened {
    Received(Option<Message>),
    Published(Result<(), PublishError>),
    Changed,
}

impl StdSession<'_> {
    fn is_up(&self) -> bool {
        let connected = matches!(*self.state.borrow(), LinkState::Connected { .. });
        connected && self.link.client.counters().connections == self.connections
    }

    async fn happened(&mut self) -> Happened {
        let Self {
            link, state, open, ..
        } = self;
        let published = async {
            match open {
                Some(open) => open.as_mut().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            result = published => {
                *open = None;
                Happened::Published(result)
            }
            message = link.inbox.recv() => Happened::Received(message),
            _ = state.changed() => Happened::Changed,
        }
    }
}

impl Session for StdSession<'_> {
    async fn next(&mut self) -> Result<Event<'_>, Lost> {
        if let Some(message) = self.handled.take() {
            message.ack();
        }
        loop {
            match self.happened().await {
                Happened::Received(Some(message)) => {
                    let message = self.handled.insert(message);
                    return Ok(Event::Received {
                        topic: &message.topic,
                        payload: &message.payload,
                    });
                }
                Happened::Received(None) => return Err(Lost),
                Happened::Published(Ok(())) => return Ok(Event::Published(Fate::Delivered)),
                Happened::Published(Err(PublishError::Unconfirmed)) if self.is_up() => {
                    return Ok(Event::Published(Fate::Unknown));
                }
                Happened::Published(Err(PublishError::LinkDown | PublishError::Unconfirmed)) => {
                    return Err(Lost);
                }
                // Other messages of this client are on their way; the agent tries again.
                Happened::Published(Err(PublishError::QueueFull { .. })) => {
                    return Ok(Event::Published(Fate::Unknown));
                }
                Happened::Published(Err(error)) => {
                    tracing::warn!(reason = %error, "a message of an app cannot be sent");
                    return Ok(Event::Published(Fate::Refused));
                }
                Happened::Changed if self.is_up() => {}
                Happened::Changed => return Err(Lost),
            }
        }
    }

    async fn publish(&mut self, message: Outgoing<'_>) -> Result<(), Lost> {
        let (client, qos) = (self.link.client.clone(), self.link.qos);
        let topic = message.topic.to_owned();
        let payload = Bytes::copy_from_slice(message.payload);
        let retain = message.retain;
        self.open = Some(Box::pin(async move {
            client.publish(&topic, payload, qos, retain).await
        }));
        Ok(())
    }

    async fn close(self) {
        // A broker that does not answer is left without a word, and publishes the will.
        let _ = timeout(CLOSE_TIMEOUT, self.link.client.clone().close()).await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::watch;

    use vinbus_protocol::id::{Uid, Vin};
    use vinbus_protocol::topic::TopicScheme;
    use vinbus_transport_std::conformance::in_time;
    use vinbus_transport_std::{ClientOptions, MqttVersion, PublishError, connect};

    use super::*;

    /// Speaks MQTT 3.1.1 as a broker that keeps its acknowledgements back until `open`.
    async fn broker(mut stream: TcpStream, mut open: watch::Receiver<bool>) -> std::io::Result<()> {
        loop {
            let [header, len] = [stream.read_u8().await?, stream.read_u8().await?];
            assert!(len < 0x80, "the packets of this test are short");
            let mut body = vec![0; usize::from(len)];
            stream.read_exact(&mut body).await?;
            let answer = match header >> 4 {
                1 => vec![0x20, 2, 0, 0],
                8 => vec![0x90, 3, body[0], body[1], 0],
                3 => {
                    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
                    let _gone = open.wait_for(|open| *open).await;
                    vec![0x40, 2, body[2 + topic], body[3 + topic]]
                }
                _ => continue,
            };
            stream.write_all(&answer).await?;
        }
    }

    /// A link to such a broker, who it is for, and what opens the broker.
    async fn link(answer_timeout: Duration) -> (StdLink, Identity<1>, watch::Sender<bool>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("mqtt://{}", listener.local_addr().unwrap());
        let (open, opened) = watch::channel(false);
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            broker(stream, opened).await
        });
        let options = ClientOptions::new(url.parse().unwrap(), "vehicle")
            .version(MqttVersion::V311)
            .answer_timeout(answer_timeout)
            .receive_maximum(1)
            .outbound_messages_max(1);
        let (client, inbox) = connect(options).unwrap();
        let vin = Vin::parse("0123456789ABCDEFG").unwrap();
        let mut identity = Identity::<1>::new(vin, TopicScheme::default(), false);
        identity.add(&Uid::parse("p").unwrap());
        let link = StdLink::new(client, inbox, Qos::AtLeastOnce, Box::new(|_| {}));
        (link, identity, open)
    }

    #[tokio::test]
    async fn broker_that_answers_nothing_is_left_soon() {
        let (mut link, identity, _open) = link(Duration::from_secs(3_600)).await;
        let mut session = in_time("the session", link.connect(&identity))
            .await
            .unwrap();
        let message = Outgoing {
            topic: "t",
            payload: b"1",
            retain: false,
        };
        session.publish(message).await.unwrap();
        assert!(session.next().now_or_never().is_none(), "its fate is open");
        in_time("the end of the session", session.close()).await;
    }

    #[tokio::test]
    async fn message_that_finds_no_room_is_tried_again_and_the_session_goes_on() {
        let (mut link, identity, open) = link(Duration::from_millis(100)).await;
        let client = link.client.clone();
        let mut session = in_time("the session", link.connect(&identity))
            .await
            .unwrap();
        let filled = async {
            let full = Err(PublishError::QueueFull { max: 1 });
            while client
                .publish("t", "1".into(), Qos::AtLeastOnce, false)
                .await
                != full
            {}
        };
        in_time("a full queue", filled).await;

        let message = Outgoing {
            topic: "t",
            payload: b"2",
            retain: false,
        };
        session.publish(message).await.unwrap();
        let fate = in_time("the fate", session.next()).await;
        assert_eq!(fate, Ok(Event::Published(Fate::Unknown)));
        open.send_replace(true);
        let delivered = async {
            loop {
                session.publish(message).await.unwrap();
                match session.next().await.unwrap() {
                    Event::Published(Fate::Unknown) => {}
                    event => return assert_eq!(event, Event::Published(Fate::Delivered)),
                }
            }
        };
        in_time("the delivery", delivered).await;
        assert_eq!(client.counters().connections, 1);
    }
}
