//! What of the journal is live: the memory of each channel, and where the lines of messages stand that
//! wait.

use std::collections::{BTreeMap, VecDeque};

use vinbus_protocol::delivery::{Epoch, MessageId, Novelty, Snapshot, Step, Window};
use vinbus_protocol::limits::{REQUEST_ANSWER_BYTES, REQUEST_PLACES};

use super::HANDED_OVER;
use super::line::{Line, UntoldLine};
use crate::app_interface::server_frame::is_good;
use crate::linux::portal::Untold;
use crate::receipts::OPEN_MAX;

/// Last steps of a channel that may not have been told: as many as it accounts for. Whoever told of one
/// told of all before.
const ENDED_MAX: usize = OPEN_MAX;

/// Bytes of the lines of answers that are live: what an agent keeps of them, each character escaped.
const ANSWERS_BYTES_MAX: u64 = 2 * REQUEST_ANSWER_BYTES as u64;

/// Where a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) at: u64,
    pub(super) len: u64,
}

/// What is written into a new file.
#[derive(Debug)]
pub(super) enum Item {
    /// A line.
    New(String),
    /// The line that stands there in the old one.
    Old(Span),
}

#[derive(Debug, Default)]
pub(super) struct Live {
    /// By partner.
    pub(super) channels: BTreeMap<String, Channel>,
    /// Messages from apps, by ticket.
    pub(super) uplinks: BTreeMap<u64, Uplink>,
    /// Where the last answers to requests stand, oldest first.
    pub(super) answers: VecDeque<Span>,
    /// Where it stands what apps have not been told of their messages.
    pub(super) untold: BTreeMap<String, Untold<Span>>,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) memory: Snapshot,
    /// Messages that came and have not met their end: where they stand, if they wait.
    pub(super) open: BTreeMap<u32, Option<Span>>,
    /// The last ones that have, oldest first.
    pub(super) ended: VecDeque<(u32, Step)>,
    /// Where the parts of a long message stand that has come to them.
    pub(super) parts: Vec<Span>,
}

#[derive(Debug)]
pub(super) struct Uplink {
    pub(super) span: Span,
    /// Its partner, and its number or that of the part on its way.
    pub(super) number: Option<(String, u32)>,
    /// What is stored of it, and times that it began, where it goes in parts.
    pub(super) parts: Option<(u32, u32)>,
}

impl Live {
    /// Whether somebody relies on what a line says once it is told, also over a loss of power. Not so if
    /// without it the next life would send, or tell, what it may at worst: that a message is sent once more
    /// whose fate is known, or that one which was being handed over is *known*.
    pub(super) fn is_pressing(&self, line: &Line<'_>) -> bool {
        match line {
            Line::Settled { .. }
            | Line::Told { .. }
            | Line::Forgotten { .. }
            | Line::Stopped {} => false,
            Line::Ended { uid, number, .. } => {
                let channel = self.channels.get(&**uid);
                let open = channel.and_then(|channel| channel.open.get(number));
                matches!(open, Some(Some(_)))
            }
            Line::Head { .. }
            | Line::Channel { .. }
            | Line::Accepted { .. }
            | Line::Numbered { .. }
            | Line::Came { .. }
            | Line::Part { .. }
            | Line::Progress { .. }
            | Line::Answered { .. } => true,
        }
    }

    /// Whether a line says that the fate of a message is known of which that is not noted yet.
    pub(super) fn has_unsettled(&self, line: &Line<'_>) -> bool {
        matches!(line, Line::Settled { ticket, .. } if self.uplinks.contains_key(ticket))
    }

