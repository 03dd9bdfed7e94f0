//! A client of the bus on its connection: let in by its token, cut off with it, and held to the rules
//! as they are now.
//!
//! A [`BusSession`] sees its client as it is, so each publish and subscription is decided by the
//! permissions of this moment. When they change, the filters that were granted before are decided
//! anew; if one would be denied now, the connection ends, because the client could not be told
//! otherwise that it no longer hears what it subscribed to. No message is delivered in between: one
//! that is written after a change waits for that decision ([`Connection::settle`]). The same ends the
//! connection when the token is over, after a warning, unless a new one was published on
//! [`RENEWAL_TOPIC`].

#[cfg(test)]
mod tests;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use mqtt5::QoS;
use mqtt5::broker::events::ClientPublishEvent;
use mqtt5::packet::connect::ConnectPacket;
use mqtt5::packet::publish::PublishPacket;
use mqtt5::protocol::v5::reason_codes::ReasonCode;
use serde_json::json;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;
use tracing::{info, warn};
use vinbus_protocol::bus::access::Action;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

use super::{Client, Connection, Refused};
use crate::broker::embedded::Denied;
use crate::broker::embedded::bus_traffic::NoRoom;
use crate::broker::embedded::counters::add;
use crate::broker::embedded::quiet::Shown;
use crate::broker::embedded::stream::Gate;
use crate::bucket::{Bucket, Rate};
use crate::bus::{
    Bus, BusClient, BusIdentity, BusRules, ClientKey, RENEWAL_TOPIC, TokenError, expiry_topic,
};
use crate::identity::Identity;

/// How long before its token is over a client is warned, of a token that lives for long; of a short
/// one, it is a quarter of its life.
const WARNED_BEFORE_MAX: Duration = Duration::from_secs(60);

/// The clock is looked at this often, because it may be set.
const LOOK_AT_CLOCK: Duration = Duration::from_secs(60);

/// The reason with which a connection ends whose token is over: "Maximum connect time" of MQTT 5, "the
/// maximum connection time authorized for this connection has been exceeded" (4.13, 0xA0).
const TOKEN_OVER: ReasonCode = ReasonCode::MaximumConnectTime;

/// New tokens that a session may offer: each costs a verification, and one lasts for hours.
const RENEWALS: Rate = Rate {
    per_second: 0.2,
    burst: 10.0,
};

/// What is known of a client of the bus while it is connected.
pub(super) struct BusSession {
    client: watch::Receiver<Arc<BusClient>>,
    token: watch::Sender<BusIdentity>,
    rules: BusRules,
    renewals: Mutex<Bucket>,
}

impl BusSession {
    fn new(client: watch::Receiver<Arc<BusClient>>, token: BusIdentity, rules: BusRules) -> Self {
        let renewals = Bucket::full(RENEWALS, Instant::now().into_std());
        Self {
            client,
            token: watch::Sender::new(token),
            rules,
            renewals: Mutex::new(renewals),
        }
    }

    /// Whether another new token may be looked at now.
    fn may_renew(&self) -> bool {
        let mut renewals = self.renewals.lock().unwrap_or_else(PoisonError::into_inner);
        renewals.take(RENEWALS, Instant::now().into_std()).is_ok()
    }

    /// Decides whether the client may do it now; when it may, how often it had been changed by then.
    pub(super) fn decide(&self, action: Action, topic: &str) -> Result<u64, Denied> {
        let client = self.client.borrow();
        // Also what comes while the connection is being ended, its will included.
        if self.client.has_changed().is_err() {
            return Err(Denied::Bus(TokenError::UnknownClient.to_string()));
        }
        if let Err(error) = self.token.borrow().check_client(&client) {
            return Err(Denied::Bus(error.to_string()));
        }
        match self.rules.decide(&client, action, topic) {
            Ok(_) => Ok(client.changes),
            Err(denial) => Err(Denied::Bus(denial.to_string())),
        }
    }

    /// Whether the client is as it was when it had been changed `changes` times.
    fn is_as_of(&self, changes: u64) -> bool {
        self.client.has_changed().is_ok() && self.client.borrow().changes == changes
    }
}

