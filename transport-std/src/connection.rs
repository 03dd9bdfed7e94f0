//! One connection from its first packet to its end.
//!
//! | state                    | becomes     | when                                              |
//! |--------------------------|-------------|---------------------------------------------------|
//! | connecting               | subscribing | CONNACK                                           |
//! | subscribing              | established | SUBACK grants every remembered filter, or no filter |
//! | subscribing, established | closing     | the user stops, or renews the credentials: DISCONNECT after what is queued |
//! | connecting               | closed      | the user stops, or renews the credentials         |
//! | closing                  | closed      | DISCONNECT sent, error or time-out                |
//! | any other                | lost        | error or time-out                                 |
//!
//! The future that drives the MQTT library is polled to its end and never dropped halfway,
//! because it is not cancel-safe; everything else waits beside it.

use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use crate::client::LinkState;
use crate::credentials::Login;
use crate::driver::{Driver, Stop, Subscribe};
use crate::link_error::{Attempt, LinkError, Phase};
use crate::message::{Message, Qos, Receipt};
use crate::options::ClientOptions;
use crate::shared::{Online, Shared};
use crate::stream::Line;
use crate::subscriptions::Subscriptions;
use crate::wire::{Ack, Answer, Arrived, Event, Events, Requests};

/// Wishes that are answered with one SUBSCRIBE.
pub(crate) const WISHES_MAX: usize = 16;

/// Time to write a DISCONNECT that overtakes what is still unanswered.
const FAREWELL: Duration = Duration::from_secs(1);

/// How a connection ended.
pub(crate) enum End {
    /// The user wants no further one.
    Closed,
    /// The user wants one with other credentials.
    Renewed,
    Lost(LinkError),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Subscribing,
    Established,
    Closing,
}

/// What a task beside the connection has finished.
enum Done {
    Subscribed {
        filters: Vec<(String, Qos)>,
        answers: Option<Vec<Answer>>,
    },
    SubscribeTimedOut,
    /// The last message that could be acknowledged is gone.
    Acknowledged,
    DisconnectQueued,
}

/// See the module.
pub(crate) struct Connection<'a> {
    options: &'a Arc<ClientOptions>,
    shared: &'a Shared,
    link: &'a watch::Sender<LinkState>,
    messages: &'a mpsc::Sender<Message>,
    wishes: &'a mut mpsc::Receiver<Subscribe>,
    login: &'a mut watch::Receiver<Login>,
    stop: &'a mut Stop,
    subscriptions: &'a mut Subscriptions,
    line: Line,
    requests: Requests,
    tasks: JoinSet<Done>,
    acks: mpsc::UnboundedSender<Ack>,
    /// What is sent here is dropped once all acknowledgements given before are on their way.
    farewell: mpsc::Sender<oneshot::Sender<()>>,
    /// Dropped with the connection, which ends every publish that waits on it.
    up: watch::Sender<()>,
    /// Read from the connection, with no room in the inbox yet. Reading is paused while there
    /// is any, so it holds no more than one read had brought.
    held: VecDeque<Message>,
    state: State,
    /// Why it is closing: for another connection.
    renewing: bool,
    /// A SUBSCRIBE is under way.
    subscribing: bool,
    session_present: bool,
    packet_bytes_max: Option<usize>,
    established_at: Option<Instant>,
}

impl<'a> Connection<'a> {
    pub(crate) fn new(
        driver: &'a mut Driver,
        subscriptions: &'a mut Subscriptions,
        line: Line,
        requests: Requests,
    ) -> Self {
        subscriptions.start_connection();
        let (acks, waiting) = mpsc::unbounded_channel();
        let mut tasks = JoinSet::new();
        let (farewell, closing) = mpsc::channel(1);
        tasks.spawn(acknowledge(requests.clone(), waiting, closing));
        Self {
            options: &driver.options,
            shared: &driver.shared,
            link: &driver.link,
            messages: &driver.messages,
            wishes: &mut driver.wishes,
            login: &mut driver.login,
            stop: &mut driver.stop,
            subscriptions,
            line,
            requests,
            tasks,
            acks,
            farewell,
            up: watch::Sender::new(()),
            held: VecDeque::new(),
            state: State::Connecting,
            renewing: false,
            subscribing: false,
            session_present: false,
            packet_bytes_max: None,
            established_at: None,
        }
    }

