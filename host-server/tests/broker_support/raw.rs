//! An MQTT client that sends exactly the bytes it is told and shows exactly what it gets.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::within;

/// The type of the packet that acknowledges a publish of QoS 1.
pub const PUBACK: u8 = 4;

/// Reasons of MQTT 5.
pub const BAD_LOGIN: u8 = 0x86;
pub const NOT_AUTHORIZED: u8 = 0x87;
pub const QUOTA_EXCEEDED: u8 = 0x97;

/// What MQTT 3.1.1 has in place of the first two.
pub const BAD_LOGIN_V311: u8 = 4;
pub const NOT_AUTHORIZED_V311: u8 = 5;

pub trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A control packet, its fixed header's first byte and everything behind the length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    pub first: u8,
    pub body: Vec<u8>,
}

impl Packet {
    pub fn kind(&self) -> u8 {
        self.first >> 4
    }

    pub fn is_publish(&self) -> bool {
        self.kind() == 3
    }

    /// Topic and rest (properties and payload) of a PUBLISH of QoS 0.
    pub fn publish(&self) -> (&str, &[u8]) {
        assert!(self.is_publish(), "{self:?}");
        let len = usize::from(u16::from_be_bytes([self.body[0], self.body[1]]));
        let topic = std::str::from_utf8(&self.body[2..2 + len]).unwrap();
        (topic, &self.body[2 + len..])
    }
}

/// A CONNECT packet.
#[derive(Clone)]
pub struct Connect {
    pub version: u8,
    pub client_id: String,
    pub login: Option<(String, String)>,
    /// Topic, payload and retain flag.
    pub will: Option<(String, Vec<u8>, bool)>,
    pub packet_bytes_max: Option<u32>,
    /// Seconds.
    pub keep_alive: u8,
}

impl Connect {
    pub fn new(client_id: &str) -> Self {
        Self {
            version: 5,
            client_id: client_id.to_owned(),
            login: None,
            will: None,
            packet_bytes_max: None,
            keep_alive: 60,
        }
    }

    pub fn v311(mut self) -> Self {
        self.version = 4;
        self
    }

    pub fn login(mut self, user: &str, password: &str) -> Self {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    pub fn will(mut self, topic: &str, payload: &str, retain: bool) -> Self {
        self.will = Some((topic.to_owned(), payload.as_bytes().to_vec(), retain));
        self
    }

    pub fn encode(&self) -> Vec<u8> {
        let mut flags = 0b10;
        if let Some((.., retain)) = &self.will {
            flags |= 0b100 | (u8::from(*retain) << 5);
        }
        if self.login.is_some() {
            flags |= 0b1100_0000;
        }
        let mut body = string("MQTT");
        body.extend([self.version, flags, 0, self.keep_alive]);
        if self.version == 5 {
            match self.packet_bytes_max {
                Some(max) => {
                    body.extend([5, 0x27]);
                    body.extend(max.to_be_bytes());
                }
                None => body.push(0),
            }
        }
        body.extend(string(&self.client_id));
        if let Some((topic, payload, _)) = &self.will {
            if self.version == 5 {
                body.push(0);
            }
            body.extend(string(topic));
            body.extend(binary(payload));
        }
        if let Some((user, password)) = &self.login {
            body.extend(string(user));
            body.extend(string(password));
        }
        packet(0x10, &body)
    }
}

pub struct Client {
    io: Box<dyn Io>,
    version: u8,
    next_id: u16,
}

impl Client {
    pub fn over(io: Box<dyn Io>) -> Self {
        Self {
            io,
            version: 5,
            next_id: 1,
        }
    }

    pub async fn tcp(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(Box::new(stream))
    }

    /// A TLS client that connects from `from`, an address of this machine.
    pub async fn tls_from(
        from: IpAddr,
        address: SocketAddr,
        ca: &Path,
        identity: (&Path, &Path),
    ) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let stream = socket.connect(address).await?;
        Self::tls_over(stream, client_config(ca, Some(identity))).await
    }

    /// The error is that of the handshake. A server's refusal of the certificate arrives after it, as
    /// the error or end of the first read.
    pub async fn tls(
        address: SocketAddr,
        ca: &Path,
        identity: Option<(&Path, &Path)>,
    ) -> io::Result<Self> {
        let config = client_config(ca, identity);
        let stream = TcpStream::connect(address).await?;
        Self::tls_over(stream, config).await
    }

