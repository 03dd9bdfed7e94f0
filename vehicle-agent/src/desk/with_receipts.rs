//! What the desk does with messages that have receipts (SPEC 16): it offers them, takes up those of an earlier life,
//! takes those of apps, and gives what leaves to the link. Those that arrive, `to_apps` takes. Which they are, and
//! where each is, [`crate::receipts`] knows.

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{
    CONTROL_SUBTOPIC, Epoch, MessageId, Offer, Received, Snapshot, Step, read,
};
use vinbus_protocol::envelope::{AppMessage, Content, Uplink};
use vinbus_protocol::id::Uid;

use super::{Desk, Storage};
use crate::apps::{Apps, Fate, Notice, SendRefusal};
use crate::clock::NEVER;
use crate::notes::{Kept, NotNoted, Note, Sent};
use crate::receipts::{self, Leaving, Receipts, Waiting};

/// Pause after a note that could not be written, in milliseconds.
const NOTE_AGAIN_MS: u64 = 1_000;

/// When what could not be noted is tried again.
#[derive(Debug)]
pub(super) struct NoteAgain {
    at_ms: u64,
    /// Where there are no notes there is no value of this, and so no pause and no code for it.
    _why: NotNoted,
}

impl NoteAgain {
    /// Always some, where there are notes: where there are none, no code can follow a value of this.
    fn after(now_ms: u64, why: NotNoted) -> Option<Self> {
        let at_ms = now_ms.saturating_add(NOTE_AGAIN_MS);
        Some(Self { at_ms, _why: why })
    }
}

/// A message that leaves now.
pub(crate) struct Frame {
    /// The place of its partner.
    pub(crate) partner: usize,
    /// Bytes of the payload: in the caller's buffer if it is delivery's own, else at [`Desk::written`].
    pub(crate) len: usize,
    pub(crate) kind: FrameKind,
}

