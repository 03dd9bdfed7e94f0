//! Tokens of an outside issuer, as Keycloak gives them: its keys, from a file or a URL.
//!
//! The algorithm is a setting and not the token's choice. Keys are fetched when a token names one that
//! is not there, and again when they are [`KEYS_AGE_MAX`] old, but not more often than
//! [`FETCH_PAUSE`], however many unknown keys tokens name.

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
const FETCH_PAUSE: Duration = Duration::from_secs(30);

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
    /// At a URL.
    Url(Url),
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
        if is_due(KEYS_AGE_MAX) || (is_wanted && is_due(FETCH_PAUSE)) {
            fetched.tried_at = Some(Instant::now());
            match self.fetch().await {
                Ok(keys) => {
                    fetched.keys = keys;
                    fetched.error = None;
                }
                // The keys that are there are as good as they were.
                Err(detail) => {
                    tracing::warn!(issuer = self.issuer.issuer, detail, "keys not fetched");
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
                .map_err(|error| format!("{}: {error}", path.display()))?,
            KeySource::Url(url) => self.download(url.clone()).await?,
        };
        jwk::read_set(&json, self.issuer.algorithm)
            .map_err(|error| format!("what was read is no key set: {error}"))
    }

    async fn download(&self, url: Url) -> Result<Vec<u8>, String> {
        // The URL may hold a password.
        let failed = |error: reqwest::Error| error.without_url().to_string();
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
