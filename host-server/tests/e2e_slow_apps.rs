//! An app that confirms nothing and does not read, with the real programs: what its sender is told as *taken* it can
//! read, though its socket ends or its agent is killed, and every other message comes to the next app, or is told as
//! known; and as long as it reads at last, it gets them all.

mod car_support;
mod cli_support;

use std::collections::BTreeMap;

use car_support::{Agent, seen};
use cli_support::{Server, VIN, within};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{WebSocketStream, client_async};
use vinbus_protocol::limits::PENDING_MESSAGES_MAX;

/// How often an app has each message.
type Seen = BTreeMap<u64, usize>;

/// More messages of 20 KB than fill what the system holds for a socket, and then the agent's own memory.
const MESSAGES_MAX: u64 = 80;

/// An app that reads when it is told to.
struct SlowApp(WebSocketStream<TcpStream>);

impl SlowApp {
    /// One that is in the foreground.
    async fn open(portal: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(16 * 1024).unwrap();
        let stream = socket.connect(portal.parse().unwrap()).await.unwrap();
        let url = format!("ws://{portal}/portal");
        let (socket, _) = client_async(url, stream).await.unwrap();
        let mut app = Self(socket);
        let hello = json!({ "type": "hello", "value": { "appId": "demo-app" } });
        let loaded = json!({ "type": "WebPortal.onApplicationLoaded" });
        for frame in [hello, loaded] {
            app.0.send(Message::text(frame.to_string())).await.unwrap();
        }
        let shown =
            async { while app.frame().await.unwrap()["type"] != "WebPortal.onApplicationShow" {} };
        within("the app is shown", shown).await;
        app
    }

    async fn frame(&mut self) -> Option<Value> {
        let frame = self.0.next().await?.ok()?;
        Some(serde_json::from_str(frame.to_text().unwrap_or_default()).unwrap_or_default())
    }

    /// Reads until its socket ends.
    async fn read(mut self) -> Seen {
        let mut seen = Seen::new();
        let read = async {
            while let Some(frame) = self.frame().await {
                if let Some(n) = frame["value"]["content"]["n"].as_u64() {
                    *seen.entry(n).or_default() += 1;
                }
            }
        };
        within("its socket ends", read).await;
        seen
    }
}

/// How many messages are sent that wait at the server.
const WAITING: usize = 15;

/// A server and an agent whose app does not read, to which messages were sent until ten wait in the agent and more at
/// the server; their ids.
async fn stuck(dir: &tempfile::TempDir) -> (Server, Agent, SlowApp, Vec<String>) {
    let server = Server::start(dir.path()).await;
    let agent = Agent::at(&server).await;
    server.online().await;
    let app = SlowApp::open(&agent.portal).await;
    let (mut ids, mut waiting) = (Vec::new(), 0);
    for n in 0..MESSAGES_MAX {
        let id = submit(&server, n).await;
        server.traced_to_any(&id, &["taken", "at_agent"]).await;
        waiting += usize::from(status(&server, &id).await == "at_agent");
        ids.push(id);
        if waiting == PENDING_MESSAGES_MAX {
            for n in (n + 1..).take(WAITING) {
                ids.push(submit(&server, n).await);
            }
            return (server, agent, app, ids);
        }
    }
    panic!("{MESSAGES_MAX} messages find room, though nobody reads them");
}

/// Submits message `n`, whose id is returned.
async fn submit(server: &Server, n: u64) -> String {
    let content = json!({ "n": n, "text": "x".repeat(20_000) }).to_string();
    let submitted = server.submit_asking("?receipts=yes", &content).await;
    submitted.unwrap()
}

async fn status(server: &Server, id: &str) -> String {
    let trace = server.get(&format!("/api/v1/messages/{id}")).await;
    trace["status"].as_str().unwrap().to_owned()
}

/// Waits until each message has its last step; whether the books balance with what the apps have.
async fn balance(server: &Server, ids: &[String], first: &Seen, next: &Seen) {
    let ends = ["taken", "confirmed", "known"];
    let mut counts = BTreeMap::<String, usize>::new();
    for (n, id) in (0..).zip(ids) {
        server.traced_to_any(id, &ends).await;
        let status = status(server, id).await;
        let times = [first, next].map(|seen| seen.get(&n).copied().unwrap_or_default());
        let is_right = matches!(
            (status.as_str(), times),
            ("taken", [1, 0] | [0, 1]) | ("confirmed", [0, 1]) | ("known", [1 | 0, 0])
        );
        assert!(
            is_right,
            "{n} is {status}, and the apps have it {times:?} times"
        );
        *counts.entry(status).or_default() += 1;
    }
}

#[tokio::test]
async fn what_an_app_did_not_read_comes_to_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    let (server, agent, slow, ids) = stuck(&dir).await;
    let mut app = agent.app();
    app.until("it has the others", |lines| {
        (lines.len() >= PENDING_MESSAGES_MAX + WAITING).then_some(())
    })
    .await;
    let first = slow.read().await;
    let next = seen(&app.lines.borrow());
    balance(&server, &ids, &first, &next).await;
}

#[tokio::test]
async fn what_an_app_did_not_read_when_its_agent_was_killed_is_not_told_as_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (server, agent, slow, ids) = stuck(&dir).await;
    agent.program.kill().await;
    let first = slow.read().await;
    let agent = Agent::enrolled(VIN, &server.dir.join("car"), &server.mqtts(), &[]).await;
    let mut app = agent.app();
    app.until("it has those that waited", |lines| {
        (lines.len() >= WAITING).then_some(())
    })
    .await;
    let next = seen(&app.lines.borrow());
    balance(&server, &ids, &first, &next).await;
}

#[tokio::test]
async fn app_that_reads_at_last_gets_all_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let (server, _agent, mut slow, ids) = stuck(&dir).await;
    let mut read = Vec::new();
    let all = async {
        while read.len() < ids.len() {
            let frame = slow.frame().await.unwrap();
            read.extend(frame["value"]["content"]["n"].as_u64());
        }
    };
    within("it has read all", all).await;
    assert_eq!(read, (0..ids.len() as u64).collect::<Vec<_>>());
    for id in &ids {
        server.traced_to_any(id, &["taken"]).await;
    }
}
