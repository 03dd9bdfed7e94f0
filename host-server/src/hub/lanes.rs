//! Which messages are to be sent, and whose turn it is: values without IO.
//!
//! The unsent messages of one partner for one vehicle, which travel on one topic, form a lane. At
//! most one worker at a time runs it; so its messages keep their order, and neither vehicles nor
//! partners wait for each other. The messages themselves stay in the store.
//!
//! | state \ event   | `accepted` | `wake` | `take`    | `park`        | `rest`        | time    |
//! |-----------------|------------|--------|-----------|---------------|---------------|---------|
//! | Idle            | Ready      | Ready  |           |               |               |         |
//! | Ready           |            |        | Running   |               |               |         |
//! | Running         | More       | Woken  |           | Idle          | Resting       |         |
//! | More            |            | Woken  |           | Ready         | Resting       |         |
//! | Woken           |            |        |           | Ready         | Ready         |         |
//! | Resting         |            | Ready  |           |               |               | Ready   |
//!
//! A lane that is idle or rests may be claimed, to take out what has expired: it is Running until it
//! is released. Then it is idle again, or ready if it rested or something happened meanwhile.
//!
//! A lane rests when nobody took its messages though somebody should: one that is stuck must not
//! keep a worker. Each rest is twice as long as the one before, from one second
//! to half a minute.
//!
//! A lane is removed when it is idle and has neither unsent messages nor places taken for messages
//! that are on their way to the disk. A worker reads from the disk, so it may send a message before
//! `accepted` is told of it; the lane is still there then, and knows by the sequence that it was
//! sent.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use vinbus_protocol::id::{Uid, Vin};

use super::SubmitError;
use crate::model::{Backlog, Downlink};

/// Lanes that may keep their message in memory while they wait for a worker: a message that is
/// alone is not read back from the store, unless there are many.
const FRESH_LANES_MAX: usize = 64;

/// A lane rests this long at first.
const REST_MIN: Duration = Duration::from_secs(1);

/// Doublings of [`REST_MIN`]. With these, and a quarter of a second of a worker's time for each try,
/// thousands of stuck vehicles leave some workers free.
const REST_DOUBLINGS_MAX: u32 = 5;

/// Whose messages, and for which vehicle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId {
    /// The vehicle.
    pub(super) vin: Vin,
    /// The partner.
    pub(super) uid: Uid,
}

/// What an unsent message counts beside the bytes of its envelope: about what the store keeps of it.
const MESSAGE_COST: u64 = 512;

/// How many messages may wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Of one partner for one vehicle.
    pub(super) lane_messages: usize,
    /// Of one partner for all vehicles.
    pub(super) partner: Load,
    /// Of all partners.
    pub(super) all: Load,
}

/// Messages that wait, and their bytes, [`MESSAGE_COST`] included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) messages: usize,
    pub(super) bytes: u64,
}

impl Load {
    fn of(messages: usize, envelope_bytes: u64) -> Self {
        Self {
            messages,
            bytes: envelope_bytes + MESSAGE_COST * messages as u64,
        }
    }

    fn plus(self, more: Self) -> Self {
        Self {
            messages: self.messages + more.messages,
            bytes: self.bytes + more.bytes,
        }
    }

    fn minus(self, less: Self) -> Self {
        Self {
            messages: self.messages.saturating_sub(less.messages),
            bytes: self.bytes.saturating_sub(less.bytes),
        }
    }
}

/// All lanes with unsent messages.
pub(super) struct Lanes {
    vehicles: HashMap<Vin, HashMap<Uid, Lane>>,
    ready: VecDeque<LaneId>,
    resting: BTreeSet<(Instant, LaneId)>,
    partners: HashMap<Uid, Load>,
    all: Load,
    bounds: Bounds,
}

struct Lane {
    unsent: usize,
    /// Places taken by messages of which nobody told yet whether they are in the store.
    storing: usize,
    /// The highest sequence that was sent; all before it were sent, too.
    finished_to: u64,
    held_to: u64,
    fresh: Option<Downlink>,
    /// Rests without a message sent between them.
    rests: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Ready,
    Running,
    More,
    Woken,
    Resting(Instant),
}

