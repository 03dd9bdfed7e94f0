//! What becomes of a message in the car is told everywhere at once: by the trace, the log and its stream, a
//! webhook, the bus and the stream of activity, with the real programs.

mod bus_programs;
mod car_support;
mod cli_support;

use bus_programs::Program;
use car_support::Agent;
use cli_support::{PARTNER, Server, VIN, within};
use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use vinbus_protocol::bus::topics;

/// The last steps of a message that waits in the car until its app comes.
const IN_THE_CAR: [&str; 2] = ["held_background", "confirmed"];

/// Takes what is delivered by a webhook.
async fn endpoint() -> (String, watch::Receiver<Vec<Value>>) {
    let (sender, received) = watch::channel(Vec::new());
    let take = async move |body: axum::body::Bytes| {
        let body: Value = serde_json::from_slice(&body).unwrap();
        sender.send_modify(|received| received.push(body));
    };
    let app = axum::Router::new().fallback(take);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, received)
}

async fn stream(server: &Server, path: &str) -> Response {
    let asked = server.request(Method::GET, path).send();
    let stream = within("a stream", asked).await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK, "{path}");
    stream
}

/// Reads events until `step` finds the last step in one; the steps that it found.
async fn streamed(mut stream: Response, step: impl Fn(&Value) -> Option<String>) -> Vec<String> {
    let (mut unread, mut steps) = (String::new(), Vec::new());
    while steps.last().is_none_or(|last| last != IN_THE_CAR[1]) {
        let chunk = within("the stream goes on", stream.chunk()).await.unwrap();
        unread += std::str::from_utf8(&chunk.expect("it has no end")).unwrap();
        while let Some((event, rest)) = unread.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data:"));
            let data = data.and_then(|data| serde_json::from_str(data).ok());
            steps.extend(data.as_ref().and_then(&step));
            unread = rest.to_owned();
        }
    }
    steps
}

/// The step that an entry of the log tells of a message.
fn step_of(id: &str, entry: &Value) -> Option<String> {
    let (subtopic, told) = (&entry["subtopic"], &entry["content"]);
    let is_it = subtopic == "vinbus/receipt" && told["id"] == id && entry["vin"] == VIN;
    is_it.then(|| told["step"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn steps_in_the_car_are_told_by_trace_log_stream_webhook_bus_and_activity() {
    let dir = tempfile::tempdir().unwrap();
    let events = format!("myapp={PARTNER}");
    let server = Server::with(
        dir.path(),
        &[
            "--mqtt",
            "off",
            "--mqtts",
            "127.0.0.1:0",
            "--bus-events",
            &events,
        ],
    )
    .await;
    let mut bus = Program::enter(&server, "myapp", "dashboard", &["vehicle.message"]).await;
    bus.subscribe(&topics::VEHICLE_MESSAGE).await;
    let (url, mut delivered) = endpoint().await;
    let hook = server
        .request(Method::POST, "/api/v1/webhooks")
        .json(&json!({ "url": url }));
    assert_eq!(hook.send().await.unwrap().status(), StatusCode::CREATED);
    let log = stream(&server, "/api/v1/messages/stream").await;
    let activity = stream(&server, "/api/v1/activity/stream").await;

    let agent = Agent::at(&server).await;
    server.online().await;
    let id = server.submit_asking("?receipts=yes", "1").await.unwrap();
    server.traced(&id, IN_THE_CAR[0]).await;
    let _app = agent.app();
    server.traced(&id, IN_THE_CAR[1]).await;

    let traced = server.steps(&id).await;
    assert_eq!(traced.first().unwrap(), "accepted");
    assert_eq!(traced[traced.len() - 2..], IN_THE_CAR);

    // The log has each step but the first, in their order.
    let logged = streamed(log, |entry| step_of(&id, entry)).await;
    assert_eq!(logged, traced[1..]);

    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != IN_THE_CAR[1]) {
        let (topic, payload) = bus.hear().await;
        let step = payload["step"].as_str().unwrap().to_owned();
        assert_eq!(topic, format!("app/myapp/vehicle/message/{VIN}/{step}"));
        assert_eq!(
            (&payload["messageId"], &payload["vin"]),
            (&json!(id), &json!(VIN))
        );
        heard.push(step);
    }
    assert_eq!(heard, traced);

    let of_it = |received: &[Value]| -> Vec<String> {
        let data = received.iter().map(|body| &body["data"]);
        data.filter_map(|entry| step_of(&id, entry)).collect()
    };
    let all = delivered.wait_for(|received| of_it(received).len() >= logged.len());
    let all = of_it(&within("the webhook has them", all).await.unwrap());
    assert_eq!(all, logged);

    let seen = streamed(activity, |event| {
        let step = event["step"].as_str().filter(|_| event["id"] == *id);
        step.map(str::to_owned)
    });
    assert_eq!(seen.await, traced[1..]);
}
