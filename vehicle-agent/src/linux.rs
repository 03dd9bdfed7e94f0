//! The Linux program around the core: [`args`] are its options, [`run`], [`app`], [`simulate`],
//! [`provision`], [`inspect`] and [`pages`] its commands.
//!
//! Only here are tokio, axum and the MQTT client of `vinbus-transport-std` named.

mod clock;
mod journal;
mod last_words;
mod link;
mod listen;
mod portal;
mod saved;
mod status;

pub mod args;
pub mod variables;

mod connection;
mod embedded;

pub mod app;
pub mod failure;
pub mod inspect;
pub mod logging;
pub mod pages;
pub mod provision;
pub mod run;
pub mod simulate;
