//! What is known of the messages of a channel that have a number and no last word, and what of it is to be
//! noted. Values without IO.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::SystemTime;

use vinbus_protocol::delivery;
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{
    DELIVERY_IN_FLIGHT_MAX, DELIVERY_LONG_BEGINS_MAX, DELIVERY_OPEN_MAX,
};

use super::rings::Load;
use crate::model::Step;
use crate::store::channels::{Numbered, Piece};

/// Messages without a last word that are followed: as many as a vehicle can account for, and those on
/// their way.
pub(super) const FOLLOWED_MAX: usize = DELIVERY_OPEN_MAX + DELIVERY_IN_FLIGHT_MAX;

const AT_AGENT: Step = Step::Told(delivery::Step::Received);

/// Messages with numbers and without a last word, and steps that are not on disk yet.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    followed: BTreeMap<u32, Followed>,
    notes: Vec<Note>,
}

/// A message with a number and without a last word.
#[derive(Clone, Debug)]
pub(super) struct Followed {
    pub(super) numbered: Numbered,
    sent: bool,
    /// The last step that was told since it was loaded.
    step: Option<Step>,
    /// It is held for an app that is waited for (SPEC 16.13a).
    is_waiting: bool,
    /// How the endpoint calls its key: by the number of the first message that it has of it.
    pub(super) key: Option<NonZeroU32>,
}

/// A step that is not on disk yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Note {
    pub(super) number: u32,
    pub(super) sequence: u64,
    pub(super) step: Step,
    pub(super) at: SystemTime,
    /// Bytes of the envelope of a long message that is not unsent any more.
    pub(super) leaves: Option<u32>,
    /// Bytes of the envelope of a message that is unsent again.
    pub(super) returns: Option<u32>,
}

impl Ledger {
    pub(super) fn get(&self, number: u32) -> Option<&Followed> {
        self.followed.get(&number)
    }

    /// A message that is held counts as kept for its app.
    pub(super) fn wait_for_app(&mut self, number: u32) {
        if let Some(followed) = self.followed.get_mut(&number) {
            followed.is_waiting = true;
        }
    }

    /// The apps of the messages that are followed, some more than once.
    pub(super) fn apps(&self) -> impl Iterator<Item = &AppId> {
        self.followed.values().map(|it| &it.numbered.app)
    }

    /// The numbers of a run that are followed.
    pub(super) fn numbers(&self, run: RangeInclusive<u32>) -> Vec<u32> {
        self.followed
            .range(run)
            .map(|(number, _)| *number)
            .collect()
    }

    /// The numbers that the vehicle has answered, and not finally.
    pub(super) fn answered(&self) -> impl Iterator<Item = u32> + Clone {
        let followed = self.followed.iter();
        let answered = followed.filter(|(_, it)| it.is_answered());
        answered.map(|(number, _)| *number)
    }

    /// A message is not kept any more; nothing is noted of it.
    pub(super) fn remove(&mut self, number: u32) -> Option<Followed> {
        self.followed.remove(&number)
    }

    pub(super) fn has_notes(&self) -> bool {
        !self.notes.is_empty()
    }

    /// Whether it is to be noted that a message was superseded.
    pub(super) fn notes_superseded(&self) -> bool {
        self.notes.iter().any(|note| note.step == Step::Superseded)
    }

    /// What is to be noted, in order.
    pub(super) fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Notes could not be written: they are to be taken again, before later ones.
    pub(super) fn put_back(&mut self, notes: Vec<Note>) {
        let later = std::mem::replace(&mut self.notes, notes);
        self.notes.extend(later);
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

    /// Whether one was not handed to the broker yet, parts of long messages left out: short ones pass by them.
    pub(super) fn has_unsent(&self) -> bool {
        let mut whole = self
            .followed
            .values()
            .filter(|it| it.numbered.piece.is_none());
        whole.any(|it| !it.sent && !it.is_answered())
    }

    /// Whether one was handed to the broker, and the vehicle has not answered it.
    pub(super) fn awaits_answer(&self) -> bool {
        self.followed
            .values()
            .any(|it| it.sent && !it.is_answered())
    }

    /// What is on its way to an app, and what its vehicle keeps for it. Requests (SPEC 19) are not of it: they wait for
    /// nobody.
    pub(super) fn load(&self, app: &AppId) -> Load {
        let mut load = Load::default();
        for it in self.followed.values() {
            if it.numbered.app == *app && !it.numbered.is_request {
                load.on_their_way += usize::from(!it.is_answered());
                load.kept += usize::from(it.is_kept());
                load.at_agent += usize::from(it.step == Some(AT_AGENT));
            }
        }
        load
    }

    /// What the vehicle had is gone with its memory, and may be sent again, or not.
    pub(super) fn lose_answered(&mut self) {
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

    /// Notes a step of a message that has no last word yet.
    pub(super) fn note(&mut self, number: u32, step: Step) {
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

    pub(super) fn follow(&mut self, numbered: Numbered, key: Option<NonZeroU32>) {
        let followed = Followed {
            // Noted again, a step changes nothing.
            sent: false,
            step: None,
            is_waiting: false,
            key,
            numbered,
        };
        self.followed.insert(followed.numbered.number, followed);
    }

    /// How the endpoint calls a message's key, if it has one.
    pub(super) fn key_of(&self, numbered: &Numbered) -> Option<NonZeroU32> {
        let key = numbered.key.as_ref()?;
        let is_same = |it: &Numbered| it.key.as_ref() == Some(key) && it.app == numbered.app;
        let mut others = self.followed.values();
        let same = others.find(|it| is_same(&it.numbered));
        same.map_or(NonZeroU32::new(numbered.number), |it| it.key)
    }

    /// A vehicle that answers everything and finishes nothing must not fill our memory.
    pub(super) fn drop_oldest(&mut self) {
        if self.followed.len() < FOLLOWED_MAX {
            return;
        }
        let mut answered = self.followed.iter().filter(|(_, it)| it.is_answered());
        if let Some(number) = answered.next().map(|(number, _)| *number) {
            self.note(number, Step::GivenUp);
        }
    }
}

impl Followed {
    /// The vehicle has not told this step of it before.
    pub(super) fn is_news(&self, step: Step) -> bool {
        self.step != Some(step)
    }

    /// Its app has it and is to confirm it, or is to read it, or will when it is back.
    fn is_kept(&self) -> bool {
        match self.step {
            Some(step) => {
                let is_handed = step == AT_AGENT || step == Step::Told(delivery::Step::Handed);
                is_handed || self.is_waiting && is_held(step)
            }
            None => self.numbered.handed && self.numbered.answered,
        }
    }

    /// Its sender said that it may be repeated. A value may not: a newer one may have come to the app.
    fn may_be_sent_again(&self) -> bool {
        self.numbered.repeatable && self.numbered.key.is_none()
    }

    /// The vehicle has answered, and not finished.
    pub(super) fn is_answered(&self) -> bool {
        self.numbered.answered || self.step.is_some()
    }
}

fn is_held(step: Step) -> bool {
    use delivery::Step::{HeldBackground, HeldPrivacy};
    matches!(step, Step::Told(HeldBackground | HeldPrivacy))
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
