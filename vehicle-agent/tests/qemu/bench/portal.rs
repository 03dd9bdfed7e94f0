//! From the broker into an app's page in a real Chromium: through the agent and the portal's page, beside
//! the usual way: a page that speaks MQTT with the broker itself.
//!
//! Every way has its messages from the same publisher and the same mosquitto, one at a time. A message's
//! time begins when it is handed to the publisher's client, and ends in the listener of the page, by the
//! clock of this machine.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use vinbus_chromium::Page;
use vinbus_transport_std::conformance::{BrokerUnderTest, Endpoint, Mosquitto};
use vinbus_transport_std::{Client, Qos, connect};

use super::contender::{APP, Contender, Kind};
use super::source::{envelope, topic};

/// Messages of a round, after those that are not counted.
const MESSAGES: usize = 300;
const WARM_UP: usize = 50;
const ROUNDS: usize = 3;

/// Bytes of a message.
const SIZE: usize = 256;

/// Pauses between messages, in turn: of different length, so that they keep no step with a display.
const PAUSES_MS: [u64; 3] = [31, 40, 47];

/// How often the portal's page is loaded in a round.
const LOADS: usize = 5;

/// What the browser's clock and ours may differ.
const SKEW_MAX: Duration = Duration::from_micros(200);

/// The size of the page, as in a car.
const SCREEN: (u32, u32) = (800, 480);

/// The app.
const PAGE: &str = "<!doctype html><title>Bench</title>\
    <script>parent.postMessage({ type: 'WebPortal.onApplicationLoaded' }, '*')</script>";

/// A way from the broker to a page.
#[derive(Clone, Copy)]
enum Way {
    Direct,
    Portal(Kind),
}

const WAYS: [(&str, Way); 3] = [
    ("MQTT.js, WebSocket", Way::Direct),
    ("Linux agent, portal", Way::Portal(Kind::Linux)),
    ("board in QEMU, portal", Way::Portal(Kind::Board)),
];

/// What was measured of a way, over all rounds.
#[derive(Default)]
struct Figures {
    milliseconds: Vec<f64>,
    lost: usize,
    paints: Vec<f64>,
}

/// Measures and prints the tables.
pub(crate) async fn run() {
    // Else it holds a message back until the one before is acknowledged, which may take 40 ms.
    let broker = Mosquitto::with("set_tcp_nodelay true").await;
    let options = broker.options(Endpoint::Mqtt, broker.url(Endpoint::Mqtt), "partner");
    let (partner, _inbox) = connect(options).unwrap();
    let pages = tempfile::tempdir().unwrap();
    std::fs::write(pages.path().join("index.html"), PAGE).unwrap();
    let mut all: Vec<_> = WAYS.iter().map(|_| Figures::default()).collect();
    for _ in 0..ROUNDS {
        for ((_, way), figures) in WAYS.iter().zip(&mut all) {
            round(*way, &broker, &partner, pages.path(), figures).await;
        }
    }
    print(&mut all);
}

async fn round(
    way: Way,
    broker: &Mosquitto,
    partner: &Client,
    pages: &Path,
    figures: &mut Figures,
) {
    let mut app = match way {
        Way::Direct => AppPage::direct(broker).await,
        Way::Portal(kind) => AppPage::of_agent(kind, broker, pages, figures).await,
    };
    app.check_clock().await;
    let (topic, mut sent) = (topic(), Vec::new());
    for n in 0..WARM_UP + MESSAGES {
        tokio::time::sleep(Duration::from_millis(PAUSES_MS[n % PAUSES_MS.len()])).await;
        sent.push(now_ms());
        let published = partner.publish(&topic, message(n).into(), Qos::AtMostOnce, false);
        published.await.unwrap();
    }
    let received = app.received(sent.len()).await;
    for (sent, received) in sent.iter().zip(received).skip(WARM_UP) {
        match received {
            Some(received) => figures.milliseconds.push(received - sent),
            None => figures.lost += 1,
        }
    }
}

