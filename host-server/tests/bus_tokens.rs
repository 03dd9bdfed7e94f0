//! Clients of the bus and their tokens over REST: the way to a token, who may manage clients, and
//! which tokens count.

mod rest_support;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use reqwest::{Method, Response};
use rest_support::{Rest, Setup, within};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use serde_json::{Value, json};
use vinbus_host_server::bus::{
    Algorithm, Bus, BusSettings, ClientName, KeySource, NewClient, Permissions, TokenKind,
    TokenSettings, TrustedIssuer,
};
use vinbus_host_server::identity::Identities;
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::store::lock::DataDir;
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_protocol::bus::topics;

const CLIENTS: &str = "/api/platform/app/myapp/client";
const TOKEN: &str = "/api/platform/token/access_token";
const REFRESH: &str = "/api/platform/token/refresh_token";
const WHOAMI: &str = "/api/auth/whoami";

async fn post(rest: &Rest, path: &str, body: &Value) -> Response {
    rest.bare(Method::POST, path)
        .json(body)
        .send()
        .await
        .unwrap()
}

async fn with_token(
    rest: &Rest,
    method: Method,
    path: &str,
    token: &str,
    body: &Value,
) -> Response {
    let request = rest.bare(method, path).bearer_auth(token).json(body);
    request.send().await.unwrap()
}

async fn json_of(answer: Response, status: u16) -> Value {
    let got = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    assert_eq!(got, status, "{body}");
    body
}

/// Makes a client as the administrator, and gives its secret.
async fn create(rest: &Rest, client: &str, permissions: &[&str]) -> String {
    let body = json!({"clientId": client, "permissions": permissions});
    let answer = rest
        .admin(Method::POST, CLIENTS)
        .json(&body)
        .send()
        .await
        .unwrap();
    let made = json_of(answer, 201).await;
    made["secret"].as_str().unwrap().to_owned()
}

fn asked(client: &str, secret: &str) -> Value {
    json!({"appId": "myapp", "clientId": client, "clientSecret": secret})
}

async fn token(rest: &Rest, client: &str, secret: &str) -> Value {
    json_of(post(rest, TOKEN, &asked(client, secret)).await, 201).await
}

