//! The task that keeps a client's token fresh.
//!
//! It holds no handle of the client, so that dropping all of those ends the connection, and with it
//! this task.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use vinbus_protocol::backoff::Backoff;
use vinbus_protocol::bus::RENEWAL_TOPIC;

use super::TokenError;
use super::client::Shared;
use super::token::{Token, Tokens};
use crate::client::{Client, LinkState, Publisher};
use crate::credentials::{Credentials, Login as MqttLogin};
use crate::driver::random;
use crate::link_error::LinkError;
use crate::message::Qos;

/// A token that worked this long was a good one: the pauses before the next begin anew.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// How it is with the token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenState {
    /// There is one, until then.
    Valid {
        /// When it expires, by the platform's word.
        expires_at: Instant,
    },
    /// The last attempt to renew it failed; it is tried again.
    Failing(TokenError),
}

/// How a token is used.
pub(super) struct Login {
    /// What goes with it.
    pub(super) password: String,
    /// Whether the running session is offered a new one.
    pub(super) offers_tokens: bool,
}

impl Login {
    /// What the broker is shown with this token.
    fn with(&self, token: &Token) -> MqttLogin {
        MqttLogin {
            credentials: Some(Credentials {
                user_name: token.access.clone(),
                password: self.password.clone(),
            }),
            renewed_until: Some(token.expires_at()),
        }
    }
}

/// See the module.
pub(super) struct Keeper {
    tokens: Tokens,
    token: Token,
    login: Login,
    publisher: Publisher,
    mqtt: Arc<watch::Sender<MqttLogin>>,
    link: watch::Receiver<LinkState>,
    state: watch::Sender<TokenState>,
    shared: Arc<Shared>,
    pauses: Backoff,
}

/// What made the keeper stir.
enum Stirred {
    /// The token is to be renewed.
    Due,
    /// The platform refused the token, or ended the connection because of it.
    Refused,
    /// The client is closed.
    Closed,
    /// The link changed in another way.
    LinkChanged,
}

impl Keeper {
    pub(super) fn start(
        tokens: Tokens,
        token: Token,
        login: Login,
        client: &Client,
        shared: &Arc<Shared>,
    ) -> watch::Receiver<TokenState> {
        let expires_at = token.expires_at();
        // The first connection has this token already.
        client.login.send_if_modified(|current| {
            *current = login.with(&token);
            false
        });
        let (state, states) = watch::channel(TokenState::Valid { expires_at });
        let keeper = Self {
            tokens,
            token,
            login,
            publisher: client.publisher.clone(),
            mqtt: Arc::clone(&client.login),
            link: client.link(),
            state,
            shared: Arc::clone(shared),
            pauses: Backoff::default(),
        };
        tokio::spawn(keeper.run());
        states
    }

    async fn run(mut self) {
        let mut due = self.token.renewal(random());
        loop {
            match self.stirred(due).await {
                Stirred::Closed => return,
                Stirred::LinkChanged => {}
                Stirred::Refused => due = due.min(self.after_a_pause()),
                Stirred::Due => {
                    let link = self.link.clone();
                    tokio::select! {
                        next = self.renew() => due = next,
                        () = closed(link) => return,
                    }
                }
            }
        }
    }

    async fn stirred(&mut self, due: Instant) -> Stirred {
        tokio::select! {
            () = sleep_until(due) => Stirred::Due,
            changed = self.link.changed() => match (changed, &*self.link.borrow_and_update()) {
                (Err(_), _) | (_, LinkState::Closed) => Stirred::Closed,
                (_, LinkState::Down(LinkError::BadCredentials | LinkError::NotAuthorized)) => {
                    Stirred::Refused
                }
                _ => Stirred::LinkChanged,
            },
        }
    }

    /// Gets a new token and puts it to use, or notes why there is none; returns when to come again.
    async fn renew(&mut self) -> Instant {
        match self.tokens.renew(&self.token).await {
            Ok(token) => {
                self.put_to_use(&token).await;
                let expires_at = token.expires_at();
                self.token = token;
                self.shared.tokens.fetch_add(1, Relaxed);
                self.state.send_replace(TokenState::Valid { expires_at });
                self.token.renewal(random())
            }
            Err(error) => {
                let advice = error.advice();
                tracing::warn!(%error, advice, "the token of the bus is not renewed");
                let next = self.after_a_pause();
                self.shared.token_failures.fetch_add(1, Relaxed);
                self.state.send_replace(TokenState::Failing(error));
                next
            }
        }
    }

    /// In the session that runs, if the platform takes it there, and else on another connection.
    async fn put_to_use(&self, token: &Token) {
        let login = self.login.with(token);
        let taken = self.login.offers_tokens && {
            let token = token.access.clone().into();
            let offer = self
                .publisher
                .publish(RENEWAL_TOPIC, token, Qos::AtLeastOnce, false);
            offer.await.is_ok()
        };
        self.mqtt.send_if_modified(|current| {
            *current = login;
            // Whoever is told connects anew.
            !taken
        });
    }

    /// When to come again after trouble: later and later, until a token has worked for a while.
    fn after_a_pause(&mut self) -> Instant {
        let worked = matches!(*self.state.borrow(), TokenState::Valid { .. });
        if worked && self.token.age() > STABLE_AFTER {
            self.pauses.reset();
        }
        let pause = self.pauses.next_delay_ms(random());
        Instant::now() + Duration::from_millis(u64::from(pause))
    }
}

/// Waits until the client is closed.
async fn closed(mut link: watch::Receiver<LinkState>) {
    let _closed_or_gone = link.wait_for(|state| *state == LinkState::Closed).await;
}
