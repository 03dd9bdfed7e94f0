//! The frames between an app and a portal (SPEC 8), the same on a board and on Linux.
//!
//! [`client_frame`] is what an app says, [`server_frame`] what it is told, [`refusal`] why it is
//! not served, [`rate`] how much it may say. Nothing here waits or needs a heap.

#![cfg_attr(
    not(all(feature = "linux", feature = "board-portal")),
    allow(dead_code, reason = "each portal uses its part")
)]

pub(crate) mod client_frame;
#[cfg(test)]
pub(crate) mod fates;
#[cfg(test)]
pub(crate) mod order;
pub(crate) mod rate;
pub(crate) mod refusal;
pub(crate) mod server_frame;
