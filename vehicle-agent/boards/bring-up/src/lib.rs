//! What the firmware of every board does the same, from the provisioned block to the running agent.
//!
//! A board brings its processor's start, its network interface, random numbers, memory, and a task
//! for the agent, whose apps are its own.
//!
//! | step | here |
//! |---|---|
//! | what the last run said when it panicked, or when the processor had enough | `last_words` |
//! | who the vehicle is | `provisioning` |
//! | addresses | [`address`] |
//! | the time of day, without which there is no TLS | [`time_of_day`] |
//! | the way to the broker | [`broker`], [`plain`] |
//! | the agent, and its news in the log | [`vehicle`], [`reported`] |
//! | the portal for its apps | [`portal`] |
//! | how much of the stack it uses, and that it uses no more than there is | `stack` |
//! | that its loop goes round, for a watchdog | [`heartbeat`] |
//!
//! In images that `cargo xtask size` builds to tell what each part costs, [`reach`] stands in for the
//! agent, and [`no_apps`] for the portal.
//!
//! What happens is told to the crate `log`; the board says where that goes.
#![no_std]

mod clipped;
#[cfg(target_os = "none")]
mod fault;
#[cfg(target_os = "none")]
pub mod last_words;
#[cfg(target_os = "none")]
pub mod provisioning;
mod random;
#[cfg(target_os = "none")]
pub mod stack;

pub use clipped::clipped;

pub mod address;
pub mod time_of_day;

pub mod broker;
pub mod heartbeat;
pub mod no_apps;
pub mod plain;
pub mod portal;
pub mod reach;
pub mod reported;
pub mod vehicle;