    async fn tls_over(stream: TcpStream, config: ClientConfig) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let name = ServerName::try_from("localhost").unwrap();
        let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        Ok(Self::over(Box::new(stream)))
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        within("write", self.io.write_all(bytes)).await.unwrap();
        within("flush", self.io.flush()).await.unwrap();
    }

    /// Sends to a server that may have closed the connection.
    pub async fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        within("write", self.io.write_all(bytes)).await
    }

    /// Sends CONNECT and returns the reason code of the CONNACK.
    pub async fn connect(&mut self, connect: &Connect) -> u8 {
        self.version = connect.version;
        self.send(&connect.encode()).await;
        let answer = self.packet().await.expect("CONNACK");
        assert_eq!(answer.kind(), 2, "{answer:?}");
        answer.body[1]
    }

    /// Connects and is let in.
    pub async fn enter(&mut self, connect: &Connect) {
        assert_eq!(self.connect(connect).await, 0, "let in");
    }

    /// Subscribes one filter and returns the reason code.
    pub async fn subscribe(&mut self, filter: &str, qos: u8) -> u8 {
        let mut body = self.take_id().to_be_bytes().to_vec();
        if self.version == 5 {
            body.push(0);
        }
        body.extend(string(filter));
        body.push(qos);
        self.send(&packet(0x82, &body)).await;
        let answer = self.expect(9).await;
        *answer.body.last().unwrap()
    }

    /// Sends a PUBLISH; the answer, if any, is for the test to read. Returns the packet identifier.
    pub async fn publish(&mut self, topic: &str, payload: &[u8], qos: u8, retain: bool) -> u16 {
        let id = self.take_id();
        let bytes = self.publish_packet(topic, payload, qos, retain, id);
        self.send(&bytes).await;
        id
    }

    pub fn publish_packet(
        &self,
        topic: &str,
        payload: &[u8],
        qos: u8,
        retain: bool,
        id: u16,
    ) -> Vec<u8> {
        let mut body = string(topic);
        if qos > 0 {
            body.extend(id.to_be_bytes());
        }
        if self.version == 5 {
            body.push(0);
        }
        body.extend(payload);
        packet(0x30 | (qos << 1) | u8::from(retain), &body)
    }

    /// Sends PUBREL.
    pub async fn release(&mut self, id: u16) {
        self.send(&packet(0x62, &id.to_be_bytes())).await;
    }

    /// A round trip: everything sent before was handled.
    pub async fn ping(&mut self) {
        self.send(&[0xC0, 0]).await;
        self.expect(13).await;
    }

    /// Sends DISCONNECT and waits for the end.
    pub async fn leave(mut self) {
        self.send(&[0xE0, 0]).await;
        while self.packet().await.is_some() {}
    }

    /// The next packet, which has to be of `kind`.
    pub async fn expect(&mut self, kind: u8) -> Packet {
        let packet = self.packet().await.expect("a packet, not the end");
        assert_eq!(packet.kind(), kind, "{packet:?}");
        packet
    }

    /// The next packet; `None` at the end of the connection, however it ends.
    pub async fn packet(&mut self) -> Option<Packet> {
        within("a packet", async {
            let first = self.io.read_u8().await.ok()?;
            let mut len = 0usize;
            for shift in (0..28).step_by(7) {
                let byte = self.io.read_u8().await.ok()?;
                len |= usize::from(byte & 0x7F) << shift;
                if byte < 0x80 {
                    break;
                }
            }
            let mut body = vec![0; len];
            self.io.read_exact(&mut body).await.ok()?;
            Some(Packet { first, body })
        })
        .await
    }

    /// The end of the connection, whatever comes before it.
    pub async fn until_closed(&mut self) {
        while self.packet().await.is_some() {}
    }

    fn take_id(&mut self) -> u16 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}

fn client_config(ca: &Path, identity: Option<(&Path, &Path)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(ca).unwrap())
        .unwrap();
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
    match identity {
        Some((certificate, key)) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_file(certificate).unwrap()],
                PrivateKeyDer::from_pem_file(key).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    }
}

pub fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let byte = u8::try_from(len % 128).unwrap();
        len /= 128;
        bytes.push(byte | if len > 0 { 0x80 } else { 0 });
        if len == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

fn string(text: &str) -> Vec<u8> {
    binary(text.as_bytes())
}

fn binary(bytes: &[u8]) -> Vec<u8> {
    let mut all = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    all.extend(bytes);
    all
}
