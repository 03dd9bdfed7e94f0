//! The two ends of a line: a stream for those who speak MQTT, and the task that pumps it.

use core::cell::RefCell;
use core::fmt;
use core::future::poll_fn;
use core::pin::pin;
use core::task::{Context, Poll};

use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::RawMutex;
use embassy_sync::pipe::Pipe;
use embassy_sync::waitqueue::WakerRegistration;
use embedded_io_async::{ErrorType, Read, Write};

use super::error::LineError;

/// A TLS connection behind two pipes, of `UP` bytes to the broker and `DOWN` bytes from it.
///
/// | stage | `dial` | the pump | the stream or the dial is dropped |
/// |---|---|---|---|
/// | idle | wanted | waits | - |
/// | wanted | refused | opening | idle |
/// | opening | refused | open, or failed | hung up |
/// | failed | takes the error: idle | waits | idle |
/// | open | refused | ended | hung up |
/// | ended | refused | waits | idle |
/// | hung up | waits | closes: idle | - |
pub struct Line<M: RawMutex, const UP: usize, const DOWN: usize> {
    pub(super) up: Pipe<M, UP>,
    pub(super) down: Pipe<M, DOWN>,
    state: Mutex<M, RefCell<State>>,
}

struct State {
    stage: Stage,
    /// Why the last connection ended, unless it ended in order.
    failure: Option<LineError>,
    link: WakerRegistration,
    pump: WakerRegistration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Idle,
    Wanted,
    Opening,
    Failed(LineError),
    Open,
    Ended,
    HungUp,
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> fmt::Debug for Line<M, UP, DOWN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (stage, failure) = self.with(|state| (state.stage, state.failure));
        f.debug_struct("Line")
            .field("stage", &stage)
            .field("failure", &failure)
            .finish_non_exhaustive()
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> Default for Line<M, UP, DOWN> {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> Line<M, UP, DOWN> {
    /// An idle line.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            up: Pipe::new(),
            down: Pipe::new(),
            state: Mutex::new(RefCell::new(State {
                stage: Stage::Idle,
                failure: None,
                link: WakerRegistration::new(),
                pump: WakerRegistration::new(),
            })),
        }
    }

    /// Asks the pump for a connection and waits until it is open, TLS done: as long as the time
    /// limits of the [`Client`](super::Client) together at most, once the pump runs.
    ///
    /// # Errors
    /// A [`LineError`].
    pub async fn dial(&self) -> Result<LineStream<'_, M, UP, DOWN>, LineError> {
        self.link_waits(|state| match state.stage {
            Stage::Idle => {
                state.failure = None;
                self.up.clear();
                self.down.clear();
                state.go(Stage::Wanted);
                Poll::Ready(Ok(()))
            }
            // The one before is about to end.
            Stage::HungUp => Poll::Pending,
            _ => Poll::Ready(Err(LineError::InUse)),
        })
        .await?;
        // Hangs up if this future is dropped.
        let stream = LineStream { line: self };
        self.link_waits(|state| match state.stage {
            Stage::Open | Stage::Ended => Poll::Ready(Ok(())),
            Stage::Failed(error) => Poll::Ready(Err(error)),
            _ => Poll::Pending,
        })
        .await?;
        Ok(stream)
    }

    /// Why the last connection ended, unless it ended in order or goes on.
    pub fn failure(&self) -> Option<LineError> {
        self.with(|state| state.failure)
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        self.state.lock(|state| act(&mut state.borrow_mut()))
    }

    async fn link_waits<T>(&self, mut act: impl FnMut(&mut State) -> Poll<T>) -> T {
        poll_fn(|cx| {
            self.with(|state| {
                state.link.register(cx.waker());
                act(state)
            })
        })
        .await
    }

    async fn pump_waits(&self, mut ready: impl FnMut(&mut State) -> bool) {
        poll_fn(|cx| {
            self.with(|state| {
                state.pump.register(cx.waker());
                if ready(state) {
                    Poll::Ready(())
                } else {
                    Poll::Pending
                }
            })
        })
        .await;
    }

    fn hang_up(&self) {
        self.with(|state| match state.stage {
            Stage::Opening | Stage::Open => state.go(Stage::HungUp),
            Stage::Wanted | Stage::Failed(_) | Stage::Ended => state.go(Stage::Idle),
            Stage::Idle | Stage::HungUp => {}
        });
    }

    /// The pump: waits until somebody wants a connection.
    pub(super) async fn wanted(&self) -> PumpSide<'_, M, UP, DOWN> {
        self.pump_waits(|state| {
            let wanted = state.stage == Stage::Wanted;
            if wanted {
                state.go(Stage::Opening);
            }
            wanted
        })
        .await;
        PumpSide { line: self }
    }

    /// The pump: waits until nobody wants the connection any more.
    pub(super) async fn hung_up(&self) {
        self.pump_waits(|state| state.stage == Stage::HungUp).await;
    }

    /// The pump: whether nobody wants the connection any more.
    pub(super) fn is_hung_up(&self) -> bool {
        self.with(|state| state.stage == Stage::HungUp)
    }
}

