//! The frames of a WebSocket that the portal writes (RFC 6455, 5.2): whole messages, not masked.

use core::fmt::Display;

use embedded_io_async::Write;

use super::limits::CONTROL_BYTES_MAX;
use super::message::opcode;
use super::pieces::{self, Broken, Pieces};

/// In the first byte of a frame: the last one of its message.
const FINAL: u8 = 0x80;

/// Writes frames.
#[derive(Debug)]
pub(super) struct FrameWriter<'b, W>(Pieces<'b, W>);

impl<'b, W: Write> FrameWriter<'b, W> {
    pub(super) fn new(pieces: Pieces<'b, W>) -> Self {
        Self(pieces)
    }

    /// Writes a text, which has to be the same whenever it is formatted.
    pub(super) async fn text(&mut self, text: &dyn Display) -> Result<(), Broken> {
        let len = pieces::len(text);
        let mut head = [0; 10];
        self.0.write(text_head(&mut head, len)).await?;
        self.0.write_text(text, len).await
    }

    pub(super) async fn ping(&mut self) -> Result<(), Broken> {
        self.control(opcode::PING, &[], &[]).await
    }

    pub(super) async fn pong(&mut self, payload: &[u8]) -> Result<(), Broken> {
        self.control(opcode::PONG, &[], payload).await
    }

    pub(super) async fn close(&mut self) -> Result<(), Broken> {
        self.control(opcode::CLOSE, &[], &[]).await
    }

    /// Closes with a status code and what it is about, of at most 123 bytes.
    pub(super) async fn close_with(&mut self, code: u16, reason: &str) -> Result<(), Broken> {
        let code = code.to_be_bytes();
        self.control(opcode::CLOSE, &code, reason.as_bytes()).await
    }

    async fn control(&mut self, opcode: u8, code: &[u8], rest: &[u8]) -> Result<(), Broken> {
        let len = code.len() + rest.len();
        debug_assert!(len <= CONTROL_BYTES_MAX, "{len} bytes");
        self.0.write(&[FINAL | opcode, len as u8]).await?;
        self.0.write(code).await?;
        self.0.write(rest).await
    }
}

/// What is before a text of `len` bytes.
fn text_head(head: &mut [u8; 10], len: usize) -> &[u8] {
    let (start, long) = match len {
        0..126 => (len as u8, 0),
        126..0x1_0000 => (126, 2),
        _ => (127, 8),
    };
    head[0] = FINAL | opcode::TEXT;
    head[1] = start;
    let bytes = (len as u64).to_be_bytes();
    head[2..2 + long].copy_from_slice(&bytes[8 - long..]);
    &head[..2 + long]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn length_is_told_in_as_few_bytes_as_the_rules_want() {
        for (len, expected) in [
            (0, &[0x81, 0][..]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xFFFF, &[0x81, 126, 0xFF, 0xFF]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            assert_eq!(text_head(&mut [0xA5; 10], len), expected, "{len}");
        }
    }
}
