//! The OpenAPI document describes what the server really answers.

mod rest_support;

use reqwest::Method;
use rest_support::{Rest, envelope, within};
use serde_json::Value;

#[tokio::test]
async fn every_documented_operation_is_answered_as_documented() {
    let rest = Rest::start().await;
    let answer = rest
        .bare(Method::GET, "/api/openapi.json")
        .send()
        .await
        .unwrap();
    let document: Value = answer.json().await.unwrap();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item
            .as_object()
            .unwrap()
            .iter()
            .filter(|(key, _)| *key != "parameters")
        {
            // None at all, or one of them that asks for nothing.
            let security = operation["security"].as_array();
            let needs_token =
                security.is_none_or(|any| !any.is_empty() && !any.contains(&serde_json::json!({})));
            let asked = path
                .replace("{vin}", rest_support::VIN)
                .replace("{id}", "unknown");
            let method: Method = method.to_uppercase().parse().unwrap();
            let bare = rest.bare(method.clone(), &asked).send().await.unwrap();
            // A path that is no route is answered 404 before its token is looked at.
            assert_eq!(bare.status() == 401, needs_token, "{method} {path}");
            let answer = rest
                .admin(method.clone(), &asked)
                .body(envelope("1"))
                .send();
            let status = within(answer).await.unwrap().status();
            assert_ne!(status, 405, "{method} {path}");
            assert!(
                operation["responses"].get(status.as_str()).is_some(),
                "{method} {path} answers {status}, which is not documented"
            );
        }
    }
}

#[tokio::test]
async fn every_documented_operation_of_the_server_s_own_refuses_a_parameter_that_it_does_not_know()
{
    let rest = Rest::start().await;
    let document = rest.bare(Method::GET, "/api/openapi.json").send();
    let document: Value = document.await.unwrap().json().await.unwrap();
    let paths = document["paths"].as_object().unwrap().iter();
    for (path, item) in paths.filter(|(path, _)| path.starts_with("/api/v1/")) {
        let operations = item.as_object().unwrap().keys();
        for method in operations.filter(|key| *key != "parameters") {
            let asked = path
                .replace("{vin}", rest_support::VIN)
                .replace("{id}", "unknown");
            let method: Method = method.to_uppercase().parse().unwrap();
            let asked = rest.admin(method.clone(), &format!("{asked}?no-such=1"));
            let answer = within(asked.body(envelope("1")).send()).await.unwrap();
            assert_eq!(answer.status(), 400, "{method} {path}");
            let problem: Value = answer.json().await.unwrap();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains("\"no-such\""), "{method} {path}: {detail}");
        }
    }
}

#[tokio::test]
async fn health_readiness_and_metrics_need_no_token() {
    let rest = Rest::start().await;
    let get = async |path: &str| rest.bare(Method::GET, path).send().await.unwrap();
    assert_eq!(get("/healthz").await.text().await.unwrap(), "ok\n");
    let ready: Value = get("/readyz").await.json().await.unwrap();
    assert_eq!(ready, serde_json::json!({"ready": true, "reasons": []}));
    let metrics = get("/metrics").await.text().await.unwrap();
    assert!(
        metrics.contains("vinbus_http_answers_total{status=\"200\"} "),
        "{metrics}"
    );
}
