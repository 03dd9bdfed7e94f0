//! The REST interface from the outside: where the server is, and the token to show it.

use std::error::Error;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use rustls::CertificateError;

use super::refused::Said;
use crate::cli::{Access, ServerArgs};
use crate::config;
use crate::identity::Secret;
use crate::serve::Addresses;

/// A connection that does not open within this time is given up.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);

/// A server that sends nothing for this time is gone; quiet streams show life every 15 s.
const READ_TIME_MAX: Duration = Duration::from_secs(45);

/// The server where none is given.
const URL_DEFAULT: &str = "http://127.0.0.1:8080";

/// So much of what something else than a server said is repeated.
const SAID_CHARS_MAX: usize = 200;

/// What to look at when nobody answers.
const IS_IT_RUNNING: &str = "is `host-server` running there?";

/// What to look at when something answers, and not by HTTP.
const IS_IT_HTTP: &str = "is that the port of its broker (--mqtt, --mqtts)? Name the one of --http";

/// Why a request was not done.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The URL is none.
    #[error("--url {url:?} is not the URL of a server: {detail}, such as http://127.0.0.1:8080")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
    /// There is no token.
    #[error(
        "no token: {} cannot be read ({source}); start `host-server` first, name its folder with \
         --data-dir, or give {option}",
        path.display()
    )]
    NoToken {
        /// Where one was looked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
        /// The option that gives one.
        option: &'static str,
    },
    /// The token cannot be sent.
    #[error("the token {from} is empty or has characters that no token has; copy it again")]
    Token {
        /// Where it was found.
        from: String,
    },
    /// The server cannot be reached, or fell silent.
    #[error("{url} cannot be reached: {reason}; {advice}")]
    Unreachable {
        /// Where.
        url: String,
        /// Why, in one line.
        reason: String,
        /// What to do.
        advice: &'static str,
    },
    /// It was reached, and its certificate is not accepted.
    #[error("{url} was reached, but {reason}; or {IS_IT_HTTP}")]
    Certificate {
        /// Where.
        url: String,
        /// Why, in one line, and what to do.
        reason: String,
    },
    /// The server does not know the token.
    #[error(
        "{url} refused the token {from}: {detail}. Name the data folder of that server with \
         --data-dir, or give a token of it with {option}"
    )]
    Unauthorized {
        /// Where.
        url: String,
        /// Where the token was found.
        from: String,
        /// The option that gives another.
        option: &'static str,
        /// What the server said.
        detail: String,
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
            Self::Unreachable { .. } | Self::Certificate { .. } => true,
            Self::Refused { status, .. } => matches!(status, 408 | 429 | 500..),
            Self::Url { .. } | Self::NoToken { .. } | Self::Token { .. } => false,
            Self::Unauthorized { .. } | Self::Answer { .. } => false,
        }
    }

    /// Whether what was typed is at fault.
    pub(super) fn is_usage(&self) -> bool {
        matches!(self, Self::Url { .. } | Self::Token { .. })
    }
}

/// A way to one server.
pub(super) struct Server {
    http: Client,
    base: Url,
    token: Token,
}

/// A token, and where it was found.
struct Token {
    secret: Secret,
    from: String,
    /// The option that gives another.
    option: &'static str,
}

impl Server {
    /// The server and the token that `access` names.
    pub(super) fn new(access: &Access) -> Result<Self, ClientError> {
        Self::with_token(&access.server, access.token.as_ref(), "--token")
    }

    /// The same, for an answer that may take so long.
    pub(super) fn waiting(access: &Access, time: Duration) -> Result<Self, ClientError> {
        let server = Self::new(access)?;
        let http = Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(READ_TIME_MAX + time)
            .build()
            .map_err(|error| unreachable(&server.base, &error))?;
        Ok(Self { http, ..server })
    }

    /// A server and a token that was given with `option`; without, the administrator's.
    pub(super) fn with_token(
        place: &ServerArgs,
        token: Option<&Secret>,
        option: &'static str,
    ) -> Result<Self, ClientError> {
        // The first call of the process installs it; a later one finds it there.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let base = base(&url(place))?;
        let http = Client::builder()
            .connect_timeout(CONNECT_TIME_MAX)
            .read_timeout(READ_TIME_MAX)
            .build()
            .map_err(|error| unreachable(&base, &error))?;
        Ok(Self {
            http,
            base,
            token: token_of(place, token, option)?,
        })
    }

    /// The server's URL, for messages.
    pub(super) fn url(&self) -> &str {
        shown(&self.base)
    }

    /// The URL below `/api/v1/`, of path segments that are written as they must be.
    pub(super) fn at(&self, segments: &[&str]) -> Url {
        self.at_root(&[&["api", "v1"], segments].concat())
    }

