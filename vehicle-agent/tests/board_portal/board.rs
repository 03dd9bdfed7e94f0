//! A board with its agent and portal.

use std::net::SocketAddr;
use std::rc::Rc;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;

use vinbus_protocol::delivery::Epoch;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::{APP_MESSAGE_BYTES_MAX, PACKET_BYTES_MAX};
use vinbus_protocol::presence;
use vinbus_protocol::record_ring::storage_bytes_for;
use vinbus_protocol::topic::TopicScheme;
use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_transport_embedded::TokioStream;
use vinbus_vehicle_agent::agent::{self, World};
use vinbus_vehicle_agent::app_page::{AppPage, AppTitle};
use vinbus_vehicle_agent::board_portal::limits::{
    HTTP_HEAD_BYTES_MAX, OUTBOX_BYTES_MIN, RECEIVE_BYTES, SCREEN_OUTBOX_BYTES, SCREEN_RECEIVE_BYTES,
};
use vinbus_vehicle_agent::board_portal::{KeptTexts, PlaceBuffers, Portal, Settings};
use vinbus_vehicle_agent::clock::Random;
use vinbus_vehicle_agent::desk::Desk;
use vinbus_vehicle_agent::identity::Identity;
use vinbus_vehicle_agent::page_url::PageUrl;

use crate::app::{App, PATIENCE};
use crate::wire::{OnWire, TestClock, Wire};

pub(crate) const VIN: &str = "0123456789ABCDEFG";
pub(crate) const UID: &str = "demo-partner";

/// The apps of every board; both are of one partner.
pub(crate) const APPS: [&str; 2] = ["demo", "other"];

pub(crate) const PLACES: usize = 4;

/// The subtopic of the agent's reports of health.
const HEALTH: &str = "vinbus/health";

/// Messages that may wait for the broker.
const QUEUE: usize = 4;

/// Messages with receipts that may be on their way, as on a board.
const SENT: usize = 8;

/// Runs a test on one thread, as boards do.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build().unwrap();
    LocalSet::new().block_on(&runtime, test);
}

/// What a board may have less of.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) receive: usize,
    pub(crate) outbox: usize,
    /// For the pending messages of an app.
    pub(crate) pending: usize,
    /// One of the places is for the screen alone.
    pub(crate) screen_place: bool,
    /// For the longest message with receipts, and for those of apps; none are offered if it is 0.
    pub(crate) receipts: usize,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            receive: RECEIVE_BYTES,
            outbox: 2 * OUTBOX_BYTES_MIN,
            pending: storage_bytes_for(10, APP_MESSAGE_BYTES_MAX),
            screen_place: false,
            receipts: 0,
        }
    }
}

struct NoJitter;

impl Random for NoJitter {
    fn next_u32(&mut self) -> u32 {
        0
    }
}

pub(crate) struct Board {
    pub(crate) address: SocketAddr,
    pub(crate) clock: Rc<TestClock>,
    up: Option<oneshot::Sender<()>>,
    to_vehicle: mpsc::UnboundedSender<OnWire>,
    from_vehicle: mpsc::UnboundedReceiver<OnWire>,
}

impl Board {
    pub(crate) async fn new() -> Self {
        let mut board = Self::offline(Memory::default()).await;
        board.connect();
        board
    }

    pub(crate) async fn with_memory(memory: Memory) -> Self {
        let mut board = Self::offline(memory).await;
        board.connect();
        board
    }

    pub(crate) async fn with_screen_place() -> Self {
        let memory = Memory {
            screen_place: true,
            ..Memory::default()
        };
        Self::with_memory(memory).await
    }

