//! Why a frame is not taken, and why a socket ends: a reason for programs and a text for people
//! (SPEC 8.9).

use core::fmt;

use vinbus_protocol::delivery::Loss;
use vinbus_protocol::envelope::{EnvelopeError, EnvelopeReason};
use vinbus_protocol::json::JsonError;
use vinbus_protocol::request::AnswerRefusal;

use super::server_frame::{Quoted, kind};
use crate::apps::{Fate, SendRefusal};

/// A frame that the portal does not take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It is no JSON object with a `type`.
    NotAFrame,
    /// It is not JSON.
    Json(JsonError),
    /// It is binary.
    Binary,
    /// Its `id` is too long.
    LongId,
    /// Its type needs a value and it has none.
    NoValue,
    /// A part of it is to be this, and is not.
    Value(&'static str),
    /// Its type is not known.
    UnknownType(heapless::String<64>),
    /// The content that it wants sent nests too deep.
    DeepContent(JsonError),
    /// No such app is installed.
    UnknownApp(heapless::String<64>),
    /// Another frame than a hello came first, or none.
    NoHello(&'static str),
    /// A second hello.
    SecondHello,
    /// An app wants what is the screen's.
    ScreenOnly(&'static str),
    /// The screen wants what is an app's.
    AppOnly,
    /// The screen does not say which app.
    WhichApp,
    /// The app has no socket.
    NotRunning,
    /// No popup is on screen that the sender may answer.
    NoPopup,
    /// More frames than can wait came before the welcome.
    Early,
    /// Too many frames.
    Rate {
        /// Frames allowed in a second.
        per_second: u32,
    },
}

impl Refusal {
    /// For programs.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Self::NotAFrame
            | Self::Json(_)
            | Self::Binary
            | Self::LongId
            | Self::NoValue
            | Self::Value(_)
            | Self::WhichApp
            | Self::SecondHello => "bad-frame",
            Self::UnknownType(_) => "unknown-type",
            Self::DeepContent(_) => "bad-content",
            Self::UnknownApp(_) => "unknown-app",
            Self::NoHello(_) => "no-hello",
            Self::ScreenOnly(_) | Self::AppOnly => "not-allowed",
            Self::NotRunning => "not-running",
            Self::NoPopup => "no-popup",
            Self::Early | Self::Rate { .. } => "rate",
        }
    }

    /// The `type` of the frame that tells it.
    pub(crate) fn frame_type(&self) -> &'static str {
        match self {
            Self::DeepContent(_) => kind::NOT_DELIVERED,
            _ => kind::ERROR,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFrame => f.write_str(r#"the frame is not a JSON object with a "type""#),
            Self::Json(error) => write!(f, "the frame is not JSON: {error}"),
            Self::Binary => f.write_str("frames are JSON text, this was binary"),
            Self::LongId => f.write_str(r#""id" has more than 128 bytes; use a short one"#),
            Self::NoValue => f.write_str(r#"frames of this type need a "value""#),
            Self::Value(expected) => write!(f, "a part of the frame is wrong, it is {expected}"),
            Self::UnknownType(name) => write!(f, "the portal knows no type {}", Quoted(name)),
            Self::DeepContent(error) => write!(f, "the content cannot be sent: {error}"),
            Self::UnknownApp(app) => write!(
                f,
                "no app {} is installed in this vehicle; on Linux, start the agent with --app {app}=UID",
                Quoted(app)
            ),
            Self::NoHello(what) => write!(
                f,
                r#"{what}: say {{"type":"hello","value":{{"appId":"…"}}}} first, or open /portal?app=…"#
            ),
            Self::SecondHello => {
                f.write_str("this socket has said hello already; open another one for another app")
            }
            Self::ScreenOnly(what) => write!(f, "only the screen may {what}"),
            Self::AppOnly => {
                f.write_str("the screen is no app; say hello with an appId on another socket")
            }
            Self::WhichApp => f.write_str(r#"the screen names the app: "value":{"appId":"…"}"#),
            Self::NotRunning => f.write_str("the app has no socket; start it first"),
            Self::NoPopup => {
                f.write_str("no popup that you may answer is on screen; it may have closed")
            }
            Self::Early => f.write_str("wait for the \"welcome\" before you send more"),
            Self::Rate { per_second } => write!(
                f,
                "more than {per_second} frames a second; this one was dropped, send it again later"
            ),
        }
    }
}

/// Why the portal ends a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It reads too slowly.
    SlowReader,
    /// Another socket said hello with the same identity.
    TakenOver,
    /// The driver or the app itself closed it.
    Closed,
    /// The app did not report in time that it has loaded.
    NotLoaded,
    /// It kept sending although its frames were refused.
    Flood,
    /// It sent a frame over this limit in bytes.
    FrameTooLarge(usize),
    /// It broke the rules of WebSocket.
    Protocol,
    /// It sent text that is not UTF-8.
    Utf8,
    /// Nothing came for long, not even an answer to a ping.
    Silent,
    /// The agent stops.
    Stopping,
}

impl Ending {
    /// For programs.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::SlowReader => "slow-reader",
            Self::TakenOver => "taken-over",
            Self::Closed => "closed",
            Self::NotLoaded => "not-loaded",
            Self::Flood => "flood",
            Self::FrameTooLarge(_) => "frame-too-large",
            Self::Protocol | Self::Utf8 => "bad-frame",
            Self::Silent => "silent",
            Self::Stopping => "stopping",
        }
    }

    /// Whether the program has itself to blame.
    pub(crate) fn is_fault(self) -> bool {
        match self {
            Self::TakenOver | Self::Closed | Self::Stopping => false,
            Self::SlowReader
            | Self::NotLoaded
            | Self::Flood
            | Self::FrameTooLarge(_)
            | Self::Protocol
            | Self::Utf8
            | Self::Silent => true,
        }
    }

    /// The status code of the closing frame (RFC 6455, 7.4.1).
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Closed => 1000,
            Self::Stopping => 1001,
            Self::Protocol => 1002,
            Self::Utf8 => 1007,
            Self::FrameTooLarge(_) => 1009,
            Self::SlowReader | Self::TakenOver | Self::NotLoaded | Self::Flood | Self::Silent => {
                1008
            }
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SlowReader => "the app did not read its messages; they are kept as pending",
            Self::TakenOver => "another socket said hello with this identity",
            Self::Closed => "the app was closed",
            Self::NotLoaded => {
                "closed, as the app did not send WebPortal.onApplicationLoaded within 10 seconds"
            }
            Self::Flood => "the app kept sending although its frames were refused; slow down",
            Self::FrameTooLarge(max) => {
                return write!(f, "a frame has at most {max} bytes; send less, or in parts");
            }
            Self::Protocol => "the frame breaks the rules of WebSocket (RFC 6455)",
            Self::Utf8 => "the frame is not UTF-8",
            Self::Silent => "nothing came for a minute, not even an answer to a ping",
            Self::Stopping => "the agent stops; connect again later",
        })
    }
}

