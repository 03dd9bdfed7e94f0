//! Clients of the bus at the broker: what each may say and hear. Their sessions are those of `bus_sessions.rs`.

mod broker_support;
mod bus_support;

use broker_support::raw::{Client, NOT_AUTHORIZED, QUOTA_EXCEEDED, packet};
use broker_support::{UID, VIN, downlink, uplink};
use bus_support::{BusFixture, hear, permitted, publish};
use vinbus_host_server::bus::{BusSettings, ClientChange, Permissions, RENEWAL_TOPIC, TokenKind};
use vinbus_protocol::bus::{Owner, TopicSpec, topics};
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

/// What MQTT 3.1.1 says of a refused subscription.
const FAILURE_V311: u8 = 0x80;

#[tokio::test]
async fn every_topic_of_the_map_is_for_those_who_have_its_permission() {
    let it = BusFixture::start().await;
    let of_app = topics::ALL.iter();
    let of_app = of_app.filter(|topic| matches!(topic.owner, Owner::App(_)));
    let permissions: Vec<_> = of_app
        .map(|it| format!("{}.{}", it.resource, it.scope))
        .collect();
    let permissions: Vec<_> = permissions.iter().map(String::as_str).collect();
    let lacking = it.make("myapp", "lacking", &["nothing.here"]).await;
    let mut lacks_one = it.enter(&lacking, "lacks-one").await;
    let holder = it.make("myapp", "holder", &permissions).await;
    let mut speaker = it.enter(&holder, "speaker").await;
    let mut holder = it.enter(&holder, "holder").await;
    let mut other = it.entered("myapp", "other", &["nothing.here"]).await;
    let values = |topic: &TopicSpec| -> Vec<_> {
        let value = |name| if name == "appId" { "myapp" } else { "x" };
        topic.variables().map(|name| (name, value(name))).collect()
    };
    let code = |allowed| if allowed { 0 } else { NOT_AUTHORIZED };
    for topic in topics::ALL {
        let held = matches!(topic.owner, Owner::App(_));
        let values = values(topic);
        let filter = topic.filter(&values[..values.len().min(1)]).unwrap();
        for (client, allowed) in [(&mut holder, held), (&mut other, false)] {
            let granted = client.subscribe(&filter, 0).await;
            assert_eq!(granted, code(allowed), "{filter}");
        }
    }
    for topic in topics::ALL {
        let held = matches!(topic.owner, Owner::App(_));
        let name = topic.topic(&values(topic)).unwrap();
        for (client, allowed) in [(&mut speaker, held), (&mut other, false)] {
            let answered = publish(client, &name, b"{}").await;
            assert_eq!(answered, code(allowed), "{name}");
        }
    }
    // All permissions but the one for the topic are as good as none.
    for topic in topics::ALL {
        let own = format!("{}.{}", topic.resource, topic.scope);
        let others: Vec<_> = permissions.iter().filter(|it| **it != own).collect();
        let others = Permissions::parse(&others).unwrap();
        it.change(&lacking, permitted(others)).await;
        let values = values(topic);
        let filter = topic.filter(&values[..values.len().min(1)]).unwrap();
        let granted = lacks_one.subscribe(&filter, 0).await;
        assert_eq!(granted, NOT_AUTHORIZED, "{filter}");
        let name = topic.topic(&values).unwrap();
        let answered = publish(&mut lacks_one, &name, b"{}").await;
        assert_eq!(answered, NOT_AUTHORIZED, "{name}");
    }
    assert_eq!(
        publish(&mut lacks_one, "app/myapp/ui/status", b"{}").await,
        0
    );
    // What the host alone publishes is heard by those who may, and forged by nobody.
    let mut all = it
        .entered("myapp", "all", &["*", "vehicle.*", "platform.*"])
        .await;
    let mut bridge = it.entered("myapp", "bridge", &["platform.vehicle"]).await;
    for topic in topics::OF_HOST {
        let values = values(topic);
        let filter = topic.filter(&values[..1]).unwrap();
        assert_eq!(all.subscribe(&filter, 0).await, 0, "{filter}");
    }
    for topic in topics::OF_HOST {
        let name = topic.topic(&values(topic)).unwrap();
        let forged = publish(&mut all, &name, b"{}").await;
        assert_eq!(forged, NOT_AUTHORIZED, "{name}");
        let told = publish(&mut bridge, &name, name.as_bytes()).await;
        assert_eq!(told, code(topic.resource == "vehicle"), "{name}");
        if told == 0 {
            assert_eq!(hear(&mut all).await.1, name.as_bytes());
        }
    }
}

