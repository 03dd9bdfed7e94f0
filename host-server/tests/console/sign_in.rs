//! Who gets in, and who does not.

use std::time::Duration;

use reqwest::Method;
use vinbus_chromium::Page;
use vinbus_host_server::identity::Sessions;

use crate::cli_support::{Server, run};
use crate::desk::{Desk, SIZE, address, address_with, is_live, link, open};
use crate::rest_support::{Rest, Setup, problem};

const HOUR: Duration = Duration::from_secs(3600);

async fn is_refused(page: &mut Page, part: &str) {
    let shown = format!("document.querySelector('#refusal').textContent.includes('{part}')");
    page.until(&shown).await;
    let is_closed =
        "document.querySelector('#console').hidden && !document.querySelector('#door').hidden";
    assert_eq!(page.eval(is_closed).await, true);
}

#[tokio::test]
async fn the_printed_link_opens_the_console_once() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let found = |text: String| {
        let words = text
            .split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>();
        words.into_iter().find(|word| word.contains("/#sign-in="))
    };
    let mut printed = found(server.printed());
    while printed.is_none() {
        tokio::task::yield_now().await;
        printed = found(server.printed());
    }
    let printed = printed.unwrap();
    let mut page = open(&printed).await;
    // The secret is not left behind for the history, nor where scripts could read the session's.
    let left = page.eval("[location.hash, document.cookie]").await;
    assert_eq!(left, serde_json::json!(["", ""]));
    page.reload().await;
    is_live(&mut page).await;
    assert_eq!(page.complaints().await, Vec::<String>::new());

    let mut thief = Page::open(&printed, SIZE).await;
    is_refused(&mut thief, "used before").await;
    thief.fill("#link-text", &link(&server).await).await;
    thief.key("Enter").await;
    is_live(&mut thief).await;
}

#[tokio::test]
async fn links_that_are_too_old_or_of_nobody_are_told_plainly() {
    let sessions = Sessions::new(Duration::ZERO, HOUR);
    let rest = Rest::with(Setup {
        sessions,
        ..Setup::default()
    })
    .await;
    let mut page = Page::open(&address(&rest), SIZE).await;
    is_refused(&mut page, "too old").await;
    page.go_to("about:blank").await;
    page.go_to(&address_with(&rest, "0123")).await;
    is_refused(&mut page, "did not make").await;
    page.go_to("about:blank").await;
    page.go_to(&format!("http://{}/", rest.address)).await;
    page.until("!document.querySelector('#door').hidden").await;
    assert_eq!(
        page.eval("document.querySelector('#refusal').hidden").await,
        true
    );
}

#[tokio::test]
async fn links_of_nobody_do_not_fill_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let address = format!("{}/api/v1/console/session", server.url());
    let client = reqwest::Client::new();
    for _ in 0..100 {
        let refused = client.post(&address).body(r#"{"link":"0123"}"#).send();
        problem(refused.await.unwrap(), 410, "link-refused").await;
    }
    server.signal("TERM");
    server.ended().await;
    let printed = server.printed();
    let lines = printed.matches("nobody was signed in").count();
    assert!((1..50).contains(&lines), "{lines} lines");
}

#[tokio::test]
async fn signing_out_ends_the_session_everywhere() {
    let mut desk = Desk::new().await;
    desk.page.press("#sign-out").await;
    desk.page
        .until("!document.querySelector('#door').hidden")
        .await;
    let status = "fetch('/api/v1/status').then((answer) => answer.status)";
    assert_eq!(desk.page.eval(status).await, 401);
}

#[tokio::test]
async fn session_that_is_over_leads_back_to_the_door() {
    let rest = Rest::start().await;
    let mut page = open(&address(&rest)).await;
    // Others sign in until this one has to give way.
    for _ in 0..16 {
        let link = rest.sessions.link().unwrap();
        rest.sessions.open(link.expose()).unwrap();
    }
    is_refused(&mut page, "session is over").await;
}

#[tokio::test]
async fn cookie_is_for_this_page_alone() {
    let rest = Rest::start().await;
    let link = rest.sessions.link().unwrap();
    let body = format!(r#"{{"link":"{}"}}"#, link.expose());
    let path = "/api/v1/console/session";
    let foreign = rest.bare(Method::POST, path).body(body.clone());
    let foreign = foreign.header("origin", "http://localhost:8090").send();
    problem(foreign.await.unwrap(), 403, "forbidden").await;
    let own = format!("http://{}", rest.address);
    let signed_in = rest.bare(Method::POST, path).body(body);
    let signed_in = signed_in.header("origin", &own).send().await.unwrap();
    assert_eq!(signed_in.status(), 204);
    let cookie = signed_in.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .to_owned();
    for part in [
        "; HttpOnly",
        "; SameSite=Strict",
        "; Path=/",
        "; Max-Age=43200",
    ] {
        assert!(cookie.contains(part), "{cookie}");
    }
    let cookie = cookie.split(';').next().unwrap();
    let read = async |site: &'static str| {
        let request = rest.bare(Method::GET, "/api/v1/status");
        let request = request
            .header("cookie", cookie)
            .header("sec-fetch-site", site);
        request.send().await.unwrap()
    };
    assert_eq!(read("same-origin").await.status(), 200);
    for site in ["same-site", "cross-site"] {
        problem(read(site).await, 403, "forbidden").await;
    }
    let write = async |origin: Option<&str>| {
        let path = format!("/api/v1/vehicles/{}/messages", crate::rest_support::VIN);
        let request = rest.bare(Method::POST, &path).header("cookie", cookie);
        let request = request.body(crate::rest_support::envelope("1"));
        let request = origin
            .into_iter()
            .fold(request, |it, origin| it.header("origin", origin));
        request.send().await.unwrap()
    };
    assert_eq!(write(Some(&own)).await.status(), 202);
    for origin in [None, Some("http://localhost:8090"), Some("null")] {
        problem(write(origin).await, 403, "forbidden").await;
    }
    // A session makes no links: it cannot prolong itself.
    let link = rest.bare(Method::POST, "/api/v1/console/links");
    let link = link.header("cookie", cookie).header("origin", &own).send();
    problem(link.await.unwrap(), 403, "forbidden").await;
    let partners = rest.partner(Method::POST, "/api/v1/console/links").send();
    problem(partners.await.unwrap(), 403, "forbidden").await;
}

#[tokio::test]
async fn command_prints_a_link_or_says_what_is_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let link = link(&server).await;
    // Under the one name that the server prints as well, or the browser would have two sessions.
    let page = format!(
        "http://localhost:{}/#sign-in=",
        server.address("http").port()
    );
    assert!(server.printed().contains(&page), "{}", server.printed());
    assert!(link.starts_with(&page), "{link}");
    let nowhere = run(&["console", "--url", "http://127.0.0.1:1", "--token", "x"]).await;
    assert!(crate::cli_support::failed(&nowhere, 1).contains("cannot be reached"));
}
