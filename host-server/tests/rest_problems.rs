//! Whatever is wrong with a request is told as a problem document that says what and where.

mod rest_support;

use reqwest::Method;
use rest_support::{OTHER_VIN, PARTNER, Rest, VIN, envelope, problem};
use vinbus_host_server::store::sqlite::StoreSettings;
use vinbus_protocol::limits::PAYLOAD_BYTES_MAX;

const PATH: &str = "/api/v1/vehicles/0123456789ABCDEFG/messages";

#[tokio::test]
async fn a_bad_body_is_refused_with_reason_offset_line_and_column() {
    let rest = Rest::start().await;
    let deep = envelope(&("[".repeat(200) + &"]".repeat(200)));
    let cases: &[(&[u8], u64, u64, u64)] = &[
        (b"", 0, 1, 1),
        (b"not json", 0, 1, 1),
        (b"{\"idApp\":\"a\",\n \"content\": }", 26, 2, 13),
        (b"{\"idApp\":\"a\",\"content\":1", 24, 1, 25),
        (b"{\"idApp\":\"a\",\"content\":\"\xff\"}", 24, 1, 25),
        (b"{\"idApp\":\"\xc3\xa9\",\"content\":+}", 24, 1, 24),
        (deep.as_bytes(), 171, 1, 172),
    ];
    for &(body, offset, line, column) in cases {
        let shown = String::from_utf8_lossy(body).into_owned();
        let answer = rest.send(body.to_vec()).await;
        let document = problem(answer, 400, "bad-envelope").await;
        let place = [&document["offset"], &document["line"], &document["column"]];
        assert_eq!(place, [offset, line, column], "{shown}: {document}");
    }
    for missing in [
        "{}",
        "[]",
        "{\"idApp\":\"a\"}",
        "{\"idApp\":\"\",\"content\":1}",
    ] {
        problem(rest.send(missing).await, 400, "bad-envelope").await;
    }
}

#[tokio::test]
async fn a_bad_vin_is_refused_and_cannot_reach_into_a_topic() {
    let rest = Rest::start().await;
    for vin in [
        "short",
        "0123456789ABCDEF",
        "0123456789ABCDEF%2F",
        "0123456789ABCDE%23+",
        "%00",
    ] {
        let path = format!("/api/v1/vehicles/{vin}/messages");
        let answer = rest
            .admin(Method::POST, &path)
            .body(envelope("1"))
            .send()
            .await
            .unwrap();
        problem(answer, 400, "bad-vin").await;
    }
    for uid in ["a%2Fb", "%2B", "%23", "", &"u".repeat(65)] {
        let path = format!("{PATH}?uid={uid}");
        let answer = rest
            .admin(Method::POST, &path)
            .body(envelope("1"))
            .send()
            .await
            .unwrap();
        problem(answer, 400, "bad-query").await;
    }
}

#[tokio::test]
async fn a_message_of_131072_bytes_passes_and_one_more_is_answered_413_with_both_numbers() {
    let rest = Rest::start().await;
    let room = PAYLOAD_BYTES_MAX - envelope("\"\"").len();
    let sized = |bytes| envelope(&format!("\"{}\"", "x".repeat(bytes)));
    assert_eq!(rest.send(sized(room)).await.status(), 202);
    let document = problem(rest.send(sized(room + 1)).await, 413, "too-large").await;
    assert_eq!(
        (&document["bytes"], &document["max"]),
        (&131_073.into(), &131_072.into())
    );
    assert!(document["detail"].as_str().unwrap().contains("131073"));
}

