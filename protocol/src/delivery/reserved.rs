//! The reserved member of a message's content: written, found and taken out again.
//!
//! ```text
//! {"a":1}   ->  {"vinbus":[7,3,42,60],"a":1}                an object without `content` and `vinbus`
//! "text"    ->  {"vinbus":[7,3,42,60],"content":"text"}     everything else
//! ```
//!
//! The numbers are the epochs of the sender and of the receiver, the message's number and the
//! seconds it has left, 0 for no end; a part of a long message adds its offset, the length of the
//! whole and the checksum of the whole. The member is written first, and found wherever it stands. Everything else is left as it
//! is, byte for byte.

use core::fmt;

use super::Epoch;
use crate::checksum::crc32;
use crate::envelope::encode::{Encode, Out, encode, encoded_len};
use crate::envelope::{Content, EncodeError, write_escaped};
use crate::id::AppId;
use crate::json::{JsonString, Kind, Object, Value};
use crate::limits::{DELIVERY_TTL_S_MAX, JSON_DEPTH_MAX};

/// The name of the reserved member.
pub const RESERVED_MEMBER: &str = "vinbus";

/// What a content begins with in which the member stands first.
pub(crate) const RESERVED_MEMBER_BEGIN: &str = "{\"vinbus\":";

/// The app identifier of downlink messages that are delivery's own.
pub const CONTROL_APP: &str = "vinbus";

/// The uplink subtopic of messages that are delivery's own.
pub const CONTROL_SUBTOPIC: &str = "vinbus/delivery";

/// What the reserved member of a message says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The sender's epoch.
    pub epoch: Epoch,
    /// The receiver's epoch, as the sender knows it.
    pub peer: Epoch,
    /// The message's number.
    pub number: u32,
    /// Seconds that it has left, at most [`DELIVERY_TTL_S_MAX`]; 0 for no end.
    pub ttl_s: u32,
    /// Which part of a long message it is, if it is one.
    pub part: Option<Part>,
}

/// Which part of which long message it is. Parts are of one message if the length and the checksum of
/// their wholes are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where it begins, in bytes of the JSON text.
    pub offset: u32,
    /// The length of the whole, in bytes.
    pub total: u32,
    /// The [CRC-32](crate::checksum::crc32) of the whole.
    pub checksum: u32,
}

impl Part {
    /// The part of a message at its begin; the others differ in `offset` alone, so that a sender needs to
    /// compute the checksum once.
    #[must_use]
    pub fn first(text: &str) -> Self {
        Self {
            offset: 0,
            total: u32::try_from(text.len()).unwrap_or(u32::MAX),
            checksum: crc32(text.as_bytes()),
        }
    }
}

impl Header {
    /// Reads the elements of the member's array.
    pub(super) fn parse(array: &str) -> Option<Self> {
        let (mut read, mut count) = ([0; 7], 0_usize);
        for number in numbers(array)? {
            *read.get_mut(count)? = number?;
            count += 1;
        }
        let [epoch, peer, number, ttl_s, offset, total, checksum] = read;
        let part = match count {
            4 => None,
            7 => Some(Part {
                offset,
                total,
                checksum,
            }),
            _ => return None,
        };
        if number == 0 || ttl_s > DELIVERY_TTL_S_MAX {
            return None;
        }
        Some(Self {
            epoch: Epoch::new(epoch)?,
            peer: Epoch::new(peer)?,
            number,
            ttl_s,
            part,
        })
    }

    fn write(&self, out: &mut Out<'_>) {
        let (epoch, peer) = (self.epoch.number(), self.peer.number());
        out.text(RESERVED_MEMBER_BEGIN);
        out.text("[");
        out.numbers(&[epoch, peer, self.number, self.ttl_s]);
        if let Some(part) = self.part {
            out.text(",");
            out.numbers(&[part.offset, part.total, part.checksum]);
        }
        out.text("]");
    }
}

/// The numbers of a JSON array; `None` for an element that is not a whole number of 32 bits.
pub(super) fn numbers(array: &str) -> Option<Numbers<'_>> {
    let inside = array.strip_prefix('[')?.strip_suffix(']')?;
    Some(Numbers(Some(inside.as_bytes())))
}

/// What is left of an array.
#[derive(Clone, Default)]
pub(super) struct Numbers<'a>(Option<&'a [u8]>);

