//! What can go wrong, by who must act.

use core::fmt;

/// A setting is wrong: the firmware's author or the provisioning has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionsError {
    /// The client id has more than 64 bytes.
    ClientId,
    /// The will's topic has more than 128 bytes.
    WillTopic,
    /// A setting that minimq refuses for another reason.
    Other,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ClientId => "the client id has more than 64 bytes",
            Self::WillTopic => "the will's topic has more than 128 bytes: shorten prefix or UID",
            Self::Other => "minimq refuses the settings",
        })
    }
}

impl core::error::Error for OptionsError {}

/// A connection did not come up; to be tried again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectError {
    /// The broker did not answer in time.
    Timeout,
    /// The broker refuses the user name or the password.
    BadCredentials,
    /// The broker does not authorize this client.
    NotAuthorized,
    /// The broker refuses the client id.
    ClientId,
    /// The broker is busy or shutting down.
    Unavailable,
    /// The broker refuses this client for another reason.
    Refused,
    /// The broker refuses a subscription.
    SubscriptionRefused,
    /// The broker did not answer a subscription in time.
    SubscriptionUnconfirmed,
    /// The peer does not speak MQTT 5.
    Protocol,
    /// The stream broke.
    Stream,
    /// The buffers are too small to connect or to subscribe.
    Buffers,
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "the broker did not answer in time",
            Self::BadCredentials => "the broker refuses the user name or the password",
            Self::NotAuthorized => "the broker does not authorize this client",
            Self::ClientId => "the broker refuses the client id",
            Self::Unavailable => "the broker is busy or shutting down",
            Self::Refused => "the broker refuses this client",
            Self::SubscriptionRefused => "the broker refuses a subscription",
            Self::SubscriptionUnconfirmed => "the broker did not confirm a subscription in time",
            Self::Protocol => "the peer does not speak MQTT 5",
            Self::Stream => "the stream to the broker broke",
            Self::Buffers => "the buffers are too small to connect or to subscribe",
        })
    }
}

impl core::error::Error for ConnectError {}

impl ConnectError {
    /// What to do about it.
    #[must_use]
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Timeout => {
                "check that the port speaks MQTT (or TLS, if this is a plain stream) and that the broker is healthy"
            }
            Self::BadCredentials => "check the user name and password",
            Self::NotAuthorized => {
                "ask the broker's operator to authorize this user name, certificate and client id"
            }
            Self::ClientId => "choose another client id",
            Self::Unavailable => "wait, and dial again",
            Self::Refused => "see the broker's log",
            Self::SubscriptionRefused => "ask the broker's operator to allow the topic filters",
            Self::SubscriptionUnconfirmed => "see the broker's log; dial again",
            Self::Protocol => "check that the host and port are those of an MQTT 5 broker",
            Self::Stream => "dial again; if it goes on, see the broker's log",
            Self::Buffers => "give the session larger buffers, or fewer subscriptions",
        }
    }
}

impl<E> From<minimq::Error<E>> for ConnectError {
    fn from(error: minimq::Error<E>) -> Self {
        use minimq::{Error, PeerError, ReasonCode};
        match error {
            Error::Peer(PeerError::Rejected(reason)) => match reason {
                ReasonCode::BadUsernameOrPassword | ReasonCode::BadAuthMethod => {
                    Self::BadCredentials
                }
                ReasonCode::NotAuthorized => Self::NotAuthorized,
                ReasonCode::ClientIdentifierInvalid => Self::ClientId,
                ReasonCode::ServerUnavailable
                | ReasonCode::ServerBusy
                | ReasonCode::QuotaExceeded
                | ReasonCode::ConnectionRateExceeded => Self::Unavailable,
                _ => Self::Refused,
            },
            Error::Peer(_) => Self::Protocol,
            Error::Resource(_) | Error::InvalidRequest | Error::NotReady => Self::Buffers,
            // Transport errors, and those that a later minimq may add.
            _ => Self::Stream,
        }
    }
}

/// The connection is over, or has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// The broker or the network ended it, or the broker does not keep to the protocol.
    Broken,
    /// The broker refuses a subscription.
    SubscriptionRefused,
    /// The broker did not answer a subscription in time.
    SubscriptionUnconfirmed,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "the connection to the broker is over",
            Self::SubscriptionRefused => "the broker refuses a subscription",
            Self::SubscriptionUnconfirmed => "the broker did not confirm a subscription in time",
        })
    }
}

impl core::error::Error for Lost {}
