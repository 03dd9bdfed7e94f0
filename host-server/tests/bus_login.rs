//! What the broker answers to each token that does not count, in both versions of MQTT.

mod broker_support;
mod bus_support;
mod issuer_support;

use broker_support::raw::Connect;
use bus_support::BusFixture;
use issuer_support::{ISSUER, Key, claims, key_set, now};
use serde_json::json;
use vinbus_host_server::bus::{Algorithm, BusSettings, KeySource, TokenSettings, TrustedIssuer};

/// "Bad user name or password", for MQTT 5 and 3.1.1.
const BAD_LOGIN: (u8, u8) = (0x86, 4);

/// A broker that trusts an issuer with the keys of this file, and knows the client `dashboard`.
async fn trusting(keys: &str) -> BusFixture {
    let trusted = TrustedIssuer {
        issuer: ISSUER.to_owned(),
        audience: "account".to_owned(),
        algorithm: Algorithm::Es256,
        keys: KeySource::at(keys).unwrap(),
    };
    let tokens = TokenSettings {
        trusted: Some(trusted),
        ..TokenSettings::default()
    };
    let it = BusFixture::with(BusSettings {
        tokens,
        ..BusSettings::default()
    })
    .await;
    it.make("myapp", "dashboard", &["ui.content"]).await;
    it
}

#[tokio::test]
async fn each_wrong_token_is_refused_by_its_reason() {
    let key = Key::of(Algorithm::Es256, "k1");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("certs.json");
    std::fs::write(&file, key_set(&[&key]).to_string()).unwrap();
    let it = trusting(file.to_str().unwrap()).await;
    let with = |member: &str, value: serde_json::Value| {
        let mut claims = claims();
        claims[member] = value;
        key.token(&claims)
    };
    let good = key.token(&claims());
    let mut header = key.header();
    header["alg"] = "none".into();
    let none = key.sign(&header, &claims());
    let mut table = vec![
        ("right", good.clone(), (0, 0)),
        ("expired", with("exp", json!(now() - 1)), BAD_LOGIN),
        ("not yet valid", with("nbf", json!(now() + 60)), BAD_LOGIN),
        ("another audience", with("aud", json!("other")), BAD_LOGIN),
        ("another issuer", with("iss", json!("other")), BAD_LOGIN),
        ("another app's", with("appId", json!(["other"])), (0x87, 5)),
        ("alg none", none, BAD_LOGIN),
        ("changed", good.replace('.', "A."), BAD_LOGIN),
    ];
    let public = key.signed_with_what_is_public(&claims());
    let public = public.into_iter();
    table.extend(public.map(|token| ("HS256 with the public key", token, BAD_LOGIN)));
    for (what, token, (five, three)) in table {
        let connect = Connect::new("id").login(&token, "x");
        for (connect, expected) in [(connect.clone(), five), (connect.v311(), three)] {
            let mut client = it.plain().await;
            assert_eq!(client.connect(&connect).await, expected, "{what}");
        }
    }
    // Keys that cannot be had are not the client's fault.
    let nowhere = trusting("http://127.0.0.1:9/certs").await;
    let connect = Connect::new("id").login(&good, "x");
    for (connect, expected) in [(connect.clone(), 0x88), (connect.v311(), 3)] {
        let mut client = nowhere.plain().await;
        assert_eq!(client.connect(&connect).await, expected);
    }
}
