//! How fast each vehicle is sent to, and whose turn it is: values without IO.
//!
//! A vehicle's link has one [`Pace`], which all partners share. While the link is behind, who wants to
//! send claims the next turn and is told when to ask again. Turns go by start-time fair queueing: each
//! partner is as far as the bytes that it has sent, and who is least far is next, so a small message
//! never waits for more than what is on the wire and the one message before it, however much of
//! another partner's waits. Within a partner its lane's worker says what is next.
//!
//! A vehicle whose link has carried everything is forgotten, so there are no more of them than were
//! sent to in the last seconds.

use std::collections::HashMap;
use std::num::NonZeroU32;

use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::pace::Pace;

use super::lanes::LaneId;

/// What a vehicle may be sent at once: so much that a link is never idle between two looks at it, so
/// little that a small message is soon through.
const BURST_MS: u32 = 1_000;

/// Bytes that a message takes on the link beside its payload: topic, headers, TLS.
const OVERHEAD_BYTES: u32 = 192;

/// Between two who wait for the same turn.
const TURN_MS: u64 = 5;

/// Who does not come for its turn within this time has lost it.
const CLAIM_MS: u64 = 250;

/// Vehicles from which on those that can be forgotten are looked for.
const SWEPT_FROM: usize = 1_024;

/// Time between two such looks.
const SWEEP_MS: u64 = 1_000;

/// The pace of all vehicles.
pub(super) struct Paces {
    /// Bytes a second for each vehicle; `None` for as fast as the broker takes them.
    rate: Option<NonZeroU32>,
    vehicles: HashMap<Vin, Link>,
    swept_at_ms: u64,
}

struct Link {
    pace: Pace,
    /// How far the partner was that sent last when it began.
    progress: u64,
    partners: Vec<Partner>,
}

/// A partner that has sent to a vehicle lately, or wants to.
struct Partner {
    uid: Uid,
    /// How far it is: bytes.
    finished: u64,
    /// When it comes for its turn, if it waits for one.
    claim_ms: Option<u64>,
}

impl Paces {
    pub(super) fn new(rate: Option<NonZeroU32>) -> Self {
        Self {
            rate,
            vehicles: HashMap::new(),
            swept_at_ms: 0,
        }
    }

    /// Whether a partner may send to a vehicle now. Who may and does tells by [`Paces::sent`].
    ///
    /// # Errors
    /// When to ask again, in milliseconds.
    pub(super) fn ask(&mut self, now_ms: u64, lane: &LaneId) -> Result<(), u64> {
        let Some(link) = self.vehicles.get_mut(&lane.vin) else {
            return Ok(());
        };
        let ready_ms = link.pace.ready_at_ms();
        let ahead = link.ahead_of(&lane.uid, now_ms);
        if ready_ms <= now_ms && ahead == 0 {
            link.partner(&lane.uid).claim_ms = None;
            return Ok(());
        }
        let at_ms = ready_ms.max(now_ms + 1) + ahead * TURN_MS;
        link.partner(&lane.uid).claim_ms = Some(at_ms);
        Err(at_ms)
    }

    /// A message of so many bytes was sent.
    pub(super) fn sent(&mut self, now_ms: u64, lane: &LaneId, payload_bytes: usize) {
        let Some(rate) = self.rate else {
            return;
        };
        self.sweep(now_ms);
        let bytes = u32::try_from(payload_bytes).unwrap_or(u32::MAX);
        let bytes = bytes.saturating_add(OVERHEAD_BYTES);
        let link = self.vehicles.entry(lane.vin).or_insert_with(|| Link {
            pace: Pace::new(rate, BURST_MS),
            progress: 0,
            partners: Vec::new(),
        });
        if link.pace.is_idle(now_ms) {
            link.begin_anew(now_ms);
        }
        link.pace.sent(now_ms, bytes);
        let progress = link.progress;
        let partner = link.partner(&lane.uid);
        let start = partner.finished.max(progress);
        partner.finished = start.saturating_add(u64::from(bytes));
        link.progress = start;
        link.forget_partners(now_ms);
    }

