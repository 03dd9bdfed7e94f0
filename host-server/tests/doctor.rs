//! `host-server doctor`, against a real mosquitto, our own broker, and what is no broker at all.

mod cli_support;

use std::path::Path;

use cli_support::{PARTNER, Server, VIN, done, run, within};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use vinbus_transport_std::conformance::{
    Authority, BrokerUnderTest, Endpoint, Issued, Mosquitto, Validity, connected, subscribed,
};
use vinbus_transport_std::{BrokerUrl, Qos};

const WRONG_PASSWORD: &str = "horse-battery";

/// The report of a look, and its exit status.
struct Look {
    report: Value,
    status: Option<i32>,
    printed: String,
}

impl Look {
    async fn at(args: &[&str]) -> Self {
        let args = [&["doctor", "--json"], args].concat();
        let output = run(&args).await;
        let printed = String::from_utf8(output.stdout).unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        let report = serde_json::from_str(&printed).unwrap_or_else(|_| panic!("{printed}{errors}"));
        let printed = printed + &errors;
        Self {
            report,
            status: output.status.code(),
            printed,
        }
    }

    /// The lines of a check as verdict, value and advice.
    fn checks(&self, name: &str) -> Vec<(&str, String)> {
        let checks = self.report["checks"].as_array().unwrap();
        let named = checks.iter().filter(|check| check["check"] == name);
        named
            .map(|check| {
                let text = |member: &str| check[member].as_str().unwrap_or_default();
                let shown = format!("{} -> {}", text("value"), text("advice"));
                (check["verdict"].as_str().unwrap(), shown)
            })
            .collect()
    }

    /// Asserts that a check has one line with this verdict, which says `part`.
    #[track_caller]
    fn says(&self, name: &str, verdict: &str, part: &str) {
        let checks = self.checks(name);
        let [(told, text)] = &checks[..] else {
            panic!("{name}: {checks:?} in {:#}", self.report);
        };
        assert_eq!(*told, verdict, "{name}: {text}");
        assert!(text.contains(part), "{name}: {text}");
    }

    /// The names of the checks with this verdict.
    fn with(&self, verdict: &str) -> Vec<&str> {
        let checks = self.report["checks"].as_array().unwrap();
        let of_it = checks.iter().filter(|check| check["verdict"] == verdict);
        of_it
            .map(|check| check["check"].as_str().unwrap())
            .collect()
    }
}

/// Credentials for a broker, as files.
struct Files(TempDir);

impl Files {
    fn new(ca: &str, client: &Issued, password: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (file, text) in [
            ("ca.pem", ca),
            ("cert.pem", &client.certificate),
            ("key.pem", &client.key),
            ("password", &format!("{password}\n")),
        ] {
            std::fs::write(dir.path().join(file), text).unwrap();
        }
        Self(dir)
    }

    /// Those that the broker welcomes.
    fn right(mosquitto: &Mosquitto) -> Self {
        let ca = &mosquitto.authority.certificate;
        Self::new(ca, &mosquitto.client, Mosquitto::PASSWORD)
    }

    async fn look(&self, url: &BrokerUrl, user: &str, more: &[&str]) -> Look {
        look_with(self.0.path(), url, user, more).await
    }
}

/// Looks with the files of a folder, as `enroll partner` writes them.
async fn look_with(files: &Path, url: &BrokerUrl, user: &str, more: &[&str]) -> Look {
    let url = url.to_string();
    let path = |file: &str| files.join(file).to_str().unwrap().to_owned();
    let (ca, cert, key) = (path("ca.pem"), path("cert.pem"), path("key.pem"));
    let password = path("password");
    let mut args = vec![
        "--broker",
        &url,
        "--user",
        user,
        "--password-file",
        &password,
    ];
    match url.split_once(':') {
        Some(("mqtts", _)) => args.extend(["--ca", &ca, "--cert", &cert, "--key", &key]),
        Some(("wss", _)) => args.extend(["--ca", &ca]),
        _ => {}
    }
    if !more.contains(&"--listen") {
        args.extend(["--listen", "0s"]);
    }
    args.extend(more);
    Look::at(&args).await
}

