//! The end of a connection from our side, with its reason where MQTT can tell it.

use bytes::Bytes;
use mqtt5::protocol::v5::reason_codes::ReasonCode;

use super::{Client, Connection};

impl Connection {
    /// Ends the connection of a vehicle, which listens on a newer one.
    pub(in crate::broker::embedded) fn end_taken_over(&self) {
        if let Some(client) = self.client() {
            let why = "the vehicle listens on a newer connection";
            // Whatever has ended it already has told why.
            let _ = self.end_with(&client, ReasonCode::SessionTakenOver, why);
        }
    }

    /// Ends the connection with this reason, where it can be told; false when it has been ended already.
    pub(super) fn end_with(&self, client: &Client, code: ReasonCode, why: &str) -> bool {
        self.rules.end(if client.speaks_v5 {
            disconnect(code, why)
        } else {
            Bytes::new()
        })
    }
}

/// A DISCONNECT of MQTT 5 with its reason as a code and a text.
pub(super) fn disconnect(code: ReasonCode, why: &str) -> Bytes {
    const REASON_STRING: u8 = 0x1F;
    // Short enough for lengths of one byte.
    let why = &why[..why.floor_char_boundary(100)];
    let text = why.len() as u8;
    let properties = [&[REASON_STRING, 0, text], why.as_bytes()].concat();
    let length = properties.len() as u8;
    [&[0xE0, length + 2, u8::from(code), length], &properties[..]]
        .concat()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disconnect_is_one_whole_packet() {
        let packet = disconnect(ReasonCode::MaximumConnectTime, "over");
        assert_eq!(packet, &b"\xE0\x09\xA0\x07\x1F\x00\x04over"[..]);
        let long = disconnect(ReasonCode::NotAuthorized, &"é".repeat(1000));
        assert_eq!(usize::from(long[1]) + 2, long.len());
        assert_eq!(usize::from(long[3]) + 4, long.len());
    }
}
