//! What the console reads, as partners see it: their own, and nothing of others.

mod rest_support;

use reqwest::Method;
use rest_support::{Events, OTHER, OTHER_VIN, PARTNER, Rest, VIN, envelope, problem};
use serde_json::{Value, json};
use vinbus_host_server::model::Presence;

const PATHS: [&str; 3] = [
    "/api/v1/messages/sent",
    "/api/v1/activity/stream",
    "/api/v1/status",
];

/// Sends a message as this partner; its id.
async fn send(rest: &Rest, uid: &str, content: &str) -> Value {
    let path = format!("/api/v1/vehicles/{VIN}/messages?uid={uid}");
    let sent = rest.admin(Method::POST, &path).body(envelope(content));
    let accepted: Value = sent.send().await.unwrap().json().await.unwrap();
    accepted["id"].clone()
}

#[tokio::test]
async fn a_partner_reads_of_its_own_sent_messages_only() {
    let rest = Rest::start().await;
    let own = send(&rest, PARTNER, "1").await;
    let others = send(&rest, OTHER, "2").await;
    let ids = async |request: reqwest::RequestBuilder| {
        let page: Value = request.send().await.unwrap().json().await.unwrap();
        let messages = page["messages"].as_array().unwrap().iter();
        messages.map(|it| it["id"].clone()).collect::<Vec<_>>()
    };
    let all = ids(rest.admin(Method::GET, PATHS[0])).await;
    assert_eq!(all, [others.clone(), own.clone()]);
    let seen = ids(rest.partner(Method::GET, PATHS[0])).await;
    assert_eq!(seen, std::slice::from_ref(&own));
    let seen = ids(rest.other(Method::GET, PATHS[0])).await;
    assert_eq!(seen, [others]);
    let foreign = format!("{}?uid={OTHER}", PATHS[0]);
    let refused = rest.partner(Method::GET, &foreign).send().await.unwrap();
    problem(refused, 403, "forbidden").await;
}

#[tokio::test]
async fn a_partner_follows_its_own_messages_and_vehicles_only() {
    let rest = Rest::start().await;
    let follow = rest.partner(Method::GET, PATHS[1]).send().await.unwrap();
    let mut events = Events::of(follow);
    // Its first event is the status; what happens from then on is told.
    events.next_message().await;
    send(&rest, OTHER, "\"of the other\"").await;
    rest.arrive(OTHER, OTHER_VIN, r#"{"content":1}"#).await;
    rest.presence(OTHER_VIN, Presence::Online);
    rest.arrive(PARTNER, VIN, r#"{"content":1}"#).await;
    rest.presence(VIN, Presence::Online);
    let own = send(&rest, PARTNER, "\"its own\"").await;
    let mut told = Vec::new();
    let is_sent = |data: &Value| data["id"] == own && data["step"] == "sent";
    while !told.last().is_some_and(is_sent) {
        let (_, data) = events.next_message().await;
        let data: Value = serde_json::from_str(&data).unwrap();
        if data.get("figures").is_none() {
            told.push(data);
        }
    }
    for event in &told {
        assert!(event["id"] == own || event["vin"] == VIN, "{event}");
    }
    let is_told = |member: &str, value: &str| told.iter().any(|event| event[member] == value);
    assert!(is_told("presence", "online"), "{told:?}");
    assert!(is_told("excerpt", "\"its own\""), "{told:?}");
}

#[tokio::test]
async fn a_partner_is_told_by_the_stream_what_it_may_ask_of_the_status() {
    let rest = Rest::start().await;
    let follow = rest.partner(Method::GET, PATHS[1]).send().await.unwrap();
    let (_, told) = Events::of(follow).next_message().await;
    let told: Value = serde_json::from_str(&told).unwrap();
    let asked = rest.partner(Method::GET, PATHS[2]).send().await.unwrap();
    let asked: Value = asked.json().await.unwrap();
    let members = |status: &Value| -> Vec<String> {
        let members = status.as_object().unwrap().keys();
        members.cloned().collect()
    };
    assert_eq!(members(&told), members(&asked));
    // They are figures of the whole server, without those whom they are of.
    send(&rest, OTHER, "1").await;
    rest.arrive(OTHER, OTHER_VIN, r#"{"content":1}"#).await;
    let after = rest.partner(Method::GET, PATHS[2]).send().await.unwrap();
    let after = after.text().await.unwrap();
    // As a label's value would be in this JSON.
    let other = format!(r#"=\"{OTHER}\""#);
    for foreign in [&other, OTHER_VIN, VIN] {
        assert!(!after.contains(foreign), "{after}");
    }
}

#[tokio::test]
async fn nothing_of_it_is_told_to_those_without_a_token() {
    let rest = Rest::start().await;
    for path in PATHS {
        let answer = rest.bare(Method::GET, path).send().await.unwrap();
        problem(answer, 401, "unauthorized").await;
        let strange = rest.bare(Method::GET, path).bearer_auth("0123");
        problem(strange.send().await.unwrap(), 401, "unauthorized").await;
    }
    let link = rest.bare(Method::POST, "/api/v1/console/links");
    problem(link.send().await.unwrap(), 401, "unauthorized").await;
}

#[tokio::test]
async fn a_partners_token_opens_no_console() {
    let rest = Rest::start().await;
    let link = rest.partner(Method::POST, "/api/v1/console/links");
    problem(link.send().await.unwrap(), 403, "forbidden").await;
    let sign_in = rest
        .bare(Method::POST, "/api/v1/console/session")
        .header("origin", format!("http://{}", rest.address))
        .body(json!({ "link": rest.partner }).to_string());
    problem(sign_in.send().await.unwrap(), 410, "link-refused").await;
}
