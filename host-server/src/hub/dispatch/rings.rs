//! How many more messages the apps of a vehicle may have on their way (SPEC 16.13a): a vehicle keeps
//! the last 10 messages of an app that confirms, so one more would push out one that the app was handed and
//! has not confirmed. Its messages wait in the store instead. Values without IO.
//!
//! | the newest word of an app is | then it may have |
//! |---|---|
//! | none | 10 messages on their way |
//! | *held*: it is in the background, where newer ones are to push out older ones | 10 on their way |
//! | *handed*, or *confirmed* at once: it is in the foreground and confirms | 10 on their way or kept |
//! | the same, and then *held*: it is away for a moment | 10 on their way or kept |
//! | *at the agent*: it confirms nothing, and reads more slowly than messages come | 10 on their way or kept |
//! | one of these three, and nothing was finished for [`DELIVERY_APP_PATIENCE_MS`]: it hangs | any number |
//! | *taken* at once, and none *at the agent*: it confirms nothing, and nothing is kept for it | any number |

use vinbus_protocol::delivery::Step;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{DELIVERY_APP_PATIENCE_MS, PENDING_MESSAGES_MAX};

use super::ledger::FOLLOWED_MAX;

/// Apps of one channel of which the newest word is known; the one that was silent for longest gives way. An app that
/// messages wait for has one at least that is followed, so not all of them are such.
const APPS_MAX: usize = FOLLOWED_MAX + 1;

/// The apps that a vehicle told something of, the newest last.
#[derive(Debug, Default)]
pub(super) struct Rings {
    known: Vec<Ring>,
    up: bool,
}

/// Messages of an app that are not over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    /// Without an answer.
    pub(super) on_their_way: usize,
    /// *Handed*, *at the agent*, or *held* for an app that was waited for.
    pub(super) kept: usize,
    /// Of these *at the agent*, as far as the vehicle has told it since the channel was loaded.
    pub(super) at_agent: usize,
}

#[derive(Debug)]
struct Ring {
    app: AppId,
    manner: Manner,
    /// Since when it finishes nothing.
    idle_since_ms: u64,
    /// Places that are taken by what came in another way, as far as evictions tell.
    strange: usize,
    /// How many messages the app is yet to finish until it has surely finished those as well.
    finished_after: usize,
    /// Messages wait for room.
    awaited: bool,
}

/// What an app does with messages, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Unknown,
    Away,
    /// It confirms what it is given.
    Confirms,
    /// It confirms nothing, and has yet to read what it is given.
    Reads,
    Takes,
}

impl Rings {
    /// The vehicle told something new of a message that has no last word yet. `is_first` if it is the
    /// first that it told of it; `load` is that of its app before. Whether a message that is *held* counts as kept.
    pub(super) fn told(
        &mut self,
        now_ms: u64,
        app: &AppId,
        step: Step,
        is_first: bool,
        load: Load,
    ) -> bool {
        let waits_for = self.manner(app).is_waited_for() && !self.hangs(now_ms, app, load);
        let confirms = self.manner(app) == Manner::Confirms;
        let (manner, goes_on) = match step {
            // It may be back in a moment, to be handed what is kept.
            Step::HeldBackground | Step::HeldPrivacy if waits_for && confirms => {
                if load.kept == 0 {
                    self.ring(now_ms, app).idle_since_ms = now_ms;
                }
                return true;
            }
            Step::HeldBackground | Step::HeldPrivacy => (Some(Manner::Away), false),
            Step::Evicted if waits_for => {
                self.ring(now_ms, app).keeps_a_stranger();
                return false;
            }
            Step::Handed => (Some(Manner::Confirms), load.kept == 0),
            Step::Received => (Some(Manner::Reads), load.kept == 0),
            // It may read in bursts: those behind this one wait for the next.
            Step::Taken if load.at_agent > 0 => (None, true),
            Step::Taken => (is_first.then_some(Manner::Takes), true),
            Step::Confirmed => (is_first.then_some(Manner::Confirms), true),
            Step::RefusedByApp => (None, true),
            _ => return false,
        };
        let ring = self.ring(now_ms, app);
        let is_other = manner.is_some_and(|manner| manner != ring.manner);
        if goes_on || is_other {
            ring.idle_since_ms = now_ms;
        }
        if is_other {
            ring.strange = 0;
        } else if goes_on {
            ring.finishes_one(load);
        }
        ring.manner = manner.unwrap_or(ring.manner);
        false
    }

    /// The vehicle can be reached, or cannot any more. While it cannot, no app can confirm anything, and none
    /// counts as one that hangs.
    pub(super) fn set_link(&mut self, now_ms: u64, up: bool) {
        if up && !self.up {
            for ring in &mut self.known {
                ring.idle_since_ms = now_ms;
            }
        }
        self.up = up;
    }

