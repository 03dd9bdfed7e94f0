//! The partner's application server.

pub mod model;

pub mod store;

pub mod broker;

pub mod api;

pub mod config;

pub mod cli;
