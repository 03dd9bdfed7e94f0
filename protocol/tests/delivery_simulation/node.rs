//! An owner of an endpoint, as the agent and the host are: keeps bytes, notes what it is told,
//! decides what becomes of what comes, and may be killed at any moment.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroU32;

use vinbus_protocol::delivery::{
    self, Batch, CONTROL_APP, Endpoint, Epoch, Event, Loss, Marked, Message, MessageId, Offer,
    Received, Run, Snapshot, Step, SubmitError, Transmit, Verdict, Window,
};
use vinbus_protocol::envelope::{Content, Downlink, DownlinkBody, Uplink};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_CONTROL_BYTES_MAX, PENDING_MESSAGES_MAX,
};

use super::ledger::{Ledger, Truth};
use super::network::Way;
use super::random::Random;

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
}

impl Sent {
    fn is_settled(&self) -> bool {
        self.loss.is_some() || self.superseded || self.step.is_some_and(Step::is_final)
    }
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
    to_resume: VecDeque<u64>,
    numbers: BTreeMap<u32, u64>,
    /// Receipts that are noted a little later.
    notes: VecDeque<(u64, Batch, Vec<Run>)>,
    /// What came and is on disk a little later.
    commits: VecDeque<(u64, MessageId, u64)>,
    /// Of what is on disk.
    window: Window,
    window_of: Option<Epoch>,
    held: VecDeque<(MessageId, u64, Option<u64>)>,
    handed: VecDeque<(MessageId, u64)>,
    /// The other end speaks delivery and has not been killed, so all will be settled.
    pub(crate) accepted: u64,
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
            to_resume: VecDeque::new(),
            numbers: BTreeMap::new(),
            notes: VecDeque::new(),
            commits: VecDeque::new(),
            window: Window::default(),
            window_of: None,
            held: VecDeque::new(),
            handed: VecDeque::new(),
            accepted: 0,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        self.endpoint.is_some()
    }

    pub(crate) fn epoch(&self) -> Option<Epoch> {
        self.endpoint.as_ref().map(Endpoint::epoch)
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
        let mut endpoint = Endpoint::new(snapshot);
        for (id, step) in open {
            assert!(endpoint.resume_open(now_ms, id, step), "it was open before");
        }
        self.note_epoch(endpoint.epoch());
        self.endpoint = Some(endpoint);
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
            Keeps::Disk => {
                let snapshot = Snapshot {
                    window: match self.window_of == endpoint.peer() {
                        true => self.window,
                        false => Window::default(),
                    },
                    ..endpoint.snapshot()
                };
                let open = Vec::new();
                self.kept = Some(Kept { snapshot, open });
            }
            // It goes on as after a stop in good order.
            Keeps::Journal => {
                self.kept = Some(Kept {
                    snapshot: endpoint.snapshot(),
                    open: endpoint.open_messages().collect(),
                });
            }
            Keeps::Memory => {
                self.sent.retain(|_, sent| sent.is_settled());
                self.waiting.clear();
                self.numbers.clear();
                self.held.clear();
                self.handed.clear();
                around.inward.receiver_forgot();
            }
        }
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

    pub(crate) fn announced(&mut self, around: &mut Around<'_>, peer: Epoch) {
        let now_ms = self.local(around.now_ms);
        if let Some(endpoint) = &mut self.endpoint {
            let long_bytes_max = 0;
            let offer = Offer {
                epoch: peer,
                long_bytes_max,
            };
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
        let key = random.chance(30).then(|| random.between(1, 2) as u32);
        let repeatable = random.chance(20);
        let expires_at_ms = match random.between(0, 9) {
            0 => Some(0),
            1 => Some(u64::MAX),
            2..=4 => None,
            _ => Some(now_ms + random.between(1, 120_000)),
        };
        let message = Message {
            bytes: content_of(identity).len() as u32,
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
        };
        self.sent.insert(identity, sent);
        self.waiting.push_back(identity);
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

    pub(crate) fn handle_frame(&mut self, around: &mut Around<'_>, frame: &[u8]) {
        if self.endpoint.is_none() || !self.link {
            return;
        }
        let content = match Downlink::decode(frame) {
            Ok(Downlink {
                body: DownlinkBody::Data(content),
                ..
            }) => content,
            _ => Uplink::decode(frame).expect("an envelope").content,
        };
        match delivery::read(content) {
            Received::Plain => panic!("only delivery speaks here"),
            Received::Message(header, carried) => {
                let now_ms = self.local(around.now_ms);
                let endpoint = self.endpoint.as_mut().expect("it runs");
                let verdict = endpoint.handle_message(now_ms, &header);
                self.settle_events(around);
                if let Verdict::New(id) = verdict {
                    let whole = carried.pieces().concat();
                    self.take(around, id, identity_of(&whole), header.ttl_s);
                }
            }
            Received::Control(control) => {
                let now_ms = self.local(around.now_ms);
                let endpoint = self.endpoint.as_mut().expect("it runs");
                let mut told = Vec::new();
                let batch = endpoint.handle_control(now_ms, &control, |run| told.push(run));
                self.settle_events(around);
                if let Some(batch) = batch {
                    let later = match self.keeps {
                        Keeps::Disk => around.random.between(0, 50),
                        Keeps::Memory | Keeps::Journal => 0,
                    };
                    self.notes.push_back((around.now_ms + later, batch, told));
                }
            }
        }
        self.pump(around);
    }

    /// What is new: kept, handed on or refused.
    fn take(&mut self, around: &mut Around<'_>, id: MessageId, message: u64, ttl_s: u32) {
        let now_ms = self.local(around.now_ms);
        let endpoint = self.endpoint.as_mut().expect("it runs");
        if self.keeps == Keeps::Disk {
            let at = around.now_ms + around.random.between(0, 30);
            self.commits.push_back((at, id, message));
            return;
        }
        let mut report = |step| assert!(endpoint.report(now_ms, id, step), "it is open");
        match around.random.between(0, 9) {
            0 => report(Step::UnknownApp),
            1 if !around.calm => assert!(endpoint.forget(id), "nothing was reported"),
            2..=3 if self.held.is_empty() => {
                around.inward.deliver(message);
                report(Step::Handed);
                self.handed.push_back((id, message));
            }
            4..=6 if self.held.is_empty() => {
                around.inward.deliver(message);
                report(Step::Taken);
            }
            _ => {
                report(Step::Received);
                report(Step::HeldBackground);
                let ends = (ttl_s > 0).then(|| around.now_ms + u64::from(ttl_s) * 1_000);
                self.held.push_back((id, message, ends));
                if self.held.len() > PENDING_MESSAGES_MAX
                    && let Some((id, ..)) = self.held.pop_front()
                {
                    endpoint.report(now_ms, id, Step::Evicted);
                }
            }
        }
    }

    /// The app comes to the front and takes what is held, and confirms what it was handed.
    pub(crate) fn open_app(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        for (id, message, ends) in self.held.drain(..) {
            if ends.is_some_and(|ends| ends <= around.now_ms) {
                endpoint.report(now_ms, id, Step::Expired);
            } else {
                around.inward.deliver(message);
                endpoint.report(now_ms, id, Step::Taken);
            }
        }
        for (id, _) in self.handed.drain(..) {
            let step = match around.random.chance(80) {
                true => Step::Confirmed,
                false => Step::RefusedByApp,
            };
            endpoint.report(now_ms, id, step);
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
        let commit = self.commits.front().map(|commit| commit.0);
        [timeout, note, commit].into_iter().flatten().min()
    }

    /// Does all that is due.
    pub(crate) fn pump(&mut self, around: &mut Around<'_>) {
        self.note(around, around.now_ms);
        self.commit(around);
        self.settle_events(around);
        self.refill(around);
        // What is taken in may be over at once, and so make room for more.
        while self.settle_events(around) {
            self.refill(around);
        }
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

    fn note(&mut self, around: &mut Around<'_>, until_ms: u64) {
        while let Some((_, batch, runs)) = self.notes.pop_front_if(|note| note.0 <= until_ms) {
            for run in runs {
                let last = run.first.saturating_add(run.count - 1);
                let named: Vec<u64> = self
                    .numbers
                    .range(run.first..=last)
                    .map(|(_, &message)| message)
                    .collect();
                for message in named {
                    self.tell(around, message, run.step);
                }
            }
            if let Some(endpoint) = &mut self.endpoint {
                endpoint.acknowledge(batch);
            }
        }
    }

    fn tell(&mut self, around: &mut Around<'_>, message: u64, step: Step) {
        let Some(sent) = self.sent.get_mut(&message) else {
            return;
        };
        assert!(sent.number.is_some(), "it was sent");
        let settled = sent.step.is_some_and(Step::is_final);
        if settled || step == Step::Known && sent.step.is_some() {
            return;
        }
        sent.step = Some(step);
        if step.is_final() {
            around.outward.check_told(message, step);
        }
    }

    fn commit(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        while let Some((_, id, message)) = self
            .commits
            .pop_front_if(|commit| commit.0 <= around.now_ms)
        {
            let endpoint = self.endpoint.as_mut().expect("it runs");
            if !around.calm && around.random.chance(10) {
                endpoint.forget(id);
                continue;
            }
            if self.window_of != Some(id.epoch) {
                // Of a life that is over: it is on disk all the same, and told to nobody.
                if self.window_of.is_some_and(|epoch| epoch > id.epoch) {
                    around.inward.deliver(message);
                    continue;
                }
                (self.window, self.window_of) = (Window::default(), Some(id.epoch));
            }
            self.window.insert(id.number);
            around.inward.deliver(message);
            endpoint.report(now_ms, id, Step::Confirmed);
        }
    }

    /// Does what events ask for; `false` if there was none.
    fn settle_events(&mut self, around: &mut Around<'_>) -> bool {
        let now_ms = self.local(around.now_ms);
        let mut any = false;
        while let Some(event) = self
            .endpoint
            .as_mut()
            .and_then(|endpoint| endpoint.poll_event(now_ms))
        {
            any = true;
            match event {
                Event::Lost { number, loss } => self.lose(around, number, loss),
                Event::PeerRestarted | Event::EpochChanged(_) => {
                    if let Event::EpochChanged(epoch) = event {
                        self.note_epoch(epoch);
                    }
                    // What was told before counts before.
                    self.note(around, u64::MAX);
                    let unknown: Vec<u32> = self
                        .numbers
                        .iter()
                        .filter(|(_, message)| {
                            let sent = self.sent.get(message);
                            sent.is_some_and(|sent| sent.step.is_some() && !sent.is_settled())
                        })
                        .map(|(&number, _)| number)
                        .collect();
                    for number in unknown {
                        self.lose(around, number, Loss::PeerRestarted);
                    }
                    if event == Event::PeerRestarted {
                        self.lose_what_is_to_be_resumed(around);
                    }
                }
            }
        }
        any
    }

    /// What was sent to a life of the other end that is over, and has found no place since.
    fn lose_what_is_to_be_resumed(&mut self, around: &mut Around<'_>) {
        let (again, lost): (VecDeque<u64>, VecDeque<u64>) = self
            .to_resume
            .iter()
            .partition(|message| self.sent[message].message.repeatable);
        self.to_resume = again;
        for message in lost {
            let number = self.sent[&message].number.expect("it was sent");
            self.lose(around, number, Loss::PeerRestarted);
        }
    }

    fn lose(&mut self, around: &mut Around<'_>, number: u32, loss: Loss) {
        let message = self.numbers[&number];
        let sent = self.sent.get_mut(&message).expect("it is kept");
        if !sent.is_settled() {
            sent.loss = Some(loss);
        }
        let truth = around.outward.truths.get_mut(&message);
        truth.expect("it was accepted").told_lost = true;
    }

    fn refill(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        while let Some(&message) = self.to_resume.front() {
            let sent = &self.sent[&message];
            let number = sent.number.expect("it was sent");
            match endpoint.resume_sent(now_ms, number, sent.message) {
                Err(SubmitError::Full) => return,
                resumed => assert_eq!(resumed, Ok(())),
            }
            self.to_resume.pop_front();
        }
        while let Some(&message) = self.waiting.front() {
            let sent = self.sent.get_mut(&message).expect("it is kept");
            let submitted = match endpoint.submit(now_ms, sent.message) {
                Err(SubmitError::Full) => return,
                submitted => submitted.expect("numbers last"),
            };
            self.waiting.pop_front();
            sent.number = Some(submitted.number);
            self.numbers.insert(submitted.number, message);
            if let Some(superseded) = submitted.superseded {
                let older = self.numbers[&superseded];
                self.sent.get_mut(&older).expect("it is kept").superseded = true;
            }
        }
    }

    fn transmit(&mut self, around: &mut Around<'_>) {
        let now_ms = self.local(around.now_ms);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        let mut buffer = [0; 8 * 1024];
        for round in 0.. {
            assert!(round < 1_000, "it never stops sending");
            let word = around.random.word() as u32;
            let frame = match endpoint.poll_transmit(now_ms, word) {
                None => break,
                Some(Transmit::Control(control)) if self.keeps == Keeps::Disk => {
                    control.encode_downlink(&mut buffer).expect("it fits")
                }
                Some(Transmit::Control(control)) => {
                    let frame = control.encode_uplink(&mut buffer).expect("it fits");
                    assert!(frame.len() <= DELIVERY_CONTROL_BYTES_MAX + 12);
                    frame
                }
                Some(Transmit::Message(header)) => {
                    let text = content_of(self.numbers[&header.number]);
                    let content = Content::parse(text.as_bytes()).expect("it is JSON");
                    let marked = Marked::new(header, content).expect("it is flat");
                    assert!(marked.encoded_len() - text.len() <= DELIVERY_ADDED_BYTES_MAX);
                    match self.keeps {
                        Keeps::Disk => {
                            let app = AppId::parse(CONTROL_APP).expect("an identifier");
                            marked.encode_downlink(&app, &mut buffer)
                        }
                        Keeps::Memory | Keeps::Journal => marked.encode_uplink(&mut buffer),
                    }
                    .expect("it fits")
                }
            };
            if self.link {
                around.way.send(around.now_ms, frame, around.random);
            }
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
        sums
    }
}

/// What a message says: of every form that the reserved member is carried in.
fn content_of(identity: u64) -> String {
    match identity % 6 {
        0 => format!("{{\"id\":{identity}}}"),
        1 => format!("\"{identity}\""),
        2 => format!("[{identity}]"),
        3 => format!("{{ \"content\" : {identity} }}"),
        4 => format!("{{\"vinbus\":[1,2,3,4],\"id\":{identity}}}"),
        _ => format!("{{\"id\":{identity},\"x\":\"{}\"}}", "x".repeat(2_000)),
    }
}

/// The message that says this, which must be unchanged.
fn identity_of(content: &str) -> u64 {
    let after = |name: &str| content.find(name).map(|at| &content[at + name.len()..]);
    let start = after("\"id\":").unwrap_or(content);
    let digits: String = start
        .chars()
        .skip_while(|c| !c.is_ascii_digit())
        .take_while(char::is_ascii_digit)
        .collect();
    let identity = digits.parse().expect("a message of the simulation");
    assert_eq!(content, content_of(identity), "its bytes are unchanged");
    identity
}
