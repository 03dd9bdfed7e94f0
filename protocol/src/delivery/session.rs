//! Who is at the other end, and whether both mean the same lives of each other.
//!
//! Both ends run the same table. "Known" is the other end's epoch as it is known here; `e` and `x`
//! are the epochs of the sender and of the receiver in a frame that came.
//!
//! | a frame with | means | then |
//! |---|---|---|
//! | `e` below known | it is of a life that is over, or an end whose clock went back | not used; answered, so that such an end can catch up |
//! | `x` above our own | we lived later than we know: our memory is an older copy, or our clock went back | our epoch becomes greater than `x`, as after a loss of memory |
//! | `e` above known | the other end lost its memory | `e` is known; all that depends on its memory is forgotten |
//! | `x` below our own, or none | it is not meant for this life | not used but for `e`; we greet, or answer one that has shown that it knows us |
//! | `e` known, `x` our own | it is meant for us | used; greeting ends if it is one of delivery's own |
//! | the last, and it tells of numbers that we do not know of | our memory is an older copy | not used; our epoch becomes greater, as above |
//!
//! An end greets, again and again with growing patience, until a message of delivery's own shows that the
//! other one knows it (to an agent that goes on from a memory, one that says what is open); before that
//! it sends no message: each message of delivery's own says how far the other one has come, so an end that
//! goes on from an older copy hears of it before it uses a number twice. A message alone says nothing of
//! that. It never speaks first to an end of which it knows no epoch: so legacy peers hear nothing.

use super::Epoch;
use super::timing::{NEVER, RoundTrip, after};
use crate::limits::{DELIVERY_ANSWER_INTERVAL_MS, DELIVERY_LEAP_MAX};

/// What a frame is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Worth {
    /// Nothing.
    Stale,
    /// It tells who speaks, and no more.
    Introduction,
    /// All that it says counts.
    Full,
}

/// What a frame changed; each is to be acted on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) worth: Worth,
    /// The other end has lost its memory.
    pub(super) peer_restarted: bool,
    /// Our own epoch has changed.
    pub(super) own_restarted: bool,
}

/// One end's view of both.
#[derive(Clone, Copy, Debug)]
pub(super) struct Session {
    own: Epoch,
    peer: Option<Epoch>,
    /// A message of delivery's own has shown that the other end knows our epoch.
    known: bool,
    greet_at_ms: u64,
    greeted: u8,
    answer_at_ms: u64,
    no_answer_before_ms: u64,
    /// Makes epochs that are taken in a hurry differ from those of lives that nobody heard of.
    salt: u32,
}

impl Session {
    pub(super) const fn new(own: Epoch, peer: Option<Epoch>, salt: u32) -> Self {
        Self {
            own,
            peer,
            known: false,
            greet_at_ms: NEVER,
            greeted: 0,
            answer_at_ms: NEVER,
            no_answer_before_ms: 0,
            salt,
        }
    }

    /// Begins in another epoch, as nobody has heard of the one before.
    pub(super) const fn begin(&mut self, own: Epoch) {
        self.own = own;
    }

    pub(super) const fn own(&self) -> Epoch {
        self.own
    }

    pub(super) const fn peer(&self) -> Option<Epoch> {
        self.peer
    }

    pub(super) const fn is_known(&self) -> bool {
        self.known
    }

    /// Takes the epochs of a frame.
    pub(super) fn handle(&mut self, now_ms: u64, e: Epoch, x: Option<Epoch>) -> Heard {
        let mut heard = Heard {
            worth: Worth::Stale,
            peer_restarted: false,
            own_restarted: false,
        };
        if self.peer.is_some_and(|peer| e < peer) {
            self.answer(now_ms);
            return heard;
        }
        if let Some(x) = x.filter(|&x| x > self.own) {
            if !self.leap(now_ms, x) {
                return heard;
            }
            heard.own_restarted = true;
        }
        heard.peer_restarted = self.peer.is_some_and(|peer| e > peer);
        if self.peer != Some(e) {
            (self.peer, self.known, self.greet_at_ms) = (Some(e), false, NEVER);
        }
        heard.worth = Worth::Introduction;
        if x == Some(self.own) {
            heard.worth = Worth::Full;
        } else if self.known {
            self.answer(now_ms);
        }
        self.greet(now_ms);
        heard
    }

    /// A message of delivery's own has come that is meant for this life, and says all that was awaited.
    pub(super) fn establish(&mut self) {
        (self.known, self.greet_at_ms) = (true, NEVER);
    }

    /// Our epoch becomes greater than one, and the other end is greeted; `false`, and nothing is changed, if
    /// there is none.
    #[inline(never)]
    pub(super) fn leap(&mut self, now_ms: u64, than: Epoch) -> bool {
        let leap = 1 + self.salt % DELIVERY_LEAP_MAX;
        let Some(next) = Epoch::new(than.number().saturating_add(leap)) else {
            return false;
        };
        (self.own, self.known) = (next, false);
        (self.greet_at_ms, self.greeted) = (now_ms, 0);
        true
    }

    /// The other end is heard: one that does not know us is greeted at once, or soon where that was tried
    /// before.
    fn greet(&mut self, now_ms: u64) {
        if !self.known {
            if self.greet_at_ms == NEVER {
                (self.greet_at_ms, self.greeted) = (now_ms, 0);
            }
            // One that goes on speaking may never hear us, so patience grows on.
            let soon_ms = after(now_ms, DELIVERY_ANSWER_INTERVAL_MS);
            self.greet_at_ms = self.greet_at_ms.min(soon_ms);
        }
    }

    /// An answer is due, but not before the last one is a while ago.
    #[inline(never)]
    pub(super) fn answer(&mut self, now_ms: u64) {
        if self.answer_at_ms == NEVER {
            self.answer_at_ms = now_ms.max(self.no_answer_before_ms);
        }
    }

    /// Whether something is to be said now, and if so, whether as a greeting; then it is
    /// [`said`](Self::said).
    pub(super) fn poll(&mut self, now_ms: u64, link: &RoundTrip, random: u32) -> Option<bool> {
        let greets = self.greet_at_ms <= now_ms;
        if !greets && self.answer_at_ms > now_ms {
            return None;
        }
        if greets {
            // That goes on for ever: the other end may have nothing to say, and messages wait for its word.
            let patience = link.patience_ms(self.greeted, 0, random);
            self.greeted = self.greeted.saturating_add(1);
            self.greet_at_ms = after(now_ms, patience);
        }
        Some(greets)
    }

    /// Takes any random word.
    pub(super) fn stir(&mut self, random: u32) {
        self.salt ^= random;
    }

    /// A frame is sent; whether it is the answer as well, which rides on any.
    pub(super) fn said(&mut self, now_ms: u64) -> bool {
        let answers = self.answer_at_ms != NEVER;
        if answers {
            self.answer_at_ms = NEVER;
            self.no_answer_before_ms = after(now_ms, DELIVERY_ANSWER_INTERVAL_MS);
        }
        answers
    }

    /// The link is back: what was said in vain is said again.
    pub(super) fn handle_link_up(&mut self, now_ms: u64) {
        if self.peer.is_some() && !self.known {
            (self.greet_at_ms, self.greeted) = (now_ms, 0);
        }
    }

    pub(super) fn deadline_ms(&self) -> u64 {
        self.greet_at_ms.min(self.answer_at_ms)
    }
}
