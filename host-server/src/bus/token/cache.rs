//! Signatures that were verified lately, by the hash of their token: a client that connects again
//! costs no second verification.
//!
//! Only what the signature proves is remembered. Whether the token is still valid, and what its client
//! may do, is asked anew each time, so a revoked token is not helped by having been seen.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use ring::digest;

use super::claims::Said;

/// Tokens of each of two generations: 20,000 in all, each less than 1 KiB.
const GENERATION_MAX: usize = 10_000;

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
        self.lock().insert(hash(token), verified);
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
