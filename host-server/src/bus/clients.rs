//! Who may use the bus: all clients in memory, and every change on disk before it counts.
//!
//! Each client is behind a [`watch`] channel, so that a session of it hears of a change at once; the
//! channel closes when the client is removed. There are at most [`CLIENTS_MAX`] of them, and
//! [`CLIENTS_PER_APP_MAX`] of each app.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{Mutex, broadcast, watch};

use super::{
    BusClient, BusEvent, ClientKey, ClientName, Operation, PermissionError, Permissions, uuid,
};
use crate::identity::{Credentials, IdentityError, LoginError, Secret};
use crate::store::awaited::written;
use crate::store::{Pending, StoreError};

/// Clients of all apps: each takes about 1 KiB.
const CLIENTS_MAX: usize = 10_000;

/// Clients of one app, so that who manages one leaves room for others.
const CLIENTS_PER_APP_MAX: usize = 1_000;

/// Longest name for people, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// Where clients are kept.
pub trait ClientStore: Send + Sync + 'static {
    /// Every client.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    fn bus_clients(&self) -> Result<Vec<BusClient>, StoreError>;

    /// Keeps a client, in place of one with the same key.
    fn put_bus_client(&self, client: BusClient) -> Pending<()>;

    /// Forgets a client.
    fn remove_bus_client(&self, key: &ClientKey) -> Pending<()>;
}

