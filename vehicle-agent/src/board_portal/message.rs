//! WebSocket messages put together from their frames (RFC 6455, 5.2 to 5.5), in the buffer of the
//! socket.
//!
//! A frame is judged before its payload is read, and the payload is read to where it stays: what is
//! too long for the buffer, not masked or out of place ends the socket.

use embedded_io_async::Read;

use super::limits::CONTROL_BYTES_MAX;
use crate::app_interface::refusal::Ending;

/// The first byte of a frame: the last one of its message, bits without a meaning, the opcode.
const FINAL: u8 = 0x80;
const RESERVED: u8 = 0x70;
const OPCODE: u8 = 0x0F;
/// The second byte: masked, and the length or how many bytes tell it.
const MASKED: u8 = 0x80;
const LENGTH: u8 = 0x7F;
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

/// What frames are.
pub(super) mod opcode {
    pub(crate) const CONTINUATION: u8 = 0;
    pub(crate) const TEXT: u8 = 1;
    pub(crate) const BINARY: u8 = 2;
    pub(crate) const CLOSE: u8 = 8;
    pub(crate) const PING: u8 = 9;
    pub(crate) const PONG: u8 = 10;
}

/// A message that is in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Text of this length in bytes, which may not be UTF-8.
    Text(usize),
    /// Something else.
    Binary,
}

/// Why there is no message any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMessage {
    /// The connection is broken.
    Gone,
    /// The peer closes it.
    Closed,
    /// The portal ends it.
    Ended(Ending),
}

const BROKEN_RULE: NoMessage = NoMessage::Ended(Ending::Protocol);

/// A message of which some frames may be missing.
#[derive(Debug, Default)]
pub(super) struct Partial {
    len: usize,
    /// Whether it is text; `None` before its first frame.
    text: Option<bool>,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The last one of a message.
    Complete(Message),
    /// A part of a message.
    Partial,
    /// An answer to a ping.
    Pong,
    /// A ping, whose payload of this length is behind the partial message.
    Ping(usize),
}

impl Partial {
    /// Bytes of the message so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Reads one frame into `buffer`, behind the frames before it. Not cancel safe.
    pub(super) async fn read<R: Read>(
        &mut self,
        stream: &mut R,
        buffer: &mut [u8],
    ) -> Result<Progress, NoMessage> {
        let mut start = [0; 2];
        read(stream, &mut start).await?;
        let [first, second] = start;
        // Behind the start come the length, if it is long, and the mask.
        let mut rest = [0; 12];
        let long = match second & LENGTH {
            LENGTH_IN_2_BYTES => 2,
            LENGTH_IN_8_BYTES => 8,
            _ => 0,
        };
        let rest = &mut rest[..long + 4];
        if first & RESERVED != 0 || second & MASKED == 0 {
            return Err(BROKEN_RULE);
        }
        read(stream, rest).await?;
        let (length, mask) = rest.split_at(long);
        let len = match length {
            [] => usize::from(second & LENGTH),
            bytes => bytes.iter().fold(0_usize, |len, byte| {
                len.saturating_mul(256).saturating_add(usize::from(*byte))
            }),
        };
        let is_final = first & FINAL != 0;
        let max = buffer.len().saturating_sub(CONTROL_BYTES_MAX);
        let opcode = first & OPCODE;
        match (opcode, self.text) {
            (opcode::CLOSE | opcode::PING | opcode::PONG, _) => {
                if !is_final || len > CONTROL_BYTES_MAX {
                    return Err(BROKEN_RULE);
                }
            }
            (opcode::TEXT | opcode::BINARY, None) | (opcode::CONTINUATION, Some(_)) => {
                if len > max.saturating_sub(self.len) {
                    return Err(NoMessage::Ended(Ending::FrameTooLarge(max)));
                }
                self.text.get_or_insert(opcode == opcode::TEXT);
            }
            _ => return Err(BROKEN_RULE),
        }
        let end = self.len.saturating_add(len);
        let payload = buffer.get_mut(self.len..end).ok_or(BROKEN_RULE)?;
        read(stream, payload).await?;
        for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
            *byte ^= mask;
        }
        match opcode {
            // A status code has two bytes.
            opcode::CLOSE if len == 1 => Err(BROKEN_RULE),
            opcode::CLOSE => Err(NoMessage::Closed),
            opcode::PING => Ok(Progress::Ping(len)),
            opcode::PONG => Ok(Progress::Pong),
            _ => {
                self.len = end;
                Ok(if is_final {
                    Progress::Complete(self.take())
                } else {
                    Progress::Partial
                })
            }
        }
    }

    /// The message, now that its last frame is there.
    fn take(&mut self) -> Message {
        let Self { len, text } = core::mem::take(self);
        if text == Some(true) {
            Message::Text(len)
        } else {
            Message::Binary
        }
    }
}

