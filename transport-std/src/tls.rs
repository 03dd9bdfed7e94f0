//! TLS settings and the rustls configuration made of them. The cryptography is *ring*, chosen
//! here explicitly: a process-wide default provider is neither used nor needed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{CertificateError, ClientConfig, RootCertStore};

use crate::credentials::Identity;

/// Tickets of TLS sessions that are kept. One client speaks to one server, which is given room for
/// as many.
const TICKETS_MAX: usize = 8;

/// PEM text, or the file that holds it.
#[derive(Clone, PartialEq, Eq)]
pub enum Pem {
    /// A file, read when the client is created.
    File(PathBuf),
    /// The text itself.
    Bytes(Vec<u8>),
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// Where it is, for an error; not the text.
impl fmt::Display for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Bytes(bytes) => write!(f, "the given text of {} bytes", bytes.len()),
        }
    }
}

impl Pem {
    fn read(&self) -> Result<Vec<u8>, TlsError> {
        match self {
            Self::File(path) => std::fs::read(path).map_err(|source| TlsError::File {
                path: path.clone(),
                source,
            }),
            Self::Bytes(bytes) => Ok(bytes.clone()),
        }
    }

    fn certificates(&self, role: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let none = || TlsError::NoCertificate {
            role,
            pem: self.to_string(),
        };
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.read()?)
            .collect::<Result<_, _>>()
            .map_err(|_| none())?;
        if certificates.is_empty() {
            return Err(none());
        }
        Ok(certificates)
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        PrivateKeyDer::from_pem_slice(&self.read()?).map_err(|_| TlsError::NoKey {
            pem: self.to_string(),
        })
    }
}

impl Identity {
    /// The common names in the certificate's subject; a server knows a client by it.
    ///
    /// # Errors
    /// A [`TlsError`] when there is no certificate, or it is damaged.
    pub fn common_names(&self) -> Result<Vec<String>, TlsError> {
        let chain = self.certificate.certificates("client")?;
        let parsed = chain
            .first()
            .map(|der| x509_parser::parse_x509_certificate(der));
        let Some(Ok((_, parsed))) = parsed else {
            return Err(TlsError::Damaged {
                pem: self.certificate.to_string(),
            });
        };
        let names = parsed.subject().iter_common_name();
        Ok(names
            .filter_map(|name| name.as_str().ok().map(str::to_owned))
            .collect())
    }
}

/// Whom to trust and who to be on `mqtts://` and `wss://`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TlsOptions {
    /// Certificate authorities to trust; the system's if `None`.
    pub ca: Option<Pem>,
    /// The client's own certificate and key; none is presented if `None`.
    pub identity: Option<Identity>,
}

impl TlsOptions {
    /// The rustls configuration: TLS 1.2 and 1.3 with ring.
    pub(crate) fn client_config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Rustls)?
            .with_root_certificates(self.roots()?);
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = identity.certificate.certificates("client")?;
                builder
                    .with_client_auth_cert(chain, identity.key.key()?)
                    .map_err(|source| identity_error(identity, source))?
            }
        };
        config.resumption = Resumption::in_memory_sessions(TICKETS_MAX);
        Ok(Arc::new(config))
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(pem) => {
                for certificate in pem.certificates("CA")? {
                    roots
                        .add(certificate)
                        .map_err(|error| TlsError::Authority {
                            pem: pem.to_string(),
                            reason: error_text(&error),
                        })?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        if roots.is_empty() {
            return Err(TlsError::NoSystemRoots);
        }
        Ok(roots)
    }
}

fn identity_error(identity: &Identity, source: rustls::Error) -> TlsError {
    let (certificate, key) = (identity.certificate.to_string(), identity.key.to_string());
    match source {
        rustls::Error::InconsistentKeys(_) => TlsError::KeyOfAnother { certificate, key },
        rustls::Error::InvalidCertificate(error) => TlsError::Certificate {
            pem: certificate,
            reason: certificate_fault(&error),
        },
        source => TlsError::Identity {
            certificate,
            key,
            source,
        },
    }
}

fn error_text(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => certificate_fault(error),
        error => error.to_string(),
    }
}

