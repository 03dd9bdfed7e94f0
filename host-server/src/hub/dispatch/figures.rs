//! What the way down counts.

use super::traffic::Traffic;
use crate::metrics::{Counter, Gauge, Metrics};
use crate::model::Step;

/// What the way down counts.
pub(in crate::hub) struct Figures {
    pub(in crate::hub) accepted: Counter,
    pub(in crate::hub) held: Counter,
    pub(in crate::hub) sent: Counter,
    pub(in crate::hub) rejected: Counter,
    pub(in crate::hub) expired: Counter,
    /// The others, by their names.
    others: Vec<(Step, Counter)>,
    /// Messages with receipts that waited for room in memory.
    pub(super) publishes_waited: Counter,
    pub(super) traffic: Traffic,
    /// Channels that began a new epoch, as the store was older than what the vehicle had heard.
    pub(super) store_older: Counter,
    pub(super) unsent: Gauge,
    pub(super) online: Gauge,
    pub(super) link: Gauge,
}

impl Figures {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let step = |name| {
            metrics.counter(
                "vinbus_downlink_total",
                "Messages for vehicles, by the step that they reached.",
                &[("step", name)],
            )
        };
        Self {
            accepted: step("accepted"),
            held: step("held"),
            sent: step("sent"),
            rejected: step("rejected"),
            expired: step("expired"),
            others: Step::ALL
                .into_iter()
                .filter(|step| {
                    use Step::{GivenUp, PeerRestarted, SentAgain, Superseded, Told, Unsupported};
                    matches!(
                        step,
                        GivenUp | PeerRestarted | SentAgain | Unsupported | Superseded | Told(_)
                    )
                })
                .map(|other| (other, step(other.name())))
                .collect(),
            publishes_waited: metrics.counter(
                "vinbus_downlink_publishes_waited_total",
                "Times that a message with receipts waited because as many were being handed to the \
                 broker as may be.",
                &[],
            ),
            traffic: Traffic::new(metrics),
            store_older: metrics.counter(
                "vinbus_store_older_total",
                "Times that the store was older than what a vehicle had heard from it, as after an older copy \
                 of the data folder was put back, and a new epoch began. One vehicle alone may be wrong.",
                &[],
            ),
            unsent: metrics.gauge(
                "vinbus_downlink_unsent",
                "Messages for vehicles that were not sent yet.",
                &[],
            ),
            online: metrics.gauge("vinbus_vehicles_online", "Vehicles that are online.", &[]),
            link: metrics.gauge(
                "vinbus_broker_link_up",
                "Whether the way to the broker is open.",
                &[],
            ),
        }
    }

    pub(super) fn of(&self, step: Step) -> &Counter {
        match step {
            Step::Accepted => &self.accepted,
            Step::Held => &self.held,
            Step::Sent => &self.sent,
            Step::Rejected => &self.rejected,
            Step::Expired => &self.expired,
            Step::GivenUp
            | Step::PeerRestarted
            | Step::SentAgain
            | Step::Unsupported
            | Step::Superseded
            | Step::Told(_) => {
                let mut others = self.others.iter();
                let found = others.find(|(other, _)| *other == step);
                // All of them are there.
                found.map_or(&self.rejected, |(_, counter)| counter)
            }
        }
    }
}
