//! An owner of an endpoint, as the agent and the host are: keeps bytes, notes what it is told,
//! decides what becomes of what comes, and may be killed at any moment.

mod receiving;
mod sending;

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use vinbus_protocol::delivery::parts::Assembly;
use vinbus_protocol::delivery::{
    Batch, Endpoint, Epoch, Loss, Message, MessageId, Offer, Part, Run, Snapshot, Step, Window,
};

use vinbus_protocol::limits::DELIVERY_BATCHES_UNNOTED_MAX;

use super::content::{LONG_BYTES_MAX, content_of, is_long};
use super::ledger::{Ledger, Truth};
use super::network::Way;
use crate::seeds::random::Random;

/// Few places, so that they run short.
pub(crate) const SEND: usize = 8;
pub(crate) const OPEN: usize = 24;

/// What an owner keeps when it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keeps {
    /// Everything that it has said to keep: a host with its store.
    Disk,
    /// Nothing, unless it is stopped in good order: an agent.
    Memory,
    /// Everything, noted before anybody hears of it: an agent with a journal.
    Journal,
}

/// A message that the owner has accepted.
#[derive(Clone, Debug)]
struct Sent {
    message: Message,
    number: Option<u32>,
    step: Option<Step>,
    loss: Option<Loss>,
    superseded: bool,
    /// How far it is, if it goes in parts.
    progress: Option<Progress>,
}

/// How far a long message is.
#[derive(Clone, Debug)]
struct Progress {
    text: String,
    first: Part,
    /// Where the part begins that is on its way or is next, and where it ends.
    stored: usize,
    end: usize,
    /// Times that it was begun.
    begun: u32,
}

impl Progress {
    fn new(text: String) -> Self {
        Self {
            first: Part::first(&text),
            text,
            stored: 0,
            end: 0,
            begun: 1,
        }
    }

    fn is_last(&self) -> bool {
        self.end == self.text.len()
    }
}

impl Sent {
    fn is_settled(&self) -> bool {
        self.loss.is_some() || self.superseded || self.step.is_some_and(Step::is_final)
    }

    /// What the endpoint gets: the message, or its part.
    fn submitted(&self) -> Message {
        match &self.progress {
            None => self.message,
            Some(progress) => Message {
                bytes: (progress.end - progress.stored) as u32,
                // No app has seen anything of a part that is not the last.
                repeatable: self.message.repeatable || !progress.is_last(),
                ..self.message
            },
        }
    }
}

/// What came and is on disk a little later.
struct Commit {
    at_ms: u64,
    id: MessageId,
    came: Came,
}

enum Came {
    Whole(u64),
    /// With its text.
    Part(Part, String),
}

/// What a stop in good order leaves behind.
struct Kept {
    snapshot: Snapshot,
    open: Vec<(MessageId, Step)>,
}

pub(crate) struct Node {
    keeps: Keeps,
    endpoint: Option<Endpoint<SEND, OPEN>>,
    kept: Option<Kept>,
    starts: u32,
    /// Where a counter of starts stands, which every epoch raises.
    highest_epoch: Option<u32>,
    pub(crate) offset_ms: i64,
    pub(crate) link: bool,
    sent: BTreeMap<u64, Sent>,
    waiting: VecDeque<u64>,
    waiting_long: VecDeque<u64>,
    /// The long message whose parts are on their way.
    transfer: Option<u64>,
    /// What has come of a long message: on disk, noted or in memory, as the node keeps things.
    assembly: Assembly<Vec<u8>>,
    to_resume: VecDeque<u64>,
    numbers: BTreeMap<u32, u64>,
    /// Receipts that are noted a little later.
    notes: VecDeque<(u64, Batch, Vec<Run>)>,
    commits: VecDeque<Commit>,
    /// The part that is on disk last, of a message that is not whole.
    last_part: Option<MessageId>,
    /// Of what is on disk.
    window: Window,
    window_of: Option<Epoch>,
    held: VecDeque<(MessageId, u64, Option<u64>)>,
    handed: VecDeque<(MessageId, u64)>,
    /// The two epochs and the last batch of receipts, as they are noted.
    noted: Option<(Epoch, Option<Epoch>, u32)>,
    /// The other end has said since the start how far it has come.
    met: bool,
    /// The other end speaks delivery and has not been killed, so all will be settled.
    pub(crate) accepted: u64,
    /// Times that long messages were begun again.
    pub(crate) begun_again: u64,
}

