//! `host-server doctor` on its way to a broker: port, TLS, certificates, WebSocket, login, and the command line.

mod cli_support;
mod doctor_support;

use cli_support::run;
use doctor_support::{Files, Look, WRONG_PASSWORD, look_at};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use vinbus_transport_std::conformance::{
    Authority, BrokerUnderTest, Endpoint, Issued, Mosquitto, Validity,
};

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
            look.says("size", "ok", "131072 bytes arrives; one of 131073 arrives");
            look.says("no-local", "ok", "honoured");
        }
    }
    // TLS where the URL says none, and none where it says TLS.
    let (ws, wss) = (mosquitto.url(Endpoint::Ws), mosquitto.url(Endpoint::Wss));
    let soon = ["--timeout", "1s"];
    let url = format!("ws://127.0.0.1:{}", wss.port()).parse().unwrap();
    let plain = files.look(&url, Mosquitto::USER, &soon).await;
    plain.says(
        "tls",
        "failed",
        &format!("write wss://127.0.0.1:{}/mqtt in --broker", wss.port()),
    );
    let url = format!("wss://127.0.0.1:{}", ws.port()).parse().unwrap();
    let secret = files.look(&url, Mosquitto::USER, &soon).await;
    secret.says("tls", "failed", "the port speaks HTTP without TLS");
    secret.says(
        "tls",
        "failed",
        &format!("write ws://127.0.0.1:{}/mqtt", ws.port()),
    );
    secret.says("websocket", "not-tested", "not reached, as tls failed");
    for look in [plain, secret] {
        assert_eq!(look.status, Some(1));
        assert_eq!(look.with("failed").len(), 1, "{:#}", look.report);
    }
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
    nobody.says(
        "login",
        "failed",
        "give user name and password (--user, --password-file)",
    );
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
    look.says(
        "tls",
        "failed",
        "unknown CA -> give the certificate of the authority",
    );
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
    look.says(
        "own-certificate",
        "failed",
        "key.pem is not that of the certificate in ",
    );
    look.says("own-certificate", "failed", "cert.pem -> give the two");
    look.says("tls", "not-tested", "as own-certificate failed");
    assert_eq!(look.with("failed"), ["own-certificate"]);
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
async fn a_port_that_speaks_something_else_is_told_with_the_url_to_write() {
    let mosquitto = Mosquitto::start().await;
    let files = Files::right(&mosquitto);
    let check = async |scheme: &str, at: Endpoint, failed: &str, found: &str, to_write: &str| {
        let port = mosquitto.url(at).port();
        let url = format!("{scheme}://127.0.0.1:{port}").parse().unwrap();
        let look = files.look(&url, Mosquitto::USER, &[]).await;
        assert_eq!(look.status, Some(1));
        assert_eq!(look.with("failed"), [failed], "{:#}", look.report);
        look.says(failed, "failed", found);
        let to_write = to_write.replace("AT", &format!("127.0.0.1:{port}"));
        look.says(failed, "failed", &to_write);
        look.says("size", "not-tested", &format!("as {failed} failed"));
    };
    let tls = "the port speaks TLS, and the URL begins with ";
    let plain = "the port speaks MQTT without ";
    let web = "the port speaks HTTP ";
    check("mqtt", Endpoint::Mqtts, "tls", tls, "write mqtts://AT in").await;
    check("mqtts", Endpoint::Mqtt, "tls", plain, "write mqtt://AT in").await;
    check("mqtts", Endpoint::Ws, "tls", web, "write ws://AT/mqtt in").await;
    check(
        "ws",
        Endpoint::Mqtt,
        "websocket",
        plain,
        "write mqtt://AT in",
    )
    .await;
    check("mqtt", Endpoint::Ws, "login", web, "write ws://AT/mqtt in").await;
    check(
        "mqtts",
        Endpoint::Wss,
        "login",
        web,
        "write wss://AT/mqtt in",
    )
    .await;
}

#[tokio::test]
async fn a_command_line_that_names_no_broker_of_its_kind_is_refused() {
    for (args, said) in [
        (&["doctor"][..], "--broker"),
        (
            &["doctor", "--broker", "mqtt://x", "--cert", "c.pem"],
            "--cert needs --key beside it",
        ),
        (
            &["doctor", "--broker", "mqtt://x", "--user", "u"],
            "--user needs --password-file beside it",
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
            "--password-file: /no/such cannot be read",
        ),
        (
            &["doctor", "--broker", "mqtts://x", "--ca", "/no/ca.pem"],
            "--ca: /no/ca.pem cannot be read",
        ),
        (
            &[
                "doctor",
                "--broker",
                "mqtts://x",
                "--cert",
                "/dev/null",
                "--key",
                "/",
            ],
            "--key: / cannot be read",
        ),
        (
            &[
                "doctor",
                "--broker",
                "mqtt://x",
                "--user",
                "a/b",
                "--password-file",
                "/dev/null",
            ],
            "give it by --partner",
        ),
    ] {
        let output = run(args).await;
        let text = cli_support::failed(&output, 2);
        assert!(text.contains(said), "{args:?}: {text}");
    }
}
