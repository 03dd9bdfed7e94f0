//! The partner's application server.

pub mod model;

pub mod identity;

pub mod store;

pub mod broker;

pub mod hub;

pub mod webhook;

pub mod metrics;

pub mod api;

pub mod config;

pub mod cli;

pub mod commands;

pub mod logging;

pub mod signals;

pub mod stop;

pub mod serve;

mod place;
