//! One connection to the broker: every exchange has a deadline, and says how it failed.

use std::time::UNIX_EPOCH;

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use vinbus_transport_std::{ByteStream, LinkError, Phase, StreamDialer};

use super::access::{Access, BESIDE};
use super::fault::Fault;
use super::packets::{self, Answer, Limits, Malformed, Outgoing, Packet, Pub, Publish, Version};
use super::reason;
use super::report::foreign;

/// Messages that are kept until somebody asks for them; more are dropped.
const INBOX_MAX: usize = 64;

const READ_BYTES: usize = 64 * 1024;

/// What is read of a broker's last words, in bytes.
const LAST_WORDS_MAX: usize = 1024 * 1024;

/// What is shown of what is no MQTT, in bytes.
const SHOWN_BYTES: usize = 160;

/// Said in CONNECT; longer than any look takes between two packets.
const KEEP_ALIVE_S: u16 = 120;

/// The first byte of a CONNACK.
const CONNACK: u8 = 0x20;

/// A session that the broker has welcomed.
pub(super) struct Session<'a> {
    access: &'a Access,
    dialer: StreamDialer,
    stream: Box<dyn ByteStream>,
    read: BytesMut,
    inbox: Vec<Publish>,
    last_id: u16,
    welcomed: bool,
    pub(super) version: Version,
    pub(super) limits: Limits,
}

/// Opens the stream below MQTT.
pub(super) async fn dial(access: &Access) -> Result<(StreamDialer, Box<dyn ByteStream>), Fault> {
    let dialer = StreamDialer::new(access.url.clone(), &access.tls, access.step);
    let mut dialer = dialer.map_err(|error| {
        Fault::Link(LinkError::Tls {
            reason: error.to_string(),
        })
    })?;
    #[cfg(test)]
    if let Some(peers) = &access.peers {
        let (ours, theirs) = tokio::io::duplex(READ_BYTES);
        peers.send(theirs).expect("somebody takes the stream");
        return Ok((dialer, Box::new(ours)));
    }
    let error = match timeout_at(access.deadline(), dialer.dial()).await {
        Ok(Ok(stream)) => return Ok((dialer, stream)),
        Ok(Err(error)) => error,
        Err(_) => match access.late() {
            over @ Fault::Over { .. } => return Err(over),
            _ => LinkError::Timeout {
                phase: dialer.phase(),
            },
        },
    };
    Err(match (dialer.phase(), error) {
        // Only now a server of TLS 1.3 says that it refuses our certificate.
        (
            Phase::WebSocket,
            error @ (LinkError::ClientCertificateRequired
            | LinkError::ClientCertificateRefused { .. }
            | LinkError::Tls { .. }),
        ) => Fault::Link(error),
        (Phase::WebSocket, error) => Fault::WebSocket(error),
        (_, error) => Fault::Link(error),
    })
}

/// The time by the server, in seconds since 1970, if it is one of WebSockets and tells it: neither MQTT nor TLS does.
pub(super) async fn told_time(access: &Access) -> Option<i64> {
    if !access.url.scheme().is_web_socket() {
        return None;
    }
    let (dialer, _) = dial(access).await.ok()?;
    let told = httpdate::parse_http_date(dialer.server_date()?).ok()?;
    i64::try_from(told.duration_since(UNIX_EPOCH).ok()?.as_secs()).ok()
}

impl<'a> Session<'a> {
    /// Connects with a clean session that ends with the connection.
    pub(super) async fn open(access: &'a Access, version: Version) -> Result<Self, Fault> {
        Self::open_as(access, version, &access.client_id).await
    }

    /// Connects as well, while another session is open.
    pub(super) async fn open_beside(access: &'a Access, version: Version) -> Result<Self, Fault> {
        Self::open_as(access, version, &format!("{}{BESIDE}", access.client_id)).await
    }

