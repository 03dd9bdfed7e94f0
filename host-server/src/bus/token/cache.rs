//! Signatures that were verified lately, by the hash of their token: a client that connects again
//! costs no second verification.
//!
//! Only what the signature proves is remembered. Whether the token is still valid, and what its client
//! may do, is asked anew each time, so a revoked token is not helped by having been seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest;

use super::claims::Said;

/// Tokens of each of two generations: 20,000 in all, 20 MiB.
const GENERATION_MAX: usize = 10_000;

/// Largest of what is remembered of a token, in bytes; ours take some 600. A larger one of another issuer
/// is verified each time.
const VERIFIED_BYTES_MAX: usize = 1024;

/// A token's SHA-256.
type TokenHash = [u8; digest::SHA256_OUTPUT_LEN];

/// What a verified token says, and who issued it.
pub(super) struct Verified {
    pub(super) said: Said,
    pub(super) kid: String,
    pub(super) is_ours: bool,
}

/// Verified tokens, bounded: when the newer generation is full, the older one is forgotten.
#[derive(Default)]
pub(super) struct VerifiedTokens(Mutex<Generations>);

#[derive(Default)]
struct Generations {
    newer: HashMap<TokenHash, Arc<Verified>>,
    older: HashMap<TokenHash, Arc<Verified>>,
}

impl Verified {
    /// About how much memory it takes.
    fn bytes(&self) -> usize {
        let Said {
            jti,
            iss,
            aud,
            sub,
            typ,
            azp,
            app_id,
            ..
        } = &self.said;
        let texts = [jti, iss, sub, typ, azp, &self.kid].into_iter();
        let lists = [aud, app_id].into_iter().flatten();
        let listed = size_of::<String>() * (aud.capacity() + app_id.capacity());
        let text: usize = texts.chain(lists).map(String::capacity).sum();
        size_of::<(TokenHash, Self)>() + listed + text
    }
}

impl VerifiedTokens {
    pub(super) fn find(&self, token: &str) -> Option<Arc<Verified>> {
        let hash = hash(token);
        let mut generations = self.lock();
        if let Some(verified) = generations.newer.get(&hash) {
            return Some(Arc::clone(verified));
        }
        let verified = generations.older.remove(&hash)?;
        generations.insert(hash, Arc::clone(&verified));
        Some(verified)
    }

    pub(super) fn insert(&self, token: &str, verified: Arc<Verified>) {
        if verified.bytes() <= VERIFIED_BYTES_MAX {
            self.lock().insert(hash(token), verified);
        }
    }

    pub(super) fn remove(&self, token: &str) {
        let hash = hash(token);
        let mut generations = self.lock();
        generations.newer.remove(&hash);
        generations.older.remove(&hash);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn insert(&mut self, hash: TokenHash, verified: Arc<Verified>) {
        if self.newer.len() >= GENERATION_MAX {
            self.older = std::mem::take(&mut self.newer);
        }
        self.newer.insert(hash, verified);
    }
}

fn hash(token: &str) -> TokenHash {
    let mut hash = TokenHash::default();
    hash.copy_from_slice(digest::digest(&digest::SHA256, token.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verified(audiences: usize) -> Arc<Verified> {
        let name = "x".repeat(64);
        let said = serde_json::json!({
            "exp": 1, "iat": 1, "jti": "x".repeat(36), "iss": "https://issuer.example/realms/sermas",
            "sub": "x".repeat(36), "typ": "Bearer", "azp": format!("{name}-{name}"), "appId": [name],
            "aud": vec!["a"; audiences],
        });
        Arc::new(Verified {
            said: serde_json::from_value(said).unwrap(),
            kid: "x".repeat(43),
            is_ours: true,
        })
    }

    #[test]
    fn what_is_remembered_is_bounded_in_number_and_bytes() {
        let tokens = VerifiedTokens::default();
        tokens.insert("ours", verified(1));
        assert!(tokens.find("ours").is_some());
        tokens.insert("large", verified(1000));
        assert!(tokens.find("large").is_none());
        let one = verified(1);
        for number in 0..3 * GENERATION_MAX {
            tokens.insert(&number.to_string(), Arc::clone(&one));
        }
        let kept = tokens.lock();
        assert!(kept.newer.len() + kept.older.len() <= 2 * GENERATION_MAX);
    }
}
