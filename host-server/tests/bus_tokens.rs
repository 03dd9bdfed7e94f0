//! Tokens of clients of the bus over REST: who gets one, what it says, and how long it counts.

mod platform_support;
mod rest_support;

use std::sync::Arc;
use std::time::Duration;

use platform_support::{Answer, Platform, REFRESH, TOKEN, WHOAMI, asked, cells, text};
use reqwest::Method;
use rest_support::{Rest, within};
use serde_json::{Value, json};
use vinbus_host_server::bus::{
    Bus, BusSettings, ClientChange, ClientName, NewClient, Permissions, TokenKind, TokenSettings,
};
use vinbus_host_server::identity::Identities;
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};

async fn post(it: &Platform, path: &str, body: Value) -> Answer {
    it.ask(Method::POST, path, body).await
}

/// A request for a token of a client, without its secret.
fn of(app: &str, client: &str) -> Value {
    json!({"appId": app, "clientId": client})
}

/// A request for a new token.
fn refreshing(client: &str, refresh_token: &str) -> Value {
    json!({"appId": "myapp", "clientId": client, "refreshToken": refresh_token})
}

#[tokio::test]
async fn a_client_gets_a_token_that_says_what_the_platform_says() {
    let it = Platform::start().await;
    let secret = it.make("dashboard", &["ui.content"]).await;
    for path in [TOKEN, "/api/platform/token"] {
        let given = post(&it, path, asked("dashboard", &secret)).await.with(201);
        assert_eq!(given["expires_in"], 12 * 60 * 60);
        assert_eq!(given["token_type"], "Bearer");
        assert_eq!(given["not-before-policy"], 0);
        let claims = it.whoami(&text(&given, "access_token")).await.with(200);
        for (claim, expected) in [
            ("azp", json!("myapp-dashboard")),
            ("clientId", json!("myapp-dashboard")),
            (
                "preferred_username",
                json!("service-account-myapp-dashboard"),
            ),
            ("appId", json!(["myapp"])),
            ("typ", json!("Bearer")),
            ("iss", json!("vinbus")),
        ] {
            assert_eq!(claims[claim], expected, "{claim}");
        }
        let time = |claim: &str| claims[claim].as_u64().unwrap();
        assert_eq!(time("exp") - time("iat"), 12 * 60 * 60);
        let others = "jti aud sub acr allowed-origins realm_access resource_access scope \
                      email_verified";
        let missing = others.split_whitespace().find(|it| claims[it].is_null());
        assert_eq!(missing, None);
    }
}

/// What is asked of the two paths, and the status and text of the answer; `SECRET` is a secret.
const REFUSED: &str = r#"
access  | {}                                                                     | 400 | appId missing
access  | {"appId":"","clientId":"c"}                                            | 400 | appId missing
access  | {"appId":"myapp"}                                                      | 400 | appId missing
access  | {"appId":"myapp","clientId":"dashboard"}                               | 400 | One of clientSecret or bearer token is required
access  | {"appId":"myapp","clientId":"dashboard","clientSecret":"wrong"}        | 401 | Unauthorized
access  | {"appId":"myapp","clientId":"nobody","clientSecret":"SECRET"}          | 401 | Unauthorized
access  | {"appId":"other","clientId":"dashboard","clientSecret":"SECRET"}       | 401 | Unauthorized
access  | {"appId":"myapp","clientId":"../dashboard","clientSecret":"SECRET"}    | 401 | Unauthorized
refresh | {}                                                                     | 400 | appId missing
refresh | {"appId":"myapp"}                                                      | 400 | clientId missing
refresh | {"appId":"myapp","clientId":"dashboard"}                               | 400 | refreshToken missing
refresh | {"appId":"myapp","clientId":"nobody"}                                  | 400 | refreshToken missing
refresh | {"appId":"myapp","clientId":"dashboard","refreshToken":"x"}            | 401 | Unauthorized
refresh | {"appId":"myapp","clientId":"nobody","refreshToken":"x"}               | 401 | Unauthorized
refresh | {"appId":"myapp","clientId":"nobody","clientSecret":"SECRET"}          | 401 | Unauthorized
"#;

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_in_the_words_of_the_platform() {
    let it = Platform::start().await;
    let secret = it.make("dashboard", &["ui.content"]).await;
    for row in REFUSED.trim().lines() {
        let [path, body, status, message] = cells(row);
        let path = if path == "access" { TOKEN } else { REFRESH };
        let body = serde_json::from_str(&body.replace("SECRET", &secret)).unwrap();
        let status = status.parse().unwrap();
        let mut expected = json!({"statusCode": status, "message": message});
        if status == 400 {
            expected["error"] = "Bad Request".into();
        }
        assert_eq!(post(&it, path, body).await.with(status), expected, "{row}");
    }
    let sent = async |body: String| {
        let request = it.bare(Method::POST, TOKEN).body(body);
        platform_support::answer(request).await.status
    };
    assert_eq!(sent("{\"appId\"".to_owned()).await, 400);
    assert_eq!(sent(" ".repeat(100_000)).await, 413);
}

