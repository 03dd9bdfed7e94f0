//! `host-server doctor` at our own broker, as a partner, the administrator, and a client of the bus.

mod cli_support;
mod doctor_support;

use cli_support::{PARTNER, Server, VIN, done, run};
use doctor_support::{Look, WRONG_PASSWORD, look_with};
use vinbus_transport_std::BrokerUrl;

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
async fn a_look_at_our_own_broker_leaves_no_warning_of_a_client_that_has_logged_in() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let port = server.address("mqtts").port();
    let url: BrokerUrl = format!("mqtts://localhost:{port}").parse().unwrap();
    let files = dir.path().join("partners").join(PARTNER);
    look_with(&files, &url, PARTNER, &[])
        .await
        .says("publish", "ok", "acknowledged");
    server.signal("TERM");
    server.ended().await;
    let printed = server.printed();
    assert!(printed.contains("subscription denied"), "{printed}");
    let warnings = printed.lines().filter(|line| line.contains("WARN"));
    // Who looks at the certificate alone ends the handshake, as a vehicle does that does not trust us.
    let others = warnings.filter(|line| !line.contains("TLS handshake failed"));
    assert_eq!(others.collect::<Vec<_>>(), [""; 0]);
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
        let (verdict, clock) = match more.is_empty() {
            true => ("not-tested", "no certificate to compare it with"),
            false => ("ok", "; the server says 20"),
        };
        admin.says("clock", verdict, clock);
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
