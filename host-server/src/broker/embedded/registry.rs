//! Who is connected: client identifiers and their owners, vehicles that listen.
//!
//! One lock holds it all, and presence is told under it, so that the core hears changes in the
//! order in which they happen.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Semaphore;
use vinbus_protocol::id::Vin;

use super::counters::{BrokerCounters, add, subtract};
use super::limits::Limits;
use crate::broker::BrokerEvents;
use crate::identity::Identity;
use crate::model::Presence;

/// Names one connection for the life of the process.
pub(super) type ConnectionId = u64;

/// Who is connected.
pub(super) struct Registry {
    limits: Limits,
    counters: Arc<BrokerCounters>,
    events: Arc<dyn BrokerEvents>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    open: Open,
    by_address: HashMap<IpAddr, Open>,
    /// The identity behind each client identifier and its live connections (two during a takeover).
    clients: HashMap<String, (Identity, usize)>,
    vehicles: HashMap<Vin, Vec<VehicleConnection>>,
}

/// Numbers of connections.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Of clients that are not known yet.
    unknown: usize,
    /// Of known clients.
    known: usize,
}

/// A live connection of a vehicle.
struct VehicleConnection {
    id: ConnectionId,
    /// Its subscribed downlink filters.
    filters: HashSet<String>,
    way: VehicleWay,
}

/// How to reach a vehicle: the room on its connection and what the connection can carry.
#[derive(Clone)]
pub(super) struct VehicleWay {
    /// Permits are bytes; closed with the connection.
    pub(super) window: Arc<Semaphore>,
    /// Largest packet that the vehicle accepts, in bytes.
    pub(super) packet_bytes_max: Option<u32>,
}

/// Why a client identifier was not claimed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClaimError {
    /// It is the VIN of a vehicle, and the client is another.
    ForeignVin,
    /// Another identity has a live connection under it.
    Taken,
    /// The partner has as many connections as it may.
    TooMany,
}

/// A place among the connections, first among those whose client is not known; gives itself back.
pub(super) struct Place {
    registry: Arc<Registry>,
    address: IpAddr,
    known: AtomicBool,
}

impl Registry {
    pub(super) fn new(
        limits: Limits,
        counters: Arc<BrokerCounters>,
        events: Arc<dyn BrokerEvents>,
    ) -> Self {
        Self {
            limits,
            counters,
            events,
            inner: Mutex::default(),
        }
    }

