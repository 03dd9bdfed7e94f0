//! Clients of the bus, managed over REST: who may do what with them, and what they are told.

mod platform_support;
mod rest_support;

use platform_support::{CLIENTS, Platform, cells, text};
use reqwest::Method;
use serde_json::{Value, json};
use vinbus_protocol::bus::topics;

#[tokio::test]
async fn a_right_that_is_taken_while_a_body_comes_is_gone() {
    let it = Platform::start().await;
    let manager = it.enter("manager", &["*"]).await;
    it.make("other", &["ui.content"]).await;
    let other = format!("{CLIENTS}/other");
    let new = json!({"clientId": "new", "permissions": ["ui.content"]});
    let raise = json!({"permissions": ["session.*"]});
    let explain = json!({"topic": "app/myapp/ui/content"});
    let fewer = json!({"permissions": ["platform.client", "ui.content"]});
    let none = json!({"permissions": ["ui.*"]});
    let disabled = json!({"disabled": true});
    for (left, method, path, body, status) in [
        (&fewer, "PATCH", other.as_str(), &raise, "403"),
        (&none, "PATCH", &other, &raise, "403"),
        (&none, "POST", CLIENTS, &new, "403"),
        (&disabled, "POST", CLIENTS, &new, "401"),
        (&disabled, "POST", "/api/platform/acl", &explain, "401"),
    ] {
        let taken = it.change("manager", left.clone());
        let got = it.slowly((method, path, &manager), body, taken).await;
        assert_eq!(got, status, "{left} {method} {path}");
        let whole = json!({"permissions": ["*"], "disabled": false});
        it.change("manager", whole).await;
    }
}

/// What the manager, who has `platform.client` and `ui.*`, does one after the other; and the answer.
const MANAGED: &str = r#"
POST   | myapp | a        | ["ui.content"]    | 201
POST   | myapp | a        | ["ui.content"]    | 400
POST   | myapp | b        | ["session.agent"] | 403
POST   | myapp | b        | []                | 403
POST   | other | b        | ["ui.content"]    | 403
PATCH  | myapp | a        | ["*"]             | 403
PATCH  | myapp | a        | ["ui.*"]          | 200
PATCH  | myapp | strong   | ["ui.*"]          | 403
DELETE | myapp | strong   |                   | 403
DELETE | myapp | myapp-a  |                   | 200
GET    | myapp | a        |                   | 404
"#;

#[tokio::test]
async fn a_client_manages_its_own_app_and_passes_on_no_more_than_it_has() {
    let it = Platform::start().await;
    let manager = it.enter("manager", &["platform.client", "ui.*"]).await;
    it.make("strong", &["*"]).await;
    for row in MANAGED.trim().lines() {
        let [method, app, client, permissions, status] = cells(row);
        let mut path = CLIENTS.replace("myapp", app);
        let mut body = json!({});
        if let Ok(permissions) = serde_json::from_str::<Value>(permissions) {
            body["permissions"] = permissions;
        }
        if method == "POST" {
            body["clientId"] = client.into();
        } else {
            path = format!("{path}/{client}");
        }
        let asked = it.client_asks(&manager, method.parse().unwrap(), &path, body);
        assert_eq!(asked.await.status.to_string(), status, "{row}");
    }
    let all = "/api/platform/client";
    let listed = it.client_asks(&manager, Method::GET, all, json!({})).await;
    let listed = listed.with(200).to_string();
    assert!(
        listed.contains("manager") && listed.contains("strong"),
        "{listed}"
    );
    assert!(
        !listed.contains("secret") && !listed.contains("argon2"),
        "{listed}"
    );
    let weak = it.enter("weak", &["ui.content"]).await;
    it.client_asks(&weak, Method::GET, CLIENTS, json!({}))
        .await
        .with(403);
}

#[tokio::test]
async fn a_client_learns_its_own_topics() {
    let it = Platform::start().await;
    let own = it.enter("dashboard", &["ui.*", "session.agent"]).await;
    it.make("other", &["*"]).await;
    let path = |client| format!("{CLIENTS}/{client}/topics");
    let topics = async |client| {
        it.client_asks(&own, Method::GET, &path(client), json!({}))
            .await
    };
    let expected = [
        "app/:appId/ui/status",
        "app/:appId/ui/interaction/:moduleId",
        "app/:appId/ui/content",
        "app/:appId/session/agent/heartbeat",
        "app/:appId/session/agent/changed/:agentId",
    ];
    assert_eq!(topics("dashboard").await.with(200), json!(expected));
    topics("other").await.with(403);
    let all = it.admin_asks(Method::GET, &path("other"), json!({})).await;
    let all = all.with(200).as_array().unwrap().len();
    assert_eq!(all, 56 + topics::OF_HOST.len());
}

#[tokio::test]
async fn a_decision_is_explained_with_its_rule() {
    const ACL: &str = "/api/platform/acl";
    let it = Platform::start().await;
    let own = it.enter("dashboard", &["ui.*"]).await;
    let other = it.enter("other", &["ui.*"]).await;
    let explain = async |body| it.client_asks(&own, Method::POST, ACL, body).await;
    let allowed = explain(json!({"topic": "app/myapp/ui/content"}))
        .await
        .with(200);
    assert_eq!(allowed["clientId"], "dashboard");
    let rule = json!({"allowed": true, "rule": "the client has the permission `ui.*`"});
    for action in ["publish", "subscribe", "deliver"] {
        assert_eq!(allowed[action], rule);
    }
    let denied = explain(json!({"topic": "app/other/ui/#"})).await.with(200);
    let rule = "the token is not for the application `other`";
    assert_eq!(denied["subscribe"]["rule"], rule);
    assert_eq!(denied["publish"]["allowed"], false);

    let about = |token: &str| json!({"topic": "app/myapp/ui/content", "token": token});
    explain(about(&other)).await.with(403);
    for (token, part) in [
        (&*other, "`ui.*`"),
        ("nonsense", "the token does not count"),
    ] {
        let answer = it
            .admin_asks(Method::POST, ACL, about(token))
            .await
            .with(200);
        let rule = answer["publish"]["rule"].to_string();
        assert!(rule.contains(part), "{rule}");
    }
    let missing = it.admin_asks(Method::POST, ACL, json!({})).await;
    assert_eq!(missing.with(400)["message"], "topic missing");
}

#[tokio::test]
async fn what_cannot_be_a_client_is_refused() {
    let it = Platform::start().await;
    let make = async |path: &str, body| it.admin_asks(Method::POST, path, body).await;
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
        assert_eq!(make(CLIENTS, body.clone()).await.status, 400, "{body}");
    }
    make("/api/platform/app/a%2Fb/client", json!({}))
        .await
        .with(400);
    let made = make(CLIENTS, json!({})).await.with(201);
    assert_eq!(text(&made, "clientId").len(), 36);
    assert_eq!(made["permissions"], json!(["*"]));
    let path = format!("{CLIENTS}/{}", text(&made, "clientId"));
    let nothing = it.admin_asks(Method::PATCH, &path, json!({"permissions": []}));
    let told = text(&nothing.await.with(400), "message");
    assert!(told.contains("disabled"), "{told}");
}
