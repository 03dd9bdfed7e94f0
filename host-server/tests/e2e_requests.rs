//! Requests with the real programs: a caller, server, agent and app. Either end is killed, callers go
//! away and come back, and each request is carried out once.

mod car_support;
mod cli_support;

use std::sync::atomic::Ordering;

use car_support::{Agent, Program, server_beside};
use cli_support::{PARTNER, Server, VIN, done, failed, within};
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto, Proxy, lossy};

const KEY: &str = "idempotency-key";

fn asking(server: &Server, query: &str, content: &str) -> RequestBuilder {
    let path = format!("/api/v1/vehicles/{VIN}/requests{query}");
    let body = format!(r#"{{"idApp":"demo-app","content":{content}}}"#);
    server.request(Method::POST, &path).body(body)
}

/// The status and the body of an answer.
async fn answer(request: RequestBuilder) -> (u16, String) {
    let answer = within("the answer comes", request.send()).await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.text().await.unwrap())
}

/// The same for a problem: its status, its step, and the message's id.
async fn problem(request: RequestBuilder) -> (u16, String, String) {
    let (status, body) = answer(request).await;
    let problem: Value = serde_json::from_str(&body).unwrap();
    let text = |name: &str| problem[name].as_str().unwrap_or_default().to_owned();
    (status, text("step"), text("id"))
}

/// An app that is in the foreground.
async fn app(agent: &Agent, server: &Server) -> Program {
    let app = agent.app();
    // A message that is taken at once says so.
    let id = server.submit_asking("?receipts=yes", "\"hello\"").await;
    server
        .traced_to_any(&id.unwrap(), &["taken", "confirmed"])
        .await;
    app
}

/// Waits until the app was asked so often, and says by which names.
async fn asked(app: &mut Program, times: usize) -> Vec<String> {
    app.until("the app is asked", |lines| {
        let requests = lines.iter().filter_map(|line| {
            let message: Value = serde_json::from_str(line).ok()?;
            Some(message["requestId"].as_str()?.to_owned())
        });
        let requests: Vec<String> = requests.collect();
        (requests.len() >= times).then_some(requests)
    })
    .await
}