    /// A board whose link is down until [`Board::connect`].
    pub(crate) async fn offline(memory: Memory) -> Self {
        let buffer = |len| vec![0; len].leak();
        let mut places = std::array::from_fn::<_, PLACES, _>(|_| PlaceBuffers {
            receive: buffer(memory.receive),
            outbox: buffer(memory.outbox),
            for_screen: false,
        });
        if memory.screen_place {
            places[0] = PlaceBuffers {
                receive: buffer(SCREEN_RECEIVE_BYTES),
                outbox: buffer(SCREEN_OUTBOX_BYTES),
                for_screen: true,
            };
        }
        let page = AppPage {
            url: PageUrl::parse("http://other.localhost:8091/").unwrap(),
            title: AppTitle::parse(r#"Zoë's "other""#),
        };
        let settings = Settings {
            origins: &["https://shell.example"],
            pages: vec![None, Some(page)].leak(),
            ..Settings::default()
        };
        let vin = Vin::parse(VIN).unwrap();
        let apps = APPS.map(|app| AppId::parse(app).unwrap()).to_vec().leak();
        let portal = Portal::<'static, { APPS.len() }, PLACES>::new(vin, &*apps, places, settings);
        let portal: &'static _ = Box::leak(Box::new(portal));
        let clock = Rc::new(TestClock::default());
        let (to_vehicle, wire_in) = mpsc::unbounded_channel();
        let (wire_out, from_vehicle) = mpsc::unbounded_channel();
        let (up, is_up) = oneshot::channel();
        let mut wire = Wire {
            up: Some(is_up),
            to_vehicle: wire_in,
            from_vehicle: wire_out,
        };
        let agent_clock = Rc::clone(&clock);
        spawn_local(async move {
            let mut desk = desk(memory);
            let mut texts = KeptTexts::<QUEUE>::new();
            let world = World {
                link: &mut wire,
                apps: &mut portal.apps(&mut texts),
                clock: &*agent_clock,
                random: &mut NoJitter,
            };
            agent::run(&mut desk, world, std::future::pending()).await;
        });
        let listener = listen();
        let address = listener.local_addr().unwrap();
        let socket_clock = Rc::clone(&clock);
        spawn_local(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // The network stack of a board sends what a task has written once the task waits.
                stream.set_nodelay(true).unwrap();
                let clock = Rc::clone(&socket_clock);
                spawn_local(async move {
                    let (reader, writer) = stream.into_split();
                    serve(portal, reader, writer, &clock).await;
                });
            }
        });
        Self {
            address,
            clock,
            up: Some(up),
            to_vehicle,
            from_vehicle,
        }
    }

    /// Brings the link up.
    pub(crate) fn connect(&mut self) {
        if let Some(up) = self.up.take() {
            let _ = up.send(());
        }
    }

    /// Sends a payload of the partner.
    pub(crate) fn publish(&self, payload: impl Into<String>) {
        self.publish_for(UID, payload);
    }

    pub(crate) fn publish_for(&self, uid: &str, payload: impl Into<String>) {
        self.publish_on(
            format!("psa/OVIPPartners-Dev/to/uid/{uid}/opa/{VIN}/"),
            payload,
        );
    }

    pub(crate) fn publish_on(&self, topic: String, payload: impl Into<String>) {
        let payload = payload.into();
        self.to_vehicle.send(OnWire { topic, payload }).unwrap();
    }

    /// Sends a data message of the partner.
    pub(crate) fn send(&self, app: &str, content: &Value) {
        let payload = json!({ "idApp": app, "popup": false, "content": content });
        self.publish(payload.to_string());
    }

    /// The next message of an app to the partner: what follows the vehicle's topic, and the payload.
    pub(crate) async fn uplink(&mut self) -> (String, String) {
        loop {
            let message = self.any_uplink().await;
            if message.0 != HEALTH && message.0 != presence::SUBTOPIC {
                return message;
            }
        }
    }

    /// The next report that the vehicle is there.
    pub(crate) async fn presence(&mut self) -> String {
        loop {
            let (subtopic, payload) = self.any_uplink().await;
            if subtopic == presence::SUBTOPIC {
                return payload;
            }
        }
    }

    /// The next report of the agent's health.
    pub(crate) async fn health(&mut self) -> Value {
        loop {
            let (subtopic, payload) = self.any_uplink().await;
            if subtopic == HEALTH {
                let mut report: Value = serde_json::from_str(&payload).unwrap();
                return report["content"].take();
            }
        }
    }

    async fn any_uplink(&mut self) -> (String, String) {
        let message = timeout(PATIENCE, self.from_vehicle.recv()).await;
        let OnWire { topic, payload } = message.expect("an uplink message").unwrap();
        let start = format!("psa/OVIPPartners-Dev/from/uid/{UID}/opa/{VIN}/");
        let subtopic = topic.strip_prefix(&start).expect("the partner's topic");
        (subtopic.to_owned(), payload)
    }

    /// Writes to a connection of its own and reads what comes back, up to its end.
    pub(crate) async fn request(&self, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        // The portal may refuse it before all is written, and reset the connection.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        let _ = read.expect("the end of the connection");
        String::from_utf8_lossy(&answer).into_owned()
    }

    pub(crate) async fn status(&self) -> Value {
        let request = b"GET /status HTTP/1.1\r\nHost: x\r\n\r\n";
        let answer = self.request(request).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
        assert!(head.contains("application/json"), "{head}");
        serde_json::from_str(body).unwrap()
    }

    /// Waits until a number of the status has reached a level.
    pub(crate) async fn status_reaches(&self, pointer: &str, level: u64) {
        let reached = async {
            while self.status().await.pointer(pointer).unwrap().as_u64() < Some(level) {
                tokio::task::yield_now().await;
            }
        };
        let reached = timeout(PATIENCE, reached).await;
        if reached.is_err() {
            panic!("{pointer} stays below {level}: {}", self.status().await);
        }
    }

    /// Opens an app and waits until it is in the foreground.
    pub(crate) async fn app(&self, app: &str) -> App {
        let mut app = App::open(self.address, json!({ "appId": app })).await;
        app.load().await;
        app
    }

    /// Opens the screen.
    pub(crate) async fn screen(&self) -> App {
        App::open(self.address, json!({ "role": "screen" })).await
    }
}

