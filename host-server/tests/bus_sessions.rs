//! Sessions of the bus at the broker: who gets in, what a new token or another permission changes, and how they
//! end.

mod broker_support;
mod bus_support;

use std::time::Duration;

use broker_support::VIN;
use broker_support::raw::{
    BAD_LOGIN, BAD_LOGIN_V311, Connect, NOT_AUTHORIZED, NOT_AUTHORIZED_V311, QUOTA_EXCEEDED,
};
use bus_support::{BusFixture, cut_off, hear, permitted, publish};
use vinbus_host_server::bus::{ClientChange, Permissions, RENEWAL_TOPIC, TokenKind, expiry_topic};

const MAXIMUM_CONNECT_TIME: u8 = 0xA0;

#[tokio::test]
async fn login_needs_a_token_that_counts_and_any_password() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["*"]).await;
    let off = it.make("myapp", "off", &["*"]).await;
    let gone = it.make("myapp", "gone", &["*"]).await;
    let [off, gone] = [off, gone].map(|client| (it.token(&client.key, TokenKind::Access), client));
    let disabled = ClientChange {
        disabled: Some(true),
        ..ClientChange::default()
    };
    it.change(&off.1, disabled).await;
    it.bus
        .as_ref()
        .unwrap()
        .clients
        .remove(&gone.1.key, |_| true)
        .await
        .unwrap();
    let good = it.token(&mine.key, TokenKind::Access);
    let refresh = it.token(&mine.key, TokenKind::Refresh);
    let (rest, _) = good.rsplit_once('.').unwrap();
    let unsigned = format!("{rest}.");
    let alg_none = format!("eyJhbGciOiJub25lIn0.{}", good.split_once('.').unwrap().1);
    let huge = format!("{good}{}", "A".repeat(40_000));
    let (bad, not) = (
        (BAD_LOGIN, BAD_LOGIN_V311),
        (NOT_AUTHORIZED, NOT_AUTHORIZED_V311),
    );
    let table = [
        ("right", good.as_str(), "x", (0, 0)),
        ("no password", &good, "", bad),
        ("no token", "", "x", bad),
        ("refresh token", &refresh, "x", bad),
        ("no signature", &unsigned, "x", bad),
        ("alg none", &alg_none, "x", bad),
        ("too long", &huge, "x", bad),
        ("no token at all", &"x".repeat(200), "x", bad),
        ("disabled", &off.0, "x", not),
        ("removed", &gone.0, "x", not),
    ];
    for (what, user, password, (five, three)) in table {
        let connect = Connect::new("id").login(user, password);
        for (connect, expected) in [(connect.clone(), five), (connect.v311(), three)] {
            let mut client = it.plain().await;
            assert_eq!(client.connect(&connect).await, expected, "{what}");
        }
    }
    // A certificate says who somebody is; a token beside it would say something else.
    let mut vehicle = it.tls(VIN).await.unwrap();
    assert_eq!(
        vehicle.connect(&Connect::new(VIN).login(&good, "x")).await,
        BAD_LOGIN
    );
}

#[tokio::test]
async fn a_session_is_warned_and_then_ends_with_its_token() {
    let it = BusFixture::with_lifetime(Duration::from_secs(4)).await;
    let mine = it.make("myapp", "mine", &["ui.content"]).await;
    let mut five = it.enter(&mine, "five").await;
    let mut three = it.plain().await;
    three.enter(&it.connect(&mine, "three").v311()).await;
    let topic = expiry_topic(&mine.key).unwrap();
    assert_eq!(five.subscribe(&topic, 0).await, 0);
    let (heard, payload) = hear(&mut five).await;
    assert_eq!(heard, topic.as_str());
    let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
    assert_eq!(
        (&payload["appId"], &payload["clientId"]),
        (&"myapp".into(), &"mine".into())
    );
    // The other session of the client is warned on the same topic.
    while let Some(packet) = five.packet().await {
        if packet.kind() == 14 {
            assert_eq!(packet.body[0], MAXIMUM_CONNECT_TIME);
        }
    }
    three.until_closed().await;
    assert_eq!(it.counts().sessions_cut_off, 2);
}