async fn counts(rest: &Rest, token: &str) -> bool {
    let answer = rest
        .bare(Method::GET, WHOAMI)
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    match answer.status().as_u16() {
        200 => true,
        401 => false,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_client_gets_a_token_that_says_what_the_platform_says() {
    let rest = Rest::start().await;
    let secret = create(&rest, "dashboard", &["ui.content"]).await;
    for path in [TOKEN, "/api/platform/token"] {
        let given = json_of(post(&rest, path, &asked("dashboard", &secret)).await, 201).await;
        assert_eq!(given["expires_in"], 12 * 60 * 60);
        assert_eq!(given["token_type"], "Bearer");
        assert_eq!(given["not-before-policy"], 0);
        let token = given["access_token"].as_str().unwrap();
        let claims = rest
            .bare(Method::GET, WHOAMI)
            .bearer_auth(token)
            .send()
            .await
            .unwrap();
        let claims = json_of(claims, 200).await;
        assert_eq!(claims["azp"], "myapp-dashboard");
        assert_eq!(claims["clientId"], "myapp-dashboard");
        assert_eq!(
            claims["preferred_username"],
            "service-account-myapp-dashboard"
        );
        assert_eq!(claims["appId"], json!(["myapp"]));
        assert_eq!(
            (&claims["typ"], &claims["iss"]),
            (&json!("Bearer"), &json!("vinbus"))
        );
        let (exp, iat) = (
            claims["exp"].as_u64().unwrap(),
            claims["iat"].as_u64().unwrap(),
        );
        assert_eq!(exp - iat, 12 * 60 * 60);
        let whole: Vec<_> =
            "jti aud sub acr allowed-origins realm_access resource_access scope email_verified"
                .split(' ')
                .filter(|claim| claims[claim].is_null())
                .collect();
        assert!(whole.is_empty(), "{whole:?}");
    }
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_told_in_the_words_of_the_platform() {
    let rest = Rest::start().await;
    let secret = create(&rest, "dashboard", &["ui.content"]).await;
    let bad = "Bad Request";
    let table = [
        (TOKEN, json!({}), 400, "appId missing", Some(bad)),
        (
            TOKEN,
            json!({"appId": "", "clientId": "c"}),
            400,
            "appId missing",
            Some(bad),
        ),
        (
            TOKEN,
            json!({"appId": "myapp"}),
            400,
            "appId missing",
            Some(bad),
        ),
        (
            TOKEN,
            json!({"appId": "myapp", "clientId": "dashboard"}),
            400,
            "One of clientSecret or bearer token is required",
            Some(bad),
        ),
        (
            TOKEN,
            asked("dashboard", "wrong"),
            401,
            "Unauthorized",
            None,
        ),
        (TOKEN, asked("nobody", &secret), 401, "Unauthorized", None),
        (
            TOKEN,
            asked("../dashboard", &secret),
            401,
            "Unauthorized",
            None,
        ),
        (REFRESH, json!({}), 400, "appId missing", Some(bad)),
        (
            REFRESH,
            json!({"appId": "myapp"}),
            400,
            "clientId missing",
            Some(bad),
        ),
        (
            REFRESH,
            json!({"appId": "myapp", "clientId": "nobody"}),
            404,
            "client not found",
            Some("Not Found"),
        ),
        (
            REFRESH,
            json!({"appId": "myapp", "clientId": "dashboard"}),
            400,
            "refreshToken missing",
            Some(bad),
        ),
        (
            REFRESH,
            json!({"appId": "myapp", "clientId": "dashboard", "refreshToken": "x"}),
            401,
            "Unauthorized",
            None,
        ),
    ];
    for (path, body, status, message, error) in table {
        let told = json_of(post(&rest, path, &body).await, status).await;
        let mut expected = json!({"statusCode": status, "message": message});
        if let Some(error) = error {
            expected["error"] = error.into();
        }
        assert_eq!(told, expected, "{path} {body}");
    }
    let broken = rest
        .bare(Method::POST, TOKEN)
        .body("{\"appId\"")
        .send()
        .await
        .unwrap();
    assert_eq!(broken.status(), 400);
    let large = rest
        .bare(Method::POST, TOKEN)
        .body(" ".repeat(100_000))
        .send()
        .await
        .unwrap();
    assert_eq!(large.status(), 413);
}

#[tokio::test]
async fn a_token_is_given_to_who_may_ask_for_another() {
    let rest = Rest::start().await;
    create(&rest, "dashboard", &["ui.content"]).await;
    let body = json!({"appId": "myapp", "clientId": "dashboard"});
    let mut allowed = Vec::new();
    for permission in ["platform.token", "platform.*", "*", "ui.token"] {
        let client = permission.replace(['.', '*'], "_");
        let secret = create(&rest, &client, &[permission]).await;
        let own = token(&rest, &client, &secret).await;
        let own = own["access_token"].as_str().unwrap();
        let answer = with_token(&rest, Method::POST, TOKEN, own, &body).await;
        allowed.push(answer.status().as_u16());
        let foreign = json!({"appId": "other", "clientId": "dashboard"});
        let answer = with_token(&rest, Method::POST, TOKEN, own, &foreign).await;
        json_of(answer, 403).await;
    }
    assert_eq!(allowed, [201, 201, 201, 403]);
    let admin = rest
        .admin(Method::POST, TOKEN)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(admin.status(), 201);
    let nobody = json!({"appId": "myapp", "clientId": "nobody"});
    let answer = rest
        .admin(Method::POST, TOKEN)
        .json(&nobody)
        .send()
        .await
        .unwrap();
    assert_eq!(
        json_of(answer, 404).await["message"],
        "Client nobody not found"
    );
    let partner = rest
        .partner(Method::POST, TOKEN)
        .json(&body)
        .send()
        .await
        .unwrap();
    assert_eq!(partner.status(), 403);
}

#[tokio::test]
async fn a_refresh_token_gives_a_new_token_and_is_none_itself() {
    let rest = Rest::start().await;
    let secret = create(&rest, "dashboard", &["ui.content"]).await;
    create(&rest, "other", &["ui.content"]).await;
    let given = token(&rest, "dashboard", &secret).await;
    let (access, refresh) = (&given["access_token"], &given["refresh_token"]);
    let body = |client: &str, token: &Value| json!({"appId": "myapp", "clientId": client, "refreshToken": token});
    for path in [REFRESH, "/api/platform/token/refresh"] {
        let renewed = json_of(post(&rest, path, &body("dashboard", refresh)).await, 201).await;
        assert!(counts(&rest, renewed["access_token"].as_str().unwrap()).await);
    }
    json_of(
        post(&rest, REFRESH, &asked("dashboard", &secret)).await,
        201,
    )
    .await;
    assert!(!counts(&rest, refresh.as_str().unwrap()).await);
    for (client, token) in [("dashboard", access), ("other", refresh)] {
        json_of(post(&rest, REFRESH, &body(client, token)).await, 401).await;
    }
}

#[tokio::test]
async fn tokens_of_a_client_that_is_disabled_revoked_or_gone_do_not_count() {
    let rest = Rest::start().await;
    let secret = create(&rest, "dashboard", &["ui.content"]).await;
    let first = token(&rest, "dashboard", &secret).await;
    let first = first["access_token"].as_str().unwrap();
    let path = format!("{CLIENTS}/dashboard");
    let change = async |body: Value| {
        let answer = rest
            .admin(Method::PATCH, &path)
            .json(&body)
            .send()
            .await
            .unwrap();
        json_of(answer, 200).await
    };
    assert!(counts(&rest, first).await);
    change(json!({"disabled": true})).await;
    assert!(!counts(&rest, first).await);
    json_of(post(&rest, TOKEN, &asked("dashboard", &secret)).await, 401).await;
    change(json!({"disabled": false})).await;
    assert!(counts(&rest, first).await);

    change(json!({"revokeTokens": true})).await;
    assert!(!counts(&rest, first).await);
    let second = token(&rest, "dashboard", &secret).await;
    assert_ne!(second["not-before-policy"], 0);
    let second = second["access_token"].as_str().unwrap();
    assert!(
        counts(&rest, second).await,
        "a token that is issued right after it counts"
    );
    change(json!({"revokeTokens": true})).await;
    assert!(!counts(&rest, second).await, "also within the same second");
    let second = token(&rest, "dashboard", &secret).await;
    let second = second["access_token"].as_str().unwrap();
    assert!(counts(&rest, second).await);

    let nothing = rest
        .admin(Method::PATCH, &path)
        .json(&json!({"permissions": []}));
    let answer = json_of(nothing.send().await.unwrap(), 400).await;
    assert!(answer["message"].as_str().unwrap().contains("disabled"));

    let removed = rest.admin(Method::DELETE, &path).send().await.unwrap();
    assert_eq!(removed.status(), 200);
    assert!(!counts(&rest, second).await);
    create(&rest, "dashboard", &["ui.content"]).await;
    assert!(
        !counts(&rest, second).await,
        "another client has the name now"
    );
}

#[tokio::test]
async fn a_client_manages_its_own_app_and_passes_on_no_more_than_it_has() {
    let rest = Rest::start().await;
    let secret = create(&rest, "manager", &["platform.client", "ui.*"]).await;
    create(&rest, "strong", &["*"]).await;
    let manager = token(&rest, "manager", &secret).await;
    let manager = manager["access_token"].as_str().unwrap();
    let asks = async |method: Method, path: &str, body: Value| {
        let answer = with_token(&rest, method, path, manager, &body).await;
        answer.status().as_u16()
    };
    let new = |client: &str, permissions: &[&str]| json!({"clientId": client, "permissions": permissions});
    let (post, patch) = (Method::POST, Method::PATCH);
    assert_eq!(
        asks(post.clone(), CLIENTS, new("a", &["ui.content"])).await,
        201
    );
    assert_eq!(
        asks(post.clone(), CLIENTS, new("a", &["ui.content"])).await,
        400,
        "it exists"
    );
    assert_eq!(
        asks(post.clone(), CLIENTS, new("b", &["session.agent"])).await,
        403
    );
    assert_eq!(
        asks(post.clone(), CLIENTS, new("b", &[])).await,
        403,
        "everything is more than it has"
    );
    let other = CLIENTS.replace("myapp", "other");
    assert_eq!(asks(post, &other, new("b", &["ui.content"])).await, 403);
    let of = |client: &str| format!("{CLIENTS}/{client}");
    assert_eq!(
        asks(patch.clone(), &of("a"), json!({"permissions": ["*"]})).await,
        403
    );
    assert_eq!(
        asks(patch.clone(), &of("a"), json!({"permissions": ["ui.*"]})).await,
        200
    );
    assert_eq!(
        asks(patch, &of("strong"), json!({"permissions": ["ui.*"]})).await,
        403
    );
    assert_eq!(asks(Method::DELETE, &of("strong"), json!({})).await, 403);
    assert_eq!(asks(Method::DELETE, &of("myapp-a"), json!({})).await, 200);
    assert_eq!(asks(Method::GET, &of("a"), json!({})).await, 404);

    let listed = with_token(
        &rest,
        Method::GET,
        "/api/platform/client",
        manager,
        &json!({}),
    )
    .await;
    let text = listed.text().await.unwrap();
    assert!(
        text.contains("manager") && text.contains("strong"),
        "{text}"
    );
    assert!(
        !text.contains("secret") && !text.contains("argon2"),
        "{text}"
    );
    let weak = create(&rest, "weak", &["ui.content"]).await;
    let weak = token(&rest, "weak", &weak).await;
    let weak = weak["access_token"].as_str().unwrap();
    let answer = with_token(&rest, Method::GET, CLIENTS, weak, &json!({})).await;
    assert_eq!(answer.status(), 403);
}

#[tokio::test]
async fn a_client_learns_its_own_topics() {
    let rest = Rest::start().await;
    let secret = create(&rest, "dashboard", &["ui.*", "session.agent"]).await;
    create(&rest, "other", &["*"]).await;
    let own = token(&rest, "dashboard", &secret).await;
    let own = own["access_token"].as_str().unwrap();
    let topics = async |client: &str| {
        let path = format!("{CLIENTS}/{client}/topics");
        with_token(&rest, Method::GET, &path, own, &json!({})).await
    };
    let expected = [
        "app/:appId/ui/status",
        "app/:appId/ui/interaction/:moduleId",
        "app/:appId/ui/content",
        "app/:appId/session/agent/heartbeat",
        "app/:appId/session/agent/changed/:agentId",
    ];
    assert_eq!(
        json_of(topics("dashboard").await, 200).await,
        json!(expected)
    );
    json_of(topics("other").await, 403).await;
    let path = format!("{CLIENTS}/other/topics");
    let all = rest.admin(Method::GET, &path).send().await.unwrap();
    let all = json_of(all, 200).await.as_array().unwrap().len();
    assert_eq!(all, 56 + topics::OF_HOST.len());
}

#[tokio::test]
async fn a_decision_is_explained_with_its_rule() {
    let rest = Rest::start().await;
    let secret = create(&rest, "dashboard", &["ui.*"]).await;
    create(&rest, "other", &["ui.*"]).await;
    let given = token(&rest, "dashboard", &secret).await;
    let own = given["access_token"].as_str().unwrap();
    let acl = "/api/platform/acl";
    let explain = async |topic: &str| {
        let body = json!({"topic": topic});
        json_of(with_token(&rest, Method::POST, acl, own, &body).await, 200).await
    };
    let allowed = explain("app/myapp/ui/content").await;
    assert_eq!(allowed["clientId"], "dashboard");
    let rule = json!({"allowed": true, "rule": "the client has the permission `ui.*`"});
    for action in ["publish", "subscribe", "deliver"] {
        assert_eq!(allowed[action], rule);
    }
    let denied = explain("app/other/ui/#").await;
    assert_eq!(
        denied["subscribe"]["rule"],
        "the token is not for the application `other`"
    );
    assert_eq!(denied["publish"]["allowed"], false);

    let foreign = json!({"appId": "myapp", "clientId": "other"});
    let foreign = rest
        .admin(Method::POST, TOKEN)
        .json(&foreign)
        .send()
        .await
        .unwrap();
    let foreign = json_of(foreign, 201).await["access_token"].clone();
    let body = json!({"topic": "app/myapp/ui/content", "token": foreign});
    json_of(with_token(&rest, Method::POST, acl, own, &body).await, 403).await;
    for (token, part) in [
        (foreign, "`ui.*`"),
        (json!("nonsense"), "the token does not count"),
    ] {
        let body = json!({"topic": "app/myapp/ui/content", "token": token});
        let answer = rest
            .admin(Method::POST, acl)
            .json(&body)
            .send()
            .await
            .unwrap();
        let rule = json_of(answer, 200).await["publish"]["rule"].to_string();
        assert!(rule.contains(part), "{rule}");
    }
    let missing = rest
        .admin(Method::POST, acl)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(json_of(missing, 400).await["message"], "topic missing");
}

#[tokio::test]
async fn what_cannot_be_a_client_is_refused() {
    let rest = Rest::start().await;
    for body in [
        json!({"clientId": "a/b"}),
        json!({"clientId": "+"}),
        json!({"clientId": "a b"}),
        json!({"clientId": "x".repeat(65)}),
        json!({"permissions": ["ui."]}),
        json!({"permissions": ["ui.+"]}),
        json!({"permissions": vec!["ui.content"; 1000]}),
        json!({"permissions": "ui.content"}),
        json!({"name": "x".repeat(10_000)}),
    ] {
        let answer = rest
            .admin(Method::POST, CLIENTS)
            .json(&body)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400, "{body}");
    }
    let answer = rest
        .admin(Method::POST, "/api/platform/app/a%2Fb/client")
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 400);
    let nameless = rest
        .admin(Method::POST, CLIENTS)
        .json(&json!({}))
        .send()
        .await
        .unwrap();
    let made = json_of(nameless, 201).await;
    assert_eq!(made["clientId"].as_str().unwrap().len(), 36);
    assert_eq!(made["permissions"], json!(["*"]));
}

#[tokio::test]
async fn clients_and_their_tokens_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let store = SqliteStore::open(
            DataDir::lock(dir.path()).unwrap(),
            StoreSettings::default(),
            &Metrics::new(),
        );
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
    let (client, _) = bus.clients.create(new).await.unwrap();
    let token = bus.tokens.issue(&client, TokenKind::Access).unwrap().token;
    drop(bus);
    let bus = open();
    assert_eq!(bus.tokens.verify(&token).await.unwrap().key, client.key);
    let kept = bus.clients.find(&client.key).unwrap();
    assert_eq!(
        (&kept.name, &kept.permissions),
        (&client.name, &client.permissions)
    );
}

