//! `console`: a link that signs a browser in to the console, once.

use std::io::{self, Write};

use serde::Deserialize;

use super::client::{ClientError, Server};
use crate::cli::Access;

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
pub enum ConsoleError {
    /// The server made none.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// It cannot be printed.
    #[error("the link could not be printed: {0}")]
    Output(#[from] io::Error),
}

impl ConsoleError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

#[derive(Deserialize)]
struct Link {
    link: String,
    seconds: u64,
}

/// Prints the link, and on standard error how long it can be used.
///
/// # Errors
/// A [`ConsoleError`].
pub async fn run(access: Access) -> Result<(), ConsoleError> {
    let server = Server::new(&access)?;
    let url = server.at(&["console", "links"]);
    let answer = server.send(server.post(url)).await?;
    let made: Link = answer
        .json()
        .await
        .map_err(|error| server.strange(&error))?;
    let mut page = server.at_root(&[""]);
    // As the server prints it at its start: browsers keep what they know of each name apart.
    if page.host_str() == Some("127.0.0.1") {
        page.set_host(Some("localhost"))
            .map_err(|error| server.strange(&error))?;
    }
    page.set_fragment(Some(&format!("sign-in={}", made.link)));
    let mut out = io::stdout().lock();
    writeln!(out, "{page}")?;
    out.flush()?;
    eprintln!(
        "it opens the console once, within {} minutes",
        made.seconds / 60
    );
    Ok(())
}
