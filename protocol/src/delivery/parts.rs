//! Messages that are longer than one payload: cut in pieces, sent one after the other, and put
//! together again.
//!
//! Each piece is a message of its own, with a number, repetitions and a receipt; the next one is
//! submitted when the receipt of the last says [`Step::PartStored`](super::Step). So a
//! transfer that was interrupted goes on where it was. The message's own receipts are those of its
//! last part. Every part names the length and the checksum of the whole, so that no message is put
//! together from the parts of two, whatever order they come in.
//!
//! | a part that comes | and | is |
//! |---|---|---|
//! | begins at 0 | the whole fits into the buffer | stored; what was incomplete before is dropped |
//! | begins where the last one ended, of the same whole | | stored, and the last one makes the whole |
//! | begins elsewhere, or is of another whole | | refused: [`PartError::Missing`] |
//! | is the last | the whole has another checksum than its parts say | refused: [`PartError::Damaged`] |
//! | is longer than the whole, empty, not a string, or one of more than [`DELIVERY_PARTS_MAX`] | | refused: [`PartError::Bad`] |
//! | is of a whole that is longer than the buffer or [`DELIVERY_LONG_BYTES_MAX`] | | refused: [`PartError::TooLarge`] |

use core::fmt;

use super::reserved::len_inside;
use super::{Carried, Part, Step};
use crate::checksum::crc32;
use crate::envelope::Content;
use crate::limits::{DELIVERY_LONG_BYTES_MAX, DELIVERY_PARTS_MAX};
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
    /// What was put together is not the message that its parts name: it begins again.
    Damaged,
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
            Self::Missing | Self::Damaged => Step::PartMissing,
            Self::Bad => Step::BadContent,
            Self::TooLarge => Step::TooLarge,
        }
    }
}

impl fmt::Display for PartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "the part does not follow what came before: send all again",
            Self::Damaged => "the parts do not make the message that they name: send all again",
            Self::Bad => "the part is empty, too long, one too many, or not of a JSON text",
            Self::TooLarge => "the message is longer than this end can store",
        })
    }
}

impl core::error::Error for PartError {}

/// One long message that is being put together, in a buffer of fixed size.
#[derive(Clone)]
pub struct Assembly<S> {
    storage: S,
    progress: Progress,
}

/// How far a long message is, without its bytes: for who keeps them elsewhere than in an [`Assembly`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Bytes stored.
    pub stored: u32,
    /// Bytes of the whole; 0 when nothing is stored.
    pub total: u32,
    /// The checksum of the whole.
    pub checksum: u32,
    /// Parts stored.
    pub parts: u32,
}

impl Progress {
    /// How far it is after a part with a text of `len` bytes, at an end that takes up to `bytes_max`. The
    /// checksum is for who has the bytes.
    ///
    /// # Errors
    /// A [`PartError`]; what is incomplete is to be dropped then.
    pub fn after(self, part: Part, len: usize, bytes_max: usize) -> Result<Self, PartError> {
        self.begin(part, bytes_max)?.reach(len)
    }

