//! An app that sends with receipts, and outlives its agent. One that confirms what it gets (SPEC 8.16) remembers by their
//! numbers which messages it has, as such an app has to. One that confirms nothing reads fast, and to the end of its socket:
//! what was written there it gets nowhere else.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::PAUSE;
use crate::books::{Book, WITH_BROKER, content};

/// Its identifier.
pub(crate) const APP: &str = "demo-app";

/// Between two frames that confirm: as apps should, it names several messages in one, and stays within the frames a
/// second that a portal takes (SPEC 8.11).
const CONFIRM: Duration = Duration::from_millis(50);

/// After this time without a socket it tries again: a board that is off answers nothing.
const PATIENCE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

pub(crate) struct App {
    book: Arc<Mutex<Book>>,
    confirms: bool,
    /// It sends long messages among others.
    sends_long: bool,
    /// The life of the agent's memory, within which numbers are unique.
    life: Option<Value>,
    taken: HashSet<(String, u64)>,
    /// Numbers of messages that it has and has not confirmed.
    unconfirmed: Vec<Value>,
    /// A frame was refused, as there were too many: it may have been a confirmation, so the app asks again
    /// for what is kept.
    was_too_fast: bool,
}

impl App {
    pub(crate) fn new(book: Arc<Mutex<Book>>, confirms: bool, sends_long: bool) -> Self {
        Self {
            book,
            confirms,
            sends_long,
            life: None,
            taken: HashSet::new(),
            unconfirmed: Vec::new(),
            was_too_fast: false,
        }
    }

    /// Is at the portal while it is to be there, and sends while there is load.
    pub(crate) async fn run(
        mut self,
        portal: SocketAddr,
        mut there: watch::Receiver<bool>,
        load: watch::Receiver<bool>,
    ) {
        // It ends with the soak.
        while there.wait_for(|there| *there).await.is_ok() {
            let socket = connect_async(format!("ws://{portal}/portal"));
            if let Ok(Ok((mut socket, _))) = timeout(PATIENCE, socket).await {
                tokio::select! {
                    // A socket breaks when its agent is killed.
                    _ = self.serve(&mut socket, &load) => {}
                    _ = there.wait_for(|there| !*there) => {}
                }
                if !self.confirms {
                    let _ = timeout(PATIENCE, self.read_to_end(socket)).await;
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn serve(
        &mut self,
        socket: &mut Socket,
        load: &watch::Receiver<bool>,
    ) -> Result<(), Error> {
        let hello = json!({ "type": "hello", "value": { "appId": APP, "confirm": self.confirms } });
        let loaded = json!({ "type": "WebPortal.onApplicationLoaded" });
        for frame in [hello, loaded, self.fetch(None)] {
            socket.send(Message::text(frame.to_string())).await?;
        }
        // What is kept comes again.
        self.unconfirmed.clear();
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut confirms = interval(CONFIRM);
        confirms.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                frame = socket.next() => {
                    let Some(frame) = frame else { return Ok(()) };
                    if let Some(answer) = self.hear(frame?.to_text().unwrap_or_default()) {
                        socket.send(Message::text(answer.to_string())).await?;
                    }
                }
                _ = confirms.tick(), if !self.unconfirmed.is_empty() => {
                    let frame = confirm(&std::mem::take(&mut self.unconfirmed));
                    socket.send(Message::text(frame.to_string())).await?;
                }
                _ = ticks.tick() => {
                    let frame = match *load.borrow() {
                        _ if std::mem::take(&mut self.was_too_fast) => Message::text(self.fetch(None).to_string()),
                        true => Message::text(self.message().to_string()),
                        // A board that was reset says nothing until it is spoken to.
                        false => Message::Ping("".into()),
                    };
                    socket.send(frame).await?;
                }
            }
        }
    }

    /// Closes its socket, and reads what was written to it before.
    async fn read_to_end(&mut self, mut socket: Socket) {
        let _ = socket.close(None).await;
        while let Some(Ok(frame)) = socket.next().await {
            self.hear(frame.to_text().unwrap_or_default());
        }
    }

    fn message(&self) -> Value {
        let n = self.book.lock().unwrap().up.next(self.sends_long);
        json!({
            "type": "WebPortal.onSendNotificationRequest", "id": n, "receipts": true,
            "value": content(n)
        })
    }

    /// Asks for what is kept, behind this number.
    fn fetch(&self, after: Option<u64>) -> Value {
        let mut value = json!({ "confirm": self.confirms });
        if let Some(after) = after {
            value["after"] = after.into();
        }
        json!({ "type": "WebPortal.getPendingNotifications", "value": value })
    }

    /// What it has to answer at once.
    fn hear(&mut self, frame: &str) -> Option<Value> {
        let frame: Value = serde_json::from_str(frame).ok()?;
        let (id, value) = (frame["id"].as_u64(), &frame["value"]);
        let kind = frame["type"].as_str().unwrap_or_default();
        let book = Arc::clone(&self.book);
        let mut book = book.lock().unwrap();
        match (kind.trim_start_matches("WebPortal."), id) {
            ("onCurrentNotificationReceived" | "onPendingNotification", _) => {
                self.take(&mut book, &json!([frame["number"]]), &json!([value]));
            }
            ("getPendingNotifications", _) => {
                self.take(&mut book, &frame["numbers"], value);
                // A board answers with as many as there is room for.
                return (frame["more"] == true).then(|| self.fetch(frame["upto"].as_u64()));
            }
            ("MQTT.evt.messageAccepted", Some(n)) => book.up.accepted(n),
            ("MQTT.evt.messageDelivered", Some(n)) if value["receipts"] == false => {
                book.up.not_delivered(n, WITH_BROKER);
            }
            ("MQTT.evt.messageDelivered", Some(n)) => book.up.delivered(n),
            ("MQTT.evt.messageNotDelivered", Some(n)) => {
                let reason = value["reason"].as_str().unwrap_or("no reason");
                book.up.not_delivered(n, reason);
            }
            ("welcome", _) => {
                let life = Some(value["life"].clone());
                if self.life.is_some() && self.life != life {
                    book.up.forgotten();
                }
                self.life = life;
            }
            ("error", _) => {
                self.was_too_fast |= value["reason"] == "rate";
                let reason = value["reason"].as_str().unwrap_or("no reason");
                *book.errors.entry(reason.to_owned()).or_default() += 1;
            }
            _ => {}
        }
        None
    }

    fn take(&mut self, book: &mut Book, numbers: &Value, messages: &Value) {
        if !self.confirms {
            let messages = messages.as_array().into_iter().flatten();
            return messages.for_each(|message| book.down.arrived(&message["content"]));
        }
        let life = self.life.as_ref().unwrap_or(&Value::Null).to_string();
        let (numbers, messages) = (numbers.as_array(), messages.as_array());
        let numbers = numbers.into_iter().flatten().map(Value::as_u64);
        for (number, message) in numbers.zip(messages.into_iter().flatten()) {
            let number = number.expect("a number of a message that the app confirms");
            self.unconfirmed.push(number.into());
            if self.taken.insert((life.clone(), number)) {
                book.down.arrived(&message["content"]);
            }
        }
    }
}

fn confirm(numbers: &[Value]) -> Value {
    json!({
        "type": "WebPortal.confirmPendingNotifications", "value": { "numbers": numbers }
    })
}
