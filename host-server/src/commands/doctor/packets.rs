//! The few MQTT packets of a look, in both versions.
//!
//! They are written and read by the codec of the library that our own broker is built on. The client of
//! `transport-std` hides what is of interest here: every limit in a CONNACK, the QoS that is granted
//! and that a message arrives with, a refusal's reason. Acknowledgements alone are read without the library's
//! judgement: it takes a reason that MQTT does not foresee there for nonsense, and mosquitto refuses a
//! message that is too large with one.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::disconnect::DisconnectPacket;
use mqtt5::packet::puback::PubAckPacket;
use mqtt5::packet::pubcomp::PubCompPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::packet::pubrec::PubRecPacket;
use mqtt5::packet::pubrel::PubRelPacket;
use mqtt5::packet::subscribe::{SubscribePacket, SubscriptionOptions, TopicFilter};
use mqtt5::packet::{FixedHeader, MqttPacket, Packet as AnyPacket, PacketType};
use mqtt5::{MqttError, Properties, PropertyId, PropertyValue, QoS};

/// Largest packet that is read, in bytes.
const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// The longest header: a byte, and four for the length.
const HEADER_BYTES_MAX: usize = 5;

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

/// What a CONNACK says besides its code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Limits {
    pub(super) packet_bytes_max: Option<u32>,
    pub(super) qos_max: Option<u8>,
    pub(super) no_retained: bool,
    pub(super) no_wildcards: bool,
}

/// The broker's word on what we sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) code: u8,
    pub(super) reason: Option<String>,
}

/// A packet of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    ConnAck(Answer, Limits),
    /// To one filter.
    SubAck(u16, Answer),
    Ack(Pub, u16, Answer),
    Publish(Publish),
    Disconnect(Answer),
    Pong,
    /// Of no interest.
    Other,
}

/// The four packets that take a message of QoS 1 or 2 further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pub {
    Ack,
    Rec,
    Rel,
    Comp,
}

/// A message of the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Publish {
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) retain: bool,
    pub(super) id: Option<u16>,
}

/// What is to be published.
#[derive(Clone, Debug)]
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) payload: Bytes,
    pub(super) qos: u8,
    pub(super) retain: bool,
}

/// Why a packet cannot be read or written, in the library's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Malformed(pub(super) String);

impl From<MqttError> for Malformed {
    fn from(error: MqttError) -> Self {
        Self(error.to_string())
    }
}

type Written = Result<Vec<u8>, Malformed>;

/// CONNECT for a session that ends with its connection.
pub(super) fn connect(
    version: Version,
    client_id: &str,
    credentials: Option<(&str, &str)>,
    keep_alive_s: u16,
) -> Written {
    write(&ConnectPacket {
        protocol_version: version as u8,
        clean_start: true,
        keep_alive: keep_alive_s,
        client_id: client_id.to_owned(),
        username: credentials.map(|(user, _)| user.to_owned()),
        password: credentials.map(|(_, password)| password.as_bytes().to_vec()),
        will: None,
        properties: Properties::default(),
        will_properties: Properties::default(),
    })
}

/// SUBSCRIBE to one filter; `no_local` is of version 5 alone.
pub(super) fn subscribe(
    version: Version,
    id: u16,
    filter: &str,
    qos: u8,
    no_local: bool,
) -> Written {
    let mut options = SubscriptionOptions::new(QoS::from(qos));
    options.no_local = no_local;
    let filter = TopicFilter::with_options(filter, options);
    let mut packet = SubscribePacket::new(id).add_filter_with_options(filter);
    packet.protocol_version = version as u8;
    write(&packet)
}

/// PUBLISH; the identifier goes with QoS 1 and 2.
pub(super) fn publish(version: Version, id: u16, message: &Outgoing<'_>) -> Written {
    let qos = QoS::from(message.qos);
    let packet = PublishPacket::new(message.topic, message.payload.clone(), qos);
    let mut packet = packet.with_packet_id(id).with_retain(message.retain);
    packet.protocol_version = version as u8;
    write(&packet)
}

/// Bytes of a large PUBLISH of QoS 1 or 2 besides its payload: the fixed header with a remaining length of
/// three bytes, the topic with its length, the identifier, and in version 5 the length of no properties.
pub(super) fn publish_overhead(version: Version, topic: &str) -> usize {
    4 + 2 + topic.len() + 2 + usize::from(version == Version::V5)
}

/// An acknowledgement that says yes.
pub(super) fn acknowledge(ack: Pub, id: u16) -> Written {
    match ack {
        Pub::Ack => write(&PubAckPacket::new(id)),
        Pub::Rec => write(&PubRecPacket::new(id)),
        Pub::Rel => write(&PubRelPacket::new(id)),
        Pub::Comp => write(&PubCompPacket::new(id)),
    }
}

