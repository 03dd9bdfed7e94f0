//! One end of a channel: both halves, and who is at the other end.

mod leaving;

use super::control::{Control, Offer};
use super::message::{Loss, Message, SubmitError, Submitted};
use super::receiver::{MessageId, Receiver, ReceiverCounters, Verdict};
use super::reserved::Header;
use super::sender::{Sender, SenderCounters};
use super::session::{Session, Worth};
use super::timing::RoundTrip;
use super::{Epoch, Run, Snapshot, Step, increment};
use crate::limits::DELIVERY_BATCHES_LEFT_OUT;

pub use self::leaving::Transmit;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A message is not sent any more. Receipts may still come: it may have arrived.
    Lost {
        /// Its number.
        number: u32,
        /// Why.
        loss: Loss,
    },
    /// The other end has lost its memory: nothing more will be heard of the messages that it had and
    /// whose fate is not known, and those that still wait to be [resumed](Endpoint::resume_sent) are
    /// lost as well, unless they are repeatable. Messages that it sent belong to its life before; the window for them
    /// is gone, and what is reported of them is told to nobody.
    PeerRestarted,
    /// This end was given a greater epoch, because the other one had heard of a later life of it, or more of
    /// this one than it knows itself: its memory is an older copy, or its clock went back. The other one
    /// cannot know what came from it since. All messages that were sent are as in
    /// [`Event::PeerRestarted`].
    EpochChanged(Epoch),
}

/// A batch of receipts that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Batch {
    /// The epoch of the end that told it.
    pub epoch: Epoch,
    /// Its number.
    pub number: u32,
}

/// What an endpoint has done. All counters of it go on at 0 behind their greatest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EndpointCounters {
    /// The sending half.
    pub sender: SenderCounters,
    /// The receiving half.
    pub receiver: ReceiverCounters,
    /// Frames of lives that are over, or for another life of this end.
    pub misdirected: u32,
}

/// One end of a channel, with places for `SEND` messages on their way and `OPEN` messages that came
/// and are accounted for.
///
/// What it is told:
/// - [`handle_announcement`](Self::handle_announcement): the other end offers delivery.
/// - [`handle_link`](Self::handle_link): the link came up or went down.
/// - [`submit`](Self::submit), [`resume_sent`](Self::resume_sent), [`withdraw`](Self::withdraw): what
///   is to be sent.
/// - [`handle_message`](Self::handle_message), [`handle_control`](Self::handle_control): what came.
/// - [`report`](Self::report), [`forget`](Self::forget), [`resume_open`](Self::resume_open): what
///   became of what came.
/// - [`acknowledge`](Self::acknowledge): receipts are noted.
///
/// After each of these, and when the time of [`poll_timeout`](Self::poll_timeout) has come, its owner
/// calls [`poll_event`](Self::poll_event) and then [`poll_transmit`](Self::poll_transmit) until
/// neither has anything.
///
/// `now_ms` is any clock that does not go back; one that does stands still here. `random` is a word
/// of which every value is equally likely.
#[derive(Debug)]
pub struct Endpoint<const SEND: usize, const OPEN: usize> {
    session: Session,
    sender: Sender<SEND>,
    receiver: Receiver<OPEN>,
    round_trip: RoundTrip,
    up: bool,
    now_ms: u64,
    /// The batch whose acknowledgement is due.
    acknowledge: Option<u32>,
    peer_restarted: bool,
    own_restarted: bool,
    /// The host has yet to say what it holds open, as our memory may be an older copy.
    awaits_open: bool,
    misdirected: u32,
    /// The longest content that this end takes in parts.
    long_bytes_max: u32,
    /// The same of the other end, once it was heard.
    peer_long_bytes_max: Option<u32>,
}

