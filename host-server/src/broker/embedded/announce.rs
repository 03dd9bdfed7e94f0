//! Tells on the bus what happens to its clients and tokens.

use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::Shared;
use crate::bus::{BusEvent, announcement};

/// Publishes events until the shutdown begins.
pub(super) async fn announce(shared: Arc<Shared>, mut events: broadcast::Receiver<BusEvent>) {
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            () = shared.stopped() => return,
        };
        match event {
            Ok(event) => publish(&shared, &event).await,
            Err(RecvError::Lagged(missed)) => {
                tracing::warn!(
                    missed,
                    "events of clients came faster than they could be told"
                );
            }
            Err(RecvError::Closed) => return,
        }
    }
}

async fn publish(shared: &Shared, event: &BusEvent) {
    match announcement(event, SystemTime::now()) {
        Ok((topic, payload)) => {
            let payload = payload.to_string().into();
            // What finds no room is counted.
            let _ = shared.bus_traffic.publish(&topic, payload).await;
        }
        // The names of a client are levels of a topic.
        Err(error) => tracing::error!(?error, "an event of a client has no topic"),
    }
}
