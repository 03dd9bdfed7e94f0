//! What is left after ten minutes of everything: as much room as before.
//!
//! The board's clock goes [`SPEED`] times as fast as ours, so that its ten minutes take two of ours.
//! Every second minute is busy: messages of all sizes both ways, popups, an app in the background,
//! programs that come and go, a connection that breaks. In between the keep-alives pass. A leak is
//! found by filling each pool to the brim, each time: it has to hold as much as at first.

use std::collections::BTreeMap;

use serde_json::Value;
use vinbus_transport_std::BrokerUrl;
use vinbus_transport_std::conformance::Proxy;

use super::messages::stack_bytes_max;
use crate::app::App;
use crate::board::{Board, HOST, UID};
use crate::log::report;
use crate::server::{Listener, Server, done};

/// Faster, and the board would give up on servers of a busy machine that answers in its own time.
const SPEED: u32 = 5;

/// The minutes whose beginnings are busy; the last one is the end of the tenth.
const BUSY_MINUTES: [u32; 6] = [0, 2, 4, 6, 8, 10];

/// More than the board may have room for.
const PROGRAMS: [&str; 7] = [
    "app-1", "app-2", "app-3", "app-4", "app-5", "app-6", "app-7",
];
const UPLINKS: usize = 80;
const DOWNLINKS: usize = 20;

/// What an interrupt puts on the stack at most, in bytes. Sooner or later one comes when the stack is
/// at its deepest.
const INTERRUPT_BYTES_MAX: usize = 1024;

/// How much more of a pool one round may take than another, in bytes: by chance a small frame waits behind
/// a large one.
const POOL_BYTES_BY_CHANCE: u64 = 1024;

/// What the board has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Room {
    pending: usize,
    programs: usize,
    uplinks: usize,
}

pub(crate) async fn ten_minutes_of_traffic_leave_as_much_room_as_before() {
    let mut traffic = Traffic::start().await;
    let (mut rooms, mut stacks, mut pools) = (Vec::new(), Vec::new(), Vec::new());
    for minute in BUSY_MINUTES {
        traffic.board.lives_until(minute * 60, SPEED).await;
        rooms.push(traffic.round(minute).await);
        stacks.push(traffic.board.stack_used().await);
        pools.push(traffic.pools().await);
    }
    let first = rooms[0];
    for (room, minute) in rooms.iter().zip(BUSY_MINUTES) {
        assert_eq!(
            *room, first,
            "after the traffic of minute {minute}; {rooms:?}"
        );
    }
    let most = stack_bytes_max().min(stacks[0] + INTERRUPT_BYTES_MAX);
    assert!(stacks.iter().all(|used| *used <= most), "{stacks:?}");
    for used in &pools {
        for (name, first) in &pools[0] {
            let most = first + POOL_BYTES_BY_CHANCE;
            assert!(used[name] <= most, "{name}: {pools:?}");
        }
    }
    report(&format!(
        "each minute from 1 to 10 room for {} programs, {} pending and {} waiting messages; stack \
         {stacks:?} bytes; of the pools {:?}",
        first.programs, first.pending, first.uplinks, pools[0]
    ));
}

struct Traffic {
    server: Server,
    wire: Proxy,
    board: Board,
    app: App,
    listener: Listener,
}

impl Traffic {
    async fn start() -> Self {
        let server = Server::start(&[]).await;
        let near = format!("mqtts://127.0.0.1:{}", server.port("mqtts"));
        let near: BrokerUrl = near.parse().unwrap();
        let wire = Proxy::to(&near).await;
        let url = format!("mqtts://{HOST}:{}", wire.url(&near).port());
        let installed = PROGRAMS.map(|program| format!("--app={program}={UID}"));
        let installed: Vec<&str> = installed.iter().map(String::as_str).collect();
        let block = server.block_for(&url, &installed).await;
        let mut board = Board::start_fast(Some(&block), SPEED);
        let listener = server.listen().await;
        board.online().await;
        let app = App::in_front(&board).await;
        Self {
            server,
            wire,
            board,
            app,
            listener,
        }
    }

    async fn round(&mut self, minute: u32) -> Room {
        self.talk(minute).await;
        self.answer_a_popup().await;
        let pending = self.fill_pending().await;
        let programs = self.fill_places().await;
        let uplinks = self.break_the_link_and_fill_uplinks(minute).await;
        Room {
            pending,
            programs,
            uplinks,
        }
    }

    /// Bytes of each pool that were ever used, as the board reports after the last round: its end was a
    /// new connection.
    async fn pools(&self) -> BTreeMap<String, u64> {
        let status = self.board.status().await;
        let sessions = status["sessions"].as_u64().expect("a number");
        let report = self.server.health_since(sessions).await;
        let pools = report["pools"].as_object().expect("pools");
        let used = |usage: &Value| usage["used"].as_u64().expect("a number of bytes");
        assert!(pools.values().any(|usage| used(usage) > 0), "{report}");
        let pools = pools.iter();
        pools
            .map(|(name, usage)| (name.clone(), used(usage)))
            .collect()
    }

    async fn talk(&mut self, minute: u32) {
        for size in [10, 200, 4_000, 131_000, 200] {
            let content = format!("\"{minute:02}{}\"", "x".repeat(size));
            done(&self.server.send(&content).await);
            self.app.hears(&content).await;
            self.app.says(&content).await;
            self.listener.hears(&content).await;
        }
    }

    async fn answer_a_popup(&mut self) {
        done(&self.server.popup("Fuel is low", "7").await);
        self.app.log.until("popup, answer with").await;
        self.app.says("/ok").await;
        let ok = r#"{"popupAction":"WebPortal.okBtnPopupRequestClicked","content":7}"#;
        self.app.is_handed(ok).await;
    }

    /// Messages that an app is handed of those that came while it was in the background.
    async fn fill_pending(&mut self) -> usize {
        self.app.says("/hide").await;
        self.app.log.until("in the background").await;
        for n in 1..=DOWNLINKS {
            done(&self.server.send(&n.to_string()).await);
        }
        // Refused by the agent itself, so that it is known when what was sent before has arrived.
        done(&self.server.send_to("another-app", "1").await);
        self.board.log.until("was refused").await;
        self.app.says("/show").await;
        self.app.counts_until(&DOWNLINKS.to_string()).await
    }

    /// Programs that may be connected at once.
    async fn fill_places(&mut self) -> usize {
        let mut others = Vec::new();
        for program in PROGRAMS {
            let mut other = App::start(&self.board, program, &["--background"]);
            let said = other.log.until("").await;
            if !said.starts_with("welcome") {
                assert!(said.contains("503"), "{said}");
                break;
            }
            others.push(other);
        }
        let programs = 1 + others.len();
        // The first one goes without a word.
        for mut other in others.drain(..).skip(1) {
            other.says("/quit").await;
            other.log.rest().await;
        }
        programs
    }

    /// Messages that wait while there is no broker.
    async fn break_the_link_and_fill_uplinks(&mut self, minute: u32) -> usize {
        self.wire.unplug();
        let down = |link: &Value| link == "disconnected";
        self.board.until_status("/link", down).await;
        let waiting = |n: usize| format!("\"{n:02} of minute {minute:02}\"");
        for n in 1..=UPLINKS {
            self.app.says(&waiting(n)).await;
        }
        self.app.log.until("not delivered").await;
        self.wire.plug();
        self.listener.counts_until(&waiting(UPLINKS)).await
    }
}
