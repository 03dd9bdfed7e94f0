//! One connection to the broker: every exchange has a deadline, and says how it failed.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout_at};
use vinbus_transport_std::{BrokerUrl, ByteStream, LinkError, Phase, StreamDialer, TlsOptions};

use super::report::foreign;
use super::wire::{self, Framed, Login, Outgoing, Packet, Properties, Publish, Version};

/// Largest packet that is read, in bytes.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// Messages that are kept until somebody asks for them; more are dropped.
const INBOX_MAX: usize = 64;

/// What the client id of a second session ends with.
pub(super) const BESIDE: &str = "b";

const READ_BYTES: usize = 64 * 1024;

/// Said in CONNECT; longer than any look takes between two packets.
const KEEP_ALIVE_S: u16 = 120;

/// Where the broker is, who we are there, and how long all may take.
pub(super) struct Access {
    pub(super) url: BrokerUrl,
    pub(super) tls: TlsOptions,
    pub(super) client_id: String,
    pub(super) credentials: Option<(String, String)>,
    /// For one answer.
    pub(super) step: Duration,
    /// When all of it is over.
    pub(super) end: Instant,
}

impl Access {
    pub(super) fn deadline(&self) -> Instant {
        (Instant::now() + self.step).min(self.end)
    }
}

/// Why an exchange did not end as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Name, TCP or TLS, or a connection that broke.
    Link(LinkError),
    /// The broker closed the connection and gave no reason.
    Closed,
    /// It did not answer in time.
    Silent { step: Duration },
    /// CONNACK refused us.
    Refused {
        version: Version,
        code: u8,
        reason: Option<String>,
    },
    /// It ended the connection and said why.
    Disconnected { code: u8, reason: Option<String> },
    /// What it said is no MQTT.
    NotMqtt { said: String },
}

impl Fault {
    /// The broker does not speak the version of the CONNECT.
    pub(super) fn is_of_version(&self) -> bool {
        matches!(self, Self::Refused { code: 1 | 0x84, .. })
    }

    /// What happened.
    pub(super) fn value(&self) -> String {
        match self {
            Self::Link(error) => foreign(&error.to_string()),
            Self::Closed => "the broker closed the connection without a reason".into(),
            Self::Silent { step } => {
                format!("no answer within {}", humantime::format_duration(*step))
            }
            Self::Refused {
                version,
                code,
                reason,
            } => {
                let meaning = wire::meaning(*version, true, *code);
                format!("CONNACK 0x{code:02X}: {meaning}{}", said(reason.as_ref()))
            }
            Self::Disconnected { code, reason } => {
                let meaning = wire::meaning(Version::V5, false, *code);
                format!(
                    "DISCONNECT 0x{code:02X}: {meaning}{}",
                    said(reason.as_ref())
                )
            }
            Self::NotMqtt { said } => format!("what answers is no MQTT broker; it said \"{said}\""),
        }
    }

    /// What to change.
    pub(super) fn advice(&self) -> &'static str {
        match self {
            Self::Link(error) => error.advice(),
            Self::Closed => {
                "look into the broker's log; many brokers close like this on a client id, \
                 certificate or user that they do not know"
            }
            Self::Silent { .. } => {
                "check that the port speaks MQTT, with TLS for mqtts:// and without it for mqtt://, and \
                 that the broker is healthy; or allow more by --timeout"
            }
            Self::Refused { version, code, .. } => refusal_advice(*version, *code),
            Self::Disconnected { code: 0x8E, .. } => {
                "another client uses the same client id: stop it"
            }
            Self::Disconnected { code: 0x95, .. } => {
                "have the broker's operator raise its largest packet"
            }
            Self::Disconnected { .. } => {
                "ask the broker's operator why, with the time and the reason"
            }
            Self::NotMqtt { .. } => {
                "check host and port in the URL, and its scheme: mqtts:// for TLS, mqtt:// without"
            }
        }
    }
}

fn refusal_advice(version: Version, code: u8) -> &'static str {
    match (version, code) {
        (Version::V5, 0x84) | (_, 1) => "use the other version: --broker-mqtt",
        (Version::V5, 0x86) | (Version::V311, 4) => {
            "check the user name and the file with the password; a new password may be needed"
        }
        (Version::V5, 0x87) | (Version::V311, 5) => {
            "check user name and password; if they are right, ask the broker's operator to authorize \
             this user, with this certificate"
        }
        (Version::V5, 0x85) | (Version::V311, 2) => {
            "ask the broker's operator which client ids it allows"
        }
        (Version::V5, 0x88 | 0x89 | 0x97 | 0x9F) | (Version::V311, 3) => "try again later",
        (Version::V5, 0x8A) => "ask the broker's operator why this client is banned",
        (Version::V5, 0x9C | 0x9D) => "ask the broker's operator for its present address",
        _ => "ask the broker's operator, whose log should say why",
    }
}

