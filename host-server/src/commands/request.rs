//! `request`: asks an app in a vehicle, and prints what it answers.

use std::io::{self, Write as _};

use super::client::{ClientError, Server};
use super::send::{self, SendError};
use crate::cli::RequestArgs;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// What is asked cannot be sent.
    #[error(transparent)]
    Content(#[from] SendError),
    /// The server did not take it, or tells why there is no answer.
    #[error(transparent)]
    Server(#[from] ClientError),
    /// The answer cannot be printed.
    #[error("the app has answered, its answer could not be printed: {0}")]
    Output(io::Error),
}

impl RequestError {
    /// Whether what was typed is at fault.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Content(error) => error.is_usage(),
            Self::Server(error) => error.is_usage(),
            Self::Output(_) => false,
        }
    }
}

/// Makes the request, waits, and prints the answer as one line.
///
/// # Errors
/// A [`RequestError`].
pub async fn run(args: RequestArgs) -> Result<(), RequestError> {
    let body = send::data(&args.app, &args.content)?;
    let server = Server::waiting(&args.access, args.timeout)?;
    let mut url = server.at(&["vehicles", args.vin.as_str(), "requests"]);
    let seconds = args.timeout.as_secs().to_string();
    url.query_pairs_mut().append_pair("timeout", &seconds);
    if args.wait {
        url.query_pairs_mut().append_pair("absent", "wait");
    }
    if let Some(uid) = &args.uid {
        url.query_pairs_mut().append_pair("uid", uid.as_str());
    }
    let mut request = server
        .post(url)
        .header("content-type", "application/json")
        .body(body);
    if let Some(key) = &args.key {
        request = request.header("idempotency-key", key);
    }
    let answer = server.send(request).await?;
    let content = answer
        .text()
        .await
        .map_err(|error| server.strange(&error))?;
    // JSON has line ends between its tokens only.
    writeln!(io::stdout(), "{}", content.replace(['\n', '\r'], " ")).map_err(RequestError::Output)
}
