//! What arrives: messages, their acknowledgement, and the inbox they wait in.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::mpsc;

use crate::wire;

/// MQTT quality of service. The car maker's broker downgrades all of them to at most once, so
/// nothing above MQTT relies on more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Qos {
    /// QoS 0.
    AtMostOnce,
    /// QoS 1.
    AtLeastOnce,
    /// QoS 2.
    ExactlyOnce,
}

/// A message from the broker.
///
/// At QoS 1 and 2 the broker keeps it until [`ack`](Self::ack): store it first, then acknowledge
/// it. A message dropped without `ack` is delivered again on the next connection if the session
/// is kept, and occupies one place of the receive maximum until then.
#[derive(Debug)]
pub struct Message {
    /// The topic it was published on.
    pub topic: String,
    /// Its bytes, at most 131,072.
    pub payload: Bytes,
    /// The quality of service it was delivered with.
    pub qos: Qos,
    /// Whether the broker had kept it as the topic's retained message.
    pub retain: bool,
    pub(crate) receipt: Option<Receipt>,
}

impl Message {
    /// Tells the broker that the message is safe here. Does nothing at QoS 0, and nothing once
    /// the connection that brought the message is gone (the broker then delivers it again).
    pub fn ack(self) {
        if let Some(receipt) = self.receipt {
            receipt.send();
        }
    }
}

/// The way back to the connection that a message came from.
///
/// The channel needs no bound of its own: it holds at most one acknowledgement for each message
/// handed out, and those are bounded by the inbox and the receive maximum.
#[derive(Debug)]
pub(crate) struct Receipt {
    pub(crate) ack: wire::Ack,
    pub(crate) connection: mpsc::UnboundedSender<wire::Ack>,
}

impl Receipt {
    fn send(self) {
        let _gone_with_its_connection = self.connection.send(self.ack);
    }
}

/// The messages that arrived, in order, at most `inbound_messages_max` of them. While it is full
/// nothing is read from the connection.
#[derive(Debug)]
pub struct Inbox {
    pub(crate) messages: mpsc::Receiver<Message>,
    pub(crate) _lifeline: mpsc::Sender<()>,
}

impl Inbox {
    /// The next message, or `None` once the client is closed and the inbox is empty.
    /// Cancel-safe: a dropped future loses nothing.
    pub async fn recv(&mut self) -> Option<Message> {
        self.messages.recv().await
    }
}

impl Stream for Inbox {
    type Item = Message;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        self.messages.poll_recv(cx)
    }
}
