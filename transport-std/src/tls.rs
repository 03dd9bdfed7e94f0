//! TLS settings and the rustls configuration made of them. The cryptography is *ring*, chosen
//! here explicitly: a process-wide default provider is neither used nor needed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

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
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(&self.read()?)
            .collect::<Result<_, _>>()
            .map_err(|_| TlsError::NoCertificate { role })?;
        if certificates.is_empty() {
            return Err(TlsError::NoCertificate { role });
        }
        Ok(certificates)
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
                let key = PrivateKeyDer::from_pem_slice(&identity.key.read()?)
                    .map_err(|_| TlsError::NoKey)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(TlsError::Identity)?
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
                    roots.add(certificate).map_err(TlsError::Rustls)?;
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

/// Why the TLS settings cannot be used. Says nothing of a key but that it is wrong.
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
    #[error("the {role} PEM holds no valid certificate: expected -----BEGIN CERTIFICATE-----")]
    NoCertificate {
        /// `CA` or `client`.
        role: &'static str,
    },
    /// A PEM text holds no private key.
    #[error("the key PEM holds no private key: expected -----BEGIN PRIVATE KEY-----")]
    NoKey,
    /// The system has no certificate authorities.
    #[error("the system has no CA certificates: install ca-certificates, or name a CA file")]
    NoSystemRoots,
    /// Certificate and key do not belong together, or the key is of an unknown kind.
    #[error("the client certificate and key cannot be used together")]
    Identity(#[source] rustls::Error),
    /// A certificate authority cannot be used.
    #[error("the CA certificate cannot be used")]
    Rustls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests {
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
    fn a_pem_without_a_certificate_or_a_key_says_what_was_expected() {
        let ca = Some(Pem::Bytes(b"not PEM".to_vec()));
        assert!(error(&TlsOptions { ca, identity: None }).contains("the CA PEM holds no"));
        let client = Authority::new("CA").client("client", Validity::Now);
        assert!(error(&identity("", &client.key)).contains("the client PEM holds no"));
        assert!(error(&identity(&client.certificate, "")).contains("holds no private key"));
    }

    #[test]
    fn a_certificate_with_the_key_of_another_is_refused() {
        let authority = Authority::new("CA");
        let one = authority.client("one", Validity::Now);
        let other = authority.client("other", Validity::Now);
        identity(&one.certificate, &one.key)
            .client_config()
            .unwrap();
        assert!(error(&identity(&one.certificate, &other.key)).contains("cannot be used together"));
    }
}
