//! Checks secrets against their slow hashes: fairly, a few at a time, and each success remembered.
//!
//! Secrets of logins are hashed with Argon2id; a check costs tens of milliseconds and 19 MiB, so few
//! run at once and a success is remembered under a key that lives as long as the process. Floods of
//! wrong secrets are held off by the [`login_queue`](super::login_queue); a remembered success passes
//! it by.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use tokio::sync::{OnceCell, Semaphore};

use super::LoginError;
use super::enroll::IdentityError;
use super::login_queue::{LoginQueue, NotNow};
use super::secret::Secret;

/// Longest secret worth looking at, in bytes; ours have less than 300.
pub(super) const SECRET_BYTES_MAX: usize = 1024;

/// Checks that run at once: each holds 19 MiB and a core.
const CHECKS_AT_ONCE_MAX: usize = 2;

/// Successful checks remembered; 32 bytes each.
const REMEMBERED_MAX: usize = 10_000;

/// A hash that takes as long as those of [`hash`], and is of no secret: all zeros.
const NOBODYS_HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA\
                            $AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Checks secrets of logins.
pub(super) struct SecretChecks {
    /// Key of the remembered checks; made anew for each process.
    process_key: hmac::Key,
    remembered: Mutex<HashSet<[u8; 32]>>,
    checks: Arc<Semaphore>,
    queue: Arc<LoginQueue>,
    /// Checks under way, so that equal ones are made once.
    under_way: Mutex<HashMap<[u8; 32], Weak<OnceCell<bool>>>>,
}

impl SecretChecks {
    pub(super) fn new() -> Result<Self, IdentityError> {
        let process_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| IdentityError::NoRandomness)?;
        Ok(Self {
            process_key,
            remembered: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE_MAX)),
            queue: Arc::default(),
            under_way: Mutex::default(),
        })
    }

    /// Whether `secret`, given by `user` from `address`, is that of the hash `stored`.
    ///
    /// # Errors
    /// A [`LoginError`] that says why not, or why it was not checked.
    pub(super) async fn check(
        &self,
        user: &str,
        stored: &str,
        secret: &[u8],
        address: IpAddr,
    ) -> Result<(), LoginError> {
        if secret.len() > SECRET_BYTES_MAX {
            return Err(LoginError::WrongPassword);
        }
        let memory = self.memory_of(stored, secret);
        if lock(&self.remembered).contains(&memory) {
            return Ok(());
        }
        let result = self.check_under_way(memory);
        let right = result.get_or_try_init(async || {
            let turn = self.queue.enter(address, user, Instant::now());
            let turn = turn.map_err(|not_now| match not_now {
                NotNow::Busy => LoginError::Busy,
                NotNow::Paused { left } => LoginError::Paused { left },
            })?;
            let right = self.verify(stored.to_owned(), secret.to_vec()).await;
            if right {
                turn.succeeded();
            } else {
                turn.failed(Instant::now());
            }
            Ok::<_, LoginError>(right)
        });
        if !*right.await? {
            return Err(LoginError::WrongPassword);
        }
        let mut remembered = lock(&self.remembered);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(memory);
        Ok(())
    }

    /// What is answered to `secret` of a `user` that there is not: it costs what a wrong one costs and
    /// has the same pauses, so that nobody learns by trying who there is.
    pub(super) async fn refuse(&self, user: &str, secret: &[u8], address: IpAddr) -> LoginError {
        match self.check(user, NOBODYS_HASH, secret, address).await {
            Err(not_checked @ (LoginError::Busy | LoginError::Paused { .. })) => not_checked,
            Ok(()) | Err(_) => LoginError::UnknownUser,
        }
    }

    /// Compares in constant time: HMAC tags of both sides, by a verifier made for that.
    pub(super) fn are_equal(&self, one: &[u8], other: &[u8]) -> bool {
        let tag = hmac::sign(&self.process_key, one);
        hmac::verify(&self.process_key, other, tag.as_ref()).is_ok()
    }

    /// The result of a check that may be under way already: many workers of a partner may log in at
    /// once.
    fn check_under_way(&self, memory: [u8; 32]) -> Arc<OnceCell<bool>> {
        let mut under_way = lock(&self.under_way);
        if let Some(result) = under_way.get(&memory).and_then(Weak::upgrade) {
            return result;
        }
        // What is left are as many as there are logins now.
        under_way.retain(|_, result| result.strong_count() > 0);
        let result = Arc::new(OnceCell::new());
        under_way.insert(memory, Arc::downgrade(&result));
        result
    }

    /// Runs Argon2id off the async threads, a few at a time.
    async fn verify(&self, stored: String, secret: Vec<u8>) -> bool {
        let Ok(permit) = Arc::clone(&self.checks).acquire_owned().await else {
            return false;
        };
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(&secret, &hash).is_ok())
        });
        checked.await.unwrap_or(false)
    }

    /// What is remembered of a successful check; nothing can be learnt from it without the key, and
    /// it dies with the stored hash.
    fn memory_of(&self, stored: &str, secret: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.process_key);
        context.update(stored.as_bytes());
        context.update(&[0]);
        context.update(secret);
        let mut memory = [0; 32];
        memory.copy_from_slice(context.sign().as_ref());
        memory
    }
}

/// The slow hash of a secret, with a salt of its own, as it is stored.
pub(super) fn hash(secret: &Secret) -> Result<String, IdentityError> {
    let mut salt = [0; 16];
    SystemRandom::new()
        .fill(&mut salt)
        .map_err(|_| IdentityError::NoRandomness)?;
    let hash: PasswordHash = Argon2::default()
        .hash_password_with_salt(secret.expose().as_bytes(), &salt)
        .map_err(|error| IdentityError::Issue {
            detail: error.to_string(),
        })?;
    Ok(hash.to_string())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_nobody_costs_what_others_cost() {
        let real = hash(&Secret::new("secret".to_owned())).unwrap();
        let of = |text| {
            let PasswordHash {
                algorithm,
                version,
                params,
                salt,
                hash,
            } = PasswordHash::new(text).unwrap();
            let bytes = (salt.unwrap().len(), hash.unwrap().len());
            (algorithm, version, params, bytes)
        };
        assert_eq!(of(NOBODYS_HASH), of(&real));
    }
}
