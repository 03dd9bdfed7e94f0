//! Webhooks: every message, in order, signed; and no endpoint harms another.

mod hub_support;
mod webhook_support;

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::FutureExt as _;
use hub_support::{Server, polled, reached};
use ring::digest;
use vinbus_host_server::broker::Outcome;
use vinbus_host_server::hub::{DeliverySettings, NewWebhook, Settings, WebhookError};
use vinbus_host_server::model::{Cursor, Webhook};
use vinbus_host_server::store::Store as _;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_protocol::id::Uid;
use webhook_support::{Endpoint, OK, Reaction, Received};

/// A server whose deliveries are tried again after milliseconds.
fn open(dir: &Path) -> Server {
    open_patient(dir, Duration::from_secs(15))
}

fn open_patient(dir: &Path, answer_time_max: Duration) -> Server {
    let settings = Settings {
        deliveries: DeliverySettings {
            answer_time_max,
            retry_delay_ms_min: 1,
            retry_delay_ms_max: 10,
            private_allowed: false,
        },
        ..Settings::default()
    };
    Server::open_with(dir, settings, StoreSettings::default())
}

fn hook(endpoint: &Endpoint) -> NewWebhook {
    NewWebhook {
        url: endpoint.url(),
        uid: None,
        secret: None,
        private_allowed: true,
    }
}

async fn add(server: &Server, endpoint: &Endpoint) -> Webhook {
    server.hub.add_webhook(hook(endpoint)).await.unwrap()
}

/// Lets messages arrive whose content is their number.
async fn arrive(server: &Server, numbers: std::ops::Range<usize>) {
    for n in numbers {
        let outcome = server.arrive(n, format!("{{\"content\":{n}}}")).await;
        assert_eq!(outcome, Outcome::Stored);
    }
}

/// HMAC-SHA256 by its definition (RFC 2104), independent of the one that signed.
fn hmac_sha256(key: &[u8], message: &[u8]) -> Vec<u8> {
    let block = |pad: u8| {
        let mut block = [pad; 64];
        block
            .iter_mut()
            .zip(key)
            .for_each(|(byte, key)| *byte ^= key);
        block.to_vec()
    };
    let sha256 = |bytes: Vec<u8>| digest::digest(&digest::SHA256, &bytes).as_ref().to_vec();
    let inner = sha256([block(0x36), message.to_vec()].concat());
    sha256([block(0x5c), inner].concat())
}

#[tokio::test]
async fn delivery_is_signed_as_an_independent_receiver_checks_it() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let endpoint = Endpoint::start(|_| OK).await;
    let webhook = add(&server, &endpoint).await;
    let content = "{ \"n\": 1.0e2, \"text\" : \"\\u00e9\" }";
    server.arrive(3, format!("{{\"content\":{content}}}")).await;
    let one = endpoint.got(1).await.remove(0);

    let signed = format!(
        "{}.{}.{}",
        one.header("webhook-id"),
        one.header("webhook-timestamp"),
        one.body
    );
    let key = webhook.secret.strip_prefix("whsec_").unwrap();
    let key = STANDARD.decode(key).unwrap();
    let expected = STANDARD.encode(hmac_sha256(&key, signed.as_bytes()));
    assert_eq!(one.header("webhook-signature"), format!("v1,{expected}"));
    let cursor = one.stamped();
    assert_eq!(one.header("content-type"), "application/json");
    let event: serde_json::Value = serde_json::from_str(&one.body).unwrap();
    let at = event["timestamp"].as_str().unwrap();
    assert_eq!(
        one.body,
        format!(
            "{{\"type\":\"uplink.received\",\"timestamp\":\"{at}\",\"data\":{{\"cursor\":\"{cursor}\",\
             \"vin\":\"TESTV000000000003\",\"uid\":\"partner\",\"subtopic\":null,\
             \"receivedAt\":\"{at}\",\"content\":{content}}}}}"
        )
    );
}

#[tokio::test]
async fn webhook_whose_maker_goes_away_is_served_and_removed_likewise() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        webhooks_max: 1,
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    let endpoint = Endpoint::start(|_| OK).await;
    let listed = async || server.hub.webhooks().await.unwrap();
    assert!(
        server
            .hub
            .add_webhook(hook(&endpoint))
            .now_or_never()
            .is_none()
    );
    polled("a webhook", async || listed().await.len() == 1).await;
    arrive(&server, 0..1).await;
    endpoint.got(1).await;

    let id = listed().await.remove(0).id;
    assert!(server.hub.remove_webhook(&id).now_or_never().is_none());
    polled("no webhook", async || listed().await.is_empty()).await;
    // It does not hold the place of another.
    add(&server, &endpoint).await;
}

