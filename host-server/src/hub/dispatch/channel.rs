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
//! | answered: only followed | the last word comes | over, to be noted |
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

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use vinbus_protocol::delivery::{
    self, Batch, Control, ControlFrame, Endpoint, Event, Header, Loss, Message, MessageId, Offer,
    Run, SubmitError, Transmit, Verdict,
};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_CONTROL_BYTES_MAX, DELIVERY_IN_FLIGHT_MAX, DELIVERY_LONG_BEGINS_MAX,
    DELIVERY_LONG_BYTES_MAX,
};

use super::rings::{Load, Rings};
use crate::model::Step;
use crate::store::channels::{ChannelChange, KeptChannel, Numbered, Piece, Session};

/// Messages that came and are accounted for: twice what a vehicle has on its way, as each is
/// confirmed by one commit.
const OPEN_MAX: usize = 2 * DELIVERY_IN_FLIGHT_MAX;

/// Messages without a last word that are followed: as many as a vehicle can account for, and those on
/// their way.
pub(super) const FOLLOWED_MAX: usize = 256 + DELIVERY_IN_FLIGHT_MAX;

/// One end of a channel. The task that drives it notes and sends; everything else only tells it.
pub(super) struct Channel {
    endpoint: Endpoint<DELIVERY_IN_FLIGHT_MAX, OPEN_MAX>,
    /// Messages with numbers and without a last word.
    followed: BTreeMap<u32, Followed>,
    /// Those of them that the endpoint has not taken up yet.
    to_resume: VecDeque<u32>,
    /// Numbers that are on their way to the disk.
    numbering: usize,
    notes: Vec<Note>,
    /// The newest batch of receipts; what it says is among the notes, or on disk.
    batch: Option<Batch>,
    /// The epochs are not on disk as they are.
    session_changed: bool,
    /// The last batch of receipts of our own that is on disk.
    batch_noted: u32,
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

/// What surrounds the text of a part, about.
const PART_FRAME_BYTES: u32 = 192;

/// Batches of receipts that may be sent before the last one's number is noted again: half of what an
/// endpoint leaves out when it goes on.
const BATCHES_UNNOTED_MAX: u32 = 1 << 15;

#[derive(Clone, Debug)]
struct Followed {
    numbered: Numbered,
    sent: bool,
    step: Option<Step>,
    /// How the endpoint calls its key: by the number of the first message that it has of it.
    key: Option<NonZeroU32>,
}

/// A step that is not on disk yet.
#[derive(Clone, Copy, Debug)]
struct Note {
    number: u32,
    sequence: u64,
    step: Step,
    at: SystemTime,
    /// Bytes of the envelope of a long message that is not unsent any more.
    leaves: Option<u32>,
    /// Bytes of the envelope of a message that is unsent again.
    returns: Option<u32>,
}

/// What is to be published next.
#[derive(Debug)]
pub(super) enum Frame {
    /// A whole payload.
    Control(Bytes),
    /// A message, to be marked with this header; or the part of it that ends there.
    Message {
        header: Header,
        sequence: u64,
        piece: Option<Piece>,
    },
}

/// What is to be on disk before more is sent.
#[derive(Debug, Default)]
pub(super) struct Notes {
    pub(super) change: ChannelChange,
    /// The steps of it.
    taken: Vec<Note>,
    batch: Option<Batch>,
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

    /// Bytes of the envelopes of messages that are unsent again.
    pub(super) fn returning(&self) -> impl Iterator<Item = u64> {
        let notes = self.taken.iter();
        notes.filter_map(|note| note.returns.map(u64::from))
    }
}

impl Channel {
    /// A channel as it is on disk, or a new one.
    pub(super) fn new(now_ms: u64, kept: KeptChannel, is_new: bool) -> Self {
        let KeptChannel {
            memory,
            numbered,
            part,
        } = kept;
        let mut endpoint = Endpoint::new(memory);
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
            followed: BTreeMap::new(),
            numbering: 0,
            notes: Vec::new(),
            batch: None,
            session_changed: is_new,
            batch_noted: memory.batch,
            word: Word::Speaks,
            wanted: false,
            rings: Rings::default(),
            supersedes: false,
            closed: false,
        };
        for message in numbered {
            let key = channel.key_of(&message);
            let handed = message.handed.then_some(message.number);
            channel.follow(message, key);
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
        !self.notes.is_empty() || self.session_changed || self.batch.is_some()
    }

    /// Places for messages on their way that are taken.
    fn taken(&self) -> usize {
        self.endpoint.unanswered() + self.to_resume.len() + self.numbering
    }

