//! A token's place is taken by the next.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::Instant;
use vinbus_protocol::bus::topics;
use vinbus_transport_std::bus::{BusClient, BusOptions, TokenError, TokenState};
use vinbus_transport_std::conformance::{Mosquitto, in_time, is_connected, wait_for_link};
use vinbus_transport_std::{BrokerUrl, LinkState, MqttVersion};

use crate::platform::{Answer, Platform};
use crate::{connected, options, received};

/// Waits until the client had this many tokens.
async fn tokens(bus: &BusClient, count: u64) {
    let mut token = bus.token();
    let enough = async {
        while bus.counters().tokens < count {
            token.changed().await.expect("a living keeper");
        }
    };
    in_time("a new token", enough).await;
}

#[tokio::test]
async fn new_tokens_take_the_place_of_old_ones_without_losing_subscriptions_or_messages() {
    let short = Answer::Token { expires_in: 2 };
    let (platform, broker) = (
        Platform::answering(&[short]).await,
        Mosquitto::start().await,
    );
    let day = Platform::answering(&[Answer::Token { expires_in: 86_400 }]).await;
    let (listener, mut inbox) = connected(options(&platform, &broker, "listener")).await;
    listener.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    let (publisher, _inbox) = connected(options(&day, &broker, "publisher")).await;
    let listening = tokio::spawn(async move {
        let mut expected = 0_u32;
        loop {
            let message = received(&mut inbox).await;
            if message.payload() == "end" {
                return expected;
            }
            let number = std::str::from_utf8(message.payload()).unwrap();
            let number: u32 = number.parse().unwrap();
            // One whose acknowledgement was lost with its connection comes again, as QoS 1 may.
            assert!(number <= expected, "{expected} was lost");
            expected = expected.max(number + 1);
            message.ack();
        }
    });
    let mut sent = 0_u32;
    while listener.counters().tokens < 3 {
        let number = sent.to_string();
        publisher
            .publish(&topics::UI_CONTENT, &[], number.into())
            .await
            .unwrap();
        sent += 1;
    }
    publisher
        .publish(&topics::UI_CONTENT, &[], "end".into())
        .await
        .unwrap();
    assert_eq!(in_time("all messages", listening).await.unwrap(), sent);
    assert!(listener.mqtt().counters().connections >= 2);
    assert_eq!(listener.counters().token_failures, 0);
}

#[tokio::test]
async fn publishing_waits_while_a_token_is_changed() {
    let short = Answer::Token { expires_in: 2 };
    let (platform, broker) = (
        Platform::answering(&[short]).await,
        Mosquitto::start().await,
    );
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let changing = options(&platform, &broker, "publisher").version(version);
        let (bus, _inbox) = connected(changing).await;
        while bus.counters().tokens < 3 {
            bus.publish(&topics::UI_CONTENT, &[], "{}".into())
                .await
                .unwrap();
        }
    }
}

#[tokio::test]
async fn platform_that_takes_no_token_in_a_running_session_gets_another_connection() {
    let short = Answer::Token { expires_in: 2 };
    let (platform, broker) = (
        Platform::answering(&[short]).await,
        Mosquitto::start().await,
    );
    let offering = options(&platform, &broker, "offering").renewal_in_place(true);
    let (bus, _inbox) = connected(offering).await;
    bus.subscribe(&topics::UI_CONTENT, &[]).await.unwrap();
    tokens(&bus, 2).await;
    let again = async {
        while bus.mqtt().counters().connections < 2 {
            tokio::task::yield_now().await;
        }
    };
    in_time("another connection", again).await;
}

#[tokio::test]
async fn refresh_token_is_used_and_the_secret_where_it_does_not_work() {
    for refusal in [401, 500] {
        refreshing(Answer::Refusal(refusal, "the refresh token is not valid")).await;
    }
}

async fn refreshing(refusal: Answer) {
    let platform = Platform::answering(&[
        Answer::Refreshable { expires_in: 2 },
        Answer::Refreshable { expires_in: 2 },
        refusal,
        Answer::Token { expires_in: 600 },
    ])
    .await;
    let broker = Mosquitto::start().await;
    let (bus, _inbox) = connected(options(&platform, &broker, "refreshing")).await;
    tokens(&bus, 3).await;
    let asked = platform.asked(4).await;
    let paths: Vec<_> = asked.iter().map(|asked| asked.path.as_str()).collect();
    let access = "/api/platform/token/access_token";
    let refresh = "/api/platform/token/refresh_token";
    assert_eq!(paths, [access, refresh, refresh, access]);
    let bearer = format!("Bearer {}", Mosquitto::USER);
    assert_eq!(asked[1].bearer.as_deref(), Some(bearer.as_str()));
    let body = serde_json::json!({
        "appId": "myapp", "clientId": "refreshing", "refreshToken": "refresh me",
    });
    assert_eq!(asked[1].body, body);
    assert_eq!(bus.counters().token_failures, 0);
}

#[tokio::test]
async fn failed_renewal_is_shown_and_tried_again_while_the_link_lives_on() {
    let platform = Platform::answering(&[
        Answer::Token { expires_in: 2 },
        Answer::Refusal(503, "in a moment"),
        Answer::Token { expires_in: 600 },
    ])
    .await;
    let broker = Mosquitto::start().await;
    let (bus, _inbox) = connected(options(&platform, &broker, "patient")).await;
    wait_for_link(bus.link(), "the link", is_connected).await;
    let mut token = bus.token();
    let failing = token.wait_for(|state| matches!(state, TokenState::Failing(_)));
    let failing = in_time("the failure", failing).await.unwrap().clone();
    let TokenState::Failing(TokenError::Failed {
        status: 503,
        message,
        ..
    }) = failing
    else {
        panic!("{failing:?}");
    };
    assert_eq!(message, "in a moment");
    tokens(&bus, 2).await;
    assert!(matches!(*bus.token().borrow(), TokenState::Valid { .. }));
    assert_eq!(bus.counters().token_failures, 1);
}

