//! Clients and tokens over a store in memory, at times of the tests' own.

use std::time::SystemTime;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::identity::Identities;
use crate::store::Pending;

/// Forgets what it is given; what it has is there from the start.
struct Given {
    clients: Vec<BusClient>,
    /// Answers to writes that wait for the test; without, they are done at once.
    held: Option<mpsc::UnboundedSender<oneshot::Sender<Result<(), StoreError>>>>,
}

impl ClientStore for Given {
    fn bus_clients(&self) -> Result<Vec<BusClient>, StoreError> {
        Ok(self.clients.clone())
    }

    fn put_bus_client(&self, _: BusClient) -> Pending<()> {
        let Some(held) = &self.held else {
            return done();
        };
        let (answer, pending) = oneshot::channel();
        held.send(answer).unwrap();
        pending
    }

    fn remove_bus_client(&self, _: &ClientKey) -> Pending<()> {
        done()
    }
}

fn done() -> Pending<()> {
    let (answer, pending) = oneshot::channel();
    answer.send(Ok(())).unwrap();
    pending
}

fn name(text: &str) -> ClientName {
    ClientName::parse(text).unwrap()
}

fn client(app: &str, client: &str) -> BusClient {
    BusClient {
        key: ClientKey {
            app: name(app),
            client: name(client),
        },
        name: None,
        subject: format!("{app} {client}"),
        secret_argon2id: String::new(),
        permissions: Arc::new(Permissions::parse(&["*"]).unwrap()),
        disabled: false,
        generation: 0,
        revoked_until: 0,
        created_at: SystemTime::UNIX_EPOCH,
        changed_at: SystemTime::UNIX_EPOCH,
        changes: 0,
    }
}

fn open(clients: Vec<BusClient>) -> Bus {
    let held = None;
    open_over(Given { clients, held })
}

fn open_over(store: Given) -> Bus {
    let dir = tempfile::tempdir().unwrap();
    let credentials = Identities::open(dir.path()).unwrap().credentials();
    Bus::open(
        dir.path(),
        Arc::new(store),
        credentials,
        BusSettings::default(),
    )
    .unwrap()
}

#[tokio::test]
async fn one_app_leaves_room_for_the_clients_of_others() {
    let many = (0..1_000).map(|number| client("full", &number.to_string()));
    let bus = open(many.collect());
    let make = |app| {
        let new = NewClient {
            app: name(app),
            client: None,
            name: None,
            permissions: Permissions::parse(&["*"]).unwrap(),
        };
        bus.clients.create(new, || true)
    };
    let refused = make("full").await.unwrap_err();
    assert!(matches!(refused, ClientError::TooManyOfApp), "{refused}");
    assert!(make("other").await.is_ok());
    let key = client("full", "0").key;
    bus.clients.remove(&key, |_| true).await.unwrap();
    assert!(make("full").await.is_ok());
}

#[tokio::test]
async fn no_token_outlives_its_revocation_because_a_clock_ran_ahead() {
    let bus = open(vec![client("myapp", "mine")]);
    let key = client("myapp", "mine").key;
    let find = || bus.clients.find(&key).unwrap();
    let hours = |hours: u64| Duration::from_secs(hours * 60 * 60);
    let (now, ahead) = (SystemTime::now(), SystemTime::now() + hours(2));
    let token = |at| {
        bus.tokens
            .issue_at(&find(), TokenKind::Access, at)
            .unwrap()
            .token
    };
    let verified_at =
        async |token: &str, at| bus.tokens.verify_at(token, TokenKind::Access, at).await;
    let early = token(ahead);
    assert!(verified_at(&early, ahead).await.is_ok());
    let revoke = || ClientChange {
        revoke: true,
        ..ClientChange::default()
    };
    bus.clients.change(&key, revoke(), |_| true).await.unwrap();
    for at in [ahead, ahead + hours(3)] {
        let refused = verified_at(&early, at).await.unwrap_err();
        assert!(matches!(refused, TokenError::Revoked), "{refused}");
    }
    let fresh = token(now);
    assert!(verified_at(&fresh, now).await.is_ok());
}

#[tokio::test]
async fn change_that_waits_is_judged_by_what_the_one_before_it_made() {
    let weak = Permissions::parse(&["ui.*"]).unwrap();
    let mut target = client("myapp", "target");
    target.permissions = Arc::new(weak.clone());
    let key = target.key.clone();
    let (held, mut writes) = mpsc::unbounded_channel();
    let bus = open_over(Given {
        clients: vec![target],
        held: Some(held),
    });
    let permitted = |texts: &[&str]| ClientChange {
        permissions: Some(Permissions::parse(texts).unwrap()),
        ..ClientChange::default()
    };
    let may = |target: &BusClient| weak.include(&target.permissions);
    assert!(
        may(&bus.clients.find(&key).unwrap()),
        "when it asks, it may"
    );
    let raised = bus.clients.change(&key, permitted(&["*"]), |_| true);
    let cut_down = bus.clients.change(&key, permitted(&["ui.status"]), may);
    let removed = bus.clients.remove(&key, may);
    // The first holds the lock until its write is done; the others wait for it.
    let (raised, cut_down, removed, ()) = tokio::join!(biased; raised, cut_down, removed, async {
        let write = writes.recv().await.unwrap();
        write.send(Ok(())).unwrap();
    });
    raised.unwrap();
    for refused in [cut_down.map(drop), removed] {
        assert!(
            matches!(refused, Err(ClientError::Forbidden)),
            "{refused:?}"
        );
    }
    let everything = Permissions::parse(&["*"]).unwrap();
    assert!(
        bus.clients
            .find(&key)
            .unwrap()
            .permissions
            .include(&everything)
    );
}

#[tokio::test]
async fn client_is_made_by_the_rights_that_are_left_when_its_turn_has_come() {
    let asker = client("myapp", "asker");
    let key = asker.key.clone();
    let (held, mut writes) = mpsc::unbounded_channel();
    let bus = open_over(Given {
        clients: vec![asker],
        held: Some(held),
    });
    let may = || !bus.clients.find(&key).unwrap().disabled;
    assert!(may(), "when it asks, it may");
    let disabled = ClientChange {
        disabled: Some(true),
        ..ClientChange::default()
    };
    let new = NewClient {
        app: name("myapp"),
        client: Some(name("new")),
        name: None,
        permissions: Permissions::parse(&["*"]).unwrap(),
    };
    let disabling = bus.clients.change(&key, disabled, |_| true);
    let making = bus.clients.create(new, may);
    let (disabled, made, ()) = tokio::join!(biased; disabling, making, async {
        let write = writes.recv().await.unwrap();
        write.send(Ok(())).unwrap();
    });
    disabled.unwrap();
    let made = made.map(drop);
    assert!(matches!(made, Err(ClientError::Forbidden)), "{made:?}");
    assert!(bus.clients.find(&client("myapp", "new").key).is_none());
}
