//! The task behind a client: one connection after the other, with growing, jittered pauses in
//! between. It alone changes the [`LinkState`].

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tokio::sync::{mpsc, watch};
use vinbus_protocol::backoff::Backoff;

use crate::client::LinkState;
use crate::connection::{Connection, End};
use crate::credentials::Login;
use crate::dial::Dialer;
use crate::link_error::LinkError;
use crate::message::{Message, Qos};
use crate::options::{ClientOptions, MqttVersion};
use crate::shared::Shared;
use crate::stream::Line;
use crate::subscriptions::{Reply, Subscriptions};
use crate::wire::{self, Memory};

/// A filter to subscribe, from a client.
#[derive(Debug)]
pub(crate) struct Subscribe {
    pub(crate) filter: String,
    pub(crate) qos: Qos,
    pub(crate) reply: Reply,
}

/// Everything the task owns.
pub(crate) struct Driver {
    pub(crate) options: Arc<ClientOptions>,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) link: watch::Sender<LinkState>,
    pub(crate) messages: mpsc::Sender<Message>,
    pub(crate) wishes: mpsc::Receiver<Subscribe>,
    pub(crate) login: watch::Receiver<Login>,
    pub(crate) stop: Stop,
}

/// Tells when the user wants no connection any more.
pub(crate) struct Stop {
    /// Turns true on `Client::close`.
    pub(crate) closing: watch::Receiver<bool>,
    /// Ends when every client and the inbox are dropped.
    pub(crate) released: mpsc::Receiver<()>,
}

impl Stop {
    /// Cancel-safe.
    pub(crate) async fn requested(&mut self) {
        tokio::select! {
            Ok(_) = self.closing.wait_for(|closing| *closing) => {}
            None = self.released.recv() => {}
        }
    }
}

impl Driver {
    pub(crate) async fn run(mut self) {
        let mut subscriptions = Subscriptions::default();
        let memory = Arc::new(Memory::default());
        let millis = |delay: Duration| u32::try_from(delay.as_millis()).unwrap_or(u32::MAX);
        let mut backoff = Backoff::new(
            millis(self.options.reconnect_min),
            millis(self.options.reconnect_max),
        );
        let mut told = None;
        while self.has_login().await {
            let (end, lasted) = self.connect_once(&mut subscriptions, &memory).await;
            self.shared.set_online(None);
            let error = match end {
                End::Closed => break,
                End::Renewed => continue,
                End::Lost(error) => error,
            };
            backoff.handle_end(lasted.as_millis().try_into().unwrap_or(u64::MAX));
            let delay = Duration::from_millis(u64::from(backoff.next_delay_ms(random())));
            let (url, advice) = (&self.options.url, error.advice());
            // A link that is tried again and again tells its reason once.
            if lasted.is_zero() && told.as_ref() == Some(&error) {
                tracing::debug!(%url, %error, ?delay, "link still down");
            } else {
                tracing::warn!(%url, %error, advice, ?delay, "link down");
            }
            told = Some(error.clone());
            let is_refused = matches!(error, LinkError::BadCredentials | LinkError::NotAuthorized);
            let waits_for_others = is_refused && self.login.borrow().renewed_until.is_some();
            self.link.send_replace(LinkState::Down(error));
            tokio::select! {
                () = tokio::time::sleep(delay), if !waits_for_others => {}
                Ok(()) = self.login.changed() => {}
                () = self.stop.requested() => break,
            }
        }
        self.link.send_replace(LinkState::Closed);
    }

    /// Waits while the credentials are over and somebody renews them; false when the user stops.
    async fn has_login(&mut self) -> bool {
        while self.login.borrow().is_over() {
            tokio::select! {
                Ok(()) = self.login.changed() => {}
                () = self.stop.requested() => return false,
            }
        }
        true
    }

    /// One connection, and how long the broker kept it.
    async fn connect_once(
        &mut self,
        subscriptions: &mut Subscriptions,
        memory: &Arc<Memory>,
    ) -> (End, Duration) {
        let line = Line::new();
        let dialer = Dialer {
            url: self.options.url.clone(),
            tls: self.tls.clone(),
            write_timeout: self.options.keep_alive,
            watch_disconnect: self.options.version == MqttVersion::V5
                && !self.options.url.scheme().is_web_socket(),
            line: line.clone(),
        };
        let credentials = self.login.borrow_and_update().credentials.clone();
        let (requests, events) = wire::open(&self.options, credentials, dialer, memory);
        let mut connection = Connection::new(self, subscriptions, line, requests);
        let end = connection.run(events).await;
        (end, connection.lasted())
    }
}

/// Spreads the reconnections of many clients; not secret. The standard library seeds each hasher
/// from the system's randomness.
pub(crate) fn random() -> u32 {
    let bytes = RandomState::new().build_hasher().finish().to_le_bytes();
    u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}