/// Why a client was not made, changed or removed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// There is one of that name already.
    #[error("Client {client} already exists")]
    Exists {
        /// Its name within the app.
        client: ClientName,
    },
    /// There is none of that name.
    #[error("client not found")]
    Unknown,
    /// There are as many as there may be.
    #[error("there are {CLIENTS_MAX} clients already, as many as there may be")]
    TooMany,
    /// Its app has as many as it may.
    #[error("the app has {CLIENTS_PER_APP_MAX} clients already, as many as it may")]
    TooManyOfApp,
    /// The permissions are not taken.
    #[error(transparent)]
    Permissions(#[from] PermissionError),
    /// The name for people is too long.
    #[error("name has more than {NAME_BYTES_MAX} bytes")]
    Name,
    /// No secret could be made.
    #[error(transparent)]
    Secret(#[from] IdentityError),
    /// Whoever asks may not do that to the client as it is.
    #[error("forbidden")]
    Forbidden,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A client to be made.
#[derive(Clone, Debug)]
pub struct NewClient {
    /// Its app.
    pub app: ClientName,
    /// Its name within the app; without, one is made up.
    pub client: Option<ClientName>,
    /// A name for people.
    pub name: Option<String>,
    /// What it may do; nothing said is everything in its app.
    pub permissions: Permissions,
}

/// What to change of a client.
#[derive(Clone, Debug, Default)]
pub struct ClientChange {
    /// What it may do from now on.
    pub permissions: Option<Permissions>,
    /// A name for people.
    pub name: Option<String>,
    /// Whether it may do nothing for now.
    pub disabled: Option<bool>,
    /// No token that was issued so far counts any more.
    pub revoke: bool,
}

/// All clients.
pub struct Clients {
    store: Arc<dyn ClientStore>,
    credentials: Arc<Credentials>,
    all: RwLock<BTreeMap<ClientKey, watch::Sender<Arc<BusClient>>>>,
    events: broadcast::Sender<BusEvent>,
    /// One change at a time, so that memory and disk agree.
    changing: Mutex<()>,
}

impl Clients {
    /// Loads all clients.
    ///
    /// # Errors
    /// A [`StoreError`] of the read.
    pub fn load(
        store: Arc<dyn ClientStore>,
        credentials: Arc<Credentials>,
        events: broadcast::Sender<BusEvent>,
    ) -> Result<Self, StoreError> {
        let all = store.bus_clients()?.into_iter();
        let all = all.map(|client| (client.key.clone(), watch::Sender::new(Arc::new(client))));
        Ok(Self {
            all: RwLock::new(all.collect()),
            store,
            credentials,
            events,
            changing: Mutex::default(),
        })
    }

    /// The client of this key.
    #[must_use]
    pub fn find(&self, key: &ClientKey) -> Option<Arc<BusClient>> {
        self.map(|all| all.get(key).map(|client| Arc::clone(&client.borrow())))
    }

    /// The client of this key as it is and will be; the channel closes when it is removed.
    #[must_use]
    pub fn watch(&self, key: &ClientKey) -> Option<watch::Receiver<Arc<BusClient>>> {
        self.map(|all| all.get(key).map(watch::Sender::subscribe))
    }

    /// The clients of an app, or of all, by app and name.
    #[must_use]
    pub fn list(&self, app: Option<&ClientName>) -> Vec<Arc<BusClient>> {
        self.map(|all| {
            all.iter()
                .filter(|(key, _)| app.is_none_or(|app| key.app == *app))
                .map(|(_, client)| Arc::clone(&client.borrow()))
                .collect()
        })
    }

    /// Whether an app has any client, which is what makes it one.
    #[must_use]
    pub fn has_app(&self, app: &ClientName) -> bool {
        self.map(|all| all.keys().any(|key| key.app == *app))
    }

    /// Whether `secret`, given from `address`, is that of `client`.
    ///
    /// # Errors
    /// A [`LoginError`].
    pub async fn check_secret(
        &self,
        client: &BusClient,
        secret: &str,
        address: IpAddr,
    ) -> Result<(), LoginError> {
        // Beside the names of partners, which have no slash.
        let user = client.key.to_string();
        self.credentials
            .check_secret(&user, &client.secret_argon2id, secret.as_bytes(), address)
            .await
    }

    /// What is answered to `secret`, given from `address` for a client that there is not: as long after as
    /// to a wrong one.
    pub async fn refuse_unknown(
        &self,
        key: &ClientKey,
        secret: &str,
        address: IpAddr,
    ) -> LoginError {
        let user = key.to_string();
        self.credentials
            .refuse_unknown(&user, secret.as_bytes(), address)
            .await
    }

    /// Makes a client and its secret, which is known to nobody but whom it is given to, if `may` says so
    /// when its turn has come.
    ///
    /// # Errors
    /// A [`ClientError`]; nothing was made.
    pub async fn create(
        &self,
        new: NewClient,
        may: impl FnOnce() -> bool + Send,
    ) -> Result<(Arc<BusClient>, Secret), ClientError> {
        check_name(new.name.as_deref())?;
        let _changing = self.changing.lock().await;
        // Nobody's rights change before the client is made.
        if !may() {
            return Err(ClientError::Forbidden);
        }
        let client = match new.client {
            Some(client) => client,
            None => ClientName::random()?,
        };
        let key = ClientKey {
            app: new.app,
            client,
        };
        if self.find(&key).is_some() {
            return Err(ClientError::Exists { client: key.client });
        }
        if self.map(BTreeMap::len) >= CLIENTS_MAX {
            return Err(ClientError::TooMany);
        }
        if self.list(Some(&key.app)).len() >= CLIENTS_PER_APP_MAX {
            return Err(ClientError::TooManyOfApp);
        }
        let (secret, secret_argon2id) = fresh_secret().await?;
        let now = SystemTime::now();
        let made = Arc::new(BusClient {
            subject: uuid::random()?,
            key: key.clone(),
            name: new.name,
            secret_argon2id,
            permissions: Arc::new(new.permissions),
            disabled: false,
            generation: 0,
            revoked_until: 0,
            created_at: now,
            changed_at: now,
            changes: 0,
        });
        written(self.store.put_bus_client((*made).clone())).await?;
        self.write(|all| all.insert(key, watch::Sender::new(Arc::clone(&made))));
        self.tell(Operation::Created, &made);
        Ok((made, secret))
    }

    /// Changes a client, if `may` says so of it as it is when its turn has come; its sessions hear of it at
    /// once.
    ///
    /// # Errors
    /// A [`ClientError`]; nothing was changed.
    pub async fn change(
        &self,
        key: &ClientKey,
        change: ClientChange,
        may: impl FnOnce(&BusClient) -> bool + Send,
    ) -> Result<Arc<BusClient>, ClientError> {
        check_name(change.name.as_deref())?;
        let _changing = self.changing.lock().await;
        let mut client = (*self.find_if(key, may)?).clone();
        client.changed_at = SystemTime::now();
        client.changes += 1;
        if let Some(permissions) = change.permissions {
            client.permissions = Arc::new(permissions);
        }
        client.name = change.name.or(client.name);
        client.disabled = change.disabled.unwrap_or(client.disabled);
        if change.revoke {
            client.generation += 1;
            client.revoked_until = seconds(client.changed_at).max(client.revoked_until);
        }
        let changed = Arc::new(client);
        written(self.store.put_bus_client((*changed).clone())).await?;
        self.map(|all| {
            if let Some(client) = all.get(key) {
                client.send_replace(Arc::clone(&changed));
            }
        });
        self.tell(Operation::Updated, &changed);
        Ok(changed)
    }

    /// Removes a client, if `may` says so of it as it is when its turn has come; its tokens and sessions
    /// end.
    ///
    /// # Errors
    /// A [`ClientError`]; nothing was removed.
    pub async fn remove(
        &self,
        key: &ClientKey,
        may: impl FnOnce(&BusClient) -> bool + Send,
    ) -> Result<(), ClientError> {
        let _changing = self.changing.lock().await;
        let removed = self.find_if(key, may)?;
        written(self.store.remove_bus_client(key)).await?;
        self.write(|all| all.remove(key));
        self.tell(Operation::Deleted, &removed);
        Ok(())
    }

    fn find_if(
        &self,
        key: &ClientKey,
        may: impl FnOnce(&BusClient) -> bool,
    ) -> Result<Arc<BusClient>, ClientError> {
        let client = self.find(key).ok_or(ClientError::Unknown)?;
        may(&client).then_some(client).ok_or(ClientError::Forbidden)
    }

    fn tell(&self, operation: Operation, client: &Arc<BusClient>) {
        let client = Arc::clone(client);
        // Nobody has to listen.
        let _ = self
            .events
            .send(BusEvent::ClientChanged { operation, client });
    }

    fn map<T>(
        &self,
        look: impl FnOnce(&BTreeMap<ClientKey, watch::Sender<Arc<BusClient>>>) -> T,
    ) -> T {
        look(&self.all.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&mut BTreeMap<ClientKey, watch::Sender<Arc<BusClient>>>) -> T,
    ) -> T {
        change(&mut self.all.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Seconds since 1970.
pub(super) fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |age| age.as_secs())
}

/// The time of so many seconds since 1970.
pub(super) fn time(seconds: u64) -> SystemTime {
    let time = UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    // Later than any clock can tell is as late as one can.
    time.unwrap_or(UNIX_EPOCH + Duration::from_secs(u64::from(u32::MAX)))
}

fn check_name(name: Option<&str>) -> Result<(), ClientError> {
    match name {
        Some(name) if name.len() > NAME_BYTES_MAX || name.contains(char::is_control) => {
            Err(ClientError::Name)
        }
        _ => Ok(()),
    }
}

/// A secret and its slow hash.
async fn fresh_secret() -> Result<(Secret, String), ClientError> {
    let secret = Secret::generate("").ok_or(IdentityError::NoRandomness)?;
    let hashed = tokio::task::spawn_blocking(move || secret.hash().map(|hash| (secret, hash)));
    let hashed = hashed.await.map_err(|error| StoreError::Failed {
        detail: error.to_string(),
    })?;
    Ok(hashed?)
}
