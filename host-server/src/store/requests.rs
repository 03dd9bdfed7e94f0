//! What the server keeps of requests (SPEC 19): which message for a vehicle is one, and its answer.
//! A request lives as long as its message.

use std::time::SystemTime;

use bytes::Bytes;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::request::RequestId;

use super::{Pending, StoreError};
use crate::model::{Downlink, NewDownlink, Step};

/// A request as it is on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredRequest {
    /// What names it, for its vehicle and partner.
    pub id: RequestId,
    /// The message.
    pub downlink: Downlink,
    /// The app's content, once it has come.
    pub answer: Option<Bytes>,
    /// The last step of the message.
    pub last: Step,
}

/// What the server keeps of requests. A store that keeps none needs nothing of it.
pub trait RequestStore {
    /// Appends a message for a vehicle that is a request, with [`Step::Accepted`]. There must be none
    /// of this identifier for the vehicle and partner.
    fn append_request(
        &self,
        _id: RequestId,
        _message: NewDownlink,
        _now: SystemTime,
    ) -> Pending<Downlink> {
        keeps_none()
    }

    /// Keeps the answer to a request. The first one counts.
    fn answer_request(&self, _sequence: u64, _answer: Bytes) -> Pending<()> {
        keeps_none()
    }

    /// A request by its identifier.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn request(
        &self,
        _vin: &Vin,
        _uid: &Uid,
        _id: RequestId,
    ) -> Result<Option<StoredRequest>, StoreError> {
        Ok(None)
    }

    /// The requests without an answer whose time was not over yet at `since`.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn open_requests(&self, _since: SystemTime) -> Result<Vec<StoredRequest>, StoreError> {
        Ok(Vec::new())
    }
}

fn keeps_none<T>() -> Pending<T> {
    super::refused(StoreError::Failed {
        detail: "it keeps no requests".to_owned(),
    })
}
