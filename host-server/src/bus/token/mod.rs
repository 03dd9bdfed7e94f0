//! Tokens of bus clients: issued, verified, revoked (SPEC 14).
//!
//! [`Tokens::issue`] signs, [`Tokens::verify`] says whose token it is. `jws` is the only place that
//! computes a signature, `keys` and `trusted` know which key may have made it.

mod cache;
mod claims;
mod error;
mod jwk;
mod jws;
mod keys;
mod trusted;

pub use error::{KeyError, TokenError};
pub use jwk::JwkSet;
pub use jws::Algorithm;
pub use trusted::{KEYS_FETCH_PAUSE, KeySource, KeyUrlError, TrustedIssuer};

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use self::cache::{Verified, VerifiedTokens};
use self::claims::{Claims, Roles, Said};
use self::jws::Unverified;
use self::keys::KeyRing;
use self::trusted::TrustedKeys;
use super::clients::{seconds, time};
use super::{BusClient, ClientKey, ClientName, Clients, uuid};
use crate::identity::IdentityError;

/// What our tokens are for.
const AUDIENCE: &str = "vinbus-bus";

/// The `scope` of our tokens, which says nothing about the bus.
pub const TOKEN_SCOPE: &str = "profile email";

/// How much a token may be of the future, because clocks differ. There is no such leeway at its end.
const LEEWAY_S: u64 = 10;

/// How tokens are made and which are accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The `iss` of our tokens.
    pub issuer: String,
    /// How long an access token lives.
    pub lifetime: Duration,
    /// How long a refresh token lives.
    pub refresh_lifetime: Duration,
    /// How long a key signs.
    pub key_rotation: Duration,
    /// Whose tokens are accepted besides.
    pub trusted: Option<TrustedIssuer>,
}

impl Default for TokenSettings {
    /// 12 hours, as the SERMAS platform has it, refreshed within a day; keys of 30 days.
    fn default() -> Self {
        const HOUR: Duration = Duration::from_secs(60 * 60);
        Self {
            issuer: "vinbus".to_owned(),
            lifetime: 12 * HOUR,
            refresh_lifetime: 24 * HOUR,
            key_rotation: 30 * 24 * HOUR,
            trusted: None,
        }
    }
}

/// What a token is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// To use the bus and its REST interface.
    Access,
    /// To get a new access token.
    Refresh,
}

impl TokenKind {
    /// The `typ` of such a token.
    fn name(self) -> &'static str {
        match self {
            Self::Access => "Bearer",
            Self::Refresh => "Refresh",
        }
    }
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusIdentity {
    /// The client.
    pub key: ClientKey,
    /// The [`BusClient::subject`] of the client.
    pub subject: String,
    /// Names the token, for the log; not a secret.
    pub token_id: String,
    /// The [`BusClient::generation`] that the token was issued in, as far as it says.
    pub generation: Option<u64>,
    /// When the token was issued, in seconds since 1970.
    pub issued_at: u64,
    /// When the token is over.
    pub expires_at: SystemTime,
}

impl BusIdentity {
    /// Whether the token is still good, now that its client is `client`.
    ///
    /// # Errors
    /// [`TokenError::UnknownClient`], [`TokenError::Disabled`] or [`TokenError::Revoked`].
    pub fn check_client(&self, client: &BusClient) -> Result<(), TokenError> {
        // One that was made anew under the same name is another.
        if self.subject != client.subject {
            return Err(TokenError::UnknownClient);
        }
        if client.disabled {
            return Err(TokenError::Disabled);
        }
        let is_revoked = match self.generation {
            Some(generation) => generation != client.generation,
            None => self.issued_at <= client.revoked_until,
        };
        if is_revoked {
            return Err(TokenError::Revoked);
        }
        Ok(())
    }
}

/// A token that was just made.
#[derive(Clone)]
pub struct Issued {
    /// The token.
    pub token: String,
    /// Names the token; not a secret.
    pub id: String,
    /// How long it lives.
    pub lifetime: Duration,
}

/// Issues and verifies tokens.
pub struct Tokens {
    settings: TokenSettings,
    clients: Arc<Clients>,
    keys: KeyRing,
    trusted: Option<TrustedKeys>,
    verified: VerifiedTokens,
}