#[tokio::test]
async fn an_envelope_that_grows_too_large_when_it_is_completed_is_answered_413() {
    let rest = Rest::start().await;
    // Without `popup` the body fits; written out for the vehicle it does not.
    let frame = r#"{"idApp":"demo-app","content":""}"#.len();
    let text = "x".repeat(PAYLOAD_BYTES_MAX - frame);
    let body = format!(r#"{{"idApp":"demo-app","content":"{text}"}}"#);
    assert_eq!(body.len(), PAYLOAD_BYTES_MAX);
    let document = problem(rest.send(body).await, 413, "too-large").await;
    assert_eq!(
        document["bytes"],
        PAYLOAD_BYTES_MAX + r#""popup":false,"#.len()
    );
}

#[tokio::test]
async fn an_oversize_body_is_refused_by_its_announcement_alone() {
    let rest = Rest::start().await;
    let request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\nconnection: close\r\n\
         content-length: 99999999999\r\n\r\n",
        rest.admin
    );
    let answer = rest.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(
        answer.contains("99999999999") && answer.contains("131072"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_endless_body_of_chunks_is_cut_off() {
    let rest = Rest::start().await;
    let mut request = format!(
        "POST {PATH} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         transfer-encoding: chunked\r\n\r\n",
        rest.admin
    )
    .into_bytes();
    for _ in 0..20 {
        request.extend_from_slice(b"10000\r\n");
        request.extend_from_slice(&[b'x'; 0x10000]);
        request.extend_from_slice(b"\r\n");
    }
    let answer = rest.raw(request).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
}

#[tokio::test]
async fn nothing_is_told_to_those_without_a_token() {
    let rest = Rest::start().await;
    let no_token = rest
        .bare(Method::GET, "/api/v1/messages")
        .send()
        .await
        .unwrap();
    assert_eq!(no_token.headers()["www-authenticate"], "Bearer");
    problem(no_token, 401, "unauthorized").await;
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic YTpi",
        &format!("Token {}", rest.admin),
    ] {
        let request = rest
            .bare(Method::GET, "/api/v1/messages")
            .header("authorization", header);
        problem(request.send().await.unwrap(), 401, "unauthorized").await;
    }
    let long = format!("Bearer {}", "x".repeat(8000));
    let request = rest.bare(Method::POST, PATH).header("authorization", long);
    problem(request.send().await.unwrap(), 401, "unauthorized").await;
}

#[tokio::test]
async fn unknown_paths_methods_and_parameters_are_refused() {
    let rest = Rest::start().await;
    for path in [
        "/console",
        "/api",
        "/api/v1",
        "/api/authority",
        "/api/v1/nothing",
        "/api/v1/messages/",
        "/api/v1/vehicles/x/y",
    ] {
        let answer = rest.admin(Method::GET, path).send().await.unwrap();
        problem(answer, 404, "not-found").await;
    }
    let answer = rest
        .admin(Method::DELETE, "/api/v1/webhooks")
        .send()
        .await
        .unwrap();
    let allow = answer.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allow.contains("POST") && allow.contains("GET"), "{allow}");
    problem(answer, 405, "method-not-allowed").await;
    for (path, status, reason) in [
        ("/api/platform/nothing", 404, "Not Found"),
        ("/api/platform", 404, "Not Found"),
        ("/api/auth/login", 404, "Not Found"),
        ("/api/auth/nothing/at/all", 404, "Not Found"),
        (
            "/api/platform/token/access_token",
            405,
            "Method Not Allowed",
        ),
    ] {
        let answer = rest.admin(Method::GET, path).send().await.unwrap();
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers().contains_key("allow"), status == 405);
        let expected = serde_json::json!({
            "statusCode": status, "message": format!("Cannot GET {path}"), "error": reason,
        });
        let document: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(document, expected);
    }
    for query in [
        "aftre=1",
        "limit=0",
        "limit=1001",
        "limit=x",
        "after=x",
        "after=-1",
        "after=99999999999999999999",
        "uid=a/b",
    ] {
        let answer = rest
            .admin(Method::GET, &format!("/api/v1/messages?{query}"))
            .send()
            .await
            .unwrap();
        problem(answer, 400, "bad-query").await;
    }
    let answer = rest
        .admin(Method::GET, "/api/v1/messages?vin=x")
        .send()
        .await
        .unwrap();
    problem(answer, 400, "bad-vin").await;
    let answer = rest
        .admin(Method::GET, "/api/v1/messages/no-such-id")
        .send()
        .await
        .unwrap();
    problem(answer, 404, "not-found").await;
    let answer = rest.bare(Method::GET, "/mqtt").send().await.unwrap();
    problem(answer, 404, "not-found").await;
}

