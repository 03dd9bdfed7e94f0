//! What a vehicle agent and a host server must agree on, byte for byte.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod limits;

pub mod id;

pub mod topic;

pub mod json;

pub mod envelope;

pub mod presence;

pub mod bus;

pub mod health;

pub mod record_ring;

pub mod app_slot;
pub mod pending;
pub mod uplink_queue;

pub mod popup;
pub mod portal;

pub mod backoff;
pub mod pace;
pub mod throttle;

pub mod checksum;

pub mod delivery;

pub mod request;
