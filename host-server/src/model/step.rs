//! The steps in the life of a message for a vehicle.

use vinbus_protocol::delivery;

/// One step in the life of a downlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// It is on disk and was answered 202.
    Accepted,
    /// The vehicle is offline; it waits.
    Held,
    /// It was handed to the broker while the vehicle was subscribed.
    Sent,
    /// The broker can never carry it, as its log says; it will not be sent.
    Rejected,
    /// Its time was over before the vehicle answered; it will not be sent.
    Expired,
    /// The vehicle left so many messages without a last word that this one is followed no longer.
    GivenUp,
    /// The vehicle, or this server, lost what it knew of the message while the vehicle had it, or may have
    /// had it; it will not be sent again.
    PeerRestarted,
    /// The same of a message that may be repeated: it waits to be sent once more.
    SentAgain,
    /// It is a request, and the vehicle answers none; it will not be sent.
    Unsupported,
    /// A newer one of its key took its place before it was sent.
    Superseded,
    /// What the vehicle told of it.
    Told(delivery::Step),
}

impl Step {
    /// Every step.
    pub const ALL: [Self; 29] = [
        Self::Accepted,
        Self::Held,
        Self::Sent,
        Self::Rejected,
        Self::Expired,
        Self::GivenUp,
        Self::PeerRestarted,
        Self::SentAgain,
        Self::Unsupported,
        Self::Superseded,
        Self::Told(delivery::Step::Known),
        Self::Told(delivery::Step::Received),
        Self::Told(delivery::Step::HeldBackground),
        Self::Told(delivery::Step::HeldPrivacy),
        Self::Told(delivery::Step::Handed),
        Self::Told(delivery::Step::Taken),
        Self::Told(delivery::Step::Confirmed),
        Self::Told(delivery::Step::Evicted),
        Self::Told(delivery::Step::UnknownApp),
        Self::Told(delivery::Step::TooLarge),
        Self::Told(delivery::Step::BadContent),
        Self::Told(delivery::Step::Denied),
        Self::Told(delivery::Step::RefusedByApp),
        Self::Told(delivery::Step::PartStored),
        Self::Told(delivery::Step::PartMissing),
        Self::Told(delivery::Step::Answered),
        Self::Told(delivery::Step::NotThere),
        Self::Told(delivery::Step::Cancelled),
        Self::Told(delivery::Step::Busy),
    ];

    /// What a vehicle told. That a message has expired is the same wherever it has.
    #[must_use]
    pub const fn told(step: delivery::Step) -> Self {
        match step {
            delivery::Step::Expired => Self::Expired,
            step => Self::Told(step),
        }
    }

    /// Its stable name, for REST, the command line, logs and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Held => "held",
            Self::Sent => "sent",
            Self::Rejected => "rejected",
            Self::Expired => "expired",
            Self::GivenUp => "given_up",
            Self::PeerRestarted => "peer_restarted",
            Self::SentAgain => "sent_again",
            Self::Unsupported => "unsupported",
            Self::Superseded => "superseded",
            Self::Told(step) => step.name(),
        }
    }

    /// Whether nothing follows it of a message with receipts.
    #[must_use]
    pub const fn is_final(self) -> bool {
        match self {
            Self::Accepted | Self::Held | Self::Sent | Self::SentAgain => false,
            Self::Rejected
            | Self::Expired
            | Self::GivenUp
            | Self::PeerRestarted
            | Self::Unsupported
            | Self::Superseded => true,
            // More parts follow, or all of them again.
            Self::Told(delivery::Step::PartStored | delivery::Step::PartMissing) => false,
            Self::Told(step) => step.is_final(),
        }
    }
}

/// Why nobody knows what became of a request, by the name of its last step.
pub(crate) fn lost_request(step: &str) -> &'static str {
    match step {
        "given_up" => {
            "the vehicle never said what became of the request: the app may have begun with it or \
             not, and it is not sent again"
        }
        _ => {
            "the vehicle started again while it had the request: the app may have begun with it or \
             not, and it is not sent again"
        }
    }
}
