//! The adapter to a broker somewhere else: the OEM's, or a cluster.
//!
//! It subscribes the uplink at QoS 1 and acknowledges a message when the core has it on disk, so a
//! broker that keeps QoS 1 loses nothing while this server is away; the session is kept for
//! [`SESSION_EXPIRY`]. A broker that downgrades to QoS 0 needs no acknowledgement and gets none. When
//! the store fails, the message stays unacknowledged and the connection is made anew, because that
//! is when a broker delivers again.
//!
//! A broker delivers what it retains on every new subscription. Uplink messages are not meant to be
//! retained; one that a sender retained regardless was delivered when it was sent, so the retained
//! copy is acknowledged, counted and dropped instead of being stored at every reconnect.
//!
//! Reconnecting, TLS and the protocol are the transport's; nothing here knows MQTT packets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot, watch};
use vinbus_protocol::id::Uid;
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std as transport;
use vinbus_transport_std::{
    Client, ClientOptions, Inbox, LinkState, Message, OptionsError, Qos, Session, SubscribeError,
};

use super::{Arrival, Broker, BrokerEvents, Outcome, PublishError};

/// How long the broker keeps our session while this server is away.
pub const SESSION_EXPIRY: Duration = Duration::from_secs(24 * 60 * 60);

/// Messages between arrival and store; the transport reads no further when they are as many.
const UNDER_WAY_MAX: u16 = 256;

/// Pause before the connection is made anew after the store failed.
const STORE_PAUSE: Duration = Duration::from_secs(1);

/// Time that messages under way get to be stored and acknowledged at shutdown.
const DRAIN_MAX: Duration = Duration::from_secs(5);

/// Pause before a refused subscription is tried again: somebody may have changed the broker's rules.
const SUBSCRIBE_PAUSE: Duration = Duration::from_secs(30);

/// Longer than the client waits for the broker's answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Which broker, and what of it.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where it is and who we are there. The client identifier names the session that the broker
    /// keeps: it has to stay the same over restarts, and no other server may use it.
    pub options: ClientOptions,
    /// How topics are spelt.
    pub topics: TopicScheme,
    /// The partners whose uplink to receive; empty for all, which only an OEM may.
    pub uids: Vec<Uid>,
}

/// An external broker; a handle that is cheap to clone.
#[derive(Clone)]
pub struct ExternalBroker {
    client: watch::Receiver<Client>,
    stop: Arc<watch::Sender<bool>>,
    stopped: watch::Receiver<bool>,
    retained_dropped: Arc<AtomicU64>,
}

impl ExternalBroker {
    /// Starts to connect, and keeps trying; must be called inside a tokio runtime.
    ///
    /// # Errors
    /// An [`OptionsError`] that says which option is wrong. A broker that cannot be reached is no
    /// error here but told by [`BrokerEvents::link_changed`].
    pub fn connect(
        settings: Settings,
        events: Arc<dyn BrokerEvents>,
    ) -> Result<Self, OptionsError> {
        let options = settings
            .options
            .session(Session::Kept {
                expiry: SESSION_EXPIRY,
            })
            .inbound_messages_max(usize::from(UNDER_WAY_MAX))
            .receive_maximum(UNDER_WAY_MAX);
        let (client, inbox) = transport::connect(options.clone())?;
        let (current, client_seen) = watch::channel(client);
        let (stop, stop_seen) = watch::channel(false);
        let (done, stopped) = watch::channel(false);
        let retained_dropped = Arc::default();
        let adapter = Adapter {
            options,
            filters: filters(&settings.topics, &settings.uids),
            topics: settings.topics,
            retained_dropped: Arc::clone(&retained_dropped),
            events,
            current,
            stop: stop_seen,
        };
        tokio::spawn(async move {
            adapter.run(inbox).await;
            done.send_replace(true);
        });
        Ok(Self {
            client: client_seen,
            stop: Arc::new(stop),
            stopped,
            retained_dropped,
        })
    }

    /// Retained uplink messages that the broker delivered and that were dropped.
    #[must_use]
    pub fn retained_dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.retained_dropped)
    }

    /// Takes nothing more, acknowledges what is on disk, and says goodbye to the broker.
    pub async fn shutdown(&self) {
        self.stop.send_replace(true);
        let mut stopped = self.stopped.clone();
        // An error means that the task is gone, which is what is waited for.
        let _ = stopped.wait_for(|stopped| *stopped).await;
    }
}