#[tokio::test]
async fn wrong_secrets_bring_a_pause() {
    let rest = Rest::start().await;
    create(&rest, "dashboard", &["ui.content"]).await;
    let mut last = 0;
    for attempt in 0..7 {
        let wrong = asked("dashboard", &format!("wrong-{attempt}"));
        let answer = post(&rest, TOKEN, &wrong).await;
        last = answer.status().as_u16();
        if last == 429 {
            assert!(answer.headers().contains_key("retry-after"));
            break;
        }
    }
    assert_eq!(last, 429);
}

/// An issuer outside, and the tokens that it may sign.
struct Issuer {
    pair: EcdsaKeyPair,
}

const ISSUER: &str = "https://issuer.example/realms/sermas";

impl Issuer {
    fn new() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Self { pair }
    }

    fn point(&self) -> &[u8] {
        self.pair.public_key().as_ref()
    }

    fn jwks(&self) -> Value {
        let (x, y) = self.point()[1..].split_at(32);
        json!({"keys": [{"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "k1",
            "x": BASE64.encode(x), "y": BASE64.encode(y)}]})
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let signed = signed_part(header, claims);
        let signature = self
            .pair
            .sign(&SystemRandom::new(), signed.as_bytes())
            .unwrap();
        format!("{signed}.{}", BASE64.encode(signature))
    }
}

