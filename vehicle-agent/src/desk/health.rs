//! What the desk knows of the vehicle's health, for the reports of [`crate::health`].

use vinbus_protocol::health::{self, Health, Troubles};
use vinbus_protocol::pending::PendingRing;
use vinbus_protocol::portal::Portal;

use super::{Counters, Desk, Storage};
use crate::apps::Apps;
use crate::health::at_most;

impl<S: Storage, Q: Storage, const APPS: usize, const QUEUE: usize, const SENT: usize>
    Desk<S, Q, APPS, QUEUE, SENT>
{
    /// The place of the partner to which a report of health goes now.
    pub(crate) fn health_is_due(&mut self, now_ms: u64, apps: &impl Apps) -> Option<usize> {
        let Self {
            identity,
            portal,
            counters,
            health,
            ..
        } = self;
        let next = health.next(now_ms, || examine(now_ms, portal, counters, apps).troubles);
        (next < identity.uids().count()).then_some(next)
    }

    /// The agent's health now.
    pub(crate) fn health<'h>(&self, now_ms: u64, apps: &'h impl Apps) -> Health<'h> {
        let mut health = examine(now_ms, &self.portal, &self.counters, apps);
        let rings = self
            .portal
            .apps()
            .filter_map(|app| self.portal.pending(app.slot));
        let usages = rings.map(PendingRing::usage);
        let fullest = usages.max_by_key(|usage| usage.used);
        health.pools.pending = fullest.unwrap_or_default().into();
        health.pools.uplinks = self.uplinks.usage().into();
        health.pools.popups = self.portal.popups_usage().into();
        health
    }

    /// The partner that [`Desk::health_is_due`] named knows.
    pub(crate) fn health_told(&mut self) {
        self.health.told();
    }

    /// When [`Desk::health_is_due`] has something new to find.
    pub(crate) fn health_look_at_ms(&self) -> u64 {
        self.health.look_at_ms()
    }
}

/// What the counters say, completed by what `apps` know.
fn examine<'h, S: Storage, const APPS: usize>(
    now_ms: u64,
    portal: &Portal<S, APPS>,
    counters: &Counters,
    apps: &'h impl Apps,
) -> Health<'h> {
    let downlinks = portal.counters();
    let rings = portal.apps().filter_map(|app| portal.pending(app.slot));
    let evicted = rings.map(|ring| {
        let counters = ring.counters();
        counters.evicted_by_count + counters.evicted_by_bytes
    });
    let mut health = Health {
        agent: env!("CARGO_PKG_VERSION"),
        uptime_s: at_most(now_ms / 1000),
        counters: health::Counters {
            sessions: at_most(counters.sessions),
            received: at_most(counters.received),
            delivered: at_most(downlinks.delivered),
            pending: at_most(downlinks.pending),
            popups: at_most(downlinks.popups_queued),
            uplinks_accepted: at_most(counters.uplinks_accepted),
            uplinks_delivered: at_most(counters.uplinks_delivered),
        },
        troubles: Troubles {
            evicted: at_most(evicted.sum()),
            foreign_topic: at_most(counters.foreign_topics),
            oversize: at_most(counters.oversize),
            envelope: at_most(downlinks.refused_envelope - counters.oversize),
            unknown_app: at_most(downlinks.refused_unknown_app),
            foreign_uid: at_most(downlinks.refused_foreign_uid),
            too_large: at_most(downlinks.refused_too_large),
            popup_overflow: at_most(downlinks.popups_overflowed),
            uplinks_refused: at_most(counters.uplinks_refused),
            uplinks_dropped: at_most(counters.uplinks_dropped),
            uplinks_refused_by_broker: at_most(counters.uplinks_refused_by_broker),
            ..Troubles::default()
        },
        ..Health::default()
    };
    apps.examine(&mut health);
    health
}