impl Connection {
    /// Who the token of a CONNECT stands for. It is the user name; the password only has to be there.
    pub(super) async fn identify_by_token(
        &self,
        connect: &ConnectPacket,
        token: &str,
    ) -> Result<(Identity, Arc<BusSession>), Refused> {
        let refused = |code, detail: String| {
            add(&self.shared.counters.logins_refused);
            Refused {
                code,
                reason: "token refused",
                detail,
            }
        };
        let bad = ReasonCode::BadUsernameOrPassword;
        let Some(bus) = &self.shared.bus else {
            return Err(refused(bad, "this broker has no bus".to_owned()));
        };
        if connect.password.as_ref().is_none_or(Vec::is_empty) {
            return Err(refused(bad, "there is no password beside it".to_owned()));
        }
        let opened = open(bus, token).await;
        let (key, session) = opened.map_err(|error| {
            let code = match error {
                TokenError::UnknownClient | TokenError::Disabled | TokenError::Revoked => {
                    ReasonCode::NotAuthorized
                }
                // That is not the client's fault, and may be over soon.
                TokenError::Keys { .. } => ReasonCode::ServerUnavailable,
                _ => bad,
            };
            refused(code, error.to_string())
        })?;
        Ok((Identity::BusClient(key), Arc::new(session)))
    }

    /// Has each message for a client of the bus looked at before it is written to it.
    pub(super) fn check_deliveries(&self, session: &Arc<BusSession>) {
        let (own, session) = (self.own.clone(), Arc::clone(session));
        let may_hear = move || own.upgrade().is_some_and(|own| own.settle(&session));
        self.rules.check_deliveries(Box::new(may_hear));
    }

    /// Watches over the session of a client of the bus until its connection is gone.
    pub(super) fn watch_session(&self, session: Arc<BusSession>) {
        let watching = tokio::spawn(watch_over(self.own.clone(), session));
        self.state().watching = Some(watching.abort_handle());
    }

    /// Takes a message for the bus in, and routes it to whoever hears it now. What comes back tells when
    /// it may be acknowledged, and how; `None` is at once.
    pub(super) async fn accept_on_bus(
        &self,
        client: &Client,
        event: ClientPublishEvent,
    ) -> Option<Gate> {
        if event.payload.len() > PAYLOAD_BYTES_MAX {
            self.oversize(client, &event.topic, event.payload.len());
            return refusal(client, event.qos, ReasonCode::QuotaExceeded);
        }
        if *event.topic == *RENEWAL_TOPIC {
            return self.renew(client, &event).await;
        }
        match &self.shared.intake {
            Some(intake) if intake.wants(&event.topic) => {
                self.take(Arc::clone(intake), client, event).await
            }
            Some(_) | None => self.route(client, event).await,
        }
    }

    /// Routes a message to whoever hears it now.
    pub(super) async fn route(&self, client: &Client, event: ClientPublishEvent) -> Option<Gate> {
        // QoS 2 is acknowledged as such, and delivered at QoS 1.
        let qos = match event.qos {
            QoS::AtMostOnce => QoS::AtMostOnce,
            QoS::AtLeastOnce | QoS::ExactlyOnce => QoS::AtLeastOnce,
        };
        let mut packet = PublishPacket::new(&*event.topic, event.payload, qos);
        if let Some(topic) = &event.response_topic {
            packet = packet.with_response_topic(topic.to_string());
        }
        if let Some(data) = &event.correlation_data {
            packet = packet.with_correlation_data(data.to_vec());
        }
        let traffic = &self.shared.bus_traffic;
        let routed = traffic.route(packet, &client.client_id, &self.bus_window);
        routed
            .await
            .err()
            .and_then(|no_room| self.refuse_for_room(client, event.qos, no_room))
    }

    /// Says that a message finds no room: to an MQTT 5 client by the reason, to others, which would take
    /// any answer for a promise, by the end of their connection.
    fn refuse_for_room(&self, client: &Client, qos: QoS, NoRoom: NoRoom) -> Option<Gate> {
        if let Some(left_out) = self.may_log(client, "the bus is full") {
            warn!(client = %client.who, peer = %self.peer, left_out, "the bus is full: message refused");
        }
        let refused = refusal(client, qos, ReasonCode::QuotaExceeded);
        // Its sender is gone, so the connection ends in place of the acknowledgement.
        Some(refused.unwrap_or_else(|| oneshot::channel().1))
    }

