//! Passwords and tokens: kept as hashes, looked up at each use.
//!
//! A partner's record is one small file below `credentials/partners/`, replaced as a whole, so that
//! enrolling works beside a running server. MQTT passwords are checked by
//! [`secret_checks`]. REST tokens carry 256 random bits and need no slow hash:
//! their SHA-256 is compared in constant time. A token names its partner, so finding the record
//! needs no index.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ring::digest;
use serde::{Deserialize, Serialize};
use vinbus_protocol::id::Uid;

use super::Identity;
use super::enroll::IdentityError;
use super::files::{self, Existing};
use super::secret::{Secret, from_hex, hex};
use super::secret_checks::{self, SECRET_BYTES_MAX, SecretChecks};
use crate::model::Principal;

/// The administrator's user name on MQTT; the password is the administrator's token.
pub const ADMIN_USER_NAME: &str = "admin";

const ADMIN_TOKEN_PREFIX: &str = "vba.";
const PARTNER_TOKEN_PREFIX: &str = "vbp.";

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
    checks: SecretChecks,
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
        Ok(Self {
            data_dir: data_dir.into(),
            checks: SecretChecks::new()?,
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
        let Some(record) = self.partner(&uid)? else {
            return Err(self.refuse_unknown(user_name, password, address).await);
        };
        let stored = record.password_argon2id;
        self.check_secret(user_name, &stored, password, address)
            .await?;
        Ok(Identity::Partner(uid))
    }

    /// Whether `secret`, given by `user` from `address`, is that of the hash `stored`, which
    /// [`Secret::hash`] made. Waits its turn behind others; a success is remembered.
    ///
    /// # Errors
    /// A [`LoginError`] that says why not, or why it was not checked.
    pub async fn check_secret(
        &self,
        user: &str,
        stored: &str,
        secret: &[u8],
        address: IpAddr,
    ) -> Result<(), LoginError> {
        self.checks.check(user, stored, secret, address).await
    }

    /// What is answered to `secret`, given from `address` by a `user` that there is not. It takes as long
    /// as [`Credentials::check_secret`] with a wrong one.
    pub async fn refuse_unknown(&self, user: &str, secret: &[u8], address: IpAddr) -> LoginError {
        self.checks.refuse(user, secret, address).await
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
        let record = PartnerRecord {
            uid: uid.as_str().to_owned(),
            password_argon2id: secret_checks::hash(&fresh.password)?,
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

    /// Whether `stored` is the hash of a token.
    fn is_hash_of(&self, stored: &str, token: &str) -> bool {
        let presented = digest::digest(&digest::SHA256, token.as_bytes());
        from_hex(stored).is_some_and(|stored| self.checks.are_equal(presented.as_ref(), &stored))
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
