//! A peer that says what a test tells it to, byte by byte.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use vinbus_transport_std::conformance::in_time;
use vinbus_transport_std::{ClientOptions, MqttVersion};

pub(crate) struct Peer(TcpListener);

impl Peer {
    pub(crate) async fn new() -> Self {
        Self(
            TcpListener::bind(("127.0.0.1", 0))
                .await
                .expect("a loopback port"),
        )
    }

    pub(crate) fn options(&self, scheme: &str, version: MqttVersion) -> ClientOptions {
        let address = self.0.local_addr().expect("a bound socket");
        let url = format!("{scheme}://{address}").parse().expect("a URL");
        vinbus_transport_std::conformance::impatient(ClientOptions::new(url, "peer-test"))
            .version(version)
    }

    pub(crate) async fn accept(&self) -> Connection {
        let (stream, _) = in_time("a connection", self.0.accept())
            .await
            .expect("accepted");
        Connection(stream)
    }

    /// Accepts a connection, reads its CONNECT and welcomes it.
    pub(crate) async fn welcome(&self, version: MqttVersion) -> Connection {
        let mut connection = self.accept().await;
        assert_eq!(connection.packet().await[0], CONNECT);
        connection.send(&connack(version, 0)).await;
        connection
    }
}

pub(crate) struct Connection(pub(crate) TcpStream);

impl Connection {
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        in_time("a send", self.0.write_all(bytes))
            .await
            .expect("sent");
    }

    /// The next whole packet.
    pub(crate) async fn packet(&mut self) -> Vec<u8> {
        let mut packet = vec![self.byte().await];
        let mut len = 0;
        for shift in [0, 7, 14, 21] {
            let byte = self.byte().await;
            packet.push(byte);
            len |= usize::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let start = packet.len();
        packet.resize(start + len, 0);
        in_time("a packet", self.0.read_exact(&mut packet[start..]))
            .await
            .expect("read");
        packet
    }

    /// Reads what is there, once there is anything; how many bytes.
    pub(crate) async fn some_bytes(&mut self) -> usize {
        let mut bytes = [0; 4096];
        in_time("bytes", self.0.read(&mut bytes))
            .await
            .expect("read")
    }

    async fn byte(&mut self) -> u8 {
        in_time("a byte", self.0.read_u8()).await.expect("read")
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn closed(&mut self) {
        let mut rest = Vec::new();
        let _reset_is_closed_too = in_time("the end", self.0.read_to_end(&mut rest)).await;
    }
}

pub(crate) const CONNECT: u8 = 0x10;
pub(crate) const PUBACK: u8 = 0x40;
pub(crate) const SUBSCRIBE: u8 = 0x82;
pub(crate) const DISCONNECT: u8 = 0xE0;

pub(crate) fn connack(version: MqttVersion, code: u8) -> Vec<u8> {
    match version {
        MqttVersion::V311 => vec![0x20, 2, 0, code],
        MqttVersion::V5 => vec![0x20, 3, 0, code, 0],
    }
}

/// A QoS 1 PUBLISH, or a QoS 0 one if the identifier is 0.
pub(crate) fn publish(version: MqttVersion, id: u16, topic: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend(topic);
    if id != 0 {
        body.extend(id.to_be_bytes());
    }
    if version == MqttVersion::V5 {
        body.push(0);
    }
    body.extend(payload);
    let mut packet = vec![if id == 0 { 0x30 } else { 0x32 }];
    let mut len = body.len();
    loop {
        let byte = (len % 128) as u8;
        len /= 128;
        packet.push(if len > 0 { byte | 0x80 } else { byte });
        if len == 0 {
            break;
        }
    }
    packet.extend(body);
    packet
}

/// The SUBACK for one filter of a SUBSCRIBE packet.
pub(crate) fn suback(version: MqttVersion, subscribe: &[u8], code: u8) -> Vec<u8> {
    match version {
        MqttVersion::V311 => vec![0x90, 3, subscribe[2], subscribe[3], code],
        MqttVersion::V5 => vec![0x90, 4, subscribe[2], subscribe[3], 0, code],
    }
}
