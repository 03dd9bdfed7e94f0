//! The link to the broker: lost, found, refused.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;
use tokio::io::AsyncWriteExt as _;

use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, Proxy};

use crate::world::{VIN, World};

#[tokio::test]
async fn presence_tells_start_stop_and_a_pulled_plug() {
    let mut world = World::new().await;
    let mut vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    assert!(vehicle.terminate());
    world.online(VIN, false).await;
    let mut vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    vehicle.kill();
    world.online(VIN, false).await;
}

#[tokio::test]
async fn half_a_request_does_not_keep_the_agent_from_stopping() {
    let mut world = World::new().await;
    let mut vehicle = world.vehicle(&["demo=demo-partner"], &[]).await;
    let mut half = tokio::net::TcpStream::connect(vehicle.portal)
        .await
        .unwrap();
    half.write_all(b"GET /sta").await.unwrap();
    // Connections are taken in turn: when a later one is answered, this one is there.
    vehicle.status().await;
    let stopped = tokio::task::spawn_blocking(move || vehicle.terminate());
    let stopped = tokio::time::timeout(crate::app::PATIENCE, stopped).await;
    assert!(stopped.expect("the end of the agent").unwrap());
}

#[tokio::test]
async fn what_apps_send_while_the_broker_is_away_arrives_when_it_is_back() {
    let mut world = World::new().await;
    // Only the vehicle loses the broker: the partner listens all the time, so it must get all.
    let url = world.broker.url(Endpoint::Mqtt);
    let cable = Proxy::to(&url).await;
    let url = cable.url(&url).to_string();
    let vehicle = world.vehicle_offline(&url, &["demo=demo-partner"], &[]);
    world.online(VIN, true).await;
    let mut app = vehicle.app("demo").await;
    app.notify(&json!("before")).await;
    assert_eq!(world.uplink().await.1, r#"{"content":"before"}"#);
    // What is not acknowledged when the cable is cut comes twice.
    vehicle.status_reaches("/uplinks/delivered", 1).await;
    cable.cut();
    let down = app.until("WebPortal.MQTT.evt.status").await;
    assert_eq!(down["value"], json!("disconnected"));
    for n in 0..20 {
        app.notify(&json!(n)).await;
    }
    assert_eq!(
        app.until("WebPortal.MQTT.evt.status").await["value"],
        json!("connected")
    );
    for n in 0..20 {
        assert_eq!(world.uplink().await.1, format!(r#"{{"content":{n}}}"#));
    }
    world.send("demo", &json!("after")).await;
    assert_eq!(app.message().await, json!({ "content": "after" }));
}

#[tokio::test]
async fn broker_restarts_in_the_middle_of_traffic_lose_no_uplink_message() {
    let mut world = World::new().await;
    let vehicle = world
        .vehicle(&["demo=demo-partner"], &["--app-rate", "10000"])
        .await;
    let mut app = vehicle.app("demo").await;
    let mut next = 0;
    for round in 0..3 {
        for n in 0..100 {
            app.notify(&json!(round * 100 + n)).await;
        }
        // Some of them are under way now.
        let (_, payload) = world.uplink().await;
        assert!(number(&payload) >= next);
        next = number(&payload);
        world.broker.stop().await;
        world.broker_is_back().await;
    }
    // The broker keeps nothing over its restart, so some that it had never reach the partner. The
    // message whose answer was lost may come twice. The last is sent when all listen again.
    vehicle.status_reaches("/uplinks/delivered", 300).await;
    app.notify(&json!(300)).await;
    while next < 300 {
        let (_, payload) = world.uplink().await;
        let number = number(&payload);
        assert!(number >= next, "{number} came after {next}");
        next = number;
    }
    vehicle.status_reaches("/uplinks/delivered", 301).await;
    assert_eq!(vehicle.status().await["uplinks"]["dropped"], json!(0));
}

fn number(payload: &str) -> u64 {
    let payload: serde_json::Value = serde_json::from_str(payload).unwrap();
    payload["content"].as_u64().unwrap()
}

#[tokio::test]
async fn full_uplink_queue_refuses_or_drops_as_its_policy_says_and_tells_the_app() {
    let world = World::new().await;
    let nowhere = "mqtt://127.0.0.1:1";
    let queue = [
        "--uplink-queue",
        "1024",
        "--app-rate",
        "1000",
        "--uplink-drop",
    ];
    for (policy, reason) in [("newest", "queue-full"), ("oldest", "dropped")] {
        let args = [&queue[..], &[policy]].concat();
        let vehicle = world.vehicle_offline(nowhere, &["demo=demo-partner"], &args);
        let mut app = vehicle.app("demo").await;
        let content = "x".repeat(300);
        for id in 1..=4 {
            let kind = "WebPortal.onSendNotificationRequest";
            app.send(json!({ "type": kind, "id": id, "value": content }))
                .await;
        }
        let refusal = app.until("WebPortal.MQTT.evt.messageNotDelivered").await;
        assert_eq!(refusal["value"]["reason"], json!(reason));
        let id = if policy == "newest" { 4 } else { 1 };
        assert_eq!(refusal["id"], json!(id));
    }
}

#[tokio::test]
async fn vehicle_speaks_mutual_tls_and_both_versions_and_profiles() {
    let mut world = World::new().await;
    let issued = world
        .broker
        .authority
        .client(VIN, vinbus_transport_std::conformance::Validity::Now);
    let file = |name: &str, text: &str| {
        let path = world.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let ca = file("ca.pem", &world.broker.authority.certificate);
    let cert = file("cert.pem", &issued.certificate);
    let key = file("key.pem", &issued.key);
    let url = world.broker.url(Endpoint::Mqtts).to_string();
    for version in ["5", "3.1.1"] {
        let args = [
            "--ca",
            &ca,
            "--cert",
            &cert,
            "--key",
            &key,
            "--mqtt-version",
            version,
        ];
        let mut vehicle = world.vehicle_offline(&url, &["demo=demo-partner"], &args);
        world.online(VIN, true).await;
        let mut app = vehicle.app("demo").await;
        world.send("demo", &json!(version)).await;
        assert_eq!(app.message().await, json!({ "content": version }));
        assert!(vehicle.terminate());
        world.online(VIN, false).await;
    }
}

#[tokio::test]
async fn link_that_cannot_come_up_is_explained_with_advice() {
    let world = World::new().await;
    let vehicle = world.vehicle_offline("mqtt://127.0.0.1:1", &["demo=demo-partner"], &[]);
    let line = vehicle.log_line("link down");
    for part in ["refused the TCP connection", "check the port"] {
        assert!(line.contains(part), "{line}");
    }
    let told = async {
        while !vehicle.status().await["link"]
            .as_str()
            .unwrap()
            .contains("check the port")
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(crate::app::PATIENCE, told)
        .await
        .unwrap();
}

#[tokio::test]
async fn port_of_tls_without_tls_in_the_url_is_told() {
    let world = World::new().await;
    let port = world.broker.url(Endpoint::Mqtts).port();
    let url = format!("mqtt://127.0.0.1:{port}");
    let vehicle = world.vehicle_offline(&url, &["demo=demo-partner"], &[]);
    let line = vehicle.log_line("link down");
    assert!(
        line.contains("if the port speaks TLS, write mqtts://"),
        "{line}"
    );
}

#[tokio::test]
async fn broker_that_takes_no_large_packet_is_told_when_it_is_connected_and_once() {
    let world = World::new().await;
    let mut narrow = Mosquitto::with("max_packet_size 2000").await;
    let url = narrow.url(Endpoint::Mqtt).to_string();
    let vehicle = world.vehicle_offline(&url, &["demo=demo-partner"], &[]);
    let line = vehicle.log_line("WARN");
    assert!(line.contains("packets of up to 2000 bytes"), "{line}");
    narrow.stop().await;
    narrow.start().await;
    vehicle.log_line("connected to the broker");
    narrow.stop().await;
    let later = vehicle.log_until("link down");
    let again = later.iter().find(|line| line.contains("2000 bytes"));
    assert_eq!(again, None, "{later:#?}");
}

#[tokio::test]
async fn what_waits_when_the_agent_is_stopped_is_there_at_its_next_start() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data").display().to_string();
    let args = ["--data-dir", &data];
    let mut vehicle = world.vehicle(&["demo=demo-partner"], &args).await;
    let content = "{\n \"n\":\t1.0e0 }";
    world
        .publish(format!(r#"{{"idApp":"demo","content":{content}}}"#))
        .await;
    vehicle.status_reaches("/downlinks/pending", 1).await;
    world.broker.stop().await;
    let mut app = vehicle.app("demo").await;
    let kind = "WebPortal.onSendNotificationRequest";
    app.send_text(format!(r#"{{"type":"{kind}","value":{content}}}"#))
        .await;
    vehicle.status_reaches("/uplinks/accepted", 1).await;
    assert!(vehicle.terminate());
    world.broker_is_back().await;

    let mut vehicle = world.vehicle(&["demo=demo-partner"], &args).await;
    assert_eq!(
        world.uplink().await.1,
        format!(r#"{{"content":{content}}}"#)
    );
    let mut app = vehicle.app("demo").await;
    app.send(json!({ "type": "WebPortal.getPendingNotifications" }))
        .await;
    let reply = app.until_text("WebPortal.getPendingNotifications").await;
    assert!(
        reply.contains(&format!(r#"[{{"content":{content}}}]"#)),
        "{reply}"
    );
    assert!(vehicle.terminate());
    let left = std::fs::read_dir(&data).unwrap().count();
    assert_eq!(left, 3, "only the lock, the epoch and the journal are left");
}

#[tokio::test]
async fn what_was_taken_up_survives_a_kill_until_it_is_taken_and_is_read_by_its_owner_alone() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data");
    let args = ["--data-dir", data.to_str().unwrap()];
    let apps = ["demo=demo-partner", "other=demo-partner"];
    let mut vehicle = world.vehicle(&apps, &args).await;
    world.send("demo", &json!("for demo")).await;
    world.send("other", &json!("for other")).await;
    vehicle.status_reaches("/downlinks/pending", 2).await;
    world.broker.stop().await;
    let mut app = vehicle.app("demo").await;
    app.notify(&json!("from demo")).await;
    vehicle.status_reaches("/uplinks/accepted", 1).await;
    assert!(vehicle.terminate());
    let file = std::fs::metadata(data.join("waiting.jsonl")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);

    let mut vehicle = world.vehicle_offline(&world.url(), &apps, &args);
    vehicle.kill();
    let mut vehicle = world.vehicle_offline(&world.url(), &apps, &args);
    let mut app = vehicle.app("demo").await;
    assert_eq!(app.pending().await, [json!({ "content": "for demo" })]);
    vehicle.kill();

    world.broker_is_back().await;
    let mut vehicle = world.vehicle(&apps, &args).await;
    assert_eq!(world.uplink().await.1, r#"{"content":"from demo"}"#);
    vehicle.status_reaches("/uplinks/delivered", 1).await;
    assert!(vehicle.app("demo").await.pending().await.is_empty());
    let mut other = vehicle.app("other").await;
    assert_eq!(other.pending().await, [json!({ "content": "for other" })]);
    vehicle.kill();
    let left = std::fs::read_dir(&data).unwrap().count();
    assert_eq!(left, 3, "only the lock, the epoch and the journal are left");
}

#[tokio::test]
async fn each_app_is_told_of_its_own_messages_where_the_queue_became_smaller() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data").display().to_string();
    let nowhere = "mqtt://127.0.0.1:1";
    let apps = ["first=demo-partner", "second=demo-partner"];
    let mut vehicle = world.vehicle_offline(nowhere, &apps, &["--data-dir", &data]);
    let large = json!("x".repeat(700));
    let mut first = vehicle.app("first").await;
    for _ in 0..2 {
        first.notify(&large).await;
    }
    vehicle.status_reaches("/uplinks/accepted", 2).await;
    vehicle.app("second").await.notify(&large).await;
    vehicle.status_reaches("/uplinks/accepted", 3).await;
    assert!(vehicle.terminate());

    let small = ["--data-dir", &data, "--uplink-queue", "1024"];
    let vehicle = world.vehicle(&apps, &small).await;
    vehicle.status_reaches("/uplinks/delivered", 1).await;
    let uplinks = &vehicle.status().await["uplinks"];
    assert_eq!(
        (&uplinks["dropped"], &uplinks["delivered"]),
        (&json!(2), &json!(1))
    );
    let mut second = vehicle.app("second").await;
    let kind = "WebPortal.onSendNotificationRequest";
    second
        .send(json!({ "type": kind, "id": 7, "value": 1 }))
        .await;
    let told = second.until("WebPortal.MQTT.evt.messageDelivered").await;
    assert_eq!(told["id"], json!(7));
}

#[tokio::test]
async fn messages_of_an_app_that_is_not_installed_are_told_and_wait_until_it_is_again() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data").display().to_string();
    let args = ["--data-dir", &data];
    let apps = ["demo=demo-partner", "other=demo-partner"];
    let mut vehicle = world.vehicle(&apps, &args).await;
    world.send("demo", &json!("for demo")).await;
    world.send("other", &json!("for other")).await;
    vehicle.status_reaches("/downlinks/pending", 2).await;
    world.broker.stop().await;
    vehicle.app("demo").await.notify(&json!("from demo")).await;
    vehicle.status_reaches("/uplinks/accepted", 1).await;
    assert!(vehicle.terminate());
    world.broker_is_back().await;

    let mut vehicle = world.vehicle_offline(&world.url(), &apps[1..], &args);
    let told = vehicle.log_line("is not installed");
    assert!(
        told.contains("demo") && told.contains("messages=2"),
        "{told}"
    );
    let mut other = vehicle.app("other").await;
    assert_eq!(other.pending().await, [json!({ "content": "for other" })]);
    assert!(vehicle.terminate());

    let vehicle = world.vehicle(&apps, &args).await;
    assert_eq!(world.uplink().await.1, r#"{"content":"from demo"}"#);
    let mut demo = vehicle.app("demo").await;
    assert_eq!(demo.pending().await, [json!({ "content": "for demo" })]);
}

#[tokio::test]
async fn second_agent_on_the_same_folder_is_refused() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data").display().to_string();
    let _vehicle = world
        .vehicle(&["demo=demo-partner"], &["--data-dir", &data])
        .await;
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_vehicle-agent"))
        .args([
            "run",
            "--vin",
            VIN,
            "--broker",
            "mqtt://127.0.0.1:1",
            "--app",
            "demo=p",
        ])
        .args(["--portal", "127.0.0.1:0", "--data-dir", &data])
        .output()
        .unwrap();
    let error = String::from_utf8(second.stderr).unwrap();
    assert!(
        !second.status.success() && error.contains("another agent uses"),
        "{error}"
    );
}

#[tokio::test]
async fn vehicle_reports_its_health_and_what_its_last_run_said_once() {
    let mut world = World::new().await;
    let data = world.folder.path().join("data").display().to_string();
    let apps = ["demo=demo-partner"];
    std::fs::create_dir(&data).unwrap();
    let words = "panicked at src/x.rs:1:2:\nout of petrol";
    std::fs::write(world.folder.path().join("data/last-words"), words).unwrap();
    let mut vehicle = world.vehicle(&apps, &["--data-dir", &data]).await;
    let health = world.own("vinbus/health").await;
    assert_eq!(health["agent"], env!("CARGO_PKG_VERSION"));
    assert_eq!(health["platform"], "linux");
    assert_eq!(health["crash"], words);
    assert_eq!(health["counters"], json!({ "sessions": 1 }));
    assert_eq!(health["troubles"], json!({}));
    assert!(vehicle.terminate());
    let _vehicle = world.vehicle(&apps, &["--data-dir", &data]).await;
    assert_eq!(world.own("vinbus/health").await.get("crash"), None);
}
