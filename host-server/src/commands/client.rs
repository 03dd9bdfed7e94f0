//! The REST interface from the outside: where the server is, and the token to show it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, Url};
use serde::Deserialize;

use crate::cli::Access;
use crate::config;
use crate::identity::Secret;

/// A connection that does not open within this time is given up.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A server that sends nothing for this time is gone; quiet streams show life every 15 s.
const READ_TIME_MAX: Duration = Duration::from_secs(45);

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none.
    #[error("--url {url:?} is not the URL of a server: {detail}; try http://127.0.0.1:8080")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no token.
    #[error(
        "no token: {} cannot be read ({source}); start `host-server` first, name its folder with \
         --data-dir, or give --token",
        path.display()
    )]
    NoToken {
        /// Where one was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The server cannot be reached, or fell silent.
    #[error("{url} cannot be reached: {reason}; is `host-server` running there?")]
    Unreachable {
        /// Where.
        url: String,
        /// Why, in one line.
        reason: String,
    },
    /// The server refused.
    #[error("the server refused ({status}): {detail}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// What it said.
        detail: String,
    },
    /// The server's answer is not what this program expects.
    #[error("{url} does not answer as a vinbus server: {reason}")]
    Answer {
        /// Where.
        url: String,
        /// What is wrong.
        reason: String,
    },
}

impl ClientError {
    /// Whether the same request may work later.
    pub(super) fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Url { .. } | Self::NoToken { .. } | Self::Answer { .. } => false,
        }
    }
}

/// A way to one server.
pub(super) struct Server {
    http: Client,
    base: Url,
    token: Secret,
}

/// The part of a problem document that people read.
#[derive(Deserialize)]
struct Problem {
    title: String,
    detail: String,
}

impl Server {
    /// The server and the token that `access` names.
    pub(super) fn new(access: &Access) -> Result<Self, ClientError> {
        // The first call of the process installs it; a later one finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = base(&access.url)?;
        let http = Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(READ_TIME_MAX)
            .build()
            .map_err(|error| unreachable(&base, &error))?;
        Ok(Self {
            http,
            base,
            token: token(access)?,
        })
    }

    /// The server's URL, for messages.
    pub(super) fn url(&self) -> &str {
        self.base.as_str()
    }

    /// The URL below `/api/v1/`, of path segments that are written as they must be.
    pub(super) fn at(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["api", "v1"]).extend(segments);
        }
        url
    }

    /// A request to read something.
    pub(super) fn get(&self, url: Url) -> RequestBuilder {
        self.http.get(url)
    }

    /// A request to make something.
    pub(super) fn post(&self, url: Url) -> RequestBuilder {
        self.http.post(url)
    }

    /// Sends a request with the token; an answer other than success is an error.
    pub(super) async fn send(&self, request: RequestBuilder) -> Result<Response, ClientError> {
        let answer = request
            .bearer_auth(self.token.expose())
            .send()
            .await
            .map_err(|error| unreachable(&self.base, &error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let said = answer.json::<Problem>().await;
        Err(ClientError::Refused {
            status: status.as_u16(),
            detail: match said {
                Ok(problem) => format!("{}: {}", problem.title, problem.detail),
                Err(_) => status
                    .canonical_reason()
                    .unwrap_or("no reason given")
                    .to_owned(),
            },
        })
    }

    /// An answer that broke off or is of an unknown form.
    pub(super) fn strange(&self, reason: &impl ToString) -> ClientError {
        ClientError::Answer {
            url: self.base.to_string(),
            reason: reason.to_string(),
        }
    }

    /// A connection that broke.
    pub(super) fn broken(&self, error: &reqwest::Error) -> ClientError {
        unreachable(&self.base, error)
    }
}

fn base(text: &str) -> Result<Url, ClientError> {
    let wrong = |detail: String| ClientError::Url {
        url: text.to_owned(),
        detail,
    };
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(wrong(format!("{other}: is neither http: nor https:"))),
    }
}

fn token(access: &Access) -> Result<Secret, ClientError> {
    if let Some(token) = &access.token {
        return Ok(token.clone());
    }
    let path = config::data_dir(access.data_dir.as_deref())
        .join("admin")
        .join("token");
    match std::fs::read_to_string(&path) {
        Ok(token) => Ok(Secret::new(token.trim().to_owned())),
        Err(source) => Err(ClientError::NoToken { path, source }),
    }
}

/// The innermost cause says what happened; the outer ones repeat the URL.
fn unreachable(base: &Url, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    ClientError::Unreachable {
        url: base.to_string(),
        reason: cause.to_string(),
    }
}
