//! Our end of one channel: the protocol's [`Endpoint`], and which messages its numbers are. Values
//! without IO; times are milliseconds of the server's own clock.
//!
//! A message with a number is in one of these places:
//!
//! | place | is left when | and then |
//! |---|---|---|
//! | to resume: loaded from the disk | the endpoint has a place | on its way |
//! | on its way: in the endpoint | a receipt names it | answered |
//! | on its way | the endpoint gives it up | over, to be noted |
//! | on its way, and the endpoint has not sent it | a newer one of its key is submitted | over, to be noted before more is sent |
//! | answered: only in the ledger (see `ledger`) | the last word comes | over, to be noted |
//! | answered | the vehicle loses its memory | over, or unsent again if it may be repeated; to be noted |
//!
//! A number may be that of a part of a long message, which stays among the unsent until the vehicle has
//! all of it: when a receipt says *part stored* or *part missing*, the number is over, and the lane sends
//! the next part, or the first one again (see `parts`).
//!
//! The messages themselves stay in the store, and each is read when it is sent.
//!
//! What is to be noted is taken by [`Channel::take_notes`] and becomes final for the other end only
//! by [`Channel::noted`], once it is on disk.

mod outgoing;
mod waiting;

use std::collections::{BTreeSet, VecDeque};

use vinbus_protocol::delivery::{
    self, Batch, Control, Endpoint, EndpointCounters, Epoch, Event, Header, Loss, MessageId, Offer,
    Run, Verdict,
};
use vinbus_protocol::limits::{
    DELIVERY_BATCHES_UNNOTED_MAX, DELIVERY_IN_FLIGHT_MAX, DELIVERY_LONG_BYTES_MAX,
};

pub(super) use self::outgoing::Frame;
use super::ledger::{Followed, Ledger, Note};
use super::rings::Rings;
use crate::model::Step;
use crate::store::channels::{ChannelChange, KeptChannel, Session};

/// Messages that came and are accounted for: twice what a vehicle has on its way, as each is
/// confirmed by one commit.
const OPEN_MAX: usize = 2 * DELIVERY_IN_FLIGHT_MAX;

/// One end of a channel. The task that drives it notes and sends; everything else only tells it.
pub(super) struct Channel {
    endpoint: Endpoint<DELIVERY_IN_FLIGHT_MAX, OPEN_MAX>,
    ledger: Ledger,
    /// Messages of the ledger that the endpoint has not taken up yet.
    to_resume: VecDeque<u32>,
    /// Numbers that are on their way to the disk.
    numbering: usize,
    /// The newest batch of receipts; what it says is among the notes, or on disk.
    batch: Option<Batch>,
    /// Both epochs as they are on disk, together with what was lost with the lives before.
    noted_lives: Option<(Epoch, Option<Epoch>)>,
    /// Our epoch had to become greater: what is on disk is older than what the vehicle has heard.
    is_older: bool,
    /// The last batch of receipts of our own that is on disk.
    batch_noted: u32,
    /// The vehicle has said to this process how far it has come.
    met: bool,
    /// When the vehicle last answered something, or its answer began to be awaited.
    answered_at_ms: u64,
    /// Messages without receipts wait until all with a number are sent.
    awaits_sent: bool,
    /// Messages that came before they could be taken, and have to come again.
    came_early: u32,
    /// What the vehicle said of delivery.
    word: Word,
    /// Somebody wanted more places than there were.
    wanted: bool,
    /// What room the vehicle's apps have.
    rings: Rings,
    /// The long message of which a part is on its way, or what became of it is not on disk yet.
    transfer: Option<u64>,
    /// Long messages that wait may go on.
    advanced: bool,
    /// A newer message took the place of one, and that is not on disk yet.
    supersedes: bool,
    /// It is dropped: whoever has it gets it anew.
    closed: bool,
}

/// What a vehicle says of delivery when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    /// That it speaks it, if it was heard at all; so it is taken to be on its next connection as well.
    Speaks,
    /// That it is there, and nothing of delivery.
    Silent,
    /// Nothing yet on this connection, and it was silent on the last one.
    Awaited,
}

/// What is to be on disk before more is sent.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) change: ChannelChange,
    /// The steps of it.
    taken: Vec<Note>,
    batch: Option<Batch>,
    /// The new epoch, as what is on disk is older than what the vehicle has heard.
    pub(super) older: Option<Epoch>,
}

impl Notes {
    pub(super) fn is_empty(&self) -> bool {
        self.change == ChannelChange::default() && self.batch.is_none()
    }

