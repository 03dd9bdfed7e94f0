//! What browsers get of a board, and from which pages it takes WebSockets.

use serde_json::{Value, json};

use crate::app::App;
use crate::board::{Board, PLACES, run};

/// What makes a request one for a WebSocket.
const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                       Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

async fn get(board: &Board, path: &str, more: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n");
    board.request(request.as_bytes()).await
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n")?;
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    lines
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[test]
fn page_is_served_with_a_policy_that_lets_in_nothing_but_the_apps() {
    run(async {
        let board = Board::new().await;
        let page = get(&board, "/", "").await;
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page:.300}");
        assert_eq!(header(&page, "content-encoding"), Some("gzip"));
        assert_eq!(header(&page, "x-content-type-options"), Some("nosniff"));
        let opener = header(&page, "cross-origin-opener-policy");
        assert_eq!(opener, Some("same-origin"));
        let policy = header(&page, "content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; "), "{policy}");
        let apps = "frame-src http://other.localhost:8091";
        assert!(policy.ends_with(apps), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    });
}

#[test]
fn file_that_the_browser_has_is_not_sent_again() {
    run(async {
        let board = Board::new().await;
        for path in ["/", "/.vinbus/webportal.js"] {
            let answer = get(&board, path, "").await;
            let tag = header(&answer, "etag").unwrap();
            let again = get(&board, path, &format!("If-None-Match: {tag}\r\n")).await;
            assert!(again.starts_with("HTTP/1.1 304 "), "{again}");
            assert!(again.ends_with("\r\n\r\n"), "it has no body");
            let other = get(&board, path, "If-None-Match: \"x\"\r\n").await;
            assert!(other.starts_with("HTTP/1.1 200 "), "{path}");
        }
    });
}

#[test]
fn apps_that_have_pages_are_listed_with_their_titles_and_addresses() {
    run(async {
        let board = Board::new().await;
        let answer = get(&board, "/apps", "").await;
        let (_, list) = answer.split_once("\r\n\r\n").unwrap();
        let list: Value = serde_json::from_str(list).unwrap();
        let url = "http://other.localhost:8091/";
        let title = r#"Zoë's "other""#;
        let expected = json!([{ "appId": "other", "title": title, "url": url }]);
        assert_eq!(list, expected);
    });
}

#[test]
fn socket_is_for_the_page_of_the_address_that_the_browser_connected_to() {
    run(async {
        let board = Board::new().await;
        let asks = |host: &str, origin: &str| {
            let from = format!("Host: {host}\r\nOrigin: {origin}\r\n");
            format!("GET /portal HTTP/1.1\r\n{from}{UPGRADE}\r\n")
        };
        for (host, origin, status) in [
            ("10.0.2.15:8090", "http://10.0.2.15:8090", "101"),
            ("localhost:8090", "http://localhost:8090", "101"),
            // Another port is another site.
            ("10.0.2.15:8090", "http://10.0.2.15:8091", "403"),
            ("10.0.2.15:8090", "https://10.0.2.15:8090", "403"),
            ("10.0.2.15:8090", "null", "403"),
            // A name may have led elsewhere when its page was loaded.
            ("evil.example:8090", "http://evil.example:8090", "403"),
            (
                "10.0.2.15.evil.example",
                "http://10.0.2.15.evil.example",
                "403",
            ),
        ] {
            let answer = board.request(asks(host, origin).as_bytes()).await;
            let expected = format!("HTTP/1.1 {status} ");
            assert!(answer.starts_with(&expected), "{host} {origin}: {answer}");
        }
        let status = board.status().await;
        assert_eq!(status["sockets"]["refusedOrigin"], json!(5));
    });
}

#[test]
fn place_of_the_screen_is_for_nobody_else() {
    run(async {
        let board = Board::with_screen_place().await;
        let screen = format!("ws://{}/portal?role=screen", board.address);
        let mut app = App::at(&screen).await;
        app.send(json!({ "type": "hello", "value": { "appId": "demo" } }))
            .await;
        assert_eq!(app.refusal().await, "no-hello");
        board.status_reaches("/sockets/ended", 1).await;
        let mut apps = Vec::new();
        for _ in 0..PLACES - 1 {
            apps.push(App::silent(board.address).await);
        }
        let full = get(&board, "/portal", UPGRADE).await;
        assert!(full.starts_with("HTTP/1.1 503 "), "{full}");
        let mut screen = App::at(&screen).await;
        screen
            .send(json!({ "type": "hello", "value": { "role": "screen" } }))
            .await;
        screen.until("welcome").await;
    });
}
