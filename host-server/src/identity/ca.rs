//! The development CA: issues the certificates of the server, of vehicles and of partners.
//!
//! All keys are P-256. The CA may sign end-entity certificates only (path length 0); it is meant for
//! development and for pilots, where nobody runs a PKI yet. A certificate and key of another CA in
//! `ca/` are used as they are.

use std::fs;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use ring::digest;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certificate::X509Certificate;

use super::enroll::IdentityError;
use super::files::{self, Existing};
use super::secret::{self, Secret};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Validity of the CA's own certificate.
const CA_VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Validity of the certificates of vehicles and partners.
const CLIENT_VALIDITY: Duration = Duration::from_secs(2 * 365 * 24 * 60 * 60);

/// Validity of the server's certificate.
const SERVER_VALIDITY: Duration = Duration::from_secs(397 * 24 * 60 * 60);

/// Certificates are valid from this long before they are issued, because clocks differ.
const BACKDATED: Duration = DAY;

/// The server's certificate is renewed when it has no more than this left.
const RENEWED_BEFORE: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// A certificate and its private key, PEM.
#[derive(Clone, Debug)]
pub struct IssuedCertificate {
    /// The certificate.
    pub certificate: String,
    /// Its private key, PKCS #8.
    pub key: Secret,
}

impl IssuedCertificate {
    /// The certificate's serial number in hexadecimal digits.
    pub(super) fn serial_number(&self) -> String {
        with_parsed(&self.certificate, |certificate| {
            secret::hex(certificate.raw_serial())
        })
        .unwrap_or_default()
    }
}

/// The development CA.
pub struct Authority {
    subject: String,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
    not_after: SystemTime,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

impl Authority {
    /// Opens the CA in `folder`, which holds `cert.pem` and `key.pem`, or creates one there. Several
    /// programs may do so at once: all of them end up with the same CA.
    pub(super) fn open_or_create(folder: &Path) -> Result<Self, IdentityError> {
        if !Self::is_in(folder) {
            Self::create(folder)?;
        }
        Self::open(folder)
    }

    /// Whether a CA, or what is left of one, is in `folder`.
    pub(super) fn is_in(folder: &Path) -> bool {
        folder.join("cert.pem").exists() || folder.join("key.pem").exists()
    }

    /// The name in the CA's certificate, which is of this CA alone when it was founded here.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The CA's certificate, PEM.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// When the CA's certificate expires, and with it everything it issued.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.not_after
    }

    /// Issues a client certificate with `common_name`, a VIN or a UID.
    pub(super) fn issue_client(
        &self,
        common_name: &str,
    ) -> Result<IssuedCertificate, IdentityError> {
        self.issue(
            common_name,
            ExtendedKeyUsagePurpose::ClientAuth,
            CLIENT_VALIDITY,
            Vec::new(),
        )
    }

    /// The server's certificate in `folder`; a new one is issued when there is none, when it
    /// expires within 30 days, when another CA issued it, when `names` changed, or when a crash left
    /// it beside the key of another.
    pub(super) fn server_certificate(
        &self,
        folder: &Path,
        names: &[String],
    ) -> Result<IssuedCertificate, IdentityError> {
        let issued_for = format!("{}\n{}", names.join("\n"), self.certificate);
        if let (Some(certificate), Some(key), Some(old)) = (
            files::read(&folder.join("cert.pem"))?,
            files::read(&folder.join("key.pem"))?,
            files::read(&folder.join("issued-for"))?,
        ) && old == issued_for
            && belong_together(&certificate, &key)
            && expiry(&certificate, folder)? > SystemTime::now() + RENEWED_BEFORE
        {
            return Ok(IssuedCertificate {
                certificate,
                key: Secret::new(key),
            });
        }
        let issued = self.issue(
            "vinbus host-server",
            ExtendedKeyUsagePurpose::ServerAuth,
            SERVER_VALIDITY,
            subject_names(names)?,
        )?;
        files::write_all(
            folder,
            &[
                ("cert.pem", &issued.certificate),
                ("key.pem", issued.key.expose()),
                ("issued-for", &issued_for),
            ],
            Existing::Replace,
        )?;
        Ok(issued)
    }

