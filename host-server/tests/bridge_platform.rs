//! The bridge against another platform, which is a second server: programs there talk to vehicles here,
//! over new tokens, restarts of either side, and never in circles.

mod bus_programs;
mod cli_support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bus_programs::{Program, make, options};
use cli_support::{Server, VIN, Vehicle, program, within};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use vinbus_protocol::bus::topics;
use vinbus_transport_std::bus::BusClient;

const RULE: &str = r#"
[[bridge]]
app = "myapp"
uid = "demo-partner"
vin = "0123456789ABCDEFG"
"#;

const PERMISSIONS: &[&str] = &["robotics.*", "vehicle.*", "platform.token"];

/// Of the bridge's client, which tells of vehicles there.
const PERMISSIONS_OF_BRIDGE: &[&str] = &["robotics.*", "platform.vehicle"];

/// A platform and a server with vehicles, each with its folder.
struct Pair {
    dir: TempDir,
    platform: Server,
    address: SocketAddr,
    secret: PathBuf,
}

impl Pair {
    /// The platform, with these tables in its own configuration, and the bridge's client there.
    async fn new(tables: &str, args: &[&str]) -> Self {
        let dir = TempDir::new().unwrap();
        std::fs::write(dir.path().join("platform.toml"), tables).unwrap();
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let platform = start_platform(dir.path(), any, args).await;
        let secret = dir.path().join("secret");
        let given = make(&platform, "myapp", "bridge", PERMISSIONS_OF_BRIDGE).await;
        std::fs::write(&secret, format!("{given}\n")).unwrap();
        Self {
            address: platform.address("http"),
            dir,
            platform,
            secret,
        }
    }

    /// The server with the vehicles.
    async fn host(&self) -> Server {
        let config = self.dir.path().join("host.toml");
        let rule = format!(
            "{RULE}from-bus = \"robotics/move\"\nid-app = \"demo\"\nto-bus = \"robotics/status\"\n"
        );
        std::fs::write(&config, rule).unwrap();
        let url = format!("http://{}", self.address);
        let args = [
            "--config",
            config.to_str().unwrap(),
            "--mqtt",
            "off",
            "--mqtts",
            "127.0.0.1:0",
            "--platform",
            &url,
            "--platform-client",
            "myapp/bridge",
            "--platform-secret-file",
            self.secret.to_str().unwrap(),
            "--platform-kind",
            "vinbus",
        ];
        let dir = self.dir.path().join("host");
        Server::with(&dir, &args).await
    }

    async fn end_platform(&mut self) {
        self.platform.signal("KILL");
        self.platform.ended().await;
    }

    async fn restart_platform(&mut self) {
        self.platform = start_platform(self.dir.path(), self.address, &[]).await;
    }

    /// A program on the platform, which misses nothing when its token is renewed.
    async fn module(&self, name: &str) -> Program {
        let secret = make(&self.platform, "myapp", name, PERMISSIONS).await;
        let in_place = options(&self.platform, "myapp", name, &secret).renewal_in_place(true);
        let connecting = BusClient::connect(in_place);
        let (bus, inbox) = within("a token", connecting).await.unwrap();
        Program { bus, inbox }
    }
}

async fn start_platform(dir: &Path, http: SocketAddr, args: &[&str]) -> Server {
    let mut command = program();
    command.arg("--config").arg(dir.join("platform.toml"));
    command.args([
        "--http",
        &http.to_string(),
        "--mqtt",
        "off",
        "--mqtts",
        "off",
    ]);
    command.args(args);
    Server::launch(&mut command, &dir.join("platform")).await
}

/// Publishes until the vehicle hears it: the bridge may not be there yet, and the platform keeps
/// nothing.
async fn reach(module: &Program, vehicle: &mut Vehicle, request_id: &str) {
    let order = json!({ "requestId": request_id }).to_string();
    let reaching = async {
        loop {
            let publish = module
                .bus
                .publish(&topics::ROBOTICS_MOVEMENT, &[], order.clone().into());
            publish.await.unwrap();
            let heard = tokio::time::timeout(Duration::from_millis(500), vehicle.inbox.recv());
            if let Ok(heard) = heard.await {
                let heard: Value = serde_json::from_slice(&heard.unwrap().payload).unwrap();
                // An earlier one may come late.
                if heard["content"]["requestId"] == request_id {
                    return;
                }
            }
        }
    };
    within("the vehicle hears the module", reaching).await;
}

