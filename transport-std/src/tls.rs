//! TLS settings and the rustls configuration made of them. The cryptography is *ring*, chosen
//! here explicitly: a process-wide default provider is neither used nor needed.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::credentials::Identity;

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
        let config = match &self.identity {
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
