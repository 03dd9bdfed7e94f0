//! The messages that are delivery's own: greetings, receipts and their acknowledgements.
//!
//! ```text
//! {"vinbus":{"e":7,"v":1}}                                  a greeting, which asks for an answer
//! {"vinbus":{"e":3,"x":7}}                                  an answer
//! {"vinbus":{"e":3,"x":7,"h":17,"o":[38,39,42]}}          the same: 17 is the highest that came, 38, 39, 42 are open
//! {"vinbus":{"e":3,"x":7,"l":1048576}}                      the same of an end that takes long messages
//! {"vinbus":{"e":3,"x":7,"k":9,"r":[1,42,3,6,45,1]}}        batch 9: 42 to 44 are at the agent, 45 is confirmed
//! {"vinbus":{"e":7,"x":3,"a":9}}                            batch 9 has come
//! ```

use core::fmt;
use core::iter::Empty;

use super::reserved::{
    self, CONTROL_APP, Carried, DownlinkOf, Header, RESERVED_MEMBER, RESERVED_MEMBER_BEGIN,
    UplinkOf, number, numbers,
};
use super::{Epoch, Step};
use crate::envelope::encode::{Encode, Out, encode};
use crate::envelope::{Content, EncodeError};
use crate::json::{Kind, Object, Value};
use crate::limits::DELIVERY_OPEN_MAX;

/// The version of delivery that this crate speaks.
pub const VERSION: u32 = 1;

/// What the content of a message is to delivery.
#[derive(Clone, Copy, Debug)]
pub enum Received<'a> {
    /// An ordinary message: none of delivery's business.
    Plain,
    /// A message of an app, with what its sender says of it.
    Message(Header, Carried<'a>),
    /// A message of delivery's own.
    Control(Control<'a>),
}

/// Reads a content. What is not exactly of one of delivery's forms is an ordinary message.
///
/// ```
/// use vinbus_protocol::delivery::{self, Received};
/// use vinbus_protocol::envelope::Content;
///
/// let content = Content::parse(br#"{"vinbus":[7,3,42,60], "speed": 50}"#)?;
/// let Received::Message(header, carried) = delivery::read(content) else { panic!() };
/// assert_eq!((header.number, header.ttl_s), (42, 60));
/// assert_eq!(carried.pieces().concat(), r#"{ "speed": 50}"#);
/// # Ok::<(), vinbus_protocol::envelope::EnvelopeError>(())
/// ```
#[must_use]
pub fn read(content: Content<'_>) -> Received<'_> {
    let Some(found) = reserved::find(content) else {
        return Received::Plain;
    };
    if reserved::is_array(&found.value) {
        return match Header::parse(found.value.text) {
            Some(header) => Received::Message(header, found.carried),
            None => Received::Plain,
        };
    }
    Control::parse(found.value).map_or(Received::Plain, Received::Control)
}

/// Whether the reserved name may stand anywhere in a payload. Where it does not, [`read`] finds its content
/// plain and no app of it is [`CONTROL_APP`], at the price of one look at each byte.
///
/// ```
/// use vinbus_protocol::delivery::mentioned;
///
/// assert!(!mentioned(br#"{"idApp":"a","popup":false,"content":{"speed":50}}"#));
/// assert!(mentioned(br#"{"idApp":"a","popup":false,"content":{"vinbus":[7,3,42,60]}}"#));
/// assert!(mentioned(br#"{"idApp":"a","popup":false,"content":{"v\u0069nbus":[7,3,42,60]}}"#));
/// ```
#[must_use]
pub fn mentioned(payload: &[u8]) -> bool {
    // Any character of the name may be written as an escape, which is as long as the name.
    let mut windows = payload.windows(RESERVED_MEMBER.len());
    windows.any(|window| window == RESERVED_MEMBER.as_bytes() || window.starts_with(b"\\u"))
}

/// A message of delivery's own.
#[derive(Clone, Copy, Debug)]
pub struct Control<'a> {
    /// Its sender's epoch.
    pub epoch: Epoch,
    /// The receiver's epoch, if the sender knows it.
    pub peer: Option<Epoch>,
    /// Whether the sender asks to be answered.
    pub greeting: bool,
    /// The batch of receipts that has come, with all before it.
    pub acknowledged: Option<u32>,
    /// What became of messages.
    pub receipts: Option<Receipts<'a>>,
    /// The longest content that the sender takes in [parts](super::parts), in bytes; 0 for none.
    pub long_bytes_max: u32,
    /// The highest number that has come to the sender from this life of the receiver; 0 for none.
    pub highest: u32,
    /// Messages of the sender that are open at the receiver, as far as the sender knows.
    pub open: Option<Open<'a>>,
}

/// What an end says of itself before anything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Its epoch.
    pub epoch: Epoch,
    /// The longest content that it takes in [parts](super::parts), in bytes; 0 for none.
    pub long_bytes_max: u32,
}

