//! At which addresses a browser finds the portal.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{VIN, Vehicle, World};

/// The head and, if it is a text, the body of what `GET /` is answered for this host.
async fn page(vehicle: &Vehicle, host: &str) -> String {
    answer(vehicle, "/", &format!("host: {host}\r\n")).await
}

/// The same for another path, and any headers.
async fn answer(vehicle: &Vehicle, path: &str, headers: &str) -> String {
    ask(
        vehicle,
        &format!("GET {path} HTTP/1.1\r\n{headers}connection: close\r\n\r\n"),
    )
    .await
}

/// The answer to a request that closes its connection.
async fn ask(vehicle: &Vehicle, request: &str) -> String {
    let mut socket = TcpStream::connect(vehicle.portal).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn browser_at_an_address_without_the_portal_is_told_where_it_is() {
    let mut world = World::new().await;
    let more = ["--allow-origin", "http://localhost:9000"];
    let vehicle = world.vehicle(&["demo=demo-partner"], &more).await;
    let port = vehicle.portal.port();
    for host in [
        format!("localhost:{port}"),
        format!("127.0.0.1:{port}"),
        "LOCALHOST:9000".into(),
    ] {
        let answer = page(&vehicle, &host).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
        // Not every browser knows what it is to make of an IPv6 address there.
        assert!(!answer.contains("::1"), "{host}: {answer}");
    }
    for host in [
        format!("192.168.1.20:{port}"),
        format!("[::1]:{port}"),
        format!("next-stop.localhost:{port}"),
        "localhost:9001".into(),
    ] {
        let answer = page(&vehicle, &host).await;
        assert!(answer.starts_with("HTTP/1.1 421 "), "{host}: {answer}");
        for part in [
            format!("http://{host} is not the address of this portal"),
            format!("open http://localhost:{port}/"),
            "--portal-domain".into(),
            format!("--allow-origin http://{host}"),
        ] {
            assert!(answer.contains(&part), "{part}: {answer}");
        }
    }
}

#[tokio::test]
async fn page_whose_name_is_led_to_the_agent_reads_nothing_of_it() {
    let mut world = World::new().await;
    let origin = "https://shell.example:444";
    let more = ["--portal-domain", "car.example", "--allow-origin", origin];
    let vehicle = world.vehicle(&["demo=demo-partner"], &more).await;
    for path in ["/status", "/apps"] {
        for host in [
            "127.0.0.1:8090",
            "192.168.1.20",
            "[::1]:8090",
            "LOCALHOST:1",
            "car.example",
            "Shell.example:8090",
        ] {
            let told = answer(&vehicle, path, &format!("Host: {host}\r\n")).await;
            assert!(told.starts_with("HTTP/1.1 200 "), "{path} {host}: {told}");
        }
        // Programs need not say what they call it.
        let told = answer(&vehicle, path, "").await;
        assert!(told.starts_with("HTTP/1.1 200 "), "{path}: {told}");
        for host in [
            "evil.example:8090",
            "evil.car.example",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "localhost.",
            "[::1",
            "a b",
            "\u{e4}",
            "",
        ] {
            let told = answer(&vehicle, path, &format!("Host: {host}\r\n")).await;
            assert!(told.starts_with("HTTP/1.1 421 "), "{path} {host}: {told}");
            assert!(!told.contains(VIN), "{told}");
        }
    }
}

#[tokio::test]
async fn portal_for_all_addresses_says_where_a_browser_opens_it() {
    let mut world = World::new().await;
    let more = ["--portal", "0.0.0.0:0", "--portal-domain", "car.example"];
    let vehicle = world.vehicle(&["demo=demo-partner"], &more).await;
    let port = vehicle.portal.port();
    let told = page(&vehicle, &format!("192.168.1.20:{port}")).await;
    assert!(
        told.contains(&format!(" open http://car.example:{port}/\n")),
        "{told}"
    );
    assert!(!told.contains("--portal-domain"), "{told}");
    let there = page(&vehicle, &format!("car.example:{port}")).await;
    assert!(there.starts_with("HTTP/1.1 200 "), "{there}");
}

#[tokio::test]
async fn who_takes_the_portal_for_a_server_is_told_what_it_is() {
    let mut world = World::new().await;
    let vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let post = async |path: &str| {
        let head = "host: x\r\nconnection: close\r\ncontent-length: 0";
        ask(&vehicle, &format!("POST {path} HTTP/1.1\r\n{head}\r\n\r\n")).await
    };
    let told = post("/api/v1/vehicles/0123456789ABCDEFG/messages").await;
    assert!(told.starts_with("HTTP/1.1 404 "), "{told}");
    assert!(
        told.contains("\r\n\r\nthis is the portal of a vehicle agent: "),
        "{told}"
    );
    let told = post("/").await;
    assert!(told.starts_with("HTTP/1.1 405 "), "{told}");
}