impl Broker for ExternalBroker {
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PublishError>> {
        Box::pin(async move {
            let client = self.client.borrow().clone();
            let published = client.publish(topic, payload, Qos::AtMostOnce, false).await;
            published.map_err(|error| match error {
                transport::PublishError::LinkDown
                | transport::PublishError::QueueFull { .. }
                | transport::PublishError::Unconfirmed => PublishError::LinkDown,
                transport::PublishError::TooLarge { .. }
                | transport::PublishError::Topic { .. }
                | transport::PublishError::Refused { .. } => PublishError::Rejected {
                    detail: error.to_string(),
                },
            })
        })
    }

    /// Longer than the client waits for its broker: all vehicles share that link, so nobody waits
    /// less for less patience, and a message that the client has queued is sent even so.
    fn patience(&self) -> Duration {
        PATIENCE
    }
}

fn filters(topics: &TopicScheme, uids: &[Uid]) -> Vec<String> {
    let filters: Vec<String> = uids
        .iter()
        .map(|uid| {
            topics
                .uid_filter(Direction::Uplink, uid)
                .as_str()
                .to_owned()
        })
        .collect();
    if filters.is_empty() {
        return vec![topics.all_filter(Direction::Uplink).as_str().to_owned()];
    }
    filters
}

/// The task behind an [`ExternalBroker`].
struct Adapter {
    options: ClientOptions,
    filters: Vec<String>,
    topics: TopicScheme,
    retained_dropped: Arc<AtomicU64>,
    events: Arc<dyn BrokerEvents>,
    current: watch::Sender<Client>,
    stop: watch::Receiver<bool>,
}

/// Why the pump ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Stopped,
    StoreFailed,
}

impl Adapter {
    async fn run(self, mut inbox: Inbox) {
        loop {
            let client = self.current.borrow().clone();
            let end = tokio::select! {
                end = self.pump(&mut inbox) => end,
                // Never ends, but has to be polled.
                () = self.watch(&client) => End::Stopped,
            };
            client.close().await;
            if end == End::Stopped {
                return;
            }
            let reason = "a message could not be stored; it was not acknowledged, and the broker \
                          will deliver it again";
            tracing::error!(reason, "the connection to the broker is made anew");
            self.events.link_changed(Err(reason.to_owned()));
            tokio::select! {
                fresh = self.connect_anew() => inbox = fresh,
                () = self.stopped() => return,
            }
        }
    }

    /// Makes a new connection with the options that worked at the start. A certificate file that
    /// has since become unreadable is told, and tried again.
    async fn connect_anew(&self) -> Inbox {
        loop {
            tokio::time::sleep(STORE_PAUSE).await;
            match transport::connect(self.options.clone()) {
                Ok((client, inbox)) => {
                    self.current.send_replace(client);
                    return inbox;
                }
                Err(error) => {
                    tracing::error!(%error, "cannot connect to the broker, will try again");
                    self.events.link_changed(Err(error.to_string()));
                }
            }
        }
    }

