//! Routing on the bus: at once, to whoever hears it now.
//!
//! Nothing on the bus is kept: a message goes to the clients that are connected, at the QoS that both
//! sides asked for, QoS 1 at most.
//!
//! Messages of QoS 0, and those of the host, are paced, so that they do not overflow the library's
//! queues, and then wait, or are dropped and counted, in the stream of each client.
//!
//! Messages of QoS 1 are never dropped for a client that stays connected. Who publishes them has a
//! [`Window`] of its own, and is read no further while those who hear it are behind; nobody else waits
//! for them. Patience ends soon, so that a client which acknowledges nothing stops nobody: then the
//! messages wait for it within the bounds of `backlog`, which ends its session when they are reached.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use mqtt5::QoS;
use mqtt5::broker::router::MessageRouter;
use mqtt5::packet::publish::PublishPacket;
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::backlog::Backlogs;
use super::counters::{BrokerCounters, add};
use super::forward::{permits, tracked};
use super::limits::{
    BUS_BYTES_MAX, BUS_MESSAGE_BYTES_MIN, FAN_OUT_MESSAGE_BYTES_MIN, FAN_OUT_PATIENCE,
    FAN_OUT_WINDOW_BYTES, PUBLISHER_WINDOW_MAX,
};

/// The way onto the bus.
pub(super) struct BusTraffic {
    router: Arc<MessageRouter>,
    counters: Arc<BrokerCounters>,
    /// Bytes of messages on their way that are paced.
    paced: Window,
    /// Bytes of messages of QoS 1 on their way.
    room: Arc<Semaphore>,
    pub(super) backlogs: Backlogs,
    /// Held by the message of the host's own that is being routed.
    own: Mutex<()>,
}

/// Bounds what is on its way; what finds no room waits for a while.
pub(super) struct Window {
    room: Arc<Semaphore>,
    /// Whether it stays full, as far as is known.
    stuck: AtomicBool,
}

/// As much of QoS 1 is on its way to clients that acknowledge it too slowly as may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Window {
    /// For the messages of QoS 1 of one publisher.
    pub(super) fn of_publisher() -> Self {
        Self::new(PUBLISHER_WINDOW_MAX)
    }

    fn new(size: usize) -> Self {
        Self {
            room: Arc::new(Semaphore::new(size)),
            stuck: AtomicBool::new(false),
        }
    }

    /// Waits for room with patience, and not at all while it is known to stay full.
    async fn enter(&self, cost: u32) -> Option<OwnedSemaphorePermit> {
        let permit = match Arc::clone(&self.room).try_acquire_many_owned(cost) {
            Ok(permit) => Some(permit),
            Err(_) if self.stuck.load(Ordering::Relaxed) => None,
            Err(_) => acquired_in_time(&self.room, cost).await,
        };
        self.stuck.store(permit.is_none(), Ordering::Relaxed);
        permit
    }
}

impl BusTraffic {
    pub(super) fn new(router: Arc<MessageRouter>, counters: Arc<BrokerCounters>) -> Self {
        Self {
            backlogs: Backlogs::new(Arc::clone(&router)),
            router,
            counters,
            paced: Window::new(FAN_OUT_WINDOW_BYTES),
            room: Arc::new(Semaphore::new(BUS_BYTES_MAX)),
            own: Mutex::default(),
        }
    }

    /// Routes a message of a client, which does not hear it where it asked for that (No Local).
    ///
    /// # Errors
    /// [`NoRoom`], at QoS 1 only; nobody heard it.
    pub(super) async fn route(
        &self,
        mut packet: PublishPacket,
        from: &str,
        window: &Window,
    ) -> Result<(), NoRoom> {
        if packet.qos == QoS::AtMostOnce {
            self.pace(&mut packet).await;
        } else if let Some(permit) = window.enter(1).await {
            packet.payload = tracked(packet.payload, permit);
        }
        self.send(packet, Some(from)).await
    }