#[tokio::test]
async fn failed_delivery_is_repeated_until_it_succeeds_and_order_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let endpoint = Endpoint::start(|n| match n {
        0 => Reaction::Status(500),
        1 => Reaction::Redirect,
        2 => Reaction::Status(404),
        5 => Reaction::Status(429),
        _ => OK,
    })
    .await;
    add(&server, &endpoint).await;
    arrive(&server, 0..5).await;
    let received = endpoint.got(9).await;
    assert_eq!(endpoint.cursors(), [1, 1, 1, 1, 2, 3, 3, 4, 5]);
    let ids: HashSet<_> = received[..4].iter().map(Received::stamped).collect();
    assert_eq!(ids.len(), 1, "a receiver can tell a repetition");
    let failed = [("result", "failed")];
    assert_eq!(
        server.counted("vinbus_webhook_deliveries_total", &failed),
        4
    );
}

#[tokio::test]
async fn endpoint_that_hangs_or_babbles_delays_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let hanging = Endpoint::start(|_| Reaction::Hang).await;
    let babbling = Endpoint::start(|_| Reaction::Babble).await;
    let good = Endpoint::start(|_| OK).await;
    for endpoint in [&hanging, &babbling, &good] {
        add(&server, endpoint).await;
    }
    arrive(&server, 0..50).await;
    good.got(50).await;
    assert_eq!(good.cursors(), (1..=50).collect::<Vec<_>>());
    babbling.got(50).await;
    assert_eq!(hanging.cursors(), [1]);
}

#[tokio::test]
async fn endpoint_that_hangs_is_tried_again_after_its_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = open_patient(dir.path(), Duration::from_millis(50));
    let endpoint = Endpoint::start(|n| match n {
        0 | 1 => Reaction::Hang,
        _ => OK,
    })
    .await;
    add(&server, &endpoint).await;
    arrive(&server, 0..2).await;
    endpoint.got(4).await;
    assert_eq!(endpoint.cursors()[..3], [1, 1, 1]);
}

#[tokio::test]
async fn endpoint_that_is_gone_gets_nothing_more_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let gone = Endpoint::start(|_| Reaction::Status(410)).await;
    let good = Endpoint::start(|_| OK).await;
    add(&server, &gone).await;
    add(&server, &good).await;
    arrive(&server, 0..3).await;
    good.got(3).await;
    polled("it is noted as disabled", async || {
        let webhooks = server.hub.webhooks().await.unwrap();
        webhooks.iter().any(|webhook| webhook.disabled)
    })
    .await;
    server.close().await;

    let server = open(dir.path());
    arrive(&server, 3..6).await;
    good.got(6).await;
    assert_eq!(gone.cursors(), [1]);
    let disabled = server.hub.webhooks().await.unwrap();
    assert_eq!(disabled.iter().filter(|hook| hook.disabled).count(), 1);
}

#[tokio::test]
async fn delivery_goes_on_where_it_was_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(|_| OK).await;
    let server = open(dir.path());
    add(&server, &endpoint).await;
    arrive(&server, 0..10).await;
    endpoint.got(10).await;
    server.close().await;
    // Whether the tenth was noted depends on when its answer came.
    let server = open(dir.path());
    arrive(&server, 10..20).await;
    let seen = |received: &Vec<Received>| received.iter().any(|one| one.cursor() == 20);
    reached(&endpoint.received, "the last is delivered", seen).await;
    let mut cursors = endpoint.cursors();
    assert!(cursors.len() <= 21, "{cursors:?}");
    cursors.dedup();
    assert_eq!(cursors, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn what_arrives_before_the_webhook_or_for_others_is_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let endpoint = Endpoint::start(|_| OK).await;
    arrive(&server, 0..2).await;
    let mine = NewWebhook {
        uid: Some(Uid::parse("mine").unwrap()),
        ..hook(&endpoint)
    };
    let webhook = server.hub.add_webhook(mine).await.unwrap();
    assert_eq!(webhook.cursor, Cursor(2));
    arrive(&server, 2..4).await;
    let topic = hub_support::uplink_topic(1).replace("/partner/", "/mine/");
    server.arrive_on(&topic, "{\"content\":1}").await;
    endpoint.got(1).await;
    assert_eq!(endpoint.cursors(), [5]);
}