    async fn open_as(access: &'a Access, version: Version, client_id: &str) -> Result<Self, Fault> {
        let (dialer, stream) = dial(access).await?;
        let mut session = Self {
            access,
            dialer,
            stream,
            read: BytesMut::new(),
            inbox: Vec::new(),
            last_id: 0,
            welcomed: false,
            version,
            limits: Limits::default(),
        };
        let credentials = access.login.credentials();
        let connect = packets::connect(version, client_id, credentials, KEEP_ALIVE_S);
        session.send(connect).await?;
        let welcome = timeout_at(access.deadline(), session.connack()).await;
        let (answer, limits) = welcome.unwrap_or_else(|_| Err(access.late()))?;
        if answer.code != 0 {
            return Err(Fault::Refused(answer));
        }
        session.welcomed = true;
        session.limits = limits;
        Ok(session)
    }

    /// Says goodbye; what goes wrong now is of no interest.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            if let Ok(bytes) = packets::disconnect() {
                let _ = self.stream.write_all(&bytes).await;
            }
            let _ = self.stream.flush().await;
            let _ = self.stream.shutdown().await;
        };
        let _ = timeout_at(self.access.deadline(), goodbye).await;
    }

    /// Subscribes; the granted QoS or a refusal.
    pub(super) async fn subscribe(
        &mut self,
        filter: &str,
        qos: u8,
        no_local: bool,
    ) -> Result<Answer, Fault> {
        let id = self.next_id();
        self.send(packets::subscribe(self.version, id, filter, qos, no_local))
            .await?;
        self.wait(|packet| match packet {
            Packet::SubAck(of, answer) if of == id => Ok(answer),
            other => Err(other),
        })
        .await
    }

    /// Publishes; at QoS 1 and 2 with the broker's answer.
    pub(super) async fn publish(
        &mut self,
        message: &Outgoing<'_>,
    ) -> Result<Option<Answer>, Fault> {
        let id = self.next_id();
        self.send(packets::publish(self.version, id, message))
            .await?;
        let first = match message.qos {
            0 => return Ok(None),
            1 => Pub::Ack,
            _ => Pub::Rec,
        };
        let answer = self.answer(first, id).await?;
        if first == Pub::Rec && !reason::is_refusal(answer.code) {
            self.send(packets::acknowledge(Pub::Rel, id)).await?;
            return self.answer(Pub::Comp, id).await.map(Some);
        }
        Ok(Some(answer))
    }

    async fn answer(&mut self, expected: Pub, expected_id: u16) -> Result<Answer, Fault> {
        self.wait(|packet| match packet {
            Packet::Ack(ack, id, answer) if (ack, id) == (expected, expected_id) => Ok(answer),
            other => Err(other),
        })
        .await
    }

    /// Waits for a message that `wanted` accepts, and drops those before it.
    pub(super) async fn hear(
        &mut self,
        wanted: impl Fn(&Publish) -> bool,
    ) -> Result<Publish, Fault> {
        let kept = std::mem::take(&mut self.inbox);
        let mut kept = kept.into_iter().skip_while(|message| !wanted(message));
        if let Some(found) = kept.next() {
            self.inbox.extend(kept);
            return Ok(found);
        }
        self.wait(|packet| match packet {
            Packet::Publish(message) if wanted(&message) => Ok(message),
            // Not kept.
            Packet::Publish(_) => Err(Packet::Other),
            other => Err(other),
        })
        .await
    }

    /// Waits for the answer to a ping: what the broker had to say before has then arrived.
    pub(super) async fn settle(&mut self) -> Result<(), Fault> {
        self.send(packets::ping()).await?;
        self.wait(|packet| match packet {
            Packet::Pong => Ok(()),
            other => Err(other),
        })
        .await
    }

    /// Hands everything that arrives until `end` to `see`.
    pub(super) async fn listen(
        &mut self,
        end: Instant,
        mut see: impl FnMut(&Publish),
    ) -> Result<(), Fault> {
        for message in self.inbox.drain(..) {
            see(&message);
        }
        let end = self.access.not_after_end(end);
        let listening = async {
            loop {
                if let Packet::Publish(message) = self.next().await? {
                    see(&message);
                }
            }
        };
        match timeout_at(end, listening).await {
            Ok(ended) => ended,
            Err(_over) => Ok(()),
        }
    }

    fn next_id(&mut self) -> u16 {
        self.last_id += 1;
        self.last_id
    }

    async fn wait<T>(
        &mut self,
        mut wanted: impl FnMut(Packet) -> Result<T, Packet>,
    ) -> Result<T, Fault> {
        let deadline = self.access.deadline();
        let waiting = async {
            loop {
                match wanted(self.next().await?) {
                    Ok(found) => return Ok(found),
                    Err(Packet::Publish(message)) if self.inbox.len() < INBOX_MAX => {
                        self.inbox.push(message);
                    }
                    Err(_) => {}
                }
            }
        };
        let waited = timeout_at(deadline, waiting).await;
        waited.unwrap_or_else(|_| Err(self.late()))
    }

    /// The first packet, which only a broker begins like this.
    async fn connack(&mut self) -> Result<(Answer, Limits), Fault> {
        self.read_more().await?;
        if self.read[0] != CONNACK {
            // The rest of a banner tells more than its first byte; most send it in one piece.
            let shown = &self.read[..self.read.len().min(SHOWN_BYTES)];
            let said = foreign(&String::from_utf8_lossy(shown));
            return Err(Fault::NotMqtt { said });
        }
        match self.next().await? {
            Packet::ConnAck(answer, limits) => Ok((answer, limits)),
            other => Err(Fault::Malformed(Malformed(format!(
                "{other:?} in place of a CONNACK"
            )))),
        }
    }

    /// The next packet; messages are acknowledged as they arrive.
    async fn next(&mut self) -> Result<Packet, Fault> {
        let packet = loop {
            match packets::read(self.version, &mut self.read).map_err(Fault::Malformed)? {
                Some(packet) => break packet,
                None => self.read_more().await?,
            }
        };
        let reply = match &packet {
            Packet::Publish(message) => message.id.map(|id| match message.qos {
                1 => (Pub::Ack, id),
                _ => (Pub::Rec, id),
            }),
            Packet::Ack(Pub::Rel, id, _) => Some((Pub::Comp, *id)),
            Packet::Disconnect(answer) => return Err(Fault::Disconnected(answer.clone())),
            _ => None,
        };
        if let Some((ack, id)) = reply {
            self.send(packets::acknowledge(ack, id)).await?;
        }
        Ok(packet)
    }

    /// Reads what is there, and waits for it if nothing is.
    async fn read_more(&mut self) -> Result<(), Fault> {
        self.read.reserve(READ_BYTES);
        match self.stream.read_buf(&mut self.read).await {
            Ok(0) | Err(_) => Err(self.broken()),
            Ok(_) => Ok(()),
        }
    }

    async fn send(&mut self, packet: Result<Vec<u8>, Malformed>) -> Result<(), Fault> {
        let bytes = packet.map_err(Fault::Unsayable)?;
        let deadline = self.access.deadline();
        let writing = async {
            self.stream.write_all(&bytes).await?;
            self.stream.flush().await
        };
        let written: Result<std::io::Result<()>, _> = timeout_at(deadline, writing).await;
        match written {
            Ok(Ok(())) => Ok(()),
            // A broker that ends the connection while we write may have said why before.
            Ok(Err(_)) => {
                let last_words = timeout_at(deadline, self.last_words()).await;
                Err(last_words.unwrap_or_else(|_| self.late()))
            }
            Err(_) => Err(self.late()),
        }
    }

    /// What it means that a deadline has passed.
    fn late(&self) -> Fault {
        match self.access.late() {
            Fault::Silent { step, .. } => Fault::Silent {
                step,
                welcomed: self.welcomed,
            },
            over => over,
        }
    }

    async fn last_words(&mut self) -> Fault {
        while self.read.len() <= LAST_WORDS_MAX && self.read_more().await.is_ok() {}
        while let Ok(Some(packet)) = packets::read(self.version, &mut self.read) {
            if let Packet::Disconnect(answer) = packet {
                return Fault::Disconnected(answer);
            }
        }
        self.broken()
    }

    /// Why the stream ended: TLS refuses a client's certificate after the handshake.
    fn broken(&self) -> Fault {
        match self.dialer.error() {
            None | Some(LinkError::ConnectionLost { .. }) => Fault::Closed {
                welcomed: self.welcomed,
            },
            Some(error) => Fault::Link(error),
        }
    }
}
