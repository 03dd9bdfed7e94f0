//! A fleet message with the real programs: cars come and go, the server is killed in the middle, and each
//! car's app sees its message once.

mod car_support;
mod cli_support;

use car_support::{Agent, Program, once, seen};
use cli_support::{Server, done, within};

const CARS: usize = 4;

/// Fleet messages, each for all cars.
const MESSAGES: usize = 4;

fn vin(car: usize) -> String {
    format!("FLEETCAR{car:09}")
}

/// A car with an agent and an app that runs.
struct Car {
    _agent: Agent,
    app: Program,
}

impl Car {
    async fn start(server: &Server, car: usize) -> Self {
        let (vin, dir) = (vin(car), server.dir.join("cars"));
        let agent = Agent::enrolled(&vin, &dir.join(&vin), &server.mqtts(), &[]).await;
        let app = agent.app();
        Self { _agent: agent, app }
    }
}

async fn counted(server: &Server, id: &str, step: &str, count: usize) {
    let path = format!("/api/v1/fleet/messages/{id}");
    let told = async {
        while server.get(&path).await["counts"][step] != count {
            tokio::task::yield_now().await;
        }
    };
    within(&format!("{count} of {id} are {step}"), told).await;
}

#[tokio::test]
async fn server_killed_in_the_middle_of_fleet_messages_loses_nothing_and_apps_see_each_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let list = dir.path().join("vins.txt");
    let vins: Vec<String> = (0..CARS).map(vin).collect();
    for vin in &vins {
        server.enroll(vin, &dir.path().join("cars").join(vin)).await;
    }
    std::fs::write(&list, vins.join("\n")).unwrap();
    let mut running = Vec::new();
    for car in 0..2 {
        running.push(Car::start(&server, car).await);
    }
    let mut ids = Vec::new();
    for n in 0..MESSAGES {
        let content = format!("{{\"n\":{n}}}");
        let list = list.display().to_string();
        let args = ["fleet", "send", "--vins", &list, "--app", "demo-app"];
        let more = ["--content", &content, "--receipts", "--rate", "2"];
        let sent = server.command(&[&args[..], &more[..]].concat()).await;
        ids.push(done(&sent).trim().to_owned());
    }
    for id in &ids[..3] {
        // The first that is handed over in this life is in the middle of it.
        counted(&server, id, "taken", 2).await;
        server.signal("KILL");
        server.ended().await;
        drop(server);
        let args = ["--mqtt", "off", "--mqtts", &mqtts];
        server = Server::with(dir.path(), &args).await;
    }
    let shown = done(&server.command(&["fleet", "show", &ids[0]]).await);
    assert!(shown.contains("waiting          2"), "{shown}");
    for car in 2..CARS {
        running.push(Car::start(&server, car).await);
    }
    for id in &ids {
        counted(&server, id, "taken", CARS).await;
    }
    for Car { app, .. } in &mut running {
        let has_all = |lines: &[String]| (lines.len() >= MESSAGES).then_some(());
        app.until("the app has them", has_all).await;
        assert_eq!(seen(&app.lines.borrow()), once(0..MESSAGES as u64));
    }
    let listed = done(&server.command(&["fleet", "vehicles", &ids[0]]).await);
    let line = listed.lines().next().unwrap();
    let message = line.split_whitespace().last().unwrap();
    let traced = done(&server.command(&["trace", message]).await);
    assert!(traced.contains("taken"), "{traced}");
    let over = server.command(&["fleet", "cancel", &ids[0]]).await;
    assert!(cli_support::failed(&over, 1).contains("finished, which is for good"));
}
