//! Text that leaves piece by piece, formatted anew for each: no memory has to hold all of it.

use core::fmt::{self, Display, Write as _};

use embedded_io_async::Write;

/// The connection is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// Writes through a buffer.
#[derive(Debug)]
pub(super) struct Pieces<'b, W> {
    stream: W,
    buffer: &'b mut [u8],
}

impl<'b, W: Write> Pieces<'b, W> {
    /// Pieces as long as `buffer`.
    pub(super) fn new(stream: W, buffer: &'b mut [u8]) -> Self {
        Self { stream, buffer }
    }

    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.stream.write_all(bytes).await.map_err(|_| Broken)
    }

    /// Puts parts together in the buffer at once; what is returned writes them.
    pub(super) fn write_together<'w>(
        &'w mut self,
        parts: [&[u8]; 3],
    ) -> impl Future<Output = Result<(), Broken>> + use<'w, 'b, W> {
        let Self { stream, buffer } = self;
        let bytes = together(parts, buffer);
        async move {
            stream
                .write_all(bytes.ok_or(Broken)?)
                .await
                .map_err(|_| Broken)
        }
    }

    /// Writes `len` bytes of `text`, which has to be the same whenever it is formatted, and at least
    /// as long.
    pub(super) async fn write_text(
        &mut self,
        text: &dyn Display,
        len: usize,
    ) -> Result<(), Broken> {
        let mut written = 0;
        while written < len {
            let end = self.buffer.len().min(len - written);
            let piece = piece(text, written, &mut self.buffer[..end]);
            if piece.is_empty() {
                return Err(Broken);
            }
            written += piece.len();
            self.stream.write_all(piece).await.map_err(|_| Broken)?;
        }
        Ok(())
    }
}

/// The parts, one behind the other in `room`, if they fit.
fn together<'r>(parts: [&[u8]; 3], room: &'r mut [u8]) -> Option<&'r [u8]> {
    let mut len = 0;
    for part in parts {
        let place = room.get_mut(len..)?.get_mut(..part.len())?;
        place.copy_from_slice(part);
        len += part.len();
    }
    room.get(..len)
}

/// The bytes of a text.
pub(super) fn len(text: &dyn Display) -> usize {
    let mut length = Length(0);
    // Counting cannot fail.
    let _ = write!(length, "{text}");
    length.0
}

/// What of `text` lies behind its first `start` bytes and fits into `room`.
fn piece<'r>(text: &dyn Display, start: usize, room: &'r mut [u8]) -> &'r [u8] {
    let mut window = Window {
        skip: start,
        room,
        filled: 0,
    };
    // It fails when the room is full, as nothing behind that matters.
    let _ = write!(window, "{text}");
    let Window { room, filled, .. } = window;
    room.get(..filled).unwrap_or_default()
}

struct Length(usize);

impl fmt::Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 = self.0.saturating_add(text.len());
        Ok(())
    }
}

struct Window<'r> {
    /// Bytes that are still to be left out.
    skip: usize,
    room: &'r mut [u8],
    filled: usize,
}

impl fmt::Write for Window<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let Some(bytes) = text.as_bytes().get(self.skip..) else {
            self.skip -= text.len();
            return Ok(());
        };
        self.skip = 0;
        let room = self.room.get_mut(self.filled..).unwrap_or_default();
        let len = room.len().min(bytes.len());
        room[..len].copy_from_slice(&bytes[..len]);
        self.filled += len;
        if len < bytes.len() {
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_every_length_make_the_whole() {
        let text = format_args!("{}-{}, {}", "abc", 1234, "äöü");
        let whole = std::format!("{text}");
        assert_eq!(len(&text), whole.len());
        for room in 1..whole.len() + 2 {
            let mut together = Vec::<u8>::new();
            while together.len() < whole.len() {
                let mut room = std::vec![0xA5; room];
                together.extend(piece(&text, together.len(), &mut room));
            }
            assert_eq!(together, whole.as_bytes(), "in pieces of {room} bytes");
        }
        assert!(piece(&text, whole.len(), &mut [0; 4]).is_empty());
    }
}
