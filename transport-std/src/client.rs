//! The client as its user sees it: publish, subscribe, watch the link, close.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, timeout_at};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use crate::connection::WISHES_MAX;
use crate::credentials::{Credentials, Login};
use crate::driver::{Driver, Stop, Subscribe};
use crate::link_error::LinkError;
use crate::message::{Inbox, Qos};
use crate::options::{ClientOptions, OptionsError, is_topic_name};
use crate::shared::Shared;
use crate::tls::TlsOptions;
use crate::wire::Answer;

/// What the link is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LinkState {
    /// The first attempt to connect, or the one with renewed credentials, is under way.
    Connecting,
    /// The broker has welcomed the client and granted every remembered subscription.
    Connected {
        /// Whether the broker still had the client's session.
        session_present: bool,
    },
    /// There is no connection, for this reason; the client keeps trying.
    Down(LinkError),
    /// The client is closed.
    Closed,
}

/// Starts a client. Checks the options, reads the certificate files and spawns one task; does
/// not wait for the network.
///
/// # Errors
///
/// [`OptionsError`] says which option is wrong.
///
/// # Panics
///
/// Panics outside a tokio runtime.
pub fn connect(options: ClientOptions) -> Result<(Client, Inbox), OptionsError> {
    options.check_values()?;
    let tls = options.tls_config()?;
    if tls.is_none() && options.tls != TlsOptions::default() {
        tracing::warn!(url = %options.url, "the TLS options are unused: the URL is a plain one");
    }
    let options = Arc::new(options);
    let shared = Arc::new(Shared::default());
    let (lifeline, released) = mpsc::channel(1);
    let (messages_in, messages) = mpsc::channel(options.inbound_messages_max);
    let (wishes, wishes_out) = mpsc::channel(WISHES_MAX);
    let (link_in, link) = watch::channel(LinkState::Connecting);
    let (closing, closing_out) = watch::channel(false);
    let (login, login_out) = watch::channel(Login {
        credentials: options.credentials.clone(),
        renewed_until: None,
    });
    tokio::spawn(
        Driver {
            options: Arc::clone(&options),
            tls,
            shared: Arc::clone(&shared),
            link: link_in,
            messages: messages_in,
            wishes: wishes_out,
            login: login_out,
            stop: Stop {
                closing: closing_out,
                released,
            },
        }
        .run(),
    );
    let client = Client {
        publisher: Publisher { options, shared },
        link,
        wishes,
        closing: Arc::new(closing),
        login: Arc::new(login),
        _lifeline: lifeline.clone(),
    };
    let inbox = Inbox {
        messages,
        _lifeline: lifeline,
    };
    Ok((client, inbox))
}

/// A handle to the connection; clones share it. The connection ends when [`close`](Self::close)
/// is called, or when every `Client` and the [`Inbox`] have been dropped.
#[derive(Debug, Clone)]
pub struct Client {
    pub(crate) publisher: Publisher,
    link: watch::Receiver<LinkState>,
    wishes: mpsc::Sender<Subscribe>,
    closing: Arc<watch::Sender<bool>>,
    pub(crate) login: Arc<watch::Sender<Login>>,
    _lifeline: mpsc::Sender<()>,
}

impl Client {
    /// Publishes a message and waits for its fate: at QoS 0 until it is written to the socket,
    /// at QoS 1 and 2 until the broker has acknowledged it. Publishes of one task keep their
    /// order. A future dropped halfway may or may not have sent the message.
    ///
    /// # Errors
    ///
    /// [`PublishError`] says whether the broker can have seen the message; nothing is sent later.
    pub async fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        qos: Qos,
        retain: bool,
    ) -> Result<(), PublishError> {
        self.publisher.publish(topic, payload, qos, retain).await
    }

    /// Subscribes to a topic filter and waits until the broker has granted it, through as many
    /// reconnections as that takes. From then on the filter is subscribed anew on every
    /// connection, also if this future is dropped.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::Refused`] if the broker does not grant it; it is then forgotten.
    pub async fn subscribe(&self, filter: &str, qos: Qos) -> Result<(), SubscribeError> {
        if !is_topic_filter(filter) {
            return Err(SubscribeError::Filter {
                filter: filter.to_owned(),
            });
        }
        let (reply, answer) = oneshot::channel();
        self.wishes
            .send(Subscribe {
                filter: filter.to_owned(),
                qos,
                reply,
            })
            .await
            .map_err(|_| SubscribeError::Closed)?;
        answer.await.unwrap_or(Err(SubscribeError::Closed))
    }

    /// Connects anew with other credentials, such as the next token, at once: what is queued is
    /// answered first, and the subscriptions are subscribed again. A link that is down tries again
    /// without waiting. Until the link is [`LinkState::Connected`] again, publishing fails with
    /// [`PublishError::LinkDown`].
    ///
    /// # Errors
    ///
    /// [`OptionsError::Credential`] when MQTT cannot carry them; nothing changes then.
    pub fn renew_credentials(&self, credentials: Credentials) -> Result<(), OptionsError> {
        credentials.check()?;
        self.login.send_replace(Login {
            credentials: Some(credentials),
            renewed_until: None,
        });
        Ok(())
    }

    /// What the link is doing, now and whenever it changes.
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.link.clone()
    }

    /// What has been counted so far.
    pub fn counters(&self) -> Counters {
        self.publisher.shared.counters()
    }

    /// Sends what is queued, then MQTT's DISCONNECT, so that the broker publishes no will, and
    /// waits until the connection is closed. A broker that does not answer what is queued is
    /// left after the answer timeout. Messages that find no room in the inbox meanwhile are
    /// dropped, counted and not acknowledged.
    pub async fn close(self) {
        self.closing.send_replace(true);
        let mut link = self.link.clone();
        let _closed_or_gone = link.wait_for(|state| *state == LinkState::Closed).await;
    }
}

