//! The commands beside `serve`: each is a short-lived program that talks to a data folder or to a
//! server's REST interface.

pub mod enroll;

pub mod request;
pub mod send;

pub mod listen;

pub mod fleet;

pub mod trace;

pub mod token;

pub mod console;

pub mod explain;

pub mod doctor;

mod client;
mod event_stream;
mod refused;
mod vins;

pub use client::ClientError;

use std::io::{self, Write};

/// Why nothing was shown of what a server was asked.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// The server did not tell.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// What it told cannot be printed.
    #[error("the answer could not be printed: {0}")]
    Output(#[from] io::Error),
}

impl AskError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

fn print(text: &str) -> Result<(), AskError> {
    Ok(io::stdout().write_all(text.as_bytes())?)
}
