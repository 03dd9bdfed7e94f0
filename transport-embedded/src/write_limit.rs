//! A stream that gives up on a peer that takes nothing.

use core::fmt;
use core::future::{Future, poll_fn};
use core::pin::pin;
use core::task::Poll;

use embassy_time::{Duration, Instant, Timer};
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};

/// A stream whose writes end in an error when they take too long. A write that is dropped and begun
/// again has what is left of its time: the agent drops one whenever an app has something to say.
/// Reads wait as long as they like: the keep-alive of MQTT looks after them.
#[derive(Debug)]
pub(crate) struct WriteLimit<IO> {
    stream: IO,
    limit: Duration,
    /// By when the peer has to take something, if it is being asked to.
    until: Option<Instant>,
}

impl<IO> WriteLimit<IO> {
    pub(crate) const fn new(stream: IO, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            until: None,
        }
    }

    fn until(&mut self) -> Instant {
        let limit = self.limit;
        *self.until.get_or_insert_with(|| Instant::now() + limit)
    }
}

/// Why a stream cannot be used any more.
#[derive(Debug)]
pub(crate) enum WriteLimitError<E> {
    /// The stream's own error.
    Stream(E),
    /// The peer takes nothing.
    Stalled,
}

impl<E: fmt::Display> fmt::Display for WriteLimitError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(error) => error.fmt(f),
            Self::Stalled => f.write_str("the peer takes nothing"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for WriteLimitError<E> {}

impl<E: embedded_io_async::Error> embedded_io_async::Error for WriteLimitError<E> {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Stream(error) => error.kind(),
            Self::Stalled => ErrorKind::TimedOut,
        }
    }
}

impl<IO: ErrorType> ErrorType for WriteLimit<IO> {
    type Error = WriteLimitError<IO::Error>;
}

impl<IO: Read> Read for WriteLimit<IO> {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Self::Error> {
        let read = self.stream.read(buffer).await;
        read.map_err(WriteLimitError::Stream)
    }
}

impl<IO: Write> Write for WriteLimit<IO> {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Self::Error> {
        let written = in_time(self.until(), self.stream.write(bytes)).await?;
        self.until = None;
        written.map_err(WriteLimitError::Stream)
    }

    async fn flush(&mut self) -> Result<(), Self::Error> {
        let flushed = in_time(self.until(), self.stream.flush()).await?;
        self.until = None;
        flushed.map_err(WriteLimitError::Stream)
    }
}

/// A timer of embassy-time is never done when it is first asked, and so never if it is always dropped.
async fn in_time<T, E>(
    until: Instant,
    future: impl Future<Output = T>,
) -> Result<T, WriteLimitError<E>> {
    let (mut future, mut timer) = (pin!(future), pin!(Timer::at(until)));
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending if until <= Instant::now() => Poll::Ready(Err(WriteLimitError::Stalled)),
        Poll::Pending => {
            let late = timer.as_mut().poll(cx);
            late.map(|()| Err(WriteLimitError::Stalled))
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use core::convert::Infallible;
    use core::future::pending;
    use core::task::{Context, Waker};

    use super::*;

    /// A peer that takes nothing.
    struct Full;

    impl ErrorType for Full {
        type Error = Infallible;
    }

    impl Write for Full {
        async fn write(&mut self, _: &[u8]) -> Result<usize, Infallible> {
            pending().await
        }

        async fn flush(&mut self) -> Result<(), Infallible> {
            pending().await
        }
    }

    #[test]
    fn write_that_is_dropped_and_begun_again_has_what_is_left_of_its_time() {
        let began = Instant::now();
        let mut stream = WriteLimit::new(Full, Duration::from_millis(10));
        let mut context = Context::from_waker(Waker::noop());
        while pin!(stream.write(b"ping")).poll(&mut context).is_pending() {
            assert!(
                began.elapsed() < Duration::from_secs(60),
                "it goes on for ever"
            );
        }
    }
}