impl<const SEND: usize, const OPEN: usize> Endpoint<SEND, OPEN> {
    /// An end that goes on from `memory`, with its link down; `random` is of this life.
    #[must_use]
    pub fn new(memory: Snapshot, random: u32) -> Self {
        Self {
            session: Session::new(memory.epoch, memory.peer, random),
            sender: Sender::new(memory.next_number),
            receiver: Receiver::new(memory.window, first_batch(&memory)),
            round_trip: RoundTrip::default(),
            up: false,
            now_ms: 0,
            acknowledge: None,
            peer_restarted: false,
            own_restarted: false,
            awaits_open: false,
            misdirected: 0,
            long_bytes_max: 0,
            peer_long_bytes_max: None,
        }
    }

    /// Says from now on that this end takes contents of up to `bytes_max` bytes in
    /// [parts](super::parts); 0, as at first, for none.
    pub fn take_parts(&mut self, bytes_max: u32) {
        self.long_bytes_max = bytes_max;
    }

    /// The other end is a host, and what this one goes on from may be an older copy: before that one has said
    /// which of its messages are open, no message is sent, numbered or taken (SPEC 16.8, 16.10a).
    pub fn await_open(&mut self) {
        self.awaits_open = self.session.peer().is_some();
    }

    /// What this end says of itself.
    #[must_use]
    pub fn offer(&self) -> Offer {
        Offer {
            epoch: self.session.own(),
            long_bytes_max: self.long_bytes_max,
        }
    }

    /// The longest content that the other end takes in parts, in bytes: 0 for none, and `None` as long
    /// as it has not said.
    #[must_use]
    pub fn peer_takes_parts(&self) -> Option<u32> {
        self.peer_long_bytes_max
    }

    /// Begins in another epoch; `false`, and nothing is changed, if this one was told already. An end that
    /// learns the time of day on its way to the other one takes its epoch then.
    pub fn begin(&mut self, epoch: Epoch) -> bool {
        let is_new = self.session.peer().is_none() && self.sender.len() == 0 && !self.up;
        if is_new {
            self.session.begin(epoch);
        }
        is_new
    }