    /// The URL below the server's own, of path segments that are written as they must be.
    pub(super) fn at_root(&self, segments: &[&str]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// A request.
    pub(super) fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url)
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
            .bearer_auth(self.token.secret.expose())
            .send()
            .await
            .map_err(|error| self.unanswered(&error))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let said = answer.text().await.unwrap_or_default();
        let text = serde_json::from_str(&said).map(Said::text);
        Err(match (status, text) {
            (StatusCode::UNAUTHORIZED, Ok(detail)) => ClientError::Unauthorized {
                url: self.url().to_owned(),
                from: self.token.from.clone(),
                option: self.token.option,
                detail,
            },
            (status, Ok(detail)) => ClientError::Refused {
                status: status.as_u16(),
                detail,
            },
            (status, Err(_)) => self.foreign(status, &said),
        })
    }

    fn unanswered(&self, error: &reqwest::Error) -> ClientError {
        if http_error(error).is_some_and(hyper::Error::is_parse) {
            return self.strange(&format!("what it says is no HTTP; {IS_IT_HTTP}"));
        }
        unreachable(&self.base, error)
    }

    /// A refusal without a form that ours have: from something between us and the server, whose
    /// troubles may pass, or from something else than a server.
    fn foreign(&self, status: StatusCode, said: &str) -> ClientError {
        let refused = ClientError::Refused {
            status: status.as_u16(),
            detail: status
                .canonical_reason()
                .unwrap_or("no reason given")
                .to_owned(),
        };
        if refused.is_passing() {
            return refused;
        }
        let line: String = said
            .lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(SAID_CHARS_MAX)
            .collect();
        let words = if line.is_empty() {
            String::new()
        } else {
            format!(", {line:?}")
        };
        self.strange(&format!(
            "it said {status}{words}; is --url that of another program?"
        ))
    }

    /// An answer that broke off or is of an unknown form.
    pub(super) fn strange(&self, reason: &impl ToString) -> ClientError {
        ClientError::Answer {
            url: self.url().to_owned(),
            reason: reason.to_string(),
        }
    }

    /// Why a connection broke, in one line.
    pub(super) fn broken(error: &reqwest::Error) -> String {
        if error.is_timeout() {
            return format!("nothing came for {} s", READ_TIME_MAX.as_secs());
        }
        innermost(error).to_string()
    }
}

/// The URL that is given, that of the server which runs on the data folder, or the default.
fn url(place: &ServerArgs) -> String {
    let running = Addresses::read(&config::data_dir(place.data_dir.as_deref()));
    match (&place.url, running) {
        (Some(url), _) => url.clone(),
        (None, Some(addresses)) => format!("http://{}", addresses.reachable_http()),
        (None, None) => URL_DEFAULT.to_owned(),
    }
}

fn base(text: &str) -> Result<Url, ClientError> {
    let wrong = |detail: String| ClientError::Url {
        url: text.to_owned(),
        detail,
    };
    let scheme = || wrong("it has to begin with http:// or https://".to_owned());
    if !text.contains("://") {
        return Err(scheme());
    }
    let url = Url::parse(text).map_err(|error| wrong(error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err(scheme()),
    }
}

/// A URL as people write it.
fn shown(url: &Url) -> &str {
    let text = url.as_str();
    text.strip_suffix('/').unwrap_or(text)
}

fn token_of(
    place: &ServerArgs,
    given: Option<&Secret>,
    option: &'static str,
) -> Result<Token, ClientError> {
    let token = match given {
        Some(secret) => Token {
            secret: secret.clone(),
            from: format!("given with {option} or VINBUS_TOKEN"),
            option,
        },
        None => token_of_administrator(place, option)?,
    };
    let text = token.secret.expose();
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ClientError::Token { from: token.from });
    }
    Ok(token)
}

fn token_of_administrator(place: &ServerArgs, option: &'static str) -> Result<Token, ClientError> {
    let path = config::data_dir(place.data_dir.as_deref())
        .join("admin")
        .join("token");
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Token {
            secret: Secret::new(text.trim().to_owned()),
            from: format!("in {}", path.display()),
            option,
        }),
        Err(source) => {
            let path = std::path::absolute(&path).unwrap_or(path);
            Err(ClientError::NoToken {
                path,
                source,
                option,
            })
        }
    }
}

fn unreachable(base: &Url, error: &reqwest::Error) -> ClientError {
    let tls = tls_error(error);
    if let Some(rustls::Error::InvalidCertificate(why)) = tls {
        return ClientError::Certificate {
            url: shown(base).to_owned(),
            reason: refused_certificate(why),
        };
    }
    let (reason, advice) = if error.is_timeout() {
        ("it does not answer".to_owned(), IS_IT_RUNNING)
    } else if matches!(tls, Some(rustls::Error::InvalidMessage(_))) {
        // Mostly HTTP.
        let reason = "what answers there does not speak TLS".to_owned();
        (reason, "does the URL have to begin with http:// ?")
    } else if http_error(error).is_some_and(hyper::Error::is_incomplete_message) {
        // As the broker's port without TLS does, and a server that is killed.
        let reason = "it closed the connection without an answer".to_owned();
        (reason, IS_IT_HTTP)
    } else {
        (innermost(error).to_string(), IS_IT_RUNNING)
    };
    ClientError::Unreachable {
        url: shown(base).to_owned(),
        reason,
        advice,
    }
}

/// The innermost cause says what happened; the outer ones repeat the URL.
fn innermost<'a>(error: &'a reqwest::Error) -> &'a (dyn Error + 'static) {
    let mut cause: &'a (dyn Error + 'static) = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause
}

/// What was wrong with the answer as HTTP.
fn http_error(error: &reqwest::Error) -> Option<&hyper::Error> {
    innermost(error).downcast_ref()
}

/// Why a certificate is not accepted, and what to do.
fn refused_certificate(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer => {
            "this machine does not trust the authority of its certificate (UnknownIssuer): let it \
             trust that one, as with SSL_CERT_FILE"
                .to_owned()
        }
        why => format!("its certificate is not accepted: {why}"),
    }
}

/// What was wrong with the answer to a TLS handshake.
fn tls_error(error: &reqwest::Error) -> Option<&rustls::Error> {
    let mut cause = innermost(error);
    // An error of the system may hold another one that it does not call its source.
    while let Some(inner) = cause
        .downcast_ref::<io::Error>()
        .and_then(io::Error::get_ref)
    {
        cause = inner;
    }
    cause.downcast_ref()
}

#[cfg(test)]
mod tests;
