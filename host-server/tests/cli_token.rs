//! `host-server token` and `host-server explain-acl`: from a new client to a message on the bus.

mod cli_support;

use cli_support::{Server, done, failed, within};
use serde_json::Value;
use vinbus_transport_std::{ClientOptions, Qos};

const OF: [&str; 4] = ["--app", "myapp", "--client", "dashboard"];

/// Runs `token` with these arguments against the server, and gives what it printed.
async fn token(server: &Server, args: &[&str]) -> String {
    done(&server.command(&[&["token"], args].concat()).await)
}

async fn of_dashboard(server: &Server, command: &str, rest: &[&str]) -> String {
    token(server, &[&[command], &OF[..], rest].concat()).await
}

#[tokio::test]
async fn a_client_is_made_gets_a_token_and_speaks_over_websocket() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let permission = [
        "--permission",
        "ui.content",
        "--permission",
        "platform.token",
        "--json",
    ];
    let made = of_dashboard(&server, "create-client", &permission).await;
    let made: Value = serde_json::from_str(&made).unwrap();
    assert_eq!(made["permissions"][0], "ui.content");
    let secret = made["secret"].as_str().unwrap();
    assert!(!secret.is_empty() && !server.printed().contains(secret));

    let issued = of_dashboard(&server, "issue", &[]).await;
    let jwt = issued.trim();
    let url = format!("ws://{}/mqtt", server.address("http"));
    let options = ClientOptions::new(url.parse().unwrap(), "module").credentials(jwt, "any");
    let (client, mut inbox) = vinbus_transport_std::connect(options).unwrap();
    let topic = "app/myapp/ui/content";
    let subscribed = client.subscribe(topic, Qos::AtLeastOnce);
    within("the module is subscribed", subscribed)
        .await
        .unwrap();
    let payload = "{\"appId\":\"myapp\"}";
    let published = client.publish(topic, payload.into(), Qos::AtLeastOnce, false);
    within("the module has spoken", published).await.unwrap();
    let heard = within("the module hears itself", inbox.recv()).await;
    assert_eq!(heard.unwrap().payload, payload);

    let requests = "app/myapp/platform/token";
    let subscribed = client.subscribe(requests, Qos::AtMostOnce);
    within("the module is subscribed", subscribed)
        .await
        .unwrap();
    of_dashboard(&server, "issue", &[]).await;
    let told = within("the module is told of it", inbox.recv()).await;
    let told: Value = serde_json::from_slice(&told.unwrap().payload).unwrap();
    assert_eq!(
        (&told["clientId"], &told["tokenType"]),
        (&"myapp-dashboard".into(), &"access".into())
    );

    let explain = async |topic: &str| {
        let args = [
            "explain-acl",
            "--token",
            jwt,
            "--topic",
            topic,
            "--action",
            "publish",
        ];
        done(&server.command(&args).await)
    };
    let allowed = explain(topic).await;
    assert!(
        allowed.contains("publish    allowed: the client has the permission `ui.content`"),
        "{allowed}"
    );
    let denied = explain("app/myapp/ui/status").await;
    assert!(
        denied.contains("publish    denied: ") && denied.contains("`ui.status`"),
        "{denied}"
    );
    let filter = "app/myapp/ui/content/#";
    let of_filter = ["explain-acl", "--token", jwt, "--topic", filter];
    let of_filter = done(&server.command(&of_filter).await);
    assert!(
        of_filter.contains("subscribe  allowed: ") && !of_filter.contains("denied"),
        "{of_filter}"
    );
    let url = format!("{}/api/v1/vehicles", server.url());
    let request = reqwest::Client::new().get(url).bearer_auth(jwt);
    let refused = within("a refusal", request.send()).await.unwrap();
    let refused = refused.text().await.unwrap();
    assert!(refused.contains("a token of the bus"), "{refused}");
    assert!(!server.printed().contains(jwt), "a token is in the log");
}

#[tokio::test]
async fn clients_are_listed_changed_and_removed() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let introduced = of_dashboard(&server, "create-client", &[]).await;
    assert!(
        introduced.contains("permissions  *") && introduced.contains("curl -s http://"),
        "{introduced}"
    );
    let changed = of_dashboard(&server, "set-permissions", &["--permission", "ui.*"]).await;
    assert_eq!(changed, "myapp/dashboard  ui.*\n");
    assert_eq!(
        of_dashboard(&server, "disable", &[]).await,
        "myapp/dashboard  ui.*  (disabled)\n"
    );
    assert_eq!(
        token(&server, &["list"]).await,
        "myapp/dashboard  ui.*  (disabled)\n"
    );
    of_dashboard(&server, "enable", &[]).await;
    assert_eq!(
        of_dashboard(&server, "revoke", &[]).await,
        "every token that myapp/dashboard had is revoked\n"
    );
    assert_eq!(token(&server, &["list", "--app", "other"]).await, "");
    of_dashboard(&server, "remove", &[]).await;
    let again = server
        .command(&[&["token", "remove"], &OF[..]].concat())
        .await;
    let shown = failed(&again, 1);
    assert!(
        shown.contains("404") && shown.contains("client not found"),
        "{shown}"
    );
}

#[tokio::test]
async fn permission_that_permits_nothing_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let bare = ["--permission", "ui.content", "--permission", "vehicle"];
    let refused = async |command: &str| {
        let args = [&["token", command], &OF[..], &bare[..]].concat();
        let told = failed(&server.command(&args).await, 1);
        assert!(
            told.contains("\"vehicle\"") && told.contains("vehicle.*") && told.contains("lenient"),
            "{told}"
        );
    };
    refused("create-client").await;
    assert_eq!(token(&server, &["list"]).await, "");
    of_dashboard(&server, "create-client", &["--permission", "ui.*"]).await;
    refused("set-permissions").await;
    assert_eq!(token(&server, &["list"]).await, "myapp/dashboard  ui.*\n");
}

#[tokio::test]
async fn a_token_is_shown_without_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    of_dashboard(&server, "create-client", &[]).await;
    let issued = of_dashboard(&server, "issue", &[]).await;
    drop(server);
    let shown = done(&cli_support::run(&["token", "show", issued.trim()]).await);
    for part in [
        "\"azp\": \"myapp-dashboard\"",
        "expires      ",
        "(in 11h",
        "(not checked)",
    ] {
        assert!(shown.contains(part), "{shown}");
    }
    let nonsense = cli_support::run(&["token", "show", "nonsense"]).await;
    assert!(failed(&nonsense, 2).contains("this is no token"));
}

#[tokio::test]
async fn each_command_names_its_own_option_for_the_token_that_it_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().to_str().unwrap();
    let explain: &[&str] = &["explain-acl", "--token", "t", "--topic", "app/a/b/c"];
    for (command, option) in [
        (&["trace", "id"][..], "give --token"),
        (explain, "give --admin-token"),
    ] {
        let told = cli_support::run(&[command, &["--data-dir", folder]].concat()).await;
        let told = failed(&told, 1);
        assert!(told.contains(option), "{told}");
    }
}
