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

    /// What is written before the first frame.
    pub(super) fn pieces(&mut self) -> &mut Pieces<'b, W> {
        &mut self.0
    }

    /// Writes a text, which has to be the same whenever it is formatted.
    pub(super) async fn text(&mut self, text: &dyn Display) -> Result<(), Broken> {
        let len = pieces::len(text);
        let mut head = [0; 10];
        self.0.write(text_head(&mut head, len)).await?;
        self.0.write_text(text, len).await
    }

    /// Puts a control frame together at once, of at most [`CONTROL_BYTES_MAX`] bytes in two parts;
    /// what is returned writes it.
    pub(super) fn control<'w>(
        &'w mut self,
        opcode: u8,
        code: &[u8],
        rest: &[u8],
    ) -> impl Future<Output = Result<(), Broken>> + use<'w, 'b, W> {
        let len = code.len() + rest.len();
        debug_assert!(len <= CONTROL_BYTES_MAX, "{len} bytes");
        self.0
            .write_together([&[FINAL | opcode, len as u8], code, rest])
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