    /// The messages of the steps.
    pub(super) fn sequences(&self) -> impl Iterator<Item = u64> {
        self.taken.iter().map(|note| note.sequence)
    }

    /// Long messages that are not unsent any more, and bytes of their envelopes.
    pub(super) fn leaving(&self) -> impl Iterator<Item = (u64, u64)> {
        let notes = self.taken.iter();
        notes.filter_map(|note| Some((note.sequence, u64::from(note.leaves?))))
    }

    /// Numbers of messages that are unsent again, and bytes of their envelopes.
    pub(super) fn returning(&self) -> impl Iterator<Item = (u32, u64)> {
        let notes = self.taken.iter();
        notes.filter_map(|note| Some((note.number, u64::from(note.returns?))))
    }
}

impl Channel {
    /// A channel as it is on disk, or a new one. `random` is any word.
    pub(super) fn new(now_ms: u64, kept: KeptChannel, is_new: bool, random: u32) -> Self {
        let KeptChannel {
            memory,
            numbered,
            part,
        } = kept;
        let mut endpoint = Endpoint::new(memory, random);
        endpoint.take_parts(DELIVERY_LONG_BYTES_MAX as u32);
        // The vehicle may not have heard of it, and would begin again if it heard no more than *known*.
        if let Some(id) = part {
            endpoint.resume_open(now_ms, id, delivery::Step::PartStored);
        }
        let to_resume = numbered.iter().filter(|message| !message.answered);
        let in_parts = to_resume.clone().find(|message| message.piece.is_some());
        let mut channel = Self {
            endpoint,
            transfer: in_parts.map(|message| message.sequence),
            advanced: false,
            to_resume: to_resume.map(|message| message.number).collect(),
            ledger: Ledger::default(),
            numbering: 0,
            batch: None,
            noted_lives: (!is_new).then_some((memory.epoch, memory.peer)),
            is_older: false,
            batch_noted: memory.batch,
            met: false,
            answered_at_ms: now_ms,
            awaits_sent: false,
            came_early: 0,
            word: Word::Speaks,
            wanted: false,
            rings: Rings::default(),
            supersedes: false,
            closed: false,
        };
        for message in numbered {
            let key = channel.ledger.key_of(&message);
            let handed = message.handed.then_some(message.number);
            channel.ledger.follow(message, key);
            if let Some(number) = handed {
                channel.hear_of_app(now_ms, number, delivery::Step::Handed);
            }
        }
        channel
    }

    /// Whether the vehicle speaks delivery, as far as is known.
    pub(super) fn speaks(&self) -> bool {
        self.endpoint.peer().is_some() && self.word == Word::Speaks
    }

    /// Whether the vehicle has said nothing yet of what it speaks.
    pub(super) fn is_strange(&self) -> bool {
        match self.word {
            Word::Speaks => self.endpoint.peer().is_none(),
            Word::Silent => false,
            Word::Awaited => true,
        }
    }

