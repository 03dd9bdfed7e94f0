//! Tokens of an issuer outside, as Keycloak gives them: which count, and where its keys come from.

mod issuer_support;
mod platform_support;
mod rest_support;

use std::time::Duration;

use issuer_support::{ISSUER, Key, KeyServer, claims, key_set, now, signed_part};
use platform_support::{Platform, cells, text};
use rest_support::within;
use serde_json::{Value, json};
use vinbus_host_server::bus::{Algorithm, KeySource, TokenSettings, TrustedIssuer};

const BOTH: [Algorithm; 2] = [Algorithm::Es256, Algorithm::Rs256];

/// A server that trusts an issuer, and knows the client `dashboard`.
async fn trusting(algorithm: Algorithm, keys: &str) -> Platform {
    let it = Platform::with_tokens(TokenSettings {
        trusted: Some(TrustedIssuer {
            issuer: ISSUER.to_owned(),
            audience: "account".to_owned(),
            algorithm,
            keys: KeySource::at(keys).unwrap(),
        }),
        ..TokenSettings::default()
    })
    .await;
    it.make("dashboard", &["ui.content"]).await;
    it
}

/// What is different in header and claims from a token that counts, and whether it counts. `null` is
/// left out; times count from now.
const DIFFERENT: &str = r#"
nothing                   |                         |                                | counts
one audience as a text    |                         | {"aud":"account"}              | counts
the client's bare name    |                         | {"azp":"dashboard"}            | counts
one app as a text         |                         | {"appId":"myapp"}              | counts
no name of its own        |                         | {"jti":null}                   | counts
a generation              |                         | {"generation":7}               | counts
a clock that is ahead     |                         | {"iat":"now+5"}                | counts
expired                   |                         | {"exp":"now-1"}                | does not
issued in the future      |                         | {"iat":"now+60"}               | does not
not yet valid             |                         | {"nbf":"now+60"}               | does not
another audience          |                         | {"aud":"vinbus-bus"}           | does not
no audience               |                         | {"aud":null}                   | does not
another issuer            |                         | {"iss":"https://evil.example"} | does not
our issuer's name         |                         | {"iss":"vinbus"}               | does not
no expiry                 |                         | {"exp":null}                   | does not
an expiry beyond numbers  |                         | {"exp":1e300}                  | does not
a refresh token           |                         | {"typ":"Refresh"}              | does not
another app               |                         | {"appId":["other"]}            | does not
no app                    |                         | {"appId":null}                 | does not
an unknown client         |                         | {"azp":"myapp-nobody"}         | does not
a key of another name     | {"kid":"k2"}            |                                | does not
the encryption key        | {"kid":"enc"}           |                                | does not
no key named              | {"kid":null}            |                                | does not
a critical extension      | {"crit":["exp"]}        |                                | does not
alg none, but signed      | {"alg":"none"}          |                                | does not
alg HS256, but signed     | {"alg":"HS256"}         |                                | does not
the other algorithm       | {"alg":"OTHER"}         |                                | does not
a stronger algorithm      | {"alg":"PS256"}         |                                | does not
lower case                | {"alg":"es256"}         |                                | does not
no algorithm              | {"alg":null}            |                                | does not
"#;

#[tokio::test]
async fn a_token_counts_when_everything_about_it_is_right() {
    for algorithm in BOTH {
        let other = BOTH.into_iter().find(|it| *it != algorithm).unwrap();
        let key = Key::of(algorithm, "k1");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("certs.json");
        std::fs::write(&file, key_set(&[&key]).to_string()).unwrap();
        let it = trusting(algorithm, file.to_str().unwrap()).await;
        for row in DIFFERENT.trim().lines() {
            let [what, in_header, in_claims, outcome] = cells(row);
            let in_header = in_header.replace("OTHER", other.name());
            let header = changed(key.header(), &in_header);
            let token = key.sign(&header, &changed(claims(), in_claims));
            // Twice: what was verified once is remembered.
            for _ in 0..2 {
                let counts = it.counts(&token).await;
                assert_eq!(counts, outcome == "counts", "{}, {what}", algorithm.name());
            }
        }
    }
}

