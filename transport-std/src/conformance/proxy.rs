//! A network cable between client and broker that can be cut, and that counts what it carries.

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
        let sent = watch::Sender::new(0);
        let cable = Cable {
            broker: (target.host().to_owned(), target.port()),
            cut: state.subscribe(),
            sent: sent.clone(),
        };
        let accepting = tokio::spawn(cable.carry_all(listener)).abort_handle();
        Self {
            address,
            cable: state,
            sent,
            accepting,
        }
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

#[derive(Clone)]
struct Cable {
    broker: (String, u16),
    cut: watch::Receiver<State>,
    sent: watch::Sender<u64>,
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
        let (near_read, near_write) = near.into_split();
        let (far_read, far_write) = far.into_split();
        let sent = self.sent;
        let up = copy(near_read, far_write, |len| {
            sent.send_modify(|sum| *sum += len);
        });
        let down = copy(far_read, near_write, |_| {});
        tokio::select! {
            () = up => {}
            () = down => {}
            _ = self.cut.changed() => {}
        }
    }
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, carried: impl Fn(u64)) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(len @ 1..) if to.write_all(&buffer[..len]).await.is_ok() => carried(len as u64),
            Ok(_) | Err(_) => return,
        }
    }
}
