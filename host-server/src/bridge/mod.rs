//! The way between vehicles and the bus: messages that the operator's rules carry (SPEC 18), and what
//! happens to vehicles and their messages, told to the applications that may know (SPEC 17).
//!
//! It follows the hub and never holds it up: events come over a bounded channel, and what vehicles
//! send is read from the log. A bus is where its [`BusPort`] leads: our own, or another platform's.
//! Begin with `rules`; `down` and `up` are the two directions of a message, `intake` and `carrier`
//! what moves them.
//!
//! What a bridge has published is marked, and no bridge takes it for a vehicle: so nothing goes in
//! circles, however many bridges there are.

mod audience;
mod carrier;
mod down;
mod events;
mod intake;
mod log;
mod pattern;
mod port;
mod rules;
mod teller;
mod up;

pub use audience::{Audience, Hears, Listener};
pub use pattern::{Pattern, PatternError};
pub use port::{BusPort, PortError};
pub use rules::{Down, Rule, RuleError, Rules, Up};

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use self::carrier::Carrier;
use self::intake::{Intake, Refusal};
use self::log::Log;
use self::teller::Teller;
use crate::broker::BusIntake;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::stop::Stop;
use crate::store::FollowerStore;

/// The step of a message that was not taken on, beside those of the store.
pub(crate) const REFUSED: &str = "refused";

/// The member that marks what a bridge has published.
pub(crate) const BRIDGED_BY: &str = "bridgedBy";

/// Its value.
const BRIDGE_NAME: &str = "vinbus";

/// Our own bus, as the name of a place in the log.
const OWN_BUS: &str = "bus";

/// The bridge: first what takes messages in, then, with a way onto the bus, what sends them out.
pub struct Bridge {
    hub: Hub,
    store: Arc<dyn FollowerStore>,
    rules: Arc<Rules>,
    intake: Arc<Intake>,
    refusals: mpsc::Receiver<Refusal>,
    metrics: Metrics,
}

/// The tasks of a bridge that runs.
#[derive(Debug, Default)]
pub struct RunningBridge {
    tasks: JoinSet<()>,
}

impl Bridge {
    /// A bridge that goes by these rules.
    #[must_use]
    pub fn new(hub: Hub, store: Arc<dyn FollowerStore>, rules: Rules, metrics: &Metrics) -> Self {
        let rules = Arc::new(rules);
        let (intake, refusals) = Intake::new(hub.clone(), Arc::clone(&rules), metrics);
        Self {
            hub,
            store,
            rules,
            intake: Arc::new(intake),
            refusals,
            metrics: metrics.clone(),
        }
    }

    /// What takes messages of the bus for vehicles, if any are taken.
    #[must_use]
    pub fn intake(&self) -> Option<Arc<dyn BusIntake>> {
        let takes = self.rules.iter().any(|rule| rule.down.is_some());
        takes.then(|| Arc::clone(&self.intake) as _)
    }

    /// Starts to carry what vehicles send to our own bus, and to tell `audience` and the applications
    /// of the rules what happens, until the word to stop. Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(self, audience: Audience, port: Arc<dyn BusPort>, stop: &Stop) -> RunningBridge {
        let mut running = RunningBridge::default();
        let audience = audience.and(Audience::of_rules(&self.rules));
        running.carry(&self, OWN_BUS, &port, stop);
        running.tell(self, audience, port, stop);
        running
    }
}

impl RunningBridge {
    /// Starts to carry what vehicles send.
    fn carry(&mut self, bridge: &Bridge, name: &str, port: &Arc<dyn BusPort>, stop: &Stop) {
        if bridge.rules.iter().all(|rule| rule.up.is_none()) {
            return;
        }
        let carrier = Carrier::new(
            bridge.hub.clone(),
            Arc::clone(&bridge.store),
            name.to_owned(),
            Arc::clone(&bridge.rules),
            Arc::clone(port),
            &bridge.metrics,
        );
        self.spawn(carrier.run(), stop);
    }

    /// Starts to tell what happens.
    fn tell(&mut self, bridge: Bridge, audience: Audience, port: Arc<dyn BusPort>, stop: &Stop) {
        if audience.is_empty() {
            return;
        }
        let teller = Arc::new(Teller::new(audience, port, &bridge.metrics));
        if teller.audience().is_told_of_received() {
            let end = *bridge.hub.uplink_changes().borrow();
            let log = Log::new(bridge.hub.clone(), end, teller.audience().only_uid());
            let teller = Arc::clone(&teller);
            self.spawn(async move { teller.tell_received(log).await }, stop);
        }
        let (events, refusals) = (bridge.hub.events(), bridge.refusals);
        self.spawn(
            async move { teller.tell_events(events, refusals).await },
            stop,
        );
    }

    fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static, stop: &Stop) {
        let mut stop = stop.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = task => {}
                () = stop.requested() => {}
            }
        });
    }

    /// Returns when everything has ended, after the word to stop.
    pub async fn shutdown(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}