/// Looks at what listens without TLS, with no credentials and little patience.
async fn look_at(port: u16) -> Look {
    let url = format!("mqtt://127.0.0.1:{port}");
    Look::at(&["--broker", &url, "--timeout", "300ms", "--listen", "0s"]).await
}

#[tokio::test]
async fn a_broker_without_fault_gets_a_clean_bill_of_health() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtts);
    let look = Files::right(&mosquitto)
        .look(&url, Mosquitto::USER, &[])
        .await;
    assert_eq!(look.status, Some(0), "{:#}", look.report);
    // It allows both profiles, and no vehicle speaks.
    assert_eq!(look.with("not-tested"), ["profile", "trailing-slash"]);
    assert_eq!(look.with("warning"), [""; 0], "{:#}", look.report);
    look.says("server-certificate", "ok", "127.0.0.1");
    look.says("own-certificate", "ok", "CN=tester");
    look.says("clock", "ok", "local time 20");
    look.says("mqtt-5", "ok", "spoken");
    look.says("mqtt-3.1.1", "ok", "spoken");
    look.says(
        "qos",
        "ok",
        "0 arrives as 0, 1 arrives as 1, 2 arrives as 2",
    );
    look.says("size", "ok", "131072 bytes arrive; 131073 arrives");
    look.says("retained", "ok", "deleted again");
    look.says("no-local", "ok", "honoured");
    assert!(!look.printed.contains(Mosquitto::PASSWORD));
}

#[tokio::test]
async fn the_older_version_is_looked_at_when_it_is_chosen() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let files = Files::right(&mosquitto);
    let look = files
        .look(&url, Mosquitto::USER, &["--broker-mqtt", "3.1.1"])
        .await;
    assert_eq!(look.status, Some(0), "{:#}", look.report);
    look.says("size", "ok", "131072 bytes arrive");
    look.says("no-local", "not-tested", "MQTT 3.1.1 does not have it");
}

#[tokio::test]
async fn a_broker_over_websocket_is_looked_at_in_the_same_way() {
    let mosquitto = Mosquitto::start().await;
    let files = Files::right(&mosquitto);
    // This mosquitto takes seconds for a large message over WebSocket.
    for (endpoint, more) in [(Endpoint::Ws, &[][..]), (Endpoint::Wss, &["--no-publish"])] {
        let url = mosquitto.url(endpoint);
        let look = files.look(&url, Mosquitto::USER, more).await;
        assert_eq!(look.status, Some(0), "{:#}", look.report);
        assert_eq!(look.with("warning"), [""; 0], "{:#}", look.report);
        look.says("websocket", "ok", "/mqtt takes MQTT");
        look.says("mqtt-3.1.1", "ok", "spoken");
        look.says("subscribe-table", "ok", "is granted");
        if more.is_empty() {
            look.says("size", "ok", "131072 bytes arrive; 131073 arrives");
            look.says("no-local", "ok", "honoured");
        }
    }
    // TLS where the URL says none, and none where it says TLS.
    let (ws, wss) = (mosquitto.url(Endpoint::Ws), mosquitto.url(Endpoint::Wss));
    let soon = ["--timeout", "1s"];
    let url = format!("ws://127.0.0.1:{}", wss.port()).parse().unwrap();
    let plain = files.look(&url, Mosquitto::USER, &soon).await;
    plain.says(
        "websocket",
        "failed",
        "check that the port speaks WebSocket",
    );
    let url = format!("wss://127.0.0.1:{}", ws.port()).parse().unwrap();
    let secret = files.look(&url, Mosquitto::USER, &soon).await;
    secret.says("tls", "failed", "check that the port speaks TLS");
    secret.says("websocket", "not-tested", "no connection");
    for look in [plain, secret] {
        assert_eq!(look.status, Some(1));
        assert_eq!(look.with("failed").len(), 1, "{:#}", look.report);
    }
}

