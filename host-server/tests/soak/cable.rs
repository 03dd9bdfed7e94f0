//! The cable between a vehicle, or many, and the broker, which can be cut and can lose.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use vinbus_transport_std::BrokerUrl;
use vinbus_transport_std::conformance::{Proxy, lossy};

pub(crate) struct Cable {
    proxy: Arc<Proxy>,
    /// Who connects to this port loses nothing but by a cut.
    pub(crate) port: u16,
    /// Who connects to this one loses messages as well. They have to pass in the clear.
    pub(crate) lossy_port: u16,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

impl Cable {
    pub(crate) async fn to(broker: &BrokerUrl) -> Self {
        let proxy = Proxy::to(broker).await;
        let url = proxy.url(broker);
        let (lossy, loses, lost) = lossy(&url).await;
        Self {
            proxy: Arc::new(proxy),
            port: url.port(),
            lossy_port: lossy.port(),
            loses,
            lost,
        }
    }

    /// How many packets it lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    /// Breaks the connections.
    pub(crate) fn cut(&self) {
        self.proxy.cut();
    }

    /// There is no way to the broker for this time.
    pub(crate) fn unplug(&self, time: Duration) {
        let proxy = Arc::clone(&self.proxy);
        proxy.unplug();
        tokio::spawn(async move {
            sleep(time).await;
            proxy.plug();
        });
    }

    /// Every fifth message of each direction is lost for this time.
    pub(crate) fn lose(&self, time: Duration) {
        let loses = Arc::clone(&self.loses);
        loses.store(true, Ordering::Relaxed);
        tokio::spawn(async move {
            sleep(time).await;
            loses.store(false, Ordering::Relaxed);
        });
    }

    pub(crate) fn calm(&self) {
        self.proxy.plug();
        self.loses.store(false, Ordering::Relaxed);
    }
}

/// Carries connections to a broker that wants TLS, as the vehicle that is enrolled in `dir`: what is
/// before it passes in the clear, where single messages can be lost.
pub(crate) async fn tunnel(dir: &Path, mqtts: SocketAddr) -> BrokerUrl {
    let mut roots = RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap();
    roots.add(authority).unwrap();
    let chain = CertificateDer::pem_file_iter(dir.join("cert.pem")).unwrap();
    let config = ClientConfig::builder()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(dir.join("key.pem")).unwrap(),
        )
        .unwrap();
    let tls = TlsConnector::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let tls = tls.clone();
            tokio::spawn(async move {
                // Whoever connects while the server is away is hung up on.
                let far = TcpStream::connect(mqtts).await?;
                let name = ServerName::try_from("localhost").unwrap();
                let mut far = tls.connect(name, far).await?;
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    url.parse().unwrap()
}
