//! A network cable between client and broker that can be cut, and plugged in again.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::BrokerUrl;

/// Forwards TCP connections to a broker until it is cut.
pub struct Proxy {
    address: SocketAddr,
    /// Counts the cuts; each ends the connections made before it.
    cuts: watch::Sender<u64>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Starts to forward to the host and port of `target`.
    ///
    /// # Panics
    ///
    /// Panics if no loopback port is free.
    pub async fn to(target: &BrokerUrl) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket");
        let (cuts, cut) = watch::channel(0);
        let target = (target.host().to_owned(), target.port());
        let accepting = tokio::spawn(forward_all(listener, target, cut)).abort_handle();
        Self { address, cuts, accepting }
    }

    /// The URL to use instead of `target`'s.
    ///
    /// # Panics
    ///
    /// Never: the URL differs from a valid one in host and port only.
    pub fn url(&self, target: &BrokerUrl) -> BrokerUrl {
        let text = target.to_string().replacen(
            &format!("{}:{}", target.host(), target.port()),
            &self.address.to_string(),
            1,
        );
        text.parse().expect("a URL like the target's")
    }

    /// Breaks every connection; new ones are forwarded again.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn forward_all(listener: TcpListener, target: (String, u16), cut: watch::Receiver<u64>) {
    while let Ok((near, _)) = listener.accept().await {
        let target = target.clone();
        let mut cut = cut.clone();
        cut.mark_unchanged();
        tokio::spawn(async move {
            tokio::select! {
                () = forward(near, target) => {}
                _ = cut.changed() => {}
            }
        });
    }
}

async fn forward(mut near: TcpStream, target: (String, u16)) {
    if let Ok(mut far) = TcpStream::connect(target).await {
        let _either_side_ended = copy_bidirectional(&mut near, &mut far).await;
    }
}
