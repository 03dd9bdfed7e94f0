//! A server that speaks as much MQTT 5 as an agent needs, and then sends what it is told to.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use vinbus_transport_std::conformance::{Authority, Validity};

use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::board::{UID, VIN};
use crate::gate;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A listening server.
pub(crate) struct Source {
    listener: TcpListener,
    acceptor: Option<TlsAcceptor>,
    /// Who issued its certificate, and issues those of vehicles.
    pub(crate) authority: Authority,
}

/// An agent that is connected and has subscribed.
pub(crate) struct Link {
    write: Arc<Mutex<WriteHalf<Box<dyn Stream>>>>,
    answering: JoinHandle<()>,
    /// How long the TLS handshake took; nothing without TLS.
    pub(crate) handshake: Duration,
}

impl Source {
    /// Listens on loopback; agents know it as `host`.
    pub(crate) async fn open(host: &str, tls: bool) -> Self {
        let authority = Authority::new("bench");
        let server = authority.server(host, Validity::Now);
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            acceptor: tls.then(|| gate::acceptor(&server, &[], &authority)),
            authority,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    pub(crate) fn is_tls(&self) -> bool {
        self.acceptor.is_some()
    }

    /// Waits until an agent has connected and subscribed.
    pub(crate) async fn welcome(&mut self) -> Link {
        let (tcp, _) = self.listener.accept().await.unwrap();
        tcp.set_nodelay(true).unwrap();
        let start = Instant::now();
        let stream: Box<dyn Stream> = match &self.acceptor {
            None => Box::new(tcp),
            Some(acceptor) => Box::new(acceptor.accept(tcp).await.unwrap()),
        };
        let handshake = start.elapsed();
        let (read, write) = split(stream);
        let write = Arc::new(Mutex::new(write));
        let (subscribed, mut heard) = watch::channel(false);
        let answering = tokio::spawn(answer_all(read, Arc::clone(&write), subscribed));
        heard
            .wait_for(|subscribed| *subscribed)
            .await
            .expect("the agent subscribes");
        Link {
            write,
            answering,
            handshake,
        }
    }
}

impl Link {
    /// Sends packets; done when the connection has taken them.
    pub(crate) async fn send(&self, packets: &[u8]) {
        let mut write = self.write.lock().await;
        write.write_all(packets).await.unwrap();
        write.flush().await.unwrap();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

/// Answers what asks for an answer, until the connection ends.
async fn answer_all(
    mut read: ReadHalf<Box<dyn Stream>>,
    write: Arc<Mutex<WriteHalf<Box<dyn Stream>>>>,
    subscribed: watch::Sender<bool>,
) {
    while let Ok((first, body)) = read_packet(&mut read).await {
        let answer = answer(first, &body);
        if write.lock().await.write_all(&answer).await.is_err() {
            return;
        }
        if first >> 4 == SUBSCRIBE {
            subscribed.send_replace(true);
        }
    }
}

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const SUBSCRIBE: u8 = 8;
const PINGREQ: u8 = 12;

/// MQTT 5, 3.2, 3.4, 3.9 and 3.13: the shortest forms, which mean success.
fn answer(first: u8, body: &[u8]) -> Vec<u8> {
    match first >> 4 {
        CONNECT => vec![0x20, 3, 0, 0, 0],
        SUBSCRIBE => {
            let filters = filters(&body[2..]);
            let head = [0x90, 3 + filters, body[0], body[1], 0];
            [&head[..], &vec![0; usize::from(filters)]].concat()
        }
        PUBLISH if first >> 1 & 3 == 1 => {
            let id = 2 + usize::from(u16::from_be_bytes([body[0], body[1]]));
            vec![0x40, 2, body[id], body[id + 1]]
        }
        PINGREQ => vec![0xD0, 0],
        _ => Vec::new(),
    }
}

/// How many filters follow the properties, which are shorter than 128 bytes.
fn filters(payload: &[u8]) -> u8 {
    let mut rest = &payload[1 + usize::from(payload[0])..];
    let mut filters = 0;
    while let [high, low, ..] = rest {
        rest = &rest[3 + usize::from(u16::from_be_bytes([*high, *low]))..];
        filters += 1;
    }
    filters
}

async fn read_packet(read: &mut (impl AsyncRead + Unpin)) -> std::io::Result<(u8, Vec<u8>)> {
    let first = read.read_u8().await?;
    let (mut len, mut shift) = (0, 0);
    loop {
        let byte = read.read_u8().await?;
        len |= usize::from(byte & 0x7F) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; len];
    read.read_exact(&mut body).await?;
    Ok((first, body))
}

/// A message at QoS 0 for an app, whose payload has this size.
pub(crate) fn publish(app: &str, size: usize) -> Vec<u8> {
    let empty = envelope(app, "\"\"");
    publish_content(app, &format!("\"{}\"", "x".repeat(size - empty.len())))
}

/// A message at QoS 0 for an app, with this content.
pub(crate) fn publish_content(app: &str, content: &str) -> Vec<u8> {
    let topic = topic();
    let payload = envelope(app, content);
    let len = 2 + topic.len() + 1 + payload.len();
    let mut packet = vec![0x30];
    let mut rest = len;
    while rest >= 0x80 {
        packet.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    packet.push(rest as u8);
    packet.extend((topic.len() as u16).to_be_bytes());
    packet.extend(topic.as_bytes());
    // No properties.
    packet.push(0);
    packet.extend(payload.as_bytes());
    packet
}

/// The vehicle's topic.
pub(crate) fn topic() -> String {
    format!("psa/OVIPPartners-Dev/to/uid/{UID}/opa/{VIN}/")
}

/// A message for an app.
pub(crate) fn envelope(app: &str, content: &str) -> String {
    format!(r#"{{"idApp":"{app}","popup":false,"content":{content}}}"#)
}