    /// How long the connection was established.
    pub(crate) fn lasted(&self) -> Duration {
        self.established_at
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) async fn run(&mut self, mut events: Events) -> End {
        match self.drive(&mut events).await {
            Ok(()) => self.intended_end(),
            Err(_) if self.state == State::Closing => self.intended_end(),
            Err(error) if self.state == State::Connecting => {
                let attempt = Attempt {
                    scheme: self.options.url.scheme(),
                    has_user_name: self.login.borrow().credentials.is_some(),
                    was_welcomed: self.shared.connections.load(Relaxed) > 0,
                };
                End::Lost(error.of_attempt(attempt))
            }
            Err(error) => End::Lost(error),
        }
    }

    fn intended_end(&mut self) -> End {
        self.drop_held();
        if self.renewing {
            End::Renewed
        } else {
            End::Closed
        }
    }

    /// Returns `Ok` once the user's wish to stop, or to connect anew, is fulfilled.
    async fn drive(&mut self, events: &mut Events) -> Result<(), LinkError> {
        let mut deadline = pin!(tokio::time::sleep(self.options.connect_timeout));
        let mut wishes = Vec::with_capacity(WISHES_MAX);
        loop {
            let event = {
                let mut next = pin!(events.next());
                loop {
                    tokio::select! {
                        event = &mut next => break event,
                        room = self.messages.reserve(), if !self.held.is_empty() => match room {
                            Ok(room) => self.deliver_held(room),
                            Err(_inbox_dropped) => self.drop_held(),
                        },
                        Some(done) = self.tasks.join_next() => match done {
                            Ok(done) => self.task_done(done)?,
                            Err(error) if error.is_panic() => {
                                std::panic::resume_unwind(error.into_panic());
                            }
                            Err(_aborted) => {}
                        },
                        1.. = self.wishes.recv_many(&mut wishes, WISHES_MAX),
                            if self.state == State::Established && !self.subscribing =>
                        {
                            for wish in wishes.drain(..) {
                                self.subscriptions.add(wish.filter, wish.qos, wish.reply);
                            }
                            self.subscribe_missing();
                        },
                        () = self.stop.requested(), if self.state != State::Closing => {
                            if self.state == State::Connecting {
                                return Ok(());
                            }
                            self.drop_held();
                            self.begin_closing();
                            let patience = self.options.answer_timeout + FAREWELL;
                            deadline.as_mut().reset(Instant::now() + patience);
                        },
                        Ok(()) = self.login.changed(), if self.state != State::Closing => {
                            self.renewing = true;
                            self.link.send_replace(LinkState::Connecting);
                            if self.state == State::Connecting {
                                return Ok(());
                            }
                            self.begin_closing();
                            let patience = self.options.answer_timeout + FAREWELL;
                            deadline.as_mut().reset(Instant::now() + patience);
                        },
                        () = &mut deadline, if self.state != State::Established => {
                            return Err(LinkError::Timeout { phase: self.line.phase() });
                        },
                    }
                }
            };
            match event.map_err(|error| self.line.error().unwrap_or(error))? {
                Event::Connected {
                    session_present,
                    packet_bytes_max,
                } => {
                    self.session_present = session_present;
                    self.packet_bytes_max = packet_bytes_max;
                    self.welcome();
                }
                Event::Message(arrived) => {
                    self.take(arrived)?;
                    if self.line.is_paused() {
                        events.excuse_ping();
                    }
                }
                Event::PingSent if self.line.is_paused() => events.excuse_ping(),
                Event::DisconnectSent => return Ok(()),
                Event::PingSent | Event::Progress => {}
            }
        }
    }

    fn welcome(&mut self) {
        self.shared.connections.fetch_add(1, Relaxed);
        self.state = State::Subscribing;
        self.line.enter(Phase::Subscribe);
        self.subscribe_missing();
        self.establish_if_subscribed();
    }

    fn subscribe_missing(&mut self) {
        let filters = self.subscriptions.missing();
        if filters.is_empty() {
            return;
        }
        self.subscribing = true;
        let requests = self.requests.clone();
        let patience = self.options.answer_timeout;
        self.tasks.spawn(async move {
            match tokio::time::timeout(patience, requests.subscribe(&filters)).await {
                Ok(answers) => Done::Subscribed { filters, answers },
                Err(_elapsed) => Done::SubscribeTimedOut,
            }
        });
    }

