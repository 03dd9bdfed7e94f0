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
mod platform;
mod port;
mod rules;
mod teller;
mod up;

pub use audience::{Audience, Hears, Listener};
pub use pattern::{Pattern, PatternError};
pub use platform::Platform;
pub use port::{BusPort, PortError};
pub use rules::{Down, Rule, RuleError, Rules, Up};

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use self::carrier::Carrier;
use self::intake::{Intake, Refusal};
use self::log::Log;
use self::platform::PlatformPort;
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

    /// Starts to carry and to tell, until the word to stop. `own` is our own bus and who is told
    /// everything there; the rules are about `platform`, if there is one, and else about our own bus.
    /// Must be called inside a tokio runtime.
    #[must_use]
    pub fn start(
        self,
        own: Option<(Audience, Arc<dyn BusPort>)>,
        platform: Option<Platform>,
        stop: &Stop,
    ) -> RunningBridge {
        let mut running = RunningBridge::default();
        let of_rules = Audience::of_rules(&self.rules);
        let (of_all, own) = own.map_or_else(Default::default, |(all, port)| (all, Some(port)));
        let Some(platform) = platform else {
            if let Some(port) = own {
                running.carry(&self, OWN_BUS, &port, stop);
                let teller = self.teller(of_all.and(of_rules), port);
                running.tell(&self.hub, teller, self.refusals, stop);
            }
            return running;
        };
        if let Some(port) = own {
            let (_, no_refusals) = mpsc::channel(1);
            let teller = self.teller(of_all, port);
            running.tell(&self.hub, teller, no_refusals, stop);
        }
        let (clients, client) = watch::channel(None);
        let port: Arc<dyn BusPort> = Arc::new(PlatformPort(client));
        running.carry(&self, &platform.name, &port, stop);
        let teller = self.teller(of_rules, port);
        running.tell(&self.hub, teller, self.refusals, stop);
        let follow = platform::follow(platform, self.rules, self.intake, clients, stop.clone());
        running.tasks.spawn(follow);
        running
    }

    fn teller(&self, audience: Audience, port: Arc<dyn BusPort>) -> Teller {
        Teller::new(audience, port, &self.metrics)
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
    fn tell(&mut self, hub: &Hub, teller: Teller, refusals: mpsc::Receiver<Refusal>, stop: &Stop) {
        if teller.audience().is_empty() {
            return;
        }
        let teller = Arc::new(teller);
        if teller.audience().is_told_of_received() {
            let end = *hub.uplink_changes().borrow();
            let log = Log::new(hub.clone(), end, teller.audience().only_uid());
            let teller = Arc::clone(&teller);
            self.spawn(async move { teller.tell_received(log).await }, stop);
        }
        let events = hub.events();
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
