//! Why a token is not accepted.

use std::time::Duration;

use super::jws::{Algorithm, TOKEN_BYTES_MAX};
use crate::identity::IdentityError;

/// Why a token is not accepted: for the log, and for `host-server token show`. A peer is told no more
/// than that it was not.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It is too long to be looked at.
    #[error("the token has {bytes} bytes, at most {TOKEN_BYTES_MAX} are looked at")]
    TooLong {
        /// Bytes of the token.
        bytes: usize,
    },
    /// It is no JSON Web Token, or lacks what ours say.
    #[error("it is no token of three parts with the claims that the bus needs")]
    Malformed,
    /// It says that it is signed in another way than its key signs.
    #[error("it is not signed with {}, the algorithm of its key", wanted.name())]
    Algorithm {
        /// How its key signs.
        wanted: Algorithm,
    },
    /// No key has the name that it gives.
    #[error(
        "no key of its issuer has the name (kid) that it gives; keys that are over are forgotten"
    )]
    UnknownKey,
    /// The signature is not of its key.
    #[error("its signature is not of its key")]
    Signature,
    /// It is over.
    #[error("it expired {} s ago", ago.as_secs())]
    Expired {
        /// Since when.
        ago: Duration,
    },
    /// It is of the future.
    #[error("it is valid in {} s only; do the clocks agree?", after.as_secs())]
    NotYetValid {
        /// Time until then.
        after: Duration,
    },
    /// Nobody that we trust has issued it.
    #[error("its issuer (iss) is neither this server nor the one of --trusted-issuer")]
    Issuer,
    /// It is for somebody else.
    #[error("it is for another audience (aud)")]
    Audience,
    /// It is of another kind: a refresh token where an access token belongs, or the reverse.
    #[error("it is not a token of the type {wanted} (typ)")]
    Kind {
        /// What is wanted.
        wanted: &'static str,
    },
    /// Its client is not, or no longer, known here.
    #[error("no client of this server is the one that it is for (azp and appId)")]
    UnknownClient,
    /// Its client may do nothing for now.
    #[error("its client is disabled")]
    Disabled,
    /// It was issued before its client's tokens were revoked.
    #[error("it was revoked")]
    Revoked,
    /// The keys of the trusted issuer cannot be had.
    #[error("the keys of the trusted issuer cannot be read: {detail}")]
    Keys {
        /// Why not.
        detail: String,
    },
}

/// Why the tokens of a server cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// Our own keys cannot be read or made.
    #[error(transparent)]
    Own(#[from] IdentityError),
    /// The keys of the trusted issuer cannot be read.
    #[error("--trusted-jwks cannot be used: {detail}")]
    Trusted {
        /// Why not.
        detail: String,
    },
}