    /// Whether the vehicle can be reached.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// How many more messages may go to an app.
    pub(super) fn room(&self, now_ms: u64, app: &AppId, load: Load) -> usize {
        let taken = match self.manner(app) {
            Manner::Takes => return usize::MAX,
            Manner::Unknown | Manner::Away => load.on_their_way,
            _ if self.hangs(now_ms, app, load) => return usize::MAX,
            Manner::Confirms | Manner::Reads => {
                let strange = self.known(app).map_or(0, |ring| ring.strange);
                load.on_their_way + load.kept + strange
            }
        };
        PENDING_MESSAGES_MAX.saturating_sub(taken)
    }

    fn known(&self, app: &AppId) -> Option<&Ring> {
        self.known.iter().find(|ring| ring.app == *app)
    }

    fn manner(&self, app: &AppId) -> Manner {
        self.known(app).map_or(Manner::Unknown, |ring| ring.manner)
    }

    fn hangs(&self, now_ms: u64, app: &AppId, load: Load) -> bool {
        let ring = self.known(app);
        let at_ms = ring.and_then(|ring| self.hangs_at_ms(ring, load));
        at_ms.is_some_and(|at_ms| at_ms <= now_ms)
    }

    /// Messages wait until an app has room.
    pub(super) fn awaits(&mut self, now_ms: u64, app: &AppId) {
        self.ring(now_ms, app).awaited = true;
    }

    /// Whoever waits tries again without a word.
    pub(super) fn await_nothing(&mut self) {
        for ring in &mut self.known {
            ring.awaited = false;
        }
    }

    /// Whether an app has room that messages wait for; once.
    pub(super) fn has_room_again(&mut self, now_ms: u64, load: impl Fn(&AppId) -> Load) -> bool {
        let mut again = false;
        for at in 0..self.known.len() {
            let app = &self.known[at].app;
            if self.known[at].awaited && self.room(now_ms, app, load(app)) > 0 {
                self.known[at].awaited = false;
                again = true;
            }
        }
        again
    }

    /// When an app counts as one that hangs, of those that messages wait for.
    pub(super) fn deadline_ms(&self, load: impl Fn(&AppId) -> Load) -> Option<u64> {
        let awaited = self.known.iter().filter(|ring| ring.awaited);
        awaited
            .filter_map(|ring| self.hangs_at_ms(ring, load(&ring.app)))
            .min()
    }

    fn hangs_at_ms(&self, ring: &Ring, load: Load) -> Option<u64> {
        let may_hang = self.up && ring.manner.is_waited_for() && load.kept > 0;
        may_hang.then(|| ring.idle_since_ms.saturating_add(DELIVERY_APP_PATIENCE_MS))
    }

    fn ring(&mut self, now_ms: u64, app: &AppId) -> &mut Ring {
        let known = self.known.iter().position(|ring| ring.app == *app);
        let ring = match known {
            Some(at) => self.known.remove(at),
            None => Ring {
                app: app.clone(),
                manner: Manner::Unknown,
                idle_since_ms: now_ms,
                strange: 0,
                finished_after: 0,
                awaited: false,
            },
        };
        if self.known.len() >= APPS_MAX {
            let idle = self.known.iter().position(|ring| !ring.awaited);
            self.known.remove(idle.unwrap_or_default());
        }
        self.known.push(ring);
        let last = self.known.len() - 1;
        &mut self.known[last]
    }
}

impl Manner {
    /// Whether what is kept counts.
    fn is_waited_for(self) -> bool {
        matches!(self, Self::Confirms | Self::Reads)
    }
}

impl Ring {
    /// A message was pushed out by one that came in another way and was not counted: its place stays taken. One place
    /// stays for the next message, by which it is found out when there are no others any more.
    fn keeps_a_stranger(&mut self) {
        self.strange = (self.strange + 1).min(PENDING_MESSAGES_MAX - 1);
        self.finished_after = PENDING_MESSAGES_MAX;
    }

