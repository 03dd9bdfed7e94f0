//! The side of the agent that faces the apps, as one trait: [`Apps`].
//!
//! On Linux that is the portal's WebSocket, in the simulator a generator, on a board whatever
//! shows its apps. The agent decides who gets what; the implementation carries it.
//!
//! A message given to [`Apps::deliver`] is the implementation's to keep: it reaches the app or comes
//! back as [`Request::Return`] with its number, so that it becomes pending instead of lost, and takes
//! its place among what arrived before and since.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Loss, Step, TooDeep};
use vinbus_protocol::envelope::{AppMessage, EnvelopeError, Popup, PopupAction};
use vinbus_protocol::health::Health;
use vinbus_protocol::record_ring::Record;
use vinbus_protocol::request::{AnswerRefusal, RequestId};

use crate::desk::{Counters, DeliveryCounters, DownlinkRefusal};
use crate::notes::{NotNoted, Note};

/// The apps of one vehicle. No method has a default: one that wraps another would inherit it in place of
/// what the other does.
pub trait Apps {
    /// Waits for what an app or the driver wants next. Cancel safe.
    #[expect(
        async_fn_in_trait,
        reason = "executors of boards are single-threaded; on Linux the concrete type decides about Send"
    )]
    async fn next(&mut self) -> Request<'_>;

    /// Hands a message to an app in the foreground; never waits. `number` is its number among all
    /// messages of the app.
    fn deliver(&mut self, slot: AppSlot, number: u64, message: AppMessage<'_>);

    /// Bytes of the longest encoded message that [`Apps::deliver`] is to be given for an app now. A longer
    /// one, and those behind it, are kept as pending until there is room: see [`Notice::Short`].
    /// `usize::MAX` where that does not matter.
    fn room(&self, slot: AppSlot) -> usize;

    /// Whether the app has the message with this number, which it is handed next, only once [`Request::Written`] says so:
    /// before [`Request::Unloaded`], unless the message comes back or is lost. `false` where it has it at once.
    fn watch(&mut self, slot: AppSlot, number: u64) -> bool;

    /// Whether an app confirms every message: each is kept as pending until then, those for the
    /// foreground included, and told by [`Apps::kept`]; none is given to [`Apps::deliver`].
    fn confirms(&self, slot: AppSlot) -> bool;

    /// Hands an app its pending messages, encoded as [`AppMessage`]s and oldest first, in answer to
    /// [`Request::TakePending`]. With `kept` they stay pending until [`Request::ConfirmPending`];
    /// else they are the implementation's to keep, as with [`Apps::deliver`].
    fn hand_out<'r>(
        &mut self,
        slot: AppSlot,
        records: impl Iterator<Item = Record<'r>>,
        kept: bool,
    );

    /// Takes note that a message is now kept as pending. For implementations that show an app its
    /// messages as they come; others answer [`Told::No`].
    fn kept(&mut self, slot: AppSlot, kept: Kept<'_>) -> Told;

    /// Tells an app what became of the [`Request::Send`] or [`Request::Answer`] that came last; called before
    /// [`Apps::next`] is called again.
    fn answer(&mut self, slot: AppSlot, outcome: Result<(), SendRefusal>);

    /// In place of [`Apps::answer`], for a message that goes with receipts: it is accepted under this
    /// ticket, which [`Notice::Settled`] names. Tickets grow.
    ///
    /// # Errors
    /// A [`SendRefusal`], if what becomes of it could not be told: then it is not taken, and
    /// [`Apps::answer`] follows.
    fn accepted(&mut self, slot: AppSlot, ticket: u64) -> Result<(), SendRefusal>;

    /// Takes a note that is to survive the agent. What keeps nothing over its end answers `Ok`.
    ///
    /// # Errors
    /// [`NotNoted`]; then nothing of it is kept.
    fn note(&mut self, note: Note<'_>) -> Result<(), NotNoted>;

    /// Has all notes survive a loss of power, too.
    ///
    /// # Errors
    /// [`NotNoted`].
    fn keep(&mut self) -> Result<(), NotNoted>;

    /// Tells an app something; never waits.
    fn tell(&mut self, slot: AppSlot, notice: Notice<'_>);

    /// Tells every app whether the link is up.
    fn link_changed(&mut self, up: bool);

    /// Takes note, for a log, of a message that arrived and reached no app. Whoever sent it decides
    /// how often this is called.
    fn downlink_refused(&mut self, topic: &str, refusal: DownlinkRefusal);

    /// Takes note of the counters, after every event. Who shows no `delivery` does not call it, so that a board has
    /// nothing of it in its image.
    fn counted(&mut self, counters: &Counters, delivery: impl FnOnce() -> DeliveryCounters);

    /// Adds to a report of health what is known on this side of the agent alone: the platform, how its
    /// last run ended, its stack, and the troubles with apps, on top of what stands there.
    fn examine<'h>(&'h self, health: &mut Health<'h>);
}

/// A message that is now kept as pending.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'r> {
    /// The message, an encoded [`AppMessage`], and its number.
    pub record: Record<'r>,
    /// The number of the oldest one still kept.
    pub oldest: u64,
    /// Messages of the app that were dropped so far because newer ones took their place.
    pub lost: u64,
    /// The app is in the foreground.
    pub current: bool,
}

/// Whether an app is told of a message that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It is, so that [`Request::ConfirmPending`] is about this one as well.
    Yes,
    /// It is not: it asks for its messages.
    No,
    /// There is no room for it now. It is to be told of this message, and then of those behind it,
    /// after [`Request::Room`].
    Later,
}