    fn establish_if_subscribed(&mut self) {
        if self.state != State::Subscribing || self.subscribing {
            return;
        }
        self.state = State::Established;
        self.established_at = Some(Instant::now());
        self.shared.set_online(Some(Online {
            requests: self.requests.clone(),
            packet_bytes_max: self.packet_bytes_max,
            ended: self.up.subscribe(),
        }));
        let session_present = self.session_present;
        tracing::info!(url = %self.options.url, session_present, "connected to the broker");
        if let Some(max) = self.packet_bytes_max {
            self.shared.tell_packet_limit(max);
        }
        self.link
            .send_replace(LinkState::Connected { session_present });
    }

    /// Takes leave, so that the broker publishes no will: after everything queued before is
    /// answered if possible, and without that once the answer timeout is over.
    fn begin_closing(&mut self) {
        self.state = State::Closing;
        self.shared.set_online(None);
        let requests = self.requests.clone();
        let patience = self.options.answer_timeout;
        let (given, acknowledged) = oneshot::channel();
        // A connection closes once; if the task is gone, so is what it would have sent.
        let _ = self.farewell.try_send(given);
        self.tasks.spawn(async move {
            let in_turn = async {
                let _dropped = acknowledged.await;
                requests.disconnect().await;
                std::future::pending::<()>().await;
            };
            let _elapsed = tokio::time::timeout(patience, in_turn).await;
            requests.disconnect_now().await;
            Done::DisconnectQueued
        });
    }

    fn task_done(&mut self, done: Done) -> Result<(), LinkError> {
        match done {
            Done::Subscribed { filters, answers } => {
                self.subscribing = false;
                // Without answers the connection is gone, and the event loop says why.
                if let Some(answers) = answers {
                    self.subscriptions.answered(&filters, answers)?;
                    self.establish_if_subscribed();
                }
                Ok(())
            }
            Done::SubscribeTimedOut => Err(LinkError::Timeout {
                phase: Phase::Subscribe,
            }),
            Done::Acknowledged | Done::DisconnectQueued => Ok(()),
        }
    }

    fn take(&mut self, arrived: Arrived) -> Result<(), LinkError> {
        if arrived.payload.len() > PAYLOAD_BYTES_MAX {
            self.shared.oversize_dropped.fetch_add(1, Relaxed);
            tracing::warn!(
                len = arrived.payload.len(),
                max = PAYLOAD_BYTES_MAX,
                "message dropped"
            );
            if let Some(ack) = arrived.ack {
                let _ends_with_the_connection = self.acks.send(ack);
            }
            return Ok(());
        }
        let topic = String::from_utf8(arrived.topic.into()).map_err(|_| LinkError::Protocol {
            reason: "the topic of a message is not UTF-8".to_owned(),
        })?;
        let acks = &self.acks;
        self.deliver(Message {
            topic,
            payload: arrived.payload,
            qos: arrived.qos,
            retain: arrived.retain,
            receipt: arrived.ack.map(|ack| Receipt {
                ack,
                connection: acks.clone(),
            }),
        });
        Ok(())
    }

    fn deliver(&mut self, message: Message) {
        if !self.held.is_empty() {
            self.held.push_back(message);
            return;
        }
        match self.messages.try_send(message) {
            Ok(()) => {
                self.shared.received.fetch_add(1, Relaxed);
            }
            Err(mpsc::error::TrySendError::Full(message))
                if self.state != State::Closing || self.renewing =>
            {
                self.held.push_back(message);
                self.line.pause(true);
            }
            // Not acknowledged: a broker that keeps the session delivers it again.
            Err(_inbox_gone_or_client_closing) => {
                self.shared.undelivered.fetch_add(1, Relaxed);
            }
        }
    }

    fn deliver_held(&mut self, room: mpsc::Permit<'_, Message>) {
        if let Some(message) = self.held.pop_front() {
            room.send(message);
            self.shared.received.fetch_add(1, Relaxed);
        }
        if self.held.is_empty() {
            self.line.pause(false);
        }
    }

    fn drop_held(&mut self) {
        let count = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        self.shared.undelivered.fetch_add(count, Relaxed);
        self.held.clear();
        self.line.pause(false);
    }
}

/// Sends acknowledgements in the order in which they were given, before the connection's farewell.
async fn acknowledge(
    requests: Requests,
    mut waiting: mpsc::UnboundedReceiver<Ack>,
    mut closing: mpsc::Receiver<oneshot::Sender<()>>,
) -> Done {
    loop {
        tokio::select! {
            biased;
            ack = waiting.recv() => match ack {
                Some(ack) => requests.acknowledge(ack).await,
                None => return Done::Acknowledged,
            },
            Some(given) = closing.recv() => drop(given),
        }
    }
}
