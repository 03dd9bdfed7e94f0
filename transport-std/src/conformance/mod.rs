//! What every broker must do for this client, as a suite that any broker can be put through.
//!
//! A broker implements [`BrokerUnderTest`]; each function here is one claim, and panics if the
//! broker or the client breaks it. Nothing here sleeps: everything waits for a state, with
//! [`PATIENCE`] as the deadline. [`Mosquitto`] is the reference broker, [`Proxy`] a network cable
//! that can be cut, [`lossy`] one that loses messages, [`Forger`] a host that nobody should have to do with.

mod forger;
mod lossy;
mod mosquitto;
mod pki;
mod proxy;
mod suite;

pub use forger::Forger;
pub use lossy::lossy;
pub use mosquitto::Mosquitto;
pub use pki::{Authority, Issued, Validity};
pub use proxy::Proxy;
pub use suite::*;

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;

use crate::{BrokerUrl, ClientOptions, LinkState, MqttVersion};

/// How long a test waits for what must happen. Long, because it is only spent on failure.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A way into a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Endpoint {
    /// Plain TCP.
    Mqtt,
    /// TLS with a required client certificate.
    Mqtts,
    /// WebSocket.
    Ws,
    /// WebSocket over TLS.
    Wss,
}

/// A broker that the suite can start, stop and talk to, on loopback.
pub trait BrokerUnderTest: Send {
    /// The endpoints through which the suite may publish and subscribe [`topic`](Self::topic).
    /// [`Endpoint::Mqtt`] and [`Endpoint::Mqtts`] must exist, whether they are listed or not.
    fn endpoints(&self) -> Vec<Endpoint>;

    /// The MQTT versions it speaks.
    fn versions(&self) -> Vec<MqttVersion> {
        vec![MqttVersion::V5, MqttVersion::V311]
    }

    /// Where an endpoint listens, the same after every restart.
    fn url(&self, endpoint: Endpoint) -> BrokerUrl;

    /// Options that the broker welcomes at `url`, which may be that of a [`Proxy`] in front of
    /// the endpoint. Two calls with different names give clients that can be connected at once.
    fn options(&self, endpoint: Endpoint, url: BrokerUrl, name: &str) -> ClientOptions;

    /// A topic on which every client of [`options`](Self::options) may publish and subscribe.
    /// The payloads of the suite are JSON objects with a member `content`.
    fn topic(&self, name: &str) -> String;

    /// Stops it without a word to its clients.
    fn stop(&mut self) -> impl Future<Output = ()> + Send;

    /// Starts it again, on the same ports.
    fn start(&mut self) -> impl Future<Output = ()> + Send;
}

/// Waits until the link is in the state that `wanted` accepts, and returns that state.
///
/// # Panics
///
/// Panics after [`PATIENCE`], and when the client's task is gone.
pub async fn wait_for_link(
    mut link: watch::Receiver<LinkState>,
    what: &str,
    wanted: impl FnMut(&LinkState) -> bool,
) -> LinkState {
    let waiting = tokio::time::timeout(PATIENCE, link.wait_for(wanted)).await;
    match waiting.map(|state| state.map(|state| state.clone())) {
        Ok(Ok(state)) => state,
        Ok(Err(_)) => panic!("the client's task ended while waiting for: {what}"),
        Err(_) => panic!("still {:?} while waiting for: {what}", *link.borrow()),
    }
}

/// Waits for a future, with [`PATIENCE`] as the deadline.
///
/// # Panics
///
/// Panics when the deadline has passed.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("timed out waiting for: {what}"),
    }
}
