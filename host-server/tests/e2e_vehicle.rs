//! The whole path with real programs: partner, server, broker, vehicle, and back.

mod cli_support;

use std::path::Path;
use std::process::Stdio;

use cli_support::{Listener, PARTNER, Server, VIN, done, failed, within};
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

const ODD: &str =
    r#"{ "a" :  1.50, "big":123456789012345678901234567890,"e":"\u00e9é\ud83d\ude00" ,"a":null}"#;

#[tokio::test]
async fn a_message_goes_to_the_vehicle_and_the_answer_comes_back_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let mut listener = Listener::start(&server, &["--vin", VIN]).await;

    let sent = ["send", "--vin", VIN, "--app", "demo-app", "--content", ODD];
    let id = done(&server.command(&sent).await).trim().to_owned();
    let expected = format!(r#"{{"idApp":"demo-app","popup":false,"content":{ODD}}}"#);
    assert_eq!(vehicle.next().await, expected);
    server.traced(&id, "sent").await;

    vehicle.say(ODD).await;
    let line = listener.line().await;
    assert!(line.ends_with(&format!("\"content\":{ODD}}}")), "{line}");
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (&message["vin"], &message["uid"]),
        (&json!(VIN), &json!(PARTNER))
    );
}

#[tokio::test]
async fn messages_for_an_absent_vehicle_are_held_and_sent_in_order_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(server.submit(&number.to_string()).await.unwrap());
    }
    server.traced(&ids[4], "held").await;
    let mut vehicle = server.vehicle().await;
    for number in 0..5 {
        let payload: Value = serde_json::from_slice(&vehicle.next().await).unwrap();
        assert_eq!(payload["content"], number);
    }
    for id in &ids {
        server.traced(id, "sent").await;
    }
    let path = format!("/api/v1/vehicles/{VIN}");
    assert_eq!(server.get(&path).await["presence"], "online");
    vehicle.client.close().await;
    let gone = async {
        while server.get(&path).await["presence"] != "offline" {
            tokio::task::yield_now().await;
        }
    };
    within("the vehicle is offline", gone).await;
}

#[tokio::test]
async fn a_popup_is_sent_by_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let popup = [
        "send",
        "--vin",
        VIN,
        "--app",
        "demo-app",
        "--popup",
        "Stop \"here\"?",
        "--popup-btn",
    ];
    done(&server.command(&popup).await);
    let expected =
        r#"{"idApp":"demo-app","popup":true,"popupBtn":true,"popupText":"Stop \"here\"?"}"#;
    assert_eq!(vehicle.next().await, expected);
}

#[tokio::test]
async fn content_is_read_from_a_file_and_from_standard_input() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let file = dir.path().join("content.json");
    std::fs::write(&file, "\n{\"of\":\"file\"}\n").unwrap();
    let at_file = format!("@{}", file.display());
    done(
        &server
            .command(&["send", "--vin", VIN, "--app", "a", "--content", &at_file])
            .await,
    );
    assert!(
        vehicle
            .next()
            .await
            .ends_with(b"\"content\":{\"of\":\"file\"}}")
    );

    let mut command = server.client(&["send", "--vin", VIN, "--app", "a", "--content", "-"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut sending = command.spawn().unwrap();
    sending
        .stdin
        .take()
        .unwrap()
        .write_all(b"[1]")
        .await
        .unwrap();
    done(
        &within("send ends", sending.wait_with_output())
            .await
            .unwrap(),
    );
    assert!(vehicle.next().await.ends_with(b"\"content\":[1]}"));
}

#[tokio::test]
async fn send_explains_what_went_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let send = async |rest: &[&str]| {
        let args = [&["send", "--vin", VIN, "--app", "a"], rest].concat();
        server.command(&args).await
    };
    let shown = failed(&send(&["--content", "{\"a\":}"]).await, 2);
    assert!(
        shown.contains("not JSON") && shown.contains("line 1, column 6"),
        "{shown}"
    );
    let file = dir.path().join("large.json");
    std::fs::write(&file, format!("\"{}\"", "x".repeat(200_000))).unwrap();
    let shown = failed(
        &send(&["--content", &format!("@{}", file.display())]).await,
        2,
    );
    assert!(
        shown.contains("200040") && shown.contains("131072") && shown.contains("--receipts"),
        "{shown}"
    );
    let shown = failed(&send(&["--content", "@no/such.json"]).await, 2);
    assert!(shown.contains("no/such.json"), "{shown}");
    let shown = failed(&send(&["--content", "1", "--token", "wrong"]).await, 1);
    assert!(
        shown.contains("refused the token") && shown.contains("--data-dir"),
        "{shown}"
    );
    let shown = failed(&send(&["--content", "1", "--token", "a\nb"]).await, 2);
    assert!(shown.contains("copy it again"), "{shown}");
    let shown = failed(&send(&["--content", "1", "--uid", "a/b"]).await, 2);
    assert!(shown.contains("'--uid <UID>'"), "{shown}");
    let shown = failed(&send(&["--popup", " "]).await, 2);
    assert!(shown.contains("leave --popup away"), "{shown}");

    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let args = [
        "send",
        "--vin",
        VIN,
        "--app",
        "a",
        "--content",
        "1",
        "--token",
        "t",
        "--url",
    ];
    for (url, status, part) in [
        (
            server.url().replace("http:", "https:"),
            1,
            "begin with http://",
        ),
        ("foo".to_owned(), 2, "begin with http:// or https://"),
        ("ftp://foo".to_owned(), 2, "begin with http:// or https://"),
    ] {
        let shown = failed(
            &cli_support::run(&[&args[..], &[&url]].concat()).await,
            status,
        );
        assert!(shown.contains(part), "{url}: {shown}");
    }
    let nowhere = format!("http://{unused}");
    let shown = failed(
        &cli_support::run(&[&args[..], &[&nowhere]].concat()).await,
        1,
    );
    assert!(
        shown.contains("cannot be reached") && shown.contains("is `host-server` running"),
        "{shown}"
    );
    let shown = failed(
        &cli_support::run(&["listen", "--data-dir", "no/such"]).await,
        1,
    );
    assert!(shown.contains("no/such/admin/token"), "{shown}");
}

