//! Passwords and tokens: kept as hashes, looked up at each use.
//!
//! A partner's record is one small file below `credentials/partners/`, replaced as a whole, so that
//! enrolling works beside a running server. MQTT passwords are hashed with Argon2id; a check costs
//! tens of milliseconds and 19 MiB, so few run at once and a success is remembered under a key
//! that lives as long as the process. Floods of wrong passwords are held off by the
//! [`login_queue`](super::login_queue); a remembered success passes it by. REST tokens carry 256 random bits and need no slow hash:
//! their SHA-256 is compared in constant time. A token names its partner, so finding the record
//! needs no index.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use tokio::sync::{OnceCell, Semaphore};
use vinbus_protocol::id::Uid;

use super::Identity;
use super::enroll::IdentityError;
use super::files::{self, Existing};
use super::login_queue::{LoginQueue, NotNow};
use super::secret::{Secret, from_hex, hex};
use crate::model::Principal;

/// The administrator's user name on MQTT; the password is the administrator's token.
pub const ADMIN_USER_NAME: &str = "admin";

const ADMIN_TOKEN_PREFIX: &str = "vba.";
const PARTNER_TOKEN_PREFIX: &str = "vbp.";

/// Longest password or token worth looking at, in bytes; ours have less than 300.
const SECRET_BYTES_MAX: usize = 1024;

/// Password checks that run at once: each holds 19 MiB and a core.
const CHECKS_AT_ONCE_MAX: usize = 2;

/// Successful checks remembered; 32 bytes each.
const REMEMBERED_MAX: usize = 10_000;

/// Why a login was refused. The peer is told no more than that it was.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// There is no such user.
    #[error("unknown user name")]
    UnknownUser,
    /// The user exists, the password is another.
    #[error("wrong password")]
    WrongPassword,
    /// Too many logins wait to be checked, of all, of this address or of this user.
    #[error("too many logins at once; try again in a moment")]
    Busy,
    /// This address gave too many wrong passwords for this user.
    #[error("too many wrong passwords; the next try is in {} s", left.as_secs() + 1)]
    Paused {
        /// Time until the next try.
        left: Duration,
    },
    /// The record could not be read.
    #[error(transparent)]
    Unreadable(#[from] IdentityError),
}

/// Checks who somebody is by what they know.
pub struct Credentials {
    data_dir: PathBuf,
    /// Key of the remembered checks and of constant-time comparison; made anew for each process.
    process_key: hmac::Key,
    remembered: Mutex<HashSet<[u8; 32]>>,
    checks: Arc<Semaphore>,
    queue: Arc<LoginQueue>,
    /// Checks under way, so that equal ones are made once.
    under_way: Mutex<HashMap<[u8; 32], Weak<OnceCell<bool>>>>,
}

/// What a partner is given, once.
pub(super) struct Fresh {
    pub(super) password: Secret,
    pub(super) token: Secret,
}

/// What is kept of a partner.
#[derive(Serialize, Deserialize)]
struct PartnerRecord {
    uid: String,
    password_argon2id: String,
    token_sha256: String,
}

/// What is kept of the administrator.
#[derive(Serialize, Deserialize)]
struct AdminRecord {
    token_sha256: String,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}