#[tokio::test]
async fn a_wrong_parameter_is_told_with_its_value_and_what_is_allowed() {
    let rest = Rest::start().await;
    let message = PATH;
    let request = &PATH.replace("messages", "requests");
    let (sent, fleet) = ("/api/v1/messages/sent", "/api/v1/fleet/messages");
    let (log, vehicles) = ("/api/v1/messages", "/api/v1/vehicles");
    for (method, path, query, told) in [
        (
            "POST",
            message,
            "recipts=yes",
            "no parameter \"recipts\" here; did you mean receipts? (known: uid, ttl, receipts, key)",
        ),
        (
            "POST",
            message,
            "colour=red",
            "no parameter \"colour\" here (known: uid, ttl, receipts, key)",
        ),
        (
            "POST",
            message,
            "ttl=-5",
            "ttl is \"-5\"; write seconds, 1 to 2592000, as in ttl=",
        ),
        (
            "POST",
            message,
            "ttl=5&ttl=6",
            "ttl stands twice, as \"5\" and \"6\"",
        ),
        (
            "POST",
            message,
            "receipts=maybe",
            "receipts is \"maybe\"; write yes, no or repeatable",
        ),
        (
            "POST",
            request,
            "timeout=601",
            "timeout is \"601\"; write seconds, 1 to 600, as in timeout=30",
        ),
        (
            "POST",
            request,
            "absent=stay",
            "absent is \"stay\"; write refuse or wait",
        ),
        (
            "POST",
            fleet,
            "rate=-1",
            "rate is \"-1\"; write messages a second, 1 to ",
        ),
        (
            "GET",
            fleet,
            "limit=101",
            "limit is \"101\"; write a number, 1 to 100, as in limit=100",
        ),
        (
            "GET",
            log,
            "limit=1e3",
            "limit is \"1e3\"; write a number, 1 to 1000, as in limit=100",
        ),
        ("GET", log, "after=x", "\"x\" is not a cursor"),
        ("GET", log, "after=1-12345", "\"1-12345\" is not a cursor"),
        ("GET", log, "after=-1", "\"-1\" is not a cursor"),
        (
            "GET",
            sent,
            "before=0a1b-2",
            "before is \"0a1b-2\"; write the `next` of a page",
        ),
        (
            "GET",
            fleet,
            "before=x",
            "before is \"x\"; write the `next` of a page",
        ),
        (
            "GET",
            "/api/v1/messages/some-id",
            "foo=1",
            "no parameter \"foo\" here (nor any other)",
        ),
        (
            "GET",
            sent,
            "limit=0",
            "limit is \"0\"; write a number, 1 to 1000, as in limit=100",
        ),
        (
            "GET",
            vehicles,
            "limits=5",
            "did you mean limit? (known: after, limit)",
        ),
    ] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = rest.admin(method, &format!("{path}?{query}"));
        let answer = request.body(envelope("1")).send().await.unwrap();
        let document = problem(answer, 400, "bad-query").await;
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{query}: {detail}");
    }
}

