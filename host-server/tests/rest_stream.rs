//! The event stream: every message once and in order, whatever happens to the connection.

mod rest_support;

use reqwest::{Method, StatusCode};
use rest_support::{Events, ODD_CONTENTS, OTHER, OTHER_VIN, PARTNER, Rest, Setup, VIN, within};
use serde_json::Value;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

const PATH: &str = "/api/v1/messages/stream";

fn content(event: &(String, String)) -> Value {
    serde_json::from_str::<Value>(&event.1).unwrap()["content"].clone()
}

async fn follow(rest: &Rest, query: &str) -> Events {
    let request = rest.admin(Method::GET, &format!("{PATH}{query}"));
    Events::of(request.send().await.unwrap())
}

async fn resume(rest: &Rest, id: &str) -> Events {
    let request = rest.admin(Method::GET, &format!("{PATH}?after=0"));
    Events::of(request.header("last-event-id", id).send().await.unwrap())
}

async fn arrive(rest: &Rest, numbers: std::ops::Range<u32>) {
    for number in numbers {
        rest.arrive(PARTNER, VIN, format!("{{\"content\":{number}}}"))
            .await;
    }
}

#[tokio::test]
async fn a_stream_resumes_exactly_after_the_last_event_id() {
    let rest = Rest::start().await;
    arrive(&rest, 0..10).await;
    let mut events = follow(&rest, "?after=0").await;
    let mut last = String::new();
    for expected in 0..4 {
        let event = events.next_message().await;
        assert_eq!(content(&event), expected);
        last = event.0;
    }
    drop(events);
    arrive(&rest, 10..12).await;
    let mut events = resume(&rest, &last).await;
    for expected in 4..12 {
        assert_eq!(content(&events.next_message().await), expected);
    }
    arrive(&rest, 12..13).await;
    assert_eq!(content(&events.next_message().await), 12);
}

#[tokio::test]
async fn a_stream_begins_now_and_says_where_that_is() {
    let rest = Rest::start().await;
    arrive(&rest, 0..3).await;
    let mut events = follow(&rest, "").await;
    let (id, data) = events.next().await.unwrap();
    assert_eq!(data, "");
    drop(events);
    // The connection broke before the first message: nothing is lost all the same.
    arrive(&rest, 3..5).await;
    let mut events = resume(&rest, &id).await;
    assert_eq!(content(&events.next_message().await), 3);
    assert_eq!(content(&events.next_message().await), 4);
}

#[tokio::test]
async fn the_id_of_an_event_is_the_cursor_of_its_message() {
    let rest = Rest::start().await;
    arrive(&rest, 0..1).await;
    let (id, data) = follow(&rest, "?after=0").await.next_message().await;
    let message: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(message["cursor"], id);
}

#[tokio::test]
async fn the_bytes_of_content_are_streamed_unchanged() {
    let rest = Rest::start().await;
    let mut events = follow(&rest, "").await;
    let odd = ODD_CONTENTS.iter().copied().chain(["{\n\t\"a\":\n\n1}"]);
    for odd in odd {
        rest.arrive(PARTNER, VIN, format!("{{\"content\":{odd}}}"))
            .await;
        let (_, data) = events.next_message().await;
        assert!(data.ends_with(&format!("\"content\":{odd}}}")), "{data}");
    }
}

#[tokio::test]
async fn a_stream_in_brief_tells_how_long_a_content_is_and_how_it_begins() {
    let rest = Rest::start().await;
    let long = format!("\"{}\"", "é".repeat(60_000));
    for content in ["{ \"a\" : 1 }", &long] {
        let payload = format!("{{\"content\":{content}}}");
        rest.arrive(PARTNER, VIN, payload).await;
    }
    let mut events = follow(&rest, "?after=0&content=brief").await;
    for content in ["{ \"a\" : 1 }", &long] {
        let (id, data) = events.next_message().await;
        assert!(data.len() < 1_000, "{} bytes", data.len());
        let message: Value = serde_json::from_str(&data).unwrap();
        let excerpt: String = content.chars().take(200).collect();
        assert_eq!(message["cursor"], id);
        assert_eq!(message["contentBytes"], content.len());
        assert_eq!(message["excerpt"], excerpt);
        assert_eq!(message.get("content"), None);
    }
    let mut whole = follow(&rest, "?after=0&content=whole").await;
    assert_eq!(content(&whole.next_message().await)["a"], 1);
    let other = rest.admin(Method::GET, &format!("{PATH}?content=some"));
    assert_eq!(
        other.send().await.unwrap().status(),
        StatusCode::BAD_REQUEST
    );
}

