//! A place for one socket: its buffers, and what its task and the agent tell each other.
//!
//! Both run on one thread and take turns, so cells suffice. The receive buffer is the socket's while
//! it reads and the agent's while a frame waits there ([`Mail::Waiting`], [`Mail::Held`]): neither
//! touches it in the other's time, so that content reaches the agent without a copy.

use core::cell::{Cell, RefCell};

use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embassy_sync::signal::Signal;
use vinbus_protocol::app_slot::AppSlot;

use super::limits::CONTROL_BYTES_MAX;
use super::outbox::{Listed, Outbox};
use crate::app_interface::refusal::Ending;

/// The memory of one socket.
#[derive(Debug)]
pub struct PlaceBuffers<'b> {
    /// Holds one frame of the app: [`RECEIVE_BYTES`](super::limits::RECEIVE_BYTES) for frames of
    /// every size.
    pub receive: &'b mut [u8],
    /// Holds what waits for the app: at least
    /// [`OUTBOX_BYTES_MIN`](super::limits::OUTBOX_BYTES_MIN).
    pub outbox: &'b mut [u8],
    /// It is for sockets alone whose address says that they are the screen, which gets no messages:
    /// [`SCREEN_RECEIVE_BYTES`](super::limits::SCREEN_RECEIVE_BYTES) and
    /// [`SCREEN_OUTBOX_BYTES`](super::limits::SCREEN_OUTBOX_BYTES) are enough.
    pub for_screen: bool,
}

/// Wakes the one task that waits for it.
pub(super) type Bell = Signal<NoopRawMutex, ()>;

/// Whose socket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    App {
        slot: AppSlot,
        background: bool,
        /// It confirms every message; until then the message is in the app's ring.
        confirms: bool,
    },
    Screen,
}

/// How far a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is none.
    Free,
    /// It has not said hello.
    Opening,
    /// It has said hello; the agent has not noticed.
    Opened(Peer),
    /// It waits for another socket of the same app to end.
    Queued(Peer),
    /// It speaks for its app, or is the screen.
    Seated(Peer),
    /// It has ended; the agent has not taken back what was not written.
    Gone(Peer),
}

/// The frame in the receive buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mail {
    /// There is none; the socket reads.
    None,
    /// It has this length and waits for the agent.
    Waiting(usize),
    /// It has this length and the agent is at work on it.
    Held(usize),
}

pub(super) struct Place<'b> {
    pub(super) phase: Cell<Phase>,
    pub(super) receive: RefCell<&'b mut [u8]>,
    receive_bytes: usize,
    pub(super) for_screen: bool,
    pub(super) mail: Cell<Mail>,
    pub(super) outbox: RefCell<Outbox<'b>>,
    /// An answer to `getPendingNotifications` was written and the agent has not noticed.
    pub(super) listed: Cell<Option<Listed>>,
    /// The payload of a ping that is to be answered.
    pub(super) pong: Cell<Option<heapless::Vec<u8, CONTROL_BYTES_MAX>>>,
    /// For the reader: the frame was taken.
    pub(super) taken: Bell,
    /// For the writer: there is something to write, or the socket is to end.
    pub(super) to_write: Bell,
}

impl<'b> Place<'b> {
    /// Whether it is the socket of an app that confirms every message.
    pub(super) fn confirms(&self) -> bool {
        matches!(
            self.phase.get(),
            Phase::Seated(Peer::App { confirms: true, .. })
        )
    }

    /// Bytes of the longest frame that it reads.
    pub(super) fn frame_bytes_max(&self) -> usize {
        self.receive_bytes.saturating_sub(CONTROL_BYTES_MAX)
    }

    pub(super) fn new(buffers: PlaceBuffers<'b>) -> Self {
        let PlaceBuffers {
            receive,
            outbox,
            for_screen,
        } = buffers;
        Self {
            for_screen,
            phase: Cell::new(Phase::Free),
            receive_bytes: receive.len(),
            receive: RefCell::new(receive),
            mail: Cell::new(Mail::None),
            outbox: RefCell::new(Outbox::new(outbox)),
            listed: Cell::new(None),
            pong: Cell::new(None),
            taken: Bell::new(),
            to_write: Bell::new(),
        }
    }

    /// Ends the socket; the first reason stays.
    pub(super) fn end(&self, ending: Ending) {
        self.outbox.borrow_mut().end(ending);
        self.to_write.signal(());
    }

    /// Lets the socket read its next frame.
    pub(super) fn take_mail(&self) {
        self.mail.set(Mail::None);
        self.taken.signal(());
    }

    /// Makes it ready for the next socket.
    pub(super) fn free(&self) {
        self.outbox.borrow_mut().reset();
        self.mail.set(Mail::None);
        self.listed.set(None);
        self.pong.set(None);
        self.taken.reset();
        self.to_write.reset();
        self.phase.set(Phase::Free);
    }
}
