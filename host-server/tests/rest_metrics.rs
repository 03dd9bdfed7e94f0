//! The figures of the HTTP side.

mod rest_support;

use std::time::Duration;

use reqwest::Method;
use rest_support::{PARTNER, Rest, Setup, read_to_end, within};
use tokio::io::AsyncWriteExt;

async fn page(rest: &Rest) -> String {
    let answer = rest.bare(Method::GET, "/metrics").send().await.unwrap();
    answer.text().await.unwrap()
}

/// Asks until the page has a line.
async fn shows(rest: &Rest, line: &str) {
    let asking = async {
        while !page(rest).await.lines().any(|shown| shown == line) {
            tokio::task::yield_now().await;
        }
    };
    within(asking).await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_class_however_many_paths_are_asked_for() {
    let rest = Rest::start().await;
    for n in 0..100 {
        for path in [format!("/nowhere/{n}"), format!("/api/v1/messages/{n}")] {
            let answer = rest.admin(Method::GET, &path).send().await.unwrap();
            assert_eq!(answer.status(), 404);
        }
    }
    let _ = rest.page("").await;
    for line in [
        r#"vinbus_http_requests_total{route="none",class="4xx"} 100"#,
        r#"vinbus_http_requests_total{route="/api/v1/messages/{id}",class="4xx"} 100"#,
        r#"vinbus_http_requests_total{route="/api/v1/messages",class="2xx"} 1"#,
    ] {
        shows(&rest, line).await;
    }
    assert!(!page(&rest).await.contains("nowhere"));
}

#[tokio::test]
async fn open_streams_and_connections_are_shown() {
    let rest = Rest::start().await;
    shows(&rest, "vinbus_http_streams 0").await;
    let path = "/api/v1/messages/stream";
    let stream = rest.admin(Method::GET, path).send().await.unwrap();
    rest.arrive(PARTNER, rest_support::VIN, "{\"content\":1}")
        .await;
    shows(&rest, "vinbus_http_streams 1").await;
    shows(&rest, "vinbus_http_connections 2").await;
    drop(stream);
    shows(&rest, "vinbus_http_streams 0").await;
}

#[tokio::test]
async fn a_refused_connection_is_counted() {
    let rest = Rest::with(Setup::limits(|limits| limits.connections_max = 1)).await;
    shows(&rest, "vinbus_http_connections 1").await;
    let answer = read_to_end(&mut rest.connect().await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let line = r#"vinbus_http_connections_refused_total{reason="full"} 1"#;
    shows(&rest, line).await;
}

#[tokio::test]
async fn a_connection_that_the_server_cut_is_counted_by_reason() {
    let rest = Rest::with(Setup::limits(|limits| {
        limits.header_time_max = Duration::from_millis(200);
    }))
    .await;
    let cut = async |request: &[u8]| {
        let mut stream = rest.connect().await;
        stream.write_all(request).await.unwrap();
        read_to_end(&mut stream).await;
    };
    cut(b"GET /").await;
    cut(b"no HTTP\r\n\r\n").await;
    for reason in ["head_timeout", "bad_head"] {
        let none = format!("vinbus_http_connections_cut_total{{reason=\"{reason}\"}} 0");
        let counted = async {
            while page(&rest).await.contains(&none) {
                tokio::task::yield_now().await;
            }
        };
        within(counted).await;
    }
}