/// A lane to be run.
#[derive(Debug)]
pub(super) struct Run {
    /// The lane.
    pub(super) lane: LaneId,
    /// Messages up to this sequence are noted as held.
    pub(super) held_to: u64,
    /// Its only unsent message, if that was just accepted.
    pub(super) fresh: Option<Downlink>,
}

/// A lane that was claimed, as it was.
#[derive(Debug)]
pub(super) struct Claim {
    held_to: u64,
    rested: bool,
}

impl Lanes {
    pub(super) fn new(backlog: impl IntoIterator<Item = Backlog>, bounds: Bounds) -> Self {
        let mut lanes = Self {
            vehicles: HashMap::new(),
            ready: VecDeque::new(),
            resting: BTreeSet::new(),
            partners: HashMap::new(),
            all: Load::default(),
            bounds,
        };
        for part in backlog {
            lanes.add(&part.uid, Load::of(part.messages, part.bytes));
            let lane = Lane {
                unsent: part.messages,
                held_to: part.held_to,
                ..Lane::EMPTY
            };
            let vehicle = lanes.vehicles.entry(part.vin).or_default();
            vehicle.insert(part.uid, lane);
        }
        lanes
    }

    /// Messages that were not sent yet.
    pub(super) fn unsent(&self) -> usize {
        self.all.messages
    }

    /// Takes a place for a message that is about to be stored. The caller tells what became of it by
    /// [`Lanes::accepted`] or [`Lanes::not_stored`].
    pub(super) fn reserve(&mut self, id: &LaneId, envelope_bytes: u64) -> Result<(), SubmitError> {
        let load = Load::of(1, envelope_bytes);
        self.check(&id.uid, load)?;
        let max = self.bounds.lane_messages;
        if self.lane(id).map_or(0, |lane| lane.unsent) >= max {
            return Err(SubmitError::VehicleQueueFull { vin: id.vin, max });
        }
        let vehicle = self.vehicles.entry(id.vin).or_default();
        let lane = vehicle.entry(id.uid.clone()).or_insert(Lane::EMPTY);
        lane.unsent += 1;
        lane.storing += 1;
        self.add(&id.uid, load);
        Ok(())
    }

    fn check(&self, uid: &Uid, more: Load) -> Result<(), SubmitError> {
        let (all, max) = (self.all.plus(more), self.bounds.all);
        if all.messages > max.messages {
            return Err(SubmitError::QueueFull { max: max.messages });
        }
        if all.bytes > max.bytes {
            return Err(SubmitError::QueueBytesFull { max: max.bytes });
        }
        let partner = self.partners.get(uid).copied().unwrap_or_default();
        let (partner, max) = (partner.plus(more), self.bounds.partner);
        if partner.messages > max.messages {
            let (uid, max) = (uid.clone(), max.messages);
            return Err(SubmitError::PartnerQueueFull { uid, max });
        }
        if partner.bytes > max.bytes {
            let (uid, max) = (uid.clone(), max.bytes);
            return Err(SubmitError::PartnerBytesFull { uid, max });
        }
        Ok(())
    }

    fn add(&mut self, uid: &Uid, load: Load) {
        self.all = self.all.plus(load);
        let partner = self.partners.entry(uid.clone()).or_default();
        *partner = partner.plus(load);
    }

    fn subtract(&mut self, uid: &Uid, load: Load) {
        self.all = self.all.minus(load);
        if let Some(partner) = self.partners.get_mut(uid) {
            *partner = partner.minus(load);
            if partner.messages == 0 {
                self.partners.remove(uid);
            }
        }
    }

    /// A reserved message is in the store.
    pub(super) fn accepted(&mut self, id: &LaneId, downlink: &Downlink) {
        let may_keep = self.ready.len() < FRESH_LANES_MAX;
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.storing = lane.storing.saturating_sub(1);
        if downlink.sequence <= lane.finished_to {
            // A worker found it on the disk and has sent it.
            self.remove_if_done(id);
            return;
        }
        if lane.unsent == 1 && lane.state == State::Idle && may_keep {
            lane.fresh = Some(downlink.clone());
        }
        match lane.state {
            State::Idle => self.make_ready(id),
            State::Running => lane.state = State::More,
            State::Ready | State::More | State::Woken | State::Resting(_) => {}
        }
    }

