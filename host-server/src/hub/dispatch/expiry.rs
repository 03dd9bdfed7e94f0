//! What waits for a vehicle and has expired: found by the index of the store, taken out of lanes that
//! nobody runs.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::time;

use super::Dispatch;
use super::worker::PAGE_MESSAGES;
use crate::hub::lanes::LaneId;
use crate::model::Step;
use crate::store::awaited::read;

/// Time between two looks for messages that have expired.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(1);

/// Lanes with expired messages that one look finds.
const EXPIRED_LANES: usize = 256;

impl Dispatch {
    /// Takes out of waiting lanes what has expired, until the server stops.
    pub(super) async fn expire(&self) {
        let mut stopping = self.stopping.subscribe();
        loop {
            let stop = stopping.wait_for(|stop| *stop);
            if time::timeout(EXPIRY_INTERVAL, stop).await.is_ok() {
                return;
            }
            if self.lanes().unsent() == 0 {
                continue;
            }
            let store = Arc::clone(&self.store);
            let found = read(move || store.with_expired(SystemTime::now(), EXPIRED_LANES)).await;
            match found {
                Ok(lanes) => {
                    for (vin, uid) in lanes {
                        self.expire_lane(&LaneId { vin, uid }).await;
                    }
                }
                Err(error) => self.log_error(&error, "expired messages could not be found"),
            }
        }
    }

    /// Takes out of a lane what has expired. A lane that is run meanwhile has its turn another time.
    async fn expire_lane(&self, lane: &LaneId) {
        let Some(claim) = self.change_lanes(|lanes| lanes.claim(lane)) else {
            return;
        };
        while !self.is_stopping() {
            let store = Arc::clone(&self.store);
            let LaneId { vin, uid } = lane.clone();
            let now = SystemTime::now();
            let expired = read(move || store.expired(&vin, &uid, now, PAGE_MESSAGES)).await;
            let page = match expired {
                Ok(page) => page,
                Err(error) => {
                    self.log_error(&error, "expired messages could not be read");
                    break;
                }
            };
            if page.is_empty() {
                break;
            }
            let notes = page
                .iter()
                .map(|downlink| self.note(downlink, Step::Expired));
            self.note_finished(lane, notes.collect()).await;
        }
        self.change_lanes(|lanes| lanes.release(lane, &claim));
    }
}