    /// Whether there are places again, after somebody wanted more than there were, or an app has room
    /// that messages wait for, or long messages may go on; once.
    pub(super) fn has_room_again(&mut self, now_ms: u64) -> bool {
        let again = self.wanted && self.taken() < DELIVERY_IN_FLIGHT_MAX;
        self.wanted &= !again;
        let followed = &self.followed;
        // Those on their way to the disk may take the room.
        let rings =
            self.numbering == 0 && self.rings.has_room_again(now_ms, |app| load(followed, app));
        again | rings | std::mem::take(&mut self.advanced)
    }

    /// When [`Channel::has_room_again`] is to be asked at the latest.
    pub(super) fn room_at_ms(&self) -> Option<u64> {
        self.rings.deadline_ms(|app| load(&self.followed, app))
    }

    /// How many more messages of an app may be on their way.
    pub(super) fn room(&self, now_ms: u64, app: &AppId) -> usize {
        self.rings.room(now_ms, app, load(&self.followed, app))
    }

    /// Messages of an app wait until it has room.
    pub(super) fn awaits_room(&mut self, now_ms: u64, app: &AppId) {
        self.rings.awaits(now_ms, app);
    }

    /// The vehicle reported that it is there; with an offer, that it speaks delivery.
    pub(super) fn announced(&mut self, now_ms: u64, offer: Option<Offer>) {
        self.word = match offer {
            Some(_) => Word::Speaks,
            None => Word::Silent,
        };
        if let Some(offer) = offer {
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
        self.endpoint.handle_link(now_ms, up);
        self.rings.set_link(now_ms, up);
        self.settle(now_ms);
    }

    /// Takes the header of a message that came.
    pub(super) fn handle_message(&mut self, now_ms: u64, header: &Header) -> Verdict {
        self.word = Word::Speaks;
        let verdict = self.hear(|endpoint| endpoint.handle_message(now_ms, header));
        self.settle(now_ms);
        verdict
    }

    /// Takes a message of delivery's own.
    pub(super) fn handle_control(&mut self, now_ms: u64, control: &Control<'_>) {
        self.word = Word::Speaks;
        let mut told = Vec::new();
        let batch =
            self.hear(|endpoint| endpoint.handle_control(now_ms, control, |run| told.push(run)));
        // A restart that it tells of comes before what it tells.
        self.settle(now_ms);
        for Run { step, first, count } in told {
            let last = first.saturating_add(count - 1);
            let named = self.followed.range(first..=last);
            let named: Vec<u32> = named.map(|(number, _)| *number).collect();
            for number in named {
                self.hear_of_app(now_ms, number, step);
                self.note(number, Step::told(step));
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

    /// The two epochs and the last batch of receipts, as they are to be on disk.
    pub(super) fn session(&self) -> Session {
        let snapshot = self.endpoint.snapshot();
        // A first number is left out, so that a life that was killed before its first note is not
        // mistaken for this one.
        (snapshot.epoch, snapshot.peer, snapshot.batch.max(1))
    }

    /// Reserves numbers for messages for these apps, one after the other, until as many are on their way
    /// as may be: none for one whose app has no room, which is to wait (SPEC 16.13a). A message without an
    /// app waits for none. They are sent by [`Channel::submit`], once they are on disk, or
    /// given back by [`Channel::not_numbered`].
    pub(super) fn reserve(&mut self, now_ms: u64, apps: &[Option<&AppId>]) -> Vec<Option<u32>> {
        let mut free = DELIVERY_IN_FLIGHT_MAX.saturating_sub(self.taken());
        let mut next = self.endpoint.snapshot().next_number;
        let mut rooms = HashMap::new();
        let mut numbers = Vec::with_capacity(apps.len());
        for app in apps {
            let room = app.map(|app| {
                let room = rooms.entry(app);
                room.or_insert_with(|| self.room(now_ms, app))
            });
            if let (Some(app), Some(0)) = (app, &room) {
                self.rings.awaits(now_ms, app);
                numbers.push(None);
                continue;
            }
            if free == 0 {
                self.wanted = true;
                break;
            }
            if let Some(room) = room {
                *room -= 1;
            }
            free -= 1;
            numbers.push(Some(next));
            next += 1;
        }
        self.numbering += numbers.iter().flatten().count();
        numbers
    }

    /// The reserved numbers could not be noted. Who wanted them tries again in a little, and is not woken
    /// before, or a disk that is full would be asked without a pause.
    pub(super) fn not_numbered(&mut self) {
        self.numbering = 0;
        self.wanted = false;
        self.rings.await_nothing();
    }

    /// Messages whose numbers are on disk are to be sent. Those of `gone` are not, and their numbers are
    /// left out.
    pub(super) fn submit(&mut self, now_ms: u64, messages: Vec<Numbered>, gone: &[u64]) {
        self.numbering = 0;
        for numbered in messages {
            let is_gone = gone.contains(&numbered.sequence);
            if numbered.piece.is_some() && !is_gone {
                self.transfer = Some(numbered.sequence);
            }
            let key = self.key_of(&numbered).filter(|_| !is_gone);
            let mut superseded = None;
            match self
                .endpoint
                .submit(now_ms, message(now_ms, &numbered, key))
            {
                Ok(submitted) if submitted.number == numbered.number => {
                    superseded = submitted.superseded;
                }
                // One lane is run by one worker, so nobody else has taken a number.
                unexpected => {
                    debug_assert!(false, "{unexpected:?} for {numbered:?}");
                    self.to_resume.push_back(numbered.number);
                }
            }
            if is_gone {
                self.endpoint.withdraw(numbered.number);
                continue;
            }
            self.drop_oldest_followed();
            self.follow(numbered, key);
            if let Some(older) = superseded {
                self.supersedes = true;
                self.note(older, Step::Superseded);
            }
            self.settle(now_ms);
        }
    }

    /// What is to be on disk before anything more is sent.
    pub(super) fn take_notes(&mut self) -> Notes {
        let batch = self.endpoint.snapshot().batch;
        self.session_changed |= batch - self.batch_noted > BATCHES_UNNOTED_MAX;
        if self.session_changed {
            self.batch_noted = batch;
        }
        let session = self.session();
        let notes = std::mem::take(&mut self.notes);
        let steps = notes.iter().map(|note| (note.number, note.step, note.at));
        Notes {
            change: ChannelChange {
                session: std::mem::take(&mut self.session_changed).then_some(session),
                steps: steps.collect(),
                ..ChannelChange::default()
            },
            taken: notes,
            batch: self.batch.take(),
        }
    }

    /// Notes are on disk.
    pub(super) fn noted(&mut self, notes: &Notes) {
        if let Some(batch) = notes.batch {
            self.endpoint.acknowledge(batch);
        }
        let mut to_note = self.notes.iter();
        self.supersedes = to_note.any(|note| note.step == Step::Superseded);
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
        self.session_changed |= notes.change.session.is_some();
        let later = std::mem::replace(&mut self.notes, notes.taken);
        self.notes.extend(later);
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

    /// What is to be said of receipts now, unless something is to be noted first.
    pub(super) fn next_control(&mut self, now_ms: u64, random: u32) -> Option<Frame> {
        if self.session_changed {
            return None;
        }
        encoded(&self.endpoint.poll_control(now_ms, random)?)
    }

    /// What is to be sent now, unless something is to be noted first.
    pub(super) fn next_frame(&mut self, now_ms: u64, random: u32) -> Option<Frame> {
        // After a kill, a message that was superseded and not noted would go behind the newer one.
        if self.session_changed || self.supersedes {
            return None;
        }
        let header = match self.endpoint.poll_transmit(now_ms, random)? {
            Transmit::Control(control) => return encoded(&control),
            Transmit::Message(header) => header,
        };
        let followed = self.followed.get(&header.number)?;
        Some(Frame::Message {
            header: Header {
                part: followed.numbered.piece.map(|piece| piece.part),
                ..header
            },
            sequence: followed.numbered.sequence,
            piece: followed.numbered.piece,
        })
    }

    /// A message was handed to the broker.
    pub(super) fn sent(&mut self, number: u32) {
        if let Some(followed) = self.followed.get_mut(&number)
            && !std::mem::replace(&mut followed.sent, true)
        {
            self.notes.push(Note {
                number,
                sequence: followed.numbered.sequence,
                step: Step::Sent,
                at: SystemTime::now(),
                leaves: None,
                returns: None,
            });
        }
    }

    /// The broker can never carry a message.
    pub(super) fn rejected(&mut self, number: u32) {
        self.endpoint.withdraw(number);
        self.note(number, Step::Rejected);
    }

    /// When something is due; while messages are kept back, when something is to be said.
    pub(super) fn deadline_ms(&self, keeps_back: bool) -> Option<u64> {
        match keeps_back {
            true => self.endpoint.control_timeout(),
            false => self.endpoint.poll_timeout(),
        }
    }

    /// A message is not kept any more, so it cannot be sent again.
    pub(super) fn gone(&mut self, number: u32) {
        self.endpoint.withdraw(number);
        if let Some(followed) = self.followed.remove(&number)
            && self.transfer == Some(followed.numbered.sequence)
        {
            self.end_transfer();
        }
    }

    /// Lets the endpoint hear something that may tell it of another life.
    fn hear<T>(
        &mut self,
        hear: impl FnOnce(&mut Endpoint<DELIVERY_IN_FLIGHT_MAX, OPEN_MAX>) -> T,
    ) -> T {
        let before = (self.endpoint.peer(), self.endpoint.peer_takes_parts());
        let heard = hear(&mut self.endpoint);
        self.session_changed |= before.0 != self.endpoint.peer();
        self.advanced |= before.1 != self.endpoint.peer_takes_parts();
        heard
    }

    /// The vehicle told something of a message, which says what its app does.
    fn hear_of_app(&mut self, now_ms: u64, number: u32, step: delivery::Step) {
        let Some(followed) = self.followed.get(&number) else {
            return;
        };
        let is_news = followed.step != Some(Step::Told(step));
        if is_news && !followed.numbered.is_request {
            let app = &followed.numbered.app;
            let (is_first, load) = (!followed.is_answered(), load(&self.followed, app));
            self.rings.told(now_ms, app, step, is_first, load);
        }
    }

    /// Does what the endpoint's events ask for, and fills its places.
    fn settle(&mut self, now_ms: u64) {
        loop {
            while let Some(event) = self.endpoint.poll_event(now_ms) {
                self.handle_event(event);
            }
            if !self.resume_one(now_ms) {
                return;
            }
        }
    }

    fn handle_event(&mut self, event: Event) {
        match event {
            Event::Lost { number, loss } => {
                let step = match loss {
                    Loss::Expired => Step::Expired,
                    Loss::GivenUp => Step::GivenUp,
                    Loss::PeerRestarted => Step::PeerRestarted,
                };
                self.note(number, step);
            }
            // What was told before is among the notes already, and so counts before.
            Event::PeerRestarted | Event::EpochChanged(_) => {
                self.session_changed = true;
                self.lose_answered();
                let resumable = |followed: &Followed| followed.numbered.repeatable;
                let (again, lost): (VecDeque<_>, VecDeque<_>) = self
                    .to_resume
                    .iter()
                    .partition(|number| self.followed.get(number).is_some_and(resumable));
                self.to_resume = again;
                for number in lost {
                    self.note(number, Step::PeerRestarted);
                }
            }
        }
    }

    /// What the vehicle had is gone with its memory, and may be sent again, or not.
    fn lose_answered(&mut self) {
        let answered = self.followed.iter().filter(|(_, it)| it.is_answered());
        let lost: Vec<_> = answered
            .map(|(number, it)| match it.may_be_sent_again() {
                true => (*number, Step::SentAgain),
                false => (*number, Step::PeerRestarted),
            })
            .collect();
        for (number, step) in lost {
            self.note(number, step);
        }
    }

    /// Takes up one message of the disk; `false` if there is none, or no place.
    fn resume_one(&mut self, now_ms: u64) -> bool {
        let Some(&number) = self.to_resume.front() else {
            return false;
        };
        let Some(followed) = self.followed.get(&number) else {
            self.to_resume.pop_front();
            return true;
        };
        let message = message(now_ms, &followed.numbered, followed.key);
        match self.endpoint.resume_sent(now_ms, number, message) {
            Err(SubmitError::Full) => return false,
            Ok(()) | Err(SubmitError::Number) => {}
        }
        self.to_resume.pop_front();
        true
    }

    /// Notes a step of a message that has no last word yet.
    fn note(&mut self, number: u32, step: Step) {
        let Some(followed) = self.followed.get_mut(&number) else {
            return;
        };
        let step = of_part(followed.numbered.piece, step);
        if followed.step == Some(step) {
            return;
        }
        let is_first = !followed.is_answered();
        followed.step = Some(step);
        let Numbered {
            sequence,
            bytes,
            piece,
            ..
        } = followed.numbered;
        let goes_on = is_of_part(step);
        let goes_again = step == Step::SentAgain;
        if step.is_final() || goes_on || goes_again {
            self.followed.remove(&number);
        }
        let is_leaving = piece.is_some() && is_first && !goes_on;
        let mut notes = self.notes.iter().filter(|note| note.number == number);
        let untold = notes.find_map(|note| note.leaves);
        let leaves = match is_leaving {
            true => Some(bytes),
            false => untold.filter(|_| !goes_again),
        };
        // One that is to leave, and has not, stays.
        let returns = (goes_again && untold.is_none()).then_some(bytes);
        // One that was told and not written yet is overtaken: a vehicle cannot make us keep more.
        self.notes
            .retain(|note| note.number != number || note.step == Step::Sent);
        self.notes.push(Note {
            number,
            sequence,
            step,
            at: SystemTime::now(),
            leaves,
            returns,
        });
    }

    fn follow(&mut self, numbered: Numbered, key: Option<NonZeroU32>) {
        let followed = Followed {
            // Noted again, a step changes nothing.
            sent: false,
            step: None,
            key,
            numbered,
        };
        self.followed.insert(followed.numbered.number, followed);
    }

    /// How the endpoint calls a message's key, if it has one.
    fn key_of(&self, numbered: &Numbered) -> Option<NonZeroU32> {
        let key = numbered.key.as_ref()?;
        let is_same = |it: &Numbered| it.key.as_ref() == Some(key) && it.app == numbered.app;
        let mut others = self.followed.values();
        let same = others.find(|it| is_same(&it.numbered));
        same.map_or(NonZeroU32::new(numbered.number), |it| it.key)
    }

    /// A vehicle that answers everything and finishes nothing must not fill our memory.
    fn drop_oldest_followed(&mut self) {
        if self.followed.len() < FOLLOWED_MAX {
            return;
        }
        let mut answered = self.followed.iter().filter(|(_, it)| it.is_answered());
        if let Some(number) = answered.next().map(|(number, _)| *number) {
            self.note(number, Step::GivenUp);
        }
    }
}

/// What is on its way to an app, and what it was handed. Requests (SPEC 19) are not of it: they wait for
/// nobody.
fn load(followed: &BTreeMap<u32, Followed>, app: &AppId) -> Load {
    let mut load = Load::default();
    for it in followed.values() {
        if it.numbered.app == *app && !it.numbered.is_request {
            load.on_their_way += usize::from(!it.is_answered());
            load.handed += usize::from(it.is_handed());
        }
    }
    load
}

impl Followed {
    /// Its app has it and is to confirm it.
    fn is_handed(&self) -> bool {
        match self.step {
            Some(step) => step == Step::Told(delivery::Step::Handed),
            None => self.numbered.handed,
        }
    }

    /// Its sender said that it may be repeated. A value may not: a newer one may have come to the app.
    fn may_be_sent_again(&self) -> bool {
        self.numbered.repeatable && self.numbered.key.is_none()
    }

    /// The vehicle has answered, and not finished.
    fn is_answered(&self) -> bool {
        self.numbered.answered || self.step.is_some()
    }
}

/// What a step of a part says of the message.
fn of_part(piece: Option<Piece>, step: Step) -> Step {
    use delivery::Step::{BadContent, Known, PartMissing, PartStored};
    let Some(piece) = piece else {
        // Nobody asked for a part.
        return match is_of_part(step) {
            true => Step::Told(BadContent),
            false => step,
        };
    };
    match step {
        // What the vehicle does not know any more, it has not stored.
        Step::Told(Known) if !piece.is_last() => again(piece),
        Step::Told(PartStored) if piece.is_last() => again(piece),
        Step::Told(PartMissing) => again(piece),
        step => step,
    }
}

/// A long message begins again, if it may.
const fn again(piece: Piece) -> Step {
    match piece.begun < DELIVERY_LONG_BEGINS_MAX {
        true => Step::Told(delivery::Step::PartMissing),
        false => Step::GivenUp,
    }
}

const fn is_of_part(step: Step) -> bool {
    use delivery::Step::{PartMissing, PartStored};
    matches!(step, Step::Told(PartStored | PartMissing))
}

fn encoded(control: &ControlFrame<impl Iterator<Item = Run> + Clone>) -> Option<Frame> {
    let mut buffer = vec![0; DELIVERY_CONTROL_BYTES_MAX + 64];
    let len = control.encode_downlink(&mut buffer).ok()?.len();
    buffer.truncate(len);
    Some(Frame::Control(buffer.into()))
}

fn message(now_ms: u64, numbered: &Numbered, key: Option<NonZeroU32>) -> Message {
    let left = numbered
        .expires_at
        .duration_since(SystemTime::now())
        .unwrap_or(Duration::ZERO);
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    let bytes = match numbered.piece {
        Some(piece) => PART_FRAME_BYTES + piece.end.saturating_sub(piece.part.offset),
        None => numbered.bytes,
    };
    Message {
        bytes,
        expires_at_ms: Some(now_ms.saturating_add(left_ms)),
        key,
        repeatable: numbered.repeatable,
    }
}
