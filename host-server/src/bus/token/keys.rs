//! The keys that sign our tokens: in one file of the data folder, closed to others, and rotated.
//!
//! The newest key signs. One that was replaced still verifies until the last token that it can have
//! signed is over; then it is forgotten. All of them are served as a key set, so that others can
//! verify our tokens.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};

use super::jwk::{self, JwkSet};
use super::jws::{SigningKey, VerifyingKey};
use crate::bus::clients::{seconds, time};
use crate::identity::IdentityError;
use crate::identity::files::{self, Existing};

/// The file in the data folder.
const FILE: &str = "token-keys.json";

/// The keys of one data folder.
pub(super) struct KeyRing {
    path: PathBuf,
    /// How long a key signs.
    rotation: Duration,
    /// How long a token lives at most.
    lifetime_max: Duration,
    keys: RwLock<Arc<Vec<Key>>>,
    rotating: Mutex<()>,
}

/// One key; the last of the ring signs.
struct Key {
    kid: String,
    signing: SigningKey,
    verifying: VerifyingKey,
    made_at: SystemTime,
    /// When the last token that it signed is over; `None` while it signs.
    over_at: Option<SystemTime>,
}

#[derive(Serialize, Deserialize)]
struct KeyFile {
    keys: Vec<KeyRecord>,
}

/// A key on disk; times are seconds since 1970.
#[derive(Serialize, Deserialize)]
struct KeyRecord {
    pkcs8: String,
    made_at: u64,
    over_at: Option<u64>,
}

impl KeyRing {
    /// Opens the keys in `data_dir`, or makes the first.
    pub(super) fn open(
        data_dir: &Path,
        rotation: Duration,
        lifetime_max: Duration,
        now: SystemTime,
    ) -> Result<Self, IdentityError> {
        let path = data_dir.join(FILE);
        let keys = match files::read(&path)? {
            Some(text) => read(&path, &text)?,
            None => Vec::new(),
        };
        let ring = Self {
            path,
            rotation,
            lifetime_max,
            keys: RwLock::new(Arc::new(keys)),
            rotating: Mutex::default(),
        };
        ring.rotate_if_due(now)?;
        Ok(ring)
    }

