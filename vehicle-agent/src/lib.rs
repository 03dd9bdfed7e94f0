//! The in-vehicle side of vinbus: the agent that plays the portal.
//!
//! The core has neither heap nor standard library and runs the same on a board, on Linux and in
//! the simulator:
//!
//! - [`agent`] is the loop, generic over [`link`], [`apps`] and [`clock`];
//! - [`desk`] is what it knows and decides, without any waiting;
//! - [`identity`] and [`presence`] say who the vehicle is and that it is there.
//!
//! The feature `embedded-link` adds a link for boards, and `provisioned`, the block of memory that makes a board one
//! vehicle. The feature `linux`, on by default, adds the program `vehicle-agent`.
#![cfg_attr(not(feature = "linux"), no_std)]
#![forbid(unsafe_code)]

#[cfg(all(test, not(feature = "linux")))]
extern crate std;

pub mod app_page;
pub mod clock;
pub mod identity;
pub mod link;
pub mod page_url;
pub mod presence;
#[cfg(feature = "embedded-link")]
pub mod provisioned;

pub mod apps;
pub mod desk;
pub mod notes;

mod health;
mod outbound;
mod race;

#[cfg(feature = "receipts")]
mod receipts;
#[cfg(not(feature = "receipts"))]
#[path = "receipts_absent.rs"]
mod receipts;

pub mod agent;

#[cfg(feature = "embedded-link")]
pub mod embedded_link;

#[cfg(any(feature = "linux", feature = "board-portal"))]
mod app_interface;
#[cfg(feature = "board-portal")]
pub mod board_portal;

#[cfg(any(feature = "linux", feature = "board-page"))]
mod portal_page;

#[cfg(feature = "linux")]
pub mod linux;
