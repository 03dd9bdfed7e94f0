//! Long messages with the real programs: whatever is cut or killed, a transfer goes on where it was, and
//! the app sees the message once, whole.

mod car_support;
mod cli_support;

use car_support::{Agent, Program};
use cli_support::{PARTNER, Server, VIN, within};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use vinbus_protocol::delivery::{Part, Step};
use vinbus_protocol::limits::DELIVERY_PARTS_MAX;
use vinbus_transport_std::conformance::{BrokerUnderTest as _, Endpoint, Forger, Mosquitto, Proxy};

/// The longest content that travels.
const MIB: usize = 1_048_576;

fn text(len: usize, fill: &str) -> String {
    format!("\"{}\"", fill.repeat(len - 2))
}

async fn post(server: &Server, content: &str, receipts: &str) -> (StatusCode, Value) {
    let path = format!("/api/v1/vehicles/{VIN}/messages?receipts={receipts}");
    let body = format!(r#"{{"idApp":"demo-app","content":{content}}}"#);
    let request = server.request(Method::POST, &path).body(body);
    let answer = request.send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn send(server: &Server, content: &str) -> String {
    let (status, accepted) = post(server, content, "yes").await;
    assert_eq!(status, StatusCode::ACCEPTED, "{accepted}");
    accepted["id"].as_str().unwrap().to_owned()
}

async fn trace(server: &Server, id: &str) -> Value {
    server.get(&format!("/api/v1/messages/{id}")).await
}

/// Waits until so many bytes are stored.
async fn stored(server: &Server, id: &str, bytes: u64) {
    let come = async {
        loop {
            let trace = trace(server, id).await;
            if trace["transfer"]["stored"].as_u64().unwrap() >= bytes {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("parts are stored", come).await;
}

async fn seen(app: &mut Program, count: usize) -> Vec<String> {
    let lines = app.until("it is seen", |lines| {
        (lines.len() >= count).then(|| lines.to_vec())
    });
    let lines = lines.await.into_iter();
    lines
        .map(|line| {
            let message: Value = serde_json::from_str(&line).unwrap();
            message["content"].as_str().unwrap().to_owned()
        })
        .collect()
}

/// A link of 300 KB/s, on which a mebibyte takes some seconds.
const SLOW: [&str; 2] = ["--vehicle-rate", "300000"];

async fn slow(dir: &std::path::Path) -> Server {
    let args = ["--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"];
    Server::with(dir, &[&args[..], &SLOW].concat()).await
}

#[tokio::test]
async fn mebibyte_waits_for_its_app_as_one_message_and_is_traced_part_by_part() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let long = text(MIB, "x");
    let id = send(&server, &long).await;
    server.traced(&id, "held_background").await;
    let traced = trace(&server, &id).await;
    let transfer = serde_json::json!({
        "bytes": MIB, "stored": MIB, "begun": 1, "vehicleMax": MIB
    });
    assert_eq!(traced["transfer"], transfer);
    let steps = traced["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["step"] == "part_stored"));
    let shown = server.command(&["trace", &id]).await;
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    assert!(
        shown.contains("the vehicle has 1048576 of 1048576 bytes"),
        "{shown}"
    );
    let mut app = agent.app();
    server.traced(&id, "confirmed").await;
    assert!(seen(&mut app, 1).await == [long.trim_matches('"')]);
    // To the app in the foreground as well, by the command line.
    let file = dir.path().join("long.json");
    let long = text(300_000, "y");
    std::fs::write(&file, &long).unwrap();
    let content = format!("@{}", file.display());
    let args = [
        "send",
        "--vin",
        VIN,
        "--app",
        "demo-app",
        "--receipts",
        "--content",
        &content,
    ];
    let sent = server.command(&args).await;
    assert!(
        sent.status.success(),
        "{}",
        String::from_utf8_lossy(&sent.stderr)
    );
    assert!(seen(&mut app, 2).await[1] == long.trim_matches('"'));
}

#[tokio::test]
async fn what_is_too_long_or_asks_for_no_receipts_is_refused_with_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let (status, problem) = post(&server, &text(MIB + 1, "x"), "yes").await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    assert_eq!(problem["max"], MIB);
    let (status, problem) = post(&server, &text(200_000, "x"), "no").await;
    assert_eq!(status, StatusCode::PAYLOAD_TOO_LARGE, "{problem}");
    assert_eq!(problem["max"], 131_072);
}

#[tokio::test]
async fn agent_that_is_killed_between_parts_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let server = slow(dir.path()).await;
    let mut agent = Agent::at(&server).await;
    let long = text(MIB, "x");
    let id = send(&server, &long).await;
    for bytes in [130_000, 390_000] {
        stored(&server, &id, bytes).await;
        agent.program.kill().await;
        agent = Agent::at(&server).await;
    }
    let mut app = agent.app();
    assert!(seen(&mut app, 1).await == [long.trim_matches('"')]);
    let traced = trace(&server, &id).await;
    assert_eq!(traced["transfer"]["begun"], 1, "{}", traced["transfer"]);
    agent.program.kill().await;
}

#[tokio::test]
async fn server_that_is_killed_between_parts_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = slow(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    let mut app = agent.app();
    let long = text(MIB, "x");
    let id = send(&server, &long).await;
    for bytes in [130_000, 390_000] {
        stored(&server, &id, bytes).await;
        server.signal("KILL");
        server.ended().await;
        drop(server);
        let args = ["--mqtt", "off", "--mqtts", &mqtts];
        server = Server::with(dir.path(), &[&args[..], &SLOW].concat()).await;
        let kept = trace(&server, &id).await["transfer"]["stored"].as_u64();
        assert!(kept.unwrap() >= bytes, "what was acknowledged is known");
    }
    assert!(seen(&mut app, 1).await == [long.trim_matches('"')]);
    let told = async {
        while !["taken", "confirmed", "known"]
            .contains(&trace(&server, &id).await["status"].as_str().unwrap())
        {
            tokio::task::yield_now().await;
        }
    };
    within("it is told", told).await;
    assert_eq!(trace(&server, &id).await["transfer"]["begun"], 1);
}

#[tokio::test]
async fn link_that_is_cut_in_the_middle_of_parts_costs_no_part_that_was_stored() {
    let dir = tempfile::tempdir().unwrap();
    let server = slow(dir.path()).await;
    let car = server.dir.join("car");
    server.enroll(VIN, &car).await;
    let wire = Proxy::to(&server.mqtts()).await;
    let agent = Agent::enrolled(VIN, &car, &wire.url(&server.mqtts()), &[]).await;
    let mut app = agent.app();
    let long = text(MIB, "x");
    let id = send(&server, &long).await;
    for bytes in [1, 260_000, 520_000] {
        stored(&server, &id, bytes).await;
        wire.cut();
    }
    assert!(seen(&mut app, 1).await == [long.trim_matches('"')]);
    let traced = trace(&server, &id).await;
    assert_eq!(traced["transfer"]["begun"], 1, "{}", traced["transfer"]);
    assert_eq!(traced["uid"], PARTNER);
}

#[tokio::test]
async fn bombs_of_parts_do_an_agent_no_harm() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data").display().to_string();
    let mut host = Forger::on(&mosquitto, PARTNER, VIN).await;
    let broker = mosquitto.url(Endpoint::Mqtt);
    let agent = Agent::beside(&broker, dir.path(), &["--data-dir", &data]).await;
    assert_eq!(host.meets().await, MIB as u32);
    let app = "demo-app";
    let checks = [
        (app, (0, u32::MAX), "[", Step::TooLarge),
        (app, (0, MIB as u32 + 1), "[", Step::TooLarge),
        ("nobody", (0, 9), "[", Step::UnknownApp),
        (app, (3, 9), "1", Step::PartMissing),
        (app, (0, 9), "[1,", Step::PartStored),
        (app, (2, 9), ",2", Step::PartMissing),
        (app, (3, 9), "2,3", Step::PartMissing),
        (app, (0, 9), "[1,", Step::PartStored),
        (app, (3, 9), "2,3,4,5,6,7]", Step::BadContent),
        (app, (0, 9), "", Step::BadContent),
        (app, (0, 3), "[1,2", Step::BadContent),
        // It says that it is of another message than the one it is the whole of.
        (app, (0, 3), "[1]", Step::PartMissing),
    ];
    for (app, (offset, total), piece, expected) in checks {
        let first = Part::first("[1,2,3,4]");
        let part = Part {
            offset,
            total,
            ..first
        };
        let step = host.part(app, part, piece).await;
        assert_eq!(step, expected, "{part:?} {piece:?}");
    }
    // In crumbs; and one that begins again and again.
    let of_much = |offset| Part {
        offset,
        total: MIB as u32,
        checksum: 0,
    };
    for offset in 0..DELIVERY_PARTS_MAX {
        let step = host.part(app, of_much(offset), "1").await;
        assert_eq!(step, Step::PartStored);
    }
    let step = host.part(app, of_much(DELIVERY_PARTS_MAX), "1").await;
    assert_eq!(step, Step::BadContent);
    let much = "[".to_owned() + &"1,".repeat(60_000);
    for _ in 0..40 {
        let step = host.part(app, of_much(0), &much).await;
        assert_eq!(step, Step::PartStored);
    }
    let kept = std::fs::metadata(dir.path().join("data/journal"))
        .unwrap()
        .len();
    assert!(kept < 2_000_000, "the journal has {kept} bytes");
    let first = Part::first("\"hello!\"");
    let step = host.part(app, first, "\"hel").await;
    assert_eq!(step, Step::PartStored);
    // The end of another message of this length.
    let other = Part {
        offset: 4,
        ..Part::first("\"jello?\"")
    };
    let step = host.part(app, other, "lo?\"").await;
    assert_eq!(step, Step::PartMissing);
    assert_eq!(host.part(app, first, "\"hel").await, Step::PartStored);
    let last = Part { offset: 4, ..first };
    let last = host.part(app, last, "lo!\"").await;
    assert_eq!(last, Step::HeldBackground);
    let mut app = agent.app();
    assert_eq!(seen(&mut app, 1).await, ["hello!"]);
    // The client of HTTP wants one, though this is plain.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let status = reqwest::get(format!("http://{}/status", agent.portal)).await;
    let status: Value = status.unwrap().json().await.unwrap();
    assert_eq!(status["parts"]["refused"], 12, "{}", status["parts"]);
    assert_eq!(status["parts"]["stored"], 300, "{}", status["parts"]);
}
