//! The way between vehicles and the bus: what happens to vehicles and their messages is told to the
//! applications that may know (SPEC 17).
//!
//! It follows the hub and never holds it up: events come over a bounded channel, and what vehicles
//! send is read from the log. A bus is where its [`BusPort`] leads.

mod audience;
mod events;
mod log;
mod port;
mod teller;

pub use audience::{Audience, Listener};
pub use port::{BusPort, PortError};

use std::sync::Arc;

use tokio::task::JoinSet;

use self::log::Log;
use self::teller::Teller;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::stop::Stop;

/// The step of a message that was not taken on, beside those of the store.
pub(crate) const REFUSED: &str = "refused";

/// The running bridge.
#[derive(Debug)]
pub struct Bridge {
    tasks: JoinSet<()>,
}

impl Bridge {
    /// Starts to tell `audience` what happens, over `port`, until the word to stop. Must be called
    /// inside a tokio runtime.
    #[must_use]
    pub fn start(
        hub: &Hub,
        audience: Audience,
        port: Arc<dyn BusPort>,
        metrics: &Metrics,
        stop: &Stop,
    ) -> Self {
        let mut tasks = JoinSet::new();
        if !audience.is_empty() {
            let teller = Arc::new(Teller::new(audience, port, metrics));
            let changes = hub.uplink_changes();
            let log = Log::new(hub.clone(), *changes.borrow(), teller.audience().only_uid());
            let events = hub.events();
            tasks.spawn({
                let (teller, mut stop) = (Arc::clone(&teller), stop.clone());
                async move {
                    tokio::select! {
                        () = teller.tell_events(events) => {}
                        () = stop.requested() => {}
                    }
                }
            });
            let mut stop = stop.clone();
            tasks.spawn(async move {
                tokio::select! {
                    () = teller.tell_received(log) => {}
                    () = stop.requested() => {}
                }
            });
        }
        Self { tasks }
    }

    /// Returns when everything has ended, after the word to stop.
    pub async fn shutdown(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