impl Tokens {
    /// Opens the keys in `data_dir`, or makes the first.
    ///
    /// # Errors
    /// A [`KeyError`].
    pub fn open(
        data_dir: &Path,
        settings: TokenSettings,
        clients: Arc<Clients>,
    ) -> Result<Self, KeyError> {
        let lifetime_max = settings.lifetime.max(settings.refresh_lifetime);
        let trusted = settings.trusted.clone().map(TrustedKeys::new);
        Ok(Self {
            keys: KeyRing::open(
                data_dir,
                settings.key_rotation,
                lifetime_max,
                SystemTime::now(),
            )?,
            trusted: trusted
                .transpose()
                .map_err(|detail| KeyError::Trusted { detail })?,
            settings,
            clients,
            verified: VerifiedTokens::default(),
        })
    }

    /// Makes a new key if one is due. To be called now and then, off the async threads.
    ///
    /// # Errors
    /// An [`IdentityError`] of writing; the present keys stay in use.
    pub fn rotate_if_due(&self) -> Result<(), IdentityError> {
        self.keys.rotate_if_due(SystemTime::now())
    }

    /// The public keys, for whoever wants to verify our tokens.
    #[must_use]
    pub fn public_keys(&self) -> JwkSet {
        self.keys.public()
    }

    /// Signs a token for a client.
    ///
    /// # Errors
    /// An [`IdentityError`] of signing.
    pub fn issue(&self, client: &BusClient, kind: TokenKind) -> Result<Issued, IdentityError> {
        self.issue_at(client, kind, SystemTime::now())
    }

    pub(super) fn issue_at(
        &self,
        client: &BusClient,
        kind: TokenKind,
        now: SystemTime,
    ) -> Result<Issued, IdentityError> {
        let lifetime = match kind {
            TokenKind::Access => self.settings.lifetime,
            TokenKind::Refresh => self.settings.refresh_lifetime,
        };
        let azp = client.key.composite();
        let id = uuid::random()?;
        let token = self.keys.sign(&Claims {
            exp: seconds(now) + lifetime.as_secs(),
            iat: seconds(now),
            jti: &id,
            iss: &self.settings.issuer,
            aud: AUDIENCE,
            sub: &client.subject,
            typ: kind.name(),
            azp: &azp,
            acr: "1",
            allowed_origins: [],
            realm_access: Roles { roles: &[] },
            resource_access: serde_json::Map::new(),
            scope: TOKEN_SCOPE,
            email_verified: false,
            client_id: &azp,
            preferred_username: format!("service-account-{azp}"),
            app_id: [client.key.app.as_str()],
            generation: client.generation,
            roles: &[],
        })?;
        Ok(Issued {
            token,
            id,
            lifetime,
        })
    }

    /// Whose access token this is.
    ///
    /// # Errors
    /// A [`TokenError`] that says why it is not accepted.
    pub async fn verify(&self, token: &str) -> Result<BusIdentity, TokenError> {
        self.verify_kind(token, TokenKind::Access).await
    }

    /// Whose token of this kind it is.
    ///
    /// # Errors
    /// A [`TokenError`] that says why it is not accepted.
    pub async fn verify_kind(
        &self,
        token: &str,
        kind: TokenKind,
    ) -> Result<BusIdentity, TokenError> {
        self.verify_at(token, kind, SystemTime::now()).await
    }

    pub(super) async fn verify_at(
        &self,
        token: &str,
        kind: TokenKind,
        now: SystemTime,
    ) -> Result<BusIdentity, TokenError> {
        let verified = match self.verified.find(token) {
            Some(verified) => {
                self.ask_for_trusted_key(&verified).await?;
                verified
            }
            None => {
                let verified = Arc::new(self.verify_signature(token, now).await?);
                self.verified.insert(token, Arc::clone(&verified));
                verified
            }
        };
        let checked = self.check(&verified, kind, now);
        if checked.is_err() {
            self.verified.remove(token);
        }
        checked
    }

    /// Fails when the trusted issuer took the key of a token back.
    async fn ask_for_trusted_key(&self, verified: &Verified) -> Result<(), TokenError> {
        if let Some(trusted) = &self.trusted
            && !verified.is_ours
        {
            trusted.find(&verified.kid).await?;
        }
        Ok(())
    }