/// What an app, or the driver through the screen, wants of the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request<'r> {
    /// The app asks for a message to its partner.
    Send {
        /// The app.
        slot: AppSlot,
        /// Where below the vehicle's topic it goes; `None` for the topic itself.
        subtopic: Option<&'r str>,
        /// The app's data: any JSON value.
        content: &'r [u8],
        /// It is to be repeated until the host has it on disk (SPEC 16). Where the agent offers no
        /// receipts, it goes as any other.
        receipts: bool,
    },
    /// The app answers a request of its partner.
    Answer {
        /// The app.
        slot: AppSlot,
        /// The request.
        id: RequestId,
        /// The app's data: any JSON value.
        content: &'r [u8],
    },
    /// The app asks for its pending messages.
    TakePending {
        /// The app.
        slot: AppSlot,
        /// Keep them until they are confirmed.
        keep: bool,
    },
    /// The app has taken its pending messages up to this number, of those that it was handed or told
    /// of ([`Apps::kept`]).
    ConfirmPending {
        /// The app.
        slot: AppSlot,
        /// The number of the last one.
        upto: u64,
    },
    /// The app has taken these of its pending messages.
    ConfirmEach {
        /// The app.
        slot: AppSlot,
        /// Their numbers.
        numbers: Numbers<'r>,
    },
    /// A message of which [`Apps::watch`] was asked is written to the app.
    #[cfg(feature = "notes")]
    Written {
        /// The app.
        slot: AppSlot,
        /// The number that it was handed over with.
        number: u64,
    },
    /// Something that was handed to the app did not reach it.
    Return {
        /// The app.
        slot: AppSlot,
        /// The number that it was handed over with.
        number: u64,
        /// The encoded [`AppMessage`].
        message: &'r [u8],
    },
    /// An app whose messages found no room has some more.
    Room(AppSlot),
    /// The app started; it is to report that it has loaded.
    Launched(AppSlot),
    /// The app has loaded.
    Loaded(AppSlot),
    /// The app came to the foreground.
    Shown(AppSlot),
    /// The app went to the background.
    Hidden(AppSlot),
    /// The app was closed, or is gone.
    Unloaded(AppSlot),
    /// The head unit became active, or inactive.
    Nac {
        /// It is active.
        active: bool,
    },
    /// The driver answered the popup on screen.
    PopupAnswered {
        /// The number it was shown with.
        number: u64,
        /// With OK rather than back.
        ok: bool,
    },
}

/// Numbers of messages, as JSON lists them: decimal, with commas between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Numbers<'r>(pub &'r str);

impl<'r> Numbers<'r> {
    /// Each of them, in their order; `None` for what is no number.
    pub fn each(self) -> impl Iterator<Item = Option<u64>> + use<'r> {
        self.0
            .split(',')
            .map(|number| number.trim_ascii().parse().ok())
    }
}