#[tokio::test]
async fn token_that_the_broker_refuses_is_replaced() {
    let platform =
        Platform::answering(&[Answer::Unwelcome, Answer::Token { expires_in: 600 }]).await;
    let broker = Mosquitto::start().await;
    for version in [MqttVersion::V5, MqttVersion::V311] {
        let unlucky = options(&platform, &broker, "unlucky").version(version);
        let (bus, mut inbox) = connected(unlucky).await;
        in_time(
            "the subscription",
            bus.subscribe(&topics::DIALOGUE_PROGRESS, &[]),
        )
        .await
        .unwrap();
        let (other, _inbox) = connected(options(&platform, &broker, "other")).await;
        let session = [("sessionId", "s")];
        other
            .publish(&topics::DIALOGUE_PROGRESS, &session, "{}".into())
            .await
            .unwrap();
        received(&mut inbox).await.ack();
    }
}

#[tokio::test]
async fn link_that_is_down_for_another_reason_asks_for_no_token() {
    let platform = Platform::answering(&[Answer::Token { expires_in: 600 }]).await;
    let broker = Mosquitto::start().await;
    // Nobody listens there once the probe is gone.
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let nobody: BrokerUrl = format!("ws://{}/mqtt", probe.local_addr().unwrap())
        .parse()
        .unwrap();
    drop(probe);
    let (bus, _inbox) = connected(options(&platform, &broker, "alone").broker(nobody)).await;
    wait_for_link(bus.link(), "the failure", |state| {
        matches!(state, LinkState::Down(_))
    })
    .await;
    assert_eq!(bus.counters().tokens, 1);
    let refused = bus.publish(&topics::UI_CONTENT, &[], "{}".into()).await;
    assert!(refused.is_err());
}

/// A broker that reads each CONNECT, answers it with this and closes; and how many there were.
async fn curt_broker(answer: &'static [u8]) -> (BrokerUrl, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let count = Arc::new(AtomicU64::new(0));
    let connected = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connected.fetch_add(1, Relaxed);
            // Its first bytes are enough of a CONNECT, and the client may be gone already.
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(answer).await;
        }
    });
    (url.parse().unwrap(), count)
}

/// Which connects again at once.
fn eager(options: BusOptions) -> BusOptions {
    let delay = Duration::from_millis(10);
    options.mqtt(|it| it.reconnect_delays(delay, delay))
}

/// Lets the clock, which is paused, go on until then: step by step, so that what comes by sockets comes in
/// between as it does when time goes by itself.
async fn time_passes(what: &str, until: impl Fn() -> bool) {
    const STEP: Duration = Duration::from_millis(10);
    // The runtime looks at its sockets once in 61 turns.
    const TURNS: usize = 200;
    let passing = async {
        while !until() {
            tokio::time::advance(STEP).await;
            for _ in 0..TURNS {
                tokio::task::yield_now().await;
            }
        }
    };
    in_time(what, passing).await;
}

/// Once so many attempts to renew the token have failed.
async fn failures(bus: &BusClient, count: u64) {
    time_passes("failures", || bus.counters().token_failures >= count).await;
}

#[tokio::test]
async fn broker_is_not_asked_again_with_a_token_that_it_refused() {
    const BAD_USER_NAME_OR_PASSWORD: &[u8] = &[0x20, 3, 0, 0x86, 0];
    let answers = [Answer::Unwelcome, Answer::Refusal(503, "in a moment")];
    let platform = Platform::answering(&answers).await;
    let (url, connections) = curt_broker(BAD_USER_NAME_OR_PASSWORD).await;
    let broker = Mosquitto::start().await;
    let refused = eager(options(&platform, &broker, "refused").broker(url));
    let (bus, _inbox) = connected(refused).await;
    tokio::time::pause();
    failures(&bus, 2).await;
    assert_eq!(connections.load(Relaxed), 1);
}

#[tokio::test]
async fn broker_is_not_asked_with_a_token_that_is_over() {
    let answers = [
        Answer::Token { expires_in: 1 },
        Answer::Refusal(503, "in a moment"),
        Answer::Refusal(503, "in a moment"),
        Answer::Refusal(503, "in a moment"),
        Answer::Refusal(503, "in a moment"),
        Answer::Token { expires_in: 600 },
    ];
    let platform = Platform::answering(&answers).await;
    // The link is lost again and again, for no reason that has to do with the token.
    let (url, connections) = curt_broker(&[]).await;
    let broker = Mosquitto::start().await;
    let late = eager(options(&platform, &broker, "late").broker(url));
    let (bus, _inbox) = connected(late).await;
    tokio::time::pause();
    let TokenState::Valid { expires_at } = *bus.token().borrow() else {
        panic!("no token");
    };
    time_passes("the end of the token", || Instant::now() >= expires_at).await;
    // What began before that is through by then.
    let failed = bus.counters().token_failures + 1;
    failures(&bus, failed).await;
    let so_far = connections.load(Relaxed);
    assert!(so_far > 0);
    failures(&bus, failed + 1).await;
    assert_eq!(connections.load(Relaxed), so_far);
    // With a new one it goes on.
    time_passes("another connection", || connections.load(Relaxed) > so_far).await;
}