/// What surrounds a node while it acts.
pub(crate) struct Around<'a> {
    pub(crate) now_ms: u64,
    pub(crate) random: &'a mut Random,
    pub(crate) way: &'a mut Way,
    /// Of the messages that it sends.
    pub(crate) outward: &'a mut Ledger,
    /// Of the messages that it gets.
    pub(crate) inward: &'a mut Ledger,
    /// From here on all goes well.
    pub(crate) calm: bool,
}

impl Node {
    pub(crate) fn new(keeps: Keeps) -> Self {
        Self {
            keeps,
            endpoint: None,
            kept: None,
            starts: 0,
            highest_epoch: None,
            offset_ms: 0,
            link: false,
            sent: BTreeMap::new(),
            waiting: VecDeque::new(),
            waiting_long: VecDeque::new(),
            transfer: None,
            assembly: Assembly::new(vec![0; LONG_BYTES_MAX]),
            to_resume: VecDeque::new(),
            numbers: BTreeMap::new(),
            notes: VecDeque::new(),
            commits: VecDeque::new(),
            last_part: None,
            window: Window::default(),
            window_of: None,
            noted: None,
            met: false,
            held: VecDeque::new(),
            handed: VecDeque::new(),
            accepted: 0,
            begun_again: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.endpoint.is_some()
    }

    pub(crate) fn offer(&self) -> Option<Offer> {
        self.endpoint.as_ref().map(Endpoint::offer)
    }

    fn local(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add_signed(self.offset_ms)
    }

    // Starting and stopping.

    pub(crate) fn start(&mut self, around: &mut Around<'_>) {
        self.starts += 1;
        let now_ms = self.local(around.now_ms);
        let (snapshot, open) = match (self.kept.take(), self.keeps) {
            (Some(kept), _) => (kept.snapshot, kept.open),
            (None, Keeps::Disk) if self.starts > 1 => unreachable!("a disk keeps"),
            // A counter of starts, or now and then a clock that was set to anything.
            (None, _) => {
                let epoch = match around.random.chance(80) {
                    true => self.highest_epoch.map_or(1, |epoch| epoch + 1),
                    false => around.random.between(1, 400_000_000) as u32,
                };
                (Snapshot::fresh(Epoch::new(epoch).unwrap()), Vec::new())
            }
        };
        let mut endpoint = Endpoint::new(snapshot, around.random.word() as u32);
        endpoint.take_parts(LONG_BYTES_MAX as u32);
        for (id, step) in open {
            assert!(endpoint.resume_open(now_ms, id, step), "it was open before");
        }
        if self.keeps != Keeps::Disk {
            endpoint.await_open();
        }
        self.note_epoch(endpoint.epoch());
        self.endpoint = Some(endpoint);
        (self.noted, self.met) = (None, false);
        let mut unanswered: Vec<(u32, u64)> = self
            .sent
            .iter()
            .filter(|(_, sent)| sent.step.is_none() && !sent.is_settled())
            .filter_map(|(&message, sent)| Some((sent.number?, message)))
            .collect();
        unanswered.sort_unstable();
        self.to_resume = unanswered.into_iter().map(|(_, message)| message).collect();
    }

    fn note_epoch(&mut self, epoch: Epoch) {
        self.highest_epoch = self.highest_epoch.max(Some(epoch.number()));
    }

    /// Killed: what is not kept is gone.
    pub(crate) fn kill(&mut self, around: &mut Around<'_>) {
        let Some(endpoint) = self.endpoint.take() else {
            return;
        };
        self.link = false;
        self.notes.clear();
        self.commits.clear();
        match self.keeps {
            // A journal goes on as after a stop in good order.
            Keeps::Disk | Keeps::Journal => self.kept = Some(self.kept_of(&endpoint)),
            Keeps::Memory => {
                self.sent.retain(|_, sent| sent.is_settled());
                self.waiting.clear();
                self.waiting_long.clear();
                self.transfer = None;
                self.assembly.clear();
                self.numbers.clear();
                self.held.clear();
                self.handed.clear();
                around.inward.receiver_forgot();
            }
        }
    }

    /// Notes the epochs and the batch of receipts, if the notes are too old.
    fn note_session(&mut self) {
        let Some(endpoint) = &self.endpoint else {
            return;
        };
        let memory = endpoint.snapshot();
        let is_noted = self.noted.is_some_and(|(epoch, peer, batch)| {
            (epoch, peer) == (memory.epoch, memory.peer)
                && memory.batch - batch <= DELIVERY_BATCHES_UNNOTED_MAX
        });
        if !is_noted {
            self.noted = Some((memory.epoch, memory.peer, memory.batch));
        }
    }

    /// What is on disk of an endpoint.
    fn kept_of(&self, endpoint: &Endpoint<SEND, OPEN>) -> Kept {
        let snapshot = endpoint.snapshot();
        let snapshot = Snapshot {
            batch: self.noted.map_or(0, |(_, _, batch)| batch),
            ..snapshot
        };
        if self.keeps != Keeps::Disk {
            let open = endpoint.open_messages().collect();
            return Kept { snapshot, open };
        }
        let snapshot = Snapshot {
            window: match self.window_of == snapshot.peer {
                true => self.window,
                false => Window::default(),
            },
            ..snapshot
        };
        // The other end may not have heard of it, and *known* would let it begin again.
        let last = self.last_part.filter(|id| Some(id.epoch) == snapshot.peer);
        let open = last.map(|id| (id, Step::PartStored)).into_iter().collect();
        Kept { snapshot, open }
    }

    /// A copy of what it has on disk now, if it has a disk and runs.
    pub(crate) fn copied(&self) -> Option<Self> {
        let endpoint = self.endpoint.as_ref()?;
        (self.keeps != Keeps::Memory).then(|| Self {
            kept: Some(self.kept_of(endpoint)),
            sent: self.sent.clone(),
            waiting: self.waiting.clone(),
            waiting_long: self.waiting_long.clone(),
            transfer: self.transfer,
            assembly: self.assembly.clone(),
            numbers: self.numbers.clone(),
            last_part: self.last_part,
            window: self.window,
            window_of: self.window_of,
            held: self.held.clone(),
            handed: self.handed.clone(),
            ..Self::new(self.keeps)
        })
    }

    /// Goes on from a copy, when it starts.
    pub(crate) fn put_back(&mut self, around: &mut Around<'_>, copy: Self) {
        let unsettled = copy.sent.iter().filter(|(_, sent)| !sent.is_settled());
        let unsettled = unsettled.map(|(&message, _)| message);
        around.outward.sender_put_back(unsettled);
        let held = copy.held.iter().map(|held| held.1);
        around.inward.may_come_late(held);
        *self = Self {
            starts: self.starts,
            highest_epoch: self.highest_epoch,
            offset_ms: self.offset_ms,
            accepted: self.accepted,
            begun_again: self.begun_again,
            ..copy
        };
    }

    /// Stopped in good order.
    pub(crate) fn stop(&mut self, around: &mut Around<'_>) {
        if self.keeps == Keeps::Disk {
            return self.kill(around);
        }
        if let Some(endpoint) = self.endpoint.take() {
            self.link = false;
            self.kept = Some(Kept {
                snapshot: endpoint.snapshot(),
                open: endpoint.open_messages().collect(),
            });
        }
    }

    // Inputs.

    pub(crate) fn set_link(&mut self, around: &mut Around<'_>, up: bool) {
        let now_ms = self.local(around.now_ms);
        if let Some(endpoint) = &mut self.endpoint {
            self.link = up;
            endpoint.handle_link(now_ms, up);
        }
        self.pump(around);
    }

    pub(crate) fn announced(&mut self, around: &mut Around<'_>, offer: Offer) {
        let now_ms = self.local(around.now_ms);
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.handle_announcement(now_ms, offer);
        }
        self.pump(around);
    }