impl Iterator for Numbers<'_> {
    type Item = Option<u32>;

    /// What comes is valid JSON, so that no white space stands between two digits.
    #[inline(never)]
    fn next(&mut self) -> Option<Option<u32>> {
        let mut rest = self.0.take()?;
        let mut number = None;
        while let [byte, behind @ ..] = rest {
            rest = behind;
            number = match byte {
                b',' => {
                    self.0 = Some(rest);
                    break;
                }
                b'0'..=b'9' => {
                    let digit = u32::from(byte - b'0');
                    let tens = number.unwrap_or(0_u32).checked_mul(10);
                    let Some(number) = tens.and_then(|tens| tens.checked_add(digit)) else {
                        return Some(None);
                    };
                    Some(number)
                }
                _ if byte.is_ascii_whitespace() => number,
                _ => return Some(None),
            };
        }
        Some(number)
    }
}

/// A whole number of 32 bits, written without sign, point and exponent.
pub(super) fn number(digits: &str) -> Option<u32> {
    Numbers(Some(digits.as_bytes())).next()?
}

/// The content cannot carry the member, because it nests too deep to be wrapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooDeep;

impl fmt::Display for TooDeep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = JSON_DEPTH_MAX - 2;
        write!(
            f,
            "the content nests deeper than {max} and cannot be wrapped: send it without receipts"
        )
    }
}

impl core::error::Error for TooDeep {}

/// A content that carries the reserved member. `Debug` does not tell what it says.
#[derive(Clone, Copy)]
pub struct Marked<'a> {
    header: Header,
    /// What stands between the member and the content, and behind that.
    around: [&'static str; 2],
    content: &'a str,
    /// Writes the content. A pointer, so that an image that sends no parts has nothing of theirs.
    write: fn(&str, &mut Out<'_>),
}

impl<'a> Marked<'a> {
    /// A message of its own.
    ///
    /// # Errors
    /// [`TooDeep`].
    pub fn new(header: Header, content: Content<'a>) -> Result<Self, TooDeep> {
        let text = content.as_str();
        let (around, content) = match (look(text), text.strip_prefix('{')) {
            (Some(looked), Some(members)) if looked.is_insertable() => {
                ([if looked.is_empty { "" } else { "," }, ""], members)
            }
            _ if nests_deeper_than(text, JSON_DEPTH_MAX - 2) => return Err(TooDeep),
            _ => ([",\"content\":", "}"], text),
        };
        Ok(Self {
            header,
            around,
            content,
            write: |text, out| out.text(text),
        })
    }

    /// A part of a long message: `piece` is a piece of its JSON text, see
    /// [`parts::piece`](super::parts::piece).
    #[must_use]
    pub fn part(header: Header, piece: &'a str) -> Self {
        Self {
            header,
            around: [",\"content\":\"", "\"}"],
            content: piece,
            write: |piece, out| piece.chars().for_each(|c| write_inside(c, out)),
        }
    }

    /// Bytes that [`encode`](Self::encode) writes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        encoded_len(self)
    }

    /// Writes the content alone.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(self, buffer)
    }

    /// Writes the content in an uplink envelope.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_uplink<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(&UplinkOf(self), buffer)
    }

    /// Writes the content in a downlink envelope for an app.
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_downlink<'b>(
        &self,
        app: &AppId,
        buffer: &'b mut [u8],
    ) -> Result<&'b [u8], EncodeError> {
        encode(&DownlinkOf(app.as_str(), self), buffer)
    }
}

impl Encode for Marked<'_> {
    fn write(&self, out: &mut Out<'_>) {
        self.header.write(out);
        let [before, behind] = self.around;
        out.text(before);
        (self.write)(self.content, out);
        out.text(behind);
    }
}

impl fmt::Debug for Marked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Marked({:?}, {} bytes)", self.header, self.encoded_len())
    }
}

/// Content in an uplink envelope.
pub(crate) struct UplinkOf<'a, C>(pub(crate) &'a C);

impl<C: Encode> Encode for UplinkOf<'_, C> {
    fn write(&self, out: &mut Out<'_>) {
        out.text("{\"content\":");
        self.0.write(out);
        out.text("}");
    }
}

/// Content in a downlink envelope for an app.
pub(crate) struct DownlinkOf<'a, C>(pub(crate) &'a str, pub(crate) &'a C);

impl<C: Encode> Encode for DownlinkOf<'_, C> {
    fn write(&self, out: &mut Out<'_>) {
        out.text("{\"idApp\":\"");
        write_escaped(self.0, out);
        out.text("\",\"popup\":false,\"content\":");
        self.1.write(out);
        out.text("}");
    }
}

/// Bytes of a character of a JSON text, once it stands inside a JSON string.
pub(super) const fn len_inside(c: char) -> usize {
    match c {
        '"' | '\\' | '\n' | '\r' | '\t' => 2,
        _ => c.len_utf8(),
    }
}