    /// A reserved message could not be stored.
    pub(super) fn not_stored(&mut self, id: &LaneId, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.storing = lane.storing.saturating_sub(1);
            self.leave(id, envelope_bytes);
        }
    }

    /// The message of this sequence, the lane's first, was sent.
    pub(super) fn finished(&mut self, id: &LaneId, sequence: u64, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.finished_to = lane.finished_to.max(sequence);
            lane.rests = 0;
            self.leave(id, envelope_bytes);
        }
    }

    fn leave(&mut self, id: &LaneId, envelope_bytes: u64) {
        if let Some(lane) = self.lane(id) {
            lane.unsent = lane.unsent.saturating_sub(1);
            self.subtract(&id.uid, Load::of(1, envelope_bytes));
            self.remove_if_done(id);
        }
    }

    /// Something changed for a lane: it is to be run.
    pub(super) fn wake(&mut self, id: &LaneId) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.rests = 0;
        match lane.state {
            State::Idle => self.make_ready(id),
            State::Running | State::More => lane.state = State::Woken,
            State::Ready | State::Woken => {}
            State::Resting(until) => {
                self.resting.remove(&(until, id.clone()));
                self.make_ready(id);
            }
        }
    }

    /// Something changed for a vehicle.
    pub(super) fn wake_vehicle(&mut self, vin: Vin) {
        let lanes = self.vehicles.get(&vin).into_iter().flatten();
        let uids: Vec<_> = lanes.map(|(uid, _)| uid.clone()).collect();
        for uid in uids {
            self.wake(&LaneId { vin, uid });
        }
    }

    /// Something changed for everybody.
    pub(super) fn wake_all(&mut self) {
        let vins: Vec<_> = self.vehicles.keys().copied().collect();
        for vin in vins {
            self.wake_vehicle(vin);
        }
    }

    /// When a lane has rested enough; none while none rests.
    pub(super) fn next_rested(&self) -> Option<Instant> {
        self.resting.first().map(|(until, _)| *until)
    }

    /// The lane whose turn it is, and whether there are more. The caller runs it, and then parks it
    /// or lets it rest.
    pub(super) fn take(&mut self, now: Instant) -> Option<(Run, bool)> {
        while self.next_rested().is_some_and(|until| until <= now)
            && let Some((_, id)) = self.resting.pop_first()
        {
            self.make_ready(&id);
        }
        let id = self.ready.pop_front()?;
        let more = !self.ready.is_empty();
        let lane = self.lane(&id)?;
        lane.state = State::Running;
        let run = Run {
            held_to: lane.held_to,
            fresh: lane.fresh.take(),
            lane: id,
        };
        Some((run, more))
    }

    /// Takes a lane that nobody runs, unless a message of it is on its way to the disk: then it is
    /// not known which of its messages were told of.
    pub(super) fn claim(&mut self, id: &LaneId) -> Option<Claim> {
        let lane = self.lane(id).filter(|lane| lane.storing == 0)?;
        let rested_until = match lane.state {
            State::Idle => None,
            State::Resting(until) => Some(until),
            State::Ready | State::Running | State::More | State::Woken => return None,
        };
        lane.state = State::Running;
        let held_to = lane.held_to;
        if let Some(until) = rested_until {
            self.resting.remove(&(until, id.clone()));
        }
        let rested = rested_until.is_some();
        Some(Claim { held_to, rested })
    }

    /// Gives a claimed lane back.
    pub(super) fn release(&mut self, id: &LaneId, claim: &Claim) {
        if claim.rested {
            self.wake(id);
        }
        self.park(id, claim.held_to);
    }

    /// A lane was run; messages up to `held_to` are noted as held.
    pub(super) fn park(&mut self, id: &LaneId, held_to: u64) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.held_to = held_to;
        match lane.state {
            State::More | State::Woken => self.make_ready(id),
            State::Idle | State::Ready | State::Running | State::Resting(_) => {
                lane.state = State::Idle;
                self.remove_if_done(id);
            }
        }
    }

    /// A lane was run and is stuck: it is run again when it is woken, or after a while.
    pub(super) fn rest(&mut self, id: &LaneId, held_to: u64, now: Instant) {
        let Some(lane) = self.lane(id) else {
            return;
        };
        lane.held_to = held_to;
        if lane.state == State::Woken {
            self.make_ready(id);
            return;
        }
        let until = now + REST_MIN * (1 << lane.rests.min(REST_DOUBLINGS_MAX));
        lane.rests = lane.rests.saturating_add(1);
        lane.state = State::Resting(until);
        self.resting.insert((until, id.clone()));
    }

    fn make_ready(&mut self, id: &LaneId) {
        if let Some(lane) = self.lane(id) {
            lane.state = State::Ready;
            self.ready.push_back(id.clone());
        }
    }

    fn lane(&mut self, id: &LaneId) -> Option<&mut Lane> {
        self.vehicles.get_mut(&id.vin)?.get_mut(&id.uid)
    }

    fn remove_if_done(&mut self, id: &LaneId) {
        let is_done =
            |lane: &mut Lane| lane.unsent == 0 && lane.storing == 0 && lane.state == State::Idle;
        if self.lane(id).is_some_and(is_done)
            && let Some(vehicle) = self.vehicles.get_mut(&id.vin)
        {
            vehicle.remove(&id.uid);
            if vehicle.is_empty() {
                self.vehicles.remove(&id.vin);
            }
        }
    }
}

