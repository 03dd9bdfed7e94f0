//! Tokens, and how a platform is asked for them (SPEC 14).

use std::sync::Arc;
use std::time::Duration;

use reqwest::{RequestBuilder, Response, Url};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::token_error::TokenError;
use super::{BusError, BusOptions};
use crate::options::OptionsError;
use crate::tls::TlsError;

const ACCESS_TOKEN: &str = "/api/platform/token/access_token";
const REFRESH_TOKEN: &str = "/api/platform/token/refresh_token";

/// A platform that has not answered by then is tried again later.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// A platform's answer is read up to this many bytes; tokens have a few thousand.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What of an error's text is shown, in characters.
const MESSAGE_CHARS_MAX: usize = 200;

/// A token is renewed this long before it expires.
const RENEW_BEFORE_EXPIRY: Duration = Duration::from_secs(30);

/// And up to this much earlier, so that the clients of a platform do not all come at once.
const JITTER_MAX: Duration = Duration::from_secs(5);

/// A token, with what is needed to get the next one.
pub(super) struct Token {
    pub(super) access: String,
    refresh: Option<String>,
    issued_at: Instant,
    lifetime: Duration,
}

impl Token {
    /// When to renew it. `random` is a word of which every value is equally likely.
    pub(super) fn renewal(&self, random: u32) -> Instant {
        let jitter = JITTER_MAX.mul_f64(f64::from(random) / f64::from(u32::MAX));
        let early = RENEW_BEFORE_EXPIRY + jitter;
        self.issued_at + self.lifetime.saturating_sub(early).max(self.lifetime / 2)
    }

    pub(super) fn age(&self) -> Duration {
        self.issued_at.elapsed()
    }

    pub(super) fn expires_at(&self) -> Instant {
        self.issued_at + self.lifetime
    }
}

/// The platform's answer.
#[derive(Deserialize)]
struct Answer {
    access_token: String,
    expires_in: u64,
    refresh_token: Option<String>,
}

/// Asks a platform for tokens.
pub(super) struct Tokens {
    http: reqwest::Client,
    access_url: Url,
    refresh_url: Url,
    app_id: String,
    client_id: String,
    secret: String,
}

impl Tokens {
    pub(super) fn new(options: &BusOptions) -> Result<Self, BusError> {
        // A request with a secret is for one address alone, so redirects are not followed.
        let http = reqwest::Client::builder()
            .user_agent(concat!("vinbus/", env!("CARGO_PKG_VERSION")))
            .tls_backend_preconfigured(tls_config(options)?)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_TIME_MAX)
            .build()
            .map_err(|error| BusError::Http {
                reason: innermost(&error),
            })?;
        Ok(Self {
            http,
            access_url: options.platform.at(ACCESS_TOKEN),
            refresh_url: options.platform.at(REFRESH_TOKEN),
            app_id: options.app_id.clone(),
            client_id: options.client_id.clone(),
            secret: options.secret.clone(),
        })
    }

    /// A token for the secret.
    pub(super) async fn fetch(&self) -> Result<Token, TokenError> {
        let body = json!({
            "appId": self.app_id,
            "clientId": self.client_id,
            "clientSecret": self.secret,
        });
        let request = self.http.post(self.access_url.clone());
        ask(request, &self.access_url, &body).await
    }

    /// The token after `token`: by its refresh token if it has one, and by the secret if that does
    /// not work.
    pub(super) async fn renew(&self, token: &Token) -> Result<Token, TokenError> {
        let Some(refresh) = &token.refresh else {
            return self.fetch().await;
        };
        let body = json!({
            "appId": self.app_id,
            "clientId": self.client_id,
            "refreshToken": refresh,
        });
        let request = self
            .http
            .post(self.refresh_url.clone())
            .bearer_auth(&token.access);
        match ask(request, &self.refresh_url, &body).await {
            Err(error) if error.is_answer() => {
                tracing::info!(%error, "the refresh token does not work, the secret is used");
                self.fetch().await
            }
            answered => answered,
        }
    }
}

