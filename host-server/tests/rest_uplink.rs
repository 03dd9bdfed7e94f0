//! Messages from vehicles, page by page: complete, in order, unchanged, and only one's own.

mod rest_support;

use reqwest::Method;
use rest_support::{Events, ODD_CONTENTS, OTHER, OTHER_VIN, PARTNER, Rest, VIN, within};
use serde_json::{Value, json};

#[tokio::test]
async fn pages_follow_each_other_without_gap_or_repetition() {
    let rest = Rest::start().await;
    for number in 0..25 {
        rest.arrive(PARTNER, VIN, format!("{{\"content\":{number}}}"))
            .await;
    }
    let mut seen = Vec::new();
    let mut after = "0".to_owned();
    loop {
        let page: Value =
            serde_json::from_str(&rest.page(&format!("?limit=10&after={after}")).await).unwrap();
        let messages = page["messages"].as_array().unwrap();
        assert!(messages.len() <= 10);
        seen.extend(
            messages
                .iter()
                .map(|message| message["content"].as_u64().unwrap()),
        );
        after = page["next"].as_str().unwrap().to_owned();
        if page["more"] == json!(false) {
            break;
        }
    }
    assert_eq!(seen, (0..25).collect::<Vec<_>>());
    let last: Value = serde_json::from_str(&rest.page(&format!("?after={after}")).await).unwrap();
    assert_eq!(
        last,
        json!({"messages": [], "next": after, "more": false, "lost": 0})
    );
}

#[tokio::test]
async fn the_bytes_of_content_are_answered_unchanged() {
    let rest = Rest::start().await;
    let odd = ODD_CONTENTS.iter().copied().chain(["{\n\t\"a\":\r\n1}"]);
    for content in odd {
        let payload = format!(" {{ \"x\":1,\"content\" : {content} }} ");
        let before: Value = serde_json::from_str(&rest.page("?limit=1000").await).unwrap();
        rest.arrive(PARTNER, VIN, payload).await;
        let page = rest
            .page(&format!("?after={}", before["next"].as_str().unwrap()))
            .await;
        assert!(
            page.contains(&format!("\"content\":{content}}}]")),
            "{page}"
        );
    }
}

#[tokio::test]
async fn a_message_says_where_it_comes_from() {
    let rest = Rest::start().await;
    rest.arrive(PARTNER, VIN, "{\"content\":{}}").await;
    let page: Value = serde_json::from_str(&rest.page("").await).unwrap();
    let message = &page["messages"][0];
    assert_eq!(message["vin"], VIN);
    assert_eq!(message["uid"], PARTNER);
    assert_eq!(message["subtopic"], Value::Null);
    assert_eq!(message["cursor"], page["next"]);
    assert!(message["receivedAt"].as_str().unwrap().ends_with('Z'));
}

#[tokio::test]
async fn a_message_has_the_same_cursor_wherever_it_is_shown() {
    let rest = Rest::start().await;
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    let page: Value = serde_json::from_str(&rest.page("").await).unwrap();
    let cursor = page["messages"][0]["cursor"].as_str().unwrap();
    assert!(cursor.starts_with("1-") && cursor.len() == 8, "{cursor}");
    let answered = async |request: reqwest::RequestBuilder| -> Value {
        request.send().await.unwrap().json().await.unwrap()
    };
    let status = async || answered(rest.admin(Method::GET, "/api/v1/status")).await;
    // The status does not wait for a slow disk, and has the position alone then.
    within(async { while status().await["newest"] != cursor {} }).await;
    let webhook = json!({ "url": "https://partner.example/hook" });
    let webhook = rest
        .partner(Method::POST, "/api/v1/webhooks")
        .json(&webhook);
    assert_eq!(answered(webhook).await["cursor"], cursor);
    let stream = rest.admin(Method::GET, "/api/v1/messages/stream");
    let mut events = Events::of(stream.send().await.unwrap());
    assert_eq!(events.next().await.unwrap().0, cursor);
    // Those of others, where a search ends, and the beginning.
    let page = rest.page(&format!("?uid={OTHER}")).await;
    let page: Value = serde_json::from_str(&page).unwrap();
    assert_eq!(page["next"], cursor);
    let other = Rest::start().await;
    assert!(other.page("").await.contains("\"next\":\"0\""));
}

