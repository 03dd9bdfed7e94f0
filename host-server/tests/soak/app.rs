//! An app that confirms what it gets (SPEC 8.16) and sends with receipts. It outlives its agent, and
//! remembers by their numbers which messages it has, as such an app has to.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::books::{Book, content};

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct App {
    book: Arc<Mutex<Book>>,
    /// The life of the agent's memory, within which numbers are unique.
    life: String,
    taken: HashSet<(String, u64)>,
}

impl App {
    /// Is the app at the portal, wherever that is, and sends as often while there is load.
    pub(crate) async fn run(
        portal: watch::Receiver<String>,
        book: Arc<Mutex<Book>>,
        load: watch::Receiver<bool>,
        pause: Duration,
    ) {
        let mut app = Self {
            book,
            life: String::new(),
            taken: HashSet::new(),
        };
        loop {
            let url = format!("ws://{}/portal", *portal.borrow());
            if let Ok((socket, _)) = connect_async(url).await {
                // A socket breaks when its agent is killed.
                let _ = app.serve(socket, &load, pause).await;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn serve(
        &mut self,
        mut socket: Socket,
        load: &watch::Receiver<bool>,
        pause: Duration,
    ) -> Result<(), Error> {
        let hello = json!({ "type": "hello", "value": { "appId": "demo-app", "confirm": true } });
        let loaded = json!({ "type": "WebPortal.onApplicationLoaded" });
        let fetch = json!({
            "type": "WebPortal.getPendingNotifications", "value": { "confirm": true }
        });
        for frame in [hello, loaded, fetch] {
            socket.send(Message::text(frame.to_string())).await?;
        }
        let mut ticks = interval(pause);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let answer = tokio::select! {
                frame = socket.next() => match frame {
                    Some(frame) => self.hear(frame?.to_text().unwrap_or_default()),
                    None => return Ok(()),
                },
                _ = ticks.tick() => load.borrow().then(|| self.message()),
            };
            if let Some(answer) = answer {
                socket.send(Message::text(answer.to_string())).await?;
            }
        }
    }

    fn message(&self) -> Value {
        let n = self.book.lock().unwrap().up.next();
        json!({
            "type": "WebPortal.onSendNotificationRequest", "id": n, "receipts": true,
            "value": content(n)
        })
    }

    /// What it has to answer.
    fn hear(&mut self, frame: &str) -> Option<Value> {
        let frame: Value = serde_json::from_str(frame).ok()?;
        let id = frame["id"].as_u64();
        let kind = frame["type"].as_str()?.strip_prefix("WebPortal.");
        match kind.unwrap_or_default() {
            "onCurrentNotificationReceived" | "onPendingNotification" => {
                let number = frame["number"].as_u64()?;
                self.take(number, &frame["value"]);
                return Some(confirm(&json!([number])));
            }
            "getPendingNotifications" => {
                let messages = frame["value"].as_array()?;
                for (number, message) in frame["numbers"].as_array()?.iter().zip(messages) {
                    self.take(number.as_u64()?, message);
                }
                return Some(confirm(&frame["numbers"]));
            }
            "MQTT.evt.messageAccepted" => self.book.lock().unwrap().up.accepted(id?),
            "MQTT.evt.messageDelivered" => self.book.lock().unwrap().up.delivered(id?),
            "MQTT.evt.messageNotDelivered" => {
                let reason = frame["value"]["reason"].as_str().unwrap_or("no reason");
                self.book.lock().unwrap().up.not_delivered(id?, reason);
            }
            "" if frame["type"] == "welcome" => self.life = frame["value"]["life"].to_string(),
            "" => self.book.lock().unwrap().errors.push(frame.to_string()),
            _ => {}
        }
        None
    }

    fn take(&mut self, number: u64, message: &Value) {
        if self.taken.insert((self.life.clone(), number)) {
            self.book.lock().unwrap().down.arrived(&message["content"]);
        }
    }
}

fn confirm(numbers: &Value) -> Value {
    json!({
        "type": "WebPortal.confirmPendingNotifications", "value": { "numbers": numbers }
    })
}
