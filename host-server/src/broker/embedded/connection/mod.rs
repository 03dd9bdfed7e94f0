//! One client's connection: who it is, what it may do, and what becomes of what it says.
//!
//! A [`Connection`] is both hooks of the broker library at once, the authentication provider and
//! the event handler, made anew for each connection, so that everything known about a client is in
//! one place. Every publish is answered `Handled`; `intake` has what becomes of it.
//!
//! The library asks `authorize_publish` for a will just as for a publish, but only after
//! `cleanup_session`; from then on the answer is no, and the will is accepted here like any message.

mod bus;
mod end;
mod intake;
mod rules;
mod taken;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use mqtt5::broker::events::{
    BrokerEventHandler, ClientPublishEvent, ClientSubscribeEvent, ClientUnsubscribeEvent,
    PublishAction, SubAckReasonCode,
};
use mqtt5::broker::{AuthProvider, AuthResult};
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use mqtt5::{QoS, WillMessage};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, warn};
use vinbus_protocol::limits::UID_BYTES_MAX;

use self::bus::BusSession;
use self::taken::Taken;
use super::Shared;
use super::access::AllowedFilter;
use super::bus_traffic::Window;
use super::counters::add;
use super::limits::VEHICLE_WINDOW_BYTES;
use super::quiet::Shown;
use super::registry::{ClaimError, ConnectionId, Place, VehicleWay};
use super::stream::WriteRules;
use crate::identity::{Identity, LoginError};

type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// One client's connection.
pub(super) struct Connection {
    shared: Arc<Shared>,
    id: ConnectionId,
    peer: SocketAddr,
    place: Place,
    /// Who the client certificate says it is, on the TLS port.
    certificate: Option<Identity>,
    rules: Arc<WriteRules>,
    state: Mutex<State>,
    /// Its messages of QoS 1 on the bus that are on their way.
    bus_window: Window,
    /// Its messages that were taken for vehicles, on their way to the disk.
    taken: OnceLock<mpsc::Sender<Taken>>,
    /// This, for its tasks.
    own: Weak<Self>,
}

#[derive(Default)]
struct State {
    /// Set once the client is known.
    client: Option<Client>,
    will: Option<WillMessage>,
    /// The library is done with the connection; what it still authorises is the will.
    ended: bool,
    /// Subscribed filters, and whether each has a wildcard.
    filters: HashMap<String, bool>,
    /// How often the client of the bus had been changed when the filters were decided, that of the
    /// oldest decision.
    decided_at: u64,
    /// Topics on which it has said that its vehicle is online, and whether that is retained.
    said_online: HashMap<String, bool>,
    /// When the publishes so far would have been due at the permitted rate.
    publishes_due: Option<Instant>,
    /// Watches over the session of a client of the bus.
    watching: Option<AbortHandle>,
}

/// A client that was let in.
#[derive(Clone)]
struct Client {
    who: Identity,
    client_id: String,
    speaks_v5: bool,
    /// Of a client of the bus.
    bus: Option<Arc<BusSession>>,
}

/// Why a client was not let in.
struct Refused {
    code: ReasonCode,
    reason: &'static str,
    detail: String,
}

impl Connection {
    pub(super) fn new(
        shared: Arc<Shared>,
        id: ConnectionId,
        peer: SocketAddr,
        place: Place,
        certificate: Option<Identity>,
        rules: Arc<WriteRules>,
    ) -> Arc<Self> {
        Arc::new_cyclic(|own| Self {
            shared,
            id,
            peer,
            place,
            certificate,
            rules,
            state: Mutex::default(),
            bus_window: Window::of_publisher(),
            taken: OnceLock::new(),
            own: own.clone(),
        })
    }

