//! Where the bridge publishes: our own bus, or that of another platform.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// Why a bus did not take a message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It cannot be reached now; the same message may be published later.
    #[error("the bus cannot be reached now")]
    LinkDown,
    /// It will never take this message.
    #[error("the bus refuses the message: {detail}")]
    Refused {
        /// Why.
        detail: String,
    },
}

/// The way onto a bus.
pub trait BusPort: Send + Sync + 'static {
    /// Publishes at QoS 1; resolves when the bus has taken the message over.
    fn publish<'a>(
        &'a self,
        topic: &'a str,
        payload: Bytes,
    ) -> BoxFuture<'a, Result<(), PortError>>;
}
