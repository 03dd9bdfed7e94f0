//! Public keys as JSON (RFC 7517): ours to show, those of others to read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::digest;
use serde::{Deserialize, Serialize};

use super::jws::{Algorithm, VerifyingKey};

/// Keys of a set that are read; more than any issuer has.
const KEYS_MAX: usize = 64;

/// A set of keys as it is served.
#[derive(Clone, Debug, Serialize)]
pub struct JwkSet {
    keys: Vec<Jwk>,
}

/// A public key as it is served.
#[derive(Clone, Debug, Serialize)]
struct Jwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
    kid: String,
    alg: &'static str,
    #[serde(rename = "use")]
    purpose: &'static str,
}

impl JwkSet {
    pub(super) fn of<'k>(keys: impl Iterator<Item = (&'k str, &'k VerifyingKey)>) -> Self {
        let jwk = |(kid, key): (&str, &VerifyingKey)| {
            let (x, y) = coordinates(key)?;
            Some(Jwk {
                kty: "EC",
                crv: "P-256",
                x,
                y,
                kid: kid.to_owned(),
                alg: Algorithm::Es256.name(),
                purpose: "sig",
            })
        };
        Self {
            keys: keys.filter_map(jwk).collect(),
        }
    }
}

/// The name of one of our keys: its thumbprint (RFC 7638).
pub(super) fn thumbprint(key: &VerifyingKey) -> String {
    let (x, y) = coordinates(key).unwrap_or_default();
    let members = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    BASE64.encode(digest::digest(&digest::SHA256, members.as_bytes()))
}

fn coordinates(key: &VerifyingKey) -> Option<(String, String)> {
    match key {
        VerifyingKey::Es256([4, both @ ..]) => {
            let (x, y) = both.split_at(both.len() / 2);
            Some((BASE64.encode(x), BASE64.encode(y)))
        }
        VerifyingKey::Es256(_) | VerifyingKey::Rs256 { .. } => None,
    }
}

/// A set of keys as others write it; members that say nothing to us are passed over.
#[derive(Deserialize)]
struct ReadSet {
    keys: Vec<ReadKey>,
}

#[derive(Deserialize)]
struct ReadKey {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// The keys of a set that sign by `algorithm`, each with its name. Others are left out: encryption
/// keys stand beside them in the sets of Keycloak.
pub(super) fn read_set(
    json: &[u8],
    algorithm: Algorithm,
) -> Result<Vec<(String, VerifyingKey)>, serde_json::Error> {
    let set: ReadSet = serde_json::from_slice(json)?;
    let keys = set.keys.into_iter().filter_map(|key| key.read(algorithm));
    Ok(keys.take(KEYS_MAX).collect())
}

impl ReadKey {
    fn read(self, algorithm: Algorithm) -> Option<(String, VerifyingKey)> {
        let other_algorithm = self.alg.is_some_and(|alg| alg != algorithm.name());
        if other_algorithm || self.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let bytes = |text: Option<String>| BASE64.decode(text?).ok();
        let key = match (algorithm, self.kty.as_str(), self.crv.as_deref()) {
            (Algorithm::Es256, "EC", Some("P-256")) => {
                let point = [vec![4], bytes(self.x)?, bytes(self.y)?].concat();
                VerifyingKey::Es256(point.try_into().ok()?)
            }
            (Algorithm::Rs256, "RSA", _) => VerifyingKey::Rs256 {
                n: bytes(self.n)?,
                e: bytes(self.e)?,
            },
            _ => return None,
        };
        Some((self.kid?, key))
    }
}

#[cfg(test)]
mod tests {
    use super::super::jws::SigningKey;
    use super::*;

    #[test]
    fn a_served_key_is_read_back() {
        let key = SigningKey::generate().unwrap().verifying();
        let kid = thumbprint(&key);
        let set = JwkSet::of([(&*kid, &key)].into_iter());
        let json = serde_json::to_vec(&set).unwrap();
        let read = read_set(&json, Algorithm::Es256).unwrap();
        assert!(read == [(kid, key)]);
        assert!(read_set(&json, Algorithm::Rs256).unwrap().is_empty());
    }

    #[test]
    fn keys_for_another_purpose_are_passed_over() {
        let json = br#"{"keys":[
            {"kty":"RSA","kid":"enc","use":"enc","alg":"RSA-OAEP","n":"AQAB","e":"AQAB"},
            {"kty":"oct","kid":"secret","k":"c2VjcmV0"},
            {"kty":"RSA","n":"AQAB","e":"AQAB"},
            {"kty":"RSA","kid":"sig","use":"sig","alg":"RS256","n":"AQAB","e":"AQAB","x5c":[]}]}"#;
        let read = read_set(json, Algorithm::Rs256).unwrap();
        let names: Vec<_> = read.iter().map(|(kid, _)| kid.as_str()).collect();
        assert_eq!(names, ["sig"]);
    }
}