/// What [`Desk::receipts_fate`] is to be told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FrameKind {
    /// Nothing: it is delivery's own, and is told again.
    Own,
    /// That the broker refused it: the message of an app with this ticket, which is repeated.
    Marked(u64),
    /// Everything: the message of an app with this ticket, which is not.
    Plain(u64),
}

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// Offers receipts to the partners of the apps that are installed (SPEC 16), in an epoch that this
    /// vehicle never had before, or in that of [`Clock::epoch`](crate::clock::Clock::epoch) when the first
    /// session comes up. `random` is of this life, so that one that goes on from what another went on from
    /// chooses another epoch when it has to (SPEC 16.12). `scratch` is as long as the longest message that may carry them; `uplinks` holds
    /// what apps send with receipts.
    #[cfg(feature = "receipts")]
    pub fn offer_receipts(&mut self, epoch: Epoch, random: u32, scratch: S, uplinks: Q) {
        let partners = self.identity.uids().count();
        let receipts = self.receipts.insert(Receipts::new(epoch, random, uplinks));
        for _ in 0..partners {
            receipts.add_partner();
        }
        self.scratch = Some(scratch);
    }

    /// Offers receipts in this epoch, unless they were offered before.
    pub(crate) fn begin_epoch(&mut self, epoch: Epoch) {
        if let Some(receipts) = &mut self.receipts {
            receipts.begin(epoch);
        }
    }

    /// The greatest epoch in which receipts are offered.
    pub fn epoch(&self) -> Option<Epoch> {
        self.receipts.as_ref().map(Receipts::epoch)
    }

    /// Goes on with the memory of the channel with a partner, as an earlier life noted it. To be called
    /// before the others of its kind.
    pub fn resume_channel(&mut self, uid: &Uid, memory: Snapshot) {
        if let (Some(partner), Some(receipts)) = (self.partner(uid), &mut self.receipts) {
            receipts.resume(partner, memory);
        }
    }

    /// Takes up a message that came in an earlier life and met its end there.
    pub fn resume_ended(&mut self, uid: &Uid, id: MessageId, step: Step) {
        if let (Some(partner), Some(receipts)) = (self.partner(uid), &mut self.receipts) {
            receipts.resume_ended(partner, id, step);
        }
    }

    /// Takes up a message that came in an earlier life and waits for its app; `false` if it cannot be
    /// taken.
    pub fn resume_kept(&mut self, uid: &Uid, id: MessageId, kept: Kept<'_>) -> bool {
        let (Some(partner), Ok(content)) = (self.partner(uid), Content::parse_long(kept.content))
        else {
            return false;
        };
        let place = (kept.slot, kept.number, kept.ends_in_ms);
        let Some(receipts) = &mut self.receipts else {
            return false;
        };
        if !receipts.resume_held(partner, id, place) {
            return false;
        }
        let message = AppMessage::Data(content);
        let portal = &mut self.portal;
        let taken = portal.handle_undelivered(0, kept.slot, kept.number, &message);
        self.report_evicted(0, kept.slot);
        taken.is_ok()
    }

    /// Takes up a message of an app of an earlier life, under its ticket, as far as it was on its way.
    /// Lower tickets come first. `false` if it cannot be taken.
    pub fn resume_accepted(
        &mut self,
        ticket: u64,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: &[u8],
        sent: Sent,
    ) -> bool {
        let partner = self.uid(slot).and_then(|uid| self.partner(uid));
        match (partner, &mut self.receipts) {
            (Some(partner), Some(receipts)) if Content::parse_long(content).is_ok() => {
                let waiting = Waiting {
                    ticket,
                    partner,
                    slot,
                    subtopic,
                    content,
                };
                receipts.resume_uplink(waiting, sent)
            }
            _ => false,
        }
    }

    /// Whether a pending message of an app is accounted for among those with receipts.
    pub fn accounts_for(&self, slot: AppSlot, number: u64) -> bool {
        let receipts = self.receipts.as_ref();
        receipts.is_some_and(|receipts| receipts.accounts_for(slot, number))
    }

    pub(crate) fn partner(&self, uid: &Uid) -> Option<usize> {
        self.identity.uids().position(|known| known == uid)
    }

    /// What is offered to a partner, named by its place.
    pub(crate) fn offered(&self, partner: usize) -> Option<Offer> {
        self.receipts.as_ref()?.offered(partner)
    }

    /// When [`Desk::receipts`] has something to send.
    pub(crate) fn receipts_deadline_ms(&self) -> u64 {
        match &self.note_again {
            None => self.receipts.as_ref().map_or(NEVER, Receipts::deadline_ms),
            Some(again) => again.at_ms,
        }
    }

    /// A message with receipts, or of receipts, that is to be sent now.
    ///
    /// Nothing leaves before what it tells or needs is noted; where that fails, it leaves later.
    pub(crate) fn receipts(
        &mut self,
        now_ms: u64,
        buffer: &mut [u8],
        apps: &mut impl Apps,
    ) -> Option<Frame> {
        if self.may_note(now_ms) {
            self.note_again = None;
        }
        if self.receipts_deadline_ms() > now_ms && !self.number_waiting(now_ms, apps) {
            return None;
        }
        let back = self.note_back(now_ms, apps);
        let noted = back.and_then(|()| self.note_channels(apps));
        let noted = noted.and_then(|()| apps.keep());
        if let Err(error) = noted {
            self.note_again = NoteAgain::after(now_ms, error);
            return None;
        }
        let Self {
            receipts: Some(receipts),
            scratch: Some(scratch),
            ..
        } = self
        else {
            return None;
        };
        let (partner, header, ticket) = {
            let (partner, leaving) = receipts.next_frame(now_ms)?;
            match leaving {
                Leaving::Control(control) => {
                    let len = control.encode_uplink(buffer).ok()?.len();
                    let kind = FrameKind::Own;
                    return Some(Frame { partner, len, kind });
                }
                Leaving::Marked(header, ticket) => (partner, Some(header), ticket),
                Leaving::Plain(ticket) => (partner, None, ticket),
            }
        };
        let content = receipts.uplink(ticket)?.content;
        // All of it was checked when it was accepted.
        let (payload, kind) = match header {
            Some(header) => {
                let marked = receipts::marked(header, content)?;
                let payload = marked.encode_uplink(scratch.as_mut());
                (payload, FrameKind::Marked(ticket))
            }
            None => {
                let content = Content::parse(content).ok()?;
                let payload = Uplink { content }.encode(scratch.as_mut());
                (payload, FrameKind::Plain(ticket))
            }
        };
        let len = payload.ok()?.len();
        Some(Frame { partner, len, kind })
    }

    /// Where below its partner's topic a message goes that [`Desk::receipts`] gave.
    pub(crate) fn subtopic_of(&self, kind: FrameKind) -> Option<&str> {
        match kind {
            FrameKind::Own => Some(CONTROL_SUBTOPIC),
            FrameKind::Marked(ticket) | FrameKind::Plain(ticket) => {
                self.receipts.as_ref()?.uplink(ticket)?.subtopic
            }
        }
    }

    /// The payload that [`Desk::receipts`] wrote.
    pub(crate) fn written(&self, len: usize) -> &[u8] {
        let scratch = self.scratch.as_ref();
        let written = scratch.and_then(|scratch| scratch.as_ref().get(..len));
        written.unwrap_or_default()
    }

    /// Gives messages of apps their numbers; `true` if any got one.
    fn number_waiting(&mut self, now_ms: u64, apps: &mut impl Apps) -> bool {
        let mut any = false;
        if self.may_note(now_ms)
            && let Err(error) = self.note_progress(apps)
        {
            self.note_again = NoteAgain::after(now_ms, error);
        }
        while self.may_note(now_ms)
            && let Some(receipts) = &mut self.receipts
            && let Some((ticket, partner, number)) = receipts.number_next(now_ms)
        {
            if let Some(uid) = self.identity.uids().nth(partner)
                && let Err(error) = apps.note(Note::Numbered {
                    ticket,
                    uid,
                    number,
                })
            {
                receipts.unnumber(ticket);
                self.note_again = NoteAgain::after(now_ms, error);
            }
            any = true;
        }
        any
    }

    /// Whether there is no pause after a note that could not be written, or it is over.
    fn may_note(&self, now_ms: u64) -> bool {
        let again = self.note_again.as_ref();
        again.is_none_or(|again| again.at_ms <= now_ms)
    }

    /// Notes what has changed of the channels with partners.
    pub(super) fn note_channels(&mut self, apps: &mut impl Apps) -> Result<(), NotNoted> {
        self.note_ended(apps)?;
        self.note_progress(apps)?;
        while let Some(receipts) = &mut self.receipts
            && let Some((partner, memory)) = receipts.changed_channel()
        {
            if let Some(uid) = self.identity.uids().nth(partner) {
                apps.note(Note::Channel { uid, memory })?;
            }
            receipts.channel_noted(partner, memory);
        }
        Ok(())
    }

    /// Notes how far long messages of apps are: before the host's word of it is acknowledged, and before
    /// their next parts have numbers.
    fn note_progress(&mut self, apps: &mut impl Apps) -> Result<(), NotNoted> {
        while let Some(receipts) = &mut self.receipts
            && let Some((ticket, sent)) = receipts.next_progress()
        {
            apps.note(Note::Progress { ticket, sent })?;
            receipts.progress_noted(ticket);
        }
        Ok(())
    }

    /// Notes which messages that came have met their end.
    pub(super) fn note_ended(&mut self, apps: &mut impl Apps) -> Result<(), NotNoted> {
        while let Some(receipts) = &mut self.receipts
            && let Some(ended) = receipts.next_ended()
        {
            let (partner, id, step) = ended;
            if let Some(uid) = self.identity.uids().nth(partner)
                && let Err(error) = apps.note(Note::Ended { uid, id, step })
            {
                receipts.not_ended(ended);
                return Err(error);
            }
        }
        Ok(())
    }

    /// An app that confirms nothing is about to get its pending messages, those whose numbers are `meant`. Those with
    /// receipts count as taken when they are written to it, or from here on where nobody says that: a later life does
    /// not hand them out again.
    pub(super) fn note_taken(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        meant: impl Fn(u64) -> bool,
        apps: &mut impl Apps,
    ) {
        self.begin_handing(slot, &meant, apps);
        if let Some(receipts) = &mut self.receipts {
            receipts.gone(now_ms, slot, Step::Taken, &|number| !meant(number));
            // Where it fails, the app gets them all the same, and the log says so.
            let _ = self.note_ended(apps).and_then(|()| apps.keep());
        }
    }

    /// What the broker did with a message that [`Desk::receipts`] gave: took it, refused it, or nobody
    /// knows.
    pub(crate) fn receipts_fate(&mut self, kind: FrameKind, taken: Option<bool>) {
        let Some(receipts) = &mut self.receipts else {
            return;
        };
        match (kind, taken) {
            (FrameKind::Marked(ticket) | FrameKind::Plain(ticket), Some(false)) => {
                receipts.handle_fate(ticket, Fate::RefusedByBroker);
            }
            (FrameKind::Plain(ticket), Some(true)) => {
                receipts.handle_fate(ticket, Fate::WithBroker);
            }
            (FrameKind::Plain(_), None) => receipts.try_again(),
            (FrameKind::Own, _) | (FrameKind::Marked(_), Some(true) | None) => {}
        }
    }

    /// Takes a message of an app that is to go with receipts; its ticket.
    pub(super) fn accept_with_receipts(
        &mut self,
        slot: AppSlot,
        subtopic: Option<&str>,
        content: Content<'_>,
    ) -> Result<u64, SendRefusal> {
        let uid = self.uid(slot).ok_or(SendRefusal::UnknownApp)?;
        let partner = self.partner(uid);
        let subtopic = subtopic.map(|text| text.strip_prefix('/').unwrap_or(text));
        let longest = self.scratch.as_ref().map_or(0, |it| it.as_ref().len());
        match (partner, &mut self.receipts) {
            (Some(partner), Some(receipts)) => {
                receipts.accept(partner, slot, subtopic, content, longest)
            }
            _ => Err(SendRefusal::UnknownApp),
        }
    }

    /// Notes a message that was accepted, and tells its app. If it can leave at once it gets its number
    /// before, so that one wait for the disk is for both.
    ///
    /// # Errors
    /// [`SendRefusal::NotNoted`], or that of the apps; then it is not taken after all.
    pub(super) fn finish_accepting(
        &mut self,
        now_ms: u64,
        slot: AppSlot,
        ticket: u64,
        apps: &mut impl Apps,
    ) -> Result<(), SendRefusal> {
        let Some(receipts) = &mut self.receipts else {
            return Ok(());
        };
        let noted = match receipts.uplink(ticket) {
            Some(waiting) => {
                let noted = apps.note(Note::Accepted {
                    ticket,
                    slot,
                    subtopic: waiting.subtopic,
                    content: waiting.content,
                });
                noted.map_err(SendRefusal::NotNoted)
            }
            // It was taken just before.
            None => Err(SendRefusal::UnknownApp),
        };
        if noted.is_ok() && receipts.is_up() {
            self.number_waiting(now_ms, apps);
        }
        let accepted = noted
            .and_then(|()| apps.keep().map_err(SendRefusal::NotNoted))
            .and_then(|()| apps.accepted(slot, ticket));
        if let Err(refusal) = accepted {
            if let Some(receipts) = &mut self.receipts {
                receipts.cancel(ticket);
            }
            // One that is noted and not kept is not sent by a later life either.
            let _ = apps.note(Note::Settled { ticket });
            self.counters.uplinks_refused += 1;
            return Err(refusal);
        }
        self.counters.uplinks_accepted += 1;
        Ok(())
    }

    /// Refuses a content without receipts that has their form on the wire (SPEC 16.5).
    pub(super) fn check_form(&self, content: Content<'_>) -> Result<(), SendRefusal> {
        if self.receipts.is_some() && !matches!(read(content), Received::Plain) {
            return Err(SendRefusal::ReceiptForm);
        }
        Ok(())
    }

    /// Tells apps what became of their messages with receipts.
    pub(super) fn tell_settled(&mut self, apps: &mut impl Apps) {
        while let Some((slot, ticket, fate)) =
            self.receipts.as_mut().and_then(Receipts::next_settled)
        {
            match fate {
                Fate::Confirmed | Fate::WithBroker => self.counters.uplinks_delivered += 1,
                Fate::RefusedByBroker => self.counters.uplinks_refused_by_broker += 1,
                Fate::RefusedByHost(_) | Fate::Lost(_) => self.counters.uplinks_dropped += 1,
            }
            apps.tell(slot, Notice::Settled { ticket, fate });
            // Where it fails, a later life sends it again, and the host knows it. Apps that could not tell of
            // it yet note that as well, and so are told first.
            let _ = apps.note(Note::Settled { ticket });
        }
    }
}
