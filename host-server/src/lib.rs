//! The partner's application server: carries messages between partners' backends and apps in
//! vehicles, and keeps them until they are delivered.
//!
//! Begin with `hub`, the core between the ports `store` and `broker`; then `api`, by which partners
//! reach it, and `serve`, which puts all of it together.

pub mod model;

pub mod identity;

pub mod store;

pub mod bus;

pub mod broker;

pub mod hub;

pub mod bridge;

pub mod webhook;

pub mod metrics;

mod uplink_json;

pub mod api;

pub mod config;

pub mod cli;

pub mod commands;

pub mod logging;

pub mod signals;

pub mod stop;

pub mod serve;

mod bucket;
mod folder;
mod invocation;
mod nearest;
mod place;
