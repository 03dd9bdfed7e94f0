//! What the program `host-server` is told by its command line, its environment and its file: what wins, and how
//! mistakes are refused.

mod cli_support;

use std::fs;

use cli_support::{PARTNER, Server, VIN, done, failed, program, run};
use reqwest::Method;

#[tokio::test]
async fn a_mistake_in_the_configuration_file_is_shown_at_its_line() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vinbus.toml");
    fs::write(&file, "http = \"127.0.0.1:0\"\n\nhtpp = \"x\"\n").unwrap();
    let shown = failed(&run(&["--config", file.to_str().unwrap()]).await, 2);
    assert!(
        shown.contains("vinbus.toml:3:1: unknown key `htpp`"),
        "{shown}"
    );
    let shown = failed(&run(&["--config", "no/such.toml"]).await, 2);
    assert!(
        shown.contains("no/such.toml") && shown.contains("No such file"),
        "{shown}"
    );
}

#[tokio::test]
async fn the_command_line_wins_over_the_environment_over_the_file_over_the_default() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vinbus.toml");
    fs::write(
        &file,
        "partner = \"of-file\"\nmqtt = \"off\"\nmqtts = \"off\"\n",
    )
    .unwrap();
    let started = async |partner_of_env: Option<&str>, args: &[&str]| {
        let data = tempfile::tempdir().unwrap();
        let mut command = program();
        command.args(["serve", "--http", "127.0.0.1:0"]).args(args);
        if let Some(partner) = partner_of_env {
            command.env("VINBUS_PARTNER", partner);
        }
        let server = Server::launch(&mut command, data.path()).await;
        assert!(!server.printed().contains("mqtts="));
        let partners = fs::read_dir(data.path().join("partners")).unwrap();
        let names = partners.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect::<Vec<_>>()
    };
    let config = ["--config", file.to_str().unwrap()];
    let off = ["--mqtt", "off", "--mqtts", "off"];
    assert_eq!(started(None, &off).await, [PARTNER]);
    assert_eq!(started(None, &config).await, ["of-file"]);
    assert_eq!(started(Some("of-env"), &config).await, ["of-env"]);
    let all = [&config[..], &["--partner", "of-cli"]].concat();
    assert_eq!(started(Some("of-env"), &all).await, ["of-cli"]);
}

