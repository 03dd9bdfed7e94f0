//! The bus: topics for programs of an app's modules, which come with a token instead of a
//! certificate (SPEC 14).
//!
//! [`Clients`] knows who there is and what each may do, [`Tokens`] proves who somebody is, [`BusRules`]
//! say who may do what on which topic. [`Bus`] has them all, and tells of what happens to clients.

mod announcement;
mod client;
mod clients;
mod permissions;
mod rules;
mod token;
mod uuid;

#[cfg(test)]
mod tests;

pub(crate) use announcement::announcement;
pub use client::{BusClient, ClientKey, ClientName, NameError};
pub use clients::{ClientChange, ClientError, ClientStore, Clients, NewClient};
pub use permissions::{PermissionError, Permissions};
pub use rules::{Allowance, BusRules, expiry_topic, is_of_bus};
pub use token::{
    Algorithm, BusIdentity, Issued, JwkSet, KEYS_FETCH_PAUSE, KeyError, KeySource, KeyUrlError,
    TOKEN_SCOPE, TokenError, TokenKind, TokenSettings, Tokens, TrustedIssuer, shown,
};
pub use vinbus_protocol::bus::RENEWAL_TOPIC;

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::broadcast;

use crate::identity::Credentials;
use crate::store::StoreError;

/// Events that wait for whoever listens; a listener that is slower misses the oldest.
const EVENTS_MAX: usize = 1024;

/// How often it is looked whether a new key is due.
const ROTATION_LOOK: Duration = Duration::from_secs(60);

/// What of a bus is a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BusSettings {
    /// How tokens are made, and which are accepted.
    pub tokens: TokenSettings,
    /// Whether a topic without a scope is taken.
    pub lenient: bool,
}

/// Clients, their tokens, and what happens to them.
pub struct Bus {
    /// Who there is.
    pub clients: Arc<Clients>,
    /// Who somebody is.
    pub tokens: Arc<Tokens>,
    /// Who may do what.
    pub rules: BusRules,
    events: broadcast::Sender<BusEvent>,
}

/// Something that a listener may want to know.
#[derive(Clone, Debug)]
pub enum BusEvent {
    /// A client got a token.
    TokenIssued {
        /// The client.
        key: ClientKey,
        /// Whether it was an access token, or one instead of another that was refreshed.
        kind: TokenKind,
    },
    /// A client was made, changed or removed.
    ClientChanged {
        /// What was done.
        operation: Operation,
        /// The client as it is now, or was.
        client: Arc<BusClient>,
    },
}

/// What was done to a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// It is new.
    Created,
    /// It is another now.
    Updated,
    /// It is gone.
    Deleted,
}

/// Why there is no bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The clients cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The keys of tokens cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyError),
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus").finish_non_exhaustive()
    }
}

impl Bus {
    /// Loads the clients and the keys of a data folder. Must be called inside a tokio runtime, where
    /// the keys are rotated as long as the bus lives.
    ///
    /// # Errors
    /// A [`BusError`].
    pub fn open(
        data_dir: &Path,
        store: Arc<dyn ClientStore>,
        credentials: Arc<Credentials>,
        settings: BusSettings,
    ) -> Result<Self, BusError> {
        let events = broadcast::Sender::new(EVENTS_MAX);
        let clients = Arc::new(Clients::load(store, credentials, events.clone())?);
        let tokens = Arc::new(Tokens::open(
            data_dir,
            settings.tokens,
            Arc::clone(&clients),
        )?);
        tokio::spawn(rotate(Arc::downgrade(&tokens)));
        Ok(Self {
            clients,
            tokens,
            rules: BusRules::new(settings.lenient),
            events,
        })
    }

    /// What happens from now on.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<BusEvent> {
        self.events.subscribe()
    }

    /// Tells that a client got a token.
    pub(crate) fn token_issued(&self, key: ClientKey, kind: TokenKind) {
        // Nobody has to listen.
        let _ = self.events.send(BusEvent::TokenIssued { key, kind });
    }
}

/// Makes new keys as they become due, until the tokens are gone.
async fn rotate(tokens: std::sync::Weak<Tokens>) {
    let mut looks = tokio::time::interval(ROTATION_LOOK);
    loop {
        looks.tick().await;
        let Some(tokens) = tokens.upgrade() else {
            return;
        };
        let rotated = tokio::task::spawn_blocking(move || tokens.rotate_if_due()).await;
        if let Ok(Err(error)) = rotated {
            tracing::error!(%error, "no new key for tokens; the present one stays in use");
        }
    }
}
