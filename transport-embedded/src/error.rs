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
    /// The broker refuses this client: its credentials or its id are wrong.
    Refused,
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
            Self::Refused => "the broker refuses this client: check credentials and client id",
            Self::Protocol => "the peer does not speak MQTT 5",
            Self::Stream => "the stream to the broker broke",
            Self::Buffers => "the buffers are too small to connect or to subscribe",
        })
    }
}

impl core::error::Error for ConnectError {}

impl<E> From<minimq::Error<E>> for ConnectError {
    fn from(error: minimq::Error<E>) -> Self {
        use minimq::{Error, PeerError};
        match error {
            Error::Peer(PeerError::Rejected(_)) => Self::Refused,
            Error::Peer(_) => Self::Protocol,
            Error::Resource(_) | Error::InvalidRequest | Error::NotReady => Self::Buffers,
            // Transport errors, and those that a later minimq may add.
            _ => Self::Stream,
        }
    }
}

/// The connection is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// It broke, or the broker ended it.
    Broken,
    /// The broker did not answer in time.
    Silent,
    /// The broker refused a filter, so that messages would be missed.
    SubscriptionRefused,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broken => "the connection to the broker is over",
            Self::Silent => "the broker did not answer in time",
            Self::SubscriptionRefused => {
                "the broker refused a subscription: check what this client may listen to"
            }
        })
    }
}

impl core::error::Error for Lost {}