/// The reason of a message that is longer than may be.
pub(crate) const TOO_LARGE: &str = "too-large";

/// The reason, for programs, of a message that is not sent.
pub(crate) fn send_refusal_reason(refusal: SendRefusal) -> &'static str {
    match refusal {
        SendRefusal::TooLarge { .. } | SendRefusal::HostTakesLess { .. } => TOO_LARGE,
        SendRefusal::UnknownApp => "unknown-app",
        SendRefusal::Content(EnvelopeError {
            reason: EnvelopeReason::TooLarge { .. },
            ..
        }) => TOO_LARGE,
        SendRefusal::Content(_) => "bad-content",
        SendRefusal::Subtopic => "bad-subtopic",
        SendRefusal::ReservedSubtopic => "reserved-subtopic",
        SendRefusal::ReceiptForm => "reserved-member",
        SendRefusal::TooDeep(_) => "too-deep",
        SendRefusal::NotNoted(_) => "not-kept",
        SendRefusal::QueueFull { .. } => "queue-full",
        SendRefusal::Request(AnswerRefusal::Twice) => "answered",
        SendRefusal::Request(AnswerRefusal::Unknown | AnswerRefusal::Over(_)) => "no-request",
    }
}

/// Reason and text of a message that was dropped while it waited.
pub(crate) const DROPPED: (&str, &str) = (
    "dropped",
    "the link was down or slow for so long that newer messages took the place of this one",
);

/// Reason and text of a message that the broker refused.
pub(crate) const REFUSED: (&str, &str) = (
    "refused-by-broker",
    "the broker refused the message; is the vehicle allowed to publish for this partner?",
);

/// Reason and text of a message that went with receipts; `None` for one that is with its partner.
pub(crate) fn fate_reason(fate: Fate) -> Option<(&'static str, BadFate)> {
    let reason = match fate {
        Fate::Confirmed | Fate::WithBroker => return None,
        Fate::RefusedByBroker => REFUSED.0,
        Fate::RefusedByHost(_) => "refused-by-host",
        Fate::Lost(Loss::Expired) => "expired",
        Fate::Lost(Loss::GivenUp) => "given-up",
        Fate::Lost(Loss::PeerRestarted) => "peer-restarted",
    };
    Some((reason, BadFate(fate)))
}

/// What became of a message that is not with its partner, as a sentence.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BadFate(Fate);

impl fmt::Display for BadFate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            // It is no bad one.
            Fate::Confirmed | Fate::WithBroker => "",
            Fate::RefusedByBroker => REFUSED.1,
            Fate::RefusedByHost(step) => {
                return write!(f, "the partner's server does not take the message: {step}");
            }
            Fate::Lost(Loss::Expired) => {
                "the message could not be confirmed in 30 days; it may have arrived"
            }
            Fate::Lost(Loss::GivenUp) => "the message was repeated in vain; it may have arrived",
            Fate::Lost(Loss::PeerRestarted) => {
                "the partner's server lost its memory; it may have had the message"
            }
        })
    }
}