impl Lane {
    const EMPTY: Self = Self {
        unsent: 0,
        storing: 0,
        finished_to: 0,
        held_to: 0,
        fresh: None,
        rests: 0,
        state: State::Idle,
    };
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use vinbus_protocol::id::AppId;

    use super::*;
    use crate::model::{MessageId, NewDownlink};

    fn vin(number: usize) -> Vin {
        Vin::parse(&format!("TESTV{number:012}")).unwrap()
    }

    fn of(uid: &str, number: usize) -> LaneId {
        LaneId {
            vin: vin(number),
            uid: Uid::parse(uid).unwrap(),
        }
    }

    fn id(number: usize) -> LaneId {
        of("partner", number)
    }

    fn downlink(id: &LaneId, sequence: u64) -> Downlink {
        Downlink {
            id: MessageId(sequence.to_string()),
            sequence,
            message: NewDownlink {
                uid: id.uid.clone(),
                vin: id.vin,
                app: AppId::parse("app").unwrap(),
                envelope: Bytes::new(),
                expires_at: SystemTime::UNIX_EPOCH,
            },
        }
    }

    fn bounds(lane_messages: usize, messages: usize) -> Bounds {
        let many = Load {
            messages,
            bytes: u64::MAX,
        };
        Bounds {
            lane_messages,
            partner: many,
            all: many,
        }
    }

    fn lanes() -> Lanes {
        Lanes::new([], bounds(2, 3))
    }

    fn accept(lanes: &mut Lanes, id: &LaneId, sequence: u64) {
        lanes.reserve(id, 0).unwrap();
        lanes.accepted(id, &downlink(id, sequence));
    }

    fn taken(lanes: &mut Lanes) -> Option<LaneId> {
        lanes.take(Instant::now()).map(|(run, _)| run.lane)
    }

    #[test]
    fn limits_are_per_lane_and_for_all() {
        let mut lanes = lanes();
        accept(&mut lanes, &id(1), 1);
        accept(&mut lanes, &id(1), 2);
        assert_eq!(
            lanes.reserve(&id(1), 0),
            Err(SubmitError::VehicleQueueFull {
                vin: vin(1),
                max: 2
            })
        );
        accept(&mut lanes, &of("other", 1), 3);
        assert_eq!(
            lanes.reserve(&id(3), 0),
            Err(SubmitError::QueueFull { max: 3 })
        );
        lanes.finished(&id(1), 1, 0);
        assert_eq!(lanes.reserve(&id(3), 0), Ok(()));
    }

    #[test]
    fn one_partner_fills_its_share_and_leaves_the_rest_to_others() {
        let mut bounds = bounds(100, 6);
        bounds.partner.messages = 2;
        let (uid, mut lanes) = (id(1).uid, Lanes::new([], bounds));
        lanes.reserve(&id(1), 0).unwrap();
        lanes.reserve(&id(2), 0).unwrap();
        let full = SubmitError::PartnerQueueFull { uid, max: 2 };
        assert_eq!(lanes.reserve(&id(3), 0), Err(full));
        assert_eq!(lanes.reserve(&of("other", 3), 0), Ok(()));
        lanes.not_stored(&id(1), 0);
        assert_eq!(lanes.reserve(&id(3), 0), Ok(()));
    }