impl State {
    fn go(&mut self, stage: Stage) {
        self.stage = stage;
        self.link.wake();
        self.pump.wake();
    }
}

/// The pump's end of one connection. Dropped before it is [`PumpSide::ended`], the pump is gone.
pub(super) struct PumpSide<'l, M: RawMutex, const UP: usize, const DOWN: usize> {
    line: &'l Line<M, UP, DOWN>,
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> PumpSide<'_, M, UP, DOWN> {
    /// The connection is open.
    pub(super) fn opened(&self) {
        self.line.with(|state| {
            if state.stage == Stage::Opening {
                state.go(Stage::Open);
            }
        });
    }

    /// The connection did not come up or is over; without a reason, in order.
    pub(super) fn ended(self, reason: Option<LineError>) {
        self.end(reason);
        core::mem::forget(self);
    }

    fn end(&self, reason: Option<LineError>) {
        self.line.with(|state| {
            if state.stage == Stage::HungUp {
                // Whatever happened to the goodbye, nobody waits for it.
                state.go(Stage::Idle);
                return;
            }
            state.failure = reason;
            state.go(match (state.stage, reason) {
                (Stage::Opening, Some(error)) => Stage::Failed(error),
                _ => Stage::Ended,
            });
        });
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> Drop for PumpSide<'_, M, UP, DOWN> {
    fn drop(&mut self) {
        self.end(Some(LineError::NoPump));
    }
}

/// An open connection of a [`Line`]. Reads and writes are cancel safe. Dropping it sends what has
/// been written, says goodbye to the broker and makes the line ready for the next one.
pub struct LineStream<'l, M: RawMutex, const UP: usize, const DOWN: usize> {
    line: &'l Line<M, UP, DOWN>,
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> fmt::Debug for LineStream<'_, M, UP, DOWN> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("LineStream").field(self.line).finish()
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> Drop for LineStream<'_, M, UP, DOWN> {
    fn drop(&mut self) {
        self.line.hang_up();
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> LineStream<'_, M, UP, DOWN> {
    /// How the connection ended, if it has.
    fn end(&self, cx: &Context<'_>) -> Option<Result<(), LineError>> {
        self.line.with(|state| {
            state.link.register(cx.waker());
            let end = match state.failure {
                None => Ok(()),
                Some(error) => Err(error),
            };
            (state.stage == Stage::Ended).then_some(end)
        })
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> ErrorType for LineStream<'_, M, UP, DOWN> {
    type Error = LineError;
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> Read for LineStream<'_, M, UP, DOWN> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, LineError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| {
            // Asked before the pipe, which the pump fills before it ends the connection.
            let end = self.end(cx);
            match pin!(self.line.down.read(buffer)).poll(cx) {
                Poll::Ready(len) => Poll::Ready(Ok(len)),
                Poll::Pending => match end {
                    Some(end) => Poll::Ready(end.map(|()| 0)),
                    None => Poll::Pending,
                },
            }
        })
        .await
    }
}

impl<M: RawMutex, const UP: usize, const DOWN: usize> Write for LineStream<'_, M, UP, DOWN> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, LineError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        poll_fn(|cx| match self.end(cx) {
            Some(end) => Poll::Ready(Err(end.err().unwrap_or(LineError::Closed))),
            None => pin!(self.line.up.write(bytes)).poll(cx).map(Ok),
        })
        .await
    }

    /// Does nothing: the pump sends what it finds, as soon as it can.
    async fn flush(&mut self) -> Result<(), LineError> {
        Ok(())
    }
}