    /// The app has finished a message. Those that came in another way are among the 10 that follow; and when none is
    /// kept, they are all that there is, which it may push out.
    fn finishes_one(&mut self, load: Load) {
        self.finished_after = self.finished_after.saturating_sub(1);
        if self.finished_after == 0 || load.on_their_way + load.kept <= 1 {
            self.strange = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FULL: Load = Load {
        on_their_way: 4,
        kept: 6,
        at_agent: 0,
    };

    fn app(number: usize) -> AppId {
        AppId::parse(&format!("app{number}")).unwrap()
    }

    fn confirming() -> Rings {
        let mut rings = Rings::default();
        rings.set_link(0, true);
        rings.told(0, &app(1), Step::Handed, true, Load::default());
        rings
    }

    #[test]
    fn app_of_which_nothing_is_known_may_have_as_many_on_their_way_as_a_ring_keeps() {
        let mut load = Load::default();
        assert_eq!(Rings::default().room(0, &app(1), load), 10);
        load.on_their_way = 12;
        assert_eq!(Rings::default().room(0, &app(1), load), 0);
    }

    #[test]
    fn what_an_app_was_handed_counts_until_it_takes_at_once() {
        let mut rings = confirming();
        assert_eq!(rings.room(1, &app(1), FULL), 0);
        rings.told(3, &app(1), Step::Taken, true, FULL);
        assert_eq!(rings.room(3, &app(1), FULL), usize::MAX);
        // What it took from among the waiting says nothing of what it does with the next one.
        let mut rings = confirming();
        rings.told(1, &app(1), Step::Taken, false, FULL);
        assert_eq!(rings.room(1, &app(1), FULL), 0);
    }

    #[test]
    fn app_that_reads_slowly_is_waited_for_until_it_takes_at_once_again() {
        let mut rings = Rings::default();
        rings.set_link(0, true);
        rings.told(0, &app(1), Step::Taken, true, Load::default());
        assert_eq!(rings.room(0, &app(1), FULL), usize::MAX);
        rings.told(1, &app(1), Step::Received, true, Load::default());
        assert_eq!(rings.room(1, &app(1), FULL), 0);
        rings.told(2, &app(1), Step::Taken, false, FULL);
        assert_eq!(rings.room(2, &app(1), FULL), 0);
        let at_agent = Load {
            at_agent: 6,
            ..FULL
        };
        rings.told(2, &app(1), Step::Taken, true, at_agent);
        assert_eq!(rings.room(2, &app(1), FULL), 0);
        rings.told(3, &app(1), Step::Taken, true, FULL);
        assert_eq!(rings.room(3, &app(1), FULL), usize::MAX);
    }

    #[test]
    fn app_that_is_away_has_all_that_is_kept_for_it_count_for_its_patience_and_then_nothing_of_it()
    {
        for step in [Step::HeldBackground, Step::HeldPrivacy] {
            let mut rings = confirming();
            let end = DELIVERY_APP_PATIENCE_MS;
            rings.told(end - 1, &app(1), step, true, FULL);
            assert_eq!(rings.room(end - 1, &app(1), FULL), 0);
            assert_eq!(rings.room(end, &app(1), FULL), usize::MAX);
            rings.told(end, &app(1), step, true, FULL);
            assert_eq!(rings.room(end, &app(1), FULL), 6);
            // It is back.
            let back = match step {
                Step::HeldBackground => (Step::Handed, false),
                _ => (Step::Confirmed, true),
            };
            rings.told(end + 1, &app(1), back.0, back.1, FULL);
            assert_eq!(rings.room(end + 1, &app(1), FULL), 0);
        }
        // Of others only the last ones count: of one that is away at first, and of one that reads slowly.
        let mut rings = Rings::default();
        for step in [Step::HeldBackground, Step::Received, Step::HeldBackground] {
            let counts = rings.told(0, &app(1), step, true, Load::default());
            assert!(!counts, "{step:?}");
        }
        assert_eq!(rings.room(0, &app(1), FULL), 6);
    }

    #[test]
    fn app_that_had_nothing_to_confirm_for_long_and_is_away_has_its_patience_from_then_on() {
        let mut rings = confirming();
        let (end, none) = (DELIVERY_APP_PATIENCE_MS, Load::default());
        let kept = Load { kept: 1, ..none };
        rings.told(1, &app(1), Step::Confirmed, false, kept);
        let away = 60 * end;
        assert!(rings.told(away, &app(1), Step::HeldBackground, true, none));
        assert!(rings.told(away + 1, &app(1), Step::HeldBackground, true, kept));
        rings.told(away + 2, &app(1), Step::Handed, true, kept);
        assert_eq!(rings.room(away + end - 1, &app(1), FULL), 0);
        assert_eq!(rings.room(away + end, &app(1), FULL), usize::MAX);
    }

    #[test]
    fn app_that_messages_wait_for_stays_known_as_long_as_one_of_its_is_followed() {
        let mut rings = Rings::default();
        let (none, one) = (
            Load::default(),
            Load {
                kept: 1,
                ..Load::default()
            },
        );
        for number in 0..FOLLOWED_MAX {
            rings.told(0, &app(number), Step::Handed, true, none);
            for _ in 0..PENDING_MESSAGES_MAX {
                rings.told(0, &app(number), Step::Evicted, false, FULL);
            }
            assert_eq!(rings.room(0, &app(number), one), 0);
            rings.awaits(0, &app(number));
        }
        rings.told(0, &app(FOLLOWED_MAX), Step::Taken, true, none);
        rings.told(0, &app(FOLLOWED_MAX + 1), Step::Taken, true, none);
        rings.told(1, &app(0), Step::Confirmed, false, one);
        assert!(rings.has_room_again(1, |it| if *it == app(0) { none } else { one }));
    }

    #[test]
    fn place_of_what_came_in_another_way_stays_taken_until_the_app_has_finished_ten_or_all() {
        let left = |kept| Load {
            kept,
            ..Load::default()
        };
        let mut rings = confirming();
        rings.told(0, &app(1), Step::Evicted, false, left(10));
        assert_eq!(rings.room(0, &app(1), left(9)), 0);
        for _ in 0..9 {
            rings.told(0, &app(1), Step::Confirmed, false, left(9));
            assert_eq!(rings.room(0, &app(1), left(8)), 1);
        }
        rings.told(0, &app(1), Step::Confirmed, false, left(9));
        assert_eq!(rings.room(0, &app(1), left(8)), 2);
        rings.told(0, &app(1), Step::Evicted, false, left(2));
        rings.told(0, &app(1), Step::Confirmed, false, left(1));
        assert_eq!(rings.room(0, &app(1), left(0)), 10);
        // One more goes however many were pushed out, to find out.
        for kept in (1..=10).rev() {
            rings.told(0, &app(1), Step::Evicted, false, left(kept));
        }
        assert_eq!(rings.room(0, &app(1), left(0)), 1);
        rings.told(0, &app(1), Step::Confirmed, true, left(1));
        assert_eq!(rings.room(0, &app(1), left(0)), 10);
    }

    #[test]
    fn app_that_confirms_nothing_for_its_patience_hangs_until_it_confirms() {
        let mut rings = confirming();
        let end = DELIVERY_APP_PATIENCE_MS;
        assert_eq!(rings.room(end - 1, &app(1), FULL), 0);
        assert_eq!(rings.room(end, &app(1), FULL), usize::MAX);
        // One more was handed, and another pushed out: that is no life.
        rings.told(end, &app(1), Step::Handed, true, FULL);
        rings.told(end, &app(1), Step::Evicted, false, FULL);
        assert_eq!(rings.room(end, &app(1), FULL), usize::MAX);
        rings.told(end, &app(1), Step::Confirmed, false, FULL);
        assert_eq!(rings.room(end + 1, &app(1), FULL), 0);
    }

    #[test]
    fn app_has_its_patience_anew_when_the_vehicle_is_back() {
        let mut rings = confirming();
        let end = DELIVERY_APP_PATIENCE_MS;
        rings.set_link(1, false);
        rings.awaits(1, &app(1));
        assert_eq!(rings.room(2 * end, &app(1), FULL), 0);
        assert_eq!(rings.deadline_ms(|_| FULL), None);
        rings.set_link(end, true);
        rings.set_link(end + 1, true);
        assert_eq!(rings.room(end + 1, &app(1), FULL), 0);
        assert_eq!(rings.room(2 * end, &app(1), FULL), usize::MAX);
    }

    #[test]
    fn messages_without_an_answer_alone_never_make_an_app_hang() {
        let rings = confirming();
        let load = Load {
            on_their_way: 10,
            ..Load::default()
        };
        assert_eq!(rings.room(u64::MAX, &app(1), load), 0);
    }

    #[test]
    fn room_that_messages_wait_for_is_told_once_and_when_an_app_hangs() {
        let mut rings = confirming();
        assert_eq!(rings.deadline_ms(|_| FULL), None);
        assert!(!rings.has_room_again(0, |_| Load::default()));
        rings.awaits(0, &app(1));
        assert!(!rings.has_room_again(0, |_| FULL));
        assert_eq!(rings.deadline_ms(|_| FULL), Some(DELIVERY_APP_PATIENCE_MS));
        assert!(rings.has_room_again(DELIVERY_APP_PATIENCE_MS, |_| FULL));
        assert!(!rings.has_room_again(DELIVERY_APP_PATIENCE_MS, |_| FULL));
        assert_eq!(rings.deadline_ms(|_| FULL), None);
    }

    #[test]
    fn apps_that_are_known_are_bounded_and_those_that_are_waited_for_stay() {
        let mut rings = confirming();
        rings.awaits(0, &app(1));
        for number in 2..1_000 {
            rings.told(0, &app(number), Step::Taken, true, Load::default());
        }
        assert_eq!(rings.known.len(), APPS_MAX);
        assert_eq!(rings.room(0, &app(1), FULL), 0);
        assert_eq!(rings.room(0, &app(999), FULL), usize::MAX);
        assert_eq!(rings.room(0, &app(2), FULL), 6);
    }
}
