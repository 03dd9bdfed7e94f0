//! What becomes of a session while its client changes, step by step, without the task that watches over
//! it: so each order of what happens at once can be tried.

use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use vinbus_protocol::delivery::Offer;
use vinbus_protocol::id::{Uid, Vin};

use super::*;
use crate::broker::embedded::{Settings, Shared};
use crate::broker::{Arrival, BrokerEvents, Outcome};
use crate::bus::{ClientName, Permissions};
use crate::identity::Identities;
use crate::model::Presence;

const FILTER: &str = "app/myapp/ui/content";

/// A core that hears of nothing.
struct Deaf;

impl BrokerEvents for Deaf {
    fn arrived(&self, _: Arrival) -> BoxFuture<'_, oneshot::Receiver<Outcome>> {
        Box::pin(std::future::ready(oneshot::channel().1))
    }

    fn presence_changed(&self, _: Vin, _: Presence) {}

    fn introduced(&self, _: Vin, _: &Uid) {}

    fn announced(&self, _: Vin, _: &Uid, _: Option<Offer>) {}

    fn link_changed(&self, _: Result<(), String>) {}
}

/// A connected client of the bus that nobody watches over.
struct Unwatched {
    shared: Arc<Shared>,
    connection: Arc<Connection>,
    client: Client,
    session: Arc<BusSession>,
    rights: watch::Sender<Arc<BusClient>>,
}

impl Unwatched {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let credentials = Identities::open(dir.path()).unwrap().credentials();
        let shared = Shared::new(Settings::default(), credentials, Arc::new(Deaf));
        let shared = Arc::new(shared);
        let key = ClientKey {
            app: ClientName::parse("myapp").unwrap(),
            client: ClientName::parse("mine").unwrap(),
        };
        let made = BusClient {
            key: key.clone(),
            name: None,
            subject: "s".to_owned(),
            secret_argon2id: String::new(),
            permissions: Arc::new(Permissions::parse(&["ui.content"]).unwrap()),
            disabled: false,
            generation: 0,
            revoked_until: 0,
            created_at: SystemTime::UNIX_EPOCH,
            changed_at: SystemTime::UNIX_EPOCH,
            changes: 0,
        };
        let rights = watch::Sender::new(Arc::new(made));
        let token = BusIdentity {
            key: key.clone(),
            subject: "s".to_owned(),
            token_id: String::new(),
            generation: Some(0),
            issued_at: 1,
            expires_at: SystemTime::now() + Duration::from_secs(3600),
        };
        let session = BusSession::new(rights.subscribe(), token, BusRules::default());
        let session = Arc::new(session);
        let peer = ([127, 0, 0, 1], 1).into();
        let place = shared.registry.admit([127, 0, 0, 1].into()).unwrap();
        let rules = Arc::default();
        let connection = Connection::new(Arc::clone(&shared), 0, peer, place, None, rules);
        let client = Client {
            who: Identity::BusClient(key),
            client_id: "mine".to_owned(),
            speaks_v5: true,
            bus: Some(Arc::clone(&session)),
        };
        connection.state().client = Some(client.clone());
        Self {
            shared,
            connection,
            client,
            session,
            rights,
        }
    }

    fn permit(&self, permissions: &[&str]) {
        self.rights.send_modify(|client| {
            let mut changed = (**client).clone();
            changed.permissions = Arc::new(Permissions::parse(permissions).unwrap());
            changed.changes += 1;
            *client = Arc::new(changed);
        });
    }

    fn cut_off(&self) -> u64 {
        self.shared.counters.snapshot().sessions_cut_off
    }
}

#[tokio::test]
async fn subscription_that_was_decided_before_its_right_was_taken_does_not_survive() {
    let it = Unwatched::new();
    let allowed = it.connection.may_subscribe(&it.client, FILTER).ok();
    it.permit(&["ui.status"]);
    // The watcher was faster: there was nothing yet that it could see.
    assert!(it.connection.settle(&it.session));
    it.connection.take_in(&it.client, FILTER, allowed.unwrap());
    assert_eq!(it.cut_off(), 1);
}

#[tokio::test]
async fn delivery_waits_for_no_watcher() {
    let it = Unwatched::new();
    assert!(it.connection.subscribe(FILTER));
    it.permit(&["session.*", "ui.content"]);
    assert!(it.connection.settle(&it.session));
    it.permit(&["ui.status"]);
    assert!(!it.connection.settle(&it.session));
    // Later messages are no other session's end.
    assert!(!it.connection.settle(&it.session));
    assert_eq!(it.cut_off(), 1);
}

#[tokio::test]
async fn delivery_ends_with_the_client() {
    let it = Unwatched::new();
    assert!(it.connection.subscribe(FILTER) && it.connection.settle(&it.session));
    drop(it.rights);
    assert!(!it.connection.settle(&it.session));
}
