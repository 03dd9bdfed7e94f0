//! Tokens of an outside issuer, as Keycloak gives them: its keys, from a file or a URL.
//!
//! The algorithm is a setting and not the token's choice. Keys are fetched when a token names one that
//! is not there, and again when they are [`KEYS_AGE_MAX`] old, but not more often than
//! [`KEYS_FETCH_PAUSE`], however many unknown keys tokens name.

use std::error::Error;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Client, Url};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::TokenError;
use super::jwk;
use super::jws::{Algorithm, VerifyingKey};

/// Least time between two fetches of the keys.
pub const KEYS_FETCH_PAUSE: Duration = Duration::from_secs(30);

/// Keys that are older are fetched again, so that one which the issuer took back does not stay.
const KEYS_AGE_MAX: Duration = Duration::from_secs(60 * 60);

/// Time for a fetch.
const FETCH_TIME_MAX: Duration = Duration::from_secs(5);

/// Largest key set, in bytes.
const SET_BYTES_MAX: usize = 256 * 1024;

/// Another issuer whose tokens are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedIssuer {
    /// Its `iss`.
    pub issuer: String,
    /// The `aud` that its tokens must have.
    pub audience: String,
    /// How it signs.
    pub algorithm: Algorithm,
    /// Where its keys are.
    pub keys: KeySource,
}

/// Where a key set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In a file, which is read again like a URL is.
    File(PathBuf),
    /// At a URL, which [`KeySource::at`] has checked.
    Url(Url),
}

/// Why keys are not read from a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyUrlError {
    /// It is none, or of another scheme.
    #[error("it is neither a file nor a URL that begins with https:// or http://")]
    NoUrl,
    /// It would be shown with the secret in it.
    #[error(
        "it holds a user name or password, which would be seen in logs: serve the keys without, they are \
         public"
    )]
    UserInfo,
    /// Anybody on the way could put keys of its own in place of the issuer's.
    #[error(
        "http:// is for this machine only (localhost, 127.0.0.1, [::1]): use https://, or fetch the keys to a \
         file"
    )]
    Http,
}

impl KeySource {
    /// The source that a text names: a URL, or else a file.
    ///
    /// # Errors
    /// A [`KeyUrlError`] for a URL that no keys should come from.
    pub fn at(text: &str) -> Result<Self, KeyUrlError> {
        if !text.contains("://") {
            return Ok(Self::File(text.into()));
        }
        let url = Url::parse(text).map_err(|_| KeyUrlError::NoUrl)?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(KeyUrlError::NoUrl);
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(KeyUrlError::UserInfo);
        }
        if url.scheme() == "http" && !is_loopback(&url) {
            return Err(KeyUrlError::Http);
        }
        Ok(Self::Url(url))
    }
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => url.fmt(f),
        }
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|it: IpAddr| it.is_loopback())
}

/// The keys of a [`TrustedIssuer`]; a handle that is cheap enough to clone.
#[derive(Clone)]
pub(super) struct TrustedKeys {
    pub(super) issuer: Arc<TrustedIssuer>,
    http: Client,
    fetched: Arc<Mutex<Fetched>>,
}

#[derive(Default)]
struct Fetched {
    keys: Vec<(String, VerifyingKey)>,
    /// When they were fetched, or that was tried.
    tried_at: Option<Instant>,
    error: Option<String>,
}

