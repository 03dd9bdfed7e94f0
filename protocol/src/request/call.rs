//! One request at the end that made it: what is to be told to the vehicle, and until when.
//!
//! | state | event | then |
//! |---|---|---|
//! | open | the answer comes | over |
//! | open | the vehicle tells that it is answered | answered: the answer is asked for until it comes |
//! | open, answered | the deadline | late: the answer is taken for those who ask again, none is asked for |
//! | open | its caller cancels it | cancelled: the vehicle is told until it has an end there, or the deadline |
//! | open, answered, cancelled, late | the answer comes | over |
//! | open, cancelled | it ends in the vehicle without an answer | over |
//! | cancelled, late | [`REQUEST_LATE_MS`] after the deadline | over |

use crate::limits::{
    DELIVERY_REPEAT_MS_INITIAL, DELIVERY_REPEAT_MS_MAX, REQUEST_LATE_MS, REQUEST_TIMEOUT_S_MAX,
};

use super::{Order, RequestId};

/// Where a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallState {
    /// Its answer is awaited.
    Open,
    /// The vehicle has told that it is answered, and the answer has not come.
    Answered,
    /// Its caller has cancelled it.
    Cancelled,
    /// Its deadline has passed.
    Late,
    /// Nothing more is to come.
    Over,
}

/// One request at the end that made it. `now_ms` is any clock that does not go back.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    id: RequestId,
    deadline_ms: u64,
    state: CallState,
    /// When an order is to be sent, and after how many.
    order_at_ms: Option<u64>,
    sent: u8,
}

impl Call {
    /// A request that has so many milliseconds, at most [`REQUEST_TIMEOUT_S_MAX`] seconds.
    #[must_use]
    pub fn new(now_ms: u64, id: RequestId, timeout_ms: u64) -> Self {
        let longest_ms = u64::from(REQUEST_TIMEOUT_S_MAX).saturating_mul(1_000);
        Self {
            id,
            deadline_ms: now_ms.saturating_add(timeout_ms.min(longest_ms)),
            state: CallState::Open,
            order_at_ms: None,
            sent: 0,
        }
    }

    /// Where it is.
    #[must_use]
    pub const fn state(&self) -> CallState {
        self.state
    }

    /// The vehicle tells that it is answered. The answer is on its way, or was lost.
    pub fn handle_answered(&mut self, now_ms: u64) {
        if self.state == CallState::Open {
            self.state = CallState::Answered;
            self.order_in(now_ms, u64::from(DELIVERY_REPEAT_MS_INITIAL));
        }
    }

    /// The answer has come; `false` if it is not awaited any more.
    pub fn handle_answer(&mut self) -> bool {
        let awaited = self.state != CallState::Over;
        self.end();
        awaited
    }

    /// It ended without an answer.
    pub fn handle_end(&mut self) {
        self.end();
    }

    /// Its caller does not want it any more; `false` if it is too late for that.
    pub fn cancel(&mut self, now_ms: u64) -> bool {
        let open = matches!(self.state, CallState::Open | CallState::Answered);
        if open {
            self.state = CallState::Cancelled;
            self.sent = 0;
            self.order_at_ms = Some(now_ms);
        }
        open
    }

    /// Takes what time has brought.
    pub fn pass_time(&mut self, now_ms: u64) {
        if now_ms >= self.deadline_ms && matches!(self.state, CallState::Open | CallState::Answered)
        {
            self.state = CallState::Late;
        }
        if now_ms >= self.deadline_ms {
            self.order_at_ms = None;
        }
        if now_ms >= self.late_until_ms() {
            self.end();
        }
    }

    /// What the vehicle is to be told now, noted as sent; `random` is a word of which every value is
    /// equally likely.
    pub fn poll_transmit(&mut self, now_ms: u64, random: u32) -> Option<Order> {
        self.pass_time(now_ms);
        if self.order_at_ms? > now_ms {
            return None;
        }
        let patience = u64::from(DELIVERY_REPEAT_MS_INITIAL)
            .checked_shl(u32::from(self.sent))
            .unwrap_or(u64::MAX)
            .min(u64::from(DELIVERY_REPEAT_MS_MAX));
        // A quarter later at most.
        let later = (patience >> 2).saturating_mul(u64::from(random)) >> 32;
        self.sent = self.sent.saturating_add(1).min(16);
        self.order_in(now_ms, patience.saturating_add(later));
        match self.state {
            CallState::Cancelled => Some(Order::Cancel(self.id)),
            CallState::Answered => Some(Order::Repeat(self.id)),
            CallState::Open | CallState::Late | CallState::Over => None,
        }
    }