#[tokio::test]
async fn removed_webhook_gets_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let removed = Endpoint::start(|_| OK).await;
    let kept = Endpoint::start(|_| OK).await;
    let webhook = add(&server, &removed).await;
    add(&server, &kept).await;
    arrive(&server, 0..1).await;
    removed.got(1).await;
    assert_eq!(server.hub.remove_webhook(&webhook.id).await, Ok(true));
    assert_eq!(server.hub.remove_webhook(&webhook.id).await, Ok(false));
    arrive(&server, 1..3).await;
    kept.got(3).await;
    assert_eq!(removed.cursors(), [1]);
    assert_eq!(server.hub.webhooks().await.unwrap().len(), 1);
}

#[tokio::test]
async fn webhook_that_cannot_work_is_refused_with_what_to_change() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let endpoint = Endpoint::start(|_| OK).await;
    let check = async |url: Option<&str>, secret: Option<&str>| {
        let new = NewWebhook {
            url: url.map_or_else(|| endpoint.url(), str::to_owned),
            uid: None,
            secret: secret.map(str::to_owned),
            private_allowed: true,
        };
        server.hub.add_webhook(new).await
    };
    let refused = check(Some("ftp://partner.example/"), None).await;
    assert!(matches!(refused, Err(WebhookError::Url { .. })));
    let refused = check(Some("https://me:secret@partner.example/"), None).await;
    assert!(!refused.unwrap_err().to_string().contains("me:secret"));
    assert_eq!(
        check(None, Some("whsec_c2hvcnQ=")).await,
        Err(WebhookError::Secret)
    );
    for n in 0..100 {
        check(Some(&format!("{}{n}", endpoint.url())), None)
            .await
            .unwrap();
    }
    assert_eq!(
        check(None, None).await,
        Err(WebhookError::TooMany { max: 100 })
    );
}

#[tokio::test]
async fn second_webhook_for_the_same_messages_and_url_is_refused_with_the_name_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let server = open(dir.path());
    let endpoint = Endpoint::start(|_| OK).await;
    let first = add(&server, &endpoint).await;
    let other_spelling = NewWebhook {
        url: endpoint.url().replace("http", "HTTP"),
        ..hook(&endpoint)
    };
    let id = first.id.clone();
    assert_eq!(
        server.hub.add_webhook(other_spelling).await,
        Err(WebhookError::Exists { id })
    );
    let of_one_partner = NewWebhook {
        uid: Some(Uid::parse("mine").unwrap()),
        ..hook(&endpoint)
    };
    server.hub.add_webhook(of_one_partner).await.unwrap();
    server.hub.remove_webhook(&first.id).await.unwrap();
    add(&server, &endpoint).await;
}

#[tokio::test]
async fn delivery_to_an_address_that_became_private_is_blocked_counted_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::start(|_| OK).await;
    let by_name = endpoint.url().replace("127.0.0.1", "localhost");
    let server = open(dir.path());
    for url in [endpoint.url(), by_name.clone()] {
        let refused = NewWebhook {
            url,
            private_allowed: false,
            ..hook(&endpoint)
        };
        let refused = server.hub.add_webhook(refused).await.unwrap_err();
        assert!(
            refused.to_string().contains("does not lead to"),
            "{refused}"
        );
    }
    server.close().await;
    // Made as a name that led elsewhere then, as far as the store knows.
    let metrics = vinbus_host_server::metrics::Metrics::new();
    let lock = vinbus_host_server::store::lock::DataDir::lock(dir.path()).unwrap();
    let store = SqliteStore::open(lock, StoreSettings::default(), &metrics).unwrap();
    let closed = store.closed();
    let webhook = Webhook {
        id: "wh_rebound".to_owned(),
        url: by_name,
        uid: None,
        secret: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned(),
        cursor: Cursor(0),
        disabled: false,
        private_allowed: false,
    };
    store.add_webhook(webhook).await.unwrap().unwrap();
    drop(store);
    closed.await;

    let server = open(dir.path());
    arrive(&server, 0..1).await;
    polled("it is blocked again and again", async || {
        server.counted("vinbus_webhook_blocked_total", &[]) >= 3
    })
    .await;
    let failed = server.counted("vinbus_webhook_deliveries_total", &[("result", "failed")]);
    assert!(failed >= 2);
    server.close().await;
    assert_eq!(endpoint.cursors(), [0; 0]);
    // The operator of a private network allows it.
    let settings = Settings {
        deliveries: DeliverySettings {
            private_allowed: true,
            ..DeliverySettings::default()
        },
        ..Settings::default()
    };
    let server = Server::open_with(dir.path(), settings, StoreSettings::default());
    endpoint.got(1).await;
    server.close().await;
}
