//! Requests between a caller and a vehicle over a network that loses, repeats, delays and reorders:
//! the same state machines as in the programs, virtual time, one seed for each run.

use std::collections::{BTreeMap, BTreeSet};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Epoch, MessageId, Step};
use vinbus_protocol::limits::{REQUEST_LATE_MS, REQUEST_PLACES};
use vinbus_protocol::request::{
    Arrival, Call, CallState, Calls, Message, Order, Report, RequestId,
};

use crate::seeds::random::Random;
use crate::seeds::run_seed;

const APP: AppSlot = AppSlot::new(0);
const TTL_S: u32 = 20;

/// What a run has seen.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Summary {
    pub(crate) requests: u64,
    /// Those that an app began with.
    pub(crate) executed: u64,
    pub(crate) answered: u64,
    pub(crate) virtual_ms: u64,
}

impl std::ops::Add for Summary {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            requests: self.requests + other.requests,
            executed: self.executed + other.executed,
            answered: self.answered + other.answered,
            virtual_ms: self.virtual_ms + other.virtual_ms,
        }
    }
}

/// Runs one seed: every request is carried out and answered at most once, and ends in time.
///
/// # Errors
/// What went wrong; the text names the seed.
pub(crate) fn run(seed: u64) -> Result<Summary, String> {
    run_seed("requests", seed, run_to_the_end)
}

/// What is on its way.
#[derive(Clone, Copy, Debug)]
enum Frame {
    Request(RequestId, u32),
    Order(Order),
    Told(RequestId, Step),
    Answer(RequestId),
}

struct World {
    random: Random,
    now_ms: u64,
    /// By the time of arrival.
    network: BTreeMap<(u64, u64), Frame>,
    frames: u64,
    loss: u64,
    calls: BTreeMap<RequestId, Call>,
    /// Requests whose sender has not heard of them yet, and when they are sent again.
    unheard: BTreeMap<RequestId, u64>,
    car: Calls<REQUEST_PLACES>,
    /// Which request a message brought.
    messages: BTreeMap<u32, RequestId>,
    number: u32,
    /// When the app answers what it was given.
    working: BTreeMap<RequestId, u64>,
    executed: BTreeSet<RequestId>,
    answered: BTreeSet<RequestId>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let loss = random.between(0, 59);
        Self {
            random,
            now_ms: 0,
            network: BTreeMap::new(),
            frames: 0,
            loss,
            calls: BTreeMap::new(),
            unheard: BTreeMap::new(),
            car: Calls::new(),
            messages: BTreeMap::new(),
            number: 0,
            working: BTreeMap::new(),
            executed: BTreeSet::new(),
            answered: BTreeSet::new(),
        }
    }

    fn send(&mut self, frame: Frame) {
        let copies = if self.random.chance(self.loss) {
            0
        } else if self.random.chance(10) {
            2
        } else {
            1
        };
        for _ in 0..copies {
            let at_ms = self.now_ms + self.random.between(1, 3_000);
            self.frames += 1;
            self.network.insert((at_ms, self.frames), frame);
        }
    }

    fn request(&mut self, id: RequestId) {
        self.calls
            .insert(id, Call::new(self.now_ms, id, u64::from(TTL_S) * 1_000));
        self.unheard.insert(id, self.now_ms);
    }

    /// Everything that is due now.
    fn step(&mut self) {
        while let Some(entry) = self.network.first_entry() {
            if entry.key().0 > self.now_ms {
                break;
            }
            match entry.remove() {
                Frame::Request(id, number) => self.request_came(id, number),
                Frame::Order(Order::Cancel(id)) => {
                    let message = self.message(0);
                    if let Some(ended) = self.car.cancel(message, id) {
                        self.working.remove(&id);
                        self.tell(ended.report);
                    }
                }
                Frame::Order(Order::Repeat(id)) => {
                    if self.car.answer(0, id).is_some() {
                        self.send(Frame::Answer(id));
                    }
                }
                Frame::Told(id, step) => self.told(id, step),
                Frame::Answer(id) => {
                    assert!(self.executed.contains(&id));
                    self.unheard.remove(&id);
                    if self.calls.get_mut(&id).unwrap().handle_answer() {
                        assert!(self.answered.insert(id), "{id} is answered twice");
                    }
                }
            }
        }
        while let Some(ended) = self.car.next_expired(self.now_ms) {
            self.working.remove(&ended.id);
            self.tell(ended.report);
        }
        self.apps_answer();
        self.host_sends();
    }

    fn message(&self, number: u32) -> Message {
        let epoch = Epoch::FIRST;
        Message {
            partner: 0,
            id: MessageId { epoch, number },
        }
    }

    fn request_came(&mut self, id: RequestId, number: u32) {
        self.messages.insert(number, id);
        let message = self.message(number);
        match self.car.handle_request(self.now_ms, message, id, TTL_S) {
            Arrival::New(new) => {
                assert!(self.executed.insert(id), "{id} is carried out twice");
                let report = self.car.handed(new, APP, None);
                let works_ms = self.random.between(0, 24_999);
                self.working.insert(id, self.now_ms + works_ms);
                self.tell(report);
            }
            Arrival::Known(report) => self.tell(report),
            Arrival::Answered(report, _) => {
                self.tell(report);
                self.send(Frame::Answer(id));
            }
        }
    }

    fn apps_answer(&mut self) {
        let ready = self.working.iter().filter(|(_, at)| **at <= self.now_ms);
        let ready: Vec<RequestId> = ready.map(|(id, _)| *id).collect();
        for id in ready {
            self.working.remove(&id);
            assert_eq!(self.car.may_answer(APP, id), Ok(()));
            let report = self.car.answered(APP, id, id.value()).unwrap();
            self.send(Frame::Answer(id));
            self.tell(report);
        }
    }

    /// Receipts come at last, as delivery repeats them: here they are never lost, only late.
    fn tell(&mut self, report: Report) {
        let Some(&id) = self.messages.get(&report.message.id.number) else {
            return;
        };
        let at_ms = self.now_ms + self.random.between(1, 3_000);
        self.frames += 1;
        self.network
            .insert((at_ms, self.frames), Frame::Told(id, report.step));
    }

    fn told(&mut self, id: RequestId, step: Step) {
        self.unheard.remove(&id);
        let call = self.calls.get_mut(&id).unwrap();
        match step {
            Step::Answered | Step::Known => call.handle_answered(self.now_ms),
            step if step.is_final() => call.handle_end(),
            _ => {}
        }
    }

    fn host_sends(&mut self) {
        let due = self.unheard.iter().filter(|(_, at)| **at <= self.now_ms);
        let due: Vec<RequestId> = due.map(|(id, _)| *id).collect();
        for id in due {
            self.number += 1;
            self.send(Frame::Request(id, self.number));
            self.unheard.insert(id, self.now_ms + 1_500);
        }
        let ids: Vec<RequestId> = self.calls.keys().copied().collect();
        for id in ids {
            let random = self.random.word() as u32;
            let call = self.calls.get_mut(&id).unwrap();
            if let Some(order) = call.poll_transmit(self.now_ms, random) {
                self.send(Frame::Order(order));
            }
            if matches!(self.calls[&id].state(), CallState::Late | CallState::Over) {
                self.unheard.remove(&id);
            }
        }
    }

    fn next_ms(&self) -> Option<u64> {
        let network = self.network.keys().next().map(|(at, _)| *at);
        let calls = self.calls.values().filter_map(Call::poll_timeout).min();
        let all = [
            network,
            calls,
            self.unheard.values().min().copied(),
            self.working.values().min().copied(),
            self.car.poll_timeout(),
        ];
        all.into_iter().flatten().min()
    }
}