    /// Makes a new key when the newest has signed for as long as it may, and forgets those whose
    /// tokens are over.
    pub(super) fn rotate_if_due(&self, now: SystemTime) -> Result<(), IdentityError> {
        let _rotating = self.rotating.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.keys();
        let is_over = |key: &Key| key.over_at.is_some_and(|over| over <= now);
        // A clock that was set back must not keep a key for ever.
        let signs = |key: &Key| {
            key.over_at.is_none()
                && now
                    .duration_since(key.made_at)
                    .is_ok_and(|age| age < self.rotation)
        };
        let has_signer = old.last().is_some_and(signs);
        if has_signer && !old.iter().any(is_over) {
            return Ok(());
        }
        let kept = old.iter().filter(|key| !is_over(key));
        let mut records: Vec<_> = kept.map(Key::record).collect();
        if !has_signer {
            let over_at = seconds(now + self.lifetime_max) + 1;
            for record in &mut records {
                record.over_at.get_or_insert(over_at);
            }
            records.push(KeyRecord {
                pkcs8: BASE64.encode(SigningKey::generate()?.pkcs8()),
                made_at: seconds(now),
                over_at: None,
            });
        }
        let text = serde_json::to_string_pretty(&KeyFile { keys: records }).map_err(|error| {
            IdentityError::Issue {
                detail: error.to_string(),
            }
        })?;
        files::write(&self.path, &text, Existing::Replace)?;
        let keys = Arc::new(read(&self.path, &text)?);
        if !has_signer && let Some(signer) = keys.last() {
            tracing::info!(kid = signer.kid, "a new key signs tokens from now on");
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys;
        Ok(())
    }

    /// Signs a token with the newest key.
    pub(super) fn sign(&self, claims: &impl Serialize) -> Result<String, IdentityError> {
        match self.keys().last() {
            Some(key) => key.signing.sign(&key.kid, claims),
            None => Err(IdentityError::Missing {
                path: self.path.clone(),
            }),
        }
    }

    /// The key of this name, as long as tokens of it may be about.
    pub(super) fn find(&self, kid: &str, now: SystemTime) -> Option<VerifyingKey> {
        let keys = self.keys();
        let mut keys = keys.iter();
        keys.find(|key| key.kid == kid && key.over_at.is_none_or(|over| now < over))
            .map(|key| key.verifying.clone())
    }

    /// All keys, to be served.
    pub(super) fn public(&self) -> JwkSet {
        let keys = self.keys();
        JwkSet::of(keys.iter().map(|key| (key.kid.as_str(), &key.verifying)))
    }

    fn keys(&self) -> Arc<Vec<Key>> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Key {
    fn record(&self) -> KeyRecord {
        KeyRecord {
            pkcs8: BASE64.encode(self.signing.pkcs8()),
            made_at: seconds(self.made_at),
            over_at: self.over_at.map(seconds),
        }
    }
}

fn read(path: &Path, text: &str) -> Result<Vec<Key>, IdentityError> {
    let damaged = |detail: String| IdentityError::Damaged {
        path: path.to_owned(),
        detail,
    };
    let file: KeyFile = serde_json::from_str(text)
        .map_err(|error| damaged(format!("line {}, column {}", error.line(), error.column())))?;
    let key = |record: KeyRecord| {
        let pkcs8 = BASE64.decode(&record.pkcs8).ok()?;
        let signing = SigningKey::from_pkcs8(&pkcs8)?;
        let verifying = signing.verifying();
        Some(Key {
            kid: jwk::thumbprint(&verifying),
            signing,
            verifying,
            made_at: time(record.made_at),
            over_at: record.over_at.map(time),
        })
    };
    let keys: Option<Vec<_>> = file.keys.into_iter().map(key).collect();
    keys.ok_or_else(|| damaged("a key in it is none; remove the file to get new keys".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::jws::Unverified;
    use super::*;

    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn open(dir: &Path, now: SystemTime) -> KeyRing {
        KeyRing::open(dir, 24 * HOUR, 2 * HOUR, now).unwrap()
    }

    fn kid_of(token: &str) -> String {
        Unverified::parse(token).unwrap().header.kid.unwrap()
    }

    #[test]
    fn a_replaced_key_verifies_until_its_last_token_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let ring = open(dir.path(), now);
        let sign = || ring.sign(&serde_json::json!({})).unwrap();
        let first = kid_of(&sign());
        ring.rotate_if_due(now + 23 * HOUR).unwrap();
        assert_eq!(kid_of(&sign()), first);

        let later = now + 25 * HOUR;
        ring.rotate_if_due(later).unwrap();
        let second = kid_of(&sign());
        assert_ne!(first, second);
        for at in [later, later + 2 * HOUR - Duration::from_secs(1)] {
            ring.rotate_if_due(at).unwrap();
            assert!(ring.find(&first, at).is_some() && ring.find(&second, at).is_some());
        }
        let over = later + 2 * HOUR + Duration::from_secs(2);
        assert!(ring.find(&first, over).is_none());
        ring.rotate_if_due(over).unwrap();
        assert!(ring.find(&first, later).is_none(), "it is forgotten");
        assert_eq!(kid_of(&sign()), second);
    }

    #[test]
    fn keys_survive_a_restart_and_are_closed_to_others() {
        let dir = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let token = open(dir.path(), now).sign(&serde_json::json!({})).unwrap();
        let again = open(dir.path(), now + HOUR);
        assert!(again.find(&kid_of(&token), now + HOUR).is_some());
        let mode = dir
            .path()
            .join(FILE)
            .metadata()
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_damaged_file_is_named_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for text in [
            "",
            "{\"keys\":[{\"pkcs8\":\"AAAA\",\"made_at\":0,\"over_at\":null}]}",
        ] {
            std::fs::write(&path, text).unwrap();
            let opened = KeyRing::open(dir.path(), HOUR, HOUR, SystemTime::now());
            let error = opened.err().unwrap().to_string();
            assert!(error.contains(FILE), "{error}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
    }
}
