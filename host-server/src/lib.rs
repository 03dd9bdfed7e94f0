//! The partner's application server.

pub mod model;

pub mod identity;

pub mod store;

pub mod broker;

pub mod hub;

pub mod webhook;

pub mod metrics;

mod log_throttle;
