//! What the hub hears from its broker.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use vinbus_protocol::delivery::Offer;
use vinbus_protocol::id::{Uid, Vin};

use super::Hub;
use super::lanes::LaneId;
use super::presence::Sign;
use crate::broker::{Arrival, BrokerEvents, Outcome};
use crate::model::Presence;

impl BrokerEvents for Hub {
    #[expect(
        clippy::async_yields_async,
        reason = "the future waits for room, its value for the outcome"
    )]
    fn arrived(&self, arrival: Arrival) -> BoxFuture<'_, oneshot::Receiver<Outcome>> {
        Box::pin(async {
            let dispatch = &self.inner.dispatch;
            let on_sign = |vin, uid: &Uid, sign| {
                match sign {
                    Sign::Reported(presence) => dispatch.set_presence(vin, presence),
                    Sign::Spoke => dispatch.spoke(vin),
                    Sign::Examined(report) => dispatch.examined(vin, uid, report),
                    Sign::WasHeard => {}
                }
                dispatch.introduce(vin, uid);
            };
            self.inner.ingest.take_on(arrival, dispatch, on_sign).await
        })
    }

    fn presence_changed(&self, vin: Vin, presence: Presence) {
        self.inner.dispatch.set_presence(vin, presence);
    }

    fn introduced(&self, vin: Vin, uid: &Uid) {
        self.inner.dispatch.introduce(vin, uid);
    }

    fn announced(&self, vin: Vin, uid: &Uid, offer: Option<Offer>) {
        let dispatch = Arc::clone(&self.inner.dispatch);
        let uid = uid.clone();
        tokio::spawn(async move { dispatch.announced(LaneId { vin, uid }, offer).await });
    }

    fn link_changed(&self, up: Result<(), String>) {
        self.inner.dispatch.set_link(up);
    }
}
