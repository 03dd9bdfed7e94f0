//! The board and the Linux agent side by side: how fast messages come in, how long a handshake takes,
//! and what a vehicle costs that has nothing to do.
//!
//! Both agents are connected to the same server of this program ([`source`]), which speaks as much MQTT
//! as they need and sends as fast as they take. What it sends is kept for an app that is not there, as
//! nobody's speed but the agent's is to be measured; the last message is for an app in the foreground,
//! whose hearing of it ends the time. `docs/BENCHMARKS.md` has the figures. How fast messages come into an
//! app's page in a browser, [`portal`] measures.

mod contender;
mod source;

pub(crate) mod portal;

use std::time::{Duration, Instant};

use contender::{Contender, Kind};
use source::{Link, Source};

/// Bytes of a small message and of the largest.
const SMALL: usize = 200;
const LARGE: usize = 131_072;

/// Small messages in a round, and large ones.
const SMALL_MESSAGES: usize = 20_000;
const LARGE_MESSAGES: usize = 20;

/// Rounds of which the median is told. One before them is not counted: QEMU translates code when it
/// runs for the first time.
const ROUNDS: usize = 5;

/// How long it is watched what an agent does that has nothing to do.
const IDLE: Duration = Duration::from_secs(20);

/// What is told of an agent over one kind of connection.
struct Figures {
    small_per_second: f64,
    large_ms: f64,
    handshake_ms: Option<f64>,
    idle_percent: f64,
}

/// Measures and prints the table.
pub(crate) async fn run() {
    let mut rows = Vec::new();
    for tls in [false, true] {
        let board = measure(Kind::Board, tls).await;
        let linux = measure(Kind::Linux, tls).await;
        rows.extend(rows_of(tls, &board, &linux));
    }
    println!(
        "\n{:<28} {:>12} {:>12} {:>14}",
        "", "board", "Linux agent", "board / Linux"
    );
    for (what, board, linux) in rows {
        let ratio = if linux > 0.0 {
            format!("{:.3}", board / linux)
        } else {
            "-".into()
        };
        println!("{what:<28} {board:>12.2} {linux:>12.2} {ratio:>14}");
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("load of this machine now: {}", load.trim());
}

fn rows_of(tls: bool, board: &Figures, linux: &Figures) -> Vec<(String, f64, f64)> {
    let way = if tls { "TLS" } else { "plain" };
    let mut rows = vec![
        (
            format!("{SMALL} B in, {way}, messages/s"),
            board.small_per_second,
            linux.small_per_second,
        ),
        (
            format!("128 KiB in, {way}, ms"),
            board.large_ms,
            linux.large_ms,
        ),
        (
            format!("idle, {way}, % of processor"),
            board.idle_percent,
            linux.idle_percent,
        ),
    ];
    if let (Some(board), Some(linux)) = (board.handshake_ms, linux.handshake_ms) {
        rows.push(("TLS handshake, ms".into(), board, linux));
    }
    rows
}

async fn measure(kind: Kind, tls: bool) -> Figures {
    let mut source = Source::open(kind.host(), tls).await;
    let folder = tempfile::tempdir().unwrap();
    let mut agent = Contender::start(kind, &source, folder.path()).await;
    let handshake_ms = if tls {
        Some(handshake_ms(&mut source).await)
    } else {
        None
    };
    let link = source.welcome().await;
    let mut app = agent.app_in_front().await;
    let mut rounds = Rounds {
        link,
        app: &mut app,
    };
    let small_s = rounds.median_s(SMALL, SMALL_MESSAGES).await;
    let large_s = rounds.median_s(LARGE, LARGE_MESSAGES).await;
    agent
        .has_received(2 * (1 + ROUNDS) + (SMALL_MESSAGES + LARGE_MESSAGES) * (1 + ROUNDS))
        .await;
    let idle_percent = idle_percent(&agent).await;
    Figures {
        small_per_second: SMALL_MESSAGES as f64 / small_s,
        large_ms: large_s * 1e3 / LARGE_MESSAGES as f64,
        handshake_ms,
        idle_percent,
    }
}

/// Of the handshakes after connections that are ended as soon as they are there.
async fn handshake_ms(source: &mut Source) -> f64 {
    let mut times = Vec::new();
    for _ in 0..=ROUNDS {
        times.push(source.welcome().await.handshake.as_secs_f64());
    }
    median(&times[1..]) * 1e3
}

struct Rounds<'a> {
    link: Link,
    app: &'a mut contender::Listening,
}

impl Rounds<'_> {
    /// The time that so many messages of so many bytes take, from the first byte on the wire until
    /// an app has heard of the one behind the last.
    async fn median_s(&mut self, size: usize, messages: usize) -> f64 {
        let packet = source::publish(contender::ABSENT_APP, size);
        let burst = packet.repeat(messages);
        let mut times = Vec::new();
        for round in 0..=ROUNDS {
            let start = Instant::now();
            self.link.send(&burst).await;
            self.link
                .send(&source::publish_content(contender::APP, &round.to_string()))
                .await;
            self.app.hears(&round.to_string()).await;
            times.push(start.elapsed().as_secs_f64());
        }
        median(&times[1..])
    }
}

/// What it takes of one of this machine's processors, in percent.
async fn idle_percent(agent: &Contender) -> f64 {
    let before = agent.processor_time();
    tokio::time::sleep(IDLE).await;
    (agent.processor_time() - before).as_secs_f64() / IDLE.as_secs_f64() * 100.0
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
