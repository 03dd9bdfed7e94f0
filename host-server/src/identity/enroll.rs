//! The identities of one data folder, and enrolling vehicles and partners into it.
//!
//! Everything is in files, so that enrolling works beside a running server, which looks a partner
//! up at each login:
//!
//! ```text
//! ca.pem                        what everybody trusts, a copy of ca/cert.pem
//! issued                        a line for each certificate of a vehicle or partner
//! ca/        cert.pem key.pem   the development CA
//! server/    cert.pem key.pem   the server's certificate
//! admin/     token              the administrator's token
//! partners/  {uid}/             what the server keeps of partners it enrolled itself
//! credentials/                  hashes of passwords and tokens, one file for each partner
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use vinbus_protocol::id::{Uid, Vin};

use super::ca::{Authority, IssuedCertificate};
use super::credentials::{ADMIN_USER_NAME, Credentials};
use super::files::{self, Existing};

/// Why an identity could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// A file is in the way; nothing was written.
    #[error("{} exists already; choose another folder, or replace it (`--replace`)", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A folder, or what it would lie in, is a file.
    #[error("the folder {} cannot be used: {} is a file; name a folder", path.display(), file.display())]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// The partner has credentials already; nothing was written.
    #[error(
        "partner {uid} is enrolled already; with --replace it is enrolled anew, and its present \
         password and token become invalid"
    )]
    Enrolled {
        /// The partner.
        uid: Uid,
    },
    /// A UID that can be taken for something else.
    #[error("`{uid}` cannot be the UID of a partner: {detail}")]
    ReservedUid {
        /// The UID.
        uid: Uid,
        /// What it can be taken for.
        detail: &'static str,
    },
    /// Neither a DNS name nor an address.
    #[error("`{name}` is neither a DNS name nor an IP address, so no certificate can name it")]
    ServerName {
        /// The name.
        name: String,
    },
    /// A file that belongs beside another is not there.
    #[error(
        "{} is missing; restore it from a backup, or remove its folder to start anew (everything it \
         issued becomes invalid)",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A file holds something else than it should.
    #[error("{} is damaged: {detail}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        detail: String,
    },
    /// The CA's own certificate has expired.
    #[error("the certificate of the CA has expired; it cannot issue any more")]
    AuthorityExpired,
    /// The certificate library refused.
    #[error("no certificate could be issued: {detail}")]
    Issue {
        /// What it said.
        detail: String,
    },
    /// The operating system has no random numbers.
    #[error("the operating system gives no random numbers")]
    NoRandomness,
    /// The disk refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl IdentityError {
    /// Whether what was typed is at fault.
    pub(crate) fn is_usage(&self) -> bool {
        matches!(self, Self::NoFolder { .. } | Self::ReservedUid { .. })
    }

    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            path: path.into(),
            source,
        }
    }
}

/// The identities of one data folder.
#[derive(Debug)]
pub struct Identities {
    data_dir: PathBuf,
    authority: Authority,
    credentials: Arc<Credentials>,
}

impl Identities {
    /// Whether [`Identities::open`] finds an authority in `data_dir`, or what is left of one, and
    /// founds none.
    #[must_use]
    pub fn are_in(data_dir: &Path) -> bool {
        Authority::is_in(&data_dir.join("ca"))
    }

    /// Makes the folder `out_dir` for credentials, and checks that there are none as `existing` says.
    ///
    /// # Errors
    /// [`IdentityError::Exists`], or an error of making the folder.
    pub fn prepare_out(out_dir: &Path, existing: Existing) -> Result<(), IdentityError> {
        files::make_folder(out_dir)?;
        files::check(out_dir, &["ca.pem", "cert.pem", "key.pem"], existing)
    }

    /// Opens the identities in `data_dir`; makes the CA and the administrator's token when they are
    /// not there yet. Several programs may do so at once.
    ///
    /// # Errors
    /// An [`IdentityError`] of reading or writing below `data_dir`.
    pub fn open(data_dir: &Path) -> Result<Self, IdentityError> {
        files::make_folder(data_dir)?;
        let authority = Authority::open_or_create(&data_dir.join("ca"))?;
        let trusted = data_dir.join("ca.pem");
        if files::read(&trusted)?.as_deref() != Some(authority.certificate()) {
            files::write(&trusted, authority.certificate(), Existing::Replace)?;
        }
        let credentials = Arc::new(Credentials::open(data_dir)?);
        credentials.ensure_admin()?;
        Ok(Self {
            data_dir: data_dir.into(),
            authority,
            credentials,
        })
    }

    /// Whom to trust: the CA.
    #[must_use]
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Checks logins and tokens.
    #[must_use]
    pub fn credentials(&self) -> Arc<Credentials> {
        Arc::clone(&self.credentials)
    }

    /// Where the administrator's token is.
    #[must_use]
    pub fn admin_token_path(&self) -> PathBuf {
        self.data_dir.join("admin").join("token")
    }

    /// Where the server keeps what it enrolled for `uid` itself.
    #[must_use]
    pub fn partner_dir(&self, uid: &Uid) -> PathBuf {
        self.data_dir
            .join("partners")
            .join(files::file_stem(uid.as_str()))
    }