    /// When time brings something.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<u64> {
        match self.state {
            CallState::Open | CallState::Answered => {
                Some(self.order_at_ms.unwrap_or(u64::MAX).min(self.deadline_ms))
            }
            CallState::Cancelled => Some(
                self.order_at_ms
                    .unwrap_or(u64::MAX)
                    .min(self.late_until_ms()),
            ),
            CallState::Late => Some(self.late_until_ms()),
            CallState::Over => None,
        }
    }

    fn late_until_ms(&self) -> u64 {
        self.deadline_ms.saturating_add(REQUEST_LATE_MS)
    }

    fn order_in(&mut self, now_ms: u64, delay_ms: u64) {
        self.order_at_ms = Some(now_ms.saturating_add(delay_ms));
    }

    fn end(&mut self) {
        self.state = CallState::Over;
        self.order_at_ms = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: RequestId = RequestId::new(7);

    #[test]
    fn answer_that_was_told_and_did_not_come_is_asked_for_until_it_comes() {
        let mut call = Call::new(0, ID, 10_000);
        assert_eq!(call.poll_timeout(), Some(10_000));
        call.handle_answered(100);
        assert_eq!(call.poll_transmit(1_099, 0), None);
        assert_eq!(call.poll_transmit(1_100, 0), Some(Order::Repeat(ID)));
        assert_eq!(call.poll_timeout(), Some(2_100));
        assert_eq!(call.poll_transmit(2_100, u32::MAX), Some(Order::Repeat(ID)));
        assert_eq!(call.poll_timeout(), Some(4_599));
        assert!(call.handle_answer());
        assert_eq!(
            (call.poll_transmit(9_000, 0), call.poll_timeout()),
            (None, None)
        );
        assert!(!call.handle_answer());
    }

    #[test]
    fn cancelled_request_is_cancelled_again_and_again_until_it_ends_or_the_deadline() {
        let mut call = Call::new(0, ID, 5_000);
        assert!(call.cancel(10));
        assert!(!call.cancel(11));
        let mut orders = 0;
        let mut now_ms = 10;
        while let Some(at) = call.poll_timeout() {
            now_ms = at.max(now_ms);
            match call.poll_transmit(now_ms, 0) {
                Some(order) => {
                    assert_eq!(order, Order::Cancel(ID));
                    orders += 1;
                }
                None => assert!(now_ms >= 5_000),
            }
        }
        // At 10, 1,010 and 3,010.
        assert_eq!((orders, now_ms), (3, 5_000 + REQUEST_LATE_MS));
    }

    #[test]
    fn late_answer_is_taken_for_a_while() {
        let mut call = Call::new(0, ID, 1_000);
        call.pass_time(999);
        assert_eq!(call.state(), CallState::Open);
        call.pass_time(1_000);
        assert_eq!(call.state(), CallState::Late);
        assert!(!call.cancel(1_000));
        let mut forgotten = call;
        assert!(call.handle_answer());
        forgotten.pass_time(1_000 + REQUEST_LATE_MS);
        assert_eq!(forgotten.state(), CallState::Over);
        assert!(!forgotten.handle_answer());
    }

    #[test]
    fn deadline_is_bounded_and_no_time_overflows() {
        let mut call = Call::new(u64::MAX - 1, ID, u64::MAX);
        call.handle_answered(u64::MAX);
        call.cancel(u64::MAX);
        let _ = call.poll_transmit(u64::MAX, u32::MAX);
        assert_eq!(call.state(), CallState::Over);
        let longest = Call::new(0, ID, u64::MAX);
        let max_ms = u64::from(REQUEST_TIMEOUT_S_MAX) * 1_000;
        assert_eq!(longest.poll_timeout(), Some(max_ms));
    }
}