impl Credentials {
    pub(super) fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        let process_key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| IdentityError::NoRandomness)?;
        Ok(Self {
            data_dir: data_dir.into(),
            process_key,
            remembered: Mutex::default(),
            checks: Arc::new(Semaphore::new(CHECKS_AT_ONCE_MAX)),
            queue: Arc::default(),
            under_way: Mutex::default(),
        })
    }

    /// Who a REST token belongs to; `None` when it belongs to nobody or its record cannot be read.
    #[must_use]
    pub fn principal(&self, token: &str) -> Option<Principal> {
        let token = token.trim();
        if token.len() > SECRET_BYTES_MAX {
            return None;
        }
        if token.starts_with(ADMIN_TOKEN_PREFIX) {
            let record: AdminRecord = self.read(&self.admin_record_path()).ok()??;
            return self
                .is_hash_of(&record.token_sha256, token)
                .then_some(Principal::Admin);
        }
        let (stem, _) = token.strip_prefix(PARTNER_TOKEN_PREFIX)?.split_once('.')?;
        let uid = uid_of_stem(stem)?;
        let record = self.partner(&uid).ok()??;
        self.is_hash_of(&record.token_sha256, token)
            .then_some(Principal::Partner(uid))
    }

    /// Whether a partner is enrolled.
    ///
    /// # Errors
    /// An [`IdentityError`] when its record cannot be read.
    pub fn has_partner(&self, uid: &Uid) -> Result<bool, IdentityError> {
        self.partner(uid).map(|record| record.is_some())
    }

    /// Checks a user name and password given on MQTT from `address`: a partner's UID and password, or
    /// [`ADMIN_USER_NAME`] and the administrator's token.
    ///
    /// # Errors
    /// A [`LoginError`] that says what was wrong, for the log.
    pub async fn login(
        &self,
        user_name: &str,
        password: &[u8],
        address: IpAddr,
    ) -> Result<Identity, LoginError> {
        if password.len() > SECRET_BYTES_MAX {
            return Err(LoginError::WrongPassword);
        }
        if user_name == ADMIN_USER_NAME {
            let token = std::str::from_utf8(password).unwrap_or_default();
            return match self.principal(token) {
                Some(Principal::Admin) => Ok(Identity::Admin),
                Some(Principal::Partner(_)) | None => Err(LoginError::WrongPassword),
            };
        }
        let uid = Uid::parse(user_name).map_err(|_| LoginError::UnknownUser)?;
        let record = self.partner(&uid)?.ok_or(LoginError::UnknownUser)?;
        let stored = record.password_argon2id;
        let memory = self.memory_of(&stored, password);
        if self.lock_remembered().contains(&memory) {
            return Ok(Identity::Partner(uid));
        }
        let result = self.check_under_way(memory);
        let right = result.get_or_try_init(async || {
            let turn = self.queue.enter(address, &uid, Instant::now());
            let turn = turn.map_err(|not_now| match not_now {
                NotNow::Busy => LoginError::Busy,
                NotNow::Paused { left } => LoginError::Paused { left },
            })?;
            let right = self.check(stored.clone(), password.to_vec()).await;
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
        let mut remembered = self.lock_remembered();
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(memory);
        Ok(Identity::Partner(uid))
    }

    /// Makes a password and a token for a partner.
    pub(super) fn generate(uid: &Uid) -> Result<Fresh, IdentityError> {
        let prefix = format!("{PARTNER_TOKEN_PREFIX}{}.", files::file_stem(uid.as_str()));
        let secret = |prefix: &str| Secret::generate(prefix).ok_or(IdentityError::NoRandomness);
        Ok(Fresh {
            password: secret("")?,
            token: secret(&prefix)?,
        })
    }

    /// Keeps the hashes of what a partner was given.
    pub(super) fn store(&self, uid: &Uid, fresh: &Fresh) -> Result<(), IdentityError> {
        let mut salt = [0; 16];
        SystemRandom::new()
            .fill(&mut salt)
            .map_err(|_| IdentityError::NoRandomness)?;
        let hash: PasswordHash = Argon2::default()
            .hash_password_with_salt(fresh.password.expose().as_bytes(), &salt)
            .map_err(|error| IdentityError::Issue {
                detail: error.to_string(),
            })?;
        let record = PartnerRecord {
            uid: uid.as_str().to_owned(),
            password_argon2id: hash.to_string(),
            token_sha256: sha256_hex(fresh.token.expose()),
        };
        self.write(&self.partner_record_path(uid), &record)
    }

    /// Whether a partner is enrolled.
    pub(super) fn knows(&self, uid: &Uid) -> Result<bool, IdentityError> {
        Ok(self.partner(uid)?.is_some())
    }

    /// Makes the administrator's token unless there is one; a token file that somebody changed
    /// counts from the next start.
    pub(super) fn ensure_admin(&self) -> Result<(), IdentityError> {
        let token = self.admin_token()?;
        let record = AdminRecord {
            token_sha256: sha256_hex(token.expose()),
        };
        let kept: Option<AdminRecord> = self.read(&self.admin_record_path())?;
        if kept.is_some_and(|kept| kept.token_sha256 == record.token_sha256) {
            return Ok(());
        }
        self.write(&self.admin_record_path(), &record)
    }

    /// The token in `admin/token`, which is made when it is not there.
    fn admin_token(&self) -> Result<Secret, IdentityError> {
        let folder = self.data_dir.join("admin");
        let path = folder.join("token");
        loop {
            if let Some(text) = files::read(&path)? {
                let token = text.trim();
                if token.len() > ADMIN_TOKEN_PREFIX.len() && token.starts_with(ADMIN_TOKEN_PREFIX) {
                    return Ok(Secret::new(token.to_owned()));
                }
                return Err(IdentityError::Damaged {
                    path,
                    detail: format!(
                        "a token of the administrator begins with `{ADMIN_TOKEN_PREFIX}`; remove \
                         the file to get a new one"
                    ),
                });
            }
            let fresh = Secret::generate(ADMIN_TOKEN_PREFIX).ok_or(IdentityError::NoRandomness)?;
            match files::write_all(&folder, &[("token", fresh.expose())], Existing::Refuse) {
                Ok(()) => return Ok(fresh),
                // Another program was faster: its token counts.
                Err(IdentityError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn admin_record_path(&self) -> PathBuf {
        self.data_dir.join("credentials").join("admin.json")
    }

    fn partner_record_path(&self, uid: &Uid) -> PathBuf {
        self.data_dir
            .join("credentials")
            .join("partners")
            .join(format!("{}.json", files::file_stem(uid.as_str())))
    }

    fn partner(&self, uid: &Uid) -> Result<Option<PartnerRecord>, IdentityError> {
        self.read(&self.partner_record_path(uid))
    }

    fn read<T: for<'de> Deserialize<'de>>(&self, path: &Path) -> Result<Option<T>, IdentityError> {
        let Some(text) = files::read(path)? else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .map_err(|error| IdentityError::Damaged {
                path: path.into(),
                detail: format!("line {}, column {}", error.line(), error.column()),
            })
    }

    fn write(&self, path: &Path, record: &impl Serialize) -> Result<(), IdentityError> {
        if let Some(folder) = path.parent() {
            files::make_folder(folder)?;
        }
        let text = serde_json::to_string_pretty(record).map_err(|error| IdentityError::Issue {
            detail: error.to_string(),
        })?;
        files::write(path, &text, Existing::Replace)
    }

    /// The result of a check that may be under way already: many workers of a partner may log in at
    /// once.
    fn check_under_way(&self, memory: [u8; 32]) -> Arc<OnceCell<bool>> {
        let mut under_way = self
            .under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
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
    async fn check(&self, stored: String, password: Vec<u8>) -> bool {
        let Ok(permit) = Arc::clone(&self.checks).acquire_owned().await else {
            return false;
        };
        let checked = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            PasswordHash::new(&stored)
                .is_ok_and(|hash| Argon2::default().verify_password(&password, &hash).is_ok())
        });
        checked.await.unwrap_or(false)
    }

    /// What is remembered of a successful check; nothing can be learnt from it without the key, and
    /// it dies with the stored hash.
    fn memory_of(&self, stored: &str, password: &[u8]) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.process_key);
        context.update(stored.as_bytes());
        context.update(&[0]);
        context.update(password);
        let mut memory = [0; 32];
        memory.copy_from_slice(context.sign().as_ref());
        memory
    }

    /// Compares in constant time: HMAC tags of both sides, by a verifier made for that.
    fn is_hash_of(&self, stored: &str, token: &str) -> bool {
        let Some(stored) = from_hex(stored) else {
            return false;
        };
        let presented = digest::digest(&digest::SHA256, token.as_bytes());
        let tag = hmac::sign(&self.process_key, presented.as_ref());
        hmac::verify(&self.process_key, &stored, tag.as_ref()).is_ok()
    }

    fn lock_remembered(&self) -> std::sync::MutexGuard<'_, HashSet<[u8; 32]>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

fn sha256_hex(text: &str) -> String {
    hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}

/// The UID that [`files::file_stem`] made a file name of.
fn uid_of_stem(stem: &str) -> Option<Uid> {
    let mut bytes = Vec::with_capacity(stem.len());
    let mut rest = stem;
    while let Some(first) = rest.bytes().next() {
        if first == b'~' {
            bytes.extend(from_hex(rest.get(1..3)?)?);
            rest = &rest[3..];
        } else {
            bytes.push(first);
            rest = rest.get(1..)?;
        }
    }
    let uid = Uid::parse(std::str::from_utf8(&bytes).ok()?).ok()?;
    (files::file_stem(uid.as_str()) == stem).then_some(uid)
}
