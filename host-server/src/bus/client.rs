//! A client of the bus: its names, what it may do, and since when.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use super::{Permissions, uuid};
use crate::identity::IdentityError;

/// Longest name, in bytes: two of them and a hyphen make the `azp` of a token.
const NAME_BYTES_MAX: usize = 64;

/// The id of an app or of a client of it: 1 to 64 bytes that may stand in a level of a topic.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientName(Arc<str>);

/// Why a text is no [`ClientName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty, or has too many bytes.
    #[error("it has {bytes} bytes; 1 to {NAME_BYTES_MAX} are allowed")]
    Length {
        /// Bytes of the text.
        bytes: usize,
    },
    /// It has a character that cannot stand in a topic or in a URL.
    #[error(
        "the character {character:?} is not allowed; use letters, digits, `-`, `_`, `.`, `~`, `:` and `@`"
    )]
    Character {
        /// The first of them.
        character: char,
    },
}

impl ClientName {
    /// Parses a name.
    ///
    /// # Errors
    /// A [`NameError`].
    pub fn parse(text: &str) -> Result<Self, NameError> {
        if text.is_empty() || text.len() > NAME_BYTES_MAX {
            return Err(NameError::Length { bytes: text.len() });
        }
        let allowed = |c: char| c.is_alphanumeric() || "-_.~:@".contains(c);
        match text.chars().find(|&c| !allowed(c)) {
            Some(character) => Err(NameError::Character { character }),
            None => Ok(Self(text.into())),
        }
    }

    /// A name that nobody else has.
    ///
    /// # Errors
    /// [`IdentityError::NoRandomness`].
    pub fn random() -> Result<Self, IdentityError> {
        uuid::random().map(|uuid| Self(uuid.into()))
    }

    /// The name as it is shared.
    pub(super) fn shared(&self) -> &Arc<str> {
        &self.0
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for ClientName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        Self::parse(text)
    }
}

impl fmt::Display for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ClientName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientName({})", self.0)
    }
}

/// Names one client: an app, and a client of it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey {
    /// The app.
    pub app: ClientName,
    /// The client within the app.
    pub client: ClientName,
}

impl ClientKey {
    /// What the token of this client says in `azp`, as the SERMAS platform writes it.
    #[must_use]
    pub fn composite(&self) -> String {
        format!("{}-{}", self.app, self.client)
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.app, self.client)
    }
}

/// What is known of a client.
#[derive(Clone, PartialEq, Eq)]
pub struct BusClient {
    /// Its names.
    pub key: ClientKey,
    /// A name for people.
    pub name: Option<String>,
    /// Names this client for ever, the `sub` of its tokens; one that is made anew under the same key
    /// has another.
    pub subject: String,
    /// The hash of its secret.
    pub secret_argon2id: String,
    /// What it may do.
    pub permissions: Arc<Permissions>,
    /// It may do nothing for now.
    pub disabled: bool,
    /// How often its tokens were revoked. Ours say it, and count as long as it is the same: no clock
    /// that was wrong can make one outlive that.
    pub generation: u64,
    /// Tokens that do not say a generation, as those of another issuer, are not accepted when they were
    /// issued until then, in seconds since 1970.
    pub revoked_until: u64,
    /// When it was made.
    pub created_at: SystemTime,
    /// When it was last changed.
    pub changed_at: SystemTime,
    /// How often it was changed since this process has it: tells which decisions are of before.
    pub changes: u64,
}

impl fmt::Debug for BusClient {
    /// Without the hash.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BusClient")
            .field("key", &self.key)
            .field("permissions", &self.permissions)
            .field("disabled", &self.disabled)
            .finish_non_exhaustive()
    }
}
