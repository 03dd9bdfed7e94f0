//! Signed tokens as bytes: JSON Web Signature in compact form (RFC 7515), ES256 and RS256 only.
//!
//! The algorithm belongs to the key, never to the token: a header that names another one is refused
//! before anything is computed, so neither `none` nor a signature of another kind under a public key
//! gets anywhere.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
    RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::{Deserialize, Serialize};

use super::TokenError;
use crate::identity::IdentityError;

/// Longest token worth looking at, in bytes. Ours have about 700, Keycloak's mostly less than 3,000;
/// an MQTT user name has at most 65,535.
pub(super) const TOKEN_BYTES_MAX: usize = 16 * 1024;

/// Bytes of a public key on the curve P-256, uncompressed.
const POINT_BYTES: usize = 65;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// RSA with PKCS #1 v1.5 and SHA-256, keys of 2048 bits and more.
    Rs256,
}

impl Algorithm {
    /// As a header names it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// The members of a header that say anything to us.
#[derive(Deserialize)]
pub(super) struct Header {
    pub(super) alg: String,
    pub(super) kid: Option<String>,
    /// Extensions that whoever does not know them must not ignore (RFC 7515, section 4.1.11).
    crit: Option<serde::de::IgnoredAny>,
}

/// A token taken apart; nothing of it is proven yet.
pub(super) struct Unverified<'t> {
    pub(super) header: Header,
    signed: &'t str,
    signature: Vec<u8>,
    claims: Vec<u8>,
}

impl<'t> Unverified<'t> {
    pub(super) fn parse(token: &'t str) -> Result<Self, TokenError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(TokenError::TooLong { bytes: token.len() });
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        let decoded = |part: &str| BASE64.decode(part).map_err(|_| TokenError::Malformed);
        let header: Header =
            serde_json::from_slice(&decoded(header)?).map_err(|_| TokenError::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenError::Malformed);
        }
        Ok(Self {
            header,
            signed,
            signature: decoded(signature)?,
            claims: decoded(claims)?,
        })
    }

    /// What the token says, once `key` has signed it.
    pub(super) fn verified_by(self, key: &VerifyingKey) -> Result<Vec<u8>, TokenError> {
        let wanted = key.algorithm();
        if self.header.alg != wanted.name() {
            return Err(TokenError::Algorithm { wanted });
        }
        let (text, signature) = (self.signed.as_bytes(), &self.signature);
        let verified = match key {
            VerifyingKey::Es256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(text, signature)
            }
            VerifyingKey::Rs256 { n, e } => {
                RsaPublicKeyComponents { n, e }.verify(&RSA_PKCS1_2048_8192_SHA256, text, signature)
            }
        };
        verified.map_err(|_| TokenError::Signature)?;
        Ok(self.claims)
    }

    /// What the token says, whoever has signed it: to be shown, never to be believed.
    pub(super) fn unproven_claims(&self) -> &[u8] {
        &self.claims
    }
}

/// A public key, for the one algorithm that it is for.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum VerifyingKey {
    /// A point on P-256, uncompressed.
    Es256([u8; POINT_BYTES]),
    /// Modulus and exponent, big-endian without leading zeros.
    Rs256 { n: Vec<u8>, e: Vec<u8> },
}

impl VerifyingKey {
    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Es256(_) => Algorithm::Es256,
            Self::Rs256 { .. } => Algorithm::Rs256,
        }
    }
}

/// A private key on P-256.
pub(super) struct SigningKey {
    pair: EcdsaKeyPair,
    pkcs8: Vec<u8>,
}