#[tokio::test]
async fn no_signature_but_that_of_the_issuers_key_is_one() {
    for (algorithm, other) in BOTH.into_iter().zip(BOTH.into_iter().rev()) {
        let (key, thief) = (Key::of(algorithm, "k1"), Key::of(Algorithm::Es256, "k1"));
        let (of_other, second) = (Key::of(other, "k1"), Key::of(other, "k2"));
        let server = KeyServer::start(&[&key, &second]).await;
        let it = trusting(algorithm, &server.url()).await;
        let good = key.token(&claims());
        assert!(it.counts(&good).await);
        let (signed, signature) = good.rsplit_once('.').unwrap();
        let none = signed_part(&json!({"alg": "none", "kid": "k1"}), &claims());
        let elsewhere = key.token(&changed(claims(), r#"{"azp":"myapp-other"}"#));
        let mut forged = vec![
            ("nothing", ".".to_owned()),
            ("no signature", signed.to_owned()),
            ("an empty signature", format!("{signed}.")),
            ("alg none", format!("{none}.")),
            ("alg none, a good signature", format!("{none}.{signature}")),
            (
                "a signature of other claims",
                format!("{signed}.{}", elsewhere.rsplit('.').next().unwrap()),
            ),
            (
                "a key of somebody else",
                thief.sign(&key.header(), &claims()),
            ),
            ("a key of the other kind", of_other.token(&claims())),
            (
                "a key of the other kind that says it is not",
                of_other.sign(&key.header(), &claims()),
            ),
            (
                "the issuer's key of the other kind",
                second.token(&claims()),
            ),
            (
                "too long",
                key.token(&changed(
                    claims(),
                    &format!(r#"{{"pad":"{}"}}"#, "x".repeat(20_000)),
                )),
            ),
        ];
        let public = key.signed_with_what_is_public(&claims());
        forged.extend(
            public
                .into_iter()
                .map(|token| ("HS256 with the public key", token)),
        );
        for (what, token) in forged {
            assert!(!it.counts(&token).await, "{}, {what}", algorithm.name());
        }
    }
}

#[tokio::test]
async fn keys_come_from_a_url_and_are_replaced_there() {
    for algorithm in BOTH {
        let (old, new) = (Key::of(algorithm, "old"), Key::of(Algorithm::Es256, "new"));
        let new = match algorithm {
            Algorithm::Es256 => new,
            Algorithm::Rs256 => Key::of(algorithm, "new"),
        };
        let server = KeyServer::start(&[&old]).await;
        let it = trusting(algorithm, &server.url()).await;
        let (by_old, by_new) = (old.token(&claims()), new.token(&claims()));
        assert!(it.counts(&by_old).await);
        assert!(!it.counts(&by_new).await);
        // Both are served while the issuer changes over; who names unknown keys is not asked for them.
        server.say(200, &key_set(&[&old, &new]));
        assert!(!it.counts(&by_new).await);
        assert_eq!(server.requests(), 1);
        pass(Duration::from_secs(30)).await;
        assert!(it.counts(&by_new).await && it.counts(&by_old).await);
        // What the issuer took back ends with the next fetch, although it was verified before.
        server.say(200, &key_set(&[&new]));
        pass(Duration::from_secs(60 * 60)).await;
        assert!(it.counts(&by_new).await && !it.counts(&by_old).await);
        assert_eq!(server.requests(), 3);
    }
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_is_no_fault_of_the_token() {
    let (known, unknown) = (
        Key::of(Algorithm::Es256, "k1"),
        Key::of(Algorithm::Es256, "k2"),
    );
    let server = KeyServer::start(&[&known, &unknown]).await;
    server.say(500, &Value::Null);
    let it = trusting(Algorithm::Es256, &server.url()).await;
    let token = known.token(&claims());
    let unavailable = async |token: &str| {
        let answer = it.whoami(token).await;
        assert_eq!(answer.headers["retry-after"], "30");
        text(&answer.with(503), "message")
    };
    let told = unavailable(&token).await;
    assert!(told.contains("keys of the trusted issuer"), "{told}");
    assert!(
        told.contains("500") && !told.contains("127.0.0.1"),
        "{told}"
    );
    server.say(200, &key_set(&[&known]));
    unavailable(&token).await;
    assert_eq!(server.requests(), 1, "it is not asked again at once");
    pass(Duration::from_secs(30)).await;
    assert!(it.counts(&token).await);

    // Nonsense and silence are as bad, and known keys stay good.
    server.say(200, &json!("no key set"));
    pass(Duration::from_secs(30)).await;
    unavailable(&unknown.token(&claims())).await;
    assert!(it.counts(&token).await);
    server.say(200, &key_set(&[&known, &unknown]));
    pass(Duration::from_secs(30)).await;
    assert!(it.counts(&unknown.token(&claims())).await);
}

/// `object` with some members changed, or left out where they are `null`.
fn changed(mut object: Value, changes: &str) -> Value {
    let changes = if changes.is_empty() { "{}" } else { changes };
    let changes: Value = serde_json::from_str(changes).unwrap();
    let members = object.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        let time = value.as_str().and_then(|text| text.strip_prefix("now"));
        if value.is_null() {
            members.remove(name);
        } else if let Some(offset) = time {
            let time = now().saturating_add_signed(offset.parse().unwrap());
            members.insert(name.clone(), time.into());
        } else {
            members.insert(name.clone(), value.clone());
        }
    }
    object
}

/// Has the server's clock go on, by a jump.
async fn pass(time: Duration) {
    tokio::time::pause();
    within(tokio::time::advance(time)).await;
    tokio::time::resume();
}