#[tokio::test]
async fn what_reaches_beyond_the_own_topics_is_denied_in_both_versions() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["*"]).await;
    let mut five = it.enter(&mine, "five").await;
    let mut three = it.plain().await;
    three.enter(&it.connect(&mine, "three").v311()).await;
    let mut witness = it.admin("witness").await;
    for filter in ["app/#", "user/#", "system/#"] {
        assert_eq!(witness.subscribe(filter, 0).await, 0);
    }
    let own = it.token(&mine.key, TokenKind::Access);
    let filters = [
        "#".to_owned(),
        "+/#".to_owned(),
        "app/#".to_owned(),
        "app/+/ui/content".to_owned(),
        "app/other/ui/content".to_owned(),
        "app/other/#".to_owned(),
        "app/myapp".to_owned(),
        "app/myapp/#".to_owned(),
        "app/myapp/ui".to_owned(),
        "app/myapp/ui/#".to_owned(),
        "app/myapp/ui/+".to_owned(),
        "app/myapp/+/content".to_owned(),
        "app/myapp/performance".to_owned(),
        "app//ui/content".to_owned(),
        "/app/myapp/ui/content".to_owned(),
        "APP/myapp/ui/content".to_owned(),
        "$SYS/#".to_owned(),
        "$vinbus/token".to_owned(),
        "system/platform/module/changed/x".to_owned(),
        "user/somebody/ui/content".to_owned(),
        "$share/group/app/other/ui/content".to_owned(),
        "$share/group/app/+/ui/content".to_owned(),
        format!("app/myapp/ui/content{}", "/x".repeat(100)),
        format!("app/myapp/ui/content/{own}"),
        downlink(UID, VIN),
        uplink(UID, "+"),
    ];
    for filter in &filters {
        assert_eq!(five.subscribe(filter, 0).await, NOT_AUTHORIZED, "{filter}");
        assert_eq!(three.subscribe(filter, 0).await, FAILURE_V311, "{filter}");
        if filter.contains(['+', '#']) || filter == RENEWAL_TOPIC {
            continue;
        }
        let code = publish(&mut five, filter, b"{}").await;
        assert_eq!(code, NOT_AUTHORIZED, "{filter}");
        // It cannot be told, and nobody hears it.
        assert_eq!(publish(&mut three, filter, b"{}").await, 0, "{filter}");
    }
    witness.ping().await;
    assert!(it.counts().publishes_denied > 0 && it.counts().subscriptions_denied > 0);
    assert_eq!(publish(&mut five, "app/myapp/ui/content", b"{}").await, 0);
}

#[tokio::test]
async fn the_two_trees_are_for_their_own_clients_and_both_for_the_administrator() {
    let it = BusFixture::start().await;
    let topic = "app/myapp/ui/content";
    let mut partner = it.partner(UID, "partner").await;
    let mut vehicle = it.vehicle(VIN).await;
    for client in [&mut partner, &mut vehicle] {
        assert_eq!(client.subscribe(topic, 0).await, NOT_AUTHORIZED);
        assert_eq!(publish(client, topic, b"{}").await, NOT_AUTHORIZED);
    }
    let mut admin = it.admin("admin").await;
    assert_eq!(admin.subscribe("app/+/ui/#", 0).await, 0);
    assert_eq!(admin.subscribe(&uplink(UID, "+"), 0).await, 0);
    let mut mine = it.entered("myapp", "mine", &["ui.*"]).await;
    assert_eq!(publish(&mut mine, topic, b"{\"a\":1}").await, 0);
    assert_eq!(
        hear(&mut admin).await,
        (topic.to_owned(), b"{\"a\":1}".to_vec())
    );
}

#[tokio::test]
async fn quality_of_service_no_local_and_shared_subscriptions_hold_on_the_bus() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let mut both = it.enter(&mine, "both").await;
    let topic = "app/myapp/ui/content";
    const NO_LOCAL: u8 = 0b100;
    assert_eq!(both.subscribe(topic, 1 | NO_LOCAL).await, 1);
    let mut other = it.enter(&mine, "other").await;
    assert_eq!(other.subscribe(topic, 1).await, 1);
    let mut once = it.enter(&mine, "once").await;
    assert_eq!(once.subscribe(topic, 0).await, 0);

    assert_eq!(publish(&mut both, topic, b"own").await, 0);
    both.ping().await;
    for (client, first) in [(&mut other, 0x32), (&mut once, 0x30)] {
        let heard = client.expect(3).await;
        assert_eq!(heard.first, first);
    }
    assert_eq!(publish(&mut other, topic, b"of another").await, 0);
    assert_eq!(hear(&mut both).await.1, b"of another");

    let mut workers = Vec::new();
    for name in ["worker-1", "worker-2"] {
        let mut worker = it.enter(&mine, name).await;
        let shared = "$share/workers/app/myapp/ui/status";
        assert_eq!(worker.subscribe(shared, 1).await, 1);
        workers.push(worker);
    }
    for payload in [b"1", b"2"] {
        assert_eq!(publish(&mut both, "app/myapp/ui/status", payload).await, 0);
    }
    let mut heard = Vec::new();
    for worker in &mut workers {
        heard.push(hear(worker).await.1);
    }
    heard.sort();
    assert_eq!(heard, [b"1", b"2"]);
}