#[tokio::test]
async fn only_the_own_topic_is_published_on_and_nothing_stays() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let options = mosquitto.options(Endpoint::Mqtt, url.clone(), "ear");
    let (ear, mut inbox) = connected(options).await;
    subscribed(&ear, "#", Qos::AtMostOnce).await;
    let files = Files::right(&mosquitto);
    let quiet = files.look(&url, Mosquitto::USER, &["--no-publish"]).await;
    quiet.says("size", "not-tested", "--no-publish");
    assert_eq!(quiet.status, Some(0), "{:#}", quiet.report);
    let loud = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(loud.status, Some(0), "{:#}", loud.report);
    let end = ear.publish("end", "".into(), Qos::AtMostOnce, false);
    within("the end is published", end).await.unwrap();
    let own = "psa/OVIPPartners-Dev/to/uid/tester/opa/VINBUSDOCTOR00000/";
    let mut heard = 0;
    loop {
        let message = within("a message", inbox.recv()).await.unwrap();
        if message.topic == "end" {
            break;
        }
        heard += 1;
        assert_eq!(message.topic, own);
        let first = message.payload.first();
        assert!(first.is_none() || first == Some(&b'v'), "no envelope");
    }
    assert!(heard > 5, "{heard}");
    let options = mosquitto.options(Endpoint::Mqtt, url, "late");
    let (late, mut inbox) = connected(options).await;
    subscribed(&late, "#", Qos::AtMostOnce).await;
    let end = late.publish("end", "".into(), Qos::AtMostOnce, false);
    within("the end is published", end).await.unwrap();
    let first = within("a message", inbox.recv()).await.unwrap();
    assert_eq!(first.topic, "end", "something is retained");
}

#[tokio::test]
async fn a_wrong_password_is_told_once_and_not_shown() {
    let mosquitto = Mosquitto::start().await;
    let ca = &mosquitto.authority.certificate;
    let files = Files::new(ca, &mosquitto.client, WRONG_PASSWORD);
    let url = mosquitto.url(Endpoint::Mqtts);
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(look.status, Some(1));
    look.says("mqtt-5", "ok", "spoken, but the login is refused");
    look.says("mqtt-3.1.1", "not-tested", "not about the version");
    look.says("login", "failed", "CONNACK 0x87");
    look.says("login", "failed", "password");
    assert!(!look.printed.contains(WRONG_PASSWORD), "{}", look.printed);
    assert!(look.printed.contains("1 of "), "{}", look.printed);
    let url = mosquitto.url(Endpoint::Mqtt).to_string();
    let nobody = Look::at(&["--broker", &url]).await;
    nobody.says("login", "failed", "give user name and password");
}

#[tokio::test]
async fn a_server_of_another_authority_is_not_spoken_to() {
    let mosquitto = Mosquitto::start().await;
    let other = Authority::new("another CA").certificate;
    let files = Files::new(&other, &mosquitto.client, Mosquitto::PASSWORD);
    let url = mosquitto.url(Endpoint::Mqtts);
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(look.status, Some(1));
    look.says("server-certificate", "ok", "issued by CN=vinbus test CA");
    look.says("tls", "failed", "unknown CA -> trust the CA");
    look.says("mqtt-5", "not-tested", "");
}

#[tokio::test]
async fn a_server_whose_certificate_is_over_or_of_another_host_is_told() {
    let mosquitto = Mosquitto::start().await;
    let files = Files::right(&mosquitto);
    let port = |fault: &str| {
        let options = format!("{:?}", mosquitto.faulty_options(fault));
        let port = options.split("port: ").nth(1).unwrap();
        port.split([',', ' ', '}']).next().unwrap().to_owned()
    };
    let at = |fault| {
        format!("mqtts://127.0.0.1:{}", port(fault))
            .parse()
            .unwrap()
    };
    let expired = files.look(&at("expired"), Mosquitto::USER, &[]).await;
    expired.says("server-certificate", "failed", "renew what has expired");
    expired.says("clock", "warning", "if the local time is wrong, set it");
    expired.says("tls", "failed", "has expired");
    let not_yet = files.look(&at("not-yet"), Mosquitto::USER, &[]).await;
    not_yet.says("server-certificate", "failed", "clock");
    not_yet.says("tls", "failed", "not valid yet");
    let wrong_host = files.look(&at("wrong-host"), Mosquitto::USER, &[]).await;
    wrong_host.says("server-certificate", "ok", "for another.example");
    wrong_host.says("tls", "failed", "not for \"127.0.0.1\"");
}

