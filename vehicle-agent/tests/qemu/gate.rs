//! A TLS server that shows a certificate of the case's choosing, and nothing behind it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};
use vinbus_transport_std::conformance::{Authority, Issued, Validity};

use crate::board::{HOST, VIN, provision};

/// A listening server, closed when this is dropped.
pub(crate) struct Gate {
    port: u16,
    accepting: JoinHandle<()>,
}

impl Gate {
    /// Shows `chain` and asks for a client certificate of `clients`.
    pub(crate) async fn open(server: &Issued, more: &[&str], clients: &Authority) -> Self {
        let acceptor = acceptor(server, more, clients);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // What it thinks of the board, the board tells.
                let _ = acceptor.accept(stream).await;
            }
        });
        Self { port, accepting }
    }

    /// The block of a vehicle that trusts `authority` and has a certificate of it.
    pub(crate) async fn block(&self, folder: &Path, authority: &Authority) -> PathBuf {
        write_credentials(folder, authority);
        let dir = folder.display().to_string();
        let url = format!("mqtts://{HOST}:{}", self.port);
        provision(folder, &url, &["--dir", &dir]).await
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Shows `chain` and asks for a client certificate of `clients`.
pub(crate) fn acceptor(server: &Issued, more: &[&str], clients: &Authority) -> TlsAcceptor {
    let provider = Arc::new(ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&clients.certificate)).unwrap();
    let clients =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let chain = [&server.certificate[..]]
        .into_iter()
        .chain(more.iter().copied());
    let key = PrivateKeyDer::from_pem_slice(server.key.as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(chain.map(certificate).collect(), key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}

/// Issues the vehicle's credentials, as `host-server enroll` does.
pub(crate) fn write_credentials(folder: &Path, authority: &Authority) {
    let car = authority.client(VIN, Validity::Now);
    for (name, text) in [
        ("ca.pem", &authority.certificate),
        ("cert.pem", &car.certificate),
        ("key.pem", &car.key),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}
