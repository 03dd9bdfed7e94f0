//! Why there is no token, told apart by who must act, each with advice.

/// Why the platform gave no token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Nobody answers.
    #[error("{url} cannot be reached: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What the system said.
        reason: String,
    },
    /// The request lacks something (400).
    #[error("{url} does not take the request: {message}")]
    BadRequest {
        /// What was asked.
        url: String,
        /// What the platform said.
        message: String,
    },
    /// The secret, or the refresh token, is wrong (401).
    #[error("{url} does not know these credentials: {message}")]
    Unauthorized {
        /// What was asked.
        url: String,
        /// What the platform said.
        message: String,
    },
    /// The client may not have a token (403).
    #[error("{url} forbids it: {message}")]
    Forbidden {
        /// What was asked.
        url: String,
        /// What the platform said.
        message: String,
    },
    /// There is no such client, or no platform at all (404).
    #[error("{url} is not found: {message}")]
    NotFound {
        /// What was asked.
        url: String,
        /// What the platform said.
        message: String,
    },
    /// The platform is busy or broken (429, 5xx), or answers with another status.
    #[error("{url} answers {status}: {message}")]
    Failed {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// What the platform said.
        message: String,
    },
    /// The answer is not a token.
    #[error("{url} answers with something else than a token: {reason}")]
    NoToken {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl TokenError {
    /// Whether the same request may be answered later.
    #[must_use]
    pub const fn is_transient(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Failed { .. })
    }

    /// Whether the platform has answered, and not only that it is asked too often: another way to a token
    /// may work.
    pub(super) const fn is_answer(&self) -> bool {
        !matches!(
            self,
            Self::Unreachable { .. } | Self::Failed { status: 429, .. }
        )
    }

    /// What the person who runs the client can do about it.
    #[must_use]
    pub const fn advice(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => {
                "check the platform's address, the network, and that the platform is running"
            }
            Self::BadRequest { .. } => "check that the app id and the client id are not empty",
            Self::Unauthorized { .. } => {
                "check the client's secret: the platform shows it once, when the client is made"
            }
            Self::Forbidden { .. } => "ask the platform's administrator to allow this client",
            Self::NotFound { .. } => {
                "check the platform's address, the app id and the client id; the administrator \
                 makes clients"
            }
            Self::Failed { .. } => "wait: it is tried again; see the platform's log if it goes on",
            Self::NoToken { .. } => "check that the address is a platform's and not of a proxy",
        }
    }
}
