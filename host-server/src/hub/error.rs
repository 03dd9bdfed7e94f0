//! What the hub refuses.

use vinbus_protocol::id::{Uid, Vin};

use crate::store::StoreError;

/// Why a message for a vehicle was not accepted. Nothing of it remains.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubmitError {
    /// The envelope is larger than a message may be.
    #[error("the message has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes of the encoded envelope.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The vehicle has said that it takes less.
    #[error(
        "the message has {len} bytes, vehicle {vin} announced that it takes at most {max} in one message"
    )]
    VehicleTakesLess {
        /// The vehicle.
        vin: Vin,
        /// Bytes of the content, or of the envelope for a vehicle that takes no parts.
        len: usize,
        /// What the vehicle takes of them.
        max: usize,
    },
    /// The partner has as many unsent messages for the vehicle as it may.
    #[error(
        "{max} messages wait for vehicle {vin} already, its limit (--vehicle-unsent-max of the server); \
         try again when its apps have read some, or it was online"
    )]
    VehicleQueueFull {
        /// The vehicle.
        vin: Vin,
        /// The limit.
        max: usize,
    },
    /// All vehicles together have as many unsent messages as they may.
    #[error("{max} messages wait for vehicles already, the limit of this server")]
    QueueFull {
        /// The limit.
        max: usize,
    },
    /// The messages that wait take as many bytes as they may.
    #[error(
        "the messages that wait for vehicles take {max} bytes already, the limit of this server"
    )]
    QueueBytesFull {
        /// The limit.
        max: u64,
    },
    /// The partner has as many unsent messages as it may.
    #[error("{max} messages of partner {uid} wait for vehicles already, its limit")]
    PartnerQueueFull {
        /// The partner.
        uid: Uid,
        /// The limit.
        max: usize,
    },
    /// The partner's unsent messages take as many bytes as they may.
    #[error(
        "the messages of partner {uid} that wait for vehicles take {max} bytes already, its limit"
    )]
    PartnerBytesFull {
        /// The partner.
        uid: Uid,
        /// The limit.
        max: u64,
    },
    /// It is a request, and another one has the same name.
    #[error("another request to the vehicle had this key")]
    OtherRequest,
    /// The server is shutting down.
    #[error("the server is shutting down")]
    Stopping,
    /// The store could not keep it.
    #[error(transparent)]
    Store(#[from] StoreError),
}
