//! Mutual TLS: the server's side of the handshake, and who the client's certificate says it is.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::identity::{Identity, IssuedCertificate};

/// What the TLS port needs.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// The server's own certificate (chain) and key.
    pub server: IssuedCertificate,
    /// PEM certificates of the CAs whose clients may connect.
    pub client_ca: String,
}

/// The rustls configuration: TLS 1.2 and 1.3, a client certificate required.
///
/// # Errors
/// What is wrong with the certificates, in words.
pub(super) fn server_config(settings: &TlsSettings) -> Result<Arc<ServerConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&settings.client_ca)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
            .build()
            .map_err(|error| error.to_string())?;
    let key = PrivateKeyDer::from_pem_slice(settings.server.key.expose().as_bytes())
        .map_err(|error| format!("the server's key: {error}"))?;
    ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&settings.server.certificate)?, key)
        .map(Arc::new)
        .map_err(|error| error.to_string())
}

/// Who a verified certificate belongs to: its one common name, a VIN or a UID.
pub(super) fn identity(certificate: &CertificateDer<'_>) -> Option<Identity> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let mut names = parsed.subject().iter_common_name();
    let name = names.next()?.as_str().ok()?;
    if names.next().is_some() {
        return None;
    }
    Identity::from_common_name(name)
}

fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| format!("a certificate: {error}"))?;
    if found.is_empty() {
        return Err("there is no certificate".to_owned());
    }
    Ok(found)
}