    /// Whether all of it is stored.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.total > 0 && self.stored == self.total
    }

    /// Takes a part that may follow, without its text yet.
    fn begin(self, part: Part, bytes_max: usize) -> Result<Self, PartError> {
        if part.total as usize > bytes_max.min(DELIVERY_LONG_BYTES_MAX) {
            return Err(PartError::TooLarge);
        }
        let before = match part.offset {
            0 => Self {
                total: part.total,
                checksum: part.checksum,
                ..Self::default()
            },
            _ if part.offset != self.stored => return Err(PartError::Missing),
            _ if (part.total, part.checksum) != (self.total, self.checksum) => {
                return Err(PartError::Missing);
            }
            _ => self,
        };
        let parts = before.parts.saturating_add(1);
        match parts > DELIVERY_PARTS_MAX {
            true => Err(PartError::Bad),
            false => Ok(Self { parts, ..before }),
        }
    }

    /// Takes the text of that part.
    fn reach(self, len: usize) -> Result<Self, PartError> {
        let len = u32::try_from(len).map_err(|_| PartError::Bad)?;
        let stored = self.stored.checked_add(len).filter(|_| len > 0);
        let stored = stored.filter(|end| *end <= self.total);
        let stored = stored.ok_or(PartError::Bad)?;
        Ok(Self { stored, ..self })
    }
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> Assembly<S> {
    /// An empty one; `storage` is as long as the longest message that can be taken.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self {
            storage,
            progress: Progress {
                stored: 0,
                total: 0,
                checksum: 0,
                parts: 0,
            },
        }
    }

    /// Stores a part; `true` if it is the last, so that the [whole](Self::whole) is there until it is
    /// [cleared](Self::clear).
    ///
    /// # Errors
    /// A [`PartError`]; what is incomplete is dropped then.
    pub fn add(&mut self, part: Part, carried: &Carried<'_>) -> Result<bool, PartError> {
        let stored = match carried.as_string() {
            Some(text) => self.store(part, text.chars()),
            None => Err(PartError::Bad),
        };
        stored.inspect_err(|_| self.clear())
    }

    /// The whole message, once its last part is there.
    ///
    /// # Errors
    /// [`PartError::Missing`] before that, [`PartError::Bad`] when it is not JSON.
    pub fn whole(&self) -> Result<Content<'_>, PartError> {
        if !self.progress.is_whole() {
            return Err(PartError::Missing);
        }
        Content::parse_long(self.stored_from(0)).map_err(|_| PartError::Bad)
    }

    /// Stores a piece that was stored in an earlier life, or is taken from there: `part` says where it
    /// belongs. `true` when the whole is there.
    ///
    /// # Errors
    /// As [`add`](Self::add).
    pub fn restore(&mut self, part: Part, piece: &str) -> Result<bool, PartError> {
        let stored = self.store(part, piece.chars());
        stored.inspect_err(|_| self.clear())
    }

    /// Takes back what was stored from `offset` on, as it could not be kept.
    pub fn truncate(&mut self, offset: usize) {
        let offset = u32::try_from(offset).unwrap_or(u32::MAX);
        self.progress.stored = self.progress.stored.min(offset);
        if self.progress.stored == 0 {
            self.clear();
        }
    }

    /// What is stored of an incomplete message, from `offset` on.
    #[must_use]
    pub fn stored_from(&self, offset: usize) -> &[u8] {
        let stored = self.storage.as_ref().get(offset..self.stored());
        stored.unwrap_or_default()
    }

    /// The longest message that can be taken, in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.storage.as_ref().len().min(DELIVERY_LONG_BYTES_MAX)
    }

    /// Drops what is incomplete.
    pub fn clear(&mut self) {
        self.progress = Progress::default();
    }

    /// Bytes stored of a message that is incomplete.
    #[must_use]
    pub fn stored(&self) -> usize {
        self.progress.stored as usize
    }

    /// Stores a part; `true` for the last one.
    fn store(&mut self, part: Part, text: impl Iterator<Item = char>) -> Result<bool, PartError> {
        let progress = self.progress.begin(part, self.bytes_max())?;
        let room = self.storage.as_mut().get_mut(..part.total as usize);
        let room = room.ok_or(PartError::TooLarge)?;
        let offset = part.offset as usize;
        let mut end = offset;
        for c in text {
            let next = end.saturating_add(c.len_utf8());
            let place = room.get_mut(end..next).ok_or(PartError::Bad)?;
            copy(place, c.encode_utf8(&mut [0; 4]).as_bytes());
            end = next;
        }
        self.progress = progress.reach(end.saturating_sub(offset))?;
        let is_whole = self.progress.is_whole();
        if is_whole && crc32(self.stored_from(0)) != self.progress.checksum {
            return Err(PartError::Damaged);
        }
        Ok(is_whole)
    }
}

impl<S> fmt::Debug for Assembly<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { stored, total, .. } = self.progress;
        write!(f, "Assembly({stored} of {total} bytes)")
    }
}