pub(super) fn ping() -> Written {
    let mut bytes = Vec::new();
    FixedHeader::new(PacketType::PingReq, 0, 0).encode(&mut bytes)?;
    Ok(bytes)
}

pub(super) fn disconnect() -> Written {
    write(&DisconnectPacket::normal())
}

fn write(packet: &impl MqttPacket) -> Written {
    let mut bytes = Vec::new();
    packet.encode(&mut bytes)?;
    Ok(bytes)
}

/// Takes the first packet from what was read; `None` while it is not whole.
pub(super) fn read(version: Version, read: &mut BytesMut) -> Result<Option<Packet>, Malformed> {
    let mut rest = &read[..];
    let header = match FixedHeader::decode(&mut rest) {
        Ok(header) => header,
        Err(MqttError::MalformedPacket(_)) if read.len() < HEADER_BYTES_MAX => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let header_len = read.len() - rest.len();
    let len = header_len + header.remaining_length as usize;
    if len > PACKET_BYTES_MAX {
        return Err(Malformed(format!(
            "a packet of {len} bytes, of which {PACKET_BYTES_MAX} are read at most"
        )));
    }
    if read.len() < len {
        return Ok(None);
    }
    let mut packet = read.split_to(len).freeze();
    packet.advance(header_len);
    parse(version, &header, packet).map(Some)
}

fn parse(version: Version, header: &FixedHeader, mut body: Bytes) -> Result<Packet, Malformed> {
    let ack = match header.packet_type {
        PacketType::PubAck => Some(Pub::Ack),
        PacketType::PubRec => Some(Pub::Rec),
        PacketType::PubRel => Some(Pub::Rel),
        PacketType::PubComp => Some(Pub::Comp),
        _ => None,
    };
    if let Some(ack) = ack {
        return parse_ack(version, ack, body);
    }
    // The library turns the codes of 3.1.1 into those of version 5.
    let code = body.get(1).copied().unwrap_or_default();
    let packet = AnyPacket::decode_from_body_with_version(
        header.packet_type,
        header,
        &mut body,
        version as u8,
    )?;
    Ok(match packet {
        AnyPacket::ConnAck(packet) => {
            let limits = limits(&packet.properties);
            let reason = reason(&packet.properties);
            Packet::ConnAck(Answer { code, reason }, limits)
        }
        AnyPacket::SubAck(packet) => {
            // The library refuses one without any code.
            let code = packet.reason_codes.first().map_or(0x80, |code| *code as u8);
            let reason = reason(&packet.properties);
            Packet::SubAck(packet.packet_id, Answer { code, reason })
        }
        AnyPacket::Publish(packet) => Packet::Publish(Publish {
            topic: packet.topic_name,
            payload: packet.payload,
            qos: packet.qos as u8,
            retain: packet.retain,
            id: packet.packet_id,
        }),
        AnyPacket::Disconnect(packet) => Packet::Disconnect(Answer {
            code: packet.reason_code.into(),
            reason: reason(&packet.properties),
        }),
        AnyPacket::PingResp => Packet::Pong,
        _ => Packet::Other,
    })
}

/// Code and properties may be left away, and 3.1.1 has none.
fn parse_ack(version: Version, ack: Pub, mut body: Bytes) -> Result<Packet, Malformed> {
    let cut_short = |_| Malformed(format!("PUB{ack:?} without a packet identifier"));
    let id = body.try_get_u16().map_err(cut_short)?;
    let mut answer = Answer {
        code: 0,
        reason: None,
    };
    if version == Version::V5
        && let Ok(code) = body.try_get_u8()
    {
        answer.code = code;
        if body.has_remaining() {
            answer.reason = reason(&Properties::decode(&mut body)?);
        }
    }
    Ok(Packet::Ack(ack, id, answer))
}

fn reason(properties: &Properties) -> Option<String> {
    match properties.get(PropertyId::ReasonString)? {
        PropertyValue::Utf8String(reason) => Some(reason.clone()),
        _ => None,
    }
}

fn limits(properties: &Properties) -> Limits {
    let denied = |id| properties.get(id) == Some(&PropertyValue::Byte(0));
    Limits {
        packet_bytes_max: properties.get_maximum_packet_size(),
        qos_max: properties.get_maximum_qos(),
        no_retained: denied(PropertyId::RetainAvailable),
        no_wildcards: denied(PropertyId::WildcardSubscriptionAvailable),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A packet whole, behind its beginnings, which are not whole.
    #[track_caller]
    fn check(version: Version, bytes: &[u8], expected: &Packet) {
        for end in 0..bytes.len() {
            let mut begin = BytesMut::from(&bytes[..end]);
            assert_eq!(read(version, &mut begin), Ok(None), "{end} bytes");
            assert_eq!(begin, bytes[..end], "nothing is taken away");
        }
        let mut two = BytesMut::from(&[bytes, &[0xD0, 0]].concat()[..]);
        assert_eq!(read(version, &mut two), Ok(Some(expected.clone())));
        assert_eq!(read(version, &mut two), Ok(Some(Packet::Pong)));
        assert!(two.is_empty());
    }

    fn answer(code: u8, reason: Option<&str>) -> Answer {
        Answer {
            code,
            reason: reason.map(str::to_owned),
        }
    }

    #[test]
    fn a_connack_tells_its_limits() {
        let limits = Limits {
            packet_bytes_max: Some(131_200),
            qos_max: Some(0),
            no_retained: true,
            no_wildcards: false,
        };
        let bytes = [
            0x20, 23, 0, 0x87, 20, 0x27, 0, 2, 0, 0x80, 0x24, 0, 0x25, 0, 0x21, 0, 9, 0x1F, 0, 2,
            b'n', b'o', 0x22, 0, 0,
        ];
        let expected = Packet::ConnAck(answer(0x87, Some("no")), limits);
        check(Version::V5, &bytes, &expected);
    }

    #[test]
    fn a_refusal_of_version_5_in_the_words_of_3_1_1_is_understood() {
        let expected = Packet::ConnAck(answer(1, None), Limits::default());
        check(Version::V5, &[0x20, 2, 0, 1], &expected);
    }

    #[test]
    fn a_message_is_read_as_it_is_written() {
        for (version, payload) in [(Version::V5, vec![7; 200]), (Version::V311, vec![])] {
            let outgoing = Outgoing {
                topic: "a/b/",
                payload: payload.clone().into(),
                qos: 2,
                retain: true,
            };
            let message = Publish {
                topic: "a/b/".into(),
                payload: payload.into(),
                qos: 2,
                retain: true,
                id: Some(9),
            };
            let bytes = publish(version, 9, &outgoing).unwrap();
            check(version, &bytes, &Packet::Publish(message));
        }
    }

    #[test]
    fn the_overhead_of_a_large_message_is_exact() {
        for version in [Version::V5, Version::V311] {
            let outgoing = Outgoing {
                topic: "a/b/",
                payload: vec![0; 131_072].into(),
                qos: 1,
                retain: false,
            };
            let len = publish(version, 1, &outgoing).unwrap().len();
            assert_eq!(len, 131_072 + publish_overhead(version, "a/b/"));
        }
    }

    #[test]
    fn answers_may_leave_their_code_away_and_give_any_reason() {
        let ack = |code| Packet::Ack(Pub::Ack, 3, answer(code, None));
        check(Version::V5, &[0x40, 2, 0, 3], &ack(0));
        check(Version::V5, &[0x40, 3, 0, 3, 0x95], &ack(0x95));
        check(Version::V311, &[0x40, 2, 0, 3], &ack(0));
        let ended = Packet::Disconnect(answer(0x8E, None));
        check(Version::V5, &[0xE0, 1, 0x8E], &ended);
    }

    #[test]
    fn what_no_packet_begins_with_and_what_is_too_long_is_malformed_at_once() {
        let read = |bytes: &[u8]| read(Version::V5, &mut BytesMut::from(bytes));
        assert!(read(&[0x30, 0xFF, 0xFF, 0xFF, 0xFF]).is_err());
        assert!(read(&[0x00, 0x01]).is_err());
        let Err(Malformed(why)) = read(&[0x30, 0xFF, 0xFF, 0xFF, 0x7F]) else {
            panic!("it is too long");
        };
        assert!(why.contains("268435460 bytes"), "{why}");
    }

    #[test]
    fn a_password_that_mqtt_cannot_say_is_refused() {
        let password = "x".repeat(65_536);
        assert!(connect(Version::V5, "me", Some(("me", &password)), 1).is_err());
    }

    proptest! {
        #[test]
        fn whatever_a_broker_sends_is_read_or_refused(
            first in any::<u8>(),
            body in proptest::collection::vec(any::<u8>(), 0..100),
            v5 in any::<bool>(),
        ) {
            let version = if v5 { Version::V5 } else { Version::V311 };
            let header = [first, u8::try_from(body.len()).unwrap()];
            let mut bytes = BytesMut::from(&[&header[..], &body].concat()[..]);
            let read = read(version, &mut bytes);
            prop_assert!(read != Ok(None), "all of it is there");
        }
    }
}
