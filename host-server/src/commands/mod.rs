//! The commands beside `serve`: each is a short-lived program that talks to a data folder or to a
//! server's REST interface.

pub mod enroll;

pub mod send;

pub mod listen;

pub mod trace;

pub mod token;

pub mod explain;

mod client;
mod event_stream;

pub use client::ClientError;