    /// The owner accepts a message.
    pub(crate) fn accept(&mut self, around: &mut Around<'_>, identity: u64) {
        if self.endpoint.is_none() {
            return;
        }
        let now_ms = self.local(around.now_ms);
        let random = &mut *around.random;
        let is_long = is_long(identity);
        let has_key = random.chance(30) && !is_long;
        let key = has_key.then(|| random.between(1, 2) as u32);
        let repeatable = random.chance(20);
        let expires_at_ms = match random.between(0, 9) {
            0 => Some(0),
            1 => Some(u64::MAX),
            2..=4 => None,
            _ => Some(now_ms + random.between(1, 120_000)),
        };
        let text = content_of(identity);
        let message = Message {
            bytes: text.len() as u32,
            expires_at_ms,
            key: key.and_then(NonZeroU32::new),
            repeatable,
        };
        let truth = Truth {
            repeatable,
            key,
            ..Truth::default()
        };
        around.outward.truths.insert(identity, truth);
        let sent = Sent {
            message,
            number: None,
            step: None,
            loss: None,
            superseded: false,
            progress: is_long.then(|| Progress::new(text)),
        };
        self.sent.insert(identity, sent);
        match is_long {
            true => self.waiting_long.push_back(identity),
            false => self.waiting.push_back(identity),
        }
        self.accepted += 1;
        self.pump(around);
    }

