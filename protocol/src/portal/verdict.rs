//! What the portal answers to its inputs: where a message went, or why it was refused, and what it
//! wants done.

use core::fmt;

use crate::app_slot::AppSlot;
use crate::envelope::{AppMessage, Content, EnvelopeError, Popup, PopupAction};

/// What became of a downlink message that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition<'p> {
    /// The app is in the foreground: hand it the content now. The portal keeps no copy; if the app
    /// cannot take it, [`Portal::handle_undelivered`](super::Portal::handle_undelivered) does.
    Deliver {
        /// The app.
        slot: AppSlot,
        /// The number of the message among all those of the app, by which it finds its place if it
        /// comes back.
        number: u64,
        /// What it gets.
        content: Content<'p>,
    },
    /// The app is not in the foreground, or has no room for it: the message waits in its pending ring.
    Pending {
        /// The app.
        slot: AppSlot,
        /// Older messages of the same app that were dropped for it.
        evicted: u32,
    },
    /// The popup will be shown in its turn; [`Output::ShowPopup`] says when.
    PopupQueued {
        /// The app.
        slot: AppSlot,
    },
}

/// Why a downlink message was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The payload is not a downlink envelope.
    Envelope(EnvelopeError),
    /// No app with this `idApp` is installed.
    UnknownApp,
    /// The app belongs to another partner than the one that sent the message.
    ForeignUid {
        /// The app that was meant.
        slot: AppSlot,
    },
    /// Too many popups wait, or the popup buffer is full. The app is told with
    /// [`Output::PopupOverflow`].
    PopupOverflow {
        /// The app.
        slot: AppSlot,
        /// Popups that wait.
        waiting: usize,
    },
    /// What the app would get is longer than this vehicle can hold for it.
    TooLarge {
        /// The app.
        slot: AppSlot,
        /// Bytes to hold.
        len: usize,
        /// Bytes that can be held.
        max: usize,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Envelope(error) => error.fmt(f),
            Self::UnknownApp => f.write_str("no app with this `idApp` is installed"),
            Self::ForeignUid { slot } => {
                write!(f, "app {slot} belongs to another UID than the topic's")
            }
            Self::PopupOverflow { slot, waiting } => write!(
                f,
                "no room for a popup of app {slot}: {waiting} wait; send fewer, 20 s apart"
            ),
            Self::TooLarge { slot, len, max } => write!(
                f,
                "app {slot} would get {len} bytes, this vehicle can hold {max}: send less"
            ),
        }
    }
}

impl core::error::Error for Refusal {}

/// Why an app was not installed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstallError {
    /// The portal has room for `max` apps.
    TableFull {
        /// Apps that can be installed.
        max: usize,
    },
    /// An app with this identifier is installed already.
    Duplicate {
        /// Where.
        slot: AppSlot,
    },
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableFull { max } => write!(f, "there is room for {max} apps only"),
            Self::Duplicate { slot } => {
                write!(f, "an app with this identifier is installed as app {slot}")
            }
        }
    }
}

impl core::error::Error for InstallError {}

/// Why a report about an app was ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppEventError {
    /// No app is installed in this slot.
    UnknownSlot,
    /// The app is stopped: it has to be launched first. An app that was closed because it did not
    /// load in time sees this, too.
    NotLaunched,
}

impl fmt::Display for AppEventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownSlot => "no app is installed in this slot",
            Self::NotLaunched => "the app is stopped: launch it first",
        })
    }
}

impl core::error::Error for AppEventError {}

/// What the user did with a popup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PopupAnswer {
    /// Accepted it.
    Ok,
    /// Refused it, or went back.
    Cancel,
}

impl From<PopupAnswer> for PopupAction {
    fn from(answer: PopupAnswer) -> Self {
        match answer {
            PopupAnswer::Ok => Self::Ok,
            PopupAnswer::Cancel => Self::Cancel,
        }
    }
}

/// What the portal wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output<'a> {
    /// Show this popup, over whatever is on screen.
    ShowPopup {
        /// The app on whose behalf.
        slot: AppSlot,
        /// Which popup; the answer names it.
        number: u64,
        /// What it shows.
        popup: Popup<'a>,
    },
    /// Take the popup off the screen.
    ClosePopup {
        /// The app on whose behalf it was shown.
        slot: AppSlot,
        /// Which popup.
        number: u64,
        /// What became of it.
        action: PopupAction,
        /// To be handed to the app now, as it is in the foreground; `None` when the message went to
        /// its pending ring.
        deliver: Option<Handover<'a>>,
    },
    /// Tell the app (`WebPortal.OverflowPopup`) that popups on its behalf were refused. An app that
    /// is not loaded is told once it is.
    PopupOverflow {
        /// The app.
        slot: AppSlot,
        /// Popups refused since it was last told.
        refused: u32,
    },
    /// Tell the app (`WebPortal.onApplicationHide`) that another one has the screen.
    HideApp {
        /// The app.
        slot: AppSlot,
    },
    /// Close the app: it did not report that it is loaded in time. It counts as stopped.
    CloseApp {
        /// The app.
        slot: AppSlot,
    },
}

/// A message for an app in the foreground.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover<'a> {
    /// Its number, as in [`Disposition::Deliver`].
    pub number: u64,
    /// What the app gets.
    pub message: AppMessage<'a>,
}

/// What the portal has seen. What became of each app's pending messages is in
/// [`PendingCounters`](crate::pending::PendingCounters).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortalCounters {
    /// Messages for an app in the foreground, to be handed over at once.
    pub delivered: u64,
    /// Messages put into pending rings.
    pub pending: u64,
    /// Payloads that are not envelopes.
    pub refused_envelope: u64,
    /// Messages for an app that is not installed.
    pub refused_unknown_app: u64,
    /// Messages for an app of another partner.
    pub refused_foreign_uid: u64,
    /// Messages that the vehicle cannot hold.
    pub refused_too_large: u64,
    /// Popups taken in.
    pub popups_queued: u64,
    /// Popups refused because too many waited, or because the popup buffer was full.
    pub popups_overflowed: u64,
    /// Popups shown.
    pub popups_shown: u64,
    /// Popups accepted by the user.
    pub popups_ok: u64,
    /// Popups refused by the user.
    pub popups_cancelled: u64,
    /// Popups nobody answered.
    pub popups_timed_out: u64,
    /// Answers to popups that are not on screen.
    pub answers_ignored: u64,
    /// Reports about apps that were ignored.
    pub events_ignored: u64,
    /// Apps closed because they did not load in time.
    pub apps_closed: u64,
}
