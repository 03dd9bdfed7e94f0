//! The lines of the journal.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::checksum::crc32;
use vinbus_protocol::delivery::{Epoch, MessageId, Snapshot, Step, Window};
use vinbus_protocol::id::AppId;

use crate::notes::Note;

/// One line. JSON texts are strings, so that every byte of them is kept.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Line<'l> {
    /// The first: whose it is, the life in which messages are numbered, and how many starts it had.
    Head {
        vin: Cow<'l, str>,
        life: u64,
        start: u64,
    },
    Channel {
        uid: Cow<'l, str>,
        epoch: u32,
        peer: Option<u32>,
        next: u32,
        batch: u32,
        highest: u32,
        /// The window's bits, in hexadecimal.
        seen: Cow<'l, str>,
    },
    Accepted {
        ticket: u64,
        app: Cow<'l, str>,
        subtopic: Option<Cow<'l, str>>,
        content: Cow<'l, str>,
        id: Option<Cow<'l, str>>,
    },
    Numbered {
        ticket: u64,
        uid: Cow<'l, str>,
        number: u32,
    },
    /// A message that goes in parts: what is stored of it, and times that it began.
    Progress {
        ticket: u64,
        stored: u32,
        begun: u32,
    },
    Settled {
        ticket: u64,
        /// The app has not been told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        untold: Option<UntoldLine<'l>>,
    },
    /// An app has been told what became of its messages.
    Told { app: Cow<'l, str> },
    /// An app has not been told of so many of its messages what became of them, and will not be.
    Forgotten { app: Cow<'l, str>, fates: u64 },
    Came {
        uid: Cow<'l, str>,
        epoch: u32,
        number: u32,
        kept: Option<KeptLine<'l>>,
        /// It came in parts.
        #[serde(default)]
        whole: bool,
    },
    Part {
        uid: Cow<'l, str>,
        epoch: u32,
        number: u32,
        offset: u32,
        total: u32,
        /// 0 in journals of older programs: such a message begins again.
        #[serde(default)]
        checksum: u32,
        /// Until when the next one is awaited, in seconds since 1970.
        ends_s: Option<u64>,
        piece: Cow<'l, str>,
    },
    Answered {
        uid: Cow<'l, str>,
        epoch: u32,
        number: u32,
        /// The name of the request.
        request: Cow<'l, str>,
        app: Cow<'l, str>,
        /// The payload.
        answer: Cow<'l, str>,
    },
    Ended {
        uid: Cow<'l, str>,
        epoch: u32,
        number: u32,
        step: u8,
    },
    /// The last of older programs, where they were stopped in good order.
    Stopped {},
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct UntoldLine<'l> {
    pub(super) app: Cow<'l, str>,
    /// What it is to be told.
    pub(super) frame: Cow<'l, str>,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct KeptLine<'l> {
    pub(super) app: Cow<'l, str>,
    pub(super) number: u64,
    /// Seconds since 1970.
    pub(super) ends_s: Option<u64>,
    pub(super) content: Cow<'l, str>,
}

impl<'l> Line<'l> {
    /// The line of a note; `None` for one that is of no app.
    pub(super) fn of(
        note: Note<'l>,
        app: impl Fn(AppSlot) -> Option<AppId>,
        id: Option<&'l str>,
        now_s: u64,
    ) -> Option<Self> {
        let name = |slot| Some(Cow::Owned(app(slot)?.as_str().to_owned()));
        let at_s = |ms: u64| now_s.saturating_add(ms.div_ceil(1_000));
        let text = |bytes| std::str::from_utf8(bytes).ok().map(Cow::Borrowed);
        Some(match note {
            Note::Channel { uid, memory } => Self::channel(uid.as_str().into(), &memory),
            Note::Accepted {
                ticket,
                slot,
                subtopic,
                content,
            } => Self::Accepted {
                ticket,
                app: name(slot)?,
                subtopic: subtopic.map(Cow::Borrowed),
                content: text(content)?,
                id: id.map(Cow::Borrowed),
            },
            Note::Numbered {
                ticket,
                uid,
                number,
            } => Self::Numbered {
                ticket,
                uid: uid.as_str().into(),
                number,
            },
            Note::Progress { ticket, sent } => Self::Progress {
                ticket,
                stored: sent.stored,
                begun: sent.begun,
            },
            Note::Settled { ticket } => Self::Settled {
                ticket,
                untold: None,
            },
            Note::Came {
                uid,
                id,
                kept,
                whole,
            } => Self::Came {
                uid: uid.as_str().into(),
                epoch: id.epoch.number(),
                number: id.number,
                kept: match kept {
                    Some(kept) => Some(KeptLine {
                        app: name(kept.slot)?,
                        number: kept.number,
                        ends_s: kept.ends_in_ms.map(at_s),
                        content: text(kept.content)?,
                    }),
                    None => None,
                },
                whole,
            },
            Note::Part {
                uid,
                id,
                part,
                piece,
                ends_in_ms,
            } => Self::Part {
                uid: uid.as_str().into(),
                epoch: id.epoch.number(),
                number: id.number,
                offset: part.offset,
                total: part.total,
                checksum: part.checksum,
                ends_s: ends_in_ms.map(at_s),
                piece: text(piece)?,
            },
            Note::Answered {
                uid,
                id,
                request,
                slot,
                answer,
            } => Self::Answered {
                uid: uid.as_str().into(),
                epoch: id.epoch.number(),
                number: id.number,
                request: request.to_string().into(),
                app: name(slot)?,
                answer: text(answer)?,
            },
            Note::Ended { uid, id, step } => Self::ended(uid.as_str().into(), id, step),
        })
    }

    pub(super) fn channel(uid: Cow<'l, str>, memory: &Snapshot) -> Self {
        Self::Channel {
            uid,
            epoch: memory.epoch.number(),
            peer: memory.peer.map(Epoch::number),
            next: memory.next_number,
            batch: memory.batch,
            highest: memory.window.highest(),
            seen: format!("{:x}", memory.window.seen()).into(),
        }
    }

    pub(super) fn ended(uid: Cow<'l, str>, id: MessageId, step: Step) -> Self {
        Self::Ended {
            uid,
            epoch: id.epoch.number(),
            number: id.number,
            step: step.code(),
        }
    }

    /// The memory of a channel, if it is a line of one and says what can be.
    pub(super) fn memory(&self) -> Option<Snapshot> {
        let Self::Channel {
            epoch,
            peer,
            next,
            batch,
            highest,
            seen,
            ..
        } = self
        else {
            return None;
        };
        let peer = match peer {
            Some(peer) => Some(Epoch::new(*peer)?),
            None => None,
        };
        Some(Snapshot {
            epoch: Epoch::new(*epoch)?,
            peer,
            next_number: (*next).max(1),
            batch: *batch,
            window: Window::new(*highest, u128::from_str_radix(seen, 16).ok()?),
        })
    }

    /// Reads a line without its end; `None` for one that is damaged.
    pub(super) fn read(text: &[u8]) -> Option<Line<'static>> {
        let (crc, json) = text.split_at_checked(9)?;
        let crc = std::str::from_utf8(crc).ok()?.strip_suffix(' ')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32(json) {
            return None;
        }
        let line: Line<'static> = serde_json::from_slice(json).ok()?;
        let is_sound = !matches!(line, Line::Channel { .. }) || line.memory().is_some();
        is_sound.then_some(line)
    }

    /// The whole line.
    pub(super) fn to_text(&self) -> std::io::Result<String> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{:08x} {json}\n", crc32(json.as_bytes())))
    }
}
