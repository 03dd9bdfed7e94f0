//! What a token says, in the words of the SERMAS platform, which are Keycloak's.

use serde::{Deserialize, Deserializer, Serialize};

/// What our tokens say.
#[derive(Serialize)]
pub(super) struct Claims<'c> {
    pub(super) exp: u64,
    pub(super) iat: u64,
    pub(super) jti: &'c str,
    pub(super) iss: &'c str,
    pub(super) aud: &'c str,
    pub(super) sub: &'c str,
    pub(super) typ: &'c str,
    pub(super) azp: &'c str,
    pub(super) acr: &'static str,
    #[serde(rename = "allowed-origins")]
    pub(super) allowed_origins: [&'static str; 0],
    pub(super) realm_access: Roles<'c>,
    pub(super) resource_access: serde_json::Map<String, serde_json::Value>,
    pub(super) scope: &'static str,
    pub(super) email_verified: bool,
    #[serde(rename = "clientId")]
    pub(super) client_id: &'c str,
    pub(super) preferred_username: String,
    #[serde(rename = "appId")]
    pub(super) app_id: [&'c str; 1],
    pub(super) generation: u64,
    pub(super) roles: &'c [&'c str],
}

/// Roles of a user; a client has none.
#[derive(Serialize)]
pub(super) struct Roles<'c> {
    pub(super) roles: &'c [&'c str],
}

/// What we ask of a token, ours or another issuer's. Times are seconds since 1970.
#[derive(Deserialize)]
pub(super) struct Said {
    pub(super) exp: u64,
    pub(super) iat: u64,
    pub(super) nbf: Option<u64>,
    #[serde(default)]
    pub(super) jti: String,
    pub(super) iss: String,
    #[serde(default, deserialize_with = "one_or_many")]
    pub(super) aud: Vec<String>,
    pub(super) sub: String,
    #[serde(default)]
    pub(super) typ: String,
    pub(super) azp: String,
    #[serde(rename = "appId", default, deserialize_with = "one_or_many")]
    pub(super) app_id: Vec<String>,
    /// In ours.
    #[serde(default)]
    pub(super) generation: Option<u64>,
}

/// A text, or a list of texts: JWT has it both ways (RFC 7519, section 4.1.3).
fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}