impl<'a> Control<'a> {
    /// What its sender says of itself.
    pub(super) const fn offer(&self) -> Offer {
        Offer {
            epoch: self.epoch,
            long_bytes_max: self.long_bytes_max,
        }
    }

    fn parse(value: Value<'a>) -> Option<Self> {
        let mut members = Object::open(value.text)?;
        let (mut values, mut runs, mut open) = ([None; 7], None, None);
        while let Some(member) = members.next_member().ok()? {
            if member.name.is("r") {
                runs = Some(member.value.text);
            }
            if member.name.is("o") {
                open = Some(Open::parse(member.value.text)?);
            }
            for (name, value) in ["e", "x", "v", "a", "k", "l", "h"].iter().zip(&mut values) {
                if member.name.is(name) {
                    *value = Some(number(member.value.text)?);
                }
            }
        }
        let [epoch, peer, version, acknowledged, batch, long, highest] = values;
        let receipts = match (batch, runs) {
            (Some(batch), Some(runs)) => Some(Receipts::parse(batch, runs)?),
            (None, None) => None,
            _ => return None,
        };
        Some(Self {
            epoch: Epoch::new(epoch?)?,
            peer: match peer {
                Some(peer) => Some(Epoch::new(peer)?),
                None => None,
            },
            greeting: version.is_some_and(|version| version >= VERSION),
            acknowledged,
            receipts,
            long_bytes_max: long.unwrap_or(0),
            highest: highest.unwrap_or(0),
            open,
        })
    }
}

/// A batch of receipts, checked in number and form. `Debug` shows them as they are written.
#[derive(Clone, Copy, Debug)]
pub struct Receipts<'a> {
    /// The number of the batch.
    pub batch: u32,
    runs: &'a str,
}

/// Consecutive messages that went the same way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// What became of them.
    pub step: Step,
    /// The first one's number.
    pub first: u32,
    /// How many they are, at least 1.
    pub count: u32,
}

impl<'a> Receipts<'a> {
    fn parse(batch: u32, runs: &'a str) -> Option<Self> {
        let elements = count(runs, 0)?;
        let fits = elements.is_multiple_of(3) && elements <= 3 * DELIVERY_OPEN_MAX;
        fits.then_some(Self { batch, runs })
    }

    /// The runs. Those with a step that this version does not know, or without messages, are left
    /// out.
    pub fn runs(&self) -> impl Iterator<Item = Run> + use<'a> {
        let mut elements = numbers(self.runs).unwrap_or_default();
        core::iter::from_fn(move || {
            loop {
                let (step, first, count) =
                    (elements.next()??, elements.next()??, elements.next()??);
                if let Some(step) = Step::from_code(step)
                    && count > 0
                {
                    return Some(Run { step, first, count });
                }
            }
        })
    }
}

/// How many numbers from `least` on an array has; `None` if it has anything else.
#[inline(never)]
fn count(array: &str, least: u32) -> Option<usize> {
    let mut count = 0_usize;
    for element in numbers(array)? {
        if element? < least {
            return None;
        }
        count = count.saturating_add(1);
    }
    Some(count)
}

/// Numbers of messages that are open at the other end, from 1 on, checked in number and form. `Debug` shows
/// them as they are written.
#[derive(Clone, Copy, Debug)]
pub struct Open<'a>(&'a str);

impl<'a> Open<'a> {
    fn parse(array: &'a str) -> Option<Self> {
        let inside = array.strip_prefix('[')?.strip_suffix(']')?;
        if inside.trim_ascii().is_empty() {
            return Some(Self(inside));
        }
        (count(array, 1)? <= DELIVERY_OPEN_MAX).then_some(Self(array))
    }

    /// The numbers, at most [`DELIVERY_OPEN_MAX`].
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<'a> {
        numbers(self.0).unwrap_or_default().flatten()
    }
}

/// A message of delivery's own that is to be sent; the runs come from the receiver's account.
#[derive(Clone)]
pub struct ControlFrame<R, O = Empty<u32>> {
    pub(super) epoch: Epoch,
    pub(super) peer: Option<Epoch>,
    pub(super) greeting: bool,
    pub(super) introduces: bool,
    pub(super) highest: u32,
    pub(super) long_bytes_max: u32,
    pub(super) acknowledge: Option<u32>,
    pub(super) batch: Option<u32>,
    pub(super) runs: R,
    /// None at an agent.
    pub(super) open: Option<O>,
}