    async fn verify_signature(&self, token: &str, now: SystemTime) -> Result<Verified, TokenError> {
        let unverified = Unverified::parse(token)?;
        let kid = unverified
            .header
            .kid
            .clone()
            .ok_or(TokenError::UnknownKey)?;
        let unproven: Said = said(unverified.unproven_claims())?;
        let is_ours = unproven.iss == self.settings.issuer;
        let key = match &self.trusted {
            _ if is_ours => self.keys.find(&kid, now).ok_or(TokenError::UnknownKey)?,
            Some(trusted) if unproven.iss == trusted.issuer.issuer => trusted.find(&kid).await?,
            Some(_) | None => return Err(TokenError::Issuer),
        };
        let said = said(&unverified.verified_by(&key)?)?;
        Ok(Verified { said, kid, is_ours })
    }

    /// Checks everything that may change while the signature does not.
    fn check(
        &self,
        verified: &Verified,
        kind: TokenKind,
        now: SystemTime,
    ) -> Result<BusIdentity, TokenError> {
        let said = &verified.said;
        let now_s = seconds(now);
        if now_s >= said.exp {
            let ago = Duration::from_secs(now_s - said.exp);
            return Err(TokenError::Expired { ago });
        }
        let begins = said.iat.max(said.nbf.unwrap_or_default());
        if begins > now_s + LEEWAY_S {
            let after = Duration::from_secs(begins - now_s);
            return Err(TokenError::NotYetValid { after });
        }
        if verified.is_ours && self.keys.find(&verified.kid, now).is_none() {
            return Err(TokenError::UnknownKey);
        }
        let audience = match &self.trusted {
            Some(trusted) if !verified.is_ours => &trusted.issuer.audience,
            Some(_) | None => AUDIENCE,
        };
        if !said.aud.iter().any(|aud| aud == audience) {
            return Err(TokenError::Audience);
        }
        if said.typ != kind.name() {
            let wanted = kind.name();
            return Err(TokenError::Kind { wanted });
        }
        let client = self.client_of(verified).ok_or(TokenError::UnknownClient)?;
        // The other issuer does not know that a client was removed and made anew.
        if !verified.is_ours && said.iat + LEEWAY_S < seconds(client.created_at) {
            return Err(TokenError::Revoked);
        }
        let identity = BusIdentity {
            key: client.key.clone(),
            subject: client.subject.clone(),
            token_id: said.jti.clone(),
            // What another issuer counts is none of ours.
            generation: said.generation.filter(|_| verified.is_ours),
            issued_at: said.iat,
            expires_at: time(said.exp),
        };
        identity.check_client(&client)?;
        Ok(identity)
    }

    /// The client that a token is for: `azp` is its name, with or without an app of the token before
    /// it. One of our tokens also names the very client that it was issued to.
    fn client_of(&self, verified: &Verified) -> Option<Arc<BusClient>> {
        let said = &verified.said;
        let find = |app: &str, client: &str| {
            let key = ClientKey {
                app: ClientName::parse(app).ok()?,
                client: ClientName::parse(client).ok()?,
            };
            self.clients.find(&key)
        };
        let mut apps = said.app_id.iter();
        let client = apps.find_map(|app| {
            let rest = said.azp.strip_prefix(app.as_str());
            let with_app = rest.and_then(|rest| rest.strip_prefix('-'));
            with_app
                .and_then(|client| find(app, client))
                .or_else(|| find(app, &said.azp))
        })?;
        (!verified.is_ours || client.subject == said.sub).then_some(client)
    }
}

fn said(claims: &[u8]) -> Result<Said, TokenError> {
    serde_json::from_slice(claims).map_err(|_| TokenError::Malformed)
}

/// Header and claims of a token, to be shown. Nothing of it is proven.
///
/// # Errors
/// [`TokenError::TooLong`] or [`TokenError::Malformed`].
pub fn shown(token: &str) -> Result<(Option<String>, Value), TokenError> {
    let unverified = Unverified::parse(token)?;
    let claims = serde_json::from_slice(unverified.unproven_claims());
    let claims = claims.map_err(|_| TokenError::Malformed)?;
    Ok((unverified.header.kid, claims))
}
