//! Accepts messages for vehicles: each has its place in its lane, is stored, and then given to the workers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::task::JoinHandle;
use vinbus_protocol::envelope::{self, DownlinkBody};
use vinbus_protocol::limits::{
    DELIVERY_ADDED_BYTES_MAX, DELIVERY_LONG_ENVELOPE_BYTES_MAX, PAYLOAD_BYTES_MAX,
};

use super::Hub;
use super::error::SubmitError;
use super::lanes::LaneId;
use crate::model::{Downlink, NewDownlink, Receipts, Step};
use crate::store::awaited::{writer_gone, written};
use crate::store::channels::Appended;
use crate::store::{Pending, Store, StoreError};

/// Messages for vehicles that may be on their way to the disk at once; more wait.
pub(super) const SUBMITS_MAX: u32 = 4096;

impl Hub {
    /// Accepts a message for a vehicle: when this returns, it is on disk. Dropping the future does
    /// not take the message back.
    ///
    /// # Errors
    /// A [`SubmitError`]; nothing of the message remains.
    pub async fn submit_downlink(&self, message: NewDownlink) -> Result<Downlink, SubmitError> {
        self.queue_downlink(message).await?.await
    }

    /// The same in two steps, for who has more to submit meanwhile: when this returns, the message has
    /// its place behind those before it; what comes back resolves once it is on disk.
    ///
    /// # Errors
    /// A [`SubmitError`], now or then; nothing of the message remains.
    pub(crate) async fn queue_downlink(
        &self,
        message: NewDownlink,
    ) -> Result<impl Future<Output = Result<Downlink, SubmitError>> + Send + use<>, SubmitError>
    {
        let stored = if message.coalesces_by().is_some() {
            let append = |store: &dyn Store, message, now| store.append_keyed(message, now);
            self.queue(message, append, |_| {}).await?
        } else {
            let append = |store: &dyn Store, message, now| store.append_downlink(message, now);
            self.queue(message, append, |_| {}).await?
        };
        Ok(async {
            let stored = stored.await.unwrap_or_else(|_| Err(writer_gone()));
            stored.map_err(SubmitError::Store)
        })
    }

    /// Queues a message that `append` puts into the store; `hear` is told of it before it can be sent.
    pub(super) async fn queue<T: Into<Appended> + Send + 'static>(
        &self,
        message: NewDownlink,
        append: impl FnOnce(&dyn Store, NewDownlink, SystemTime) -> Pending<T>,
        hear: impl FnOnce(&Downlink) + Send + 'static,
    ) -> Result<JoinHandle<Result<Downlink, StoreError>>, SubmitError> {
        let len = message.envelope.len();
        let max = match message.receipts {
            Receipts::No => PAYLOAD_BYTES_MAX,
            Receipts::Asked | Receipts::Repeatable => DELIVERY_LONG_ENVELOPE_BYTES_MAX,
        };
        if len > max {
            return Err(SubmitError::TooLarge { len, max });
        }
        if message.is_long() {
            let (vin, uid) = (message.vin, &message.uid);
            let takes = self.inner.dispatch.vehicle_takes(&vin, uid);
            if let Some((len, max)) = takes.and_then(|takes| too_large(&message, takes)) {
                return Err(SubmitError::VehicleTakesLess { vin, len, max });
            }
        }
        let inner = Arc::clone(&self.inner);
        let Ok(permit) = Arc::clone(&inner.submits).acquire_owned().await else {
            return Err(SubmitError::Stopping);
        };
        if inner.stopping.load(Ordering::Relaxed) {
            return Err(SubmitError::Stopping);
        }
        let lane = LaneId {
            vin: message.vin,
            uid: message.uid.clone(),
        };
        let bytes = len as u64;
        inner
            .dispatch
            .change_lanes(|lanes| lanes.reserve(&lane, bytes))?;
        let accepted_at = SystemTime::now();
        let pending = append(&*inner.store, message, accepted_at);
        // On a task of its own, so that it is finished also when the caller goes away.
        Ok(tokio::spawn(async move {
            let stored: Result<Appended, _> = written(pending).await.map(Into::into);
            if let Ok(appended) = &stored {
                inner.dispatch.tell_superseded(appended, accepted_at);
                // Before a worker can tell of the next step.
                let downlink = &appended.downlink;
                inner.events.step(downlink, Step::Accepted, accepted_at);
                hear(downlink);
            }
            inner.dispatch.change_lanes(|lanes| match &stored {
                Ok(appended) => {
                    for older in &appended.superseded {
                        let bytes = older.message.envelope.len() as u64;
                        lanes.superseded(&lane, older.sequence, bytes);
                    }
                    lanes.accepted(&lane, &appended.downlink);
                }
                Err(_) => lanes.not_stored(&lane, bytes),
            });
            if stored.is_ok() {
                inner.dispatch.figures.accepted.increment();
            }
            drop(permit);
            stored.map(|appended| appended.downlink)
        }))
    }
}

/// What a long message has more than a vehicle takes in parts, and what that is.
fn too_large(message: &NewDownlink, takes: u32) -> Option<(usize, usize)> {
    if takes == 0 {
        return Some((
            message.envelope.len(),
            PAYLOAD_BYTES_MAX - DELIVERY_ADDED_BYTES_MAX,
        ));
    }
    let downlink = envelope::Downlink::decode_long(&message.envelope).ok()?;
    let DownlinkBody::Data(content) = downlink.body else {
        return None;
    };
    let (len, max) = (content.as_str().len(), takes as usize);
    (len > max).then_some((len, max))
}
