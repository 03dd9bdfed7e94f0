//! Finds the broker's DISCONNECT in its short form, which the MQTT 5 library takes for the
//! beginning of a longer one and so waits for the rest until the connection ends.
//!
//! The property length may be left out with a remaining length of 1 (MQTT 5, 3.14.2.2.1): `E0 01`
//! and the reason code.

const DISCONNECT: u8 = 0xE0;

/// The most bytes that a remaining length has.
const LENGTH_BYTES_MAX: u32 = 4;

/// Walks from packet to packet through what is read, in pieces of any size.
#[derive(Debug)]
pub(crate) struct DisconnectWatch(At);

/// What the next byte is.
#[derive(Debug, Clone, Copy)]
enum At {
    Header,
    /// One of the remaining length, of which `read` bytes came to `len`.
    Length {
        header: u8,
        len: usize,
        read: u32,
    },
    /// The first of the `left` bytes up to the next packet.
    Body {
        left: usize,
    },
    Reason,
    /// Behind a length that is none; the library ends the connection.
    Nonsense,
}

impl DisconnectWatch {
    /// At the beginning of a connection.
    pub(crate) fn new() -> Self {
        Self(At::Header)
    }

    /// Takes what was read next; returns the reason code once there is one.
    pub(crate) fn read(&mut self, mut bytes: &[u8]) -> Option<u8> {
        while let Some((&byte, rest)) = bytes.split_first() {
            bytes = rest;
            self.0 = match self.0 {
                At::Header => At::Length {
                    header: byte,
                    len: 0,
                    read: 0,
                },
                At::Length { header, len, read } => after_length(header, len, read, byte),
                At::Body { left } => {
                    let skipped = bytes.len().min(left - 1);
                    bytes = &bytes[skipped..];
                    at_body(left - 1 - skipped)
                }
                At::Reason => return Some(byte),
                At::Nonsense => return None,
            };
        }
        None
    }
}

fn after_length(header: u8, len: usize, read: u32, byte: u8) -> At {
    let len = len | usize::from(byte & 0x7F) << (7 * read);
    let more = byte & 0x80 != 0;
    match read + 1 {
        LENGTH_BYTES_MAX if more => At::Nonsense,
        read if more => At::Length { header, len, read },
        _ if header == DISCONNECT && len == 1 => At::Reason,
        _ => at_body(len),
    }
}

fn at_body(left: usize) -> At {
    match left {
        0 => At::Header,
        left => At::Body { left },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: [u8; 3] = [DISCONNECT, 1, 0x8E];

    /// What a watch finds in `bytes`, however they are cut into pieces.
    #[track_caller]
    fn check(bytes: &[u8], expected: Option<u8>) {
        for size in 1..=bytes.len() {
            let mut watch = DisconnectWatch::new();
            let found = bytes.chunks(size).find_map(|piece| watch.read(piece));
            assert_eq!(found, expected, "in pieces of {size} bytes");
        }
    }

    #[test]
    fn a_short_disconnect_is_found_behind_packets_of_every_length() {
        check(&SHORT, Some(0x8E));
        let empty = [0xD0, 0];
        check(&[&empty[..], &SHORT].concat(), Some(0x8E));
        for len in [1_usize, 127, 128, 300] {
            let mut packet = vec![0x30];
            if len < 128 {
                packet.push(len as u8);
            } else {
                packet.extend([len as u8 | 0x80, (len >> 7) as u8]);
            }
            packet.resize(packet.len() + len, 0x30);
            check(&[&packet[..], &empty, &SHORT].concat(), Some(0x8E));
        }
    }

    #[test]
    fn bytes_inside_a_packet_are_no_packet() {
        check(&[&[0x30, 6][..], &SHORT, &SHORT].concat(), None);
    }

    #[test]
    fn a_disconnect_that_the_library_reads_is_left_to_it() {
        check(&[DISCONNECT, 0], None);
        check(&[DISCONNECT, 2, 0x8E, 0], None);
    }

    #[test]
    fn nothing_is_found_behind_a_length_that_is_none() {
        let endless = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
        check(&[&endless[..], &SHORT].concat(), None);
    }
}
