//! What happens to vehicles and their messages, heard on the bus by a real MQTT client over WebSocket.

mod bus_programs;
mod cli_support;

use bus_programs::Program;
use cli_support::{PARTNER, Server, VIN, Vehicle, within};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vinbus_protocol::bus::topics;
use vinbus_protocol::id::{Uid, Vin};
use vinbus_protocol::topic::{Direction, TopicScheme};
use vinbus_transport_std::Qos;

/// A server on free ports that tells `myapp` of the partner.
async fn start(dir: &TempDir) -> Server {
    let events = format!("myapp={PARTNER},theirs=another-partner");
    let args = [
        "--mqtt",
        "127.0.0.1:0",
        "--mqtts",
        "127.0.0.1:0",
        "--bus-events",
        &events,
    ];
    Server::with(dir.path(), &args).await
}

/// Publishes a payload as the vehicle.
async fn publish(vehicle: &Vehicle, subtopic: Option<&str>, payload: &str) {
    let (uid, vin) = (Uid::parse(PARTNER).unwrap(), Vin::parse(VIN).unwrap());
    let topic = TopicScheme::default()
        .publish_topic(Direction::Uplink, &uid, &vin, subtopic)
        .unwrap();
    let payload = payload.to_owned().into();
    let published = vehicle
        .client
        .publish(&topic, payload, Qos::AtLeastOnce, false);
    within("an acknowledgement", published).await.unwrap();
}

/// The next event, on this topic of vehicles, with these members at least.
async fn expect(program: &mut Program, topic: &str, members: Value) -> Value {
    let (heard, payload) = program.hear().await;
    assert_eq!(heard, format!("app/myapp/vehicle/{topic}"));
    assert_eq!(payload["appId"], "myapp");
    assert!(payload["ts"].is_string());
    for (name, value) in members.as_object().unwrap() {
        assert_eq!(payload[name], *value, "{name} of {payload}");
    }
    payload
}

#[tokio::test]
async fn application_hears_of_its_partners_vehicles() {
    let dir = TempDir::new().unwrap();
    let mut server = start(&dir).await;
    let mut mine = Program::enter(&server, "myapp", "dashboard", &["vehicle.presence"]).await;
    mine.subscribe(&topics::VEHICLE_PRESENCE).await;
    let vehicle = server.vehicle().await;
    // The partner may know of it from its first word on.
    vehicle.say("1").await;
    let presence = format!("presence/{VIN}");
    let online = json!({ "vin": VIN, "presence": "online" });
    expect(&mut mine, &presence, online).await;
    vehicle.say("2").await;
    vehicle.client.close().await;
    let offline = json!({ "vin": VIN, "presence": "offline" });
    expect(&mut mine, &presence, offline).await;
    let vehicle = server.vehicle().await;
    let online = json!({ "vin": VIN, "presence": "online" });
    expect(&mut mine, &presence, online).await;
    drop(vehicle);
    server.signal("TERM");
    server.ended().await;
    let printed = server.printed();
    assert!(!printed.contains("no such events"), "{printed}");
}