/// What an app is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notice<'n> {
    /// A message of the app is with the broker. Messages of one app meet their fates in the order
    /// in which they were sent, but one that is on its way stays while others are dropped.
    Delivered,
    /// A message of the app was dropped, as the queue was full of newer ones: its oldest, or the one
    /// behind that if its oldest is on its way.
    Dropped {
        /// Whose message is on its way to the broker, if one is.
        in_flight: Option<AppSlot>,
    },
    /// The broker refused a message of the app.
    Refused,
    /// What became of a message that went with receipts.
    Settled {
        /// The ticket that it was accepted under.
        ticket: u64,
        /// Its fate.
        fate: Fate,
    },
    /// Not for the app itself: messages for it wait until there is room, of which [`Request::Room`] is
    /// to tell.
    Short,
    /// A request that the app has is over without its answer.
    RequestOver {
        /// The request.
        id: RequestId,
        /// Why, as a word: `expired` or `cancelled`.
        reason: &'static str,
    },
    /// Another app has the screen.
    Hide,
    /// The app did not load in time and is closed.
    NotLoaded,
    /// The app's popup is on screen.
    PopupShown {
        /// Its number, for the answer.
        number: u64,
        /// What it shows.
        popup: Popup<'n>,
    },
    /// The app's popup is off the screen.
    PopupClosed {
        /// Its number.
        number: u64,
        /// How it ended.
        action: PopupAction,
    },
    /// Popups on the app's behalf were refused, as too many waited.
    PopupOverflow {
        /// How many since the app was last told.
        refused: u32,
    },
}

/// What became of a message that an app sent with receipts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The host has it on disk.
    Confirmed,
    /// It went without receipts, and the broker has it.
    WithBroker,
    /// The broker refused it.
    RefusedByBroker,
    /// The host refused it, and this is why.
    RefusedByHost(Step),
    /// It is not sent any more, and may have arrived.
    Lost(Loss),
}

/// Why a message of an app is not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendRefusal {
    /// The message would have `len` bytes with its envelope, at most `max` are allowed.
    TooLarge {
        /// Bytes of the encoded message.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// The content has `len` bytes, and the partner's host takes at most `max` in parts.
    HostTakesLess {
        /// Bytes of the content.
        len: usize,
        /// Bytes that are taken.
        max: usize,
    },
    /// The app is not installed.
    UnknownApp,
    /// The content is not JSON, or is too large or too deep for any envelope.
    Content(EnvelopeError),
    /// The subtopic cannot be part of a topic.
    Subtopic,
    /// The subtopic is one of the agent's own.
    ReservedSubtopic,
    /// It could not be noted for a later life of the agent.
    NotNoted(NotNoted),
    /// The content is of the form that receipts have on the wire.
    ReceiptForm,
    /// The content nests too deep to carry what receipts need.
    TooDeep(TooDeep),
    /// The link is slow or down and `waiting` messages wait already.
    QueueFull {
        /// Messages that wait.
        waiting: usize,
    },
    /// It is an answer, and none is awaited.
    Request(AnswerRefusal),
}

impl core::fmt::Display for SendRefusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::TooLarge { len, max } => write!(
                f,
                "the message has {len} bytes with its envelope, at most {max} are allowed; send less, or in parts"
            ),
            Self::HostTakesLess { len, max } => write!(
                f,
                "the content has {len} bytes, and the partner's server takes at most {max}; send less, or in parts"
            ),
            Self::Content(error) => error.fmt(f),
            Self::UnknownApp => f.write_str("the app is not installed in this vehicle"),
            Self::Request(refusal) => refusal.fmt(f),
            Self::Subtopic => f.write_str(
                "the subtopic is empty, longer than 64 bytes, or holds '+', '#' or control characters",
            ),
            Self::ReservedSubtopic => {
                f.write_str("subtopics below 'vinbus' are the agent's own; use another")
            }
            Self::ReceiptForm => f.write_str(
                "a member 'vinbus' of this form is the agent's own; call it otherwise, or send with receipts",
            ),
            Self::TooDeep(error) => error.fmt(f),
            Self::NotNoted(error) => error.fmt(f),
            Self::QueueFull { waiting } => write!(
                f,
                "{waiting} messages wait for the link already; try again when it is up"
            ),
        }
    }
}

impl core::error::Error for SendRefusal {}
