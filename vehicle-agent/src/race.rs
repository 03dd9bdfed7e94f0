//! Waiting for the first of several futures, without a heap.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::Poll;

/// Which of the futures was first.
pub(crate) enum First<S, T, A, B> {
    /// The first argument.
    Stop(S),
    /// The second argument.
    Timer(T),
    /// The third argument.
    Link(A),
    /// The fourth argument.
    Apps(B),
}

/// Polls all four until one is ready and drops the others. `link_first` breaks the tie between the
/// third and the fourth; a caller that alternates it starves neither.
pub(crate) async fn first_of<S, T, A, B>(
    stop: impl Future<Output = S>,
    timer: impl Future<Output = T>,
    link: impl Future<Output = A>,
    apps: impl Future<Output = B>,
    link_first: bool,
) -> First<S, T, A, B> {
    let (mut stop, mut timer) = (pin!(stop), pin!(timer));
    let (mut link, mut apps) = (pin!(link), pin!(apps));
    poll_fn(|cx| {
        if let Poll::Ready(value) = stop.as_mut().poll(cx) {
            return Poll::Ready(First::Stop(value));
        }
        if let Poll::Ready(value) = timer.as_mut().poll(cx) {
            return Poll::Ready(First::Timer(value));
        }
        for turn in [link_first, !link_first] {
            if turn {
                if let Poll::Ready(value) = link.as_mut().poll(cx) {
                    return Poll::Ready(First::Link(value));
                }
            } else if let Poll::Ready(value) = apps.as_mut().poll(cx) {
                return Poll::Ready(First::Apps(value));
            }
        }
        Poll::Pending
    })
    .await
}

/// What `future` comes to, unless `end` comes first.
pub(crate) async fn unless<T>(
    mut end: Pin<&mut impl Future<Output = ()>>,
    mut future: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => end.as_mut().poll(cx).map(|()| None),
    })
    .await
}
