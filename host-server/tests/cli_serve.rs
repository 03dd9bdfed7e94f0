//! The program `host-server` as people start it: what it prints, refuses and leaves behind.

mod cli_support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cli_support::{Listener, PARTNER, Server, VIN, done, failed, program, run};
use reqwest::Method;
use serde_json::Value;
use vinbus_transport_std::ClientOptions;

#[tokio::test]
async fn it_starts_on_an_empty_folder_and_says_where_it_is_and_what_to_type_next() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut server = Server::start(&data).await;
    let file = fs::read_to_string(data.join("addresses.json")).unwrap();
    let file: Value = serde_json::from_str(&file).unwrap();
    for name in ["http", "mqtt", "mqtts"] {
        assert_ne!(server.address(name).port(), 0);
        assert_eq!(file[name], server.address(name).to_string());
    }
    let ready = server.get("/readyz").await;
    assert_eq!(ready, serde_json::json!({"ready": true, "reasons": []}));
    for secret in ["admin/token", "ca/key.pem", "server/key.pem", "vinbus.db"] {
        let mode = fs::metadata(data.join(secret))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{secret}");
    }
    for part in ["token", "password", "cert.pem", "key.pem", "ca.pem"] {
        assert!(
            data.join("partners").join(PARTNER).join(part).is_file(),
            "{part}"
        );
    }

    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(0));
    assert!(!data.join("addresses.json").exists());
    let printed = server.printed();
    for command in [
        " listen ",
        " enroll vehicle ",
        "vehicle-agent run ",
        " send ",
        " console --data-dir ",
    ] {
        assert!(printed.contains(command), "{command}: {printed}");
    }
    assert!(printed.contains("stopped"), "{printed}");
}

#[tokio::test]
async fn a_later_start_says_nothing_of_enrolling_once_a_vehicle_is_enrolled() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut first = Server::start(&data).await;
    let out = dir.path().join("car");
    let vin = "ABCDEFGH123456789";
    let enroll = ["enroll", "vehicle", vin, "--out", out.to_str().unwrap()];
    done(&first.command(&enroll).await);
    first.signal("TERM");
    first.ended().await;
    assert!(first.printed().contains(" enroll vehicle "));

    let mut second = Server::start(&data).await;
    second.signal("TERM");
    second.ended().await;
    let printed = second.printed();
    assert!(!printed.contains(" enroll vehicle "), "{printed}");
    assert!(
        printed.contains(&format!(" send --vin {vin} ")),
        "{printed}"
    );
}

#[tokio::test]
async fn the_welcome_says_who_can_reach_the_port_for_vehicles() {
    let check = async |mut command: tokio::process::Command, part: &str| {
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::launch(&mut command, dir.path()).await;
        server.signal("TERM");
        server.ended().await;
        let printed = server.printed();
        assert!(printed.contains(part), "{part}: {printed}");
    };
    let with = |args: &[&str]| {
        let mut command = program();
        command.args(["--http", "127.0.0.1:0"]).args(args);
        command
    };
    let on_all = ["--mqtt", "off", "--mqtts", "0.0.0.0:0"];
    check(with(&on_all), "on all networks of this machine").await;
    check(with(&on_all), "--mqtts 127.0.0.1:").await;
    let mut external = with(&[]);
    external.env("VINBUS_BROKER", "mqtt://localhost:1");
    check(external, "by the broker mqtt://localhost:1").await;
}

#[tokio::test]
async fn a_second_start_keeps_authority_and_credentials() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = Server::start(dir.path()).await;
    let kept = |name: &str| fs::read(dir.path().join(name)).unwrap();
    let files = ["ca.pem", "admin/token", "server/cert.pem"];
    let before = files.map(kept);
    first.signal("KILL");
    first.ended().await;
    let second = Server::start(dir.path()).await;
    assert_eq!(files.map(kept), before);
    assert_eq!(second.get("/readyz").await["ready"], true);
}

#[tokio::test]
async fn a_clean_stop_leaves_the_database_file_alone_with_everything_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mut vehicle = server.vehicle().await;
    let listener = Listener::start(&server, &[]).await;
    vehicle.say("1").await;
    let id = server.submit("2").await.unwrap();
    vehicle.next().await;
    server.traced(&id, "sent").await;

    server.signal("TERM");
    assert_eq!(server.ended().await.code(), Some(0));
    let files = fs::read_dir(dir.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let of_store: Vec<_> = names.filter(|name| name.contains("vinbus.db")).collect();
    assert_eq!(of_store, ["vinbus.db"], "{}", server.printed());
    drop(listener);
    let again = Server::start(dir.path()).await;
    again.traced(&id, "sent").await;
    let page = again.get("/api/v1/messages").await;
    assert_eq!(page["messages"][0]["content"], 1);
}