    #[test]
    fn bytes_are_limited_for_a_partner_and_for_all_and_given_back() {
        let mut bounds = bounds(100, 100);
        (bounds.partner.bytes, bounds.all.bytes) = (10_000, 15_000);
        let LaneId { vin, uid } = id(1);
        let backlog = Backlog {
            vin,
            uid: uid.clone(),
            messages: 1,
            bytes: 3_000,
            held_to: 0,
        };
        let mut lanes = Lanes::new([backlog], bounds);
        lanes.reserve(&id(2), 5_000).unwrap();
        let full = SubmitError::PartnerBytesFull { uid, max: 10_000 };
        assert_eq!(lanes.reserve(&id(3), 1_000), Err(full));
        let full = SubmitError::QueueBytesFull { max: 15_000 };
        assert_eq!(lanes.reserve(&of("other", 3), 6_000), Err(full));
        lanes.finished(&id(1), 1, 3_000);
        lanes.not_stored(&id(2), 5_000);
        assert!(lanes.partners.is_empty());
        assert_eq!(lanes.all, Load::default());
        assert_eq!(lanes.reserve(&id(3), 9_000), Ok(()));
    }

    #[test]
    fn a_lane_is_run_by_one_worker_and_again_when_woken_meanwhile() {
        let mut lanes = lanes();
        accept(&mut lanes, &id(1), 1);
        assert_eq!(taken(&mut lanes), Some(id(1)));
        accept(&mut lanes, &id(1), 2);
        assert_eq!(taken(&mut lanes), None);
        lanes.finished(&id(1), 1, 0);
        lanes.park(&id(1), 0);
        assert_eq!(taken(&mut lanes), Some(id(1)));
        lanes.finished(&id(1), 2, 0);
        lanes.park(&id(1), 0);
        assert_eq!((taken(&mut lanes), lanes.unsent()), (None, 0));
        assert!(lanes.vehicles.is_empty());
    }

    #[test]
    fn vehicles_and_partners_take_turns() {
        let mut lanes = lanes();
        accept(&mut lanes, &id(1), 1);
        accept(&mut lanes, &of("other", 1), 2);
        accept(&mut lanes, &id(1), 3);
        let (first, more) = lanes.take(Instant::now()).unwrap();
        assert_eq!((first.lane, more), (id(1), true));
        let (second, more) = lanes.take(Instant::now()).unwrap();
        assert_eq!((second.lane, more), (of("other", 1), false));
    }

    #[test]
    fn waking_a_vehicle_wakes_the_lanes_of_all_partners_once() {
        let mut lanes = lanes();
        for id in [id(1), of("other", 1), id(2)] {
            lanes.reserve(&id, 0).unwrap();
        }
        lanes.wake_vehicle(vin(1));
        lanes.wake_vehicle(vin(1));
        let mut woken = [taken(&mut lanes), taken(&mut lanes), taken(&mut lanes)];
        woken.sort_by_key(|id| id.as_ref().map(|id| id.uid.clone()));
        assert_eq!(woken, [None, Some(of("other", 1)), Some(id(1))]);
    }

    #[test]
    fn only_a_lonely_message_is_kept_in_memory() {
        let mut lanes = lanes();
        accept(&mut lanes, &id(1), 1);
        assert_eq!(
            lanes.take(Instant::now()).unwrap().0.fresh,
            Some(downlink(&id(1), 1))
        );
        lanes.reserve(&id(2), 0).unwrap();
        lanes.reserve(&id(2), 0).unwrap();
        lanes.accepted(&id(2), &downlink(&id(2), 2));
        assert_eq!(lanes.take(Instant::now()).unwrap().0.fresh, None);
    }

    #[test]
    fn backlog_of_the_store_counts_and_is_run_when_all_are_woken() {
        let LaneId { vin, uid } = id(1);
        let backlog = Backlog {
            vin,
            uid,
            messages: 2,
            bytes: 100,
            held_to: 7,
        };
        let mut lanes = Lanes::new([backlog], bounds(2, 3));
        assert!(lanes.reserve(&id(1), 0).is_err());
        lanes.wake_all();
        lanes.wake_all();
        assert_eq!(lanes.take(Instant::now()).unwrap().0.held_to, 7);
        assert_eq!(taken(&mut lanes), None);
    }

