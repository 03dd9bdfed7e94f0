//! A vehicle: its agent, and the cable between it and the broker, which can be cut and can lose.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_rustls::TlsConnector;
use vinbus_transport_std::BrokerUrl;
use vinbus_transport_std::conformance::{Proxy, lossy};

use crate::append;
use crate::car_support::Agent;

pub(crate) struct Car {
    pub(crate) vin: String,
    dir: PathBuf,
    /// None between a kill and the next start.
    agent: Option<Agent>,
    /// Where its portal is, for its app.
    portal: watch::Sender<String>,
    broker: String,
    cable: Arc<Proxy>,
    loses: Arc<AtomicBool>,
    lost: Arc<AtomicUsize>,
}

impl Car {
    /// Starts the agent of the vehicle that is enrolled in `dir`, which is named by its VIN. Its messages
    /// pass the cable in the clear, and the rest of the way by mutual TLS.
    pub(crate) async fn start(dir: PathBuf, mqtts: SocketAddr) -> Self {
        let vin = dir.file_name().unwrap().to_string_lossy().into_owned();
        let broker: BrokerUrl = tunnel(&dir, mqtts).await.parse().unwrap();
        let cable = Proxy::to(&broker).await;
        let to = format!("127.0.0.1:{}", cable.url(&broker).port());
        let (address, loses, lost) = lossy(to).await;
        let mut car = Self {
            vin,
            dir,
            agent: None,
            portal: watch::Sender::default(),
            broker: format!("mqtt://{address}"),
            cable: Arc::new(cable),
            loses,
            lost,
        };
        car.restart().await;
        car
    }

    pub(crate) fn portal(&self) -> watch::Receiver<String> {
        self.portal.subscribe()
    }

    /// How many packets the cable lost.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) async fn kill(&mut self) {
        if let Some(agent) = self.agent.take() {
            let printed = agent.program.lines.borrow().join("\n");
            append(&self.dir.with_extension("log"), &printed);
            agent.program.kill().await;
        }
    }

    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        let data = self.dir.join("data").display().to_string();
        let args = ["--broker", &self.broker, "--data-dir", &data];
        // At QoS 0, every packet may be lost; the app is faster than apps should be after a pause.
        let more = ["--qos", "0", "--app-rate", "1000"];
        let agent = Agent::of(&self.vin, &[&args[..], &more].concat()).await;
        self.portal.send_replace(agent.portal.clone());
        self.agent = Some(agent);
    }

    /// Breaks the connections.
    pub(crate) fn cut(&self) {
        self.cable.cut();
    }

    /// There is no way to the broker for this time.
    pub(crate) fn unplug(&self, time: Duration) {
        let cable = Arc::clone(&self.cable);
        cable.unplug();
        tokio::spawn(async move {
            sleep(time).await;
            cable.plug();
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
        self.cable.plug();
        self.loses.store(false, Ordering::Relaxed);
    }
}

/// Carries connections to the broker as the vehicle that is enrolled in `dir`; tells its URL.
async fn tunnel(dir: &Path, mqtts: SocketAddr) -> String {
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
    url
}
