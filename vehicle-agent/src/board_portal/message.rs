//! WebSocket messages put together from their frames (RFC 6455, 5.4), in the buffer of the socket.

use core::convert::Infallible;
use core::future::pending;

use picoserve::futures::Either;
use picoserve::io::Read;
use picoserve::response::ws::{Control, Data, Frame, Opcode, ReadFrameError, SocketRx};

use super::limits::CONTROL_BYTES_MAX;
use crate::app_interface::refusal::Ending;

/// A message that is in the buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// Text of this length in bytes, which may not be UTF-8.
    Text(usize),
    /// Something else.
    Binary,
}

/// Why there is no message any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoMessage {
    /// The connection is broken.
    Gone,
    /// The peer closes it.
    Closed,
    /// The portal ends it.
    Ended(Ending),
}

/// A message of which some frames may be missing.
#[derive(Debug, Default)]
pub(super) struct Partial {
    len: usize,
    /// Whether it is text; `None` before its first frame.
    text: Option<bool>,
}

/// What a frame was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The last one of a message.
    Complete(Message),
    /// A part of a message.
    Partial,
    /// An answer to a ping.
    Pong,
    /// A ping, whose payload of this length is behind the partial message.
    Ping(usize),
}

impl Partial {
    /// Bytes of the message so far.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Reads one frame into `buffer`, behind the frames before it. Not cancel safe.
    pub(super) async fn read<R: Read>(
        &mut self,
        rx: &mut SocketRx<R>,
        buffer: &mut [u8],
    ) -> Result<Progress, NoMessage> {
        let max = buffer.len().saturating_sub(CONTROL_BYTES_MAX);
        let too_large = NoMessage::Ended(Ending::FrameTooLarge(max));
        let rest = buffer.get_mut(self.len..).unwrap_or_default();
        let frame = match rx.next_frame(rest, pending::<Infallible>()).await {
            Ok(Either::First(Ok(frame))) => frame,
            Ok(Either::First(Err(ReadFrameError::UnexpectedEof))) | Err(_) => {
                return Err(NoMessage::Gone);
            }
            Ok(Either::First(Err(_))) => return Err(too_large),
            Ok(Either::Second(never)) => match never {},
        };
        match (&frame.opcode, self.text) {
            (Opcode::Control(control), _) => return handle_control(&frame, control),
            (Opcode::Data(Data::Text), None) => self.text = Some(true),
            (Opcode::Data(Data::Binary), None) => self.text = Some(false),
            (Opcode::Data(Data::Continue), Some(_)) => {}
            (Opcode::Data(_), _) => return Err(NoMessage::Ended(Ending::Protocol)),
        }
        self.len += frame.length;
        if self.len > max {
            return Err(too_large);
        }
        if !frame.is_final {
            return Ok(Progress::Partial);
        }
        let message = if self.text == Some(true) {
            Message::Text(self.len)
        } else {
            Message::Binary
        };
        *self = Self::default();
        Ok(Progress::Complete(message))
    }
}

fn handle_control(frame: &Frame, control: &Control) -> Result<Progress, NoMessage> {
    if !frame.is_final || frame.length > CONTROL_BYTES_MAX {
        return Err(NoMessage::Ended(Ending::Protocol));
    }
    match control {
        Control::Close => Err(NoMessage::Closed),
        Control::Ping => Ok(Progress::Ping(frame.length)),
        Control::Pong => Ok(Progress::Pong),
        Control::Reserved(_) => Err(NoMessage::Ended(Ending::Protocol)),
    }
}