/// What is wrong with a certificate, in words: rustls has only the name of most errors.
pub(crate) fn certificate_fault(error: &CertificateError) -> String {
    let fault = match error {
        CertificateError::BadEncoding => "it is damaged",
        CertificateError::Revoked => "its issuer has revoked it",
        CertificateError::UnhandledCriticalExtension => {
            "it has a critical extension that is not known here"
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => {
            "its signature is of a kind that is not known here: issue it with another one, such as ECDSA with SHA-256"
        }
        // An error of the library beneath, which shows as its name.
        CertificateError::Other(error) => match error.0.downcast_ref() {
            Some(webpki::Error::UnsupportedCertVersion) => {
                "it is of X.509 version 1, and version 3 is needed: issue it with extensions (openssl: -extfile)"
            }
            Some(webpki::Error::CaUsedAsEndEntity) => {
                "it is that of an authority (CA:TRUE): issue one that is not, for what it is used for"
            }
            Some(webpki::Error::EndEntityUsedAsCa) => "what issued it is no authority (CA:FALSE)",
            _ => return error.to_string(),
        },
        error => return error.to_string(),
    };
    fault.to_owned()
}

/// Why the TLS settings cannot be used. Names the file, and says nothing of a key but that it is
/// wrong.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file cannot be read.
    #[error("cannot read {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A PEM text holds no certificate.
    #[error(
        "{pem} holds no valid {role} certificate: expected PEM with -----BEGIN CERTIFICATE-----"
    )]
    NoCertificate {
        /// `CA` or `client`.
        role: &'static str,
        /// The file.
        pem: String,
    },
    /// A certificate is no X.509 certificate.
    #[error("the certificate in {pem} is damaged: have it issued anew")]
    Damaged {
        /// The file.
        pem: String,
    },
    /// A PEM text holds no private key.
    #[error("{pem} holds no private key: expected PEM with -----BEGIN PRIVATE KEY-----")]
    NoKey {
        /// The file.
        pem: String,
    },
    /// The system has no certificate authorities.
    #[error(
        "the system has no CA certificates: install ca-certificates, or name a file of them with --ca (of a host server --broker-ca, --platform-ca)"
    )]
    NoSystemRoots,
    /// Certificate and key do not belong together.
    #[error(
        "the key in {key} is not that of the certificate in {certificate}: take the two that were issued together"
    )]
    KeyOfAnother {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
    },
    /// The client's certificate cannot be used.
    #[error("the certificate in {pem} cannot be used: {reason}")]
    Certificate {
        /// The file.
        pem: String,
        /// Why.
        reason: String,
    },
    /// The key is of a kind that cannot be used.
    #[error("the certificate in {certificate} and the key in {key} cannot be used")]
    Identity {
        /// The certificate's file.
        certificate: String,
        /// The key's file.
        key: String,
        /// Why.
        source: rustls::Error,
    },
    /// A certificate authority cannot be used.
    #[error("the CA certificate in {pem} cannot be used: {reason}")]
    Authority {
        /// The file.
        pem: String,
        /// Why.
        reason: String,
    },
    /// The versions of TLS cannot be set.
    #[error("TLS cannot be set up")]
    Rustls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;
    use crate::conformance::{Authority, Validity};

    fn error(tls: &TlsOptions) -> String {
        tls.client_config().unwrap_err().to_string()
    }

    fn identity(certificate: &str, key: &str) -> TlsOptions {
        TlsOptions {
            ca: Some(Pem::Bytes(Authority::new("CA").certificate.into())),
            identity: Some(Identity {
                certificate: Pem::Bytes(certificate.into()),
                key: Pem::Bytes(key.into()),
            }),
        }
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named() {
        let ca = Some(Pem::File("no/such/ca.pem".into()));
        assert_eq!(
            error(&TlsOptions { ca, identity: None }),
            "cannot read no/such/ca.pem"
        );
    }

    #[test]
    fn a_pem_without_a_certificate_or_a_key_is_named_and_says_what_was_expected() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("other.pem");
        std::fs::write(&path, "not PEM").unwrap();
        let client = Authority::new("CA").client("client", Validity::Now);
        let good = identity(&client.certificate, &client.key);
        let with = |certificate: &str, key: &str| {
            let mut tls = good.clone();
            let identity = tls.identity.as_mut().unwrap();
            for (text, place) in [
                (certificate, &mut identity.certificate),
                (key, &mut identity.key),
            ] {
                if text.is_empty() {
                    *place = Pem::File(path.clone());
                }
            }
            tls
        };
        let ca = TlsOptions {
            ca: Some(Pem::File(path.clone())),
            ..good.clone()
        };
        for (tls, expected) in [
            (ca, "other.pem holds no valid CA certificate"),
            (
                with("", "good"),
                "other.pem holds no valid client certificate",
            ),
            (with("good", ""), "other.pem holds no private key"),
        ] {
            let error = error(&tls);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn a_certificate_with_the_key_of_another_is_refused() {
        let authority = Authority::new("CA");
        let one = authority.client("one", Validity::Now);
        let other = authority.client("other", Validity::Now);
        identity(&one.certificate, &one.key)
            .client_config()
            .unwrap();
        let error = error(&identity(&one.certificate, &other.key));
        assert!(error.contains("is not that of the certificate"), "{error}");
    }

    /// What `openssl x509 -req` writes without `-extfile`. The dates are of no interest here.
    const OF_VERSION_1: &str = "-----BEGIN CERTIFICATE-----
MIIBJDCBygIULFEzAM6xhntPRdpIXPNzd/JgMXkwCgYIKoZIzj0EAwIwDTELMAkG
A1UEAwwCQ0EwHhcNMjYxMTIzMDYxNDUzWhcNMzYxMTIwMDYxNDUzWjAcMRowGAYD
VQQDDBEwMTIzNDU2Nzg5QUJDREVGRzBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BGjrePDJls8oMYe0s09MNmfS1O+E02Z/IF7Jc7nlOszL2JRNRiYFuhGhPPs9xhiq
2xLgjsY+L7U3G9fauRIz7l8wCgYIKoZIzj0EAwIDSQAwRgIhAOHtt+v7vyCPOcpX
qaz4MM5881vSzptYzEsSPfaYyAzGAiEAz3YIQN41B15YA+Se4WxdJxaFeqo+m8Xc
uAbBJ9xYIqE=
-----END CERTIFICATE-----
";

    /// PEM around what is no certificate.
    const DAMAGED: &str = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";

    #[test]
    fn a_certificate_that_cannot_be_used_says_why_in_words() {
        let key = Authority::new("CA").client("one", Validity::Now).key;
        for (certificate, expected) in [
            (OF_VERSION_1, "X.509 version 1, and version 3 is needed"),
            (DAMAGED, "it is damaged"),
        ] {
            let error = error(&identity(certificate, &key));
            assert!(error.contains(expected), "{error}");
        }
        let ca = Some(Pem::Bytes(DAMAGED.into()));
        let error = error(&TlsOptions { ca, identity: None });
        assert!(error.ends_with("it is damaged"), "{error}");
    }

    #[test]
    fn the_faults_of_a_servers_certificate_are_told_in_words() {
        let authority = Authority::new("CA");
        let thief = authority.client("thief", Validity::Now);
        let impostor = Authority::impostor(&thief);
        let der = |pem: &str| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        let tls = identity(OF_VERSION_1, "");
        let roots = Arc::new(tls.roots().unwrap());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let judge = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .unwrap();
        let fault = |pem: &str| {
            let name = ServerName::try_from("localhost").unwrap();
            let (der, others, now) = (der(pem), [der(&thief.certificate)], UnixTime::now());
            match judge.verify_server_cert(&der, &others, &name, &[], now) {
                Err(rustls::Error::InvalidCertificate(error)) => certificate_fault(&error),
                other => panic!("{other:?}"),
            }
        };
        for (pem, expected) in [
            (OF_VERSION_1, "X.509 version 1"),
            (&authority.certificate, "CA:TRUE"),
            (
                &impostor.server("localhost", Validity::Now).certificate,
                "CA:FALSE",
            ),
            (DAMAGED, "damaged"),
            (
                &authority.client("localhost", Validity::Now).certificate,
                "key usage",
            ),
        ] {
            let fault = fault(pem);
            assert!(fault.contains(expected), "{fault}");
        }
    }

    #[test]
    fn the_common_name_of_a_certificate_can_be_read() {
        let issued = Authority::new("CA").client("0123456789ABCDEFG", Validity::Now);
        let identity = identity(&issued.certificate, &issued.key).identity.unwrap();
        assert_eq!(identity.common_names().unwrap(), ["0123456789ABCDEFG"]);
    }
}