#[tokio::test]
async fn a_partner_reads_its_own_messages_only() {
    let rest = Rest::start().await;
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    rest.arrive(OTHER, VIN, "{\"content\":2}").await;
    rest.arrive(OTHER, OTHER_VIN, "{\"content\":3}").await;
    let contents = |page: Value| -> Vec<Value> {
        let messages = page["messages"].as_array().unwrap();
        messages
            .iter()
            .map(|message| message["content"].clone())
            .collect()
    };
    let ask = async |request: reqwest::RequestBuilder| -> Vec<Value> {
        contents(request.send().await.unwrap().json().await.unwrap())
    };
    assert_eq!(
        ask(rest.admin(Method::GET, "/api/v1/messages")).await,
        [1, 2, 3]
    );
    assert_eq!(
        ask(rest.admin(Method::GET, "/api/v1/messages?uid=other")).await,
        [2, 3]
    );
    assert_eq!(
        ask(rest.partner(Method::GET, "/api/v1/messages")).await,
        [1]
    );
    assert_eq!(
        ask(rest.other(Method::GET, "/api/v1/messages")).await,
        [2, 3]
    );
    let of_vin = format!("/api/v1/messages?vin={OTHER_VIN}");
    assert_eq!(ask(rest.other(Method::GET, &of_vin)).await, [3]);
    let foreign = rest
        .partner(Method::GET, "/api/v1/messages?uid=other")
        .send()
        .await
        .unwrap();
    rest_support::problem(foreign, 403, "forbidden").await;
}

#[tokio::test]
async fn a_page_of_large_messages_is_shorter_and_says_that_there_are_more() {
    let rest = Rest::start().await;
    let payload = format!("{{\"content\":\"{}\"}}", "x".repeat(130_000));
    for _ in 0..8 {
        rest.arrive(PARTNER, VIN, payload.clone()).await;
    }
    let page: Value = serde_json::from_str(&rest.page("?limit=8").await).unwrap();
    let count = page["messages"].as_array().unwrap().len();
    assert!((1..8).contains(&count), "{count}");
    assert_eq!(page["more"], true);
    let rest_of_it = rest
        .page(&format!("?after={}", page["next"].as_str().unwrap()))
        .await;
    let rest_of_it: Value = serde_json::from_str(&rest_of_it).unwrap();
    assert_eq!(rest_of_it["messages"].as_array().unwrap().len(), 8 - count);
}

#[tokio::test]
async fn a_cursor_of_another_log_is_refused_and_does_not_wait_for_this_one() {
    let rest = Rest::start().await;
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    for path in ["/api/v1/messages", "/api/v1/messages/stream"] {
        let answer = rest.admin(Method::GET, &format!("{path}?after=2"));
        let body = rest_support::problem(answer.send().await.unwrap(), 400, "bad-query").await;
        let detail = body["detail"].as_str().unwrap();
        assert!(
            detail.contains("the cursor 2 is beyond the newest, 1"),
            "{detail}"
        );
    }
    // At a cursor of this one there is another message.
    let page: Value = serde_json::from_str(&rest.page("").await).unwrap();
    let next = page["next"].as_str().unwrap();
    let (position, stamp) = next.split_once('-').unwrap();
    let other = (stamp.parse::<u32>().unwrap() + 1) % 1_000_000;
    let gone = format!("{position}-{other:06}");
    for path in ["/api/v1/messages", "/api/v1/messages/stream"] {
        let answer = rest.admin(Method::GET, &format!("{path}?after={gone}"));
        let body = rest_support::problem(answer.send().await.unwrap(), 400, "bad-query").await;
        let detail = body["detail"].as_str().unwrap();
        assert!(
            detail.contains(&gone) && detail.contains("after=0"),
            "{detail}"
        );
    }
}
