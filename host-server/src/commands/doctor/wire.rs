//! The few MQTT packets that the doctor writes and reads, in both versions.
//!
//! The client of `transport-std` hides what is of interest here: every limit in a CONNACK, the QoS that is
//! granted and that a message arrives with, a refusal's reason. So packets are written and read by hand
//! (MQTT 5 and 3.1.1, sections 2 and 3). Nothing that is read can panic: what is cut short is `None`.

use std::fmt;

/// A version of MQTT, by its number in CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    V311 = 4,
    V5 = 5,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V311 => "3.1.1",
            Self::V5 => "5",
        })
    }
}

pub(super) const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
pub(super) const PUBACK: u8 = 4;
pub(super) const PUBREC: u8 = 5;
pub(super) const PUBREL: u8 = 6;
pub(super) const PUBCOMP: u8 = 7;
const SUBACK: u8 = 9;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;

/// What a CONNACK or a refusal says besides its code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Properties {
    pub(super) maximum_packet_size: Option<u32>,
    pub(super) maximum_qos: Option<u8>,
    pub(super) retain_available: Option<u8>,
    pub(super) wildcard_available: Option<u8>,
    pub(super) reason: Option<String>,
}

/// A packet of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    ConnAck {
        code: u8,
        properties: Properties,
    },
    SubAck {
        id: u16,
        codes: Vec<u8>,
        reason: Option<String>,
    },
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        kind: u8,
        id: u16,
        code: u8,
        reason: Option<String>,
    },
    Publish(Publish),
    Disconnect {
        code: u8,
        reason: Option<String>,
    },
    Pong,
    /// Of no interest.
    Other,
}

/// A message of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) id: Option<u16>,
}

/// Who we are there. Not `Debug`: it holds the password.
pub(super) struct Login<'a> {
    pub(super) client_id: &'a str,
    pub(super) credentials: Option<(&'a str, &'a str)>,
}

/// CONNECT for a session that ends with its connection.
pub(super) fn connect(version: Version, login: &Login<'_>, keep_alive_s: u16) -> Vec<u8> {
    const CLEAN: u8 = 0x02;
    const USER_AND_PASSWORD: u8 = 0xC0;
    let mut body = Vec::new();
    string(&mut body, "MQTT");
    body.push(version as u8);
    body.push(if login.credentials.is_some() {
        CLEAN | USER_AND_PASSWORD
    } else {
        CLEAN
    });
    body.extend(keep_alive_s.to_be_bytes());
    no_properties(version, &mut body);
    string(&mut body, login.client_id);
    if let Some((user, password)) = login.credentials {
        string(&mut body, user);
        string(&mut body, password);
    }
    packet(0x10, &body)
}

/// SUBSCRIBE to one filter; `no_local` is of version 5 alone.
pub(super) fn subscribe(
    version: Version,
    id: u16,
    filter: &str,
    qos: u8,
    no_local: bool,
) -> Vec<u8> {
    let mut body = id.to_be_bytes().to_vec();
    no_properties(version, &mut body);
    string(&mut body, filter);
    body.push(qos | if no_local { 0x04 } else { 0 });
    packet(0x82, &body)
}

/// PUBLISH; the identifier goes with QoS 1 and 2.
pub(super) fn publish(version: Version, id: u16, message: &Outgoing<'_>) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(publish_overhead(version, message.topic) + message.payload.len());
    string(&mut body, message.topic);
    if message.qos > 0 {
        body.extend(id.to_be_bytes());
    }
    no_properties(version, &mut body);
    body.extend(message.payload);
    packet(0x30 | message.qos << 1 | u8::from(message.retain), &body)
}

/// What is to be published.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: &'a [u8],
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// Bytes of a large PUBLISH of QoS 1 or 2 besides its payload: the fixed header with a remaining length of
/// three bytes, the topic with its length, the identifier, and in version 5 the length of no properties.
pub(super) fn publish_overhead(version: Version, topic: &str) -> usize {
    4 + 2 + topic.len() + 2 + usize::from(version == Version::V5)
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP that says yes.
pub(super) fn acknowledge(kind: u8, id: u16) -> Vec<u8> {
    let flags = if kind == PUBREL { 2 } else { 0 };
    packet(kind << 4 | flags, &id.to_be_bytes())
}

pub(super) fn ping() -> Vec<u8> {
    vec![0xC0, 0]
}

pub(super) fn disconnect() -> Vec<u8> {
    vec![DISCONNECT << 4, 0]
}

/// Texts longer than MQTT can say are refused before, by the configuration's bounds.
fn string(body: &mut Vec<u8>, text: &str) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    body.extend(len.to_be_bytes());
    body.extend(&text.as_bytes()[..usize::from(len)]);
}