    /// Takes a place for a connection from `address`; `None` (counted) when there is none.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let mut inner = self.lock();
        let from_there = inner.by_address.get(&address).copied().unwrap_or_default();
        if !self.has_room_for_known(inner.open, from_there) {
            return None;
        }
        if inner.open.unknown >= self.limits.unknown_max
            || from_there.unknown >= self.limits.unknown_per_address_max
        {
            add(&self.counters.connections_refused_unknown);
            return None;
        }
        inner.open.unknown += 1;
        inner.by_address.entry(address).or_default().unknown += 1;
        add(&self.counters.connections);
        add(&self.counters.connections_accepted);
        Some(Place {
            registry: Arc::clone(self),
            address,
            known: AtomicBool::new(false),
        })
    }

    /// Whether one more known client fits; counted when not.
    fn has_room_for_known(&self, open: Open, from_there: Open) -> bool {
        if open.known >= self.limits.connections_max {
            add(&self.counters.connections_refused_full);
            return false;
        }
        if from_there.known >= self.limits.connections_per_address_max {
            add(&self.counters.connections_refused_address);
            return false;
        }
        true
    }

    /// Claims a client identifier for a connection of `who`. A VIN is for its vehicle only, or
    /// anybody could keep the vehicle out; any other stays with the first who has it.
    ///
    /// # Errors
    /// A [`ClaimError`], counted.
    pub(super) fn claim(&self, client_id: &str, who: &Identity) -> Result<(), ClaimError> {
        if let Ok(vin) = Vin::parse(client_id)
            && *who != Identity::Vehicle(vin)
        {
            add(&self.counters.client_ids_taken);
            return Err(ClaimError::ForeignVin);
        }
        let mut inner = self.lock();
        if !matches!(who, Identity::Vehicle(_)) {
            let others = inner.clients.iter();
            let others = others.filter(|(id, (owner, _))| owner == who && *id != client_id);
            if others.count() >= self.limits.connections_per_partner_max {
                add(&self.counters.connections_refused_partner);
                return Err(ClaimError::TooMany);
            }
        }
        match inner.clients.get_mut(client_id) {
            Some((owner, _)) if owner != who => {
                add(&self.counters.client_ids_taken);
                Err(ClaimError::Taken)
            }
            Some((_, connections)) => {
                *connections += 1;
                Ok(())
            }
            None => {
                inner.clients.insert(client_id.to_owned(), (who.clone(), 1));
                Ok(())
            }
        }
    }

    /// Gives back a client identifier that was claimed.
    pub(super) fn unclaim(&self, client_id: &str) {
        let mut inner = self.lock();
        if let Some((_, connections)) = inner.clients.get_mut(client_id) {
            *connections -= 1;
            if *connections == 0 {
                inner.clients.remove(client_id);
            }
        }
    }

    /// A vehicle's connection is up; it does not listen yet.
    pub(super) fn vehicle_up(&self, vin: Vin, id: ConnectionId, way: VehicleWay) {
        let mut inner = self.lock();
        let connections = inner.vehicles.entry(vin).or_default();
        if !connections.is_empty() {
            tracing::info!(
                %vin,
                "a vehicle connects while its earlier connection is up, which ends now; if this goes \
                 on, two agents have the same VIN"
            );
        }
        connections.push(VehicleConnection {
            id,
            filters: HashSet::new(),
            way,
        });
    }

    /// A vehicle's connection subscribed `filters` of its downlink: the vehicle is online. Told
    /// again for each subscription, because messages may wait for just this one. Where its earlier
    /// connection still listens, the vehicle was offline in between: what is on that one's way is
    /// lost, and what the vehicle said there is over.
    pub(super) fn vehicle_listens(&self, vin: Vin, id: ConnectionId, filters: Vec<String>) {
        let mut inner = self.lock();
        let before = inner.listening(&vin);
        let Some(connection) = inner.connection(&vin, id) else {
            return;
        };
        connection.filters.extend(filters);
        if before.is_some() && before != inner.listening(&vin) {
            self.events.presence_changed(vin, Presence::Offline);
        }
        self.events.presence_changed(vin, Presence::Online);
    }

    /// A vehicle's connection gave up `filters`: the vehicle is offline if none is left.
    pub(super) fn vehicle_unlistens(&self, vin: Vin, id: ConnectionId, filters: &[String]) {
        let mut inner = self.lock();
        let before = inner.listening(&vin);
        let Some(connection) = inner.connection(&vin, id) else {
            return;
        };
        for filter in filters {
            connection.filters.remove(filter);
        }
        self.tell_left(&inner, vin, before);
    }

    /// A vehicle's connection is gone: the vehicle is offline unless it listens on another one.
    pub(super) fn vehicle_down(&self, vin: Vin, id: ConnectionId) {
        let mut inner = self.lock();
        let before = inner.listening(&vin);
        let Some(connections) = inner.vehicles.get_mut(&vin) else {
            return;
        };
        if let Some(at) = connections.iter().position(|it| it.id == id) {
            connections.remove(at).way.window.close();
        }
        if connections.is_empty() {
            inner.vehicles.remove(&vin);
        }
        self.tell_left(&inner, vin, before);
    }

    /// Tells that a vehicle does not listen any more on the connection that it listened on before; it is back
    /// at once where it listens on an earlier one.
    fn tell_left(&self, inner: &Inner, vin: Vin, before: Option<ConnectionId>) {
        let now = inner.listening(&vin);
        if before.is_some() && before != now {
            self.events.presence_changed(vin, Presence::Offline);
            if now.is_some() {
                self.events.presence_changed(vin, Presence::Online);
            }
        }
    }

    /// Whether a vehicle has a live connection besides `id`.
    pub(super) fn vehicle_has_another(&self, vin: &Vin, id: ConnectionId) -> bool {
        self.lock()
            .vehicles
            .get(vin)
            .is_some_and(|connections| connections.iter().any(|it| it.id != id))
    }

    /// The way to a vehicle on its newest connection that listens, if that listens to `topic`. An earlier one
    /// may be half open, and a message that goes there is lost: it is to wait for a moment instead, until the
    /// vehicle has made all of its subscriptions.
    pub(super) fn way_to(&self, vin: &Vin, topic: &str) -> Option<VehicleWay> {
        let inner = self.lock();
        let hears = |filter: &String| mqtt5::topic_matches_filter(topic, filter);
        let newest = inner.newest_listening(vin)?;
        newest.filters.iter().any(hears).then(|| newest.way.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn connection(&mut self, vin: &Vin, id: ConnectionId) -> Option<&mut VehicleConnection> {
        let connections = self.vehicles.get_mut(vin)?;
        connections.iter_mut().find(|it| it.id == id)
    }

    fn newest_listening(&self, vin: &Vin) -> Option<&VehicleConnection> {
        let mut newest_first = self.vehicles.get(vin)?.iter().rev();
        newest_first.find(|it| !it.filters.is_empty())
    }

    /// On which connection a vehicle listens.
    fn listening(&self, vin: &Vin) -> Option<ConnectionId> {
        self.newest_listening(vin).map(|it| it.id)
    }
}

impl Place {
    /// Moves among the known clients; false (counted) when there is no place.
    pub(super) fn become_known(&self) -> bool {
        let mut inner = self.registry.lock();
        let Inner {
            open, by_address, ..
        } = &mut *inner;
        let from_there = by_address.entry(self.address).or_default();
        if !self.registry.has_room_for_known(*open, *from_there) {
            return false;
        }
        if !self.known.swap(true, Ordering::Relaxed) {
            for open in [open, from_there] {
                open.unknown -= 1;
                open.known += 1;
            }
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        subtract(&self.registry.counters.connections);
        let mut inner = self.registry.lock();
        let Inner {
            open, by_address, ..
        } = &mut *inner;
        let Some(from_there) = by_address.get_mut(&self.address) else {
            return;
        };
        let known = *self.known.get_mut();
        for open in [open, &mut *from_there] {
            if known {
                open.known -= 1;
            } else {
                open.unknown -= 1;
            }
        }
        if from_there.known + from_there.unknown == 0 {
            by_address.remove(&self.address);
        }
    }
}
