//! What each client, each app of the bus, and all together may take of what is scarce: filters with
//! wildcards, which every message is compared with, and shared subscriptions, which the router never
//! forgets.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::counters::{BrokerCounters, add};
use super::limits::{Limits, SHARES_MAX, SHARES_PER_APP_MAX, SHARES_PER_IDENTITY_MAX};
use crate::bus::{ClientKey, ClientName};
use crate::identity::Identity;

/// What is taken, and by whom.
pub(super) struct Quotas {
    limits: Limits,
    counters: Arc<BrokerCounters>,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    /// Filters with wildcards of each identity that has any.
    wildcards: HashMap<Identity, usize>,
    /// The shared subscriptions that the router knows, by who had them first: for a client of the bus,
    /// its app. They stay until the broker restarts.
    shares: HashMap<Holder, HashSet<String>>,
    /// Those that each client of the bus had; forgotten with the client.
    shares_of_clients: HashMap<ClientKey, HashSet<String>>,
}

/// Who has a bound of its own on what is never given back.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Holder {
    App(ClientName),
    /// Anybody who is no client of the bus.
    Other(Identity),
}

impl Quotas {
    pub(super) fn new(limits: Limits, counters: Arc<BrokerCounters>) -> Self {
        Self {
            limits,
            counters,
            taken: Mutex::default(),
        }
    }

    /// Takes one of the places for filters with wildcards; false when there is none, or `who` or its app
    /// has as many as it may.
    pub(super) fn take_wildcard(&self, who: &Identity) -> bool {
        let mut taken = self.lock();
        let all: usize = taken.wildcards.values().sum();
        let own = taken.wildcards.get(who).copied().unwrap_or_default();
        if all >= self.limits.wildcard_filters_max
            || own >= self.limits.wildcard_filters_per_identity_max
            || taken.wildcards_of_app(who) >= self.limits.wildcard_filters_per_app_max
        {
            return false;
        }
        taken.wildcards.insert(who.clone(), own + 1);
        add(&self.counters.wildcard_filters);
        true
    }

    /// Gives back places for filters with wildcards.
    pub(super) fn release_wildcards(&self, who: &Identity, count: usize) {
        let mut taken = self.lock();
        if let Some(own) = taken.wildcards.get_mut(who) {
            *own -= count;
            if *own == 0 {
                taken.wildcards.remove(who);
            }
        }
        self.counters
            .wildcard_filters
            .fetch_sub(count as u64, Ordering::Relaxed);
    }

    /// Admits a shared subscription; false when there are as many as there may be, of `who`, of its app
    /// or in all.
    pub(super) fn admit_share(&self, who: &Identity, name: &str, filter: &str) -> bool {
        let share = format!("{name}/{filter}");
        let mut taken = self.lock();
        let all: usize = taken.shares.values().map(HashSet::len).sum();
        let (holder, max) = match who {
            Identity::BusClient(key) => {
                if !enter(
                    &mut taken.shares_of_clients,
                    key,
                    &share,
                    SHARES_PER_IDENTITY_MAX,
                ) {
                    return false;
                }
                (Holder::App(key.app.clone()), SHARES_PER_APP_MAX)
            }
            other => (Holder::Other(other.clone()), SHARES_PER_IDENTITY_MAX),
        };
        let max = if all < SHARES_MAX { max } else { 0 };
        enter(&mut taken.shares, &holder, &share, max)
    }

    /// Forgets what clients of the bus had that are there no more. What the router knows of theirs stays
    /// with their app.
    pub(super) fn forget_clients(&self, is_there: impl Fn(&ClientKey) -> bool) {
        let mut taken = self.lock();
        taken.shares_of_clients.retain(|key, _| is_there(key));
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Filters with wildcards of all clients of the app of `who`; none where it is of no app.
    fn wildcards_of_app(&self, who: &Identity) -> usize {
        let Identity::BusClient(key) = who else {
            return 0;
        };
        let of_app = |(who, count): (&Identity, &usize)| match who {
            Identity::BusClient(other) if other.app == key.app => *count,
            _ => 0,
        };
        self.wildcards.iter().map(of_app).sum()
    }
}

/// Enters a share with its holder, unless that has `max` others; whether it is there now.
fn enter<K: Clone + Eq + Hash>(
    shares: &mut HashMap<K, HashSet<String>>,
    holder: &K,
    share: &str,
    max: usize,
) -> bool {
    let own = shares.get(holder);
    if own.is_some_and(|own| own.contains(share)) {
        return true;
    }
    if own.map_or(0, HashSet::len) >= max {
        return false;
    }
    shares
        .entry(holder.clone())
        .or_default()
        .insert(share.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(app: usize, client: usize) -> Identity {
        let name = |number: usize| ClientName::parse(&number.to_string()).unwrap();
        Identity::BusClient(ClientKey {
            app: name(app),
            client: name(client),
        })
    }

    fn quotas() -> Quotas {
        Quotas::new(Limits::default(), Arc::default())
    }

    /// How many shares a client gets at most, each another one.
    fn shares(quotas: &Quotas, app: usize, of: usize) -> usize {
        let who = client(app, of);
        let admit = |number: &usize| quotas.admit_share(&who, &format!("{of}-{number}"), "f");
        (0..=SHARES_PER_APP_MAX).take_while(admit).count()
    }

    #[test]
    fn clients_of_one_app_leave_wildcards_to_other_apps() {
        let quotas = quotas();
        let Limits {
            wildcard_filters_per_app_max: of_app,
            wildcard_filters_per_identity_max: own,
            ..
        } = quotas.limits;
        let takes = |who: Identity| (0..1000).take_while(|_| quotas.take_wildcard(&who)).count();
        let taken: usize = (0..10).map(|of| takes(client(1, of))).sum();
        assert_eq!(taken, of_app);
        assert_eq!(takes(client(2, 0)), own);
        quotas.release_wildcards(&client(1, 0), own);
        assert_eq!(takes(client(1, 9)), own);
        assert_eq!(takes(Identity::Admin), own);
    }

    #[test]
    fn an_app_gets_no_more_shares_by_making_and_removing_clients() {
        let quotas = quotas();
        let mut taken = 0;
        for of in 0..10 {
            taken += shares(&quotas, 1, of);
            quotas.forget_clients(|_| false);
            assert!(quotas.lock().shares_of_clients.is_empty());
        }
        assert_eq!(taken, SHARES_PER_APP_MAX);
        assert_eq!(shares(&quotas, 2, 0), SHARES_PER_IDENTITY_MAX);
        // What the router knows costs nothing more.
        assert!(quotas.admit_share(&client(1, 7), "0-0", "f"));
    }

    #[test]
    fn all_apps_together_have_a_bound() {
        let quotas = quotas();
        let apps = SHARES_MAX / SHARES_PER_APP_MAX;
        let of_app = |app| (0..4).map(|of| shares(&quotas, app, of)).sum::<usize>();
        assert_eq!((0..apps).map(of_app).sum::<usize>(), SHARES_MAX);
        assert_eq!(shares(&quotas, apps, 0), 0);
    }
}
