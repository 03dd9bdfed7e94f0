//! When popups are on screen: one at a time, for 15 s at most, opened no more often than once in
//! 20 s, with 5 that wait.
//!
//! A [`PopupQueue`] knows nothing of apps and shows nothing itself: [`PopupQueue::poll`] says what
//! the screen is to do now. It holds each popup as the payload it arrived in. Its timers count down
//! by elapsed time, so no clock reading can stop them.
//!
//! | screen \ event | push | answer | time runs out | poll |
//! |---|---|---|---|---|
//! | free | waits | ignored | the next may open | shows the oldest, if the interval is over |
//! | shown | waits | answered | answered: timeout | – |
//! | answered | waits | ignored | – | closes it: free |

use crate::envelope::PopupAction;
use crate::limits::{POPUP_INTERVAL_MS, POPUP_QUEUE_MAX, POPUP_SHOWN_MS};
use crate::record_ring::{self, PushError, Record, RecordRing, TooLarge, Usage};

/// Bytes of storage in which one popup on screen and [`POPUP_QUEUE_MAX`] that wait always fit, when
/// their payloads have up to `payload_bytes_max` bytes each.
#[must_use]
pub const fn storage_bytes_for(payload_bytes_max: usize) -> usize {
    record_ring::storage_bytes_for(1 + POPUP_QUEUE_MAX, payload_bytes_max)
}

/// Why a popup is not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopupRefusal {
    /// [`POPUP_QUEUE_MAX`] popups wait already.
    QueueFull,
    /// The buffer has too few free bytes until a popup is closed.
    BufferFull,
    /// The payload is longer than the whole buffer.
    TooLarge(TooLarge),
}

/// What the screen is to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PopupStep {
    /// Show the popup at the [`PopupQueue::front`].
    Show,
    /// Close it; then [`PopupQueue::take_front`] gives its payload.
    Close(PopupAction),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Screen {
    Free,
    Shown { left_ms: u64 },
    Answered(PopupAction),
}

/// The popup on screen and those that wait; see the [module](self) for the rules.
#[derive(Debug)]
pub struct PopupQueue<S> {
    /// The popup on screen, if any, is the first.
    ring: RecordRing<S>,
    screen: Screen,
    /// Time until the next popup may open.
    interval_left_ms: u64,
}

impl<S: AsRef<[u8]> + AsMut<[u8]>> PopupQueue<S> {
    /// No popup; [`storage_bytes_for`] says how much storage never runs short.
    #[must_use]
    pub const fn new(storage: S) -> Self {
        Self {
            ring: RecordRing::new(storage),
            screen: Screen::Free,
            interval_left_ms: 0,
        }
    }

    /// Queues a popup.
    ///
    /// # Errors
    /// A [`PopupRefusal`]; nothing is changed then.
    pub fn push(&mut self, payload: &[u8]) -> Result<(), PopupRefusal> {
        if self.waiting() >= POPUP_QUEUE_MAX {
            return Err(PopupRefusal::QueueFull);
        }
        match self.ring.push(payload) {
            Ok(_) => Ok(()),
            Err(PushError::Full) => Err(PopupRefusal::BufferFull),
            Err(PushError::TooLarge(error)) => Err(PopupRefusal::TooLarge(error)),
        }
    }

    /// Takes note that `elapsed_ms` milliseconds have passed.
    pub fn handle_elapsed(&mut self, elapsed_ms: u64) {
        self.interval_left_ms = self.interval_left_ms.saturating_sub(elapsed_ms);
        if let Screen::Shown { left_ms } = &mut self.screen {
            *left_ms = left_ms.saturating_sub(elapsed_ms);
            if *left_ms == 0 {
                self.screen = Screen::Answered(PopupAction::Timeout);
            }
        }
    }

    /// Takes the user's answer to popup `number`. Returns whether that popup is on screen; else
    /// the answer came too late and changes nothing.
    pub fn handle_answer(&mut self, number: u64, action: PopupAction) -> bool {
        let shown = matches!(self.screen, Screen::Shown { .. })
            && self.front().is_some_and(|popup| popup.number == number);
        if shown {
            self.screen = Screen::Answered(action);
        }
        shown
    }

    /// What the screen is to do now. Each step is given once.
    pub fn poll(&mut self) -> Option<PopupStep> {
        match self.screen {
            Screen::Free if self.opens_now() => {
                self.screen = Screen::Shown {
                    left_ms: POPUP_SHOWN_MS,
                };
                self.interval_left_ms = POPUP_INTERVAL_MS;
                Some(PopupStep::Show)
            }
            Screen::Free | Screen::Shown { .. } => None,
            Screen::Answered(action) => {
                self.screen = Screen::Free;
                Some(PopupStep::Close(action))
            }
        }
    }

    /// Milliseconds until [`Self::poll`] has something new to say; `None` when no time will do.
    #[must_use]
    pub fn next_step_in_ms(&self) -> Option<u64> {
        match self.screen {
            Screen::Free if self.ring.is_empty() => None,
            Screen::Free => Some(self.interval_left_ms),
            Screen::Shown { left_ms } => Some(left_ms),
            Screen::Answered(_) => Some(0),
        }
    }

