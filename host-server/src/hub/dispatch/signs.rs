//! What vehicles tell of themselves: who is there, and how they are.

use std::time::{Instant, SystemTime};

use vinbus_protocol::id::{Uid, Vin};

use super::Dispatch;
use crate::hub::events::HubEvent;
use crate::hub::health::new_crash;
use crate::hub::presence::PresenceMap;
use crate::model::Presence;

impl Dispatch {
    pub(in crate::hub) fn set_presence(&self, vin: Vin, presence: Presence) {
        let now = SystemTime::now();
        let mut map = self.presence();
        let changed = map.set(vin, presence, now);
        self.figures.online.set(map.online() as i64);
        if changed {
            self.tell_presence(&map, vin, presence, now);
        }
        drop(map);
        if changed {
            tracing::debug!(%vin, ?presence, "presence changed");
        }
        if changed && presence == Presence::Offline {
            self.vehicle_left(&vin);
        }
        // Being online is told again when the vehicle begins to listen to another partner.
        if changed || presence == Presence::Online {
            self.refresh_vehicle(vin);
            self.vehicle_is_there(&vin);
            self.change_lanes(|lanes| lanes.wake_vehicle(vin));
        }
    }

    /// A vehicle sent a message just now.
    pub(in crate::hub) fn spoke(&self, vin: Vin) {
        let now = SystemTime::now();
        let mut map = self.presence();
        let changed = map.spoke(vin, now);
        self.figures.online.set(map.online() as i64);
        if changed {
            self.tell_presence(&map, vin, Presence::Online, now);
        }
        drop(map);
        if changed {
            tracing::info!(%vin, "a vehicle that did not report to be back is sending: it is online");
            self.refresh_vehicle(vin);
            self.vehicle_is_there(&vin);
            self.change_lanes(|lanes| lanes.wake_vehicle(vin));
        }
    }

    /// A vehicle reported its health. A crash is told once, however often it is reported.
    pub(in crate::hub) fn examined(&self, vin: Vin, uid: &Uid, report: Box<str>) {
        if self.events.is_followed() {
            self.events.tell(HubEvent::Health {
                vin,
                uid: uid.clone(),
                report: report.clone(),
            });
        }
        let mut presence = self.presence();
        let before = presence.health(&vin, None);
        let crash = new_crash(before.map(|before| &*before.report), &report);
        presence.examined(vin, report, SystemTime::now());
        drop(presence);
        if let Some(crash) = crash
            && let Some(unlogged) = self.crash_log.pass(Instant::now())
        {
            tracing::error!(%vin, crash, unlogged, "the vehicle's agent has crashed and is back");
        }
    }

    /// A vehicle sent something to a partner, which may know its presence from then on.
    pub(in crate::hub) fn introduce(&self, vin: Vin, uid: &Uid) {
        let mut map = self.presence();
        if let Some(vehicle) = map.introduce(vin, uid, SystemTime::now()) {
            let partners = vec![uid.clone()];
            self.events
                .presence(vin, vehicle.presence, vehicle.since, partners);
        }
    }

    /// Tells a change of presence; while the map is held, so that changes are told in their order.
    fn tell_presence(&self, map: &PresenceMap, vin: Vin, presence: Presence, since: SystemTime) {
        if self.events.is_followed() {
            let partners = map.partners(&vin).to_vec();
            self.events.presence(vin, presence, since, partners);
        }
    }
}