#[tokio::test]
async fn a_certificate_of_ours_that_is_over_or_unknown_is_told() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtts);
    let ca = &mosquitto.authority.certificate;
    let over = mosquitto
        .authority
        .client(Mosquitto::USER, Validity::Expired);
    let look = Files::new(ca, &over, "x")
        .look(&url, Mosquitto::USER, &[])
        .await;
    assert_eq!(look.status, Some(1));
    look.says("own-certificate", "failed", "have a new certificate issued");
    look.says("tls", "failed", "the broker refuses our certificate");
    let foreign = Authority::new("another CA").client("stranger", Validity::Now);
    let look = Files::new(ca, &foreign, "x")
        .look(&url, Mosquitto::USER, &[])
        .await;
    look.says("own-certificate", "warning", "CN=stranger");
    look.says(
        "own-certificate",
        "warning",
        "the UID in the topics is \"tester\"",
    );
    look.says(
        "tls",
        "failed",
        "UnknownCA, it does not trust the authority",
    );
}

#[tokio::test]
async fn a_key_of_another_certificate_is_told_before_it_is_used() {
    let mosquitto = Mosquitto::start().await;
    let other = mosquitto.authority.client("other", Validity::Now);
    let mixed = Issued {
        certificate: mosquitto.client.certificate.clone(),
        key: other.key,
    };
    let files = Files::new(&mosquitto.authority.certificate, &mixed, "x");
    let url = mosquitto.url(Endpoint::Mqtts);
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(look.status, Some(1));
    look.says("tls", "failed", "is not that of the certificate");
}

#[tokio::test]
async fn rules_that_forbid_to_publish_are_told_with_their_reason() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let files = Files::right(&mosquitto);
    let look = files
        .look(&url, Mosquitto::USER, &["--prefix", "forbidden"])
        .await;
    assert_eq!(look.status, Some(1));
    look.says("publish", "failed", "0x87: not authorized");
    look.says("size", "not-tested", "does not let us publish");
}

#[tokio::test]
async fn the_largest_message_is_found_to_the_byte() {
    let mosquitto = Mosquitto::with("message_size_limit 65536").await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let files = Files::right(&mosquitto);
    for version in ["5", "3.1.1"] {
        let look = files
            .look(&url, Mosquitto::USER, &["--broker-mqtt", version])
            .await;
        assert_eq!(look.status, Some(1));
        look.says("size", "failed", "has 65536 bytes -> ");
        look.says("size", "failed", "message_size_limit");
        assert_eq!(look.with("failed"), ["size"], "{:#}", look.report);
    }
}

#[tokio::test]
async fn a_limit_of_the_connack_is_told_and_not_broken() {
    let mosquitto = Mosquitto::with("max_packet_size 100000").await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let look = Files::right(&mosquitto)
        .look(&url, Mosquitto::USER, &[])
        .await;
    look.says("mqtt-5", "ok", "packets of at most 100000 bytes");
    let topic = "psa/OVIPPartners-Dev/to/uid/tester/opa/VINBUSDOCTOR00000/".len();
    let payload = 100_000 - (4 + 2 + topic + 2 + 1);
    look.says("size", "failed", &format!("a payload of {payload} on"));
    look.says("size", "failed", "arrives");
}