    async fn stopped(&self) {
        let mut stop = self.stop.clone();
        // An error means that all handles are gone, which is a stop as well.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Moves messages to the core in order, and acknowledgements back.
    async fn pump(&self, inbox: &mut Inbox) -> End {
        let (under_way, outcomes) = mpsc::channel(usize::from(UNDER_WAY_MAX));
        let receiving = async {
            loop {
                let message = tokio::select! {
                    message = inbox.recv() => message,
                    () = self.stopped() => None,
                };
                let Some(message) = message else { return };
                let outcome = self.outcome_of(&message).await;
                if under_way.send((message, outcome)).await.is_err() {
                    return;
                }
            }
        };
        let acknowledging = acknowledge(outcomes);
        tokio::pin!(acknowledging);
        tokio::select! {
            () = receiving => {}
            end = &mut acknowledging => return end,
        }
        drop(under_way);
        // What is not stored by then stays unacknowledged, and is delivered again.
        let drained = tokio::time::timeout(DRAIN_MAX, acknowledging);
        drained.await.unwrap_or(End::Stopped)
    }

    /// Hands a message to the core, unless it is a retained one that is no presence.
    async fn outcome_of(&self, message: &Message) -> oneshot::Receiver<Outcome> {
        let is_presence = || {
            let parsed = self.topics.parse(&message.topic);
            parsed.is_ok_and(|parsed| parsed.is_presence())
        };
        if message.retain && !is_presence() {
            self.retained_dropped.fetch_add(1, Ordering::Relaxed);
            let (refused, outcome) = oneshot::channel();
            // The receiver is right here.
            let _ = refused.send(Outcome::Refused);
            return outcome;
        }
        let arrival = Arrival {
            topic: message.topic.clone(),
            payload: message.payload.clone(),
            retained: message.retain,
        };
        self.events.arrived(arrival).await
    }

    /// Subscribes, and tells the core about the link; never ends.
    async fn watch(&self, client: &Client) {
        let link = Link {
            events: &*self.events,
            state: client.link(),
            grant: Mutex::new(Grant::Awaited),
        };
        tokio::join!(link.follow(), self.subscribe(client, &link));
    }

    async fn subscribe(&self, client: &Client, link: &Link<'_>) {
        for filter in &self.filters {
            loop {
                let refused = match client.subscribe(filter, Qos::AtLeastOnce).await {
                    Ok(()) | Err(SubscribeError::Closed) => break,
                    Err(error) => format!("{filter}: {error}; ask the broker's operator for it"),
                };
                if link.set_grant(Grant::Refused(refused.clone())) {
                    tracing::error!(reason = refused, "the broker refuses a subscription");
                }
                tokio::time::sleep(SUBSCRIBE_PAUSE).await;
            }
        }
        link.set_grant(Grant::Given);
    }
}

/// Acknowledges messages, in order, as their outcomes become known.
async fn acknowledge(mut outcomes: mpsc::Receiver<(Message, oneshot::Receiver<Outcome>)>) -> End {
    while let Some((message, outcome)) = outcomes.recv().await {
        match outcome.await {
            Ok(Outcome::Stored | Outcome::StoredAs(_) | Outcome::Noted | Outcome::Refused) => {
                message.ack();
            }
            // A message of QoS 0 is lost with the store; the core has counted it.
            Ok(Outcome::Failed(_)) | Err(_) if message.qos == Qos::AtMostOnce => {}
            Ok(Outcome::Failed(_)) | Err(_) => return End::StoreFailed,
        }
    }
    End::Stopped
}

/// The link as the core is told about it: up when the broker has welcomed us and grants what we
/// need.
struct Link<'a> {
    events: &'a dyn BrokerEvents,
    state: watch::Receiver<LinkState>,
    grant: Mutex<Grant>,
}

/// What the broker thinks of our subscriptions.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Grant {
    /// It has not answered yet, so messages may pass us by.
    Awaited,
    /// It refuses one, and this is why.
    Refused(String),
    /// It grants all of them.
    Given,
}

impl Link<'_> {
    async fn follow(&self) {
        let mut state = self.state.clone();
        state.mark_changed();
        while state.changed().await.is_ok() {
            // Told also when nothing but a short loss lies between two equal states: messages may
            // have been refused in it.
            self.tell(&state.borrow_and_update().clone());
        }
        std::future::pending::<()>().await;
    }

    /// Takes note of it; whether it is another one than before.
    fn set_grant(&self, grant: Grant) -> bool {
        let mut known = self.grant.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = *known != grant;
        *known = grant;
        drop(known);
        if changed {
            self.tell(&self.state.borrow().clone());
        }
        changed
    }

    fn tell(&self, state: &LinkState) {
        let grant = self.grant.lock().unwrap_or_else(PoisonError::into_inner);
        match (state, &*grant) {
            (LinkState::Connecting | LinkState::Closed, _) => {}
            (LinkState::Connected { .. }, Grant::Awaited) => {}
            (LinkState::Connected { .. }, Grant::Given) => self.events.link_changed(Ok(())),
            (LinkState::Connected { .. }, Grant::Refused(refused)) => {
                self.events.link_changed(Err(refused.clone()));
            }
            (LinkState::Down(error), _) => {
                let advice = error.advice();
                self.events.link_changed(Err(format!("{error}; {advice}")));
            }
        }
    }
}