#[tokio::test]
async fn a_partner_enrolled_while_the_server_runs_sends_and_hears_as_itself() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let out = dir.path().join("acme");
    let out = out.to_str().unwrap();
    done(
        &server
            .command(&["enroll", "partner", "acme", "--out", out])
            .await,
    );
    let token = std::fs::read_to_string(Path::new(out).join("token")).unwrap();
    let args = [
        "send",
        "--vin",
        VIN,
        "--app",
        "a",
        "--content",
        "1",
        "--token",
        token.trim(),
    ];
    let id = done(&server.command(&args).await);
    assert_eq!(
        server.get(&format!("/api/v1/messages/{}", id.trim())).await["uid"],
        "acme"
    );
    let shown = failed(
        &server
            .command(&["enroll", "partner", "acme", "--out", out])
            .await,
        1,
    );
    assert!(shown.contains("acme"), "{shown}");
}

#[tokio::test]
async fn listen_goes_on_after_the_server_was_killed_and_prints_every_message_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mut listener = Listener::start(&server, &[]).await;
    let vehicle = server.vehicle().await;
    vehicle.say("1").await;
    assert!(listener.line().await.ends_with("\"content\":1}"));
    vehicle.client.close().await;

    let http = server.address("http").to_string();
    server.signal("KILL");
    server.ended().await;
    listener.says("trying again").await;
    let args = ["--http", &http, "--mqtt", "off", "--mqtts", "127.0.0.1:0"];
    let server = Server::launch(cli_support::program().args(args), dir.path()).await;
    let vehicle = server.vehicle().await;
    vehicle.say("2").await;
    vehicle.say("3").await;
    assert!(listener.line().await.ends_with("\"content\":2}"));
    assert!(listener.line().await.ends_with("\"content\":3}"));
}

#[tokio::test]
async fn listen_says_that_the_server_stopped_and_that_it_is_back() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mut listener = Listener::start(&server, &[]).await;
    let http = server.address("http").to_string();
    server.signal("TERM");
    server.ended().await;
    listener.says("the server closed the connection").await;
    let args = ["--http", &http, "--mqtt", "off", "--mqtts", "off"];
    let _server = Server::launch(cli_support::program().args(args), dir.path()).await;
    listener
        .says(&format!("listening at http://{http} again"))
        .await;
}

#[tokio::test]
async fn listen_ends_when_its_token_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let shown = failed(&server.command(&["listen", "--token", "wrong"]).await, 1);
    assert!(
        shown.contains("refused the token given with --token"),
        "{shown}"
    );
}

#[tokio::test]
async fn commands_find_the_server_that_runs_on_the_data_folder() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let data = dir.path().to_str().unwrap();
    let message = ["--vin", VIN, "--app", "a", "--content", "1"];
    let send = [&["send", "--data-dir", data], &message[..]].concat();
    let id = done(&cli_support::run(&send).await);
    let trace = server.get(&format!("/api/v1/messages/{}", id.trim())).await;
    assert_eq!(trace["message"]["content"], 1);
}