    /// What is to be kept to go on later; see [`Snapshot`] for when.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            epoch: self.session.own(),
            peer: self.session.peer(),
            next_number: self.sender.next_number(),
            batch: self.receiver.batch(),
            window: self.receiver.window(),
        }
    }

    /// This end's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.session.own()
    }

    /// The other end's epoch; `None` as long as it does not speak delivery, as far as is known.
    #[must_use]
    pub fn peer(&self) -> Option<Epoch> {
        self.session.peer()
    }

    /// Whether the other end has shown that it knows this one. Before that no message is sent.
    #[must_use]
    pub fn is_established(&self) -> bool {
        self.session.is_known()
    }

    /// Messages that wait or are on their way.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.sender.len()
    }

    /// Messages that came and are accounted for.
    #[must_use]
    pub fn open(&self) -> usize {
        self.receiver.open()
    }

    /// The messages that came and are accounted for, each with its last step. An end that stops keeps
    /// them beside its [`Snapshot`], for [`resume_open`](Self::resume_open): their senders may have
    /// to be told yet.
    pub fn open_messages(&self) -> impl Iterator<Item = (MessageId, Step)> + use<'_, SEND, OPEN> {
        let epoch = self.session.peer();
        self.receiver.steps().filter_map(move |(number, step)| {
            let epoch = epoch?;
            Some((MessageId { epoch, number }, step))
        })
    }

    /// What was done so far.
    #[must_use]
    pub fn counters(&self) -> EndpointCounters {
        EndpointCounters {
            sender: self.sender.counters(),
            receiver: self.receiver.counters(),
            misdirected: self.misdirected,
        }
    }

    /// The other end offers delivery.
    pub fn handle_announcement(&mut self, now_ms: u64, peer: Offer) {
        self.advance(now_ms);
        self.hear(peer.epoch, None);
        self.hear_offer(peer);
    }

    /// The link came up or went down. While it is down nothing is sent and patience rests; when it
    /// comes up, what was on its way is sent again.
    pub fn handle_link(&mut self, now_ms: u64, up: bool) {
        self.advance(now_ms);
        if up && !self.up {
            self.session.handle_link_up(self.now_ms);
            self.sender.hurry(self.now_ms);
            self.receiver.wake(self.now_ms);
        }
        self.up = up;
    }

    /// Takes a message to be sent. An end that keeps its memory gives a number only while it
    /// [is established](Self::is_established): the number counts as sent when it goes on.
    ///
    /// # Errors
    /// A [`SubmitError`]; nothing is changed then.
    pub fn submit(&mut self, now_ms: u64, message: Message) -> Result<Submitted, SubmitError> {
        self.advance(now_ms);
        self.sender.submit(message)
    }

    /// Takes up a message of an earlier life of this epoch under its number. It may have been sent.
    /// Lower numbers come first, and all of them before the first [`submit`](Self::submit).
    ///
    /// # Errors
    /// A [`SubmitError`]; nothing is changed then.
    pub fn resume_sent(
        &mut self,
        now_ms: u64,
        number: u32,
        message: Message,
    ) -> Result<(), SubmitError> {
        self.advance(now_ms);
        self.sender.resume(number, message)
    }

    /// Sends a message no more; `false` if it is not here, because the other end has it. It may have
    /// arrived nevertheless, if it was sent.
    pub fn withdraw(&mut self, number: u32) -> bool {
        self.sender.withdraw(number)
    }

    /// Takes the header of a message that came.
    pub fn handle_message(&mut self, now_ms: u64, header: &Header) -> Verdict {
        self.advance(now_ms);
        match self.hear(header.epoch, Some(header.peer)) {
            Worth::Full if self.awaits_open => self.receiver.busy(),
            Worth::Full => self
                .receiver
                .handle_message(self.now_ms, header.epoch, header.number),
            Worth::Stale | Worth::Introduction => Verdict::Stale,
        }
    }

    /// Takes a message of delivery's own. `tell` is called for each run of messages of this end whose
    /// step is told, which may be one that was told before. The batch that is returned is to be
    /// [acknowledged](Self::acknowledge) once the owner cannot forget any more what it was told.
    pub fn handle_control(
        &mut self,
        now_ms: u64,
        control: &Control<'_>,
        mut tell: impl FnMut(Run),
    ) -> Option<Batch> {
        self.advance(now_ms);
        let worth = self.hear(control.epoch, control.peer);
        self.hear_offer(control.offer());
        if control.greeting && worth != Worth::Stale {
            self.session.answer(self.now_ms);
        }
        if worth != Worth::Full || self.hear_knowledge(control) && self.leap() {
            return None;
        }
        self.awaits_open &= control.open.is_none();
        if !self.awaits_open {
            self.session.establish();
        }
        if let Some(batch) = control.acknowledged {
            self.receiver.handle_acknowledged(self.now_ms, batch);
        }
        let receipts = control.receipts?;
        let known = self.round_trip.is_known();
        for run in receipts.runs() {
            if let Some(run) = self.sender.handle_run(self.now_ms, run) {
                tell(run);
            }
        }
        self.sender
            .finish_receipts(self.now_ms, receipts.batch, &mut self.round_trip);
        if !known && self.round_trip.is_known() {
            self.receiver.hasten(self.now_ms, &self.round_trip);
        }
        Some(Batch {
            epoch: control.epoch,
            number: receipts.batch,
        })
    }

    /// The receipts of this batch are noted: the other end need not tell them again.
    pub fn acknowledge(&mut self, batch: Batch) {
        if self.session.peer() == Some(batch.epoch) {
            self.acknowledge = self.acknowledge.max(Some(batch.number));
        }
    }

    /// Notes what became of a message that came; `false` if it is not accounted for any more.
    pub fn report(&mut self, now_ms: u64, id: MessageId, step: Step) -> bool {
        self.advance(now_ms);
        self.session.peer() == Some(id.epoch) && self.receiver.report(self.now_ms, id.number, step)
    }

    /// A message that came could not be taken after all, and nothing was reported of it: it is new
    /// when it comes again. `false` if there is none.
    pub fn forget(&mut self, id: MessageId) -> bool {
        self.session.peer() == Some(id.epoch) && self.receiver.forget(id.number)
    }

    /// Takes up a message that came in an earlier life of this epoch and is still open; `false` if it
    /// is there already, or there is no place for it.
    pub fn resume_open(&mut self, now_ms: u64, id: MessageId, step: Step) -> bool {
        self.advance(now_ms);
        self.session.peer() == Some(id.epoch) && self.receiver.resume(self.now_ms, id.number, step)
    }

    /// Something that the owner must know, once.
    pub fn poll_event(&mut self, now_ms: u64) -> Option<Event> {
        self.advance(now_ms);
        if core::mem::take(&mut self.own_restarted) {
            return Some(Event::EpochChanged(self.session.own()));
        }
        if core::mem::take(&mut self.peer_restarted) {
            return Some(Event::PeerRestarted);
        }
        let (number, loss) = self.sender.poll_loss(self.now_ms)?;
        Some(Event::Lost { number, loss })
    }

    /// Takes what the other end knows of this life. Says whether that is more than we do, who then go on from
    /// an older copy of our memory: it has had numbers that we have not sent, or was told of some that did
    /// not come to us. A frame that is late says less, and so nothing that is wrong.
    fn hear_knowledge(&mut self, control: &Control<'_>) -> bool {
        let open = control.open;
        let lacks = open.is_some_and(|open| self.receiver.handle_open(self.now_ms, open));
        lacks || control.highest > self.sender.highest_sent()
    }

    /// Begins a greater epoch, in which nothing is used twice; `false` if there is none.
    fn leap(&mut self) -> bool {
        let leaps = self.session.leap(self.now_ms, self.session.own());
        if leaps {
            self.own_restarted = true;
            self.forget_lives();
        }
        leaps
    }

    /// What the other end says of itself counts unless it is of a life that is over.
    fn hear_offer(&mut self, offer: Offer) {
        if self.session.peer() == Some(offer.epoch) {
            self.peer_long_bytes_max = Some(offer.long_bytes_max);
        }
    }

    /// Time goes on, and never back.
    #[inline(never)]
    fn advance(&mut self, now_ms: u64) {
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// Takes the epochs of a frame, and forgets what depends on a memory that is gone.
    fn hear(&mut self, epoch: Epoch, peer: Option<Epoch>) -> Worth {
        let heard = self.session.handle(self.now_ms, epoch, peer);
        self.own_restarted |= heard.own_restarted;
        self.peer_restarted |= heard.peer_restarted;
        if heard.own_restarted || heard.peer_restarted {
            self.forget_lives();
        }
        if heard.worth == Worth::Full {
            if self.sender.is_impatient() {
                self.sender.hurry(self.now_ms);
            }
            self.receiver.wake(self.now_ms);
        }
        // A greeting of one that does not know us yet is for no life of ours.
        if heard.worth != Worth::Full && (heard.worth == Worth::Stale || peer.is_some()) {
            increment(&mut self.misdirected);
        }
        heard.worth
    }

    /// One of the two ends begins anew: nothing counts any more that depends on both lives.
    #[inline(never)]
    fn forget_lives(&mut self) {
        self.sender.handle_peer_restart();
        self.receiver.handle_peer_restart();
        self.acknowledge = None;
        self.awaits_open = false;
    }
}

/// Where batches go on after a restart: an acknowledgement of a batch of the life before, which may
/// still be under way, must not be taken for one of this life. Without a peer there were none.
const fn first_batch(memory: &Snapshot) -> u32 {
    match memory.peer {
        None => memory.batch,
        Some(_) => memory.batch.saturating_add(DELIVERY_BATCHES_LEFT_OUT),
    }
}