fn no_properties(version: Version, body: &mut Vec<u8>) {
    if version == Version::V5 {
        body.push(0);
    }
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut len = body.len();
    loop {
        let low = (len % 128) as u8;
        len /= 128;
        if len == 0 {
            bytes.push(low);
            break;
        }
        bytes.push(low | 0x80);
    }
    bytes.extend(body);
    bytes
}

/// How long the packet at the beginning of `bytes` is: its header and all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Framed {
    /// More bytes are needed to tell.
    Short,
    /// The length is none that MQTT knows.
    Nonsense,
    Whole {
        header: usize,
        all: usize,
    },
}

pub(super) fn framed(bytes: &[u8]) -> Framed {
    let mut len = 0_usize;
    for (at, byte) in bytes.iter().skip(1).take(4).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let header = at + 2;
            return Framed::Whole {
                header,
                all: header + len,
            };
        }
    }
    if bytes.len() > 4 {
        Framed::Nonsense
    } else {
        Framed::Short
    }
}

/// Reads a packet from its first byte and its body; `None` if it is malformed.
pub(super) fn parse(version: Version, first: u8, body: &[u8]) -> Option<Packet> {
    let mut body = Reader(body);
    let v5 = version == Version::V5;
    Some(match first >> 4 {
        CONNACK => {
            body.byte()?;
            let code = body.byte()?;
            // A broker of 3.1.1 refuses version 5 in its own words.
            let properties = if v5 && !body.0.is_empty() {
                body.properties()?
            } else {
                Properties::default()
            };
            Packet::ConnAck { code, properties }
        }
        PUBLISH => {
            let topic = body.string()?;
            let qos = first >> 1 & 3;
            let id = if qos > 0 { Some(body.u16()?) } else { None };
            if v5 {
                body.properties()?;
            }
            let (payload, retain) = (body.0.to_vec(), first & 1 == 1);
            Packet::Publish(Publish {
                topic,
                payload,
                qos,
                retain,
                id,
            })
        }
        kind @ (PUBACK | PUBREC | PUBREL | PUBCOMP) => {
            let id = body.u16()?;
            let (code, reason) = body.code_and_reason(v5)?;
            Packet::Ack {
                kind,
                id,
                code,
                reason,
            }
        }
        SUBACK => {
            let id = body.u16()?;
            let reason = if v5 { body.properties()?.reason } else { None };
            Packet::SubAck {
                id,
                codes: body.0.to_vec(),
                reason,
            }
        }
        DISCONNECT => {
            let (code, reason) = body.code_and_reason(v5)?;
            Packet::Disconnect { code, reason }
        }
        PINGRESP => Packet::Pong,
        _ => Packet::Other,
    })
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    fn varint(&mut self) -> Option<usize> {
        let mut value = 0;
        for at in 0..4 {
            let byte = self.byte()?;
            value |= usize::from(byte & 0x7F) << (7 * at);
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn string(&mut self) -> Option<String> {
        let len = self.u16()?;
        let bytes = self.take(usize::from(len))?;
        Some(String::from_utf8_lossy(bytes).into_owned())
    }

    /// The code and properties that an acknowledgement and a DISCONNECT may leave away.
    fn code_and_reason(&mut self, v5: bool) -> Option<(u8, Option<String>)> {
        if !v5 || self.0.is_empty() {
            return Some((0, None));
        }
        let code = self.byte()?;
        let reason = if self.0.is_empty() {
            None
        } else {
            self.properties()?.reason
        };
        Some((code, reason))
    }

    fn properties(&mut self) -> Option<Properties> {
        let len = self.varint()?;
        let mut rest = Self(self.take(len)?);
        let mut found = Properties::default();
        while !rest.0.is_empty() {
            match rest.varint()? {
                0x24 => found.maximum_qos = Some(rest.byte()?),
                0x25 => found.retain_available = Some(rest.byte()?),
                0x28 => found.wildcard_available = Some(rest.byte()?),
                0x27 => found.maximum_packet_size = Some(rest.u32()?),
                0x1F => found.reason = Some(rest.string()?),
                0x01 | 0x17 | 0x19 | 0x29 | 0x2A => drop(rest.byte()?),
                0x13 | 0x21 | 0x22 | 0x23 => drop(rest.u16()?),
                0x02 | 0x11 | 0x18 => drop(rest.u32()?),
                0x0B => drop(rest.varint()?),
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1A | 0x1C => drop(rest.string()?),
                0x26 => {
                    rest.string()?;
                    rest.string()?;
                }
                _ => return None,
            }
        }
        Some(found)
    }
}

/// What a code of an answer says: names of MQTT 5 (2.4), and for CONNACK of 3.1.1 (3.2.2.3).
pub(super) fn meaning(version: Version, of_connack: bool, code: u8) -> &'static str {
    if version == Version::V311 {
        return match (of_connack, code) {
            (true, 1) => "unacceptable protocol version",
            (true, 2) => "client identifier rejected",
            (true, 3) => "server unavailable",
            (true, 4) => "bad user name or password",
            (true, 5) => "not authorized",
            _ => "failure, without a reason",
        };
    }
    match code {
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x84 | 1 => "unsupported protocol version",
        0x85 => "client identifier not valid",
        0x86 => "bad user name or password",
        0x87 => "not authorized",
        0x88 => "server unavailable",
        0x89 => "server busy",
        0x8A => "banned",
        0x8B => "server shutting down",
        0x8C => "bad authentication method",
        0x8D => "keep alive timeout",
        0x8E => "session taken over",
        0x8F => "topic filter invalid",
        0x90 => "topic name invalid",
        0x93 => "receive maximum exceeded",
        0x94 => "topic alias invalid",
        0x95 => "packet too large",
        0x96 => "message rate too high",
        0x97 => "quota exceeded",
        0x98 => "administrative action",
        0x99 => "payload format invalid",
        0x9A => "retain not supported",
        0x9B => "QoS not supported",
        0x9C => "use another server",
        0x9D => "server moved",
        0x9E => "shared subscriptions not supported",
        0x9F => "connection rate exceeded",
        0xA0 => "maximum connect time",
        0xA1 => "subscription identifiers not supported",
        0xA2 => "wildcard subscriptions not supported",
        _ => "a reason that MQTT does not know",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each packet whole, and cut short at every byte.
    #[track_caller]
    fn check(version: Version, bytes: &[u8], expected: &Packet) {
        let Framed::Whole { header, all } = framed(bytes) else {
            panic!("no length");
        };
        assert_eq!(all, bytes.len());
        let parsed = parse(version, bytes[0], &bytes[header..]);
        assert_eq!(parsed.as_ref(), Some(expected));
        for end in header..all {
            // Only that nothing panics: some packets may be cut short.
            let _ = parse(version, bytes[0], &bytes[header..end]);
        }
    }

    #[test]
    fn a_connack_tells_its_limits() {
        let properties = Properties {
            maximum_packet_size: Some(131_200),
            maximum_qos: Some(0),
            retain_available: Some(0),
            reason: Some("no".into()),
            ..Properties::default()
        };
        let bytes = [
            0x20, 23, 0, 0x87, 20, 0x27, 0, 2, 0, 0x80, 0x24, 0, 0x25, 0, 0x21, 0, 9, 0x1F, 0, 2,
            b'n', b'o', 0x22, 0, 0,
        ];
        let expected = Packet::ConnAck {
            code: 0x87,
            properties,
        };
        check(Version::V5, &bytes, &expected);
    }

    #[test]
    fn a_refusal_of_version_5_in_the_words_of_3_1_1_is_understood() {
        let expected = Packet::ConnAck {
            code: 1,
            properties: Properties::default(),
        };
        check(Version::V5, &[0x20, 2, 0, 1], &expected);
    }

    #[test]
    fn a_message_is_read_as_it_is_written() {
        for (version, payload) in [(Version::V5, vec![7; 200]), (Version::V311, vec![])] {
            let outgoing = Outgoing {
                topic: "a/b/",
                payload: &payload,
                qos: 2,
                retain: true,
            };
            let message = Publish {
                topic: "a/b/".into(),
                payload: payload.clone(),
                qos: 2,
                retain: true,
                id: Some(9),
            };
            check(
                version,
                &publish(version, 9, &outgoing),
                &Packet::Publish(message),
            );
        }
    }

    #[test]
    fn the_overhead_of_a_large_message_is_exact() {
        for version in [Version::V5, Version::V311] {
            let payload = vec![0; 131_072];
            let outgoing = Outgoing {
                topic: "a/b/",
                payload: &payload,
                qos: 1,
                retain: false,
            };
            let len = publish(version, 1, &outgoing).len();
            assert_eq!(len, payload.len() + publish_overhead(version, "a/b/"));
        }
    }

    #[test]
    fn answers_may_leave_their_code_away() {
        let ack = |code| Packet::Ack {
            kind: PUBACK,
            id: 3,
            code,
            reason: None,
        };
        check(Version::V5, &[0x40, 2, 0, 3], &ack(0));
        check(Version::V5, &[0x40, 3, 0, 3, 0x95], &ack(0x95));
        check(Version::V311, &[0x40, 2, 0, 3], &ack(0));
        let ended = Packet::Disconnect {
            code: 0x8E,
            reason: None,
        };
        check(Version::V5, &[0xE0, 1, 0x8E], &ended);
    }

    #[test]
    fn a_length_that_is_none_is_nonsense() {
        assert_eq!(framed(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]), Framed::Nonsense);
        assert_eq!(framed(&[0x30, 0xFF]), Framed::Short);
        assert_eq!(framed(&[]), Framed::Short);
    }
}
