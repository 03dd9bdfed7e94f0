//! Who is connected: client identifiers and their owners, vehicles that listen.
//!
//! One lock holds it all, and presence is told under it, so that the core hears changes in the
//! order in which they happen.

mod takeovers;

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::Semaphore;
use tokio::time::Instant;
use vinbus_protocol::id::Vin;

use self::takeovers::{Takeovers, Told};
use super::connection::Connection;
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
    /// Each has a connection.
    vehicles: HashMap<Vin, Vehicle>,
}

/// Numbers of connections.
#[derive(Clone, Copy, Default)]
struct Open {
    /// Of clients that are not known yet.
    unknown: usize,
    /// Of known clients.
    known: usize,
}

/// A vehicle that is connected.
#[derive(Default)]
struct Vehicle {
    /// Oldest first; only the first may listen.
    connections: Vec<VehicleConnection>,
    takeovers: Takeovers,
}

/// A live connection of a vehicle.
struct VehicleConnection {
    id: ConnectionId,
    /// Its subscribed downlink filters.
    filters: HashSet<String>,
    way: VehicleWay,
    peer: SocketAddr,
    connection: Weak<Connection>,
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
    pub(super) fn vehicle_up(
        &self,
        vin: Vin,
        id: ConnectionId,
        way: VehicleWay,
        peer: SocketAddr,
        connection: Weak<Connection>,
    ) {
        let mut inner = self.lock();
        let vehicle = inner.vehicles.entry(vin).or_default();
        if let Some(earlier) = vehicle.connections.last() {
            tell_of_takeover(
                vin,
                vehicle.takeovers.note(Instant::now()),
                peer,
                earlier.peer,
            );
        }
        vehicle.connections.push(VehicleConnection {
            id,
            filters: HashSet::new(),
            way,
            peer,
            connection,
        });
    }

    /// A vehicle's connection subscribed `filters` of its downlink: the vehicle is online. Told
    /// again for each subscription, because messages may wait for just this one. Its earlier connections
    /// end: one may be half open, and what is routed there as well would hold back what is for the new one.
    /// Where one listened, the vehicle was offline in between: what is on that one's way is lost, and what
    /// the vehicle said there is over.
    pub(super) fn vehicle_listens(&self, vin: Vin, id: ConnectionId, filters: Vec<String>) {
        let mut inner = self.lock();
        let Some(Vehicle { connections, .. }) = inner.vehicles.get_mut(&vin) else {
            return;
        };
        // One that has been ended is not there any more, and cannot come back.
        let Some(at) = connections.iter().position(|it| it.id == id) else {
            return;
        };
        let earlier = connections.drain(..at).collect::<Vec<_>>();
        connections[0].filters.extend(filters);
        // Before anything is routed to the new one: of that, nothing is written on these.
        for connection in &earlier {
            connection.way.window.close();
            if let Some(connection) = connection.connection.upgrade() {
                connection.end_taken_over();
            }
        }
        if earlier.iter().any(VehicleConnection::listens) {
            self.events.presence_changed(vin, Presence::Offline);
        }
        self.events.presence_changed(vin, Presence::Online);
    }

    /// A vehicle's connection gave up `filters`: the vehicle is offline if none is left.
    pub(super) fn vehicle_unlistens(&self, vin: Vin, id: ConnectionId, filters: &[String]) {
        let mut inner = self.lock();
        let vehicle = inner.vehicles.get_mut(&vin);
        let Some(connection) =
            vehicle.and_then(|all| all.connections.iter_mut().find(|it| it.id == id))
        else {
            return;
        };
        let listened = connection.listens();
        for filter in filters {
            connection.filters.remove(filter);
        }
        if listened && !connection.listens() {
            self.events.presence_changed(vin, Presence::Offline);
        }
    }

    /// A vehicle's connection is gone: the vehicle is offline if it listened there.
    pub(super) fn vehicle_down(&self, vin: Vin, id: ConnectionId) {
        let mut inner = self.lock();
        let Some(Vehicle { connections, .. }) = inner.vehicles.get_mut(&vin) else {
            return;
        };
        let Some(at) = connections.iter().position(|it| it.id == id) else {
            return;
        };
        let gone = connections.remove(at);
        if connections.is_empty() {
            inner.vehicles.remove(&vin);
        }
        gone.way.window.close();
        if gone.listens() {
            self.events.presence_changed(vin, Presence::Offline);
        }
    }

    /// Whether a vehicle has a live connection besides `id`.
    pub(super) fn vehicle_has_another(&self, vin: &Vin, id: ConnectionId) -> bool {
        self.lock()
            .vehicles
            .get(vin)
            .is_some_and(|vehicle| vehicle.connections.iter().any(|it| it.id != id))
    }

    /// The way to a vehicle on the connection on which it listens, if that listens to `topic`. While the
    /// vehicle has not made all of its subscriptions, what is on the others waits.
    pub(super) fn way_to(&self, vin: &Vin, topic: &str) -> Option<VehicleWay> {
        let inner = self.lock();
        let hears = |filter: &String| mqtt5::topic_matches_filter(topic, filter);
        let vehicle = inner.vehicles.get(vin)?;
        let first = vehicle.connections.first()?;
        first.filters.iter().any(hears).then(|| first.way.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn tell_of_takeover(vin: Vin, told: Option<Told>, peer: SocketAddr, earlier: SocketAddr) {
    match told {
        None => {}
        Some(Told::First) => tracing::info!(
            %vin, %peer, %earlier,
            "a vehicle connects while its earlier connection is up, which ends when the new one listens, if not \
             before"
        ),
        Some(Told::Many) => tracing::warn!(
            %vin, %peer, %earlier,
            "a vehicle connects again and again while it is connected: two agents have the same VIN, or its link \
             breaks all the time; told once in ten minutes"
        ),
    }
}

impl VehicleConnection {
    fn listens(&self) -> bool {
        !self.filters.is_empty()
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