async fn read<R: Read>(stream: &mut R, bytes: &mut [u8]) -> Result<(), NoMessage> {
    stream.read_exact(bytes).await.map_err(|_| NoMessage::Gone)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;
    use std::vec::Vec;

    use embassy_futures::block_on;

    const BUFFER: usize = 300 + CONTROL_BYTES_MAX;

    /// Masked with `mask`, its length told in as many bytes as `long` says.
    fn frame(first: u8, payload: &[u8], mask: [u8; 4], long: usize) -> Vec<u8> {
        let len = payload.len() as u64;
        let start = match long {
            0 => len as u8,
            2 => LENGTH_IN_2_BYTES,
            _ => LENGTH_IN_8_BYTES,
        };
        let mut frame = vec![first, MASKED | start];
        frame.extend(&len.to_be_bytes()[8 - long..]);
        frame.extend(mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        frame.extend(masked.map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// What is read before it ends, and the buffer after that.
    fn read_all(mut bytes: &[u8]) -> (Vec<Progress>, NoMessage, Vec<u8>) {
        let mut buffer = vec![0; BUFFER];
        let mut partial = Partial::default();
        let mut progress = Vec::new();
        loop {
            match block_on(partial.read(&mut bytes, &mut buffer)) {
                Ok(next) => progress.push(next),
                Err(end) => return (progress, end, buffer),
            }
        }
    }

    #[test]
    fn text_of_every_length_is_unmasked() {
        for len in 0..=300 {
            let payload: Vec<u8> = (0..len).map(|at| at as u8).collect();
            for long in [0, 2, 8] {
                if long == 0 && len > 125 {
                    continue;
                }
                let frame = frame(FINAL | opcode::TEXT, &payload, [1, 2, 3, 250], long);
                let (progress, end, buffer) = read_all(&frame);
                assert_eq!(progress, [Progress::Complete(Message::Text(len))]);
                assert_eq!((end, &buffer[..len]), (NoMessage::Gone, &payload[..]));
            }
        }
    }

    #[test]
    fn fragments_are_put_together_around_control_frames() {
        let frames = [
            frame(opcode::TEXT, b"to", [1; 4], 0),
            frame(FINAL | opcode::PING, b"ping", [2; 4], 0),
            frame(opcode::CONTINUATION, b"get", [3; 4], 0),
            frame(FINAL | opcode::PONG, b"pong", [4; 4], 0),
            frame(FINAL | opcode::CONTINUATION, b"her", [5; 4], 0),
            frame(FINAL | opcode::CLOSE, b"", [6; 4], 0),
        ];
        let (progress, end, buffer) = read_all(&frames.concat());
        let expected = [
            Progress::Partial,
            Progress::Ping(4),
            Progress::Partial,
            Progress::Pong,
            Progress::Complete(Message::Text(8)),
        ];
        assert_eq!((&progress[..], end), (&expected[..], NoMessage::Closed));
        assert_eq!(&buffer[..8], b"together");
    }

    #[test]
    fn frames_that_break_a_rule_end_the_socket_before_their_payload_is_read() {
        let head = |bytes: &[u8]| [bytes, &[0; 4]].concat();
        let too_large = NoMessage::Ended(Ending::FrameTooLarge(300));
        for (bytes, expected) in [
            (vec![0x81, 0x05], BROKEN_RULE),
            (vec![0xC1, 0x85], BROKEN_RULE),
            (head(&[0x83, 0x81]), BROKEN_RULE),
            (head(&[0x8B, 0x81]), BROKEN_RULE),
            (head(&[0x80, 0x81]), BROKEN_RULE),
            (head(&[0x09, 0x80]), BROKEN_RULE),
            (head(&[0x89, 0xFE, 0, 126]), BROKEN_RULE),
            (head(&[0x82, 0xFE, 1, 45]), too_large),
            (head(&[0x81, 0xFF, 0, 0, 0, 1, 0, 0, 0, 0]), too_large),
            ([&[0x81, 0xFF][..], &[0xFF; 8], &[0; 4]].concat(), too_large),
        ] {
            assert_eq!(read_all(&bytes).1, expected, "{bytes:02x?}");
        }
        let begun_twice = [frame(0x01, b"a", [0; 4], 0), frame(0x01, b"b", [0; 4], 0)];
        assert_eq!(read_all(&begun_twice.concat()).1, BROKEN_RULE);
        let half_a_code = frame(0x88, b"x", [9; 4], 0);
        assert_eq!(read_all(&half_a_code).1, BROKEN_RULE);
        let parts = [
            frame(0x01, &[b'a'; 200], [0; 4], 2),
            frame(0x80, &[b'b'; 101], [0; 4], 0),
        ];
        assert_eq!(read_all(&parts.concat()).1, too_large);
    }

    #[test]
    fn whatever_comes_is_read_or_ends_the_socket() {
        // Bytes of a fixed seed (xorshift), the first of each frame made likely.
        let mut state = 0x2545_F491_4F6C_DD1D_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let mut ends = [0; 3];
        for _ in 0..20_000 {
            let mut bytes = Vec::new();
            for _ in 0..next() % 6 {
                let first =
                    [0x01, 0x81, 0x80, 0x00, 0x89, 0x8A, 0x88, next() as u8][next() as usize % 8];
                let payload = vec![next() as u8; next() as usize % 200];
                let long = if payload.len() > 125 { 2 } else { 0 };
                bytes.extend(frame(first, &payload, (next() as u32).to_ne_bytes(), long));
            }
            if let Some(at) = (next() as usize).checked_rem(bytes.len()) {
                bytes[at] ^= next() as u8;
            }
            match read_all(&bytes) {
                (_, NoMessage::Gone, _) => ends[0] += 1,
                (_, NoMessage::Closed, _) => ends[1] += 1,
                (_, NoMessage::Ended(_), _) => ends[2] += 1,
            }
        }
        assert!(ends.iter().all(|count| *count > 100), "{ends:?}");
    }
}