#[tokio::test]
async fn application_hears_what_its_partners_vehicles_send() {
    let dir = TempDir::new().unwrap();
    let server = start(&dir).await;
    let mut mine = Program::enter(&server, "myapp", "dashboard", &["vehicle.*"]).await;
    for topic in [
        &topics::VEHICLE_RECEIVED,
        &topics::VEHICLE_REFUSED,
        &topics::VEHICLE_HEALTH,
    ] {
        mine.subscribe(topic).await;
    }
    let vehicle = server.vehicle().await;
    vehicle.say(r#"{"requestId":"r-1","speed":50}"#).await;
    let received = json!({
        "vin": VIN, "uid": PARTNER, "requestId": "r-1",
        "content": { "requestId": "r-1", "speed": 50 },
    });
    let told = expect(&mut mine, &format!("received/{VIN}"), received).await;
    let log = server.get("/api/v1/messages").await;
    assert_eq!(told["cursor"], log["messages"][0]["cursor"]);
    publish(&vehicle, None, r#"{"contents":1}"#).await;
    let refused = json!({ "vin": VIN, "uid": PARTNER, "reason": "missing_member" });
    expect(&mut mine, &format!("refused/{VIN}"), refused).await;
    let report = json!({ "agent": "1.0", "uptimeS": 1 });
    let payload = json!({ "content": report }).to_string();
    publish(&vehicle, Some("vinbus/health"), &payload).await;
    let health = json!({ "vin": VIN, "uid": PARTNER, "report": report });
    expect(&mut mine, &format!("health/{VIN}"), health).await;
}

#[tokio::test]
async fn application_hears_what_becomes_of_its_partners_messages() {
    let dir = TempDir::new().unwrap();
    let server = start(&dir).await;
    let mut mine = Program::enter(&server, "myapp", "dashboard", &["vehicle.message"]).await;
    mine.subscribe(&topics::VEHICLE_MESSAGE).await;
    let step = |id: &str, step: &str| {
        let members = json!({
            "vin": VIN, "uid": PARTNER, "idApp": "demo-app", "messageId": id, "step": step,
            "requestId": "r-1",
        });
        (format!("message/{VIN}/{step}"), members)
    };
    let id = server.submit(r#"{"requestId":"r-1"}"#).await.unwrap();
    for (topic, members) in [step(&id, "accepted"), step(&id, "held")] {
        expect(&mut mine, &topic, members).await;
    }
    let vehicle = server.vehicle().await;
    let (topic, members) = step(&id, "sent");
    expect(&mut mine, &topic, members).await;
    vehicle.client.close().await;
    let gone = async {
        let path = format!("/api/v1/vehicles/{VIN}");
        while server.get(&path).await["presence"] != "offline" {
            tokio::task::yield_now().await;
        }
    };
    within("the vehicle is offline", gone).await;

    let path = format!("/api/v1/vehicles/{VIN}/messages?ttl=1");
    let body = r#"{"idApp":"demo-app","content":{"requestId":"r-1"}}"#;
    let answer = server.request(Method::POST, &path).body(body).send().await;
    let accepted: Value = answer.unwrap().json().await.unwrap();
    let id = accepted["id"].as_str().unwrap();
    for it in ["accepted", "held", "expired"] {
        let (topic, members) = step(id, it);
        expect(&mut mine, &topic, members).await;
    }
}

#[tokio::test]
async fn nobody_hears_of_another_partners_vehicles() {
    let dir = TempDir::new().unwrap();
    let server = start(&dir).await;
    let mut mine = Program::enter(&server, "myapp", "dashboard", &["vehicle.*"]).await;
    let mut others = Vec::new();
    for app in ["theirs", "unnamed"] {
        others.push(Program::enter(&server, app, "dashboard", &["vehicle.*"]).await);
    }
    for program in others.iter().chain([&mine]) {
        let filters = topics::OF_HOST
            .iter()
            .filter(|spec| spec.group == "vehicle");
        for spec in filters {
            program.bus.subscribe(spec, &[]).await.unwrap();
        }
    }
    let foreign = mine.bus.subscribe_to("app/theirs/vehicle/presence/+").await;
    assert!(foreign.is_err());
    let unknown = "no partner is enrolled as this UID";
    assert!(server.printed().contains(unknown), "{}", server.printed());
    let vehicle = server.vehicle().await;
    vehicle.say("1").await;
    server.submit("2").await.unwrap();
    let mut heard = Vec::new();
    while heard.len() < 4 {
        heard.push(mine.hear().await.0);
    }
    heard.sort();
    let expected = [
        "message/{}/accepted",
        "message/{}/sent",
        "presence/{}",
        "received/{}",
    ];
    let expected = expected.map(|it| format!("app/myapp/vehicle/{}", it.replace("{}", VIN)));
    assert_eq!(heard, expected);
    // Whatever they had heard would have come before this.
    for (program, app) in others.iter_mut().zip(["theirs", "unnamed"]) {
        let last = format!("app/{app}/vehicle/presence/last");
        let speaker = Program::enter(&server, app, "speaker", &["platform.vehicle"]).await;
        speaker.publish_on(&last, "{}").await;
        assert_eq!(program.hear().await.0, last);
    }
}
