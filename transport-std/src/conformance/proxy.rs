//! A network cable between client and broker that can be cut, and that counts and meters what it carries.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::BrokerUrl;

/// Forwards TCP connections to a broker until it is cut.
pub struct Proxy {
    address: SocketAddr,
    cable: watch::Sender<State>,
    /// Bytes carried from clients to the broker.
    sent: watch::Sender<u64>,
    allowed: watch::Sender<u64>,
    accepting: AbortHandle,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// Counts the cuts; each ends the connections made before it.
    cuts: u64,
    /// New connections end at once.
    is_unplugged: bool,
}

impl Proxy {
    /// Starts to forward to the host and port of `target`.
    ///
    /// # Panics
    ///
    /// Panics if no loopback port is free.
    pub async fn to(target: &BrokerUrl) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .expect("a loopback port");
        let address = listener.local_addr().expect("a bound socket");
        let state = watch::Sender::new(State::default());
        let (sent, allowed) = (watch::Sender::new(0), watch::Sender::new(u64::MAX));
        let cable = Cable {
            broker: target.authority(),
            cut: state.subscribe(),
            sent: sent.clone(),
            allowed: allowed.subscribe(),
        };
        let accepting = tokio::spawn(cable.carry_all(listener)).abort_handle();
        Self {
            address,
            cable: state,
            sent,
            allowed,
            accepting,
        }
    }

    /// The URL to use instead of `target`'s.
    pub fn url(&self, target: &BrokerUrl) -> BrokerUrl {
        moved_to(target, self.address)
    }

    /// Breaks every connection; new ones are forwarded again.
    pub fn cut(&self) {
        self.cable.send_modify(|state| state.cuts += 1);
    }

    /// Breaks every connection, and every new one until [`Self::plug`].
    pub fn unplug(&self) {
        self.cable.send_modify(|state| {
            state.cuts += 1;
            state.is_unplugged = true;
        });
    }

    /// Forwards new connections again.
    pub fn plug(&self) {
        self.cable.send_if_modified(|state| {
            state.is_unplugged = false;
            // Nobody has to be woken: there is no connection.
            false
        });
    }

    /// Carries no more bytes from clients to the broker, in all, than so many; what is more waits.
    pub fn allow(&self, bytes: u64) {
        self.allowed.send_replace(bytes);
    }

    /// How many bytes clients have sent to the broker.
    pub fn sent(&self) -> watch::Receiver<u64> {
        self.sent.subscribe()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The URL of a broker that is reached at this address instead.
pub(super) fn moved_to(target: &BrokerUrl, address: SocketAddr) -> BrokerUrl {
    let moved = target
        .to_string()
        .replacen(&target.authority(), &address.to_string(), 1);
    moved.parse().expect("a URL like the target's")
}

#[derive(Clone)]
struct Cable {
    broker: String,
    cut: watch::Receiver<State>,
    sent: watch::Sender<u64>,
    allowed: watch::Receiver<u64>,
}

impl Cable {
    async fn carry_all(self, listener: TcpListener) {
        while let Ok((near, _)) = listener.accept().await {
            let mut cable = self.clone();
            if !cable.cut.borrow_and_update().is_unplugged {
                tokio::spawn(cable.carry(near));
            }
        }
    }

    async fn carry(mut self, near: TcpStream) {
        let Ok(far) = TcpStream::connect(self.broker).await else {
            return;
        };
        let (near_read, mut near_write) = near.into_split();
        let (mut far_read, far_write) = far.into_split();
        tokio::select! {
            () = metered(near_read, far_write, &self.sent, self.allowed) => {}
            _ = tokio::io::copy(&mut far_read, &mut near_write) => {}
            _ = self.cut.changed() => {}
        }
    }
}

async fn metered(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    sent: &watch::Sender<u64>,
    mut allowed: watch::Receiver<u64>,
) {
    let mut buffer = vec![0; 16 * 1024];
    while let Ok(len @ 1..) = from.read(&mut buffer).await {
        let is_allowed = |allowed: &u64| *sent.borrow() + len as u64 <= *allowed;
        if allowed.wait_for(is_allowed).await.is_err()
            || to.write_all(&buffer[..len]).await.is_err()
        {
            return;
        }
        sent.send_modify(|sum| *sum += len as u64);
    }
}