    /// Takes what a line says; it stands at `span`.
    pub(super) fn apply(&mut self, line: &Line<'_>, span: Span) {
        match line {
            Line::Head { .. } | Line::Stopped {} => {}
            Line::Channel { uid, .. } => self.channel(uid, line),
            Line::Accepted { ticket, .. } => {
                let uplink = Uplink {
                    span,
                    number: None,
                    parts: None,
                };
                self.uplinks.insert(*ticket, uplink);
            }
            Line::Numbered {
                ticket,
                uid,
                number,
            } => {
                if let Some(uplink) = self.uplinks.get_mut(ticket) {
                    uplink.number = Some((uid.to_string(), *number));
                }
                if let Some(channel) = self.channels.get_mut(&**uid) {
                    let next = &mut channel.memory.next_number;
                    *next = (*next).max(number.saturating_add(1));
                }
            }
            Line::Progress {
                ticket,
                stored,
                begun,
            } => {
                if let Some(uplink) = self.uplinks.get_mut(ticket) {
                    uplink.number = None;
                    uplink.parts = Some((*stored, *begun));
                }
            }
            Line::Settled { ticket, untold } => {
                self.uplinks.remove(ticket);
                // What the disk does not have yet, this life tells or nobody.
                if let Some(UntoldLine { app, frame }) = untold
                    && span.len > 0
                {
                    let of_app = self.untold.entry(app.to_string()).or_default();
                    of_app.push(*ticket, is_good(frame), span);
                }
            }
            Line::Told { app } => {
                self.untold.remove(&**app);
            }
            Line::Forgotten { app, fates } => {
                self.untold
                    .entry(app.to_string())
                    .or_default()
                    .forget(*fates);
            }
            Line::Came {
                uid,
                epoch,
                number,
                kept,
                whole,
            } => {
                if let Some(channel) = self.channel_of(uid, *epoch) {
                    channel.memory.window.insert(*number);
                    channel.open.insert(*number, kept.as_ref().map(|_| span));
                    if *whole {
                        channel.parts.clear();
                    }
                }
            }
            Line::Part {
                uid,
                epoch,
                number,
                offset,
                ..
            } => {
                if let Some(channel) = self.channel_of(uid, *epoch) {
                    if *offset == 0 {
                        channel.parts.clear();
                    }
                    channel.parts.push(span);
                    // Where it is read again, others may have ended since.
                    if channel.memory.window.novelty(*number) == Novelty::New {
                        channel.memory.window.insert(*number);
                        channel.end(*number, Step::PartStored);
                    }
                }
            }
            Line::Answered {
                uid, epoch, number, ..
            } => {
                // Where it is read again, others may have ended since.
                if let Some(channel) = self.channel_of(uid, *epoch)
                    && channel.open.contains_key(number)
                {
                    channel.end(*number, Step::Answered);
                }
                self.answers.push_back(span);
                let bytes = |answers: &VecDeque<Span>| answers.iter().map(|it| it.len).sum::<u64>();
                while self.answers.len() > REQUEST_PLACES
                    || bytes(&self.answers) > ANSWERS_BYTES_MAX
                {
                    self.answers.pop_front();
                }
            }
            Line::Ended {
                uid,
                epoch,
                number,
                step,
            } => {
                if let Some(channel) = self.channel_of(uid, *epoch) {
                    let step = Step::from_code(u32::from(*step)).unwrap_or(HANDED_OVER);
                    channel.end(*number, step);
                }
            }
        }
    }