    /// Forgets vehicles whose links have carried everything.
    fn sweep(&mut self, now_ms: u64) {
        if self.vehicles.len() < SWEPT_FROM || now_ms < self.swept_at_ms + SWEEP_MS {
            return;
        }
        self.swept_at_ms = now_ms;
        self.vehicles.retain(|_, link| !link.pace.is_idle(now_ms));
    }
}

impl Link {
    /// Partners that wait for a turn and are less far.
    fn ahead_of(&self, uid: &Uid, now_ms: u64) -> u64 {
        let mine = self.partners.iter().find(|partner| partner.uid == *uid);
        let mine = mine
            .map_or(0, |partner| partner.finished)
            .max(self.progress);
        let ahead = self.partners.iter().filter(|other| {
            other.uid != *uid && other.waits(now_ms) && other.finished.max(self.progress) < mine
        });
        ahead.count() as u64
    }

    fn partner(&mut self, uid: &Uid) -> &mut Partner {
        let place = self.partners.iter().position(|partner| partner.uid == *uid);
        let place = place.unwrap_or_else(|| {
            self.partners.push(Partner {
                uid: uid.clone(),
                finished: 0,
                claim_ms: None,
            });
            self.partners.len() - 1
        });
        &mut self.partners[place]
    }

    /// Everybody is as far as everybody else: nobody has kept anybody waiting.
    fn begin_anew(&mut self, now_ms: u64) {
        self.progress = 0;
        self.partners.retain(|partner| partner.waits(now_ms));
        for partner in &mut self.partners {
            partner.finished = 0;
        }
    }

    /// Keeps those who wait, and those who are further than the others.
    fn forget_partners(&mut self, now_ms: u64) {
        let progress = self.progress;
        self.partners
            .retain(|partner| partner.finished > progress || partner.waits(now_ms));
    }
}

