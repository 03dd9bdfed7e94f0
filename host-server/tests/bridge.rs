//! The bridge between vehicles and the bus, by the sample configuration: a program of the bus talks to
//! an app in a vehicle, and neither knows the other's world.

mod bus_programs;
mod cli_support;

use std::path::Path;

use bus_programs::Program;
use cli_support::{Server, VIN, within};
use serde_json::{Value, json};
use tempfile::TempDir;
use vinbus_protocol::bus::topics;
use vinbus_protocol::limits::{DELIVERY_ADDED_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_transport_std::PublishError;
use vinbus_transport_std::bus::BusPublishError;

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/bridge.toml");

const PERMISSIONS: &[&str] = &["robotics.*", "fleet.*", "vehicle.*"];

/// The module's topic for the one vehicle, and that for any.
const MOVE: &str = "app/myapp/robotics/move";
const COMMAND: &str = "app/myapp/fleet/command/0123456789ABCDEFG";

async fn start(dir: &Path) -> Server {
    let free = ["--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"];
    Server::with(dir, &[&["--config", CONFIG], &free[..]].concat()).await
}

/// A module of the application.
async fn module(server: &Server) -> Program {
    Program::enter(server, "myapp", "module", PERMISSIONS).await
}

/// The next message is what became of a message for the vehicle.
async fn expect_step(module: &mut Program, step: &str, request_id: &str) -> Value {
    let (topic, payload) = module.hear().await;
    assert_eq!(topic, format!("app/myapp/vehicle/message/{VIN}/{step}"));
    let head = (&payload["requestId"], &payload["idApp"], &payload["step"]);
    assert_eq!(
        head,
        (&json!(request_id), &json!("demo"), &json!(step)),
        "{payload}"
    );
    payload
}

#[tokio::test]
async fn module_sends_to_an_app_and_hears_its_answer() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let mut module = module(&server).await;
    module.subscribe(&topics::ROBOTICS_STATUS).await;
    module.subscribe(&topics::ROBOTICS_MOVEMENT).await;
    module.subscribe_to("app/myapp/fleet/answer/#").await;

    let order = r#"{"appId":"myapp","requestId":"r-1", "speed" : 1.50}"#;
    module.publish(&topics::ROBOTICS_MOVEMENT, order).await;
    let expected = format!(r#"{{"idApp":"demo","popup":false,"content":{order}}}"#);
    assert_eq!(vehicle.next().await, expected);

    vehicle
        .say(r#"{"requestId":"r-1","appId":"forged", "vin":"forged","done":true}"#)
        .await;
    let mut heard = [module.hear().await, module.hear().await];
    heard.sort_by(|one, another| one.0.cmp(&another.0));
    let topics: Vec<_> = heard.iter().map(|(topic, _)| topic.as_str()).collect();
    let answer = format!("app/myapp/fleet/answer/{VIN}/r-1");
    assert_eq!(topics, [answer.as_str(), "app/myapp/robotics/status"]);
    for (_, payload) in heard {
        assert!(payload["ts"].is_string());
        assert_eq!(payload["bridgedBy"], "vinbus");
        let told = (
            &payload["appId"],
            &payload["vin"],
            &payload["requestId"],
            &payload["done"],
        );
        assert_eq!(
            told,
            (&json!("myapp"), &json!(VIN), &json!("r-1"), &json!(true))
        );
    }
}

#[tokio::test]
async fn module_names_a_vehicle_in_the_topic() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let module = module(&server).await;
    module.publish_on(COMMAND, "[1, 2]").await;
    let expected = r#"{"idApp":"demo","popup":false,"content":[1, 2]}"#;
    assert_eq!(vehicle.next().await, expected);
}

#[tokio::test]
async fn acknowledged_message_survives_the_server_and_waits_for_its_vehicle() {
    let dir = TempDir::new().unwrap();
    let mut server = start(dir.path()).await;
    let mut module = module(&server).await;
    module.subscribe(&topics::VEHICLE_MESSAGE).await;
    let order = r#"{"requestId":"r-2"}"#;
    module.publish_on(MOVE, order).await;
    for step in ["accepted", "held"] {
        expect_step(&mut module, step, "r-2").await;
    }
    // The last word of this one is its acknowledgement.
    module.publish_on(MOVE, r#"{"requestId":"r-3"}"#).await;
    server.signal("KILL");
    server.ended().await;

    let server = start(dir.path()).await;
    let mut module = Program::enter(&server, "myapp", "another", PERMISSIONS).await;
    module
        .subscribe_to(&format!("app/myapp/vehicle/message/{VIN}/sent"))
        .await;
    let mut vehicle = server.vehicle().await;
    for id in ["r-2", "r-3"] {
        let payload: Value = serde_json::from_slice(&vehicle.next().await).unwrap();
        assert_eq!(payload["content"]["requestId"], id);
        expect_step(&mut module, "sent", id).await;
    }
}

#[tokio::test]
async fn what_cannot_be_carried_is_refused_to_its_sender_and_told_with_the_request() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path()).await;
    let mut module = module(&server).await;
    module.subscribe(&topics::VEHICLE_MESSAGE).await;
    let bus = module.bus.clone();
    let refused = async |topic: &str, payload: String| {
        let published = bus.publish_on(topic, payload.into()).await;
        assert!(
            matches!(published, Err(PublishError::Refused { .. })),
            "{published:?}"
        );
    };
    let large = |bytes: usize| {
        let empty = r#"{"requestId":"r-4","a":""}"#;
        empty.replace(
            r#""a":"""#,
            &format!(r#""a":"{}""#, "x".repeat(bytes - empty.len())),
        )
    };
    refused(MOVE, r#"{"requestId":"r-4""#.to_owned()).await;
    refused(MOVE, large(PAYLOAD_BYTES_MAX)).await;
    refused(
        "app/myapp/fleet/command/short",
        r#"{"requestId":"r-4"}"#.to_owned(),
    )
    .await;
    for (reason, vehicle, request_id) in [
        ("not_json", VIN, Value::Null),
        ("too_large", VIN, json!("r-4")),
        ("bad_vin", "short", json!("r-4")),
    ] {
        let (topic, payload) = module.hear().await;
        assert_eq!(
            topic,
            format!("app/myapp/vehicle/message/{vehicle}/refused")
        );
        let told = (&payload["reason"], &payload["requestId"], &payload["step"]);
        assert_eq!(
            told,
            (&json!(reason), &request_id, &json!("refused")),
            "{payload}"
        );
        assert!(payload["detail"].is_string() && payload["messageId"].is_null());
    }
    // The largest that fits, with the envelope around it and room for receipts.
    let envelope = r#"{"idApp":"demo","popup":false,"content":}"#.len();
    let fits = PAYLOAD_BYTES_MAX - envelope - DELIVERY_ADDED_BYTES_MAX;
    module.publish_on(MOVE, large(fits)).await;
    expect_step(&mut module, "accepted", "r-4").await;
    refused(MOVE, large(fits + 1)).await;
}

#[tokio::test]
async fn what_came_from_a_vehicle_never_goes_to_one() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let mut module = module(&server).await;
    module.subscribe(&topics::ROBOTICS_STATUS).await;
    vehicle.say(r#"{"requestId":"r-5"}"#).await;
    let answer = module.message().await;
    // A program that passes it on, as another bridge would.
    module.subscribe(&topics::VEHICLE_MESSAGE).await;
    let mut witness = Program::enter(&server, "myapp", "witness", PERMISSIONS).await;
    witness.subscribe(&topics::ROBOTICS_MOVEMENT).await;
    let passed_on = answer.payload().clone();
    module.publish_on(MOVE, passed_on.clone()).await;
    let told = expect_step(&mut module, "refused", "r-5").await;
    assert_eq!(told["reason"], "bridged");
    // On the bus it is a message as any other.
    assert_eq!(witness.message().await.payload(), &passed_on);
    module.publish_on(MOVE, r#"{"requestId":"r-6"}"#).await;
    let next: Value = serde_json::from_slice(&vehicle.next().await).unwrap();
    assert_eq!(next["content"], json!({ "requestId": "r-6" }));
}

#[tokio::test]
async fn what_a_vehicle_sends_and_makes_no_topic_is_told() {
    let dir = TempDir::new().unwrap();
    let mut server = start(dir.path()).await;
    let vehicle = server.vehicle().await;
    let mut module = module(&server).await;
    module.subscribe(&topics::VEHICLE_REFUSED).await;
    module.subscribe(&topics::ROBOTICS_STATUS).await;
    vehicle.say("[true]").await;
    let mut heard = [module.hear().await, module.hear().await];
    heard.sort_by(|one, another| one.0.cmp(&another.0));
    assert_eq!(heard[0].0, "app/myapp/robotics/status");
    assert_eq!(heard[0].1["content"], json!([true]));
    assert_eq!(heard[1].0, format!("app/myapp/vehicle/refused/{VIN}"));
    assert_eq!(heard[1].1["reason"], "unmapped");
    // A message that a rule is not about is nothing for the log.
    server.signal("TERM");
    server.ended().await;
    let printed = server.printed();
    assert!(!printed.contains("did not come to the bus"), "{printed}");
}

#[tokio::test]
async fn clients_need_the_permission_of_the_topic() {
    let dir = TempDir::new().unwrap();
    let server = start(dir.path()).await;
    let narrow = Program::enter(&server, "myapp", "narrow", &["robotics.status"]).await;
    let foreign = Program::enter(&server, "theirs", "foreign", &["*"]).await;
    for program in [&narrow, &foreign] {
        let published = program.bus.publish_on(MOVE, "{}".into()).await;
        assert!(
            matches!(published, Err(PublishError::Refused { .. })),
            "{published:?}"
        );
    }
    let own = foreign
        .bus
        .publish(&topics::ROBOTICS_MOVEMENT, &[], "{}".into());
    let own: Result<(), BusPublishError> = within("an acknowledgement", own).await;
    own.unwrap();
    let vehicles = server.get("/api/v1/vehicles").await;
    assert!(!vehicles.to_string().contains(VIN), "{vehicles}");
}