    /// Ends the session because `waiting` messages wait for its client, which acknowledges too slowly.
    pub(in crate::broker::embedded) fn end_too_slow(&self, waiting: usize) {
        let Some(client) = self.client() else {
            return;
        };
        let why = "more messages of QoS 1 wait than are kept: acknowledge them faster";
        if !self.end_with(&client, ReasonCode::QuotaExceeded, why) {
            return;
        }
        let counters = &self.shared.counters;
        add(&counters.subscribers_too_slow);
        counters
            .subscriber_losses
            .fetch_add(waiting as u64, Ordering::Relaxed);
        if let Some(left_out) = self.may_log(&client, "subscriber too slow") {
            warn!(
                client = %client.who, client_id = %Shown(&client.client_id), peer = %self.peer,
                waiting, left_out, "subscriber too slow: its session ended, it missed what waited"
            );
        }
    }

    /// Takes a new token in place of the present one.
    async fn renew(&self, client: &Client, event: &ClientPublishEvent) -> Option<Gate> {
        let (bus, session) = (self.shared.bus.as_ref()?, client.bus.as_ref()?);
        if !session.may_renew() {
            add(&self.shared.counters.publishes_denied);
            if let Some(left_out) = self.may_log(client, "too many new tokens") {
                warn!(client = %client.who, peer = %self.peer, left_out, "too many new tokens");
            }
            return refusal(client, event.qos, ReasonCode::QuotaExceeded);
        }
        let token = std::str::from_utf8(&event.payload)
            .unwrap_or_default()
            .trim();
        let why = match bus.tokens.verify(token).await {
            Ok(identity) if Identity::BusClient(identity.key.clone()) == client.who => {
                session.token.send_replace(identity);
                return None;
            }
            Ok(_) => "it is of another client".to_owned(),
            Err(error) => error.to_string(),
        };
        add(&self.shared.counters.publishes_denied);
        if let Some(left_out) = self.may_log(client, "new token refused") {
            warn!(client = %client.who, peer = %self.peer, refusal = why, left_out, "new token refused");
        }
        refusal(client, event.qos, ReasonCode::NotAuthorized)
    }

    /// Tells the operator of a granted subscription to events of vehicles that nobody tells the
    /// application.
    pub(super) fn note_untold(&self, client: &Client, filter: &str) {
        let Identity::BusClient(ClientKey { app, .. }) = &client.who else {
            return;
        };
        let mut levels = filter.split('/');
        if (levels.next(), levels.nth(1)) != (Some("app"), Some("vehicle")) {
            return;
        }
        let scope = levels.next().unwrap_or_default();
        if self.shared.audience.tells(app, scope) {
            return;
        }
        if let Some(left_out) = self.may_log(client, "subscription hears nothing") {
            info!(
                client = %client.who, peer = %self.peer, filter = %Shown(filter), left_out,
                "subscription granted, but this server tells {app} of no such events: start it with \
                 --bus-events {app}=UID"
            );
        }
    }

    /// Sees to it that all filters are decided by the rights of this moment: whether they are still
    /// allowed. If not, the connection ends. A filter names its resource and scope, so what it hears is
    /// allowed exactly as long as it is, and nothing is decided while the client stays as it is.
    pub(super) fn settle(&self, session: &BusSession) -> bool {
        if session.is_as_of(self.state().decided_at) {
            return true;
        }
        let outcome = self.decide_filters(session);
        if let Err(why) = &outcome {
            self.cut_off(ReasonCode::NotAuthorized, why);
        }
        outcome.is_ok()
    }

    /// Decides all filters anew.
    ///
    /// # Errors
    /// Why the client may no longer do what it was let in for.
    fn decide_filters(&self, session: &BusSession) -> Result<(), String> {
        if session.client.has_changed().is_err() {
            return Err("the client was removed".to_owned());
        }
        let now = Arc::clone(&session.client.borrow());
        let token = session.token.borrow().clone();
        token
            .check_client(&now)
            .map_err(|error| error.to_string())?;
        // Held until all are decided, so that none is taken in between unseen.
        let mut state = self.state();
        for filter in state.filters.keys() {
            session
                .decide(Action::Subscribe, filter)
                .map_err(|denied| {
                    format!("the subscription to {filter} is no longer allowed: {denied}")
                })?;
        }
        state.decided_at = now.changes;
        Ok(())
    }