#[tokio::test]
async fn what_is_too_large_or_broken_harms_nobody_else() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let topic = "app/myapp/ui/content";
    let mut hearer = it.enter(&mine, "hearer").await;
    assert_eq!(hearer.subscribe(topic, 0).await, 0);
    let mut speaker = it.enter(&mine, "speaker").await;
    let large = vec![b'x'; PAYLOAD_BYTES_MAX + 1];
    assert_eq!(publish(&mut speaker, topic, &large).await, QUOTA_EXCEEDED);
    assert_eq!(publish(&mut speaker, topic, &large[1..]).await, 0);
    assert_eq!(hear(&mut hearer).await.1.len(), PAYLOAD_BYTES_MAX);
    assert_eq!(it.counts().oversize, 1);
    // One that nobody answers is not taken out on the next.
    let unanswered = speaker.publish_packet(topic, &large, 0, false, 0);
    speaker.send(&unanswered).await;
    assert_eq!(publish(&mut speaker, topic, b"{}").await, 0);
    assert_eq!(hear(&mut hearer).await.1, b"{}");
    assert_eq!(it.counts().oversize, 2);

    for broken in ["app/myapp/ui/con\0tent", "app/myapp/ui/+", ""] {
        let mut client = it.enter(&mine, "broken").await;
        let publish = client.publish_packet(broken, b"{}", 1, false, 1);
        client.send(&publish).await;
        client.until_closed().await;
    }
    // A flood is slowed down or taken, and others are served.
    let mut flood = it.enter(&mine, "flood").await;
    let one = flood.publish_packet("app/other/ui/content", b"{}", 0, false, 0);
    flood.send(&one.repeat(10_000)).await;
    assert_eq!(publish(&mut speaker, topic, b"{}").await, 0);
    assert_eq!(hear(&mut hearer).await.1, b"{}");
    flood.ping().await;
    assert_eq!(it.counts().publishes_denied, 10_000);
}

#[tokio::test]
async fn topic_of_the_sample_is_taken_where_the_operator_says_so() {
    let lenient = BusSettings {
        lenient: true,
        ..BusSettings::default()
    };
    let it = BusFixture::with(lenient).await;
    let sample = "app/myapp/performance";
    for (name, permissions, expected) in [
        ("all", "*", 0),
        ("named", "performance", 0),
        ("other", "ui.*", NOT_AUTHORIZED),
    ] {
        let mut client = it.entered("myapp", name, &[permissions]).await;
        assert_eq!(client.subscribe(sample, 0).await, expected, "{name}");
    }
}

#[tokio::test]
async fn changes_of_clients_are_told_on_the_bus() {
    let it = BusFixture::start().await;
    let mut watcher = it.entered("myapp", "watcher", &["platform.client"]).await;
    let filter = "app/myapp/platform/client/changed/+";
    assert_eq!(watcher.subscribe(filter, 0).await, 0);
    let new = it.make("myapp", "new", &["ui.content"]).await;
    it.make("other", "foreign", &["ui.content"]).await;
    let disabled = ClientChange {
        disabled: Some(true),
        ..ClientChange::default()
    };
    it.change(&new, disabled).await;
    let clients = &it.bus.as_ref().unwrap().clients;
    clients.remove(&new.key, |_| true).await.unwrap();
    for (operation, disabled) in [("created", false), ("updated", true), ("deleted", true)] {
        let (topic, payload) = hear(&mut watcher).await;
        assert_eq!(topic, "app/myapp/platform/client/changed/new");
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload["operation"], operation);
        assert_eq!(payload["record"]["disabled"], disabled);
        assert_eq!(payload["record"]["secret"], serde_json::Value::Null);
    }
}

#[tokio::test]
async fn a_will_is_held_to_the_permissions() {
    let it = BusFixture::start().await;
    let mine = it.make("myapp", "mine", &["ui.*"]).await;
    let connect = |topic: &str| it.connect(&mine, "leaver").will(topic, "gone", false);
    let mut refused = it.plain().await;
    assert_eq!(
        refused.connect(&connect("app/other/ui/content")).await,
        NOT_AUTHORIZED
    );
    let mut hearer = it.enter(&mine, "hearer").await;
    assert_eq!(hearer.subscribe("app/myapp/ui/content", 0).await, 0);
    let mut leaver: Client = it.plain().await;
    leaver.enter(&connect("app/myapp/ui/content")).await;
    // What is no packet breaks the connection, as a crash would.
    leaver.send(&packet(0xF0, b"?")).await;
    assert_eq!(hear(&mut hearer).await.1, b"gone");
}
