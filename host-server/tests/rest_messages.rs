//! Messages for vehicles: accepted once they are on disk, unchanged, and traceable.

mod rest_support;

use reqwest::{Method, RequestBuilder};
use rest_support::{ODD_CONTENTS, OTHER, PARTNER, Rest, Setup, VIN, envelope, problem};
use serde_json::Value;
use vinbus_host_server::broker::{Arrival, BrokerEvents as _};
use vinbus_host_server::hub;
use vinbus_host_server::model::Presence;
use vinbus_protocol::id::{Uid, Vin};

const PATH: &str = "/api/v1/vehicles/0123456789ABCDEFG/messages";

#[tokio::test]
async fn an_accepted_message_is_sent_and_traced_step_by_step() {
    let mut rest = Rest::start().await;
    let answer = rest.send(envelope("{\"hello\": 1}")).await;
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = answer.json().await.unwrap();
    assert_eq!(accepted["uid"], PARTNER);
    assert_eq!(accepted["vin"], VIN);
    let id = accepted["id"].as_str().unwrap();
    assert_eq!(location, format!("/api/v1/messages/{id}"));

    rest.presence(VIN, Presence::Online);
    let (topic, payload) = rest.next_published().await;
    assert_eq!(
        topic,
        format!("psa/OVIPPartners-Dev/to/uid/{PARTNER}/opa/{VIN}/")
    );
    assert_eq!(payload, envelope("{\"hello\": 1}"));

    let trace = traced_until(&rest, &location, "sent").await;
    assert_eq!(trace["id"], id);
    assert_eq!(trace["app"], "demo-app");
    assert_eq!(trace["message"]["content"]["hello"], 1);
    let steps: Vec<_> = trace["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| &step["step"])
        .collect();
    assert_eq!(steps, ["accepted", "held", "sent"]);
    assert!(trace["steps"][0]["at"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_key_that_would_not_be_heeded_is_refused_as_documented() {
    let rest = Rest::start().await;
    let document = rest.bare(Method::GET, "/api/openapi.json").send();
    let document: Value = document.await.unwrap().json().await.unwrap();
    for path in [PATH, "/api/v1/fleet/messages"] {
        let described = &document["paths"][path.replace(VIN, "{vin}")]["post"]["description"];
        assert!(described.as_str().unwrap().contains("`Idempotency-Key`"));
        let asked = rest.partner(Method::POST, path).body(envelope("1"));
        let answer = asked.header("idempotency-key", "k1").send().await.unwrap();
        let document = problem(answer, 400, "bad-query").await;
        assert!(document["detail"].as_str().unwrap().contains("/requests"));
    }
}

#[tokio::test]
async fn the_answer_tells_whether_the_caller_may_know_of_the_vehicle() {
    let rest = Rest::start().await;
    let seen = async |request: RequestBuilder| {
        let answer = request.body(envelope("1")).send().await.unwrap();
        assert_eq!(answer.status(), 202);
        answer.json::<Value>().await.unwrap()["seen"].clone()
    };
    rest.presence(VIN, Presence::Online);
    assert_eq!(seen(rest.admin(Method::POST, PATH)).await, true);
    // Not to a partner, whom it sent nothing.
    assert_eq!(seen(rest.partner(Method::POST, PATH)).await, false);
    let other_case = PATH.replace("ABCDEFG", "ABCDEFg");
    assert_eq!(seen(rest.admin(Method::POST, &other_case)).await, false);
    let arrival = Arrival {
        topic: format!("psa/OVIPPartners-Dev/from/uid/{PARTNER}/opa/{VIN}/"),
        payload: "{\"content\":1}".into(),
        retained: false,
    };
    rest.hub.arrived(arrival).await.await.unwrap();
    assert_eq!(seen(rest.partner(Method::POST, PATH)).await, true);
}

#[tokio::test]
async fn the_bytes_of_content_reach_the_broker_unchanged() {
    let mut rest = Rest::start().await;
    rest.presence(VIN, Presence::Online);
    for content in ODD_CONTENTS {
        let body = format!(" {{ \"content\" : {content} , \"idApp\":\"demo-app\" }}\n");
        assert_eq!(rest.send(body).await.status(), 202, "{content}");
        let (_, payload) = rest.next_published().await;
        assert_eq!(payload, envelope(content));
    }
}

#[tokio::test]
async fn a_member_that_stands_twice_is_refused_unless_it_is_in_the_content() {
    let mut rest = Rest::start().await;
    rest.presence(VIN, Presence::Online);
    let twice = rest.send(r#"{"idApp":"a","content":1,"content":2}"#).await;
    assert_eq!(twice.status(), 400);
    let document: Value = twice.json().await.unwrap();
    let detail = document["detail"].as_str().unwrap();
    assert!(
        detail.starts_with("the member content is here a second time"),
        "{detail}"
    );
    assert_eq!(document["offset"], 25);

    let inside = envelope(r#"{"c":1,"c":2}"#);
    assert_eq!(rest.send(inside.clone()).await.status(), 202);
    let (_, sent) = rest.next_published().await;
    assert_eq!(sent, inside);
}

#[tokio::test]
async fn a_partner_sends_as_itself_and_the_administrator_as_anybody() {
    let rest = Rest::start().await;
    let body = envelope("1");
    let uid = |answer: Value| answer["uid"].as_str().unwrap().to_owned();

    let as_itself = rest
        .other(Method::POST, PATH)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(uid(as_itself.json().await.unwrap()), OTHER);
    let named = format!("{PATH}?uid={OTHER}");
    let as_other = rest
        .admin(Method::POST, &named)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    assert_eq!(uid(as_other.json().await.unwrap()), OTHER);

    let foreign = rest
        .partner(Method::POST, &named)
        .body(body)
        .send()
        .await
        .unwrap();
    let document = problem(foreign, 403, "forbidden").await;
    assert!(document["detail"].as_str().unwrap().contains(OTHER));
}

#[tokio::test]
async fn a_message_of_a_partner_that_is_not_enrolled_is_refused_with_advice() {
    let rest = Rest::start().await;
    let path = format!("{PATH}?uid=othr");
    let answer = rest.admin(Method::POST, &path).body(envelope("1")).send();
    let document = problem(answer.await.unwrap(), 400, "bad-query").await;
    let detail = document["detail"].as_str().unwrap();
    assert!(
        detail.contains("host-server enroll partner othr"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_member_that_would_not_reach_the_vehicle_is_refused_by_name_and_place() {
    let rest = Rest::start().await;
    for (body, offset, part) in [
        (
            "{\"idApp\":\"a\",\n \"popUp\":true,\"content\":1}",
            15,
            "\"popUp\"",
        ),
        (
            r#"{"idApp":"a","popupText":"Go","content":1}"#,
            13,
            "popup is not true",
        ),
        (
            r#"{"idApp":"a","popup":true,"popupText":""}"#,
            26,
            "popupText is empty",
        ),
        (
            r#"{"idApp":"a","contnt":1}"#,
            13,
            "the member `content` is missing; a member \"contnt\" is here instead",
        ),
    ] {
        let document = problem(rest.send(body).await, 400, "bad-envelope").await;
        assert_eq!(document["offset"], offset, "{body}");
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{detail}");
    }
}

#[tokio::test]
async fn a_partner_cannot_trace_the_message_of_another() {
    let rest = Rest::start().await;
    let answer = rest.send(envelope("1")).await;
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let own = rest.partner(Method::GET, &location).send().await.unwrap();
    assert_eq!(own.status(), 200);
    let foreign = rest.other(Method::GET, &location).send().await.unwrap();
    problem(foreign, 404, "not-found").await;
}

#[tokio::test]
async fn a_message_is_given_up_after_its_ttl_and_the_trace_tells() {
    let rest = Rest::start().await;
    let path = format!("{PATH}?ttl=1");
    let answer = rest.admin(Method::POST, &path).body(envelope("1"));
    let answer = answer.send().await.unwrap();
    assert_eq!(answer.status(), 202);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let accepted: Value = answer.json().await.unwrap();
    let trace = traced_until(&rest, &location, "expired").await;
    assert_eq!(trace["expiresAt"], accepted["expiresAt"]);
    rest.presence(VIN, Presence::Online);
    let trace = traced_until(&rest, &location, "expired").await;
    assert_eq!(trace["status"], "expired");

    for ttl in ["0", "2592001", "-1", "1h", ""] {
        let path = format!("{PATH}?ttl={ttl}");
        let answer = rest.admin(Method::POST, &path).body(envelope("1"));
        problem(answer.send().await.unwrap(), 400, "bad-query").await;
    }
}

#[tokio::test]
async fn a_request_is_shown_as_its_caller_made_it() {
    let rest = Rest::start().await;
    let path = PATH.replace("messages", "requests?absent=wait&timeout=1");
    let asked = r#"{"idApp":"demo-app","content":{"unlock" : true}}"#;
    let answer = rest.admin(Method::POST, &path).body(asked);
    let document: Value = answer.send().await.unwrap().json().await.unwrap();
    let location = format!("/api/v1/messages/{}", document["id"].as_str().unwrap());
    let trace = rest.admin(Method::GET, &location).send().await.unwrap();
    let trace = trace.text().await.unwrap();
    let message = r#","message":{"idApp":"demo-app","popup":false,"content":{"unlock" : true}}}"#;
    assert!(trace.ends_with(message), "{trace}");
    let trace: Value = serde_json::from_str(&trace).unwrap();
    assert_eq!(trace["request"]["absent"], "wait");
    assert_eq!(trace["request"]["requestId"].as_str().unwrap().len(), 16);

    let sent = rest.admin(Method::GET, "/api/v1/messages/sent");
    let sent: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(sent["messages"][0]["excerpt"], r#"{"unlock" : true}"#);
    let plain = rest.send(envelope("1")).await;
    let location = plain.headers()["location"].to_str().unwrap().to_owned();
    let plain = rest.admin(Method::GET, &location).send().await.unwrap();
    let plain: Value = plain.json().await.unwrap();
    assert_eq!(plain.get("request"), None);
}

#[tokio::test]
async fn a_vehicle_with_too_many_unsent_messages_is_answered_429() {
    let rest = Rest::with(Setup {
        hub: hub::Settings {
            vehicle_unsent_max: 2,
            ..hub::Settings::default()
        },
        ..Setup::default()
    })
    .await;
    rest.presence(VIN, Presence::Offline);
    for _ in 0..2 {
        assert_eq!(rest.send(envelope("1")).await.status(), 202);
    }
    let answer = rest.send(envelope("1")).await;
    assert!(answer.headers().contains_key("retry-after"));
    let document = problem(answer, 429, "vehicle-queue-full").await;
    assert_eq!(document["max"], 2);
}

#[tokio::test]
async fn a_partner_with_too_much_that_waits_is_answered_429_or_507_and_others_are_not() {
    let few = hub::Settings {
        partner_unsent_max: 2,
        ..hub::Settings::default()
    };
    let small = hub::Settings {
        partner_unsent_bytes_max: 1_500,
        ..hub::Settings::default()
    };
    for (hub, status, kind, max) in [
        (few, 429, "partner-queue-full", 2),
        (small, 507, "store-full", 1_500),
    ] {
        let rest = Rest::with(Setup {
            hub,
            ..Setup::default()
        })
        .await;
        let send = async |number: usize| {
            let path = format!("/api/v1/vehicles/TESTV{number:012}/messages");
            let request = rest.partner(Method::POST, &path).body(envelope("1"));
            request.send().await.unwrap()
        };
        for number in 0..2 {
            assert_eq!(send(number).await.status(), 202);
        }
        let answer = send(2).await;
        assert!(answer.headers().contains_key("retry-after"));
        let document = problem(answer, status, kind).await;
        assert_eq!(document["uid"], PARTNER);
        assert_eq!(document["max"], max);
        let other = rest.other(Method::POST, PATH).body(envelope("1"));
        assert_eq!(other.send().await.unwrap().status(), 202);
    }
}

/// Asks until the message came so far.
async fn traced_until(rest: &Rest, location: &str, status: &str) -> Value {
    let asking = async {
        loop {
            let answer = rest.admin(Method::GET, location).send().await.unwrap();
            let trace: Value = answer.json().await.unwrap();
            if trace["status"] == status {
                return trace;
            }
            tokio::task::yield_now().await;
        }
    };
    rest_support::within(asking).await
}

#[tokio::test]
async fn message_that_went_without_the_receipts_that_were_asked_for_says_so() {
    let rest = Rest::start().await;
    let send = async |query: &str| {
        let path = format!("{PATH}?uid={PARTNER}{query}");
        let answer = rest.admin(Method::POST, &path).body(envelope("1"));
        let answer = answer.send().await.unwrap();
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let waits = send("&receipts=yes").await;
    let plain = send("").await;
    let held = traced_until(&rest, &waits, "held").await;
    assert_eq!(held.get("withoutReceipts"), None);
    // It is there, and says nothing of delivery.
    rest.presence(VIN, Presence::Online);
    let (vin, uid) = (Vin::parse(VIN).unwrap(), Uid::parse(PARTNER).unwrap());
    rest.hub.announced(vin, &uid, None);
    let sent = traced_until(&rest, &waits, "sent").await;
    assert_eq!(
        (&sent["receipts"], &sent["withoutReceipts"]),
        (&"yes".into(), &true.into())
    );
    let sent = traced_until(&rest, &plain, "sent").await;
    assert_eq!(sent.get("withoutReceipts"), None);
}

#[tokio::test]
async fn a_vehicle_is_shown_with_its_last_report_of_health() {
    let rest = Rest::start().await;
    let path = format!("/api/v1/vehicles/{VIN}");
    let shown = async || -> Value {
        let answer = rest.admin(Method::GET, &path).send().await.unwrap();
        answer.json().await.unwrap()
    };
    rest.presence(VIN, Presence::Online);
    assert_eq!(shown().await.get("health"), None);
    let report = r#"{"agent":"0.1.0","uptimeS":9,"crash":"a\nb","counters":{"sessions":1},"troubles":{},"later":1.0}"#;
    let arrival = Arrival {
        topic: format!("psa/OVIPPartners-Dev/from/uid/{PARTNER}/opa/{VIN}/vinbus/health"),
        payload: format!(r#"{{"content":{report}}}"#).into(),
        retained: false,
    };
    rest.hub.arrived(arrival).await.await.unwrap();
    let vehicle = shown().await;
    assert_eq!(vehicle["presence"], "online");
    let health = &vehicle["health"];
    assert!(health["reportedAt"].as_str().unwrap().ends_with('Z'));
    let expected: Value = serde_json::from_str(report).unwrap();
    assert_eq!(health["report"], expected);
    let listed = rest.admin(Method::GET, "/api/v1/vehicles").send();
    let listed: Value = listed.await.unwrap().json().await.unwrap();
    assert_eq!(listed["vehicles"][0].get("health"), None);
}

#[tokio::test]
async fn receipts_are_asked_for_by_a_parameter_and_refused_where_they_cannot_be() {
    let rest = Rest::start().await;
    let send = async |query: &str, body: &str| {
        let path = format!("{PATH}{query}");
        rest.admin(Method::POST, &path)
            .body(body.to_owned())
            .send()
            .await
            .unwrap()
    };
    let plain = r#"{"idApp":"weather","popup":false,"content":{"n":1}}"#;
    for (query, shown) in [
        ("", "no"),
        ("?receipts=yes", "yes"),
        ("?receipts=repeatable", "repeatable"),
    ] {
        let answer = send(query, plain).await;
        assert_eq!(answer.status(), 202);
        let path = answer.headers()["location"].to_str().unwrap().to_owned();
        let trace = rest.admin(Method::GET, &path).send().await.unwrap();
        let trace: Value = trace.json().await.unwrap();
        assert_eq!(trace["receipts"], shown);
    }
    let popup = r#"{"idApp":"weather","popup":true,"popupText":"hello","content":1}"#;
    let ours = r#"{"idApp":"vinbus","popup":false,"content":1}"#;
    let marked = r#"{"idApp":"weather","popup":false,"content":{"vinbus":[1,1,1,1]}}"#;
    let deep = format!(
        r#"{{"idApp":"weather","popup":false,"content":{}1{}}}"#,
        "[".repeat(127),
        "]".repeat(127)
    );
    for (query, body, part) in [
        ("?receipts=true", plain, "write yes, no or repeatable"),
        ("?receipts=yes", popup, "a popup carries no receipts"),
        ("", ours, "no app has it"),
        ("", marked, "receipts=yes"),
        ("?receipts=yes", &deep, "nests deeper"),
    ] {
        let problem: Value = send(query, body).await.json().await.unwrap();
        assert_eq!(problem["status"], 400, "{problem}");
        assert!(
            problem["detail"].as_str().unwrap().contains(part),
            "{problem}"
        );
    }
    assert_eq!(send("?receipts=yes", marked).await.status(), 202);
}

#[tokio::test]
async fn key_is_taken_with_receipts_shown_in_the_trace_and_ends_what_it_supersedes() {
    let rest = Rest::start().await;
    rest.presence(VIN, Presence::Offline);
    let send = async |query: &str, content: &str| {
        let path = format!("{PATH}?{query}");
        let body = format!(r#"{{"idApp":"weather","popup":false,"content":{content}}}"#);
        let request = rest.admin(Method::POST, &path).body(body);
        request.send().await.unwrap()
    };
    let location = |answer: &reqwest::Response| {
        assert_eq!(answer.status(), 202);
        answer.headers()["location"].to_str().unwrap().to_owned()
    };
    let key = "k".repeat(64);
    let older = location(&send(&format!("receipts=yes&key={key}"), "1").await);
    let newer = location(&send(&format!("receipts=repeatable&key={key}"), "2").await);
    let trace = traced_until(&rest, &older, "superseded").await;
    assert_eq!(trace["key"], key.as_str());
    let answer = rest.admin(Method::GET, &newer).send().await.unwrap();
    assert_ne!(
        answer.json::<Value>().await.unwrap()["status"],
        "superseded"
    );
    let plain = location(&send("receipts=yes", "1").await);
    let answer = rest.admin(Method::GET, &plain).send().await.unwrap();
    assert_eq!(answer.json::<Value>().await.unwrap().get("key"), None);

    for (query, part) in [
        ("key=k", "a message with a key needs receipts"),
        ("receipts=no&key=k", "a message with a key needs receipts"),
        ("receipts=yes&key=", "the parameter key is \"\""),
        ("receipts=yes&key=a%0Ab", "the parameter key"),
        (&format!("receipts=yes&key=k{key}"), "the parameter key"),
    ] {
        let document = problem(send(query, "1").await, 400, "bad-query").await;
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(part), "{detail}");
    }
    let long = format!("\"{}\"", "x".repeat(131_000));
    problem(send("receipts=yes&key=k", &long).await, 413, "too-large").await;
}
