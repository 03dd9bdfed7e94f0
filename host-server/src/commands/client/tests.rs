//! What is told of servers that cannot be talked with.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// What is told of a program that answers with these bytes.
async fn told(answer: &'static str) -> ClientError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = ServerArgs {
        url: Some(format!("http://{}", listener.local_addr().unwrap())),
        data_dir: None,
    };
    let token = Secret::new("token".to_owned());
    let server = Server::with_token(&place, Some(&token), "--token").unwrap();
    let answering = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        stream.write_all(answer.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        stream
    };
    let asking = server.send(server.get(server.at(&["vehicles"])));
    let (asked, _open) = tokio::join!(asking, answering);
    asked.unwrap_err()
}

#[tokio::test]
async fn something_else_than_a_server_is_told_in_its_own_words() {
    let portal =
        told("HTTP/1.1 404 Not Found\r\ncontent-length: 18\r\n\r\nportal of an agent").await;
    let shown = portal.to_string();
    for part in [
        "does not answer as a vinbus server: it said 404 Not Found, \"portal of an agent\"",
        "is --url that of another program?",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    assert!(!portal.is_passing());
    let silent = told("HTTP/1.1 405 Method Not Allowed\r\ncontent-length: 0\r\n\r\n").await;
    let shown = silent.to_string();
    assert!(
        shown.contains("it said 405 Method Not Allowed; is --url"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_port_of_a_broker_is_told_from_that_of_a_server() {
    // What a port with TLS says to what is none, and a broker that closes the connection.
    let tls = told("\x15\x03\x03\0\x02\x02\x46").await;
    assert!(!tls.is_passing());
    let closed = told("").await;
    assert!(closed.is_passing());
    for (error, part) in [(tls, "no HTTP"), (closed, "without an answer")] {
        let shown = error.to_string();
        for part in [part, "--mqtts)? Name the one of --http"] {
            assert!(shown.contains(part), "{shown}");
        }
    }
}

#[tokio::test]
async fn trouble_between_us_and_the_server_passes() {
    let proxy = told("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 3\r\n\r\noh!").await;
    assert!(proxy.is_passing(), "{proxy}");
}