#[tokio::test]
async fn guessing_tells_nobody_which_clients_there_are() {
    let it = Platform::start().await;
    it.make("dashboard", &["ui.content"]).await;
    let tries = async |client: &str, path: &str| {
        let mut told = Vec::new();
        for number in 0..7 {
            let wrong = asked(client, &format!("wrong-{number}"));
            let Answer {
                status, headers, ..
            } = post(&it, path, wrong).await;
            told.push((status, headers.contains_key("retry-after")));
        }
        told
    };
    let known = tries("dashboard", TOKEN).await;
    assert_eq!(known[0], (401, false));
    assert_eq!(known[6], (429, true), "wrong secrets bring a pause");
    assert_eq!(tries("nobody", TOKEN).await, known);
    assert_eq!(tries("nobody-else", REFRESH).await, known);
}

#[tokio::test]
async fn a_client_is_given_so_many_tokens_and_no_more() {
    let it = Platform::start().await;
    let secret = it.make("dashboard", &["ui.content"]).await;
    let refresh = text(&it.given("dashboard", &secret).await, "refresh_token");
    let flood = async {
        loop {
            let answer = post(&it, REFRESH, refreshing("dashboard", &refresh)).await;
            if answer.status != 201 {
                return answer;
            }
        }
    };
    let refused = within(flood).await;
    assert!(refused.headers.contains_key("retry-after"));
    refused.with(429);
    it.enter("other", &["ui.content"]).await;
}

#[tokio::test]
async fn a_token_is_given_to_who_may_do_everything_that_it_is_for() {
    let it = Platform::start().await;
    it.make("dashboard", &["ui.content", "session.*"]).await;
    let mut refused = Vec::new();
    for (number, permissions) in [
        &["*"][..],
        &["platform.token", "ui.*", "session.*"],
        &["platform.*", "ui.content", "session.*"],
        &["platform.token"],
        &["platform.token", "ui.content"],
        &["platform.token", "ui.content", "session.agent"],
        &["platform.client", "ui.*", "session.*"],
    ]
    .into_iter()
    .enumerate()
    {
        let own = it.enter(&format!("asker-{number}"), permissions).await;
        let ask = |body| it.client_asks(&own, Method::POST, TOKEN, body);
        match ask(of("myapp", "dashboard")).await.status {
            201 => {}
            403 => refused.push(number),
            other => panic!("{other}"),
        }
        ask(of("other", "dashboard")).await.with(403);
    }
    assert_eq!(refused, [3, 4, 5, 6]);

    let admin = |client| it.admin_asks(Method::POST, TOKEN, of("myapp", client));
    admin("dashboard").await.with(201);
    assert_eq!(
        admin("nobody").await.with(404)["message"],
        "Client nobody not found"
    );
    let partner = it
        .partner(Method::POST, TOKEN)
        .json(&of("myapp", "dashboard"));
    platform_support::answer(partner).await.with(403);
}

#[tokio::test]
async fn a_refresh_token_gives_a_new_token_and_is_none_itself() {
    let it = Platform::start().await;
    let secret = it.make("dashboard", &["ui.content"]).await;
    it.make("other", &["ui.content"]).await;
    let given = it.given("dashboard", &secret).await;
    let [access, refresh] = ["access_token", "refresh_token"].map(|token| text(&given, token));
    for path in [REFRESH, "/api/platform/token/refresh"] {
        let renewed = post(&it, path, refreshing("dashboard", &refresh)).await;
        assert!(it.counts(&text(&renewed.with(201), "access_token")).await);
    }
    post(&it, REFRESH, asked("dashboard", &secret))
        .await
        .with(201);
    assert!(!it.counts(&refresh).await);
    for (client, token) in [
        ("dashboard", &access),
        ("other", &refresh),
        ("nobody", &refresh),
    ] {
        post(&it, REFRESH, refreshing(client, token))
            .await
            .with(401);
    }
}

