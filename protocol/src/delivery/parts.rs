//! Messages that are longer than one payload: cut in pieces, sent one after the other, and put
//! together again.
//!
//! Each piece is a message of its own, with a number, repetitions and a receipt; the next one is
//! submitted when the receipt of the last says [`Step::PartStored`](super::Step). So a
//! transfer that was interrupted goes on where it was. The message's own receipts are those of its
//! last part.
//!
//! | a part that comes | and | is |
//! |---|---|---|
//! | begins at 0 | the whole fits into the buffer | stored; what was incomplete before is dropped |
//! | begins where the last one ended, same length of the whole | | stored, and the last one makes the whole |
//! | begins elsewhere, or is of another whole | | refused: [`PartError::Missing`] |
//! | is longer than the whole, empty, or not a string | | refused: [`PartError::Bad`] |
//! | is of a whole that is longer than the buffer or [`DELIVERY_LONG_BYTES_MAX`] | | refused: [`PartError::TooLarge`] |

use core::fmt;

use super::member::len_inside;
use super::{Carried, Part, Step};
use crate::envelope::Content;
use crate::limits::DELIVERY_LONG_BYTES_MAX;
use crate::record_ring::copy;

/// The longest piece of `text` from `offset` on that takes at most `bytes_max` bytes inside a JSON
/// string. It is empty at the end of the text, and if `offset` is not between two characters.
///
/// ```
/// use vinbus_protocol::delivery::parts;
///
/// let text = r#"["a","é"]"#;
/// assert_eq!(parts::piece(text, 0, 5), r#"["a"#);
/// assert_eq!(parts::piece(text, 3, 100), r#"","é"]"#);
/// ```
#[must_use]
pub fn piece(text: &str, offset: usize, bytes_max: usize) -> &str {
    let rest = text.get(offset..).unwrap_or_default();
    let mut room = bytes_max;
    let mut end = 0_usize;
    for c in rest.chars() {
        match room.checked_sub(len_inside(c)) {
            Some(left) => room = left,
            None => break,
        }
        end = end.saturating_add(c.len_utf8());
    }
    rest.get(..end).unwrap_or_default()
}

/// Why a part was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PartError {
    /// It does not follow what is stored: the message begins again.
    Missing,
    /// It contradicts itself, or the whole is not JSON.
    Bad,
    /// The whole is too long for this end.
    TooLarge,
}

impl PartError {
    /// What the sender is to be told.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::Missing => Step::PartMissing,
            Self::Bad => Step::BadContent,
            Self::TooLarge => Step::TooLarge,
        }
    }
}

impl fmt::Display for PartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the part does not follow what came before: send all again",
            Self::Bad => "the part is empty, too long, or not of a JSON text",
            Self::TooLarge => "the message is longer than this end can store",
        })
    }
}

impl core::error::Error for PartError {}

/// One long message that is being put together, in a buffer of fixed size.
pub struct Assembly<S> {
    storage: S,
    stored: usize,
    total: usize,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Assembly<S> {
    /// An empty one; `storage` is as long as the longest message that can be taken.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self {
            storage,
            stored: 0,
            total: 0,
        }
    }

    /// Stores a part. The whole is returned with the last one, and dropped with the next.
    ///
    /// # Errors
    /// A [`PartError`]; what is incomplete is dropped then.
    pub fn insert(
        &mut self,
        part: Part,
        carried: &Carried<'_>,
    ) -> Result<Option<Content<'_>>, PartError> {
        match self.store(part, carried) {
            Ok(false) => Ok(None),
            Ok(true) => {
                let total = core::mem::take(&mut self.total);
                self.stored = 0;
                let whole = self.storage.as_ref().get(..total).unwrap_or_default();
                let whole = Content::parse_up_to(whole, DELIVERY_LONG_BYTES_MAX);
                whole.map(Some).map_err(|_| PartError::Bad)
            }
            Err(error) => {
                self.clear();
                Err(error)
            }
        }
    }

    /// Drops what is incomplete.
    pub fn clear(&mut self) {
        (self.stored, self.total) = (0, 0);
    }

    /// Bytes stored of a message that is incomplete.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.stored
    }

    /// Stores a part; `true` for the last one.
    fn store(&mut self, part: Part, carried: &Carried<'_>) -> Result<bool, PartError> {
        let (offset, total) = (part.offset as usize, part.total as usize);
        if total > self.storage.as_ref().len().min(DELIVERY_LONG_BYTES_MAX) {
            return Err(PartError::TooLarge);
        }
        if offset == 0 {
            (self.stored, self.total) = (0, total);
        } else if offset != self.stored || total != self.total {
            return Err(PartError::Missing);
        }
        let text = carried.as_string().ok_or(PartError::Bad)?;
        let room = self.storage.as_mut().get_mut(..total);
        let room = room.ok_or(PartError::TooLarge)?;
        let mut end = offset;
        for c in text.chars() {
            let next = end.saturating_add(c.len_utf8());
            let place = room.get_mut(end..next).ok_or(PartError::Bad)?;
            copy(place, c.encode_utf8(&mut [0; 4]).as_bytes());
            end = next;
        }
        if end == offset {
            return Err(PartError::Bad);
        }
        self.stored = end;
        Ok(end == total)
    }
}

impl<S> fmt::Debug for Assembly<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assembly({} of {} bytes)", self.stored, self.total)
    }
}
