//! Webhooks: made with a secret that is shown once, and seen by their owner only.

mod rest_support;

use reqwest::Method;
use rest_support::{OTHER, PARTNER, Rest, problem};
use serde_json::{Value, json};

const PATH: &str = "/api/v1/webhooks";

#[tokio::test]
async fn a_secret_is_shown_when_the_webhook_is_made_and_never_again() {
    let rest = Rest::start().await;
    let body = json!({"url": "https://partner.example/hook"}).to_string();
    let answer = rest
        .partner(Method::POST, PATH)
        .body(body)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
    assert_eq!(answer.headers()["cache-control"], "no-store");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let mut made: Value = answer.json().await.unwrap();
    let secret = made.as_object_mut().unwrap().remove("secret").unwrap();
    assert!(secret.as_str().unwrap().starts_with("whsec_"));
    assert_eq!(made["uid"], PARTNER);

    let listed = rest
        .partner(Method::GET, PATH)
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(!listed.contains("whsec_"), "{listed}");
    assert_eq!(
        serde_json::from_str::<Value>(&listed).unwrap(),
        json!({"webhooks": [made]})
    );
    let one: Value = rest
        .partner(Method::GET, &location)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(one, made);

    let removed = rest
        .partner(Method::DELETE, &location)
        .send()
        .await
        .unwrap();
    assert_eq!(removed.status(), 204);
    let gone = rest
        .partner(Method::DELETE, &location)
        .send()
        .await
        .unwrap();
    problem(gone, 404, "not-found").await;
}

#[tokio::test]
async fn a_partner_sees_and_removes_its_own_webhooks_only() {
    let rest = Rest::start().await;
    let body = json!({"url": "https://partner.example/hook", "uid": OTHER}).to_string();
    let foreign = rest
        .partner(Method::POST, PATH)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    problem(foreign, 403, "forbidden").await;
    let made = rest
        .admin(Method::POST, PATH)
        .body(body)
        .send()
        .await
        .unwrap();
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let listed: Value = rest
        .partner(Method::GET, PATH)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(listed, json!({"webhooks": []}));
    let foreign = rest
        .partner(Method::DELETE, &location)
        .send()
        .await
        .unwrap();
    problem(foreign, 404, "not-found").await;
    let own = rest.other(Method::DELETE, &location).send().await.unwrap();
    assert_eq!(own.status(), 204);
}

#[tokio::test]
async fn a_url_that_cannot_be_delivered_to_is_refused() {
    let rest = Rest::start().await;
    for url in [
        "",
        "partner.example",
        "ftp://partner.example/",
        "http://partner.example/",
        "https://user:pass@partner.example/",
        "file:///etc/passwd",
    ] {
        let body = json!({"url": url}).to_string();
        let answer = rest
            .admin(Method::POST, PATH)
            .body(body)
            .send()
            .await
            .unwrap();
        problem(answer, 400, "bad-body").await;
    }
    let local = json!({"url": "http://127.0.0.1:9/hook"}).to_string();
    let answer = rest
        .admin(Method::POST, PATH)
        .body(local)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 201);
}

#[tokio::test]
async fn a_partner_cannot_reach_the_servers_own_network_by_a_webhook() {
    let rest = Rest::start().await;
    for url in [
        "http://127.0.0.1:9/hook",
        "http://localhost:9/hook",
        "https://10.0.0.7/hook",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:192.168.0.1]/hook",
        "https://3232235521/hook",
    ] {
        let body = json!({"url": url}).to_string();
        let answer = rest.partner(Method::POST, PATH).body(body).send().await;
        let document = problem(answer.unwrap(), 400, "bad-body").await;
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains("does not lead to an address of the public internet"));
        assert!(detail.contains("--webhook-networks any"), "{detail}");
    }
}

#[tokio::test]
async fn a_second_webhook_for_the_same_url_is_answered_409_with_the_id_of_the_first() {
    let rest = Rest::start().await;
    let body = json!({"url": "https://partner.example/hook"}).to_string();
    let make = async || {
        let request = rest.partner(Method::POST, PATH).body(body.clone());
        request.send().await.unwrap()
    };
    let first: Value = make().await.json().await.unwrap();
    let document = problem(make().await, 409, "webhook-exists").await;
    assert_eq!(document["id"], first["id"]);
}

#[tokio::test]
async fn a_bad_body_is_refused_at_its_line() {
    let rest = Rest::start().await;
    for (body, line) in [("{\n\"ulr\": 1}", 2), ("", 1), ("{\n\n", 3), ("[]", 1)] {
        let answer = rest
            .admin(Method::POST, PATH)
            .body(body)
            .send()
            .await
            .unwrap();
        let document = problem(answer, 400, "bad-body").await;
        assert_eq!(document["line"], line, "{document}");
    }
}