    /// The owner does not want a message to be sent any more.
    pub(crate) fn withdraw(&mut self, around: &mut Around<'_>) {
        let number = self.numbers.keys().next_back().copied();
        if let (Some(endpoint), Some(number)) = (&mut self.endpoint, number)
            && endpoint.withdraw(number)
        {
            self.lose(around, number, Loss::GivenUp);
        }
        self.pump(around);
    }

    // What time brings.

    /// When something is due here.
    pub(crate) fn next_at_ms(&self) -> Option<u64> {
        let endpoint = self.endpoint.as_ref()?;
        let timeout = endpoint
            .poll_timeout()
            .map(|at| at.saturating_add_signed(self.offset_ms.saturating_neg()));
        let note = self.notes.front().map(|note| note.0);
        let commit = self.commits.front().map(|commit| commit.at_ms);
        [timeout, note, commit].into_iter().flatten().min()
    }

    /// Does all that is due.
    pub(crate) fn pump(&mut self, around: &mut Around<'_>) {
        self.note(around, around.now_ms);
        self.commit(around, around.now_ms);
        self.settle_events(around);
        self.refill(around);
        // What is taken in may be over at once, and so make room for more.
        while self.settle_events(around) {
            self.refill(around);
        }
        self.note_session();
        self.transmit(around);
        let now_ms = self.local(around.now_ms);
        if let Some(endpoint) = &self.endpoint {
            let next = endpoint.poll_timeout();
            assert!(
                next.is_none_or(|at| at > now_ms),
                "it is {now_ms} and something is due at {next:?} that is never done"
            );
        }
    }

    // The books.

    /// Every message that was accepted and whose owner still knows it is settled, or held by `other`
    /// as its sender was told. Returns how many were settled, held.
    pub(crate) fn balance(&self, other: &Self, inward: &Ledger) -> [u64; 3] {
        let mut sums = [0; 3];
        for (message, sent) in &self.sent {
            let is_held = other.held.iter().any(|(_, held, _)| held == message);
            let is_handed = other.handed.iter().any(|(_, handed)| handed == message);
            let place = match sent.step {
                Some(step) if step.is_final() => 0,
                _ if sent.is_settled() => 2,
                Some(Step::HeldBackground) if is_held => 1,
                Some(Step::Handed) if is_handed => 1,
                _ => panic!("nobody knows what became of message {message}: {sent:?}"),
            };
            assert!(inward.truths.contains_key(message));
            sums[place] += 1;
        }
        let endpoint = self.endpoint.as_ref().expect("it runs");
        assert_eq!(endpoint.unanswered(), 0, "all are answered");
        assert!(self.waiting.is_empty() && self.to_resume.is_empty());
        assert!(self.waiting_long.is_empty() && self.transfer.is_none());
        sums
    }
}