fn signed_part(header: &Value, claims: &Value) -> String {
    format!(
        "{}.{}",
        BASE64.encode(header.to_string()),
        BASE64.encode(claims.to_string())
    )
}

fn settings(tokens: TokenSettings) -> BusSettings {
    BusSettings {
        tokens,
        ..BusSettings::default()
    }
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

#[tokio::test]
async fn a_token_of_the_trusted_issuer_counts_when_everything_about_it_is_right() {
    let issuer = Issuer::new();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    std::fs::write(&file, issuer.jwks().to_string()).unwrap();
    let rest = Rest::with(Setup {
        bus: settings(TokenSettings {
            trusted: Some(TrustedIssuer {
                issuer: ISSUER.to_owned(),
                audience: "account".to_owned(),
                algorithm: Algorithm::Es256,
                keys: KeySource::File(file),
            }),
            ..TokenSettings::default()
        }),
        ..Setup::default()
    })
    .await;
    create(&rest, "dashboard", &["ui.content"]).await;

    let header = json!({"alg": "ES256", "typ": "JWT", "kid": "k1"});
    let claims = json!({
        "exp": now() + 600, "iat": now(), "jti": "j", "iss": ISSUER, "aud": ["x", "account"],
        "sub": "s", "typ": "Bearer", "azp": "myapp-dashboard", "appId": ["none", "myapp"],
    });
    let with = |name: &str, value: Value| {
        let mut changed = claims.clone();
        changed[name] = value;
        changed
    };
    let without = |name: &str| {
        let mut changed = claims.clone();
        changed.as_object_mut().unwrap().remove(name);
        changed
    };
    let es256 = |claims: &Value| issuer.sign(&header, claims);
    let headed = |name: &str, value: Value| {
        let mut changed = header.clone();
        changed[name] = value;
        issuer.sign(&changed, &claims)
    };
    let hs256 = {
        // What the key set gives, taken as a secret: the oldest trick with tokens.
        let header = json!({"alg": "HS256", "typ": "JWT", "kid": "k1"});
        let signed = signed_part(&header, &claims);
        let key = hmac::Key::new(hmac::HMAC_SHA256, issuer.point());
        format!(
            "{signed}.{}",
            BASE64.encode(hmac::sign(&key, signed.as_bytes()))
        )
    };
    let none = json!({"alg": "none", "kid": "k1"});
    let unsigned = signed_part(&none, &claims);
    let good = es256(&claims);
    let table = [
        ("right", good.clone(), true),
        (
            "one audience as a text",
            es256(&with("aud", json!("account"))),
            true,
        ),
        (
            "the client's bare name",
            es256(&with("azp", json!("dashboard"))),
            true,
        ),
        (
            "one app as a text",
            es256(&with("appId", json!("myapp"))),
            true,
        ),
        (
            "within the leeway",
            es256(&with("iat", json!(now() + 5))),
            true,
        ),
        ("expired", es256(&with("exp", json!(now() - 1))), false),
        (
            "issued in the future",
            es256(&with("iat", json!(now() + 60))),
            false,
        ),
        (
            "not yet valid",
            es256(&with("nbf", json!(now() + 60))),
            false,
        ),
        (
            "another audience",
            es256(&with("aud", json!("vinbus-bus"))),
            false,
        ),
        ("no audience", es256(&without("aud")), false),
        (
            "another issuer",
            es256(&with("iss", json!("https://evil.example"))),
            false,
        ),
        (
            "our issuer's name",
            es256(&with("iss", json!("vinbus"))),
            false,
        ),
        ("no expiry", es256(&without("exp")), false),
        (
            "expiry beyond numbers",
            es256(&with("exp", json!(1e300))),
            false,
        ),
        (
            "a refresh token",
            es256(&with("typ", json!("Refresh"))),
            false,
        ),
        (
            "another app",
            es256(&with("appId", json!(["other"]))),
            false,
        ),
        ("no app", es256(&without("appId")), false),
        (
            "unknown client",
            es256(&with("azp", json!("myapp-nobody"))),
            false,
        ),
        ("key of another name", headed("kid", json!("k2")), false),
        ("no key named", headed("kid", Value::Null), false),
        ("alg RS256", headed("alg", json!("RS256")), false),
        ("alg none, signed", headed("alg", json!("none")), false),
        ("critical extension", headed("crit", json!(["exp"])), false),
        ("alg none", format!("{unsigned}."), false),
        (
            "alg none, good signature",
            format!("{unsigned}.{}", good.rsplit('.').next().unwrap()),
            false,
        ),
        ("HS256 with the public key", hs256, false),
        (
            "signature of other claims",
            {
                let other = es256(&with("azp", json!("myapp-other")));
                format!(
                    "{}.{}",
                    good.rsplit_once('.').unwrap().0,
                    other.rsplit('.').next().unwrap()
                )
            },
            false,
        ),
        ("another key", Issuer::new().sign(&header, &claims), false),
        (
            "no signature",
            good.rsplit_once('.').unwrap().0.to_owned(),
            false,
        ),
        (
            "too long",
            es256(&with("pad", json!("x".repeat(20_000)))),
            false,
        ),
        ("nothing", ".".to_owned(), false),
    ];
    for (what, token, accepted) in table {
        // Twice: what was verified once is remembered.
        for _ in 0..2 {
            let outcome = within(counts(&rest, &token)).await;
            assert_eq!(outcome, accepted, "{what}");
        }
    }
}

#[tokio::test]
async fn a_token_ends_with_its_time_also_where_it_was_seen_before() {
    let rest = Rest::with(Setup {
        bus: settings(TokenSettings {
            lifetime: Duration::from_secs(1),
            ..TokenSettings::default()
        }),
        ..Setup::default()
    })
    .await;
    let secret = create(&rest, "dashboard", &["ui.content"]).await;
    let given = token(&rest, "dashboard", &secret).await;
    let token = given["access_token"].as_str().unwrap();
    within(async { while counts(&rest, token).await {} }).await;
}

#[tokio::test]
async fn keys_are_served_and_no_private_one_among_them() {
    let rest = Rest::start().await;
    let answer = rest
        .bare(Method::GET, "/.well-known/jwks.json")
        .send()
        .await
        .unwrap();
    let keys = json_of(answer, 200).await;
    assert_eq!(keys["keys"][0]["alg"], "ES256");
    assert_eq!(keys["keys"][0]["d"], Value::Null);
    let answer = rest
        .bare(Method::GET, "/.well-known/sermas.json")
        .send()
        .await
        .unwrap();
    assert_eq!(
        json_of(answer, 200).await["openapiSpec"],
        "/api/openapi.json"
    );
}