    /// Drops it if everything is on disk and nothing is on its way.
    pub(super) fn close_if_idle(&mut self) -> bool {
        let all_stored = self.endpoint.open_messages().count() == self.endpoint.open();
        self.closed = all_stored && self.taken() == 0 && !self.has_notes();
        self.closed
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether messages may get numbers. A number counts as sent once it is on disk: before the vehicle has said
    /// how far it has come, what is on disk may be an older copy, and that would not be found out any more.
    fn may_number(&self) -> bool {
        self.is_begun() && self.endpoint.is_established()
    }

    /// Whether the vehicle has said to this process how far it has come. Once is enough: what this process
    /// wrote is no older copy.
    pub(super) fn has_met(&self) -> bool {
        self.met
    }

    /// It has said so before this was loaded again.
    pub(super) fn set_met(&mut self) {
        self.met = true;
    }

    /// The long message of which a part is on its way.
    pub(super) fn transfer(&self) -> Option<u64> {
        self.transfer
    }

    /// The longest content that the vehicle takes in parts, once it has said so.
    pub(super) fn vehicle_takes(&self) -> Option<u32> {
        match self.word {
            Word::Speaks => self.endpoint.peer_takes_parts(),
            Word::Silent => Some(0),
            Word::Awaited => None,
        }
    }

    fn has_notes(&self) -> bool {
        self.ledger.has_notes() || !self.is_begun() || self.batch.is_some()
    }

    /// The vehicle reported that it is there; with an offer, that it speaks delivery.
    pub(super) fn announced(&mut self, now_ms: u64, offer: Option<Offer>) {
        self.word = match offer {
            Some(_) => Word::Speaks,
            None => Word::Silent,
        };
        if let Some(offer) = offer {
            self.answered_at_ms = now_ms;
            self.hear(|endpoint| endpoint.handle_announcement(now_ms, offer));
            self.settle(now_ms);
        }
    }

    /// The vehicle's connection is over; the next one may be that of other firmware.
    pub(super) fn forget_silence(&mut self) {
        if self.word == Word::Silent {
            self.word = Word::Awaited;
        }
    }

    pub(super) fn set_link(&mut self, now_ms: u64, up: bool) {
        let up = up && self.word == Word::Speaks;
        if up && !self.rings.is_up() {
            self.answered_at_ms = now_ms;
        }
        self.endpoint.handle_link(now_ms, up);
        self.rings.set_link(now_ms, up);
        self.settle(now_ms);
    }

    /// Takes the header of a message that came. One that comes before this life of both ends is on disk has to
    /// come again. So has one before the vehicle has said to this process how far it has come: where what is on
    /// disk is an older copy, it would be stored in the life that ends then, and once more in the next one.
    pub(super) fn handle_message(&mut self, now_ms: u64, header: &Header) -> Verdict {
        self.word = Word::Speaks;
        let verdict = self.hear(|endpoint| endpoint.handle_message(now_ms, header));
        self.settle(now_ms);
        match verdict {
            Verdict::New(id) if !self.is_begun() || !self.met => {
                self.endpoint.forget(id);
                self.came_early = self.came_early.wrapping_add(1);
                Verdict::Busy
            }
            verdict => verdict,
        }
    }

    /// Takes a message of delivery's own.
    pub(super) fn handle_control(&mut self, now_ms: u64, control: &Control<'_>) {
        self.word = Word::Speaks;
        let mut told = Vec::new();
        let was_established = self.endpoint.is_established();
        let batch =
            self.hear(|endpoint| endpoint.handle_control(now_ms, control, |run| told.push(run)));
        let is_established = self.endpoint.is_established();
        self.met |= is_established;
        if !told.is_empty() || is_established && !was_established {
            self.answered_at_ms = now_ms;
        }
        // A restart that it tells of comes before what it tells.
        self.settle(now_ms);
        // A vehicle that names all of them in each run must not make us work for each.
        let mut named = BTreeSet::new();
        for Run { step, first, count } in told {
            let last = first.saturating_add(count - 1);
            for number in self.ledger.numbers(first..=last) {
                if named.insert(number) {
                    self.hear_of_app(now_ms, number, step);
                    self.ledger.note(number, Step::told(step));
                }
            }
        }
        self.batch = batch.or(self.batch);
        self.settle(now_ms);
    }

    /// What became of a message that came: it is on disk, or has to come again.
    pub(super) fn stored(&mut self, now_ms: u64, id: MessageId, stored: bool) {
        if stored {
            self.over(now_ms, id, delivery::Step::Confirmed);
        } else {
            self.endpoint.forget(id);
        }
    }

    /// A message that came, or a part of one, has met its end.
    pub(super) fn over(&mut self, now_ms: u64, id: MessageId, step: delivery::Step) {
        self.endpoint.report(now_ms, id, step);
    }

    /// Whether this life of both ends is on disk, and with it what was lost with the life before. Until then
    /// nothing is sent, numbered or taken: that would put the life on disk alone, and after a kill nobody would
    /// tell the losses.
    pub(super) fn is_begun(&self) -> bool {
        self.noted_lives == Some((self.endpoint.epoch(), self.endpoint.peer()))
    }

    /// The two epochs and the last batch of receipts, as they are to be on disk.
    pub(super) fn session(&self) -> Session {
        let snapshot = self.endpoint.snapshot();
        (snapshot.epoch, snapshot.peer, snapshot.batch)
    }

    /// What this end has done since it was loaded.
    pub(super) fn counters(&self) -> EndpointCounters {
        let mut counters = self.endpoint.counters();
        let busy = &mut counters.receiver.busy;
        *busy = busy.wrapping_add(self.came_early);
        counters
    }

    /// What is to be on disk before anything more is sent.
    pub(super) fn take_notes(&mut self) -> Notes {
        let session = self.session();
        let is_late = session.2.saturating_sub(self.batch_noted) > DELIVERY_BATCHES_UNNOTED_MAX;
        let is_due = !self.is_begun() || is_late;
        let notes = self.ledger.take_notes();
        let steps = notes.iter().map(|note| (note.number, note.step, note.at));
        Notes {
            change: ChannelChange {
                session: is_due.then_some(session),
                steps: steps.collect(),
                ..ChannelChange::default()
            },
            taken: notes,
            batch: self.batch.take(),
            older: std::mem::take(&mut self.is_older).then_some(session.0),
        }
    }

    /// Notes are on disk.
    pub(super) fn noted(&mut self, notes: &Notes) {
        if let Some((epoch, peer, batch)) = notes.change.session {
            self.noted_lives = Some((epoch, peer));
            self.batch_noted = batch;
        }
        if let Some(batch) = notes.batch {
            self.endpoint.acknowledge(batch);
        }
        self.supersedes = self.ledger.notes_superseded();
        let mut told = notes.taken.iter().filter(|note| note.step != Step::Sent);
        if told.any(|note| self.transfer == Some(note.sequence)) {
            self.end_transfer();
        }
    }

    fn end_transfer(&mut self) {
        self.transfer = None;
        self.advanced = true;
    }

    /// Notes could not be written: they are to be taken again.
    pub(super) fn not_noted(&mut self, notes: Notes) {
        self.is_older |= notes.older.is_some();
        self.ledger.put_back(notes.taken);
        self.batch = self.batch.max(notes.batch);
    }

    /// Takes what time has brought.
    pub(super) fn pass_time(&mut self, now_ms: u64) {
        self.settle(now_ms);
    }

    /// Whether something is to be noted, or is due.
    pub(super) fn has_work(&self, deadline_ms: Option<u64>, now_ms: u64) -> bool {
        self.has_notes() || deadline_ms.is_some_and(|at| at <= now_ms)
    }

    /// Whether messages are due.
    pub(super) fn has_messages_due(&self, now_ms: u64) -> bool {
        self.deadline_ms(false).is_some_and(|at| at <= now_ms)
    }

    /// When something is due; while messages are kept back, when something is to be said.
    pub(super) fn deadline_ms(&self, keeps_back: bool) -> Option<u64> {
        match keeps_back {
            true => self.endpoint.control_timeout(),
            false => self.endpoint.poll_timeout(),
        }
    }

    /// Lets the endpoint hear something that may tell it of another life.
    fn hear<T>(
        &mut self,
        hear: impl FnOnce(&mut Endpoint<DELIVERY_IN_FLIGHT_MAX, OPEN_MAX>) -> T,
    ) -> T {
        let before = self.endpoint.peer_takes_parts();
        let heard = hear(&mut self.endpoint);
        self.advanced |= before != self.endpoint.peer_takes_parts();
        heard
    }

    /// The vehicle told something of a message, which says what its app does.
    fn hear_of_app(&mut self, now_ms: u64, number: u32, step: delivery::Step) {
        let Some(followed) = self.ledger.get(number) else {
            return;
        };
        if followed.is_news(Step::Told(step)) && !followed.numbered.is_request {
            let app = &followed.numbered.app;
            let (is_first, load) = (!followed.is_answered(), self.ledger.load(app));
            if self.rings.told(now_ms, app, step, is_first, load) {
                self.ledger.wait_for_app(number);
            }
        }
    }

    /// Does what the endpoint's events ask for, and fills its places.
    fn settle(&mut self, now_ms: u64) {
        loop {
            while let Some(event) = self.endpoint.poll_event(now_ms) {
                self.handle_event(now_ms, event);
            }
            if !self.resume_one(now_ms) {
                return;
            }
        }
    }

    fn handle_event(&mut self, now_ms: u64, event: Event) {
        match event {
            Event::Lost { number, loss } => {
                let step = match loss {
                    Loss::Expired => Step::Expired,
                    Loss::GivenUp => Step::GivenUp,
                    Loss::PeerRestarted => Step::PeerRestarted,
                };
                self.ledger.note(number, step);
            }
            // What was told before is among the notes already, and so counts before.
            Event::PeerRestarted | Event::EpochChanged(_) => {
                self.answered_at_ms = now_ms;
                self.is_older |= matches!(event, Event::EpochChanged(_));
                self.ledger.lose_answered();
                let resumable = |followed: &Followed| followed.numbered.repeatable;
                let (again, lost): (VecDeque<_>, VecDeque<_>) = self
                    .to_resume
                    .iter()
                    .partition(|number| self.ledger.get(**number).is_some_and(resumable));
                self.to_resume = again;
                for number in lost {
                    self.ledger.note(number, Step::PeerRestarted);
                }
            }
        }
    }
}