    /// Ends the connection; an MQTT 5 client is told why.
    fn cut_off(&self, code: ReasonCode, why: &str) {
        let Some(client) = self.client() else {
            return;
        };
        if !self.end_with(&client, code, why) {
            return;
        }
        add(&self.shared.counters.sessions_cut_off);
        if let Some(left_out) = self.may_log(&client, "session ended") {
            info!(client = %client.who, peer = %self.peer, why, left_out, "session ended");
        }
    }

    /// Tells the client, where it hears of it, that its token is over soon.
    async fn warn_of_expiry(&self, token: &BusIdentity) {
        let Some(client) = self.client() else {
            return;
        };
        // A key that was parsed makes a topic.
        let Ok(topic) = expiry_topic(&token.key) else {
            return;
        };
        let rfc3339 = |time| humantime::format_rfc3339_millis(time).to_string();
        let payload = json!({
            "appId": token.key.app.as_str(),
            "clientId": token.key.client.as_str(),
            "ts": rfc3339(SystemTime::now()),
            "tokenId": token.token_id,
            "expiresAt": rfc3339(token.expires_at),
            "mqttClientId": client.client_id,
        });
        let payload = payload.to_string().into();
        // What finds no room is counted.
        let _ = self.shared.bus_traffic.publish(&topic, payload).await;
    }
}

/// What tells an MQTT 5 client that its publish of QoS 1 was not taken. (One of QoS 0 is not answered, and
/// a refused one of QoS 2 would keep its packet identifier busy in the library.)
fn refusal(client: &Client, qos: QoS, reason: ReasonCode) -> Option<Gate> {
    is_told(client, qos).then(|| {
        let (answer, gate) = oneshot::channel();
        // The gate is right here.
        let _ = answer.send(reason);
        gate
    })
}

/// Whether a client hears that its publish was not taken.
pub(super) fn is_told(client: &Client, qos: QoS) -> bool {
    client.speaks_v5 && qos == QoS::AtLeastOnce
}

async fn open(bus: &Bus, token: &str) -> Result<(ClientKey, BusSession), TokenError> {
    let identity = bus.tokens.verify(token).await?;
    let key = identity.key.clone();
    // It may have been removed just now.
    let client = bus.clients.watch(&key).ok_or(TokenError::UnknownClient)?;
    identity.check_client(&client.borrow())?;
    Ok((key, BusSession::new(client, identity, bus.rules)))
}

/// Follows the changes of a client and the age of its token.
async fn watch_over(connection: Weak<Connection>, session: Arc<BusSession>) {
    let mut client = session.client.clone();
    let mut token = session.token.subscribe();
    let mut warned_of = None;
    // What changed between the login and now has not been looked at.
    client.mark_changed();
    loop {
        let present = token.borrow_and_update().clone();
        let left = left_of(&present);
        let before = warned_before(&present);
        // A token without a name of its own is told from the next by its times.
        let is_warned = warned_of.as_ref() == Some(&present);
        let until_next = if is_warned {
            left
        } else {
            left.saturating_sub(before)
        };
        let look = Instant::now() + until_next.min(LOOK_AT_CLOCK);
        tokio::select! {
            changed = client.changed() => {
                let Some(connection) = connection.upgrade() else {
                    return;
                };
                if changed.is_err() {
                    connection.settle(&session);
                    return;
                }
                connection.settle(&session);
            }
            _ = token.changed() => {}
            () = tokio::time::sleep_until(look) => {
                let Some(connection) = connection.upgrade() else {
                    return;
                };
                let left = left_of(&present);
                if left.is_zero() {
                    return connection.cut_off(TOKEN_OVER, "the token has expired");
                }
                if !is_warned && left <= before {
                    connection.warn_of_expiry(&present).await;
                    warned_of = Some(present);
                }
            }
        }
    }
}

fn left_of(token: &BusIdentity) -> Duration {
    let left = token.expires_at.duration_since(SystemTime::now());
    left.unwrap_or_default()
}

fn warned_before(token: &BusIdentity) -> Duration {
    let issued_at = SystemTime::UNIX_EPOCH + Duration::from_secs(token.issued_at);
    let life = token.expires_at.duration_since(issued_at);
    (life.unwrap_or_default() / 4).min(WARNED_BEFORE_MAX)
}