/// Writes a character of a JSON text inside a JSON string. Such a text has no other control
/// characters than these three.
fn write_inside(c: char, out: &mut Out<'_>) {
    match c {
        '"' => out.text("\\\""),
        '\\' => out.text("\\\\"),
        '\n' => out.text("\\n"),
        '\r' => out.text("\\r"),
        '\t' => out.text("\\t"),
        _ => out.text(c.encode_utf8(&mut [0; 4])),
    }
}

/// What delivery looks at in a content that is an object.
struct Looked<'a> {
    /// The reserved member's value, and where the member before it ends, or the opening brace.
    reserved: Option<(usize, Value<'a>)>,
    /// The value of the member named `content`.
    content: Option<&'a str>,
    is_empty: bool,
}

impl Looked<'_> {
    /// Whether the reserved member can be inserted, and found again.
    const fn is_insertable(&self) -> bool {
        self.reserved.is_none() && self.content.is_none()
    }
}

/// `None` for what is no object, and for one with the reserved member twice.
fn look(text: &str) -> Option<Looked<'_>> {
    let mut object = Object::open(text)?;
    let (mut reserved, mut content, mut end) = (None, None, 1);
    while let Some(member) = object.next_member().ok()? {
        if member.name.is(RESERVED_MEMBER) {
            if reserved.replace((end, member.value)).is_some() {
                return None;
            }
        } else if member.name.is("content") {
            content = Some(member.value.text);
        }
        end = member.value.end();
    }
    Some(Looked {
        reserved,
        content,
        is_empty: end == 1,
    })
}

/// Whether the containers of a valid JSON text nest deeper than `max`.
fn nests_deeper_than(text: &str, max: usize) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    text.bytes().any(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = in_string,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth = depth.saturating_add(1),
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth > max
    })
}

/// The app's own content, without what delivery added: two pieces of the message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Carried<'a> {
    head: &'a str,
    tail: &'a str,
}

impl<'a> Carried<'a> {
    /// Its bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.head.len().saturating_add(self.tail.len())
    }

    /// Whether it has none, which no JSON value does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its two pieces, to be read one after the other.
    #[must_use]
    pub const fn pieces(&self) -> [&'a str; 2] {
        [self.head, self.tail]
    }

    /// Writes it to the start of `buffer`.
    ///
    /// # Errors
    /// [`EncodeError::Buffer`]; then nothing is written.
    pub fn copy_to<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(self, buffer)
    }

    /// Its characters, if it is a string: the text of a part of a long message is one.
    pub fn characters(&self) -> Option<impl Iterator<Item = char> + use<'a>> {
        self.as_string().map(|text| text.chars())
    }

    /// The same, not yet read.
    pub(super) fn as_string(&self) -> Option<JsonString<'a>> {
        let raw = self.head.strip_prefix('"')?.strip_suffix('"')?;
        self.tail.is_empty().then(|| JsonString::new(raw))
    }
}

impl Encode for Carried<'_> {
    fn write(&self, out: &mut Out<'_>) {
        out.text(self.head);
        out.text(self.tail);
    }
}

impl fmt::Debug for Carried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Carried({} bytes)", self.len())
    }
}

/// The value of the reserved member, that of the one named `content`, and the content without the former.
pub(crate) struct Found<'a> {
    pub(crate) value: Value<'a>,
    pub(crate) content: Option<&'a str>,
    pub(super) carried: Carried<'a>,
}

/// Finds the reserved member; `None` when there is none, or more than one.
pub(crate) fn find(content: Content<'_>) -> Option<Found<'_>> {
    let text = content.as_str();
    let Looked {
        reserved, content, ..
    } = look(text)?;
    let (begin, value) = reserved?;
    let carried = match content {
        Some(head) => Carried { head, tail: "" },
        None => {
            let behind = text.get(value.end()..)?;
            let is_first = begin == 1;
            Carried {
                head: text.get(..begin)?,
                tail: if is_first {
                    after_comma(behind)
                } else {
                    behind
                },
            }
        }
    };
    Some(Found {
        value,
        content,
        carried,
    })
}

/// What follows the comma behind a member of a valid object; all of it where that is the last member.
fn after_comma(text: &str) -> &str {
    let comma = text.bytes().position(|byte| byte == b',');
    comma.and_then(|at| text.get(at + 1..)).unwrap_or(text)
}

/// Whether a value is an array, as the reserved member of a message is.
pub(super) fn is_array(value: &Value<'_>) -> bool {
    matches!(value.kind, Kind::Array)
}