#[tokio::test]
async fn limits_given_by_environment_file_and_command_line_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vinbus.toml");
    fs::write(
        &file,
        "uplink-retention = \"1day\"\nvehicle-unsent-max = 2\nmqtts = \"off\"\nmqtt = \"off\"\n",
    )
    .unwrap();
    let mut command = program();
    command
        .args(["--http", "127.0.0.1:0", "--webhooks-max", "0", "--config"])
        .arg(&file)
        .env("VINBUS_UPLINK_BYTES_MAX", "1MiB");
    let server = Server::launch(&mut command, &dir.path().join("data")).await;
    for _ in 0..2 {
        server.submit("1").await.unwrap();
    }
    let path = format!("/api/v1/vehicles/{VIN}/messages");
    let message = server.request(Method::POST, &path);
    let message = message.body(r#"{"idApp":"a","content":1}"#).send().await;
    assert_eq!(message.unwrap().status(), 429);
    let webhook = server.request(Method::POST, "/api/v1/webhooks");
    let webhook = webhook.body(r#"{"url":"https://a.example/"}"#).send().await;
    assert_eq!(webhook.unwrap().status(), 409);
}

#[tokio::test]
async fn wrong_options_are_refused_with_what_to_do() {
    let cases: &[(&[&str], &str)] = &[
        (&["--htpp", "x"], "--http"),
        (&["--http", "8080"], "127.0.0.1:8080 for this machine"),
        (&["--http", "localhost:8080"], "an IP address with a port"),
        (&["--server-names", "a b"], "\"a b\" is neither a host name"),
        (&["--store-bytes-max", "10 apples"], "10GiB"),
        (&["--store-bytes-max", "1kB"], "at least 16777216 bytes"),
        (&["--streams-max", "many"], "a whole number"),
        (&["--request-time-max", "0s"], "at least 1ms"),
        (&["listen", "--after", "foo"], "0 for everything"),
        (&["listen", "--after", "-1"], "0 for everything"),
        (&["listen", "--after", "1-2"], "0 for everything"),
        (&["--mqtt", "0.0.0.0:1883"], "loopback"),
        (&["--mqtts", "here"], "an IP address with a port"),
        (&["--broker", "http://b"], "unknown scheme \"http\""),
        (&["--broker", "mqtt://b:x"], "\"x\" is not a port"),
        (
            &["--broker", "mqtt://b", "--mqtt", "off"],
            "--mqtt has no effect",
        ),
        (
            &["--broker", "mqtt://b", "--mqtt-unknown-max", "9"],
            "--mqtt-unknown-max has no effect beside --broker",
        ),
        (&["--broker-ca", "x"], "without --broker"),
        (&["--profile", "both"], "table, sample"),
        (&["--prefix", "a//#"], "--prefix"),
        (
            &["--receipts-for", "a,,b"],
            "--receipts-for \"a,,b\" has an empty name",
        ),
        (&["--partner", "a/b"], "--partner"),
        (&["--log", "loud"], "none of off, error, warn"),
        (&["--request-time-max", "soon"], "such as 500ms, 30s"),
        (&["--uplink-retention", "soon"], "--uplink-retention"),
        (&["--vehicle-unsent-max", "0"], "at least 1"),
        (&["--mqtt-unknown-max", "0"], "at least 1"),
        (&["enrol"], "enroll"),
        (
            &["--data-dir", "x", "enroll", "vehicle", "0123456789ABCDEFG"],
            "`host-server enroll … --data-dir DIR`",
        ),
        (
            &["enroll", "vehicle", "short", "--out", "x"],
            "'short' for '<VIN>': it has 5 bytes",
        ),
        (
            &["enroll", "vehicle", "../../ABCDEFGHIJK", "--out", "x"],
            "the character at byte 0",
        ),
        (
            &["enroll", "partner", "a/b", "--out", "x"],
            "'a/b' for '<UID>'",
        ),
        (&["enroll", "partner", "#", "--out", "x"], "'#' for '<UID>'"),
        (&["enroll", "partner", "a\n+", "--out", "x"], "<UID>"),
        (
            &["send", "--vin", "x", "--app", "a", "--content", "1"],
            "'x' for '--vin <VIN>'",
        ),
    ];
    for (args, part) in cases {
        let shown = failed(&run(args).await, 2);
        assert!(shown.contains(part), "{args:?}: {shown}");
    }
}

#[tokio::test]
async fn help_names_every_option_with_its_variable_and_examples() {
    let help = done(&run(&["--help"]).await);
    for part in [
        "--mqtts",
        "VINBUS_MQTTS",
        "0.0.0.0:8886",
        "Examples:",
        "enroll vehicle",
        "Limits:",
        "Storage:",
        "--uplink-retention <TIME>",
        "VINBUS_VEHICLE_UNSENT_MAX",
        "External broker:",
    ] {
        assert!(help.contains(part), "{part}: {help}");
    }
    assert!(done(&run(&["--version"]).await).starts_with("host-server 0."));
    for command in ["serve", "enroll", "send", "trace", "listen"] {
        let help = done(&run(&[command, "--help"]).await);
        assert!(help.contains("Usage: host-server"));
        assert_eq!(done(&run(&["help", command]).await), help);
    }
    assert_eq!(done(&run(&["help"]).await), help);
}

#[tokio::test]
async fn a_password_in_the_address_of_the_broker_is_refused_and_not_repeated() {
    let shown = failed(
        &run(&["--broker", "mqtts://acme:hunter2@broker.example"]).await,
        2,
    );
    assert!(shown.contains("must not contain"), "{shown}");
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[tokio::test]
async fn a_file_for_the_broker_that_cannot_be_read_is_told_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().to_str().unwrap();
    let broker = [
        "--broker",
        "mqtts://b.example",
        "--broker-ca",
        "no/such.pem",
    ];
    let rest = ["--http", "127.0.0.1:0", "--data-dir", data];
    let shown = failed(&run(&[broker, rest].concat()).await, 1);
    assert!(shown.contains("no/such.pem: No such file"), "{shown}");
}

#[tokio::test]
async fn a_wrong_value_of_the_environment_is_told_with_its_variable() {
    let output = program().env("VINBUS_HTTP", "8080").output();
    let output = cli_support::within("the program ends", output).await;
    let shown = failed(&output.unwrap(), 2);
    assert!(shown.contains("variable VINBUS_HTTP"), "{shown}");
}

#[tokio::test]
async fn a_filter_in_the_environment_that_is_none_is_refused() {
    let mut command = program();
    command.args(["--http", "127.0.0.1:0", "--mqtt", "off", "--mqtts", "off"]);
    let output = command.env("VINBUS_LOG", "loud").output();
    let output = cli_support::within("the program ends", output).await;
    let shown = failed(&output.unwrap(), 2);
    assert!(
        shown.contains("\"loud\"") && shown.contains("VINBUS_LOG"),
        "{shown}"
    );
}

#[tokio::test]
async fn a_misspelt_variable_is_warned_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = program();
    command.args(["--http", "127.0.0.1:0", "--mqtt", "off", "--mqtts", "off"]);
    let mut server = Server::launch(command.env("VINBUS_HTPP", "x"), dir.path()).await;
    server.signal("INT");
    server.ended().await;
    assert!(
        server.printed().contains("VINBUS_HTPP is none of ours"),
        "{}",
        server.printed()
    );
    for command in ["listen", "send", "enroll"] {
        let rest: &[&str] = match command {
            "listen" => &["--url", "none"],
            "send" => &["--vin", "none", "--app", "a", "--content", "1"],
            _ => &["vehicle", "none", "--out", "none"],
        };
        let output = program()
            .arg(command)
            .args(rest)
            .env("VINBUS_HTPP", "x")
            .output()
            .await;
        let shown = String::from_utf8(output.unwrap().stderr).unwrap();
        assert!(shown.contains("VINBUS_HTPP"), "{command}: {shown}");
    }
}