#[tokio::test]
async fn the_figures_of_the_embedded_broker_are_on_the_page_of_metrics() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let _vehicle = server.vehicle().await;
    let answer = server.request(Method::GET, "/metrics").send().await;
    let page = answer.unwrap().text().await.unwrap();
    for line in [
        "# TYPE vinbus_broker_connections gauge",
        "vinbus_broker_connections 1",
        "vinbus_broker_connections_accepted_total 1",
        "vinbus_broker_logins_refused_total 0",
        "vinbus_broker_publishes_denied_total 0",
        "vinbus_broker_subscriptions_denied_total 0",
        "# HELP vinbus_broker_oversize_total Messages over 131,072 bytes, dropped.",
        "vinbus_broker_oversize_total 0",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line}: {page}");
    }
}

#[tokio::test]
async fn two_agents_with_one_vin_are_warned_of_with_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let out = dir.path().join("car");
    server.enroll(VIN, &out).await;
    // Each is connected beside those before it, as none listens.
    let agents = (0..4).map(|agent| {
        let options = ClientOptions::new(server.mqtts(), format!("agent-{agent}"))
            .ca_file(out.join("ca.pem"))
            .identity_files(out.join("cert.pem"), out.join("key.pem"));
        vinbus_transport_std::connect(options).unwrap()
    });
    let _agents: Vec<_> = agents.collect();
    let warned = || {
        let printed = server.printed();
        let mut lines = printed.lines().filter(|line| line.contains("WARN"));
        lines
            .find(|line| line.contains("two agents have the same VIN"))
            .map(str::to_owned)
    };
    let told = async {
        while warned().is_none() {
            tokio::task::yield_now().await;
        }
    };
    cli_support::within("it is warned of", told).await;
    let line = warned().unwrap();
    for part in [VIN, "peer=127.0.0.1:", "earlier=127.0.0.1:"] {
        assert!(line.contains(part), "{line}");
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_with_its_option() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for option in ["--http", "--mqtt", "--mqtts"] {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().to_str().unwrap();
        let mut args = vec!["--data-dir", data];
        for each in ["--http", "--mqtt", "--mqtts"] {
            args.extend([
                each,
                if each == option {
                    &address
                } else {
                    "127.0.0.1:0"
                },
            ]);
        }
        let shown = failed(&run(&args).await, 1);
        let expected = format!("cannot listen on {address} ({option})");
        assert!(
            shown.contains(&expected) && shown.contains("another program"),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let data = dir.path().to_str().unwrap();
    let second = [
        "--data-dir",
        data,
        "--http",
        "127.0.0.1:0",
        "--mqtt",
        "off",
        "--mqtts",
        "off",
    ];
    let shown = failed(&run(&second).await, 1);
    assert!(
        shown.contains("in use by another server") && shown.contains(data),
        "{shown}"
    );
    assert_eq!(server.get("/readyz").await["ready"], true);
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_told_once_however_often_it_is_tried() {
    let dir = tempfile::tempdir().unwrap();
    let unused = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let broker = format!("mqtt://{unused}");
    let log = ["--log", "vinbus_transport_std=debug"];
    let mut server = Server::with(dir.path(), &[&["--broker", &broker], &log[..]].concat()).await;
    let lines = |level: &str, printed: &str| {
        let lines = printed.lines().filter(|line| line.contains(level));
        lines
            .filter(|line| line.contains("refused the TCP"))
            .count()
    };
    let trying = async {
        while lines("DEBUG", &server.printed()) < 2 {
            tokio::task::yield_now().await;
        }
    };
    cli_support::within("it is tried three times", trying).await;
    server.signal("TERM");
    server.ended().await;
    let printed = server.printed();
    assert_eq!(lines("WARN", &printed), 1, "{printed}");
}

#[tokio::test]
async fn a_broker_that_cannot_be_found_is_told_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let broker = ["--broker", "mqtt://no-such-host.invalid:1883"];
    let server = Server::with(dir.path(), &broker).await;
    let told = async {
        while !server.printed().contains("Stop with Ctrl-C") {
            tokio::task::yield_now().await;
        }
    };
    cli_support::within("it says what to type next", told).await;
    let printed = server.printed();
    assert!(printed.contains("NOT CONNECTED"), "{printed}");
}

#[tokio::test]
async fn a_message_is_sent_for_a_time_and_its_trace_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let sending = ["send", "--vin", VIN, "--app", "demo", "--content", "1"];
    let sending = [&sending[..], &["--ttl", "1s"]].concat();
    let sent = server.command(&sending).await;
    let note = String::from_utf8_lossy(&sent.stderr).into_owned();
    assert!(
        note.contains(&format!("nothing was heard of vehicle {VIN}")),
        "{note}"
    );
    let id = done(&sent).trim().to_owned();
    server.traced(&id, "expired").await;
    let told = done(&server.command(&["trace", &id]).await);
    let steps: Vec<_> = told
        .lines()
        .map(|line| line.split_whitespace().nth(1).unwrap())
        .collect();
    assert_eq!(steps, ["accepted", "held", "expired"], "{told}");
    assert!(told.lines().all(|line| line.starts_with("20")), "{told}");
    assert!(told.contains(VIN) && told.contains("offline"), "{told}");
    let json = done(&server.command(&["trace", &id, "--json"]).await);
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["id"], &json["status"]),
        (&id.into(), &"expired".into())
    );
    let shown = failed(&server.command(&["trace", "../tokens"]).await, 1);
    assert!(
        shown.contains("no message for a vehicle has this id"),
        "{shown}"
    );
}