    /// The connection is over, however it ended.
    pub(super) fn closed(self: &Arc<Self>) {
        let mut state = self.state();
        let wildcards = state.filters.values().filter(|wildcard| **wildcard).count();
        state.filters.clear();
        let client = state.client.take();
        let said_online = std::mem::take(&mut state.said_online);
        if let Some(watching) = state.watching.take() {
            watching.abort();
        }
        drop(state);
        self.shared.bus_traffic.backlogs.forget(self.id);
        let registry = &self.shared.registry;
        if let Some(client) = client {
            self.shared.quotas.release_wildcards(&client.who, wildcards);
            registry.unclaim(&client.client_id);
            if let Identity::Vehicle(vin) = client.who {
                registry.vehicle_down(vin, self.id);
            }
            if !said_online.is_empty()
                && let Ok(runtime) = tokio::runtime::Handle::try_current()
            {
                runtime.spawn(Arc::clone(self).take_back(client, said_online));
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Option<Client> {
        self.state().client.clone()
    }

    /// Lets a client in, or says why not.
    async fn enter(&self, connect: &ConnectPacket) -> Result<Identity, Refused> {
        let (who, session) = self.identify(connect).await?;
        let client = Client {
            who: who.clone(),
            client_id: connect.client_id.clone(),
            speaks_v5: connect.protocol_version >= 5,
            bus: session.clone(),
        };
        if let Some(will) = &connect.will {
            self.check_will(&client, will)?;
        }
        if !self.place.become_known() {
            return Err(Refused {
                code: ReasonCode::QuotaExceeded,
                reason: "too many connections",
                detail: who.to_string(),
            });
        }
        let claimed = self.shared.registry.claim(&connect.client_id, &who);
        claimed.map_err(|error| {
            let (code, reason) = match error {
                ClaimError::ForeignVin => (
                    ReasonCode::ClientIdentifierNotValid,
                    "a VIN is the client identifier of its vehicle only",
                ),
                ClaimError::Taken => (
                    ReasonCode::ClientIdentifierNotValid,
                    "another identity uses this client identifier",
                ),
                ClaimError::TooMany => (
                    ReasonCode::QuotaExceeded,
                    "too many connections of one partner",
                ),
            };
            Refused {
                code,
                reason,
                detail: format!("{who}, {}", Shown(&connect.client_id)),
            }
        })?;
        let mut state = self.state();
        state.client = Some(client);
        state.will.clone_from(&connect.will);
        drop(state);
        if let Some(session) = session {
            self.check_deliveries(&session);
            self.watch_session(session);
        }
        if let Identity::Vehicle(vin) = &who {
            let way = VehicleWay {
                window: Arc::new(Semaphore::new(VEHICLE_WINDOW_BYTES)),
                packet_bytes_max: connect.properties.get_maximum_packet_size(),
            };
            let registry = &self.shared.registry;
            registry.vehicle_up(*vin, self.id, way, self.peer, self.own.clone());
        } else {
            self.rules.drop_publishes_when_full();
            let backlogs = &self.shared.bus_traffic.backlogs;
            backlogs.follow(self.id, &connect.client_id, self.own.clone());
        }
        Ok(who)
    }

    /// Who the client is: a client of the bus by its token, else by certificate or password.
    async fn identify(
        &self,
        connect: &ConnectPacket,
    ) -> Result<(Identity, Option<Arc<BusSession>>), Refused> {
        match connect.username.as_deref() {
            // No other user name is that long. Whoever has a certificate is known by it.
            Some(token) if token.len() > UID_BYTES_MAX && self.certificate.is_none() => {
                let (who, session) = self.identify_by_token(connect, token).await?;
                Ok((who, Some(session)))
            }
            _ => self
                .identify_by_password(connect)
                .await
                .map(|who| (who, None)),
        }
    }

    /// A vehicle's certificate is enough; a user name beside it has to be the VIN, so that a mix-up of
    /// credentials is noticed. A partner's certificate and user name have to agree.
    async fn identify_by_password(&self, connect: &ConnectPacket) -> Result<Identity, Refused> {
        let refused = |reason: &'static str, detail: String| {
            add(&self.shared.counters.logins_refused);
            Refused {
                code: ReasonCode::BadUsernameOrPassword,
                reason,
                detail,
            }
        };
        let user_name = connect.username.as_deref();
        if let Some(vehicle @ Identity::Vehicle(vin)) = &self.certificate {
            return match user_name {
                None => Ok(vehicle.clone()),
                Some(name) if name == vin.as_str() => Ok(vehicle.clone()),
                Some(name) => Err(refused(
                    "the user name is not the VIN of the certificate",
                    Shown(name).to_string(),
                )),
            };
        }
        let (Some(user_name), Some(password)) = (user_name, &connect.password) else {
            return Err(refused("user name or password is missing", String::new()));
        };
        let shown = Shown(user_name).to_string();
        let login = self
            .shared
            .credentials
            .login(user_name, password, self.peer.ip())
            .await;
        match (login, &self.certificate) {
            (Ok(who), None) => Ok(who),
            (Ok(who), Some(certificate)) if who == *certificate => Ok(who),
            (Ok(_), Some(certificate)) => Err(refused(
                "the user name is not that of the certificate",
                format!("{shown}, certificate of {certificate}"),
            )),
            (Err(error @ (LoginError::Busy | LoginError::Paused { .. })), _) => {
                let counters = &self.shared.counters;
                add(match error {
                    LoginError::Busy => &counters.logins_busy,
                    _ => &counters.logins_paused,
                });
                Err(Refused {
                    code: ReasonCode::ServerBusy,
                    reason: "login not checked",
                    detail: format!("{shown}: {error}"),
                })
            }
            (Err(error), _) => Err(refused("login failed", format!("{shown}: {error}"))),
        }
    }

    /// Takes a filter in; false (counted, logged) when it is denied or one too many.
    fn subscribe(&self, filter: &str) -> bool {
        let Some(client) = self.client() else {
            return false;
        };
        match self.may_subscribe(&client, filter) {
            Ok(allowed) => {
                let taken = self.take_in(&client, filter, allowed);
                if taken {
                    self.note_untold(&client, allowed.filter);
                }
                taken
            }
            Err(denial) => {
                add(&self.shared.counters.subscriptions_denied);
                self.log_denial(&client, "subscription denied", filter, &denial);
                false
            }
        }
    }

    /// Takes an allowed filter in; false (counted, logged) when it is one too many.
    fn take_in(&self, client: &Client, filter: &str, allowed: AllowedFilter<'_>) -> bool {
        let quotas = &self.shared.quotas;
        let mut state = self.state();
        if state.filters.contains_key(filter) {
            return true;
        }
        let fits = state.filters.len() < self.shared.limits.filters_per_client_max
            && allowed
                .share
                .is_none_or(|name| quotas.admit_share(&client.who, name, allowed.filter))
            && (!allowed.wildcard || quotas.take_wildcard(&client.who));
        if fits {
            state.filters.insert(filter.to_owned(), allowed.wildcard);
            state.decided_at = state.decided_at.min(allowed.changes);
            drop(state);
            if let Some(session) = &client.bus {
                // Rights may have been taken away after the decision.
                self.settle(session);
            }
            return true;
        }
        drop(state);
        add(&self.shared.counters.subscriptions_over_limit);
        if let Some(left_out) = self.may_log(client, "too many filters") {
            warn!(client = %client.who, filter = %Shown(filter), left_out, "too many filters");
        }
        false
    }

    fn may_log(&self, client: &Client, reason: &'static str) -> Option<u64> {
        self.shared.quiet.allows(&client.who.to_string(), reason)
    }
}

impl AuthProvider for Connection {
    fn authenticate<'a>(
        &'a self,
        connect: &'a ConnectPacket,
        _client_addr: SocketAddr,
    ) -> BoxFuture<'a, mqtt5::Result<AuthResult>> {
        Box::pin(async move {
            match self.enter(connect).await {
                Ok(who) => {
                    let who = who.to_string();
                    debug!(
                        client = who, peer = %self.peer, client_id = %Shown(&connect.client_id),
                        "client connected"
                    );
                    Ok(AuthResult::success_with_user(who))
                }
                Err(refused) => {
                    let peer = self.peer.ip().to_string();
                    if let Some(left_out) = self.shared.quiet.allows(&peer, refused.reason) {
                        warn!(
                            peer = %self.peer, reason = refused.reason, detail = refused.detail,
                            left_out, "client refused"
                        );
                    }
                    Ok(AuthResult::fail(refused.code))
                }
            }
        })
    }

