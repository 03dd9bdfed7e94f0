//! Nothing that a client does costs more than its bound.

mod rest_support;

use std::time::Duration;

use reqwest::Method;
use rest_support::{PARTNER, Rest, Setup, VIN, envelope, problem, read_to_end, within};
use tokio::io::AsyncWriteExt;

#[tokio::test]
async fn a_principal_over_its_rate_is_answered_429_and_others_are_not() {
    let rest = Rest::with(Setup::limits(|limits| limits.requests_per_second_max = 1)).await;
    let refused = loop {
        let answer = rest
            .admin(Method::GET, "/api/v1/webhooks")
            .send()
            .await
            .unwrap();
        if answer.status() != 200 {
            break answer;
        }
    };
    assert_eq!(refused.headers()["retry-after"], "1");
    problem(refused, 429, "rate-limited").await;
    let other = rest
        .partner(Method::GET, "/api/v1/webhooks")
        .send()
        .await
        .unwrap();
    assert_eq!(other.status(), 200);
}

#[tokio::test]
async fn a_client_that_does_not_finish_its_head_is_disconnected() {
    let rest = Rest::with(Setup::limits(|limits| {
        limits.header_time_max = Duration::from_millis(100);
    }))
    .await;
    let mut stream = rest.connect().await;
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_answered_408() {
    let rest = Rest::with(Setup::limits(|limits| {
        limits.request_time_max = Duration::from_millis(200);
    }))
    .await;
    let mut stream = rest.connect().await;
    let head = format!(
        "POST /api/v1/vehicles/{VIN}/messages HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         connection: close\r\ncontent-length: 100\r\n\r\n{{",
        rest.admin
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(
        answer.contains("urn:vinbus:problem:body-timeout"),
        "{answer}"
    );
}

#[tokio::test]
async fn one_connection_too_many_is_answered_503_until_another_ends() {
    let rest = Rest::with(Setup::limits(|limits| limits.connections_max = 1)).await;
    let mut first = rest.connect().await;
    first
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let mut one = [0; 1];
    within(tokio::io::AsyncReadExt::read_exact(&mut first, &mut one))
        .await
        .unwrap();

    let answer = read_to_end(&mut rest.connect().await).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("urn:vinbus:problem:busy"), "{answer}");

    drop(first);
    let admitted = async {
        while rest
            .raw("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .contains("503")
        {
            tokio::task::yield_now().await;
        }
    };
    within(admitted).await;
}

#[tokio::test]
async fn a_head_too_large_is_refused() {
    let rest = Rest::start().await;
    let request = format!(
        "GET /healthz HTTP/1.1\r\nx: {}\r\n\r\n",
        "x".repeat(200_000)
    );
    let answer = rest.raw(request).await;
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 431 "),
        "{answer}"
    );
}

#[tokio::test]
async fn bytes_that_are_no_http_harm_nobody() {
    let rest = Rest::start().await;
    for junk in [
        &b"\x16\x03\x01\x02\x00\x01\x00"[..],
        b"\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"\x10\x0c\x00\x04MQTT",
    ] {
        let mut stream = rest.connect().await;
        stream.write_all(junk).await.unwrap();
        stream.shutdown().await.unwrap();
        read_to_end(&mut stream).await;
    }
    rest.arrive(PARTNER, VIN, "{\"content\":1}").await;
    assert_eq!(rest.send(envelope("1")).await.status(), 202);
}
