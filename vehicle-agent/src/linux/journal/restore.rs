//! How a life takes up what the last one noted.

use std::borrow::Cow;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::{Epoch, MessageId, Part};
use vinbus_protocol::id::{AppId, Uid};
use vinbus_protocol::limits::{DELIVERY_LONG_IDLE_MS, DELIVERY_TTL_S_MAX};
use vinbus_protocol::request::RequestId;

use super::line::{Line, UntoldLine};
use super::{Journal, now_s};
use crate::linux::portal::SocketApps;
use crate::linux::run::LinuxDesk;
use crate::notes::{Kept, Sent};

/// Each start leaves out as many numbers of messages to apps, which ordinary ones may have used.
const NUMBERS_OF_A_START: u32 = 32;

impl Journal {
    /// Gives the desk what the last life left behind, and `apps` the frame ids of messages from apps.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn restore(
        &mut self,
        desk: &mut LinuxDesk,
        apps: &mut SocketApps<'_>,
    ) -> anyhow::Result<()> {
        let (mut taken, mut left) = (0_u64, 0_u64);
        let mut count = |is_taken: bool| match is_taken {
            true => taken += 1,
            false => left += 1,
        };
        for (uid, channel) in &self.live.channels {
            let (Ok(uid), Some(peer)) = (Uid::parse(uid), channel.memory.peer) else {
                continue;
            };
            desk.resume_channel(&uid, channel.memory);
            let id = |number| MessageId {
                epoch: peer,
                number,
            };
            for (&number, span) in &channel.open {
                let Some(span) = span else { continue };
                let line = self.line(*span)?;
                count(resume_kept(desk, &uid, id(number), &line));
            }
            for span in &channel.parts {
                resume_part(desk, &uid, &self.line(*span)?);
            }
            // The newest first: those that find no place were acknowledged.
            for &(number, step) in channel.ended.iter().rev() {
                desk.resume_ended(&uid, id(number), step);
            }
        }
        for (&ticket, uplink) in &self.live.uplinks {
            let Line::Accepted {
                app,
                subtopic,
                content,
                id,
                ..
            } = self.line(uplink.span)?
            else {
                continue;
            };
            let slot = slot(desk, &app);
            let (stored, begun) = uplink.parts.unwrap_or_default();
            let sent = Sent {
                number: uplink.number.as_ref().map(|(_, number)| *number),
                stored,
                begun,
            };
            let subtopic = subtopic.as_deref();
            let content = content.as_bytes();
            let is_taken = slot.is_some_and(|slot| {
                let taken = desk.resume_accepted(ticket, slot, subtopic, content, sent);
                if taken {
                    apps.expect_settled(slot, ticket, id.map(Cow::into_owned));
                }
                taken
            });
            count(is_taken);
        }
        for (app, untold) in &self.live.untold {
            let Some(slot) = slot(desk, app) else {
                continue;
            };
            apps.expect_forgotten(slot, untold.forgotten());
            for (_, &span) in untold.iter() {
                if let Line::Settled {
                    untold: Some(UntoldLine { frame, .. }),
                    ..
                } = self.line(span)?
                {
                    apps.expect_told(slot, frame.into_owned());
                }
            }
        }
        for span in &self.live.answers {
            resume_answered(desk, &self.line(*span)?);
        }
        let slots: Vec<AppSlot> = desk.portal().apps().map(|app| app.slot).collect();
        for slot in slots {
            desk.skip_pending_numbers(slot, self.start << NUMBERS_OF_A_START);
        }
        if taken + left > 0 {
            tracing::info!(
                taken,
                left,
                "took up messages with receipts of the last run"
            );
        }
        if left > 0 {
            tracing::warn!(
                left,
                "messages with receipts stay in the journal, as their app is not installed or there is no room: install it with --app, or raise --uplink-queue"
            );
        }
        Ok(())
    }
}

fn resume_kept(desk: &mut LinuxDesk, uid: &Uid, id: MessageId, line: &Line<'_>) -> bool {
    let Line::Came {
        kept: Some(kept), ..
    } = line
    else {
        return false;
    };
    let Some(slot) = slot(desk, &kept.app) else {
        return false;
    };
    // Where the clock was set, it is no more than was given.
    let left_s = kept.ends_s.map(|at| at.saturating_sub(now_s()));
    let left_s = left_s.map(|left| left.clamp(1, u64::from(DELIVERY_TTL_S_MAX)));
    let kept = Kept {
        slot,
        number: kept.number,
        ends_in_ms: left_s.map(|left| left * 1_000),
        content: kept.content.as_bytes(),
    };
    desk.resume_kept(uid, id, kept)
}

/// One of an app that is not installed any more is nobody's.
fn resume_answered(desk: &mut LinuxDesk, line: &Line<'_>) {
    if let Line::Answered {
        uid,
        epoch,
        number,
        request,
        app,
        answer,
    } = line
        && let (Ok(uid), Some(epoch)) = (Uid::parse(uid), Epoch::new(*epoch))
        && let (Some(slot), Some(request)) = (slot(desk, app), RequestId::parse(request))
    {
        let number = *number;
        let id = MessageId { epoch, number };
        desk.resume_answered(&uid, id, slot, request, answer.as_bytes());
    }
}

/// What was not kept long enough is missing, and its sender begins again.
fn resume_part(desk: &mut LinuxDesk, uid: &Uid, line: &Line<'_>) {
    let Line::Part {
        offset,
        total,
        checksum,
        ends_s,
        piece,
        ..
    } = line
    else {
        return;
    };
    let part = Part {
        offset: *offset,
        total: *total,
        checksum: *checksum,
    };
    let left_s = ends_s.map(|at| at.saturating_sub(now_s()));
    let left_ms = left_s.map(|left| (left * 1_000).min(DELIVERY_LONG_IDLE_MS));
    desk.resume_part(uid, part, piece, left_ms);
}

fn slot(desk: &LinuxDesk, app: &str) -> Option<AppSlot> {
    desk.portal().slot(&AppId::parse(app).ok()?)
}
