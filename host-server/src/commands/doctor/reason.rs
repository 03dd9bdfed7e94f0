//! What the codes of a broker's answers mean.

/// Whether an answer with this code is a refusal.
pub(super) fn is_refusal(code: u8) -> bool {
    code >= 0x80
}

/// The names of MQTT 5 (2.4), and below them the return codes of a CONNACK of 3.1.1 (3.2.2.3).
pub(super) fn meaning(code: u8) -> &'static str {
    match code {
        0x01 | 0x84 => "unsupported protocol version",
        0x02 | 0x85 => "client identifier not valid",
        0x03 | 0x88 => "server unavailable",
        0x04 | 0x86 => "bad user name or password",
        0x05 | 0x87 => "not authorized",
        0x80 => "unspecified error",
        0x81 => "malformed packet",
        0x82 => "protocol error",
        0x83 => "implementation specific error",
        0x89 => "server busy",
        0x8A => "banned",
        0x8B => "server shutting down",
        0x8C => "bad authentication method",
        0x8D => "keep alive timeout",
        0x8E => "session taken over",
        0x8F => "topic filter invalid",
        0x90 => "topic name invalid",
        0x91 => "packet identifier in use",
        0x92 => "packet identifier not found",
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

/// What to do about a CONNACK with this code.
pub(super) fn login_advice(code: u8) -> &'static str {
    match code {
        0x01 | 0x84 => "use the other version: --broker-mqtt",
        0x04 | 0x86 => "check --user and the file of --password-file; a new password may be needed",
        0x05 | 0x87 => {
            "check --user and the file of --password-file (some brokers say so of a wrong password, too); if they \
             are right, ask the broker's operator to authorize this user, with this certificate"
        }
        0x02 | 0x85 => "ask the broker's operator which client ids it allows",
        0x03 | 0x88 | 0x89 | 0x97 | 0x9F => "try again later",
        0x8A => "ask the broker's operator why this client is banned",
        0x9C | 0x9D => "ask the broker's operator for its present address",
        _ => "ask the broker's operator, whose log should say why",
    }
}