#[tokio::test]
async fn a_new_token_takes_the_place_of_the_old_one_and_nothing_is_lost() {
    let it = BusFixture::with_lifetime(Duration::from_secs(4)).await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let other = it.make("myapp", "other", &["ui.*"]).await;
    let mut client = it.enter(&mine, "mine").await;
    let topic = expiry_topic(&mine.key).unwrap();
    assert_eq!(client.subscribe(&topic, 0).await, 0);
    assert_eq!(client.subscribe("app/myapp/ui/content", 0).await, 0);
    let token_of = |payload: &[u8]| {
        let payload: serde_json::Value = serde_json::from_slice(payload).unwrap();
        payload["tokenId"].as_str().unwrap().to_owned()
    };
    let first = token_of(&hear(&mut client).await.1);
    let foreign = it.token(&other.key, TokenKind::Access);
    let refresh = it.token(&mine.key, TokenKind::Refresh);
    for wrong in [foreign.as_str(), refresh.as_str(), "", "nothing"] {
        let code = publish(&mut client, RENEWAL_TOPIC, wrong.as_bytes()).await;
        assert_eq!(code, NOT_AUTHORIZED, "{wrong}");
    }
    let renewed = it.token(&mine.key, TokenKind::Access);
    assert_eq!(
        publish(&mut client, RENEWAL_TOPIC, renewed.as_bytes()).await,
        0
    );
    // The next warning is of the new token: the time of the old one is over, the session is not.
    let second = token_of(&hear(&mut client).await.1);
    assert_ne!(first, second);
    let mut sender = it.enter(&mine, "sender").await;
    assert_eq!(publish(&mut sender, "app/myapp/ui/content", b"{}").await, 0);
    assert_eq!(hear(&mut client).await.0, "app/myapp/ui/content");
}

#[tokio::test]
async fn new_tokens_are_looked_at_so_often_and_no_more() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let mut flood = it.enter(&mine, "flood").await;
    let mut codes = Vec::new();
    for _ in 0..12 {
        codes.push(publish(&mut flood, RENEWAL_TOPIC, b"nothing").await);
    }
    assert_eq!(codes[..10], [NOT_AUTHORIZED; 10]);
    assert_eq!(codes[10..], [QUOTA_EXCEEDED; 2]);
    let topic = "app/myapp/ui/content";
    assert_eq!(publish(&mut flood, topic, b"{}").await, 0, "it goes on");
}

#[tokio::test]
async fn changed_permissions_hold_in_sessions_that_are_open() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.content", "ui.status"]).await;
    let mut speaker = it.enter(&mine, "speaker").await;
    let mut hearer = it.enter(&mine, "hearer").await;
    assert_eq!(hearer.subscribe("app/myapp/ui/content", 0).await, 0);
    let mut bystander = it.entered("myapp", "bystander", &["ui.*"]).await;
    assert_eq!(bystander.subscribe("app/myapp/ui/content", 0).await, 0);
    let permissions = |texts: &[&str]| permitted(Permissions::parse(texts).unwrap());
    it.change(&mine, permissions(&["ui.content", "session.agent"]))
        .await;
    assert_eq!(
        publish(&mut speaker, "app/myapp/ui/status", b"{}").await,
        NOT_AUTHORIZED
    );
    assert_eq!(
        publish(&mut speaker, "app/myapp/session/agent/x", b"{}").await,
        0
    );
    hearer.ping().await;

    it.change(&mine, permissions(&["ui.status"])).await;
    assert_eq!(cut_off(&mut hearer).await, NOT_AUTHORIZED);
    assert_eq!(
        publish(&mut speaker, "app/myapp/ui/content", b"{}").await,
        NOT_AUTHORIZED
    );
    assert_eq!(publish(&mut speaker, "app/myapp/ui/status", b"{}").await, 0);
    let mut back = it.enter(&mine, "hearer").await;
    assert_eq!(
        back.subscribe("app/myapp/ui/content", 0).await,
        NOT_AUTHORIZED
    );
    bystander.ping().await;
}

#[tokio::test]
async fn sessions_end_when_their_client_is_disabled_revoked_or_removed() {
    let it = BusFixture::start().await;
    let changes = [
        (
            "disabled",
            ClientChange {
                disabled: Some(true),
                ..ClientChange::default()
            },
        ),
        (
            "revoked",
            ClientChange {
                revoke: true,
                ..ClientChange::default()
            },
        ),
    ];
    for (name, change) in changes {
        let client = it.make("myapp", name, &["*"]).await;
        let mut session = it.enter(&client, name).await;
        it.change(&client, change).await;
        assert_eq!(cut_off(&mut session).await, NOT_AUTHORIZED, "{name}");
    }
    let client = it.make("myapp", "removed", &["*"]).await;
    let mut session = it.enter(&client, "removed").await;
    it.bus
        .as_ref()
        .unwrap()
        .clients
        .remove(&client.key, |_| true)
        .await
        .unwrap();
    assert_eq!(cut_off(&mut session).await, NOT_AUTHORIZED);
}