impl Partner {
    fn waits(&self, now_ms: u64) -> bool {
        self.claim_ms
            .is_some_and(|at_ms| now_ms <= at_ms + CLAIM_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = 120_000;

    fn lane(uid: &str, number: usize) -> LaneId {
        LaneId {
            vin: Vin::parse(&format!("TESTV{number:012}")).unwrap(),
            uid: Uid::parse(uid).unwrap(),
        }
    }

    fn paces(bytes_per_s: u32) -> Paces {
        Paces::new(NonZeroU32::new(bytes_per_s))
    }

    /// One who sends messages of one size, each when it may.
    struct Sender {
        lane: LaneId,
        bytes: usize,
        left: usize,
        next_ms: u64,
        sent_ms: Vec<u64>,
    }

    impl Sender {
        fn new(uid: &str, bytes: usize, left: usize, from_ms: u64) -> Self {
            Self {
                lane: lane(uid, 1),
                bytes,
                left,
                next_ms: from_ms,
                sent_ms: Vec::new(),
            }
        }
    }

    /// Runs senders to the end, whoever wakes at the same time in the given order, as lanes are.
    fn run(paces: &mut Paces, senders: &mut [Sender]) {
        loop {
            let waiting = senders.iter_mut().filter(|sender| sender.left > 0);
            let Some(sender) = waiting.min_by_key(|sender| sender.next_ms) else {
                return;
            };
            let now_ms = sender.next_ms;
            match paces.ask(now_ms, &sender.lane) {
                Ok(()) => {
                    paces.sent(now_ms, &sender.lane, sender.bytes);
                    sender.left -= 1;
                    sender.sent_ms.push(now_ms);
                }
                Err(at_ms) => {
                    assert!(at_ms > now_ms, "nobody asks without end");
                    sender.next_ms = at_ms;
                }
            }
        }
    }

    #[test]
    fn vehicle_that_comes_back_gets_its_backlog_at_the_rate_of_its_link() {
        for (rate, messages) in [(30_000, 50), (100_000, 200)] {
            let mut paces = paces(rate);
            let mut senders = [Sender::new("partner", 10_000, messages, 0)];
            run(&mut paces, &mut senders);
            let took_s = *senders[0].sent_ms.last().unwrap() as f64 / 1e3;
            let bytes = (10_000 + OVERHEAD_BYTES as usize) * (messages - 1);
            let link_s = bytes as f64 / f64::from(rate);
            assert!(
                took_s <= link_s && took_s + 1.01 >= link_s,
                "{took_s} {link_s}"
            );
        }
    }

    #[test]
    fn small_messages_wait_for_one_large_message_of_another_partner_at_most() {
        let mut paces = paces(30_000);
        let mut senders = [
            Sender::new("a-large", LARGE, 20, 0),
            Sender::new("b-small", 300, 20, 10),
        ];
        run(&mut paces, &mut senders);
        let one_large_ms = (LARGE as u64 + u64::from(OVERHEAD_BYTES)) / 30;
        let [large, small] = senders;
        assert!(small.sent_ms[0] <= one_large_ms, "{:?}", small.sent_ms);
        let all = small.sent_ms.last().unwrap();
        assert!(*all <= one_large_ms + 1_000, "{:?}", small.sent_ms);
        assert!(large.sent_ms[2] > *all, "{:?}", large.sent_ms);
    }

    #[test]
    fn two_partners_with_as_much_share_the_link() {
        let mut paces = paces(30_000);
        let mut senders = [
            Sender::new("a", 5_000, 60, 0),
            Sender::new("b", 5_000, 60, 0),
        ];
        run(&mut paces, &mut senders);
        let [a, b] = senders;
        // The burst is whose who asks first.
        let between = a.sent_ms[20]..a.sent_ms[40];
        let of_b = b.sent_ms.iter().filter(|at| between.contains(at)).count();
        assert!((18..=22).contains(&of_b), "{of_b}");
    }

    #[test]
    fn who_does_not_come_for_its_turn_keeps_nobody_waiting() {
        let mut paces = paces(30_000);
        let (a, b) = (lane("a", 1), lane("b", 1));
        paces.sent(0, &a, LARGE);
        assert!(paces.ask(0, &b).is_err());
        let mut at_ms = paces.ask(0, &a).unwrap_err();
        let ready_ms = (LARGE as u64 + u64::from(OVERHEAD_BYTES)) / 30 - 1_000;
        let mut asked = 0;
        while let Err(next_ms) = paces.ask(at_ms, &a) {
            at_ms = next_ms;
            asked += 1;
        }
        assert!(
            at_ms > ready_ms && at_ms <= ready_ms + 2 * CLAIM_MS,
            "{at_ms}"
        );
        assert!(asked <= CLAIM_MS / TURN_MS + 1, "{asked}");
    }

    #[test]
    fn vehicles_do_not_wait_for_each_other_and_are_forgotten() {
        let mut paces = paces(30_000);
        for number in 0..10 * SWEPT_FROM {
            let now_ms = number as u64 * 10;
            assert_eq!(paces.ask(now_ms, &lane("a", number)), Ok(()));
            paces.sent(now_ms, &lane("a", number), 50_000);
        }
        assert!(
            paces.vehicles.len() <= 2 * SWEPT_FROM,
            "{}",
            paces.vehicles.len()
        );
    }

    #[test]
    fn partners_of_a_vehicle_are_forgotten() {
        let mut paces = paces(30_000);
        for number in 0..1_000_u64 {
            let lane = lane(&format!("partner-{number}"), 1);
            paces.sent(number * 100, &lane, 300);
        }
        let link = paces.vehicles.values().next().unwrap();
        assert!(link.partners.len() <= 2, "{}", link.partners.len());
    }

    #[test]
    fn without_a_rate_nobody_waits_and_nothing_is_remembered() {
        let mut paces = Paces::new(None);
        for _ in 0..100 {
            assert_eq!(paces.ask(0, &lane("a", 1)), Ok(()));
            paces.sent(0, &lane("a", 1), LARGE);
        }
        assert!(paces.vehicles.is_empty());
    }
}
