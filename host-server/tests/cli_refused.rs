//! What `request`, `fleet` and `send` say when a server refuses: with the options that were typed, and once.

mod cli_support;

use cli_support::{Server, VIN, done, failed};

#[tokio::test]
async fn refusals_are_told_in_options_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let told = async |command: &str, more: &[&str]| {
        let args: Vec<&str> = command.split(' ').chain(more.iter().copied()).collect();
        let args = [&args[..], &["--app", "demo", "--content", "1"]].concat();
        let text = failed(&server.command(&args).await, 1);
        for word in ["absent", "parameter", "`vins`", "Idempotency"] {
            assert!(!text.contains(word), "{args:?}: {text}");
        }
        text
    };
    let one = ["--vin", VIN];

    let offline = told("request", &one).await;
    assert!(offline.contains("is offline"), "{offline}");
    assert!(offline.contains("; --wait "), "{offline}");
    let late = told("request --wait --timeout 1s --key k", &one).await;
    assert_eq!(
        late.matches("did not come to the vehicle in time").count(),
        1,
        "{late}"
    );
    let id = late.split("`host-server trace ").nth(1).unwrap();
    let id = id.split('`').next().unwrap();
    let traced = done(&server.command(&["trace", id]).await);
    assert!(traced.contains("held"), "{traced}");

    let rate = told("fleet send --rate 100000", &one).await;
    assert!(rate.contains(": --rate is "), "{rate}");
    assert!(rate.contains("1 to 200") && !rate.contains('='), "{rate}");
    let nobody = told("fleet send --online", &[]).await;
    assert!(
        nobody.contains("name vehicles by --vin or --vins"),
        "{nobody}"
    );
    let stranger = told("send --uid stranger", &one).await;
    assert!(stranger.contains("correct --uid"), "{stranger}");
}

#[tokio::test]
async fn wrong_vins_of_a_fleet_message_are_all_told_before_a_server_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("vins.txt");
    std::fs::write(&file, format!("{VIN}\nshort\n\n{VIN}x\n")).unwrap();
    let vins = file.to_str().unwrap();
    let send = ["fleet", "send", "--app", "demo", "--content", "1"];
    let refused = cli_support::run(&[&send[..], &["--vins", vins]].concat()).await;
    let text = failed(&refused, 2);
    assert!(text.contains("2 of 3 lines are no VINs"), "{text}");
    for line in ["line 2: \"short\"", "line 4: \"0123456789ABCDEFGx\""] {
        assert!(text.contains(line), "{text}");
    }
    let prefix = cli_support::run(&[&send[..], &["--vin-prefix", "A-"]].concat()).await;
    assert!(failed(&prefix, 2).contains("up to 17 letters and digits"));
}

#[tokio::test]
async fn a_fleet_message_is_shown_with_its_total_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let send = [
        "fleet",
        "send",
        "--app",
        "demo",
        "--content",
        "1",
        "--vin",
        VIN,
    ];
    let sent = server.command(&send).await;
    let told = String::from_utf8_lossy(&sent.stderr);
    let unseen = format!("1 of 1 vehicles: {VIN}; are the VINs right?");
    assert!(told.contains(&unseen), "{told}");
    let id = done(&sent);
    let shown = done(&server.command(&["fleet", "show", id.trim()]).await);
    let expected = "state            running\nvehicles         1\nwaiting          1\n";
    assert_eq!(shown, expected);
    let listed = done(&server.command(&["fleet", "list"]).await);
    assert!(listed.contains("demo  1 vehicle: waiting 1"), "{listed}");
}

#[tokio::test]
async fn a_port_whose_certificate_is_not_trusted_is_told_as_reached() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let url = format!("https://{}", server.address("mqtts"));
    let data_dir = dir.path().to_str().unwrap();
    let list = ["fleet", "list", "--data-dir", data_dir, "--url", &url];
    let text = failed(&cli_support::run(&list).await, 1);
    assert!(text.contains(&format!("{url} was reached")), "{text}");
    for part in ["UnknownIssuer", "SSL_CERT_FILE", "Name the one of --http"] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains("running"), "{text}");
}