impl TrustedKeys {
    pub(super) fn new(issuer: TrustedIssuer) -> Result<Self, String> {
        // Somebody else of this process may have chosen the same provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = || {
            Client::builder()
                .timeout(FETCH_TIME_MAX)
                .redirect(reqwest::redirect::Policy::none())
        };
        let http = builder().build();
        // Without certificate authorities on this system, http still works.
        let http = http.or_else(|_| builder().tls_certs_only([]).build());
        let http = http.map_err(|error| error.to_string())?;
        Ok(Self {
            issuer: Arc::new(issuer),
            http,
            fetched: Arc::default(),
        })
    }

    /// The key of this name, fetched if it has to be; also when whoever asks goes away meanwhile, so
    /// that nobody can keep others waiting for the next fetch.
    pub(super) async fn find(&self, kid: &str) -> Result<VerifyingKey, TokenError> {
        let (keys, kid) = (self.clone(), kid.to_owned());
        let found = tokio::spawn(async move { keys.find_or_fetch(&kid).await });
        found.await.unwrap_or_else(|error| {
            Err(TokenError::Keys {
                detail: error.to_string(),
            })
        })
    }

    async fn find_or_fetch(&self, kid: &str) -> Result<VerifyingKey, TokenError> {
        let mut fetched = self.fetched.lock().await;
        let age = fetched.tried_at.map(|at| at.elapsed());
        let is_due = |after: Duration| age.is_none_or(|age| age >= after);
        let is_known = fetched.keys.iter().any(|(known, _)| known == kid);
        let is_wanted = !is_known || fetched.error.is_some();
        if is_due(KEYS_AGE_MAX) || (is_wanted && is_due(KEYS_FETCH_PAUSE)) {
            fetched.tried_at = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    fetched.keys = keys;
                    fetched.error = None;
                }
                // The keys that are there are as good as they were.
                Err(detail) => {
                    let TrustedIssuer { issuer, keys, .. } = &*self.issuer;
                    tracing::warn!(issuer, %keys, detail, "keys not fetched");
                    fetched.error = Some(detail);
                }
            }
        }
        let mut keys = fetched.keys.iter();
        match (keys.find(|(known, _)| known == kid), &fetched.error) {
            (Some((_, key)), _) => Ok(key.clone()),
            (None, None) => Err(TokenError::UnknownKey),
            (None, Some(detail)) => Err(TokenError::Keys {
                detail: detail.clone(),
            }),
        }
    }

    async fn fetch(&self) -> Result<Vec<(String, VerifyingKey)>, String> {
        let json = match &self.issuer.keys {
            KeySource::File(path) => tokio::fs::read(path)
                .await
                .map_err(|error| error.to_string())?,
            KeySource::Url(url) => self.download(url.clone()).await?,
        };
        jwk::read_set(&json, self.issuer.algorithm)
            .map_err(|error| format!("what was read is no key set: {error}"))
    }

    async fn download(&self, url: Url) -> Result<Vec<u8>, String> {
        // Where they are is for the log; whoever shows a token is told what happened.
        let failed = |error: reqwest::Error| innermost(&error.without_url());
        let answer = self.http.get(url).send().await.map_err(failed)?;
        let mut answer = answer.error_for_status().map_err(failed)?;
        let mut json = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if json.len() + chunk.len() > SET_BYTES_MAX {
                return Err(format!("it has more than {SET_BYTES_MAX} bytes"));
            }
            json.extend_from_slice(&chunk);
        }
        Ok(json)
    }
}

/// The innermost cause says what happened.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_files_or_over_a_way_that_nobody_can_change() {
        for good in [
            "https://issuer.example/realms/sermas/protocol/openid-connect/certs",
            "http://localhost:8081/certs",
            "http://127.0.0.1/certs",
            "http://[::1]:8081/certs",
        ] {
            let source = KeySource::at(good).unwrap();
            assert_eq!(source.to_string(), good);
        }
        assert_eq!(
            KeySource::at("a/b.json"),
            Ok(KeySource::File("a/b.json".into()))
        );
        for (bad, why) in [
            ("ftp://issuer.example/certs", KeyUrlError::NoUrl),
            ("https://", KeyUrlError::NoUrl),
            (
                "https://me:secret@issuer.example/certs",
                KeyUrlError::UserInfo,
            ),
            ("http://me@localhost/certs", KeyUrlError::UserInfo),
            ("http://issuer.example/certs", KeyUrlError::Http),
            ("http://localhost.issuer.example/certs", KeyUrlError::Http),
            ("http://192.168.1.1/certs", KeyUrlError::Http),
            ("http://0.0.0.0/certs", KeyUrlError::Http),
        ] {
            assert_eq!(KeySource::at(bad), Err(why), "{bad}");
        }
    }
}
