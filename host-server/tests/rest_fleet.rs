//! Fleet messages over REST: who may be named how, what is refused with which words, and what is told.

mod rest_support;

use reqwest::Method;
use rest_support::{Events, OTHER_VIN, PARTNER, Rest, VIN, envelope, problem, within};
use serde_json::{Value, json};
use vinbus_host_server::model::Presence;

const PATH: &str = "/api/v1/fleet/messages";

fn body(recipients: &str) -> String {
    format!("{{\"message\":{},{recipients}}}", envelope("{\"n\": 1.50}"))
}

async fn post(rest: &Rest, recipients: &str) -> reqwest::Response {
    let request = rest.partner(Method::POST, PATH).body(body(recipients));
    within(request.send()).await.unwrap()
}

async fn made(rest: &Rest, recipients: &str) -> Value {
    let answer = post(rest, recipients).await;
    assert_eq!(answer.status(), 202);
    answer.json().await.unwrap()
}

async fn get(rest: &Rest, path: &str) -> Value {
    let answer = within(rest.partner(Method::GET, path).send())
        .await
        .unwrap();
    assert_eq!(answer.status(), 200, "{path}");
    answer.json().await.unwrap()
}

async fn until(rest: &Rest, path: &str, check: impl Fn(&Value) -> bool) -> Value {
    within(async {
        loop {
            let told = get(rest, path).await;
            if check(&told) {
                return told;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

#[tokio::test]
async fn fleet_message_is_sent_byte_for_byte_counted_and_traced() {
    let mut rest = Rest::start().await;
    rest.presence(VIN, Presence::Online);
    let answer = made(
        &rest,
        &format!("\"vins\":[\"{VIN}\",\"{OTHER_VIN}\",\"{VIN}\"]"),
    )
    .await;
    assert_eq!(
        (&answer["vehicles"], &answer["unseen"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        answer["unseenVins"],
        json!([VIN, OTHER_VIN]),
        "by this partner"
    );
    let (topic, payload) = rest.next_published().await;
    assert!(topic.contains(VIN), "{topic}");
    assert_eq!(payload, envelope("{\"n\": 1.50}"));

    let path = format!("{PATH}/{}", answer["id"].as_str().unwrap());
    let shown = until(&rest, &path, |told| told["counts"]["sent"] == 1).await;
    assert_eq!(shown["counts"], json!({"sent": 1, "waiting": 1}));
    assert_eq!(
        (&shown["state"], &shown["uid"]),
        (&json!("running"), &json!(PARTNER))
    );
    assert_eq!(shown["message"]["content"]["n"], 1.5);
    let vehicles = get(&rest, &format!("{path}/vehicles")).await;
    assert_eq!(
        vehicles["vehicles"][1],
        json!({"vin": OTHER_VIN, "step": "waiting", "messageId": null})
    );
    let id = vehicles["vehicles"][0]["messageId"].as_str().unwrap();
    let trace = get(&rest, &format!("/api/v1/messages/{id}")).await;
    assert_eq!(trace["fleet"], answer["id"]);
    assert_eq!(trace["status"], "sent");
    let listed = get(&rest, PATH).await;
    assert_eq!(listed["messages"][0]["id"], answer["id"]);
    rest.stop().await;
}

#[tokio::test]
async fn fleet_message_is_paused_resumed_and_cancelled_for_good() {
    let mut rest = Rest::start().await;
    let answer = made(&rest, &format!("\"vins\":[\"{VIN}\"]")).await;
    let path = format!("{PATH}/{}", answer["id"].as_str().unwrap());
    let post = async |verb: &str| {
        let request = rest.partner(Method::POST, &format!("{path}/{verb}"));
        within(request.send()).await.unwrap()
    };
    for (verb, state) in [
        ("pause", "paused"),
        ("pause", "paused"),
        ("resume", "running"),
        ("cancel", "cancelled"),
    ] {
        let told: Value = post(verb).await.json().await.unwrap();
        assert_eq!(told["state"], state, "{verb}");
    }
    let refused = problem(post("resume").await, 409, "fleet-over").await;
    assert_eq!(refused["state"], "cancelled");
    let shown = get(&rest, &path).await;
    assert_eq!(shown["counts"], json!({"cancelled": 1}));
    rest.stop().await;
}

#[tokio::test]
async fn filter_is_for_vehicles_that_have_sent_the_partner_something() {
    let mut rest = Rest::start().await;
    let refused = post(&rest, "\"filter\":{}").await;
    let refused = problem(refused, 400, "no-vehicle").await;
    assert_eq!(refused["known"], 0);
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    rest.arrive(PARTNER, OTHER_VIN, "{\"content\":1}").await;
    rest.presence(VIN, Presence::Online);
    rest.presence(OTHER_VIN, Presence::Offline);
    for (filter, vehicles) in [
        ("{}", 2),
        ("{\"online\":true}", 1),
        ("{\"online\":false,\"vinPrefix\":\"ZZZ\"}", 1),
        ("{\"vinPrefix\":\"ZZZ\"}", 1),
    ] {
        let answer = made(&rest, &format!("\"filter\":{filter}")).await;
        assert_eq!(answer["vehicles"], vehicles, "{filter}");
    }
    let refused = post(&rest, "\"filter\":{\"online\":true,\"vinPrefix\":\"ZZZ\"}").await;
    let refused = problem(refused, 400, "no-vehicle").await;
    assert_eq!(refused["known"], 2);
    let request = rest.other(Method::POST, PATH).body(body("\"filter\":{}"));
    let refused = within(request.send()).await.unwrap();
    assert_eq!(
        problem(refused, 400, "no-vehicle").await["known"],
        0,
        "to others"
    );
    rest.stop().await;
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place() {
    let mut rest = Rest::start().await;
    let refused = post(
        &rest,
        &format!("\"vins\":[\"{VIN}\",\"SHORT\",\"{OTHER_VIN}\",\"\"]"),
    )
    .await;
    let refused = problem(refused, 400, "bad-vin").await;
    let named = json!([{"index": 1, "vin": "SHORT"}, {"index": 3, "vin": ""}]);
    assert_eq!(refused["vins"], named);
    assert!(
        refused["detail"]
            .as_str()
            .unwrap()
            .contains("number 2, \"SHORT\""),
        "{refused}"
    );
    for (recipients, kind) in [
        ("\"vins\":[]", "no-vehicle"),
        ("\"vins\":null", "bad-body"),
        ("\"vins\":[\"0123456789ABCDEFG\"],\"filter\":{}", "bad-body"),
        ("\"filter\":{\"model\":\"x\"}", "bad-body"),
        ("\"filter\":{\"vinPrefix\":\"a/b\"}", "bad-body"),
    ] {
        problem(post(&rest, recipients).await, 400, kind).await;
    }
    let bad = format!("{{\"message\":{{\"idApp\":1}},\"vins\":[\"{VIN}\"]}}");
    let refused = within(rest.partner(Method::POST, PATH).body(bad).send())
        .await
        .unwrap();
    problem(refused, 400, "bad-envelope").await;
    let vins: Vec<String> = (0..50_001).map(|n| format!("TESTV{n:012}")).collect();
    let refused = problem(
        post(&rest, &format!("\"vins\":{}", json!(vins))).await,
        400,
        "bad-body",
    )
    .await;
    assert_eq!(
        (&refused["vehicles"], &refused["max"]),
        (&json!(50_001), &json!(50_000))
    );
    let path = format!("{PATH}?rate=0");
    let request = rest
        .partner(Method::POST, &path)
        .body(body("\"filter\":{}"));
    let refused = problem(within(request.send()).await.unwrap(), 400, "bad-query").await;
    assert!(
        refused["detail"].as_str().unwrap().contains("1 to 200"),
        "{refused}"
    );
    assert_eq!(
        get(&rest, PATH).await["messages"],
        json!([]),
        "nothing of it remains"
    );
    rest.stop().await;
}

#[tokio::test]
async fn partner_sees_its_own_only() {
    let mut rest = Rest::start().await;
    let answer = made(&rest, &format!("\"vins\":[\"{VIN}\"]")).await;
    let path = format!("{PATH}/{}", answer["id"].as_str().unwrap());
    for (method, path) in [
        (Method::GET, path.clone()),
        (Method::GET, format!("{path}/vehicles")),
        (Method::POST, format!("{path}/cancel")),
    ] {
        let refused = within(rest.other(method, &path).send()).await.unwrap();
        problem(refused, 404, "not-found").await;
    }
    let listed = within(rest.other(Method::GET, PATH).send()).await.unwrap();
    let listed: Value = listed.json().await.unwrap();
    assert_eq!(listed["messages"], json!([]));
    rest.stop().await;
}

/// What the next event says that is of this fleet message.
async fn next_of(events: &mut Events, id: &Value) -> Value {
    loop {
        let (_, data) = events.next_message().await;
        let told: Value = serde_json::from_str(&data).unwrap();
        if told["id"] == *id && told.get("counts").is_some() {
            return told;
        }
    }
}

#[tokio::test]
async fn activity_stream_tells_its_partner_how_far_a_fleet_message_is_to_its_end() {
    let rest = Rest::start().await;
    let path = "/api/v1/activity/stream";
    let mut events = Events::of(rest.partner(Method::GET, path).send().await.unwrap());
    let mut foreign = Events::of(rest.other(Method::GET, path).send().await.unwrap());
    // Each begins with the status: both follow from here on.
    events.next_message().await;
    foreign.next_message().await;
    rest.presence(VIN, Presence::Online);
    let answer = made(&rest, &format!("\"vins\":[\"{VIN}\",\"{OTHER_VIN}\"]")).await;
    let id = &answer["id"];
    let until = async |events: &mut Events, counts: Value| loop {
        let told = next_of(events, id).await;
        if told["counts"] == counts {
            return told;
        }
    };
    let told = until(&mut events, json!({"sent": 1, "waiting": 1})).await;
    assert_eq!(
        (&told["state"], &told["vehicles"]),
        (&json!("running"), &json!(2))
    );
    assert_eq!(told["uid"], PARTNER);
    let pause = rest.partner(
        Method::POST,
        &format!("{PATH}/{}/pause", id.as_str().unwrap()),
    );
    within(pause.send()).await.unwrap();
    while next_of(&mut events, id).await["state"] != "paused" {}
    let resume = rest.partner(
        Method::POST,
        &format!("{PATH}/{}/resume", id.as_str().unwrap()),
    );
    within(resume.send()).await.unwrap();
    rest.presence(OTHER_VIN, Presence::Online);
    let told = until(&mut events, json!({"sent": 2})).await;
    if told["state"] != "finished" {
        while next_of(&mut events, id).await["state"] != "finished" {}
    }
    // One that is over before anybody looks is told as well.
    let quick = made(&rest, &format!("\"vins\":[\"{VIN}\"]")).await;
    while next_of(&mut events, &quick["id"]).await["state"] != "finished" {}
    // The other partner was told of its own only.
    let request = rest.other(Method::POST, PATH);
    let own = within(request.body(body(&format!("\"vins\":[\"{VIN}\"]"))).send()).await;
    let own: Value = own.unwrap().json().await.unwrap();
    loop {
        let (_, data) = foreign.next_message().await;
        let told: Value = serde_json::from_str(&data).unwrap();
        if told.get("counts").is_some() {
            assert_eq!(told["id"], own["id"], "{told}");
            break;
        }
    }
}