    /// The popup on screen, or the one that is to open next.
    #[must_use]
    pub fn front(&self) -> Option<Record<'_>> {
        self.ring.front()
    }

    /// Removes the popup that was closed. Its bytes stay readable until the queue is changed again.
    pub fn take_front(&mut self) -> Option<Record<'_>> {
        self.ring.pop_front()
    }

    /// Popups that wait: neither on screen nor about to open.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let on_screen = self.screen != Screen::Free || self.opens_now();
        self.ring.len().saturating_sub(usize::from(on_screen))
    }

    /// How full the queue was.
    #[must_use]
    pub fn usage(&self) -> Usage {
        self.ring.usage()
    }

    fn opens_now(&self) -> bool {
        self.interval_left_ms == 0 && !self.ring.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue_with(popups: u8) -> PopupQueue<[u8; 96]> {
        let mut queue = PopupQueue::new([0; 96]);
        for popup in 0..popups {
            queue.push(&[popup]).unwrap();
        }
        queue
    }

    fn close(queue: &mut PopupQueue<[u8; 96]>, action: PopupAction) -> u8 {
        assert_eq!(queue.poll(), Some(PopupStep::Close(action)));
        queue.take_front().unwrap().bytes[0]
    }

    #[test]
    fn first_popup_opens_at_once() {
        let mut queue = queue_with(1);
        assert_eq!(queue.next_step_in_ms(), Some(0));
        assert_eq!(queue.poll(), Some(PopupStep::Show));
        assert_eq!(queue.poll(), None);
        assert_eq!(queue.next_step_in_ms(), Some(15_000));
    }

    #[test]
    fn popup_closes_after_exactly_fifteen_seconds() {
        let mut queue = queue_with(1);
        queue.poll();
        queue.handle_elapsed(14_999);
        assert_eq!(queue.poll(), None);
        queue.handle_elapsed(1);
        assert_eq!(close(&mut queue, PopupAction::Timeout), 0);
        assert_eq!((queue.poll(), queue.next_step_in_ms()), (None, None));
    }

    #[test]
    fn next_popup_opens_twenty_seconds_after_the_last_one_opened() {
        let mut queue = queue_with(2);
        queue.poll();
        queue.handle_elapsed(3_000);
        assert!(queue.handle_answer(0, PopupAction::Ok));
        assert_eq!(close(&mut queue, PopupAction::Ok), 0);
        assert_eq!(queue.next_step_in_ms(), Some(17_000));
        queue.handle_elapsed(16_999);
        assert_eq!(queue.poll(), None);
        queue.handle_elapsed(1);
        assert_eq!(queue.poll(), Some(PopupStep::Show));
        assert_eq!(queue.front().unwrap().number, 1);
    }

    #[test]
    fn sixth_popup_that_would_wait_is_refused() {
        let mut queue = queue_with(6);
        assert_eq!(queue.waiting(), 5);
        assert_eq!(queue.push(b"x"), Err(PopupRefusal::QueueFull));
        queue.poll();
        assert_eq!(queue.push(b"x"), Err(PopupRefusal::QueueFull));
        queue.handle_answer(0, PopupAction::Cancel);
        assert_eq!(queue.push(b"x"), Err(PopupRefusal::QueueFull));
        close(&mut queue, PopupAction::Cancel);
        assert_eq!(queue.push(b"x"), Err(PopupRefusal::QueueFull));
        queue.handle_elapsed(POPUP_INTERVAL_MS);
        assert_eq!(queue.push(b"x"), Ok(()));
    }

    #[test]
    fn popup_without_room_is_refused_apart_from_one_that_is_too_large() {
        let mut queue = PopupQueue::new([0; 24]);
        queue.push(&[0; 8]).unwrap();
        assert_eq!(queue.push(&[0; 8]), Err(PopupRefusal::BufferFull));
        let error = TooLarge { len: 13, max: 12 };
        assert_eq!(queue.push(&[0; 13]), Err(PopupRefusal::TooLarge(error)));
    }

    #[test]
    fn answer_to_another_popup_or_to_none_changes_nothing() {
        let mut queue = queue_with(2);
        assert!(!queue.handle_answer(0, PopupAction::Ok), "not yet shown");
        queue.poll();
        assert!(!queue.handle_answer(1, PopupAction::Ok), "not on screen");
        assert!(queue.handle_answer(0, PopupAction::Ok));
        assert!(!queue.handle_answer(0, PopupAction::Cancel), "answered");
        assert_eq!(close(&mut queue, PopupAction::Ok), 0);
        assert!(!queue.handle_answer(0, PopupAction::Ok), "closed");
    }

    #[test]
    fn any_amount_of_elapsed_time_is_survived() {
        let mut queue = queue_with(3);
        for _ in 0..3 {
            assert_eq!(queue.poll(), Some(PopupStep::Show));
            queue.handle_elapsed(u64::MAX);
            close(&mut queue, PopupAction::Timeout);
        }
        assert_eq!(queue.next_step_in_ms(), None);
    }
}