/// Serves a connection and closes it, as boards do.
async fn serve(
    portal: &Portal<'static, { APPS.len() }, PLACES>,
    mut reader: OwnedReadHalf,
    mut writer: OwnedWriteHalf,
    clock: &TestClock,
) {
    let mut buffer = [0; HTTP_HEAD_BYTES_MAX];
    let (from, to) = (TokioStream::new(&mut reader), TokioStream::new(&mut writer));
    portal.serve(from, to, &mut buffer, clock).await;
    let goodbye = async {
        let _ = writer.shutdown().await;
        while let Ok(1..) = reader.read(&mut buffer).await {}
    };
    let _said_or_late = timeout(PATIENCE, goodbye).await;
}

/// Listens with buffers as small as those of a board.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_send_buffer_size(4096).unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    socket.listen(16).unwrap()
}

fn desk(memory: Memory) -> Desk<Vec<u8>, Vec<u8>, 2, QUEUE, SENT> {
    let vin = Vin::parse(VIN).unwrap();
    let identity = Identity::new(vin, TopicScheme::default(), false);
    let uplinks = vec![0; storage_bytes_for(2, PACKET_BYTES_MAX)];
    let popups = vec![0; storage_bytes_for(2, PACKET_BYTES_MAX)];
    let mut desk = Desk::new(identity, popups, uplinks, DropPolicy::Oldest);
    for app in APPS {
        let app = AppId::parse(app).unwrap();
        let uid = Uid::parse(UID).unwrap();
        desk.install(app, &uid, vec![0; memory.pending]).unwrap();
    }
    if memory.receipts > 0 {
        let buffer = || vec![0; memory.receipts];
        desk.offer_receipts(Epoch::FIRST, 7, buffer(), buffer());
    }
    desk
}