    fn create(folder: &Path) -> Result<(), IdentityError> {
        let now = SystemTime::now();
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + CA_VALIDITY).into();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        params.distinguished_name = distinguished_name(&authority_name(&key));
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::CrlSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key)?;
        // A folder appears whole or not at all, so that a crash or a second program cannot leave a
        // certificate beside the key of another.
        let temporary = files::temporary_beside(folder)?;
        files::write_all(
            &temporary,
            &[
                ("cert.pem", &certificate.pem()),
                ("key.pem", &key.serialize_pem()),
            ],
            Existing::Refuse,
        )?;
        match fs::rename(&temporary, folder) {
            Ok(()) => Ok(()),
            Err(source) => {
                let _ = fs::remove_dir_all(&temporary);
                if folder.join("cert.pem").exists() {
                    return Ok(());
                }
                Err(IdentityError::io("create the folder", folder, source))
            }
        }
    }

    fn open(folder: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let path = folder.join(name);
            files::read(&path)?.ok_or(IdentityError::Missing { path })
        };
        let (certificate, key) = (read("cert.pem")?, Secret::new(read("key.pem")?));
        let damaged = |name: &str| IdentityError::Damaged {
            path: folder.join(name),
            detail: "it is not a PEM file of the kind its name says".to_owned(),
        };
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|_| damaged("cert.pem"))?;
        let key = KeyPair::from_pem(key.expose()).map_err(|_| damaged("key.pem"))?;
        let not_after = expiry(&certificate, folder)?;
        let subject = with_parsed(&certificate, |certificate| {
            certificate.subject().to_string()
        })
        .ok_or_else(|| damaged("cert.pem"))?;
        let public = public_key(&certificate).ok_or_else(|| damaged("cert.pem"))?;
        if public != key.public_key_raw() {
            return Err(IdentityError::Damaged {
                path: folder.join("key.pem"),
                detail: "it is not the key of cert.pem beside it".to_owned(),
            });
        }
        let issuer = Issuer::from_ca_cert_der(&der, key).map_err(|_| damaged("cert.pem"))?;
        Ok(Self {
            subject,
            certificate,
            issuer,
            not_after,
        })
    }

    fn issue(
        &self,
        common_name: &str,
        usage: ExtendedKeyUsagePurpose,
        validity: Duration,
        names: Vec<SanType>,
    ) -> Result<IssuedCertificate, IdentityError> {
        let now = SystemTime::now();
        if now >= self.not_after {
            return Err(IdentityError::AuthorityExpired);
        }
        let mut params = CertificateParams::default();
        params.not_before = (now - BACKDATED).into();
        params.not_after = (now + validity).min(self.not_after).into();
        params.distinguished_name = distinguished_name(common_name);
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![usage];
        params.subject_alt_names = names;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(IssuedCertificate {
            certificate: certificate.pem(),
            key: Secret::new(key.serialize_pem()),
        })
    }
}

impl From<rcgen::Error> for IdentityError {
    fn from(error: rcgen::Error) -> Self {
        Self::Issue {
            detail: error.to_string(),
        }
    }
}

fn distinguished_name(common_name: &str) -> rcgen::DistinguishedName {
    let mut name = rcgen::DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// `localhost` and the loopback addresses, then `names`: addresses as such, everything else as DNS
/// names.
fn subject_names(names: &[String]) -> Result<Vec<SanType>, IdentityError> {
    ["localhost", "127.0.0.1", "::1"]
        .into_iter()
        .chain(names.iter().map(String::as_str))
        .map(|name| match name.parse::<IpAddr>() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => {
                name.try_into()
                    .map(SanType::DnsName)
                    .map_err(|_| IdentityError::ServerName {
                        name: name.to_owned(),
                    })
            }
        })
        .collect()
}

/// Tells one CA from another in trust stores and error messages: the name ends with the beginning of
/// its key's fingerprint.
fn authority_name(key: &KeyPair) -> String {
    let fingerprint = digest::digest(&digest::SHA256, key.public_key_raw());
    let beginning = secret::hex(&fingerprint.as_ref()[..4]);
    format!("vinbus development CA {beginning}")
}

/// When a PEM certificate expires.
fn expiry(certificate: &str, folder: &Path) -> Result<SystemTime, IdentityError> {
    let seconds = with_parsed(certificate, |certificate| {
        u64::try_from(certificate.validity().not_after.timestamp()).ok()
    });
    let seconds = seconds.flatten().ok_or_else(|| IdentityError::Damaged {
        path: folder.join("cert.pem"),
        detail: "it is not a PEM certificate".to_owned(),
    })?;
    Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
}

/// Whether a PEM key is that of a PEM certificate.
fn belong_together(certificate: &str, key: &str) -> bool {
    let public = public_key(certificate);
    KeyPair::from_pem(key).is_ok_and(|key| public.as_deref() == Some(key.public_key_raw()))
}

fn public_key(certificate: &str) -> Option<Vec<u8>> {
    with_parsed(certificate, |certificate| {
        certificate.public_key().subject_public_key.data.to_vec()
    })
}