fn run_to_the_end(seed: u64) -> Summary {
    let mut world = World::new(seed);
    let wanted = world.random.between(1, REQUEST_PLACES as u64);
    for value in 1..=wanted {
        world.request(RequestId::new(value));
    }
    let mut last_ms = 0;
    while let Some(at_ms) = world.next_ms() {
        world.now_ms = at_ms.max(world.now_ms);
        last_ms = world.now_ms;
        world.step();
        if world.random.chance(3) {
            let nth = world.random.index(world.calls.len());
            world
                .calls
                .values_mut()
                .nth(nth)
                .unwrap()
                .cancel(world.now_ms);
        }
    }
    for (id, call) in &world.calls {
        assert_eq!(call.state(), CallState::Over, "{id}");
    }
    assert_eq!(world.car.open(), 0);
    // Everything is over when no late answer is taken any more, and the network is empty.
    assert!(
        last_ms <= u64::from(TTL_S) * 2_000 + REQUEST_LATE_MS + 3_000,
        "{last_ms}"
    );
    Summary {
        requests: wanted,
        executed: world.executed.len() as u64,
        answered: world.answered.len() as u64,
        virtual_ms: last_ms,
    }
}

/// Without losses, to an app that answers within a second: how many of ten requests are answered.
#[allow(
    dead_code,
    reason = "a test calls it, the program that runs many seeds does not"
)]
pub(crate) fn answered_of_ten_without_losses() -> usize {
    let mut world = World::new(7);
    world.loss = 0;
    for value in 1..=10 {
        world.request(RequestId::new(value));
    }
    while let Some(at_ms) = world.next_ms() {
        world.now_ms = at_ms.max(world.now_ms);
        for at in world.working.values_mut() {
            *at = (*at).min(world.now_ms + 1_000);
        }
        world.step();
    }
    world.answered.len()
}