    /// Publishes a message of the host's own at QoS 1, paced as those of QoS 0 are: they may come in
    /// great numbers. They go in the order in which this is called.
    ///
    /// # Errors
    /// [`NoRoom`]; nobody heard it.
    pub(super) async fn publish(&self, topic: &str, payload: Bytes) -> Result<(), NoRoom> {
        let mut packet = PublishPacket::new(topic, payload, QoS::AtLeastOnce);
        let _turn = self.own.lock().await;
        self.pace(&mut packet).await;
        self.send(packet, None).await
    }

    async fn send(&self, mut packet: PublishPacket, from: Option<&str>) -> Result<(), NoRoom> {
        let must_arrive = packet.qos != QoS::AtMostOnce;
        if must_arrive {
            packet.payload = self.admit(packet.payload).await?;
        }
        // What has no room is queued behind, and not waited for.
        let deadline = Instant::now();
        self.router
            .route_message_with_deadline(&packet, from, deadline)
            .await;
        add(&self.counters.messages_out);
        if must_arrive {
            self.backlogs.look();
        }
        Ok(())
    }

    /// Takes a message of QoS 1 in, if need be in place of what waits for whoever is furthest behind.
    async fn admit(&self, payload: Bytes) -> Result<Bytes, NoRoom> {
        let cost = permits(payload.len().max(BUS_MESSAGE_BYTES_MIN));
        let permit = match Arc::clone(&self.room).try_acquire_many_owned(cost) {
            Ok(permit) => permit,
            Err(_) => {
                self.backlogs.end_furthest();
                let permit = acquired_in_time(&self.room, cost).await;
                permit.ok_or(NoRoom).inspect_err(|NoRoom| {
                    add(&self.counters.bus_full);
                })?
            }
        };
        Ok(tracked(payload, permit))
    }

    /// Waits for room among what is paced, which the message then holds until its last copy is gone.
    async fn pace(&self, packet: &mut PublishPacket) {
        let cost = permits(packet.payload.len().max(FAN_OUT_MESSAGE_BYTES_MIN));
        match self.paced.enter(cost).await {
            Some(permit) => packet.payload = tracked(packet.payload.clone(), permit),
            // What must arrive waits in the backlog of whom it is for.
            None if packet.qos != QoS::AtMostOnce => {}
            None => add(&self.counters.fan_out_unpaced),
        }
    }
}

async fn acquired_in_time(room: &Arc<Semaphore>, cost: u32) -> Option<OwnedSemaphorePermit> {
    let acquired = Arc::clone(room).acquire_many_owned(cost);
    let acquired = tokio::time::timeout(FAN_OUT_PATIENCE, acquired).await;
    acquired.ok().and_then(Result::ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_at_qos_1_is_refused_and_counted() {
        let traffic = BusTraffic::new(Arc::default(), Arc::default());
        let all = Arc::clone(&traffic.room).acquire_many_owned(permits(BUS_BYTES_MAX));
        let held = all.await.unwrap();
        let window = Window::of_publisher();
        let message = |qos| PublishPacket::new("app/a/ui/content", "{}", qos);
        for (qos, expected) in [(QoS::AtLeastOnce, Err(NoRoom)), (QoS::AtMostOnce, Ok(()))] {
            let routed = traffic.route(message(qos), "a", &window).await;
            assert_eq!(routed, expected);
        }
        assert_eq!(
            traffic.publish("app/a/ui/content", Bytes::new()).await,
            Err(NoRoom)
        );
        assert_eq!(traffic.counters.snapshot().bus_full, 2);
        drop(held);
        let routed = traffic.route(message(QoS::AtLeastOnce), "a", &window).await;
        assert_eq!(routed, Ok(()));
        assert_eq!(traffic.room.available_permits(), BUS_BYTES_MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn publisher_waits_for_its_own_window_once_and_for_no_other() {
        let (full, free) = (Window::of_publisher(), Window::of_publisher());
        let mut on_their_way = Vec::new();
        for _ in 0..PUBLISHER_WINDOW_MAX {
            on_their_way.push(full.enter(1).await.unwrap());
        }
        let start = Instant::now();
        assert!(free.enter(1).await.is_some());
        for _ in 0..100 {
            assert!(full.enter(1).await.is_none());
        }
        assert_eq!(start.elapsed(), FAN_OUT_PATIENCE);
        on_their_way.clear();
        assert!(full.enter(1).await.is_some());
    }
}