#[tokio::test]
async fn content_that_looks_like_a_request_is_not_sent_to_ask_for_receipts() {
    let rest = Rest::start().await;
    let request = envelope(r#"{"vinbus":{"q":"00000000000000a7","w":1},"content":1}"#);
    let marked = envelope(r#"{"vinbus":[7,3,42,60],"content":1}"#);
    for (query, body, told) in [
        ("", &request, "or make a request"),
        ("?receipts=yes", &request, "or make a request"),
        ("", &marked, "or send the message with receipts=yes"),
    ] {
        let post = rest.admin(Method::POST, &format!("{PATH}{query}"));
        let answer = post.body(body.clone()).send().await.unwrap();
        let document = problem(answer, 400, "bad-envelope").await;
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains("name it otherwise"), "{query}: {detail}");
        assert!(detail.contains(told), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_long_message_is_told_that_it_needs_receipts_and_no_key() {
    let rest = Rest::start().await;
    let long = envelope(&format!("\"{}\"", "x".repeat(PAYLOAD_BYTES_MAX)));
    for (query, told) in [
        ("", "with receipts=yes"),
        ("?receipts=no", "up to 1048576 bytes"),
        ("?receipts=yes&key=k", "leave the parameter key away"),
    ] {
        let request = rest.admin(Method::POST, &format!("{PATH}{query}"));
        let answer = request.body(long.clone()).send().await.unwrap();
        let document = problem(answer, 413, "too-large").await;
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(told), "{query}: {detail}");
    }
}

#[tokio::test]
async fn a_full_store_is_answered_507_and_keeps_what_it_accepted() {
    let rest = Rest::with(rest_support::Setup {
        store: StoreSettings {
            quota_bytes: 1024 * 1024,
            ..StoreSettings::default()
        },
        ..rest_support::Setup::default()
    })
    .await;
    let body = envelope(&format!("\"{}\"", "x".repeat(60_000)));
    let mut accepted = Vec::new();
    let refused = loop {
        let answer = rest.send(body.clone()).await;
        if answer.status() != 202 {
            break answer;
        }
        accepted.push(answer.headers()["location"].to_str().unwrap().to_owned());
        assert!(accepted.len() < 100, "a store of 1 MiB takes no 6 MB");
    };
    problem(refused, 507, "store-full").await;
    assert!(!accepted.is_empty());
    let ready = rest.admin(Method::GET, "/readyz").send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let ready: serde_json::Value = ready.json().await.unwrap();
    let reason = ready["reasons"][0].as_str().unwrap();
    assert!(reason.starts_with("the store is full"), "{reason}");
    for location in accepted {
        let answer = rest.admin(Method::GET, &location).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

#[tokio::test]
async fn a_partner_is_told_of_those_vehicles_only_that_sent_it_something() {
    let rest = Rest::start().await;
    for vin in [VIN, OTHER_VIN] {
        rest.presence(vin, vinbus_host_server::model::Presence::Online);
    }
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    let get = async |request: reqwest::RequestBuilder| -> serde_json::Value {
        request.send().await.unwrap().json().await.unwrap()
    };
    let list = get(rest.partner(Method::GET, "/api/v1/vehicles")).await;
    let path = format!("/api/v1/vehicles/{VIN}");
    let one = get(rest.partner(Method::GET, &path)).await;
    assert_eq!(one["presence"], "online");
    assert_eq!(list, serde_json::json!({"vehicles": [one], "next": null}));

    // To have sent a message to a vehicle opens nothing.
    let send = rest.other(Method::POST, PATH).body(envelope("1"));
    assert_eq!(send.send().await.unwrap().status(), 202);
    let foreign = rest.other(Method::GET, &path).send().await.unwrap();
    problem(foreign, 404, "not-found").await;
    let list = get(rest.other(Method::GET, "/api/v1/vehicles")).await;
    assert_eq!(list["vehicles"], serde_json::json!([]));

    let first = get(rest.admin(Method::GET, "/api/v1/vehicles?limit=1")).await;
    assert_eq!(
        (&first["vehicles"][0]["vin"], &first["next"]),
        (&VIN.into(), &VIN.into())
    );
    let path = format!("/api/v1/vehicles?after={VIN}");
    let second = get(rest.admin(Method::GET, &path)).await;
    assert_eq!(second["vehicles"][0]["vin"], OTHER_VIN);
    assert_eq!(second["next"], serde_json::Value::Null);
}