    #[test]
    fn message_that_is_sent_before_it_is_told_as_accepted_counts_for_no_other() {
        let mut lanes = lanes();
        let id = id(1);
        lanes.reserve(&id, 0).unwrap();
        lanes.reserve(&id, 0).unwrap();
        lanes.accepted(&id, &downlink(&id, 1));
        assert_eq!(taken(&mut lanes), Some(id.clone()));
        lanes.finished(&id, 1, 0);
        lanes.finished(&id, 2, 0);
        lanes.park(&id, 0);
        lanes.reserve(&id, 0).unwrap();
        lanes.accepted(&id, &downlink(&id, 2));
        assert_eq!(taken(&mut lanes), None);
        lanes.accepted(&id, &downlink(&id, 3));
        assert_eq!(
            lanes.take(Instant::now()).unwrap().0.fresh,
            Some(downlink(&id, 3))
        );
    }

    #[test]
    fn message_that_is_not_stored_leaves_nothing() {
        let mut lanes = lanes();
        lanes.reserve(&id(1), 0).unwrap();
        lanes.not_stored(&id(1), 0);
        assert_eq!(lanes.unsent(), 0);
        assert!(lanes.vehicles.is_empty());
    }

    #[test]
    fn lane_that_is_stuck_rests_longer_each_time_until_it_is_woken_or_sends() {
        let mut lanes = lanes();
        let id = id(1);
        let mut now = Instant::now();
        accept(&mut lanes, &id, 1);
        accept(&mut lanes, &id, 2);
        let mut rested = |lanes: &mut Lanes| {
            lanes.take(now).unwrap();
            lanes.rest(&id, 0, now);
            assert!(lanes.take(now).is_none());
            let until = lanes.next_rested().unwrap();
            let seconds = (until - now).as_secs();
            now = until;
            seconds
        };
        let seconds = std::array::from_fn(|_| rested(&mut lanes));
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 32]);
        lanes.wake(&id);
        assert_eq!(rested(&mut lanes), 1);
        lanes.finished(&id, 1, 0);
        assert_eq!(rested(&mut lanes), 1);
    }

    #[test]
    fn lane_that_is_woken_while_it_runs_does_not_rest_and_one_with_more_messages_does() {
        let mut lanes = lanes();
        let now = Instant::now();
        accept(&mut lanes, &id(1), 1);
        lanes.take(now).unwrap();
        accept(&mut lanes, &id(1), 2);
        lanes.rest(&id(1), 0, now);
        assert!(lanes.take(now).is_none());
        lanes.wake_vehicle(vin(1));
        lanes.take(now).unwrap();
        lanes.wake_vehicle(vin(1));
        lanes.rest(&id(1), 0, now);
        assert!(lanes.take(now).is_some());
        assert_eq!(lanes.next_rested(), None);
    }

    /// The lanes, with one worker and one vehicle, and what the store and the vehicle saw.
    struct World {
        lanes: Lanes,
        reserved: usize,
        on_disk: Vec<u64>,
        untold: Vec<u64>,
        last_sequence: u64,
        worker: Worker,
        sent: Vec<u64>,
    }

    enum Worker {
        Waits,
        Runs(Option<Box<Downlink>>),
        Sent(Vec<u64>),
    }

    impl World {
        fn new() -> Self {
            Self {
                lanes: Lanes::new([], bounds(100, 100)),
                reserved: 0,
                on_disk: Vec::new(),
                untold: Vec::new(),
                last_sequence: 0,
                worker: Worker::Waits,
                sent: Vec::new(),
            }
        }

        /// Does what `choice` says, where that is possible.
        fn step(&mut self, choice: u8) {
            let id = id(1);
            match choice % 5 {
                0 => {
                    self.lanes.reserve(&id, 0).unwrap();
                    self.reserved += 1;
                }
                1 if self.reserved > 0 => {
                    self.reserved -= 1;
                    self.last_sequence += 1;
                    self.on_disk.push(self.last_sequence);
                    self.untold.push(self.last_sequence);
                }
                2 if !self.untold.is_empty() => {
                    let place = usize::from(choice / 5) % self.untold.len();
                    let sequence = self.untold.swap_remove(place);
                    self.lanes.accepted(&id, &downlink(&id, sequence));
                }
                3 if self.reserved > 0 => {
                    self.reserved -= 1;
                    self.lanes.not_stored(&id, 0);
                }
                4 => self.work(),
                _ => {}
            }
        }

        /// One step of the worker.
        fn work(&mut self) {
            let id = id(1);
            self.worker = match std::mem::replace(&mut self.worker, Worker::Waits) {
                Worker::Waits => match self.lanes.take(Instant::now()) {
                    Some((run, _)) => Worker::Runs(run.fresh.map(Box::new)),
                    None => Worker::Waits,
                },
                Worker::Runs(fresh) => {
                    let page = match fresh {
                        Some(downlink) => vec![downlink.sequence],
                        None => self.on_disk.clone(),
                    };
                    if page.is_empty() {
                        self.lanes.park(&id, 0);
                        Worker::Waits
                    } else {
                        self.sent.extend(&page);
                        self.on_disk.retain(|sequence| !page.contains(sequence));
                        Worker::Sent(page)
                    }
                }
                Worker::Sent(page) => {
                    for sequence in page {
                        self.lanes.finished(&id, sequence, 0);
                    }
                    Worker::Runs(None)
                }
            };
        }

        /// Lets everything that began come to its end.
        fn finish(&mut self) {
            while self.reserved > 0 {
                self.step(1);
            }
            while !self.untold.is_empty() {
                self.step(2);
            }
            for _ in 0..4 * (self.last_sequence + 1) {
                self.work();
            }
        }
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(2000))]

        #[test]
        fn in_every_order_of_events_each_message_is_sent_once_and_in_order(
            choices in proptest::collection::vec(proptest::num::u8::ANY, 0..60),
        ) {
            let mut world = World::new();
            for choice in choices {
                world.step(choice);
            }
            world.finish();
            let all: Vec<_> = (1..=world.last_sequence).collect();
            assert_eq!(world.sent, all);
            assert_eq!(world.lanes.unsent(), 0);
            assert!(world.lanes.vehicles.is_empty());
        }
    }

    #[test]
    fn claimed_lane_is_nobody_elses_and_loses_what_expired() {
        let mut lanes = Lanes::new([], bounds(10, 10));
        for sequence in 1..=3 {
            accept(&mut lanes, &id(1), sequence);
        }
        assert!(lanes.claim(&id(1)).is_none(), "it waits for a worker");
        let run = lanes.take(Instant::now()).unwrap().0;
        assert!(lanes.claim(&id(1)).is_none(), "a worker runs it");
        lanes.park(&run.lane, 3);
        lanes.reserve(&id(1), 0).unwrap();
        assert!(lanes.claim(&id(1)).is_none(), "a message is on its way");
        lanes.not_stored(&id(1), 0);

        let claim = lanes.claim(&id(1)).unwrap();
        assert!(lanes.claim(&id(1)).is_none(), "it is claimed");
        lanes.finished(&id(1), 2, 0);
        accept(&mut lanes, &id(1), 4);
        lanes.release(&id(1), &claim);
        assert_eq!(lanes.unsent(), 3);
        let run = lanes.take(Instant::now()).unwrap().0;
        assert_eq!((run.held_to, run.fresh), (3, None));
    }

    #[test]
    fn claimed_lane_that_rested_is_run_again_and_an_empty_one_is_removed() {
        let mut lanes = Lanes::new([], bounds(10, 10));
        accept(&mut lanes, &id(1), 1);
        let now = Instant::now();
        let run = lanes.take(now).unwrap().0;
        lanes.rest(&run.lane, 0, now);
        let claim = lanes.claim(&id(1)).unwrap();
        assert_eq!(lanes.next_rested(), None);
        lanes.release(&id(1), &claim);
        let run = lanes.take(now).unwrap().0;
        lanes.park(&run.lane, 1);

        let claim = lanes.claim(&id(1)).unwrap();
        lanes.finished(&id(1), 1, 0);
        lanes.release(&id(1), &claim);
        assert!(lanes.vehicles.is_empty());
        assert_eq!(lanes.unsent(), 0);
    }
}
