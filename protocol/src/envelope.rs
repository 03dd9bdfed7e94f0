//! The JSON envelopes that vehicles, hosts and apps exchange, decoded without copying and encoded
//! so that equal messages are equal bytes.
//!
//! | type | from -> to | shape |
//! |---|---|---|
//! | [`Downlink`] | partner -> vehicle | `{"idApp","popup":false,"content"}` or `{"idApp","popup":true,"popupBtn","popupText","content"?}` |
//! | [`Uplink`] | vehicle -> partner | `{"content"}` |
//! | [`AppMessage`] | agent -> app | `{"content"}`, `{"requestId","content"}` or `{"popupAction","content"?}` |
//!
//! `content` is the app's own JSON. It is checked and then travels byte for byte: nothing here
//! interprets, reorders or reformats it.
//!
//! Decoding checks the whole payload, in this order: its size, UTF-8, JSON, then the envelope's
//! members. As in JavaScript, the last of several members with the same name counts, and names may
//! be written with escapes. Members that a shape does not know are ignored, and so are those
//! that only a popup has, when the message is none. A missing `popup` or `popupBtn` is `false`.
//!
//! Encoding writes no white space and the members in the order of the table.

mod app;
mod canonical;
mod content;
mod downlink;
pub(crate) mod encode;
mod error;
mod members;
mod popup;
mod uplink;

pub use app::{AppMessage, PopupAction};
pub use content::Content;
pub(crate) use downlink::write_escaped;
pub use downlink::{Downlink, DownlinkBody};
pub use encode::EncodeError;
pub(crate) use encode::Out;
pub use error::{EnvelopeError, EnvelopeReason, Member};
pub use popup::{Popup, PopupText};
pub use uplink::Uplink;

pub(crate) use members::{only_value, text};

pub use crate::json::JsonReason;
