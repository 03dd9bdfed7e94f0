//! The client of the bus as its user sees it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use vinbus_protocol::bus::{BuildError, TopicSpec};

use super::keeper::{Keeper, Login, TokenState};
use super::token::Tokens;
use super::{BusInbox, BusOptions, TokenError};
use crate::client::{Client, LinkState, PublishError, SubscribeError, connect};
use crate::message::Qos;
use crate::options::OptionsError;

/// A publish waits this long while the first connection, or one with a new token, is made.
const CONNECTING_TIME_MAX: Duration = Duration::from_secs(10);

/// A handle to a connection to the bus; clones share it. The connection ends when
/// [`close`](Self::close) is called, or when every `BusClient` and the [`BusInbox`] are dropped.
#[derive(Debug, Clone)]
pub struct BusClient {
    client: Client,
    app_id: Arc<str>,
    qos: Qos,
    token: watch::Receiver<TokenState>,
    shared: Arc<Shared>,
}

/// What client, inbox and keeper share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    session: Mutex<Option<String>>,
    pub(super) tokens: AtomicU64,
    pub(super) token_failures: AtomicU64,
    pub(super) other_session: AtomicU64,
}

impl Shared {
    pub(super) fn session(&self) -> Option<String> {
        self.session
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

/// What a client of the bus has counted, beside [`Counters`](crate::Counters).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusCounters {
    /// Tokens that the platform has given.
    pub tokens: u64,
    /// Attempts to get one that failed.
    pub token_failures: u64,
    /// Messages of other sessions that were passed over.
    pub other_session: u64,
}

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// An option is wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The platform gave no token.
    #[error("{0}: {advice}", advice = .0.advice())]
    Token(#[from] TokenError),
    /// This system cannot make HTTP requests.
    #[error("HTTP requests are not possible: {reason}")]
    Http {
        /// Why.
        reason: String,
    },
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusPublishError {
    /// The variables do not make a topic.
    #[error(transparent)]
    Topic(#[from] BuildError),
    /// It was not sent, or not acknowledged.
    #[error(transparent)]
    Publish(#[from] PublishError),
}

/// Why a filter is not subscribed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusSubscribeError {
    /// The variables do not make a filter.
    #[error(transparent)]
    Filter(#[from] BuildError),
    /// The platform does not grant it, or cannot.
    #[error(transparent)]
    Subscribe(#[from] SubscribeError),
}

impl BusClient {
    /// Gets a token and starts to connect with it; one task keeps the token fresh from then on. Does
    /// not wait for the broker: subscribing and publishing do.
    ///
    /// # Errors
    /// A [`BusError`]: a wrong option, or no token. Whether it makes sense to try again,
    /// [`TokenError::is_transient`] says.
    ///
    /// # Panics
    /// Panics outside a tokio runtime.
    pub async fn connect(options: BusOptions) -> Result<(Self, BusInbox), BusError> {
        options.mqtt.check()?;
        let tokens = Tokens::new(&options)?;
        let token = tokens.fetch().await?;
        let offers_tokens = options.offers_tokens();
        let mqtt = options.mqtt.credentials(&token.access, &options.password);
        let (client, inbox) = connect(mqtt)?;
        let shared = Arc::new(Shared {
            session: Mutex::new(options.session_id),
            tokens: AtomicU64::new(1),
            ..Shared::default()
        });
        let login = Login {
            password: options.password,
            offers_tokens,
        };
        let state = Keeper::start(tokens, token, login, &client, &shared);
        let bus = Self {
            client,
            app_id: options.app_id.into(),
            qos: options.qos,
            token: state,
            shared: Arc::clone(&shared),
        };
        Ok((bus, BusInbox { inbox, shared }))
    }

    /// Publishes on a topic of the map; `appId` need not be among the variables. Waits for the
    /// platform's acknowledgement, and before that for a connection that is just being made.
    ///
    /// # Errors
    /// A [`BusPublishError`] says whether the platform can have seen the message; nothing is sent
    /// later.
    pub async fn publish(
        &self,
        spec: &TopicSpec,
        variables: &[(&str, &str)],
        payload: Bytes,
    ) -> Result<(), BusPublishError> {
        let topic = spec.topic(&self.with_app(spec, variables))?;
        Ok(self.publish_on(&topic, payload).await?)
    }

    /// The same on any topic, as [`Owner::topic`](vinbus_protocol::bus::Owner::topic) builds it.
    ///
    /// # Errors
    /// As those of [`Client::publish`].
    pub async fn publish_on(&self, topic: &str, payload: Bytes) -> Result<(), PublishError> {
        let deadline = Instant::now() + CONNECTING_TIME_MAX;
        loop {
            let published = self
                .client
                .publish(topic, payload.clone(), self.qos, false)
                .await;
            if published != Err(PublishError::LinkDown) {
                return published;
            }
            let mut link = self.client.link();
            let made = link.wait_for(|state| *state != LinkState::Connecting);
            match timeout_at(deadline, made).await {
                Ok(Ok(state)) if matches!(*state, LinkState::Connected { .. }) => {}
                _ => return published,
            }
        }
    }

    /// Subscribes to a topic of the map, with any value of those variables that are not given;
    /// `appId` is the client's own. Waits until the platform has granted it, through as many
    /// reconnections as that takes; every later connection has it again.
    ///
    /// # Errors
    /// A [`BusSubscribeError`] if the platform does not grant it.
    pub async fn subscribe(
        &self,
        spec: &TopicSpec,
        variables: &[(&str, &str)],
    ) -> Result<(), BusSubscribeError> {
        let filter = spec.filter(&self.with_app(spec, variables))?;
        Ok(self.subscribe_to(&filter).await?)
    }

    /// The same for any filter, a shared subscription's too.
    ///
    /// # Errors
    /// As those of [`Client::subscribe`].
    pub async fn subscribe_to(&self, filter: &str) -> Result<(), SubscribeError> {
        self.client.subscribe(filter, self.qos).await
    }

    /// From now on, passes over messages that name another session than this one in their payload or
    /// topic; with `None`, over none.
    pub fn set_session(&self, session_id: Option<&str>) {
        let mut session = self
            .shared
            .session
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *session = session_id.map(str::to_owned);
    }

    /// What the link is doing, now and whenever it changes.
    pub fn link(&self) -> watch::Receiver<LinkState> {
        self.client.link()
    }

    /// How it is with the token, now and whenever it changes.
    pub fn token(&self) -> watch::Receiver<TokenState> {
        self.token.clone()
    }

    /// What has been counted so far.
    pub fn counters(&self) -> BusCounters {
        BusCounters {
            tokens: self.shared.tokens.load(Relaxed),
            token_failures: self.shared.token_failures.load(Relaxed),
            other_session: self.shared.other_session.load(Relaxed),
        }
    }

    /// The MQTT client below, for its counters.
    pub fn mqtt(&self) -> &Client {
        &self.client
    }

    /// Takes leave in good order; see [`Client::close`].
    pub async fn close(self) {
        self.client.close().await;
    }

    fn with_app<'a>(
        &'a self,
        spec: &TopicSpec,
        variables: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let own = spec
            .variables()
            .find(|name| *name == "appId")
            .map(|name| (name, &*self.app_id));
        variables.iter().copied().chain(own).collect()
    }
}
