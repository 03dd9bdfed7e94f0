//! Requests: calls from a partner's backend to an app, with a deadline and one answer (SPEC 19).
//!
//! A request is a message with receipts whose content says that it is one; its answer is an uplink
//! message on a subtopic of its own. What is on the wire stands in [`Request`], [`Answer`] and
//! [`Order`]. [`Calls`] is the vehicle's account of the requests that came, [`Call`] is one request at
//! the end that made it. Neither holds contents, reads a clock or sends: their owners do.

mod call;
mod calls;
mod id;
mod wire;

pub use call::{Call, CallState};
pub use calls::{Admitted, AnswerRefusal, Arrival, Calls, Ended, Message, Report};
pub use id::RequestId;
pub use wire::{ANSWER_SUBTOPIC, Absent, Answer, Order, Request};
