//! What sockets said, one thing after the other, as it waits for the agent.

use std::ops::Range;

use axum::extract::ws::Utf8Bytes;

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::request::RequestId;

use crate::apps::{Numbers, Request};
use crate::linux::portal::outbox::Unread;

/// One thing for the agent to do.
#[derive(Debug)]
pub(super) enum Step {
    Send {
        slot: AppSlot,
        subtopic: Option<String>,
        /// The request that it answers.
        request: Option<RequestId>,
        /// The content is these bytes of the frame.
        frame: Utf8Bytes,
        content: Range<usize>,
        receipts: bool,
        id: Option<String>,
    },
    TakePending {
        slot: AppSlot,
        keep: bool,
        after: Option<u64>,
        id: Option<String>,
    },
    ConfirmEach {
        slot: AppSlot,
        /// The numbers are these bytes of the frame.
        frame: Utf8Bytes,
        numbers: Range<usize>,
    },
    Return {
        slot: AppSlot,
        unread: Unread,
    },
    Other(Request<'static>),
}

impl Step {
    /// As the agent is given it.
    pub(super) fn request(&self) -> Request<'_> {
        match self {
            Step::Send {
                slot,
                subtopic,
                request,
                frame,
                content,
                receipts,
                ..
            } => {
                let content = frame.get(content.clone()).unwrap_or_default().as_bytes();
                let (slot, receipts, subtopic) = (*slot, *receipts, subtopic.as_deref());
                match *request {
                    Some(id) => Request::Answer { slot, id, content },
                    None => Request::Send {
                        slot,
                        receipts,
                        subtopic,
                        content,
                    },
                }
            }
            Step::TakePending { slot, keep, .. } => Request::TakePending {
                slot: *slot,
                keep: *keep,
            },
            Step::ConfirmEach {
                slot,
                frame,
                numbers,
            } => Request::ConfirmEach {
                slot: *slot,
                numbers: Numbers(frame.get(numbers.clone()).unwrap_or_default()),
            },
            Step::Return { slot, unread } => Request::Return {
                slot: *slot,
                number: unread.number,
                message: unread.message.as_bytes(),
            },
            Step::Other(request) => *request,
        }
    }
}