#[tokio::test]
async fn vehicles_that_speak_tell_the_profile() {
    let mosquitto = Mosquitto::start().await;
    let url = mosquitto.url(Endpoint::Mqtt);
    let options = mosquitto.options(Endpoint::Mqtt, url.clone(), "car");
    let (car, _inbox) = connected(options).await;
    let topic = format!("psa/OVIPPartners-Dev/to/uid/tester/opa/{VIN}");
    let spoken = car.publish(&topic, r#"{"content":1}"#.into(), Qos::AtLeastOnce, true);
    within("the vehicle speaks", spoken).await.unwrap();
    let files = Files::right(&mosquitto);
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    assert_eq!(look.status, Some(1));
    look.says("profile", "failed", "sample, not table: 1 messages heard");
    look.says("profile", "failed", "--profile sample");
    look.says("trailing-slash", "ok", "1 topics heard, all without it");
    let right = ["--profile", "sample"];
    let look = files.look(&url, Mosquitto::USER, &right).await;
    look.says("profile", "ok", "sample");
    assert_eq!(look.status, Some(0), "{:#}", look.report);
}

#[tokio::test]
async fn our_own_broker_shows_a_partner_the_profile_by_what_it_grants() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let port = server.address("mqtts").port();
    let url: BrokerUrl = format!("mqtts://localhost:{port}").parse().unwrap();
    let files = dir.path().join("partners").join(PARTNER);
    let look = look_with(&files, &url, PARTNER, &[]).await;
    assert_eq!(look.status, Some(0), "{:#}", look.report);
    look.says("profile", "ok", "table: the broker grants its filter alone");
    look.says("subscribe-sample", "ok", "0x87: not authorized");
    look.says("publish", "ok", "acknowledged");
    look.says("size", "not-tested", "acknowledged");

    let wrong = look_with(&files, &url, PARTNER, &["--profile", "sample"]).await;
    assert_eq!(wrong.status, Some(1));
    wrong.says("subscribe-sample", "failed", "SUBACK 0x87");
    wrong.says("profile", "failed", "use --profile table");

    let other = look_with(&files, &url, PARTNER, &["--broker-uids", "somebody"]).await;
    other.says(
        "subscribe-table",
        "failed",
        "uid/somebody/opa/# is refused: SUBACK 0x87",
    );

    let stranger = look_with(&files, &url, "stranger", &[]).await;
    let both = "the user name is \"stranger\" and the certificate that of \"demo-partner\"";
    stranger.says("login", "failed", both);

    let car = dir.path().join("car");
    let enroll = ["enroll", "vehicle", VIN, "--out", car.to_str().unwrap()];
    done(&server.command(&enroll).await);
    std::fs::copy(files.join("password"), car.join("password")).unwrap();
    let vehicle = look_with(&car, &url, PARTNER, &[]).await;
    vehicle.says(
        "own-certificate",
        "warning",
        "this is a vehicle's certificate",
    );
    vehicle.says("login", "failed", VIN);

    std::fs::write(files.join("password"), WRONG_PASSWORD).unwrap();
    let refused = look_with(&files, &url, PARTNER, &[]).await;
    refused.says("login", "failed", "CONNACK 0x86");
    assert!(!refused.printed.contains(WRONG_PASSWORD));
}