fn message(n: usize) -> String {
    let of = |text: &str| envelope(APP, &format!(r#"{{"n":{n},"text":"{text}"}}"#));
    of(&"x".repeat(SIZE - of("").len()))
}

/// A browser in whose app messages arrive.
struct AppPage {
    page: Page,
    /// How the address of the app's frame begins, if it is in one.
    frame: Option<String>,
    _agent: Option<(Contender, TempDir)>,
}

/// What notes when a message has arrived, by its number.
const NOTING: &str = "var times = {}; \
    var note = ({ n }) => { times[n] ??= performance.timeOrigin + performance.now(); };";

impl AppPage {
    /// A page that subscribes to the vehicle's topic by MQTT.js.
    async fn direct(broker: &Mosquitto) -> Self {
        let mut page = Page::open(&empty_page().await, SCREEN).await;
        page.eval(&format!("{}; {NOTING}", mqtt_js())).await;
        let url = broker.url(Endpoint::Ws);
        let (user, password) = (Mosquitto::USER, Mosquitto::PASSWORD);
        let topic = topic();
        page.eval(&format!(
            "new Promise((done, failed) => {{ \
               const client = mqtt.connect('{url}', {{ username: '{user}', password: '{password}' }}); \
               client.on('error', failed); \
               client.on('message', (topic, payload) => note(JSON.parse(payload).content)); \
               client.on('connect', () => client.subscribe('{topic}', () => done(0))); }})"
        ))
        .await;
        Self {
            page,
            frame: None,
            _agent: None,
        }
    }

    /// The portal's page of an agent, with its app in the foreground.
    async fn of_agent(kind: Kind, broker: &Mosquitto, pages: &Path, figures: &mut Figures) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let agent = Contender::beside(kind, broker, pages, folder.path()).await;
        let mut page = Page::open(&format!("http://{}/", agent.portal()), SCREEN).await;
        for _ in 0..LOADS {
            figures
                .paints
                .push(page.first_paint().await.as_secs_f64() * 1e3);
        }
        page.press(".tile > .open").await;
        let frame = format!("http://{APP}.localhost:");
        let noting = "addEventListener('message', ({ data }) => { \
            if (data.type === 'WebPortal.onCurrentNotificationReceived') note(data.value.content); })";
        page.eval_frame(&frame, &format!("{NOTING} {noting}")).await;
        let ready = "document.querySelector('#link').dataset.state === 'up' \
            && document.querySelector('iframe').checkVisibility()";
        page.until(ready).await;
        Self {
            page,
            frame: Some(frame),
            _agent: Some((agent, folder)),
        }
    }

    async fn eval(&mut self, expression: &str) -> serde_json::Value {
        match &self.frame {
            Some(frame) => self.page.eval_frame(frame, expression).await,
            None => self.page.eval(expression).await,
        }
    }

    /// Makes sure that the page's clock goes as ours does.
    async fn check_clock(&mut self) {
        let before = now_ms();
        let theirs = self
            .eval("performance.timeOrigin + performance.now()")
            .await;
        let (theirs, after) = (theirs.as_f64().unwrap(), now_ms());
        let skew = f64::max(before - theirs, theirs - after);
        let is_same = skew < SKEW_MAX.as_secs_f64() * 1e3;
        assert!(is_same, "the browser's clock is {skew:.2} ms off");
    }

    /// When each of so many messages arrived, once the last has.
    async fn received(&mut self, messages: usize) -> Vec<Option<f64>> {
        let last = messages - 1;
        let arrived = format!("times[{last}]");
        match &self.frame {
            Some(frame) => self.page.until_frame(frame, &arrived).await,
            None => self.page.until(&arrived).await,
        };
        let times = format!("Array.from({{ length: {messages} }}, (_, n) => times[n] ?? null)");
        serde_json::from_value(self.eval(&times).await).unwrap()
    }
}

/// The address of a page with nothing in it, on this machine: others may not connect to it.
async fn empty_page() -> String {
    const ANSWER: &[u8] =
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 15\r\n\r\n\
        <!doctype html>";
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // A browser opens more connections than it uses.
            let _ = stream.write_all(ANSWER).await;
        }
    });
    format!("http://{address}/")
}

/// What `cargo xtask examples` has installed.
fn mqtt_js() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../target/examples/javascript/node_modules/mqtt/dist/mqtt.min.js");
    std::fs::read_to_string(path).expect("MQTT.js: run `cargo xtask examples`")
}

fn now_ms() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    since.as_secs_f64() * 1e3
}

fn print(all: &mut [Figures]) {
    println!("\nFrom the broker into the page of an app, {SIZE} bytes, {ROUNDS} rounds:");
    println!("| way | messages | lost | p50 ms | p99 | longest | p50 of MQTT.js |");
    println!("|:----|----:|----:|----:|----:|----:|----:|");
    let mut usual = None;
    for ((name, _), figures) in WAYS.iter().zip(&mut *all) {
        let times = &mut figures.milliseconds;
        let (p50, p99, longest) = (at(times, 0.5), at(times, 0.99), at(times, 1.0));
        let ratio = p50 / *usual.get_or_insert(p50);
        let (messages, lost) = (times.len() + figures.lost, figures.lost);
        println!(
            "| {name} | {messages} | {lost} | {p50:.1} | {p99:.1} | {longest:.1} | {ratio:.2} |"
        );
    }
    println!("\nFirst paint of the portal's page, nothing of it cached:");
    println!("| from | loads | p50 ms | longest |");
    println!("|:----|----:|----:|----:|");
    for ((name, _), figures) in WAYS.iter().zip(all) {
        let paints = &mut figures.paints;
        if !paints.is_empty() {
            let (p50, longest) = (at(paints, 0.5), at(paints, 1.0));
            println!("| {name} | {} | {p50:.0} | {longest:.0} |", paints.len());
        }
    }
}

/// The time that this part of them does not exceed.
fn at(times: &mut [f64], part: f64) -> f64 {
    times.sort_by(f64::total_cmp);
    times[((times.len() - 1) as f64 * part) as usize]
}