#[tokio::test]
async fn module_of_the_platform_and_app_talk_over_many_tokens() {
    let pair = Pair::new("", &["--token-lifetime", "4s"]).await;
    let host = pair.host().await;
    let mut vehicle = host.vehicle().await;
    let mut module = pair.module("module").await;
    for topic in [&topics::ROBOTICS_STATUS, &topics::PLATFORM_TOKEN_REQUESTED] {
        module.subscribe(topic).await;
    }
    reach(&module, &mut vehicle, "first").await;
    let (mut tokens, mut number) = (0, 0);
    while tokens < 3 {
        number += 1;
        let order = json!({ "requestId": format!("r-{number}") }).to_string();
        module
            .publish(&topics::ROBOTICS_MOVEMENT, order.clone())
            .await;
        let expected = format!(r#"{{"idApp":"demo","popup":false,"content":{order}}}"#);
        assert_eq!(vehicle.next().await, expected);
        vehicle.say(&order).await;
        loop {
            let (topic, payload) = module.hear().await;
            if topic == "app/myapp/platform/token" {
                let of_bridge = payload["clientId"].as_str().unwrap().ends_with("bridge");
                tokens += usize::from(of_bridge);
                continue;
            }
            assert_eq!(payload["requestId"], format!("r-{number}"));
            assert_eq!(
                (&payload["vin"], &payload["bridgedBy"]),
                (&json!(VIN), &json!("vinbus"))
            );
            break;
        }
    }
}

#[tokio::test]
async fn module_is_told_on_the_platform_what_becomes_of_its_message() {
    let pair = Pair::new("", &[]).await;
    let host = pair.host().await;
    let mut module = pair.module("module").await;
    module.subscribe(&topics::VEHICLE_MESSAGE).await;
    let mut steps = Vec::new();
    let told = async {
        while steps.len() < 2 {
            let order = json!({ "requestId": "r-1" }).to_string();
            module.publish(&topics::ROBOTICS_MOVEMENT, order).await;
            let hearing = tokio::time::timeout(Duration::from_millis(500), module.hear());
            if let Ok((topic, payload)) = hearing.await {
                assert_eq!(payload["requestId"], "r-1");
                steps.push(topic);
            }
        }
    };
    within("steps of the message", told).await;
    let accepted = format!("app/myapp/vehicle/message/{VIN}/accepted");
    assert_eq!(steps[0], accepted);
    drop(host);
}

#[tokio::test]
async fn bridge_comes_back_with_the_platform() {
    let mut pair = Pair::new("", &[]).await;
    let host = pair.host().await;
    let mut vehicle = host.vehicle().await;
    let module = pair.module("module").await;
    reach(&module, &mut vehicle, "before").await;
    drop(module);
    pair.end_platform().await;
    vehicle.say(r#"{"requestId":"meanwhile"}"#).await;
    pair.restart_platform().await;
    let carried = async {
        let metric = "vinbus_bridge_up_total{outcome=\"carried\"} 1";
        loop {
            let answer = host.request(Method::GET, "/metrics").send().await.unwrap();
            if answer.text().await.unwrap().contains(metric) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("what waited is carried", carried).await;
    let module = pair.module("another").await;
    reach(&module, &mut vehicle, "after").await;
}

#[tokio::test]
async fn what_a_vehicle_sent_is_carried_after_both_sides_were_killed() {
    let mut pair = Pair::new("", &[]).await;
    let mut host = pair.host().await;
    let mut vehicle = host.vehicle().await;
    let module = pair.module("module").await;
    reach(&module, &mut vehicle, "before").await;
    drop(module);
    pair.end_platform().await;
    vehicle.say(r#"{"requestId":"kept"}"#).await;
    host.signal("KILL");
    host.ended().await;
    pair.restart_platform().await;
    let mut module = pair.module("another").await;
    module.subscribe(&topics::ROBOTICS_STATUS).await;
    let host = pair.host().await;
    let (_, payload) = module.hear().await;
    assert_eq!(payload["requestId"], "kept");
    drop(host);
}

#[tokio::test]
async fn nothing_goes_in_circles_through_two_bridges() {
    let tables = format!(
        "{RULE}from-bus = \"robotics/status\"\nid-app = \"demo\"\nto-bus = \"robotics/move\"\n"
    );
    let pair = Pair::new(&tables, &[]).await;
    let mut module = pair.module("module").await;
    module.subscribe(&topics::VEHICLE_MESSAGE).await;
    let host = pair.host().await;
    let vehicle = host.vehicle().await;
    vehicle.say(r#"{"requestId":"r-1"}"#).await;
    let (topic, payload) = module.hear().await;
    assert_eq!(topic, format!("app/myapp/vehicle/message/{VIN}/refused"));
    assert_eq!(
        (&payload["reason"], &payload["requestId"]),
        (&json!("bridged"), &json!("r-1"))
    );
}

#[tokio::test]
async fn platform_that_gives_no_token_is_told_and_vehicles_are_served() {
    let pair = Pair::new("", &[]).await;
    std::fs::write(&pair.secret, "not-the-secret").unwrap();
    let host = pair.host().await;
    let told = async {
        while !host
            .printed()
            .contains("the bridge has no token of the platform")
        {
            tokio::task::yield_now().await;
        }
    };
    within("it is told", told).await;
    host.vehicle().await.say("1").await;
    assert!(!host.printed().contains("not-the-secret"));
}

#[tokio::test]
async fn bridge_is_one_client_of_the_platform_over_its_restarts() {
    let pair = Pair::new("", &["--log", "debug"]).await;
    let connections = || {
        let printed = pair.platform.printed();
        let lines = printed.lines().filter(|it| it.contains("client connected"));
        let ids = lines.filter_map(|it| it.split_once("client_id=").map(|(_, id)| id.to_owned()));
        ids.collect::<Vec<_>>()
    };
    for lives in 1..=2 {
        let mut host = pair.host().await;
        let connected = async {
            while connections().len() < lives {
                tokio::task::yield_now().await;
            }
        };
        within("the bridge is there", connected).await;
        host.signal("KILL");
        host.ended().await;
    }
    let ids = connections();
    assert!(ids[0].starts_with("vinbus-"), "{ids:?}");
    assert_eq!(ids[0], ids[1]);
}