/// What `read` finds in a PEM certificate; `None` for anything else.
fn with_parsed<T>(certificate: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Option<T> {
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    let (_, parsed) = x509_parser::parse_x509_certificate(&der).ok()?;
    Some(read(&parsed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> (tempfile::TempDir, Authority) {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::open_or_create(&folder.path().join("ca")).unwrap();
        (folder, authority)
    }

    fn with_parsed(pem: &str, check: impl FnOnce(&X509Certificate<'_>)) {
        super::with_parsed(pem, check).unwrap();
    }

    #[test]
    fn two_authorities_have_two_names() {
        let [(_one, one), (_two, two)] = [(); 2].map(|()| authority());
        assert!(one.subject().starts_with("CN=vinbus development CA "));
        assert_ne!(one.subject(), two.subject());
        let issued = one.issue_client("0123456789ABCDEFG").unwrap();
        with_parsed(&issued.certificate, |certificate| {
            assert_eq!(certificate.issuer().to_string(), one.subject());
        });
    }

    #[test]
    fn authority_may_sign_end_entities_only() {
        let (_folder, authority) = authority();
        with_parsed(authority.certificate(), |certificate| {
            let constraints = certificate.basic_constraints().unwrap().unwrap();
            assert!(constraints.value.ca);
            assert_eq!(constraints.value.path_len_constraint, Some(0));
            assert!(
                certificate
                    .key_usage()
                    .unwrap()
                    .unwrap()
                    .value
                    .key_cert_sign()
            );
        });
    }

    #[test]
    fn client_certificate_names_its_holder_and_authenticates_clients_only() {
        let (_folder, authority) = authority();
        let issued = authority.issue_client("0123456789ABCDEFG").unwrap();
        with_parsed(&issued.certificate, |certificate| {
            let names: Vec<_> = certificate.subject().iter_common_name().collect();
            assert_eq!(names[0].as_str(), Ok("0123456789ABCDEFG"));
            assert!(!certificate.is_ca());
            let usage = certificate.extended_key_usage().unwrap().unwrap().value;
            assert!(usage.client_auth && !usage.server_auth);
            assert!(certificate.validity().is_valid());
        });
    }

    #[test]
    fn opening_twice_gives_the_same_authority() {
        let (folder, authority) = authority();
        let again = Authority::open_or_create(&folder.path().join("ca")).unwrap();
        assert_eq!(again.certificate(), authority.certificate());
    }

    #[test]
    fn key_of_another_authority_is_refused() {
        let [(folder, _), (other, _)] = [(); 2].map(|()| authority());
        fs::copy(
            other.path().join("ca/key.pem"),
            folder.path().join("ca/key.pem"),
        )
        .unwrap();
        let refused = Authority::open_or_create(&folder.path().join("ca"));
        assert!(
            matches!(refused, Err(IdentityError::Damaged { path, .. }) if path.ends_with("key.pem"))
        );
    }

    #[test]
    fn lost_key_is_reported_and_nothing_is_overwritten() {
        let (folder, authority) = authority();
        fs::remove_file(folder.path().join("ca/key.pem")).unwrap();
        let refused = Authority::open_or_create(&folder.path().join("ca"));
        assert!(
            matches!(refused, Err(IdentityError::Missing { path }) if path.ends_with("key.pem"))
        );
        let kept = fs::read_to_string(folder.path().join("ca/cert.pem")).unwrap();
        assert_eq!(kept, authority.certificate());
    }

    #[test]
    fn server_certificate_is_kept_until_its_names_change() {
        let (folder, authority) = authority();
        let folder = folder.path().join("server");
        let issue = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(ToString::to_string).collect();
            authority
                .server_certificate(&folder, &names)
                .unwrap()
                .certificate
        };
        let first = issue(&[]);
        assert_eq!(issue(&[]), first);
        let second = issue(&["broker.example", "192.0.2.1"]);
        assert_ne!(second, first);
        with_parsed(&second, |certificate| {
            let names = certificate.subject_alternative_name().unwrap().unwrap();
            assert_eq!(names.value.general_names.len(), 5);
        });
    }

    #[test]
    fn server_certificate_about_to_expire_is_renewed() {
        let (folder, mut authority) = authority();
        let folder = folder.path().join("server");
        let ca_end = authority.not_after;
        authority.not_after = SystemTime::now() + 29 * DAY;
        let old = authority.server_certificate(&folder, &[]).unwrap();
        authority.not_after = ca_end;
        let new = authority.server_certificate(&folder, &[]).unwrap();
        assert_ne!(new.certificate, old.certificate);
    }

    #[test]
    fn server_certificate_beside_the_key_of_another_is_replaced() {
        let (folder, authority) = authority();
        let server = folder.path().join("server");
        let old = authority.server_certificate(&server, &[]).unwrap();
        let other = authority.issue_client("other").unwrap();
        fs::write(server.join("key.pem"), other.key.expose()).unwrap();
        let new = authority.server_certificate(&server, &[]).unwrap();
        assert_ne!(new.certificate, old.certificate);
        assert!(belong_together(&new.certificate, new.key.expose()));
        fs::write(server.join("key.pem"), "no key").unwrap();
        let new = authority.server_certificate(&server, &[]).unwrap();
        assert!(belong_together(&new.certificate, new.key.expose()));
    }

    #[test]
    fn impossible_server_name_is_refused_by_name() {
        let (folder, authority) = authority();
        let refused = authority.server_certificate(folder.path(), &["bröker".to_owned()]);
        assert!(matches!(refused, Err(IdentityError::ServerName { name }) if name == "bröker"));
    }

    #[test]
    fn expired_authority_issues_nothing() {
        let (_folder, mut authority) = authority();
        authority.not_after = SystemTime::now() - DAY;
        let refused = authority.issue_client("0123456789ABCDEFG");
        assert!(matches!(refused, Err(IdentityError::AuthorityExpired)));
    }
}