#[tokio::test]
async fn logs_are_json_lines_when_asked_for_and_never_hold_a_secret() {
    let dir = tempfile::tempdir().unwrap();
    let listeners = ["--mqtt", "127.0.0.1:0", "--mqtts", "127.0.0.1:0"];
    let logging = ["--log-format", "json", "--log", "trace"];
    let mut server = Server::with(dir.path(), &[&listeners[..], &logging].concat()).await;
    let mut vehicle = server.vehicle().await;
    server.submit("\"a secret of the driver\"").await.unwrap();
    vehicle.next().await;
    server.signal("TERM");
    server.ended().await;

    let printed = server.printed();
    let partner = dir.path().join("partners").join(PARTNER);
    let secrets = ["token", "password"].map(|name| fs::read_to_string(partner.join(name)).unwrap());
    for secret in secrets.iter().map(|text| text.trim()).chain([
        server.token().as_str(),
        "BEGIN PRIVATE",
        "a secret of",
    ]) {
        assert!(!printed.contains(secret), "a secret was printed");
    }
    let logged: Vec<_> = printed
        .lines()
        .filter(|line| line.starts_with('{'))
        .collect();
    assert!(!logged.is_empty());
    for line in logged {
        serde_json::from_str::<Value>(line).unwrap();
    }
}

#[tokio::test]
async fn a_second_signal_ends_it_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    // A request whose body never comes holds up the shutdown.
    let mut stream = tokio::net::TcpStream::connect(server.address("http"))
        .await
        .unwrap();
    let head = format!(
        "POST /api/v1/webhooks HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\n\
         expect: 100-continue\r\ncontent-length: 9\r\n\r\n",
        server.token()
    );
    tokio::io::AsyncWriteExt::write_all(&mut stream, head.as_bytes())
        .await
        .unwrap();
    let mut first = [0];
    let asked = tokio::io::AsyncReadExt::read_exact(&mut stream, &mut first);
    cli_support::within("the server asks for the body", asked)
        .await
        .unwrap();
    server.signal("INT");
    let stopping = async {
        while !server.printed().contains("stopping") {
            tokio::task::yield_now().await;
        }
    };
    cli_support::within("it begins to stop", stopping).await;
    server.signal("INT");
    assert_eq!(server.ended().await.code(), Some(130));
}

#[tokio::test]
async fn a_damaged_database_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("vinbus.db");
    fs::write(&database, vec![0x5a; 8192]).unwrap();
    let data = dir.path().to_str().unwrap();
    let args = [
        "--data-dir",
        data,
        "--http",
        "127.0.0.1:0",
        "--mqtt",
        "off",
        "--mqtts",
        "off",
    ];
    let shown = failed(&run(&args).await, 1);
    assert!(shown.contains("database"), "{shown}");
    assert_eq!(fs::read(&database).unwrap(), vec![0x5a; 8192]);
}