impl<R> ControlFrame<R> {
    /// The same of a host: if it is a greeting or an answer, it says as well which messages of its sender are
    /// open at the other end, by what its owner has noted: those that were answered and not finally. `numbers`
    /// grow; the first [`DELIVERY_OPEN_MAX`] are said.
    pub fn with_open<O: Iterator<Item = u32> + Clone>(self, numbers: O) -> ControlFrame<R, O> {
        ControlFrame {
            epoch: self.epoch,
            peer: self.peer,
            greeting: self.greeting,
            introduces: self.introduces,
            highest: self.highest,
            long_bytes_max: self.long_bytes_max,
            acknowledge: self.acknowledge,
            batch: self.batch,
            runs: self.runs,
            open: Some(numbers),
        }
    }
}

impl<R, O> ControlFrame<R, O>
where
    R: Iterator<Item = Run> + Clone,
    O: Iterator<Item = u32> + Clone,
{
    /// Writes it in an uplink envelope, for [`CONTROL_SUBTOPIC`](super::CONTROL_SUBTOPIC).
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_uplink<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(&UplinkOf(self), buffer)
    }

    /// Writes it in a downlink envelope for [`CONTROL_APP`].
    ///
    /// # Errors
    /// An [`EncodeError`]; then nothing is written.
    pub fn encode_downlink<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        encode(&DownlinkOf(CONTROL_APP, self), buffer)
    }
}

impl<R, O> Encode for ControlFrame<R, O>
where
    R: Iterator<Item = Run> + Clone,
    O: Iterator<Item = u32> + Clone,
{
    fn write(&self, out: &mut Out<'_>) {
        out.text(RESERVED_MEMBER_BEGIN);
        out.text("{\"e\":");
        out.number(self.epoch.number());
        write_member(",\"x\":", self.peer.map(Epoch::number), out);
        write_member(",\"v\":", self.greeting.then_some(VERSION), out);
        write_positive(",\"l\":", self.long_bytes_max, out);
        write_positive(",\"h\":", self.highest, out);
        if let Some(open) = self.open.clone().filter(|_| self.introduces) {
            write_open(open, out);
        }
        write_member(",\"a\":", self.acknowledge, out);
        write_member(",\"k\":", self.batch, out);
        if self.batch.is_some() {
            out.text(",\"r\":[");
            let mut before = "";
            for Run { step, first, count } in self.runs.clone() {
                out.text(before);
                out.numbers(&[u32::from(step.code()), first, count]);
                before = ",";
            }
            out.text("]");
        }
        out.text("}}");
    }
}

impl<R, O> fmt::Debug for ControlFrame<R, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ControlFrame")
            .field("epoch", &self.epoch)
            .field("peer", &self.peer)
            .field("greeting", &self.greeting)
            .field("highest", &self.highest)
            .field("long_bytes_max", &self.long_bytes_max)
            .field("acknowledge", &self.acknowledge)
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

/// Writes the retained presence report of an agent that offers delivery: that of
/// [`presence`](crate::presence) with one more member, which other readers ignore.
///
/// # Errors
/// An [`EncodeError`]; then nothing is written.
pub fn announcement(offer: Offer, buffer: &mut [u8]) -> Result<&[u8], EncodeError> {
    encode(&Announcement(offer), buffer)
}

struct Announcement(Offer);

impl Encode for Announcement {
    fn write(&self, out: &mut Out<'_>) {
        out.text("{\"content\":{\"online\":true,\"vinbus\":{\"e\":");
        out.number(self.0.epoch.number());
        write_member(",\"v\":", Some(VERSION), out);
        write_positive(",\"l\":", self.0.long_bytes_max, out);
        out.text("}}}");
    }
}

/// Writes the first numbers.
fn write_open(numbers: impl Iterator<Item = u32>, out: &mut Out<'_>) {
    out.text(",\"o\":[");
    let mut before = "";
    for number in numbers.take(DELIVERY_OPEN_MAX) {
        out.text(before);
        out.number(number);
        before = ",";
    }
    out.text("]");
}

/// Writes a member that stands for none where it is not there.
fn write_positive(name: &str, value: u32, out: &mut Out<'_>) {
    write_member(name, Some(value).filter(|value| *value > 0), out);
}

/// Writes a member that is there, behind others.
#[inline(never)]
fn write_member(name: &str, value: Option<u32>, out: &mut Out<'_>) {
    if let Some(value) = value {
        out.text(name);
        out.number(value);
    }
}

/// What an agent that offers delivery says of itself in the content of its presence report.
#[must_use]
pub fn announced(report: Content<'_>) -> Option<Offer> {
    let found = reserved::find(report)?;
    if !matches!(found.value.kind, Kind::Object) {
        return None;
    }
    let control = Control::parse(found.value)?;
    control.greeting.then_some(control.offer())
}