#[tokio::test]
async fn the_administrator_is_looked_at_without_a_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let token = dir.path().join("admin/token");
    let at = |scheme: &str, address: &str, path: &str| {
        format!("{scheme}://{}{path}", server.address(address))
    };
    let look = async |url: &str, more: &[&str]| {
        let token = token.to_str().unwrap();
        let args = ["--broker", url, "--user", "admin", "--password-file", token];
        Look::at(&[&args[..], &["--listen", "0s"], more].concat()).await
    };
    let (tcp, web_socket) = (at("mqtt", "mqtt", ""), at("ws", "http", "/mqtt"));
    for (url, more) in [(&tcp, &[][..]), (&web_socket, &["--no-publish"])] {
        let admin = look(url, more).await;
        assert_eq!(admin.status, Some(0), "{:#}", admin.report);
        assert_eq!(admin.with("warning"), [""; 0], "{:#}", admin.report);
        admin.says("login", "ok", "user \"admin\"");
        admin.says("subscribe-table", "ok", "uid/admin/opa/# is granted");
        admin.says("profile", "not-tested", "the broker grants both");
        assert!(!admin.printed.contains(&server.token()));
        if more.is_empty() {
            admin.says("qos", "not-tested", "takes in itself what is for vehicles");
            admin.says("size", "not-tested", "131072 bytes are acknowledged");
        }
    }
    let all = look(&tcp, &["--broker-uids", "all", "--no-publish"]).await;
    assert_eq!(all.status, Some(0), "{:#}", all.report);
    all.says("subscribe-table", "ok", "from/uid/+/opa/# is granted");

    let url = format!("mqtts://localhost:{}", server.address("mqtts").port());
    let ca = dir.path().join("ca/cert.pem");
    let without = look(&url, &["--ca", ca.to_str().unwrap()]).await;
    assert_eq!(without.status, Some(1));
    without.says("tls", "failed", "requires a client certificate");
    let url = at("ws", "http", "/elsewhere");
    let elsewhere = look(&url, &[]).await;
    elsewhere.says("websocket", "failed", "/elsewhere: the server refused");
    elsewhere.says("websocket", "failed", "check the path in the URL");
}

#[tokio::test]
async fn a_client_of_the_bus_is_looked_at_by_its_token() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let of = ["--app", "myapp", "--client", "dashboard"];
    let create = ["token", "create-client", "--permission", "ui.content"];
    done(&server.command(&[&create[..], &of].concat()).await);
    let issue = [&["token", "issue"][..], &of].concat();
    let token = done(&server.command(&issue).await);
    let file = dir.path().join("jwt");
    std::fs::write(&file, &token).unwrap();
    let url = format!("ws://{}/mqtt", server.address("http"));
    let by_token = ["--broker", &url, "--token-file", file.to_str().unwrap()];
    let look = async |more: &[&str]| Look::at(&[&by_token[..], more].concat()).await;

    let bare = look(&[]).await;
    assert_eq!(bare.status, Some(0), "{:#}", bare.report);
    bare.says("token", "ok", "of myapp-dashboard of myapp, valid until 20");
    bare.says("login", "ok", "welcomes the token");
    bare.says("subscribe", "not-tested", "--filter");
    bare.says("publish", "not-tested", "other applications");

    let filters = "app/myapp/ui/content/#, app/myapp/ui/status/#";
    let some = look(&["--filter", filters]).await;
    assert_eq!(some.status, Some(1));
    let subscribed = some.checks("subscribe");
    assert_eq!(subscribed[0].0, "ok", "{subscribed:?}");
    assert_eq!(subscribed[1].0, "failed", "{subscribed:?}");
    assert!(
        subscribed[1]
            .1
            .contains("ui/status/# is refused: SUBACK 0x87")
    );

    let revoke = [&["token", "revoke"][..], &of].concat();
    done(&server.command(&revoke).await);
    let revoked = look(&[]).await;
    revoked.says("login", "failed", "CONNACK 0x8");
    revoked.says("login", "failed", "get a new token from the platform");
    for look in [bare, some, revoked] {
        assert!(!look.printed.contains(token.trim()), "{}", look.printed);
    }
    let as_user = ["doctor", "--broker", &url, "--user", token.trim()];
    let as_user = [&as_user[..], &["--password-file", "x"]].concat();
    let text = cli_support::failed(&run(&as_user).await, 2);
    assert!(text.contains("--token-file") && !text.contains(token.trim()));
}

