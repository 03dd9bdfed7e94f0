//! What boards do not take: long messages, which would come in parts, and requests. Who asks is told so.

use std::collections::BTreeMap;
use std::time::Instant;

use tokio::time::timeout;
use vinbus_protocol::delivery::{
    self, Endpoint, Epoch, Header, Marked, Message, Part, Received, Snapshot, Step, Transmit,
};
use vinbus_protocol::envelope::{Content, Uplink};
use vinbus_protocol::id::AppId;
use vinbus_protocol::limits::{DELIVERY_ADDED_BYTES_MAX, PAYLOAD_BYTES_MAX};
use vinbus_transport_std::conformance::{self, BrokerUnderTest, Mosquitto};
use vinbus_transport_std::{Client, ClientOptions, Inbox, Qos};

use crate::PATIENCE;
use crate::app::App;
use crate::board::{APP, Board, HOST, UID, VIN, provision};
use crate::server::Server;

pub(crate) async fn long_message_to_a_board_is_refused_with_what_it_takes() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    let mut app = App::in_front(&board).await;
    let first = server.send_with_receipts("yes", "1").await;
    server.traced(&first, &["taken"]).await;
    app.hears("1").await;
    let long = format!("\"{}\"", "x".repeat(200_000));
    let refused = server.send_long_with_receipts(&long).await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "it was taken");
    let takes = PAYLOAD_BYTES_MAX - DELIVERY_ADDED_BYTES_MAX;
    let why = format!("announced that it takes at most {takes} in one message");
    assert!(said.contains(&why), "{said}");
    let next = server.send_with_receipts("yes", "2").await;
    server.traced(&next, &["taken"]).await;
    app.hears("2").await;
}

pub(crate) async fn request_to_a_board_is_denied_at_once() {
    let server = Server::start(&[]).await;
    let mut board = Board::start(Some(&server.block(&[]).await));
    board.online().await;
    server.vehicle_is("online").await;
    // Whether its app is there or not.
    is_denied(&server).await;
    let mut app = App::in_front(&board).await;
    is_denied(&server).await;
    let message = server.send_with_receipts("yes", "1").await;
    server.traced(&message, &["taken"]).await;
    // Nothing came before it.
    app.hears("1").await;
}

async fn is_denied(server: &Server) {
    let refused = server.ask("{\"unlock\":true}").await;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "it was answered");
    let why = "nothing was done: the vehicle does not let this partner ask the app";
    assert!(said.contains(why), "{said}");
}

pub(crate) async fn part_of_a_long_message_that_somebody_forges_is_refused_and_does_no_harm() {
    let broker = Mosquitto::start().await;
    let folder = tempfile::tempdir().unwrap();
    let password = folder.path().join("password");
    std::fs::write(&password, Mosquitto::PASSWORD).unwrap();
    let password = password.display().to_string();
    let login = ["--username", Mosquitto::USER, "--password-file", &password];
    let url = format!(
        "mqtt://{HOST}:{}",
        broker.url(conformance::Endpoint::Mqtt).port()
    );
    let mut forger = Forger::at(&broker).await;
    let mut board = Board::start(Some(&provision(folder.path(), &url, &login).await));
    board.online().await;
    forger.is_known().await;
    assert_eq!(forger.end.peer_takes_parts(), Some(0));
    let part = |offset, total| {
        let first = Part::first("\"abc\"");
        Some(Part {
            offset,
            total,
            ..first
        })
    };
    let parts = [
        part(0, 300_000),
        part(7, 300_000),
        part(0, u32::MAX),
        part(0, 4),
        part(0, 0),
    ];
    for part in parts {
        assert_eq!(
            forger.tells("\"abc\"", part).await,
            Step::TooLarge,
            "{part:?}"
        );
    }
    let held = forger.tells("{\"n\":1}", None).await;
    assert_eq!(held, Step::HeldBackground);
    // It is all that the app hears of.
    App::in_front(&board).await.hears("{\"n\":1}").await;
    assert_eq!(board.status().await["sessions"], 1);
}

/// Somebody who may publish as a host does, and says what no host would.
struct Forger {
    client: Client,
    inbox: Inbox,
    end: Endpoint<8, 8>,
    begin: Instant,
    /// The last step of each message.
    told: BTreeMap<u32, Step>,
}

impl Forger {
    async fn at(broker: &Mosquitto) -> Self {
        let url = broker.url(conformance::Endpoint::Mqtt);
        let options =
            ClientOptions::new(url, "forger").credentials(Mosquitto::USER, Mosquitto::PASSWORD);
        let (client, inbox) = vinbus_transport_std::connect(options).unwrap();
        let up = format!("psa/OVIPPartners-Dev/from/uid/{UID}/opa/{VIN}/#");
        client.subscribe(&up, Qos::AtMostOnce).await.unwrap();
        let mut end = Endpoint::new(Snapshot::fresh(Epoch::FIRST));
        end.handle_link(0, true);
        Self {
            client,
            inbox,
            end,
            begin: Instant::now(),
            told: BTreeMap::new(),
        }
    }

    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    /// Waits until the board has greeted it.
    async fn is_known(&mut self) {
        while !self.end.is_established() {
            self.say("null", None).await;
            self.hear().await;
        }
    }

    /// Sends the app a message of delivery, as a part if that is said; what becomes of it.
    async fn tells(&mut self, content: &str, part: Option<Part>) -> Step {
        let message = Message {
            bytes: content.len() as u32,
            expires_at_ms: None,
            key: None,
            repeatable: false,
        };
        let number = self.end.submit(self.now_ms(), message).unwrap().number;
        loop {
            self.say(content, part).await;
            if let Some(step) = self.told.get(&number) {
                return *step;
            }
            self.hear().await;
        }
    }

    /// Takes what the board says next, or whatever comes first.
    async fn hear(&mut self) {
        let message = timeout(PATIENCE, self.inbox.recv()).await;
        let message = message.expect("the board says something").unwrap();
        let content = Uplink::decode(&message.payload).unwrap().content;
        let now_ms = self.now_ms();
        if let Some(offer) = delivery::announced(content) {
            self.end.handle_announcement(now_ms, offer);
        } else if let Received::Control(control) = delivery::read(content) {
            let told = &mut self.told;
            let batch = self.end.handle_control(now_ms, &control, |run| {
                told.extend((run.first..run.first + run.count).map(|number| (number, run.step)));
            });
            if let Some(batch) = batch {
                self.end.acknowledge(batch);
            }
        }
    }

    /// Says what is due. The only message that is not answered is this one.
    async fn say(&mut self, content: &str, part: Option<Part>) {
        loop {
            let now_ms = self.now_ms();
            let mut buffer = vec![0; 8192];
            let payload = match self.end.poll_transmit(now_ms, 7) {
                None => return,
                Some(Transmit::Control(control)) => control.encode_downlink(&mut buffer),
                Some(Transmit::Message(header)) => {
                    let app = AppId::parse(APP).unwrap();
                    let marked = match part {
                        Some(_) => Marked::part(Header { part, ..header }, content),
                        None => {
                            let content = Content::parse(content.as_bytes()).unwrap();
                            Marked::new(header, content).unwrap()
                        }
                    };
                    marked.encode_downlink(&app, &mut buffer)
                }
            };
            let down = format!("psa/OVIPPartners-Dev/to/uid/{UID}/opa/{VIN}/");
            let payload = payload.unwrap().to_vec().into();
            let sent = self
                .client
                .publish(&down, payload, Qos::AtLeastOnce, false)
                .await;
            sent.unwrap();
        }
    }
}