    /// The server's certificate for `localhost`, the loopback addresses and `names` (DNS names or
    /// IP addresses); renewed when it expires within 30 days or when the names changed.
    ///
    /// # Errors
    /// [`IdentityError::ServerName`], or an error of issuing or writing.
    pub fn server_certificate(&self, names: &[String]) -> Result<IssuedCertificate, IdentityError> {
        self.authority
            .server_certificate(&self.data_dir.join("server"), names)
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` for a vehicle into `out_dir`.
    ///
    /// # Errors
    /// [`IdentityError::Exists`] when one of them exists and `existing` says to refuse, or an error
    /// of issuing or writing.
    pub fn enroll_vehicle(
        &self,
        vin: &Vin,
        out_dir: &Path,
        existing: Existing,
    ) -> Result<(), IdentityError> {
        self.write_certificate(vin.as_str(), out_dir, existing)
    }

    /// Writes `ca.pem`, `cert.pem` and `key.pem` for the administrator into `out_dir`, for MQTT over
    /// TLS; the password there is the administrator's token.
    ///
    /// # Errors
    /// As [`Identities::enroll_vehicle`].
    pub fn enroll_admin(&self, out_dir: &Path, existing: Existing) -> Result<(), IdentityError> {
        self.write_certificate(ADMIN_USER_NAME, out_dir, existing)
    }

    /// Writes `ca.pem`, `cert.pem`, `key.pem`, `password` (MQTT) and `token` (REST) for a partner
    /// into `out_dir` and keeps the hashes of the last two. A running server knows the partner at
    /// once.
    ///
    /// # Errors
    /// [`IdentityError::ReservedUid`]; [`IdentityError::Enrolled`] or [`IdentityError::Exists`] when
    /// the partner or a file exists and `existing` says to refuse; or an error of issuing or
    /// writing.
    pub fn enroll_partner(
        &self,
        uid: &Uid,
        out_dir: &Path,
        existing: Existing,
    ) -> Result<(), IdentityError> {
        check_uid(uid)?;
        if existing == Existing::Refuse && self.credentials.knows(uid)? {
            return Err(IdentityError::Enrolled { uid: uid.clone() });
        }
        let issued = self.authority.issue_client(uid.as_str())?;
        let fresh = Credentials::generate(uid)?;
        files::write_all(
            out_dir,
            &[
                ("ca.pem", self.authority.certificate()),
                ("cert.pem", &issued.certificate),
                ("key.pem", issued.key.expose()),
                ("password", fresh.password.expose()),
                ("token", fresh.token.expose()),
            ],
            existing,
        )?;
        self.note(uid.as_str(), &issued)?;
        self.credentials.store(uid, &fresh)
    }

    fn write_certificate(
        &self,
        common_name: &str,
        out_dir: &Path,
        existing: Existing,
    ) -> Result<(), IdentityError> {
        let issued = self.authority.issue_client(common_name)?;
        files::write_all(
            out_dir,
            &[
                ("ca.pem", self.authority.certificate()),
                ("cert.pem", &issued.certificate),
                ("key.pem", issued.key.expose()),
            ],
            existing,
        )?;
        self.note(common_name, &issued)
    }

    /// Notes that a certificate was issued: when, its serial number, and for whom.
    fn note(&self, common_name: &str, issued: &IssuedCertificate) -> Result<(), IdentityError> {
        let when = humantime::format_rfc3339_seconds(SystemTime::now());
        let line = format!("{when} {} {common_name}\n", issued.serial_number());
        files::append(&self.issued_path(), &line)
    }

    fn issued_path(&self) -> PathBuf {
        self.data_dir.join("issued")
    }

    /// The vehicle that was enrolled last, if any was.
    ///
    /// # Errors
    /// An error of reading.
    pub fn last_vehicle(&self) -> Result<Option<Vin>, IdentityError> {
        let issued = files::read(&self.issued_path())?.unwrap_or_default();
        let names = issued
            .lines()
            .rev()
            .filter_map(|line| line.splitn(3, ' ').nth(2));
        Ok(names.filter_map(|name| Vin::parse(name).ok()).next())
    }

    /// Enrolls a partner into [`Identities::partner_dir`] unless it is enrolled already.
    ///
    /// # Errors
    /// As [`Identities::enroll_partner`].
    pub fn ensure_partner(&self, uid: &Uid) -> Result<(), IdentityError> {
        if self.credentials.knows(uid)? {
            return Ok(());
        }
        self.enroll_partner(uid, &self.partner_dir(uid), Existing::Replace)
    }
}

/// A UID must not be taken for a vehicle's VIN in a certificate, nor for the administrator.
fn check_uid(uid: &Uid) -> Result<(), IdentityError> {
    let detail = if Vin::parse(uid.as_str()).is_ok() {
        "it is a VIN as well, and its certificate would be a vehicle's"
    } else if uid.as_str().eq_ignore_ascii_case(ADMIN_USER_NAME) {
        "it is the user name of the administrator"
    } else if uid.as_str().trim() != uid.as_str() {
        "it begins or ends with white space"
    } else {
        return Ok(());
    };
    Err(IdentityError::ReservedUid {
        uid: uid.clone(),
        detail,
    })
}
