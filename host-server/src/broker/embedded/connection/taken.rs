//! Messages of the bus that are taken for vehicles: routed and acknowledged when they are on disk.
//!
//! The connection does not wait for the disk: it is read on meanwhile, so that what a client publishes in a
//! row goes to the disk together. A task of the connection's own waits for the messages in their order,
//! which is the order of their acknowledgements and of all messages on one topic. It begins with the first
//! message, and ends with the connection and what was taken on it.

use std::sync::Arc;

use mqtt5::QoS;
use mqtt5::broker::events::ClientPublishEvent;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use tokio::sync::{mpsc, oneshot};

use super::bus::is_told;
use super::{Client, Connection};
use crate::broker::embedded::counters::add;
use crate::broker::embedded::limits::RECEIVE_MAX;
use crate::broker::embedded::stream::Gate;
use crate::broker::{BusIntake, BusRefusal, BusTaking};

/// A message on its way to the disk.
pub(super) struct Taken {
    connection: Arc<Connection>,
    client: Client,
    event: ClientPublishEvent,
    taking: BusTaking,
    answer: oneshot::Sender<ReasonCode>,
}

impl Connection {
    /// Has a message taken. As many wait for the disk as may be unacknowledged; the next waits here.
    pub(super) async fn take(
        &self,
        intake: Arc<dyn BusIntake>,
        client: &Client,
        event: ClientPublishEvent,
    ) -> Option<Gate> {
        let connection = self.own.upgrade()?;
        let taking = intake
            .take(Arc::clone(&event.topic), event.payload.clone())
            .await;
        let (answer, gate) = oneshot::channel();
        let taken = Taken {
            connection,
            client: client.clone(),
            event,
            taking,
            answer,
        };
        let queue = self.taken.get_or_init(|| {
            let (queue, taken) = mpsc::channel(usize::from(RECEIVE_MAX));
            tokio::spawn(settle(taken));
            queue
        });
        // The task takes until the queue is gone. If it were gone, the gate would break the connection.
        let _ = queue.send(taken).await;
        Some(gate)
    }
}

async fn settle(mut queue: mpsc::Receiver<Taken>) {
    while let Some(taken) = queue.recv().await {
        taken.settle().await;
    }
}

impl Taken {
    async fn settle(self) {
        let (connection, client) = (&self.connection, &self.client);
        let qos = self.event.qos;
        let Err(refusal) = self.taking.await else {
            let reason = match connection.route(client, self.event).await {
                None => ReasonCode::Success,
                Some(gate) => match gate.await {
                    Ok(reason) => reason,
                    // The connection ends in place of the acknowledgement.
                    Err(_) => return,
                },
            };
            // A peer that is gone needs no acknowledgement.
            let _ = self.answer.send(reason);
            return;
        };
        // The intake has logged why.
        let counters = &connection.shared.counters;
        add(&counters.publishes_denied);
        let is_told = is_told(client, qos);
        if refusal == BusRefusal::Unavailable && qos != QoS::AtMostOnce && !is_told {
            // Its sender would take any answer for a promise, and may send it again after the connection
            // has ended.
            add(&counters.unacknowledged);
            return;
        }
        let reason = match refusal {
            _ if !is_told => ReasonCode::Success,
            BusRefusal::Topic => ReasonCode::TopicNameInvalid,
            BusRefusal::Payload => ReasonCode::PayloadFormatInvalid,
            BusRefusal::Quota => ReasonCode::QuotaExceeded,
            BusRefusal::Unavailable => ReasonCode::UnspecifiedError,
        };
        let _ = self.answer.send(reason);
    }
}