#[tokio::test]
async fn a_broker_of_the_older_version_alone_is_used_and_told() {
    let mosquitto = Mosquitto::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("mqtt://{}", listener.local_addr().unwrap());
    let behind = mosquitto.url(Endpoint::Mqtt);
    tokio::spawn(older_only(
        listener,
        (behind.host().to_owned(), behind.port()),
    ));
    let files = Files::right(&mosquitto);
    let url = url.parse().unwrap();
    let look = files.look(&url, Mosquitto::USER, &[]).await;
    look.says("mqtt-5", "failed", "--broker-mqtt");
    look.says("mqtt-3.1.1", "ok", "spoken");
    look.says("size", "ok", "131072 bytes arrive");
    let look = files
        .look(&url, Mosquitto::USER, &["--broker-mqtt", "3.1.1"])
        .await;
    look.says("mqtt-5", "warning", "CONNACK 0x01");
    assert_eq!(look.status, Some(0), "{:#}", look.report);
}

/// A broker that refuses version 5 as one of 3.1.1 does, and hands all else to another.
async fn older_only(listener: TcpListener, behind: (String, u16)) {
    loop {
        let (mut client, _) = listener.accept().await.unwrap();
        let behind = behind.clone();
        tokio::spawn(async move {
            let mut begin = vec![0; 9];
            client.read_exact(&mut begin).await?;
            // The level stands behind the header of two bytes and the protocol's name.
            if begin[8] == 5 {
                return client.write_all(&[0x20, 2, 0, 1]).await;
            }
            let mut broker = TcpStream::connect(behind).await?;
            broker.write_all(&begin).await?;
            copy_bidirectional(&mut client, &mut broker).await.map(drop)
        });
    }
}

#[tokio::test]
async fn what_is_no_broker_is_told_apart() {
    let banner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closing = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
    let (banner_port, silent_port, closing_port) = (port(&banner), port(&silent), port(&closing));
    tokio::spawn(async move {
        loop {
            let (mut client, _) = banner.accept().await.unwrap();
            let mut begin = [0; 256];
            let _ = client.read(&mut begin).await;
            let _ = client.write_all(b"SSH-2.0-Other\r\n").await;
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut client, _) = closing.accept().await.unwrap();
            let mut begin = [0; 256];
            let _ = client.read(&mut begin).await;
        }
    });
    let other = look_at(banner_port).await;
    assert_eq!(other.status, Some(1));
    other.says("login", "failed", "it said \"SSH-2.0-Other\\r\\n\"");

    let nobody = look_at(silent_port).await;
    assert_eq!(nobody.status, Some(1));
    nobody.says("login", "failed", "no answer within 300ms");

    let gone = look_at(closing_port).await;
    gone.says("login", "failed", "closed the connection without a reason");

    drop(silent);
    let refused = look_at(silent_port).await;
    assert_eq!(refused.status, Some(1));
    refused.says("tcp", "failed", "refuses the connection -> check the port");
    refused.says("name", "ok", "127.0.0.1");
}

#[tokio::test]
async fn plain_mqtt_on_a_port_of_tls_is_told() {
    let mosquitto = Mosquitto::start().await;
    let port = mosquitto.url(Endpoint::Mqtt).port();
    let url = format!("mqtts://127.0.0.1:{port}").parse().unwrap();
    let look = Files::right(&mosquitto)
        .look(&url, Mosquitto::USER, &[])
        .await;
    assert_eq!(look.status, Some(1));
    look.says("tls", "failed", "plain MQTT usually has another port");
}

#[tokio::test]
async fn a_command_line_that_names_no_broker_of_its_kind_is_refused() {
    for (args, said) in [
        (&["doctor"][..], "--broker"),
        (
            &["doctor", "--broker", "mqtt://x", "--cert", "c.pem"],
            "broker-key",
        ),
        (
            &["doctor", "--broker", "mqtt://x", "--timeout", "2min"],
            "100ms to 1min",
        ),
        (
            &[
                "doctor",
                "--broker",
                "mqtt://x",
                "--user",
                "u",
                "--password-file",
                "/no/such",
            ],
            "cannot read the secret in /no/such",
        ),
    ] {
        let output = run(args).await;
        let text = cli_support::failed(&output, 2);
        assert!(text.contains(said), "{args:?}: {text}");
    }
}