    /// The partner and our new epoch, if a line says that our memory is older than what its host has heard.
    pub(super) fn outdated<'l>(&self, line: &'l Line<'_>) -> Option<(&'l str, u32)> {
        let (Line::Channel { uid, .. }, Some(memory)) = (line, line.memory()) else {
            return None;
        };
        let before = self.channels.get(&**uid)?.memory;
        let is_outdated = before.peer.is_some() && before.epoch < memory.epoch;
        is_outdated.then_some((uid, memory.epoch.number()))
    }

    fn channel(&mut self, uid: &str, line: &Line<'_>) {
        let Some(memory) = line.memory() else {
            return;
        };
        let channel = self.channels.entry(uid.to_owned()).or_insert(Channel {
            memory,
            open: BTreeMap::new(),
            ended: VecDeque::new(),
            parts: Vec::new(),
        });
        let before = (channel.memory.epoch, channel.memory.peer);
        if before != (memory.epoch, memory.peer) {
            channel.forget();
        }
        channel.memory = memory;
    }

    /// The channel with a partner in this epoch of its host.
    fn channel_of(&mut self, uid: &str, epoch: u32) -> Option<&mut Channel> {
        let channel = self.channels.get_mut(uid)?;
        let epoch = Epoch::new(epoch)?;
        if channel.memory.peer < Some(epoch) {
            channel.memory.peer = Some(epoch);
            channel.memory.window = Window::default();
            channel.forget();
        }
        (channel.memory.peer == Some(epoch)).then_some(channel)
    }

    /// Messages that wait for their apps.
    pub(super) fn waiting_for_apps(&self) -> usize {
        let channels = self.channels.values();
        channels
            .map(|channel| channel.open.values().flatten().count())
            .sum()
    }

    /// Forgets all channels; returns how many messages from apps are left, which have no numbers now.
    pub(super) fn forget_channels(&mut self) -> usize {
        self.channels.clear();
        for uplink in self.uplinks.values_mut() {
            uplink.number = None;
            uplink.parts = None;
        }
        self.uplinks.len()
    }

    /// What was being handed over when the agent ended has met its end there.
    pub(super) fn end_what_was_handed_over(&mut self) {
        for channel in self.channels.values_mut() {
            let open = channel.open.iter();
            let handed: Vec<u32> = open
                .filter(|(_, span)| span.is_none())
                .map(|(number, _)| *number)
                .collect();
            for number in handed {
                channel.end(number, HANDED_OVER);
            }
        }
    }

    /// What a file without all that is over has to say: first what is no message's text.
    pub(super) fn plan(&self) -> std::io::Result<Vec<Item>> {
        let (mut lines, mut texts) = (Vec::new(), Vec::new());
        let new = |line: &Line<'_>| Ok::<_, std::io::Error>(Item::New(line.to_text()?));
        for (uid, channel) in &self.channels {
            lines.push(new(&Line::channel(uid.as_str().into(), &channel.memory))?);
            let Some(epoch) = channel.memory.peer else {
                continue;
            };
            for &(number, step) in &channel.ended {
                let id = MessageId { epoch, number };
                lines.push(new(&Line::ended(uid.as_str().into(), id, step))?);
            }
            for (&number, span) in &channel.open {
                match span {
                    Some(span) => texts.push(Item::Old(*span)),
                    None => lines.push(new(&Line::Came {
                        uid: uid.as_str().into(),
                        epoch: epoch.number(),
                        number,
                        kept: None,
                        whole: false,
                    })?),
                }
            }
            texts.extend(channel.parts.iter().map(|span| Item::Old(*span)));
        }
        texts.extend(self.answers.iter().map(|span| Item::Old(*span)));
        // Their tickets may be those of later messages.
        for (app, untold) in &self.untold {
            if untold.forgotten() > 0 {
                lines.push(new(&Line::Forgotten {
                    app: app.as_str().into(),
                    fates: untold.forgotten(),
                })?);
            }
            texts.extend(untold.iter().map(|(_, span)| Item::Old(*span)));
        }
        for (&ticket, uplink) in &self.uplinks {
            texts.push(Item::Old(uplink.span));
            if let Some((stored, begun)) = uplink.parts {
                texts.push(new(&Line::Progress {
                    ticket,
                    stored,
                    begun,
                })?);
            }
            if let Some((uid, number)) = &uplink.number {
                texts.push(new(&Line::Numbered {
                    ticket,
                    uid: uid.as_str().into(),
                    number: *number,
                })?);
            }
        }
        lines.append(&mut texts);
        Ok(lines)
    }

    /// What stood at a place stands at another now.
    pub(super) fn move_to(&mut self, moved: impl Fn(u64) -> u64) {
        let open = self.channels.values_mut();
        let places = open.flat_map(|channel| {
            let open = channel.open.values_mut().filter_map(Option::as_mut);
            open.chain(&mut channel.parts)
        });
        let uplinks = self.uplinks.values_mut().map(|uplink| &mut uplink.span);
        let untold = self.untold.values_mut().flat_map(Untold::iter_mut);
        let others = self.answers.iter_mut().chain(untold).chain(uplinks);
        for place in places.chain(others) {
            place.at = moved(place.at);
        }
    }
}

impl Channel {
    /// What depends on the lives of both ends is gone.
    fn forget(&mut self) {
        self.open.clear();
        self.ended.clear();
        self.parts.clear();
    }

    fn end(&mut self, number: u32, step: Step) {
        self.open.remove(&number);
        // The end of a request is noted with its answer, and by itself.
        self.ended.retain(|(ended, _)| *ended != number);
        self.ended.push_back((number, step));
        if self.ended.len() > ENDED_MAX {
            self.ended.pop_front();
        }
    }
}