    fn authorize_publish<'a>(
        &'a self,
        _client_id: &str,
        _user_id: Option<&'a str>,
        topic: &'a str,
    ) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            if self.state().ended {
                self.accept_will().await;
                return false;
            }
            self.throttle().await;
            let Some(client) = self.client() else {
                return false;
            };
            // An MQTT 3.1.1 client cannot be told: its publish is let in, then denied and dropped.
            if !client.speaks_v5 {
                return true;
            }
            match self.may_publish(&client, topic) {
                Ok(_) => true,
                Err(denial) => {
                    self.denied(&client, "publish denied", topic, &denial);
                    false
                }
            }
        })
    }

    fn authorize_subscribe<'a>(
        &'a self,
        _client_id: &str,
        _user_id: Option<&'a str>,
        topic_filter: &'a str,
    ) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(self.subscribe(topic_filter)))
    }

    fn cleanup_session<'a>(&'a self, _user_id: &'a str) -> BoxFuture<'a, ()> {
        self.state().ended = true;
        Box::pin(std::future::ready(()))
    }
}

impl BrokerEventHandler for Connection {
    fn on_client_publish<'a>(&'a self, event: ClientPublishEvent) -> BoxFuture<'a, PublishAction> {
        Box::pin(async move {
            let Some(client) = self.client() else {
                return PublishAction::Handled;
            };
            let qos = event.qos;
            let gate = self.accept(&client, event).await;
            if let Some(gate) = gate
                && qos != QoS::AtMostOnce
            {
                self.rules.hold_next(gate);
            }
            PublishAction::Handled
        })
    }

    fn on_client_subscribe<'a>(&'a self, event: ClientSubscribeEvent) -> BoxFuture<'a, ()> {
        let granted = event
            .subscriptions
            .iter()
            .filter(|it| {
                matches!(
                    it.result,
                    SubAckReasonCode::GrantedQoS0
                        | SubAckReasonCode::GrantedQoS1
                        | SubAckReasonCode::GrantedQoS2
                )
            })
            .map(|it| it.topic_filter.to_string())
            .collect::<Vec<_>>();
        if let Some(Identity::Vehicle(vin)) = self.client().map(|client| client.who)
            && !granted.is_empty()
        {
            self.shared.registry.vehicle_listens(vin, self.id, granted);
        }
        Box::pin(std::future::ready(()))
    }

    fn on_client_unsubscribe<'a>(&'a self, event: ClientUnsubscribeEvent) -> BoxFuture<'a, ()> {
        let mut state = self.state();
        let mut wildcards = 0;
        for filter in &event.topic_filters {
            wildcards += usize::from(state.filters.remove(&**filter) == Some(true));
        }
        let client = state.client.clone();
        drop(state);
        let Some(client) = client else {
            return Box::pin(std::future::ready(()));
        };
        self.shared.quotas.release_wildcards(&client.who, wildcards);
        if let Identity::Vehicle(vin) = client.who {
            let filters = event
                .topic_filters
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>();
            self.shared
                .registry
                .vehicle_unlistens(vin, self.id, &filters);
        }
        Box::pin(std::future::ready(()))
    }
}