/// What publishes for a client, and does not keep its connection alive.
#[derive(Debug, Clone)]
pub(crate) struct Publisher {
    options: Arc<ClientOptions>,
    shared: Arc<Shared>,
}

impl Publisher {
    /// See [`Client::publish`].
    pub(crate) async fn publish(
        &self,
        topic: &str,
        payload: Bytes,
        qos: Qos,
        retain: bool,
    ) -> Result<(), PublishError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(PublishError::TooLarge {
                len: payload.len(),
                max: PAYLOAD_BYTES_MAX,
            });
        }
        if !is_topic_name(topic) {
            return Err(PublishError::Topic {
                topic: topic.to_owned(),
            });
        }
        let Some(online) = self.shared.online() else {
            return Err(PublishError::LinkDown);
        };
        let max = online.payload_bytes_max(topic);
        if payload.len() > max {
            return Err(PublishError::TooLarge {
                len: payload.len(),
                max,
            });
        }
        let deadline = Instant::now() + self.options.answer_timeout;
        let queue = online.while_up(online.requests.queue(topic, payload, qos, retain));
        let queued = timeout_at(deadline, queue)
            .await
            .map_err(|_| PublishError::QueueFull {
                max: self.options.outbound_messages_max,
            })?
            .ok_or(PublishError::LinkDown)?;
        match timeout_at(deadline, online.while_up(queued.answer())).await {
            Ok(Some(Answer::Granted)) => Ok(()),
            Ok(Some(Answer::Refused(reason))) => Err(PublishError::Refused { reason }),
            Ok(None) | Err(_) => Err(PublishError::Unconfirmed),
        }
    }
}

fn is_topic_filter(filter: &str) -> bool {
    let levels = || filter.split('/');
    (1..=usize::from(u16::MAX)).contains(&filter.len())
        && !filter.contains('\0')
        && levels().all(|level| level.len() == 1 || !level.contains(['+', '#']))
        && levels().rev().skip(1).all(|level| level != "#")
}

/// What a client has counted since it was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Connections that the broker has welcomed.
    pub connections: u64,
    /// Messages handed to the inbox.
    pub received: u64,
    /// Messages above 131,072 bytes that arrived: acknowledged and dropped.
    pub oversize_dropped: u64,
    /// Messages that arrived after the [`Inbox`] was dropped, or that found it full while the
    /// client was closing: dropped and not acknowledged.
    pub undelivered: u64,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The payload is larger than the protocol, or this broker, allows. Nothing was sent.
    #[error("the message has {len} bytes, {max} is the most")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The limit in bytes.
        max: usize,
    },
    /// The topic is empty, too long, or has a wildcard. Nothing was sent.
    #[error("{topic:?} is not a topic: it is empty, too long, or has a wildcard")]
    Topic {
        /// The topic.
        topic: String,
    },
    /// There is no connection. Nothing was sent: keep the message and publish it once
    /// [`Client::link`] says connected.
    #[error("the link to the broker is down, the message was not sent")]
    LinkDown,
    /// The queue had no room for the whole answer timeout, because the broker is slow to read or
    /// to acknowledge. Nothing was sent.
    #[error("{max} messages wait to be sent already, and none of them got through in time")]
    QueueFull {
        /// The bound in messages.
        max: usize,
    },
    /// The link went down, or the broker stayed silent, before it acknowledged the message. The
    /// broker may or may not have it.
    #[error("the broker did not acknowledge the message, which it may or may not have received")]
    Unconfirmed,
    /// The broker refused the message.
    #[error("the broker refused the message: {reason}")]
    Refused {
        /// The MQTT 5 reason code.
        reason: String,
    },
}

/// Why a filter is not subscribed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubscribeError {
    /// The filter is empty, too long, or has a misplaced wildcard.
    #[error("{filter:?} is not a topic filter: it is empty, too long, or has a misplaced wildcard")]
    Filter {
        /// The filter.
        filter: String,
    },
    /// The broker does not grant it.
    #[error("the broker refused the subscription: {reason}")]
    Refused {
        /// The reason code.
        reason: String,
    },
    /// The client has its bound of filters.
    #[error("the client has {max} subscriptions already")]
    TooMany {
        /// The bound.
        max: usize,
    },
    /// The client is closed.
    #[error("the client is closed")]
    Closed,
}