/// Waits until the last message waits for its app.
async fn waiting(server: &Server) {
    let waits = async {
        loop {
            let sent = server.get("/api/v1/messages/sent?limit=1").await;
            if sent["messages"][0]["status"] == "held_background" {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the request waits", waits).await;
}

#[tokio::test]
async fn app_answers_and_the_caller_gets_its_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let mut app = app(&agent, &server).await;
    let waits = tokio::spawn(asking(&server, "", r#"{ "unlock" : true }"#).send());
    let names = asked(&mut app, 1).await;
    assert_eq!(names[0].len(), 16);
    let line = app.lines.borrow().last().unwrap().clone();
    let name = &names[0];
    assert_eq!(
        line,
        format!(r#"{{"requestId":"{name}","content":{{ "unlock" : true }}}}"#)
    );
    app.type_in([r#"/answer { "unlocked": 1.50 }"#.to_owned()])
        .await;
    let answer = within("the answer comes", waits).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let id = location.rsplit('/').next().unwrap().to_owned();
    assert_eq!(answer.text().await.unwrap(), r#"{ "unlocked": 1.50 }"#);
    server.traced(&id, "answered").await;
    let steps = server.steps(&id).await;
    assert_eq!(steps[..2], ["accepted", "sent"], "{steps:?}");

    // The same from the command line.
    let args = [
        "request", "--vin", VIN, "--app", "demo-app", "--uid", PARTNER,
    ];
    let mut command = server.client(&[&args[..], &["--content", "2"]].concat());
    let printed = tokio::spawn(async move { command.output().await.unwrap() });
    asked(&mut app, 2).await;
    app.type_in(["/answer \"two\"".to_owned()]).await;
    let printed = within("the command ends", printed).await.unwrap();
    assert_eq!(done(&printed), "\"two\"\n");
}

#[tokio::test]
async fn request_where_nobody_is_there_is_refused_or_waits_as_its_caller_says() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let (status, step, id) = problem(asking(&server, "", "1")).await;
    assert_eq!((status, step.as_str()), (409, "held"), "offline");
    assert_eq!(id, "", "it was no message yet");
    let refused = server
        .command(&[
            "request",
            "--vin",
            VIN,
            "--app",
            "demo-app",
            "--content",
            "1",
        ])
        .await;
    assert!(failed(&refused, 1).contains("offline"), "{refused:?}");

    let agent = Agent::at(&server).await;
    server.online().await;
    let (status, step, id) = problem(asking(&server, "", "1")).await;
    assert_eq!(
        (status, step.as_str()),
        (409, "not_there"),
        "in the background"
    );
    server.traced(&id, "not_there").await;
    let ask = ["request", "--vin", VIN, "--app", "demo-app"];
    let ask = [&ask[..], &["--content", "1"]].concat();
    let text = failed(&server.command(&ask).await, 1);
    assert!(text.contains("--wait waits for it"), "{text}");
    assert!(!text.contains("absent"), "{text}");
    let (status, step, id) = problem(asking(&server, "?absent=wait&timeout=1", "1")).await;
    assert_eq!(status, 504);
    assert!(["held_background", "expired"].contains(&&*step), "{step}");
    server.traced(&id, "expired").await;

    let waits = tokio::spawn(asking(&server, "?absent=wait", "2").send());
    let mut app = agent.app();
    asked(&mut app, 1).await;
    app.type_in(["/answer null".to_owned()]).await;
    let answer = within("the answer comes", waits).await.unwrap().unwrap();
    assert_eq!(answer.text().await.unwrap(), "null");
    // What was over before the app came up was not shown to it.
    assert_eq!(asked(&mut app, 1).await.len(), 1);

    let path = format!("/api/v1/vehicles/{VIN}/requests");
    let nobody = server
        .request(Method::POST, &path)
        .body(r#"{"idApp":"nobody","content":1}"#);
    let (status, step, _) = problem(nobody).await;
    assert_eq!((status, step.as_str()), (409, "unknown_app"));
}

#[tokio::test]
async fn request_with_a_key_is_carried_out_once_over_a_kill_of_the_server() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    let mut app = app(&agent, &server).await;
    let first = asking(&server, "?timeout=60", "1").header(KEY, "one");
    let lost = tokio::spawn(first.send());
    asked(&mut app, 1).await;
    server.signal("KILL");
    server.ended().await;
    assert!(within("the call breaks", lost).await.unwrap().is_err());
    drop(server);
    // While the server is away.
    app.type_in(["/answer {\"done\":1}".to_owned()]).await;
    let args = ["--mqtt", "off", "--mqtts", &mqtts];
    let server = Server::with(dir.path(), &args).await;
    for _ in 0..2 {
        let again = asking(&server, "?timeout=60", "1").header(KEY, "one");
        assert_eq!(answer(again).await, (200, "{\"done\":1}".to_owned()));
    }
    assert_eq!(asked(&mut app, 1).await.len(), 1);
    let other = asking(&server, "", "2").header(KEY, "one");
    assert_eq!(answer(other).await.0, 422);
}

#[tokio::test]
async fn cancelled_request_is_told_to_its_callers_and_its_app() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let mut app = app(&agent, &server).await;
    let cancel = || {
        let path = format!("/api/v1/vehicles/{VIN}/requests");
        server.request(Method::DELETE, &path).header(KEY, "one")
    };
    assert_eq!(answer(cancel()).await.0, 404);
    let waits = [(); 2].map(|()| {
        let request = asking(&server, "?timeout=60", "1").header(KEY, "one");
        tokio::spawn(problem(request))
    });
    asked(&mut app, 1).await;
    assert_eq!(answer(cancel()).await.0, 204);
    for waits in waits {
        let (status, _, id) = within("they are told", waits).await.unwrap();
        assert_eq!(status, 410);
        server.traced(&id, "cancelled").await;
    }
    // Nobody waits for this.
    app.type_in(["/answer 1".to_owned()]).await;

    // Who breaks the connection of a request without a key cancels it.
    let waits = tokio::spawn(asking(&server, "?timeout=60", "2").send());
    asked(&mut app, 2).await;
    waits.abort();
    let sent = server.get("/api/v1/messages/sent?limit=1").await;
    let id = sent["messages"][0]["id"].as_str().unwrap().to_owned();
    server.traced(&id, "cancelled").await;
}

#[tokio::test]
async fn agent_that_is_killed_with_a_request_leads_to_its_caller_being_told() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    let mut app = app(&agent, &server).await;
    let waits = tokio::spawn(problem(
        asking(&server, "?timeout=60", "1").header(KEY, "one"),
    ));
    asked(&mut app, 1).await;
    agent.program.kill().await;
    let agent = Agent::at(&server).await;
    let (status, step, id) = within("the caller is told", waits).await.unwrap();
    assert_eq!((status, step.as_str()), (502, "known"));
    let trace = done(&server.command(&["trace", &id]).await);
    let why = "the vehicle started again while it had the request";
    assert!(trace.contains(why), "{trace}");
    // It is not carried out again by the same name.
    let again = asking(&server, "?timeout=60", "1").header(KEY, "one");
    assert_eq!(problem(again).await.0, 502);
    drop(app);
    let app = self::app(&agent, &server).await;
    assert_eq!(*app.lines.borrow(), [r#"{"content":"hello"}"#]);
}

/// Waits until the agent's journal has an answer.
async fn answer_noted(server: &Server) {
    let journal = server.dir.join("car/data/journal");
    let noted = async {
        while !std::fs::read_to_string(&journal).is_ok_and(|it| it.contains("answered\":{")) {
            tokio::task::yield_now().await;
        }
    };
    within("the answer is noted", noted).await;
}

#[tokio::test]
async fn answer_in_an_agent_that_is_killed_reaches_the_caller_who_waits() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let car = server.dir.join("car");
    server.enroll(VIN, &car).await;
    let wire = Proxy::to(&server.mqtts()).await;
    let agent = Agent::enrolled(VIN, &car, &wire.url(&server.mqtts()), &[]).await;
    let mut app = app(&agent, &server).await;
    let waits = tokio::spawn(answer(asking(&server, "?timeout=600", "1")));
    asked(&mut app, 1).await;
    // What the app says gets no further than the agent.
    wire.unplug();
    // The first is none, and the request waits for another.
    app.type_in(["/answer { done }", "/answer { \"done\": 1.50 }"].map(str::to_owned))
        .await;
    answer_noted(&server).await;
    agent.program.kill().await;
    let _agent = Agent::at(&server).await;
    let answer = within("the answer comes", waits).await.unwrap();
    assert_eq!(answer, (200, "{ \"done\": 1.50 }".to_owned()));
}

#[tokio::test]
async fn answer_in_an_agent_that_is_killed_is_had_by_whoever_asks_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path()).await;
    let mqtts = server.address("mqtts").to_string();
    let agent = Agent::at(&server).await;
    let mut app = app(&agent, &server).await;
    let first = asking(&server, "?timeout=600", "1").header(KEY, "one");
    let lost = tokio::spawn(first.send());
    asked(&mut app, 1).await;
    server.signal("KILL");
    server.ended().await;
    assert!(within("the call breaks", lost).await.unwrap().is_err());
    // While the server is away.
    app.type_in(["/answer {\"done\":1}".to_owned()]).await;
    answer_noted(&server).await;
    agent.program.kill().await;
    drop(server);
    let args = ["--mqtt", "off", "--mqtts", &mqtts];
    let server = Server::with(dir.path(), &args).await;
    let agent = Agent::at(&server).await;
    for _ in 0..2 {
        let again = asking(&server, "?timeout=600", "1").header(KEY, "one");
        assert_eq!(answer(again).await, (200, "{\"done\":1}".to_owned()));
    }
    // No app is asked again.
    let app = self::app(&agent, &server).await;
    assert_eq!(*app.lines.borrow(), [r#"{"content":"hello"}"#]);
}

#[tokio::test]
async fn request_that_waits_in_an_agent_that_ends_is_told_to_its_caller_and_not_shown_later() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path()).await;
    let mut agent = Agent::at(&server).await;
    server.online().await;
    for killed in [true, false] {
        let waits = tokio::spawn(problem(asking(&server, "?absent=wait&timeout=60", "1")));
        waiting(&server).await;
        match killed {
            true => agent.program.kill().await,
            false => agent.program.terminate().await,
        }
        agent = Agent::at(&server).await;
        let (status, step, _) = within("the caller is told", waits).await.unwrap();
        assert_eq!((status, step.as_str()), (502, "known"), "{killed}");
    }
    let app = app(&agent, &server).await;
    assert_eq!(*app.lines.borrow(), [r#"{"content":"hello"}"#]);
}

#[tokio::test]
async fn broker_that_loses_every_fifth_message_costs_no_answer() {
    let mosquitto = Mosquitto::start().await;
    let dir = tempfile::tempdir().unwrap();
    let (proxy, loses, lost) = lossy(&mosquitto.url(Endpoint::Mqtt)).await;
    let server = server_beside(&proxy, dir.path()).await;
    let agent = Agent::beside(&proxy, dir.path(), &["--qos", "0"]).await;
    server.online().await;
    let mut app = app(&agent, &server).await;
    loses.store(true, Ordering::Relaxed);
    for n in 1..=12 {
        let waits = tokio::spawn(answer(asking(&server, "?timeout=60", &n.to_string())));
        asked(&mut app, n).await;
        app.type_in([format!("/answer [{n}]")]).await;
        let answer = within("the answer comes", waits).await.unwrap();
        assert_eq!(answer, (200, format!("[{n}]")));
    }
    assert_eq!(asked(&mut app, 12).await.len(), 12);
    assert!(lost.load(Ordering::Relaxed) >= 5, "messages were lost");
}
