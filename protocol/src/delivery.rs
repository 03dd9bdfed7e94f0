//! Delivery over links that promise nothing: at least once on the wire, once to the app, and word of
//! what became of each message (SPEC 16).
//!
//! One [`Endpoint`] stands at each end of a *channel*, which is a vehicle and a partner. It sends
//! numbered messages, repeats them until they are answered, and recognises those that come again. It
//! never waits, reads a clock, holds a message's bytes or allocates: its owner does. Begin at
//! [`Endpoint`]; what is on the wire stands in [`read`] and [`Marked`].

mod control;
mod endpoint;
mod epoch;
mod message;
pub mod parts;
mod receiver;
pub(crate) mod reserved;
mod sender;
mod session;
mod snapshot;
mod step;
mod timing;
mod window;

pub use control::{
    Control, ControlFrame, Offer, Open, Receipts, Received, Run, VERSION, announced, announcement,
    mentioned, read,
};
pub use endpoint::{Batch, Endpoint, EndpointCounters, Event, Transmit};
pub use epoch::Epoch;
pub use message::{Loss, Message, SubmitError, Submitted};
pub use receiver::{MessageId, ReceiverCounters, Verdict};
pub use reserved::{
    CONTROL_APP, CONTROL_SUBTOPIC, Carried, Header, Marked, Part, RESERVED_MEMBER, TooDeep,
};
pub use sender::SenderCounters;
pub use snapshot::{SNAPSHOT_BYTES, Snapshot};
pub use step::Step;
pub use window::{Novelty, Window};

/// Counts one more, and goes on at 0 behind the greatest number.
fn increment(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}