#[tokio::test]
async fn listen_ends_in_peace_on_a_signal_and_on_a_closed_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let vehicle = server.vehicle().await;
    for signal in ["INT", "TERM"] {
        let mut listener = Listener::start(&server, &[]).await;
        let process = listener.child.id().unwrap().to_string();
        std::process::Command::new("kill")
            .args(["-s", signal, &process])
            .status()
            .unwrap();
        let status = within("listen ends", listener.child.wait()).await.unwrap();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
    let Listener { mut child, .. } = Listener::start(&server, &[]).await;
    vehicle.say("1").await;
    let status = within("listen ends", child.wait()).await.unwrap();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test]
async fn killed_in_the_middle_of_traffic_it_knows_every_message_it_accepted_and_sends_the_rest() {
    const SENDERS: usize = 8;
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let accepted = {
        let sending = futures_util::future::join_all((0..SENDERS).map(|sender| {
            let server = &server;
            async move {
                let mut accepted = Vec::new();
                for number in 0.. {
                    let content = format!("\"{sender}-{number}\"");
                    match server.submit(&content).await {
                        Some(id) => accepted.push((id, content)),
                        None => return accepted,
                    }
                }
                accepted
            }
        }));
        let killing = async {
            for _ in 0..100 {
                vehicle.next().await;
            }
            server.signal("KILL");
        };
        let (accepted, ()) = within(
            "all senders end",
            futures_util::future::join(sending, killing),
        )
        .await;
        accepted.concat()
    };
    server.ended().await;
    // The vehicle may have a message whose sender did not live to see the answer.
    assert!(accepted.len() >= 100 - SENDERS, "{}", accepted.len());

    let server = Server::start(dir.path()).await;
    for (id, content) in &accepted {
        let trace = server.get(&format!("/api/v1/messages/{id}")).await;
        assert_eq!(trace["message"]["content"].to_string(), *content);
    }
    let _vehicle = server.vehicle().await;
    for (id, _) in &accepted {
        server.traced(id, "sent").await;
    }
}

#[tokio::test]
async fn what_was_acknowledged_to_a_vehicle_survives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let vehicle = server.vehicle().await;
    for number in 0..20 {
        vehicle.say(&number.to_string()).await;
    }
    server.signal("KILL");
    server.ended().await;
    let server = Server::start(dir.path()).await;
    let page = server.get("/api/v1/messages?limit=100").await;
    let contents: Vec<_> = page["messages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|message| &message["content"])
        .collect();
    assert_eq!(contents, (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_store_is_answered_507_by_the_real_program() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::with(
        dir.path(),
        &[
            "--mqtt",
            "off",
            "--mqtts",
            "off",
            "--store-bytes-max",
            "16MiB",
        ],
    )
    .await;
    let path = format!("/api/v1/vehicles/{VIN}/messages");
    let body = format!(r#"{{"idApp":"a","content":"{}"}}"#, "x".repeat(100_000));
    let mut accepted = 0;
    let status = loop {
        let answer = server
            .request(Method::POST, &path)
            .body(body.clone())
            .send()
            .await
            .unwrap();
        if answer.status() != 202 {
            break answer.status();
        }
        accepted += 1;
        assert!(accepted < 1000);
    };
    assert_eq!(status, 507);
}

#[tokio::test]
async fn a_partner_speaks_mqtt_over_websocket_on_the_http_port() {
    use vinbus_transport_std::{ClientOptions, Qos};
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let password =
        std::fs::read_to_string(dir.path().join("partners").join(PARTNER).join("password"))
            .unwrap();
    let url = format!("ws://{}/mqtt", server.address("http"))
        .parse()
        .unwrap();
    let options = ClientOptions::new(url, "backend").credentials(PARTNER, password.trim());
    let (client, mut inbox) = vinbus_transport_std::connect(options).unwrap();
    let filter = format!("psa/OVIPPartners-Dev/from/uid/{PARTNER}/opa/#");
    within(
        "the partner is subscribed",
        client.subscribe(&filter, Qos::AtMostOnce),
    )
    .await
    .unwrap();
    let vehicle = server.vehicle().await;
    vehicle.say(ODD).await;
    let message = within("the message arrives", inbox.recv()).await.unwrap();
    assert_eq!(message.payload, format!("{{\"content\":{ODD}}}"));
}