impl SigningKey {
    pub(super) fn generate() -> Result<Self, IdentityError> {
        let pkcs8 =
            EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new())
                .map_err(|_| IdentityError::NoRandomness)?;
        // What was just generated is a key.
        Self::from_pkcs8(pkcs8.as_ref()).ok_or(IdentityError::NoRandomness)
    }

    pub(super) fn from_pkcs8(pkcs8: &[u8]) -> Option<Self> {
        let random = SystemRandom::new();
        let pair =
            EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random).ok()?;
        let pkcs8 = pkcs8.to_vec();
        Some(Self { pair, pkcs8 })
    }

    /// The key itself, to be kept.
    pub(super) fn pkcs8(&self) -> &[u8] {
        &self.pkcs8
    }

    pub(super) fn verifying(&self) -> VerifyingKey {
        let mut point = [0; POINT_BYTES];
        point.copy_from_slice(self.pair.public_key().as_ref());
        VerifyingKey::Es256(point)
    }

    /// A token that says `claims`.
    pub(super) fn sign(&self, kid: &str, claims: &impl Serialize) -> Result<String, IdentityError> {
        let failed = |detail: String| IdentityError::Issue { detail };
        let header = serde_json::json!({"alg": "ES256", "typ": "JWT", "kid": kid});
        let claims = serde_json::to_vec(claims).map_err(|error| failed(error.to_string()))?;
        let mut token = BASE64.encode(header.to_string());
        token.push('.');
        BASE64.encode_string(claims, &mut token);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), token.as_bytes())
            .map_err(|_| failed("the token could not be signed".to_owned()))?;
        token.push('.');
        BASE64.encode_string(signature, &mut token);
        Ok(token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The claims of the examples of RFC 7515.
    const CLAIMS: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    fn decoded(text: &str) -> Vec<u8> {
        BASE64.decode(text).unwrap()
    }

    fn verified(token: &str, key: &VerifyingKey) -> Result<Vec<u8>, TokenError> {
        Unverified::parse(token).and_then(|token| token.verified_by(key))
    }

    /// RFC 7515, appendix A.2.
    fn rsa() -> (String, VerifyingKey) {
        let n = "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ";
        let signature = "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw";
        let key = VerifyingKey::Rs256 {
            n: decoded(n),
            e: decoded("AQAB"),
        };
        (format!("eyJhbGciOiJSUzI1NiJ9.{CLAIMS}.{signature}"), key)
    }

    /// RFC 7515, appendix A.3.
    fn ec() -> (String, VerifyingKey) {
        let x = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU";
        let y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0";
        let point = [vec![4], decoded(x), decoded(y)].concat();
        let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
        let key = VerifyingKey::Es256(point.try_into().unwrap());
        (format!("eyJhbGciOiJFUzI1NiJ9.{CLAIMS}.{signature}"), key)
    }

    #[test]
    fn examples_of_the_specification_verify_with_their_keys_only() {
        let ((rsa_token, rsa_key), (ec_token, ec_key)) = (rsa(), ec());
        assert_eq!(verified(&rsa_token, &rsa_key).unwrap(), decoded(CLAIMS));
        assert_eq!(verified(&ec_token, &ec_key).unwrap(), decoded(CLAIMS));
        let crossed = [verified(&rsa_token, &ec_key), verified(&ec_token, &rsa_key)];
        for refused in crossed {
            assert!(matches!(refused, Err(TokenError::Algorithm { .. })));
        }
    }

    #[test]
    fn one_changed_byte_breaks_the_signature() {
        let (token, key) = ec();
        let changed = token.replace("OjEzMDA", "OjIzMDA");
        assert_ne!(changed, token);
        assert!(matches!(
            verified(&changed, &key),
            Err(TokenError::Signature)
        ));
    }

    #[test]
    fn what_is_no_token_is_refused_before_anything_is_computed() {
        let (good, _) = ec();
        let header = |json: &str| format!("{}.{CLAIMS}.AAAA", BASE64.encode(json));
        for token in [
            String::new(),
            "a".to_owned(),
            "..".to_owned(),
            good.replace('.', ""),
            format!("{good}.AAAA"),
            format!("{good}="),
            format!(" {good}"),
            header("{}"),
            header("[]"),
            header(r#"{"alg":"ES256","alg":"none"}"#),
            header(r#"{"alg":"ES256","crit":["exp"]}"#),
        ] {
            let refused = Unverified::parse(&token).err();
            assert!(matches!(refused, Some(TokenError::Malformed)), "{token}");
        }
        let long = format!("{good}{}", "A".repeat(TOKEN_BYTES_MAX));
        assert!(matches!(
            Unverified::parse(&long).err(),
            Some(TokenError::TooLong { .. })
        ));
    }
}