#[tokio::test]
async fn tokens_of_a_client_that_is_disabled_revoked_or_gone_do_not_count() {
    let it = Platform::start().await;
    let secret = it.make("dashboard", &["ui.content"]).await;
    let fresh = async || text(&it.given("dashboard", &secret).await, "access_token");
    let first = fresh().await;
    assert!(it.counts(&first).await);
    it.change("dashboard", json!({"disabled": true})).await;
    assert!(!it.counts(&first).await);
    post(&it, TOKEN, asked("dashboard", &secret))
        .await
        .with(401);
    it.change("dashboard", json!({"disabled": false})).await;
    assert!(it.counts(&first).await);

    let revoke = json!({"revokeTokens": true});
    it.change("dashboard", revoke.clone()).await;
    assert!(!it.counts(&first).await);
    assert_ne!(it.given("dashboard", &secret).await["not-before-policy"], 0);
    let second = fresh().await;
    assert!(
        it.counts(&second).await,
        "a token that is issued right after it counts"
    );
    it.change("dashboard", revoke).await;
    assert!(!it.counts(&second).await, "also within the same second");

    let third = fresh().await;
    assert!(it.counts(&third).await);
    it.remove("dashboard").await;
    assert!(!it.counts(&third).await);
    it.make("dashboard", &["ui.content"]).await;
    assert!(!it.counts(&third).await, "another client has the name now");
}

#[tokio::test]
async fn clients_and_their_tokens_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let lock = DataDir::lock(dir.path()).unwrap();
        let store = SqliteStore::open(lock, StoreSettings::default(), &Metrics::new());
        let credentials = Identities::open(dir.path()).unwrap().credentials();
        let settings = BusSettings::default();
        Bus::open(dir.path(), Arc::new(store.unwrap()), credentials, settings).unwrap()
    };
    let bus = open();
    let new = NewClient {
        app: ClientName::parse("myapp").unwrap(),
        client: None,
        name: Some("Näme".to_owned()),
        permissions: Permissions::parse(&["ui.content", "session.*"]).unwrap(),
    };
    let (client, _) = bus.clients.create(new, || true).await.unwrap();
    let revoke = ClientChange {
        revoke: true,
        ..ClientChange::default()
    };
    let client = bus
        .clients
        .change(&client.key, revoke, |_| true)
        .await
        .unwrap();
    let token = bus.tokens.issue(&client, TokenKind::Access).unwrap().token;
    drop(bus);
    let bus = open();
    assert_eq!(bus.tokens.verify(&token).await.unwrap().key, client.key);
    let kept = bus.clients.find(&client.key).unwrap();
    assert_eq!((&kept.name, &kept.subject), (&client.name, &client.subject));
    assert_eq!(
        (&kept.permissions, kept.generation),
        (&client.permissions, 1)
    );
}

#[tokio::test]
async fn a_token_ends_with_its_time_also_where_it_was_seen_before() {
    let it = Platform::with_tokens(TokenSettings {
        lifetime: Duration::from_secs(1),
        ..TokenSettings::default()
    })
    .await;
    let token = it.enter("dashboard", &["ui.content"]).await;
    within(async { while it.counts(&token).await {} }).await;
}

#[tokio::test]
async fn keys_are_served_and_no_private_one_among_them() {
    let rest = Rest::start().await;
    let served = async |path| {
        let answer = platform_support::answer(rest.bare(Method::GET, path)).await;
        answer.with(200)
    };
    let keys = served("/.well-known/jwks.json").await;
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert_eq!(keys["keys"][0]["d"], Value::Null);
    let sermas = served("/.well-known/sermas.json").await;
    assert_eq!(sermas["openapiSpec"], "/api/openapi.json");
    platform_support::answer(rest.bare(Method::GET, WHOAMI))
        .await
        .with(401);
}