#[tokio::test]
async fn a_stream_shows_only_what_was_asked_for_and_is_ones_own() {
    let rest = Rest::start().await;
    let mut of_vin = follow(&rest, &format!("?vin={OTHER_VIN}")).await;
    let request = rest.other(Method::GET, PATH);
    let mut of_other = Events::of(request.send().await.unwrap());
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    rest.arrive(PARTNER, OTHER_VIN, "{\"content\":2}").await;
    rest.arrive(OTHER, VIN, "{\"content\":3}").await;
    assert_eq!(content(&of_vin.next_message().await), 2);
    assert_eq!(content(&of_other.next_message().await), 3);
}

#[tokio::test]
async fn large_messages_stream_in_order() {
    let rest = Rest::start().await;
    for number in 0..20 {
        let text = "x".repeat(130_000);
        rest.arrive(
            PARTNER,
            VIN,
            format!("{{\"content\":[{number},\"{text}\"]}}"),
        )
        .await;
    }
    let mut events = follow(&rest, "?after=0").await;
    for expected in 0..20 {
        assert_eq!(content(&events.next_message().await)[0], expected);
    }
}

#[tokio::test]
async fn one_stream_too_many_is_refused_until_another_ends() {
    let rest = Rest::with(Setup::limits(|limits| limits.streams_max = 1)).await;
    let events = follow(&rest, "").await;
    let refused = rest.admin(Method::GET, PATH).send().await.unwrap();
    assert!(refused.headers().contains_key("retry-after"));
    rest_support::problem(refused, 503, "busy").await;
    drop(events);
    within(free_slot(&rest)).await;
}

#[tokio::test]
async fn a_consumer_that_never_reads_is_disconnected_and_delays_nobody() {
    let rest = Rest::with(Setup::limits(|limits| {
        limits.streams_max = 2;
        limits.write_time_max = Duration::from_millis(200);
    }))
    .await;
    let mut stalled = rest.connect().await;
    let request = format!(
        "GET {PATH}?after=0 HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\r\n",
        rest.admin
    );
    stalled.write_all(request.as_bytes()).await.unwrap();
    let mut reading = follow(&rest, "?after=0").await;
    let text = "x".repeat(130_000);
    // More than the sockets' buffers hold.
    for number in 0..100 {
        rest.arrive(
            PARTNER,
            VIN,
            format!("{{\"content\":[{number},\"{text}\"]}}"),
        )
        .await;
        assert_eq!(content(&reading.next_message().await)[0], number);
    }
    within(free_slot(&rest)).await;
}

#[tokio::test]
async fn streams_end_when_the_server_stops() {
    let mut rest = Rest::start().await;
    let mut events = follow(&rest, "").await;
    events.next().await.unwrap();
    rest.stop().await;
    assert_eq!(events.next().await, None);
}

#[tokio::test]
async fn a_stream_that_is_behind_ends_when_the_server_stops() {
    let mut rest = Rest::start().await;
    let text = "x".repeat(130_000);
    // More than the sockets' buffers hold.
    for number in 0..100 {
        let payload = format!("{{\"content\":[{number},\"{text}\"]}}");
        rest.arrive(PARTNER, VIN, payload).await;
    }
    let mut events = follow(&rest, "?after=0").await;
    events.next_message().await;
    let read_on = async {
        let mut seen = 1;
        while let Some((_, data)) = events.next().await {
            seen += usize::from(!data.is_empty());
        }
        seen
    };
    let ((), seen) = tokio::join!(rest.stop(), read_on);
    assert!(seen < 100, "it was shown everything first");
}

#[tokio::test]
async fn a_wrong_last_event_id_is_refused() {
    let rest = Rest::start().await;
    for wrong in ["yesterday", "1-2", "-1-000000"] {
        let request = rest.admin(Method::GET, PATH).header("last-event-id", wrong);
        rest_support::problem(request.send().await.unwrap(), 400, "bad-query").await;
    }
}

/// Returns once one more stream is admitted.
async fn free_slot(rest: &Rest) {
    loop {
        let answer = rest.admin(Method::GET, PATH).send().await.unwrap();
        if answer.status() == StatusCode::OK {
            return;
        }
        tokio::task::yield_now().await;
    }
}