/// Without https nobody has to be trusted, and a system without authorities will do.
fn tls_config(options: &BusOptions) -> Result<ClientConfig, OptionsError> {
    if options.platform.is_tls() {
        return Ok((*options.mqtt.tls.client_config()?).clone());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Rustls)?;
    Ok(builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth())
}

async fn ask(request: RequestBuilder, url: &Url, body: &Value) -> Result<Token, TokenError> {
    let unreachable = |error: reqwest::Error| TokenError::Unreachable {
        url: url.to_string(),
        reason: innermost(&error),
    };
    // A token's life begins, at the latest, when it is asked for.
    let issued_at = Instant::now();
    let response = request.json(body).send().await.map_err(unreachable)?;
    let status = response.status();
    let bytes = read(response).await.map_err(unreachable)?;
    if !status.is_success() {
        return Err(refusal(url.to_string(), status.as_u16(), message(&bytes)));
    }
    let no_token = |reason: String| TokenError::NoToken {
        url: url.to_string(),
        reason,
    };
    // What serde says of the answer names members and places, never values.
    let answer: Answer = serde_json::from_slice(&bytes).map_err(|error| {
        no_token(format!(
            "{:?} at line {} column {}",
            error.classify(),
            error.line(),
            error.column()
        ))
    })?;
    if answer.access_token.is_empty() || answer.expires_in == 0 {
        return Err(no_token("it is empty or expires at once".to_owned()));
    }
    Ok(Token {
        access: answer.access_token,
        refresh: answer.refresh_token.filter(|token| !token.is_empty()),
        issued_at,
        // A century is as good as for ever, and can be added to any time.
        lifetime: Duration::from_secs(answer.expires_in.min(100 * 365 * 86_400)),
    })
}

async fn read(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            break;
        }
    }
    Ok(bytes)
}

/// What the platform says, which is `{"statusCode", "message"}`, or whatever else it sent.
fn message(answer: &[u8]) -> String {
    let body: Value = serde_json::from_slice(answer).unwrap_or_default();
    let text = match &body["message"] {
        Value::String(text) => text.clone(),
        Value::Null => String::from_utf8_lossy(answer).into_owned(),
        other => other.to_string(),
    };
    let shown = text.chars().filter(|c| !c.is_control());
    let shown: String = shown.take(MESSAGE_CHARS_MAX).collect();
    if shown.is_empty() {
        "(no message)".to_owned()
    } else {
        shown
    }
}

fn refusal(url: String, status: u16, message: String) -> TokenError {
    match status {
        400 => TokenError::BadRequest { url, message },
        401 => TokenError::Unauthorized { url, message },
        403 => TokenError::Forbidden { url, message },
        404 => TokenError::NotFound { url, message },
        _ => TokenError::Failed {
            url,
            status,
            message,
        },
    }
}

/// The innermost cause says what happened; the outer ones repeat the URL.
fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn renewed_after(lifetime: u64, random: u32) -> f64 {
        let token = Token {
            access: String::new(),
            refresh: None,
            issued_at: Instant::now(),
            lifetime: Duration::from_secs(lifetime),
        };
        (token.renewal(random) - token.issued_at).as_secs_f64()
    }

    #[test]
    fn token_is_renewed_half_a_minute_before_it_expires_and_a_short_one_at_half_its_life() {
        let check = |lifetime, earliest, latest| {
            assert_eq!(renewed_after(lifetime, u32::MAX), earliest);
            assert_eq!(renewed_after(lifetime, 0), latest);
        };
        check(43_200, 43_165.0, 43_170.0);
        check(64, 32.0, 34.0);
        check(60, 30.0, 30.0);
        check(2, 1.0, 1.0);
    }

    #[test]
    fn platforms_message_is_shown_and_bounded() {
        assert_eq!(message(br#"{"statusCode":401,"message":"no"}"#), "no");
        assert_eq!(message(br#"{"message":["a","b"]}"#), r#"["a","b"]"#);
        assert_eq!(message(b"<html>\n</html>"), "<html></html>");
        assert_eq!(message(b""), "(no message)");
        assert_eq!(
            message("é".repeat(999).as_bytes()).chars().count(),
            MESSAGE_CHARS_MAX
        );
    }
}
