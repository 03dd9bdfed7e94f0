//! From a payload of the bus to a message for a vehicle (SPEC 18.3).

use std::time::SystemTime;

use vinbus_protocol::delivery::TooDeep;
use vinbus_protocol::envelope::{Content, Downlink, DownlinkBody, EncodeError, EnvelopeError};
use vinbus_protocol::id::{IdError, Vin};
use vinbus_protocol::json::Object;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::BRIDGED_BY;
use super::rules::{Down, Rule};
use crate::hub::SubmitError;
use crate::model::{NewDownlink, Receipts, ReceiptsError};

/// Why a message of the bus was not taken on for a vehicle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DownError {
    /// The level of the topic is no VIN.
    #[error("the topic names no vehicle: {0}")]
    Vin(IdError),
    /// The payload is no content.
    #[error("the payload is no JSON: {0}")]
    Json(EnvelopeError),
    /// The payload has been carried already.
    #[error(
        "it was carried by a bridge already (`{BRIDGED_BY}`), and what comes from a vehicle never goes to one: make a message of your own"
    )]
    Bridged,
    /// It does not fit.
    #[error(
        "the payload has {payload} bytes and makes a message of {len} bytes for the vehicle, at most {PAYLOAD_BYTES_MAX} are allowed"
    )]
    TooLarge {
        /// Bytes of the payload.
        payload: usize,
        /// Bytes of the envelope.
        len: usize,
    },
    /// It has the member that receipts have.
    #[error(
        "it has a member `vinbus` of the form that receipts have: name it otherwise, or set receipts = \"yes\""
    )]
    Reserved,
    /// Its content has the member that requests have.
    #[error("it has a member `vinbus` of the form that requests have: name it otherwise")]
    Request,
    /// It cannot carry receipts.
    #[error("it cannot carry receipts: {0}")]
    TooDeep(TooDeep),
    /// The host does not take it on.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

impl DownError {
    /// The reason as a word.
    #[must_use]
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::Vin(_) => "bad_vin",
            Self::Json(_) => "not_json",
            Self::Bridged => "bridged",
            Self::Reserved | Self::Request | Self::TooDeep(_) => "receipts",
            Self::TooLarge { .. } | Self::Submit(SubmitError::TooLarge { .. }) => "too_large",
            Self::Submit(SubmitError::Stopping) => "stopping",
            Self::Submit(SubmitError::Store(_)) => "not_stored",
            Self::Submit(_) => "queue_full",
        }
    }
}

/// The message for a vehicle that a payload makes. The payload becomes the content, byte for byte.
pub(super) fn message(
    rule: &Rule,
    down: &Down,
    named: Option<&str>,
    payload: &[u8],
    expires_at: SystemTime,
    receipts: Receipts,
) -> Result<NewDownlink, DownError> {
    let content = Content::parse(payload).map_err(DownError::Json)?;
    if is_bridged(content.as_str()) {
        return Err(DownError::Bridged);
    }
    let vin = match (rule.vin, named) {
        (Some(vin), _) => vin,
        (None, named) => Vin::parse(named.unwrap_or_default()).map_err(DownError::Vin)?,
    };
    let downlink = Downlink {
        app: down.app.clone(),
        body: DownlinkBody::Data(content),
    };
    let mut envelope = vec![0; downlink.encoded_len()];
    let written = downlink.encode(&mut envelope).map(<[u8]>::len);
    let too_large = |len| {
        let payload = payload.len();
        DownError::TooLarge { payload, len }
    };
    let len = written.map_err(|error| {
        let (EncodeError::TooLarge { len, .. } | EncodeError::Buffer { needed: len, .. }) = error;
        too_large(len)
    })?;
    receipts.check(content, len).map_err(|error| match error {
        ReceiptsError::Reserved => DownError::Reserved,
        ReceiptsError::Request => DownError::Request,
        ReceiptsError::TooLarge { len, .. } => too_large(len),
        ReceiptsError::TooDeep(error) => DownError::TooDeep(error),
    })?;
    envelope.truncate(len);
    Ok(NewDownlink {
        uid: rule.uid.clone(),
        vin,
        app: down.app.clone(),
        envelope: envelope.into(),
        expires_at,
        receipts,
        key: None,
    })
}

/// Whether a JSON text is an object that a bridge has marked.
fn is_bridged(text: &str) -> bool {
    let Some(mut object) = Object::open(text) else {
        return false;
    };
    while let Ok(Some(member)) = object.next_member() {
        if member.name.is(BRIDGED_BY) {
            return true;
        }
    }
    false
}