pub(super) fn said(reason: Option<&String>) -> String {
    let said = |reason| format!(" (\"{}\")", foreign(reason));
    reason.map(|reason| said(reason)).unwrap_or_default()
}

/// A session that the broker has welcomed.
pub(super) struct Session<'a> {
    access: &'a Access,
    dialer: StreamDialer,
    stream: Box<dyn ByteStream>,
    read: Vec<u8>,
    inbox: Vec<Publish>,
    last_id: u16,
    pub(super) version: Version,
    pub(super) welcome: Properties,
}

/// The broker's word on a subscription or a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) reason: Option<String>,
}

impl Answer {
    pub(super) fn is_refusal(&self) -> bool {
        self.code >= 0x80
    }

    pub(super) fn shown(&self, version: Version) -> String {
        let meaning = wire::meaning(version, false, self.code);
        format!(
            "0x{:02X}: {meaning}{}",
            self.code,
            said(self.reason.as_ref())
        )
    }
}

/// Opens the stream below MQTT.
pub(super) async fn dial(access: &Access) -> Result<(StreamDialer, Box<dyn ByteStream>), Fault> {
    let dialer = StreamDialer::new(access.url.clone(), &access.tls, access.step);
    let mut dialer = dialer.map_err(|error| {
        Fault::Link(LinkError::Tls {
            reason: error.to_string(),
        })
    })?;
    match timeout_at(access.deadline(), dialer.dial()).await {
        Ok(Ok(stream)) => Ok((dialer, stream)),
        Ok(Err(error)) => Err(Fault::Link(error)),
        // The phases before are looked at before.
        Err(_) => Err(Fault::Link(LinkError::Timeout { phase: Phase::Tls })),
    }
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
            read: Vec::new(),
            inbox: Vec::new(),
            last_id: 0,
            version,
            welcome: Properties::default(),
        };
        let credentials = access.credentials.as_ref();
        let login = Login {
            client_id,
            credentials: credentials.map(|(user, password)| (user.as_str(), password.as_str())),
        };
        session
            .send(&wire::connect(version, &login, KEEP_ALIVE_S))
            .await?;
        let silent = Fault::Silent { step: access.step };
        let welcome = timeout_at(access.deadline(), session.connack()).await;
        match welcome.unwrap_or(Err(silent))? {
            (0, properties) => session.welcome = properties,
            (code, properties) => {
                let reason = properties.reason;
                return Err(Fault::Refused {
                    version,
                    code,
                    reason,
                });
            }
        }
        Ok(session)
    }

    /// Says goodbye; what goes wrong now is of no interest.
    pub(super) async fn close(mut self) {
        let goodbye = async {
            let _ = self.stream.write_all(&wire::disconnect()).await;
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
        self.send(&wire::subscribe(self.version, id, filter, qos, no_local))
            .await?;
        self.wait(|packet| match packet {
            Packet::SubAck {
                id: of,
                codes,
                reason,
            } if of == id => {
                let code = codes.first().copied().unwrap_or(0x80);
                Ok(Answer { code, reason })
            }
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
        self.send(&wire::publish(self.version, id, message)).await?;
        let first = match message.qos {
            0 => return Ok(None),
            1 => wire::PUBACK,
            _ => wire::PUBREC,
        };
        let answer = self.answer(first, id).await?;
        if first == wire::PUBREC && !answer.is_refusal() {
            self.send(&wire::acknowledge(wire::PUBREL, id)).await?;
            return self.answer(wire::PUBCOMP, id).await.map(Some);
        }
        Ok(Some(answer))
    }

    async fn answer(&mut self, expected: u8, expected_id: u16) -> Result<Answer, Fault> {
        self.wait(|packet| match packet {
            Packet::Ack {
                kind,
                id,
                code,
                reason,
            } if (kind, id) == (expected, expected_id) => Ok(Answer { code, reason }),
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
        self.send(&wire::ping()).await?;
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
        let end = end.min(self.access.end);
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
        let silent = Fault::Silent {
            step: self.access.step,
        };
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
        timeout_at(deadline, waiting).await.unwrap_or(Err(silent))
    }

    /// The first packet, which only a broker begins like this.
    async fn connack(&mut self) -> Result<(u8, Properties), Fault> {
        self.fill(1).await?;
        if self.read[0] >> 4 != wire::CONNACK {
            // The rest of a banner tells more than its first byte; most send it in one piece.
            let said = foreign(&String::from_utf8_lossy(&self.read));
            return Err(Fault::NotMqtt { said });
        }
        match self.next().await? {
            Packet::ConnAck { code, properties } => Ok((code, properties)),
            _ => Err(self.nonsense()),
        }
    }

    /// The next packet; messages are acknowledged as they arrive.
    async fn next(&mut self) -> Result<Packet, Fault> {
        let mut wanted = 2;
        let (header, all) = loop {
            self.fill(wanted).await?;
            match framed_of(&self.read) {
                Framed::Whole { header, all } if all <= PACKET_BYTES_MAX => break (header, all),
                Framed::Short => wanted = self.read.len() + 1,
                Framed::Whole { .. } | Framed::Nonsense => return Err(self.nonsense()),
            }
        };
        self.fill(all).await?;
        let parsed = wire::parse(self.version, self.read[0], &self.read[header..all]);
        let Some(packet) = parsed else {
            return Err(self.nonsense());
        };
        self.read.drain(..all);
        let reply = match &packet {
            Packet::Publish(Publish {
                id: Some(id),
                qos: 1,
                ..
            }) => Some((wire::PUBACK, *id)),
            Packet::Publish(Publish { id: Some(id), .. }) => Some((wire::PUBREC, *id)),
            Packet::Ack {
                kind: wire::PUBREL,
                id,
                ..
            } => Some((wire::PUBCOMP, *id)),
            Packet::Disconnect { code, reason } => {
                let (code, reason) = (*code, reason.clone());
                return Err(Fault::Disconnected { code, reason });
            }
            _ => None,
        };
        if let Some((kind, id)) = reply {
            self.send(&wire::acknowledge(kind, id)).await?;
        }
        Ok(packet)
    }

    fn nonsense(&self) -> Fault {
        let begin = &self.read[..self.read.len().min(16)];
        Fault::NotMqtt {
            said: format!("{begin:02X?}"),
        }
    }

    /// Reads until there are `len` bytes at least.
    async fn fill(&mut self, len: usize) -> Result<(), Fault> {
        while self.read.len() < len {
            let mut piece = vec![0; READ_BYTES];
            match self.stream.read(&mut piece).await {
                Ok(0) => return Err(self.broken()),
                Ok(read) => self.read.extend(&piece[..read]),
                Err(_) => return Err(self.broken()),
            }
        }
        Ok(())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        let deadline = self.access.deadline();
        let writing = async {
            self.stream.write_all(bytes).await?;
            self.stream.flush().await
        };
        let written: Result<std::io::Result<()>, _> = timeout_at(deadline, writing).await;
        let silent = Fault::Silent {
            step: self.access.step,
        };
        match written {
            Ok(Ok(())) => Ok(()),
            // A broker that ends the connection while we write may have said why before.
            Ok(Err(_)) => {
                let last_words = timeout_at(deadline, self.last_words()).await;
                Err(last_words.unwrap_or(silent))
            }
            Err(_) => Err(silent),
        }
    }

    async fn last_words(&mut self) -> Fault {
        loop {
            let mut piece = vec![0; READ_BYTES];
            match self.stream.read(&mut piece).await {
                Ok(0) | Err(_) => break,
                Ok(read) => self.read.extend(&piece[..read]),
            }
            if self.read.len() > PACKET_BYTES_MAX {
                break;
            }
        }
        while let Framed::Whole { header, all } = framed_of(&self.read) {
            let Some(body) = self.read.get(header..all) else {
                break;
            };
            if let Some(Packet::Disconnect { code, reason }) =
                wire::parse(self.version, self.read[0], body)
            {
                return Fault::Disconnected { code, reason };
            }
            self.read.drain(..all);
        }
        self.broken()
    }

    /// Why the stream ended: TLS refuses a client's certificate after the handshake.
    fn broken(&self) -> Fault {
        match self.dialer.error() {
            None | Some(LinkError::ConnectionLost { .. }) => Fault::Closed,
            Some(error) => Fault::Link(error),
        }
    }
}

fn framed_of(bytes: &[u8]) -> Framed {
    if bytes.is_empty() {
        Framed::Short
    } else {
        wire::framed(bytes)
    }
}
