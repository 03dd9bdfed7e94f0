//! What senders are told of messages with receipts to an app that confirms nothing: *taken* is what was written to it,
//! whatever becomes of its socket and of the agent.

mod meanwhile;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::FutureExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use vinbus_protocol::delivery::Epoch;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::topic::TopicScheme;
use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_protocol::{pending, popup};

use super::outbox::Outbox;
use super::{FromSocket, News, Peer, SocketApps};
use crate::app_interface::order::{APP, HIDE, LOADED, SLOT, VIN};
use crate::apps::Apps;
use crate::desk::Desk;
use crate::identity::Identity;
use crate::linux::journal::Journal;
use crate::linux::run::LinuxDesk;
use crate::linux::status::Status;

const UID: &str = "demo-partner";
/// Another app of the same partner.
const OTHER: &str = "other-app";
const ASK: &str = r#"{"type":"WebPortal.getPendingNotifications"}"#;

/// Steps, by their names.
type Told = BTreeMap<u64, &'static str>;

/// One life of an agent, with one app.
struct Car {
    desk: LinuxDesk,
    apps: SocketApps<'static>,
    news: mpsc::Sender<FromSocket>,
    now_ms: u64,
    /// The socket of the app.
    socket: u64,
    outbox: Arc<Outbox>,
}

impl Car {
    /// One that notes in this folder.
    fn start(folder: &TempDir) -> Self {
        let vin = Vin::parse(VIN).unwrap();
        let (app, uid) = (AppId::parse(APP).unwrap(), Uid::parse(UID).unwrap());
        let identity = Identity::new(vin, TopicScheme::default(), false);
        let popups = vec![0; popup::storage_bytes_for(1_000)];
        let mut desk = Desk::new(identity, popups, vec![0; 1_000], DropPolicy::Oldest);
        let ring = vec![0; pending::storage_bytes_for(1_000)];
        desk.install(app.clone(), &uid, ring.clone()).unwrap();
        let other = AppId::parse(OTHER).unwrap();
        desk.install(other.clone(), &uid, ring).unwrap();
        desk.offer_receipts(Epoch::new(9).unwrap(), 7, vec![0; 10_000], vec![0; 1_000]);
        let (news, received) = mpsc::channel(16);
        let status = Arc::new(Status::new(vin, None));
        let mut apps = SocketApps::new(vin, [app, other], received, status);
        let (mut journal, _) = Journal::open(folder.path(), vin, 7, false).unwrap();
        journal.restore(&mut desk, &mut apps).unwrap();
        apps.note_in(journal);
        desk.session_came_up(0);
        let mut car = Self {
            desk,
            apps,
            news,
            now_ms: 0,
            socket: 0,
            outbox: Arc::default(),
        };
        car.hear(
            "vinbus",
            &json!({ "vinbus": { "e": 3, "x": 9, "h": 0, "o": [], "v": 1 } }),
        );
        car
    }

    /// A message comes.
    fn hear(&mut self, app: &str, content: &Value) {
        let topic = format!("psa/OVIPPartners-Dev/to/uid/{UID}/opa/{VIN}/");
        let message = json!({ "idApp": app, "popup": false, "content": content });
        let payload = message.to_string();
        let (desk, apps) = (&mut self.desk, &mut self.apps);
        desk.handle_received(self.now_ms, &topic, payload.as_bytes(), apps);
        self.turn();
    }

    /// These messages with receipts come, each with so many seconds left, or without an end.
    fn receive(&mut self, numbers: impl IntoIterator<Item = u64>, left_s: u64) {
        for n in numbers {
            self.hear(APP, &json!({ "vinbus": [3, 9, n, left_s], "n": n }));
        }
    }

    /// Does all that the apps want.
    fn turn(&mut self) {
        self.desk.settle(self.now_ms, &mut self.apps);
        while let Some(request) = self.apps.next().now_or_never() {
            let todo = self.desk.handle_request(self.now_ms, &request);
            self.desk.finish(self.now_ms, todo, &mut self.apps);
            self.desk.settle(self.now_ms, &mut self.apps);
        }
    }

    fn says(&mut self, news: News) {
        let peer = Peer::App {
            slot: SLOT,
            background: false,
            confirms: false,
        };
        let (socket, sent) = (self.socket, &self.news);
        sent.try_send(FromSocket { socket, peer, news }).unwrap();
        self.turn();
    }

    /// The app comes to the foreground.
    fn app(&mut self) {
        self.socket += 1;
        self.outbox = Arc::default();
        self.says(News::Opened(Arc::clone(&self.outbox)));
        self.says(News::Frame(LOADED.into()));
    }

    fn goodbye(&mut self) {
        self.says(News::Gone);
    }

    /// The app reads so many messages, or all that come; their numbers in the order in which it gets them.
    fn read(&mut self, max: usize) -> Vec<u64> {
        let mut read = Vec::new();
        while read.len() < max
            && let Some(Ok(frame)) = self.outbox.front().now_or_never()
        {
            let frame: Value = serde_json::from_str(&frame).unwrap();
            let value = &frame["value"];
            let messages = value.as_array().cloned().unwrap_or(vec![value.clone()]);
            read.extend(messages.iter().filter_map(|it| it["content"]["n"].as_u64()));
            if self.outbox.written() {
                self.says(News::Written);
            }
        }
        read
    }

    /// What the sender has been told since it was told something, after as many milliseconds.
    fn told_after(&mut self, ms: u64) -> Told {
        self.now_ms += ms;
        self.turn();
        let mut told = Told::new();
        let mut buffer = vec![0; 10_000];
        // Greetings and receipts.
        for _ in 0..4 {
            self.now_ms += 21;
            let (desk, apps) = (&mut self.desk, &mut self.apps);
            let Some(frame) = desk.receipts(self.now_ms, &mut buffer, apps) else {
                continue;
            };
            let frame: Value = serde_json::from_slice(&buffer[..frame.len]).unwrap();
            let said = &frame["content"]["vinbus"];
            let runs: Vec<u64> = serde_json::from_value(said["r"].clone()).unwrap_or_default();
            for run in runs.chunks(3) {
                let step = match run[0] {
                    0 => "known",
                    1 => "at the agent",
                    2 => "held",
                    5 => "taken",
                    7 => "expired",
                    8 => "evicted",
                    other => panic!("step {other}"),
                };
                told.extend((run[1]..run[1] + run[2]).map(|n| (n, step)));
            }
            if !said["k"].is_null() {
                self.hear(
                    "vinbus",
                    &json!({ "vinbus": { "e": 3, "x": 9, "a": said["k"] } }),
                );
            }
        }
        told
    }

    fn told(&mut self) -> Told {
        self.told_after(0)
    }

    fn pending(&self) -> Vec<u64> {
        let ring = self.desk.portal().pending(SLOT).unwrap();
        let n = |message: &[u8]| {
            let message: Value = serde_json::from_slice(message).unwrap();
            message["content"]["n"].as_u64().unwrap()
        };
        ring.iter().map(|record| n(record.bytes)).collect()
    }

    /// The agent is stopped, and its app's socket ends.
    async fn stop(mut self) {
        let peer = Peer::App {
            slot: SLOT,
            background: false,
            confirms: false,
        };
        let (socket, news) = (self.socket, News::Gone);
        self.news
            .try_send(FromSocket { socket, peer, news })
            .unwrap();
        self.apps.stop(self.now_ms, &mut self.desk).await;
    }
}

fn all(numbers: impl IntoIterator<Item = u64>, step: &'static str) -> Told {
    numbers.into_iter().map(|n| (n, step)).collect()
}

/// A car with its app.
fn car() -> (TempDir, Car) {
    let folder = tempfile::tempdir().unwrap();
    let mut car = Car::start(&folder);
    car.app();
    car.read(usize::MAX);
    (folder, car)
}

#[test]
fn message_is_taken_when_it_is_written_and_not_before() {
    let (_folder, mut car) = car();
    car.receive(1..=3, 0);
    assert_eq!(car.told(), Told::new());
    assert_eq!(car.read(2), [1, 2]);
    assert_eq!(car.told(), all(1..=2, "taken"));
    assert_eq!(car.read(9), [3]);
    assert_eq!(car.told(), all([3], "taken"));
}

#[test]
fn message_that_is_not_written_soon_is_told_once_as_at_the_agent() {
    let (_folder, mut car) = car();
    car.receive([1], 0);
    assert_eq!(car.told(), Told::new());
    let due_ms = car.desk.deadline_ms(car.now_ms);
    assert!(
        due_ms > car.now_ms && due_ms <= car.now_ms + 250,
        "{due_ms}"
    );
    assert_eq!(car.told_after(250), all([1], "at the agent"));
    assert_eq!(car.told_after(3_600_000), Told::new());
    assert_eq!(car.read(1), [1]);
    assert_eq!(car.told(), all([1], "taken"));
}

#[test]
fn message_that_comes_back_waits_and_is_taken_by_the_next_socket() {
    let (_folder, mut car) = car();
    car.receive(1..=3, 0);
    assert_eq!(car.read(1), [1]);
    car.goodbye();
    let mut told = all(2..=3, "held");
    told.insert(1, "taken");
    assert_eq!(car.told(), told);
    assert_eq!(car.pending(), [2, 3]);
    car.app();
    car.says(News::Frame(ASK.into()));
    assert_eq!(car.told(), Told::new());
    assert_eq!(car.read(2), [2, 3]);
    assert_eq!(car.told(), all(2..=3, "taken"));
}

#[test]
fn message_that_came_back_and_newer_ones_pushed_out_is_evicted() {
    let (_folder, mut car) = car();
    car.receive(1..=3, 0);
    car.goodbye();
    assert_eq!(car.told(), all(1..=3, "held"));
    car.receive(4..=12, 0);
    let mut told = all(4..=12, "held");
    told.extend(all(1..=2, "evicted"));
    assert_eq!(car.told(), told);
}

#[test]
fn message_that_a_socket_which_ends_has_no_room_for_is_evicted() {
    let (_folder, mut car) = car();
    car.says(News::Frame(HIDE.into()));
    car.receive(1..=9, 0);
    car.told();
    car.outbox
        .end(crate::app_interface::refusal::Ending::TakenOver);
    car.says(News::Frame(ASK.into()));
    car.receive(10..=18, 0);
    car.says(News::Frame(ASK.into()));
    assert!(car.pending().is_empty());
    car.told();
    car.goodbye();
    assert_eq!(car.pending(), (9..=18).collect::<Vec<_>>());
    // The others were told as held before.
    assert_eq!(car.told(), all(1..=8, "evicted"));
}

#[test]
fn time_of_a_message_ends_while_it_waits_and_not_while_it_is_being_written() {
    let (_folder, mut car) = car();
    car.receive(1..=2, 60);
    car.told_after(250);
    assert_eq!(car.told_after(120_000), Told::new());
    assert_eq!(car.read(1), [1]);
    assert_eq!(car.told(), all([1], "taken"));
    car.goodbye();
    assert_eq!(car.told(), all([2], "expired"));
    assert!(car.pending().is_empty());
}

#[test]
fn burst_of_as_many_as_may_be_on_their_way_evicts_nothing() {
    let (_folder, mut car) = car();
    car.receive(1..=32, 0);
    assert_eq!(car.told(), all(23..=32, "at the agent"));
    assert_eq!(car.read(usize::MAX), (1..=32).collect::<Vec<_>>());
    assert_eq!(car.told(), all(1..=32, "taken"));
}

#[test]
fn app_that_reads_nothing_is_handed_twenty_two_and_the_next_wait_until_one_is_written() {
    let (_folder, mut car) = car();
    car.receive(1..=27, 0);
    assert_eq!(car.told(), all(23..=27, "at the agent"));
    assert_eq!(car.pending(), (23..=27).collect::<Vec<_>>());
    // It asks for the others over and over.
    for _ in 0..20 {
        car.says(News::Frame(ASK.into()));
    }
    assert_eq!(car.pending(), (23..=27).collect::<Vec<_>>());
    assert_eq!(car.read(usize::MAX), (1..=27).collect::<Vec<_>>());
    assert_eq!(car.told(), all(1..=27, "taken"));
}

#[test]
fn what_waits_behind_a_slow_app_is_held_once_that_hides_or_leaves_or_is_to_confirm() {
    let to_confirm = r#"{"type":"WebPortal.getPendingNotifications","value":{"confirm":true}}"#;
    for frame in [HIDE, to_confirm] {
        let (_folder, mut car) = car();
        car.receive(1..=25, 0);
        assert_eq!(car.told_after(250), all(1..=25, "at the agent"));
        car.says(News::Frame(frame.into()));
        assert_eq!(car.told(), all(23..=25, "held"), "{frame}");
    }
    let (_folder, mut car) = car();
    car.receive(1..=25, 0);
    car.told_after(250);
    car.goodbye();
    let mut told = all(1..=15, "evicted");
    told.extend(all(16..=25, "held"));
    assert_eq!(car.told(), told);
}

#[test]
fn app_that_asks_over_and_over_and_reads_nothing_leaves_places_for_others() {
    let (_folder, mut car) = car();
    car.says(News::Frame(HIDE.into()));
    let mut told = Told::new();
    for first in [1, 10, 19, 28] {
        for n in first..first + 9 {
            car.receive([n], 0);
            told.extend(car.told());
        }
        car.says(News::Frame(ASK.into()));
    }
    // Eighteen are on their way to it, ten wait, and the others are evicted.
    assert_eq!(car.pending(), (27..=36).collect::<Vec<_>>());
    let evicted = told.iter().filter(|(_, step)| **step == "evicted");
    assert_eq!(evicted.count(), 8, "{told:?}");
    assert_eq!(car.read(usize::MAX), (1..=18).collect::<Vec<_>>());
    assert_eq!(car.told(), all(1..=18, "taken"));
    car.says(News::Frame(ASK.into()));
    assert_eq!(car.read(usize::MAX), (27..=36).collect::<Vec<_>>());
}

#[test]
fn app_that_reads_nothing_keeps_no_message_from_another_app_of_its_partner() {
    let (_folder, mut car) = car();
    car.receive(1..=32, 0);
    car.told();
    car.hear(OTHER, &json!({ "vinbus": [3, 9, 33, 0], "n": 33 }));
    assert_eq!(car.told(), all([33], "held"));
}

#[test]
fn app_that_reads_more_slowly_than_messages_come_goes_on_getting_them() {
    let (_folder, mut car) = car();
    let mut read = Vec::new();
    for n in 1..=200 {
        car.receive([n], 0);
        car.told_after(100);
        if n % 3 == 0 {
            read.extend(car.read(1));
        }
    }
    let last = read.last().copied();
    read.extend(car.read(usize::MAX));
    assert!(car.pending().is_empty(), "it had read {last:?}");
    assert_eq!(read.last(), Some(&200));
}

#[test]
fn message_that_was_being_written_when_the_agent_was_killed_is_known() {
    let (folder, mut car) = car();
    car.receive(1..=3, 0);
    assert_eq!(car.read(1), [1]);
    assert_eq!(car.told(), all([1], "taken"));
    drop(car);
    let mut car = Car::start(&folder);
    let told = car.told();
    assert_eq!(
        (told.get(&2), told.get(&3)),
        (Some(&"known"), Some(&"known"))
    );
    assert_ne!(told.get(&1), Some(&"known"));
    assert!(car.pending().is_empty());
}

#[test]
fn message_that_came_back_outlives_a_kill() {
    let (folder, mut car) = car();
    car.receive(1..=3, 0);
    assert_eq!(car.read(1), [1]);
    car.goodbye();
    drop(car);
    let mut car = Car::start(&folder);
    let mut told = all(2..=3, "held");
    told.insert(1, "taken");
    assert_eq!(car.told(), told);
    car.app();
    car.says(News::Frame(ASK.into()));
    assert_eq!(car.read(usize::MAX), [2, 3]);
    assert_eq!(car.told(), all(2..=3, "taken"));
}

#[tokio::test]
async fn stop_tells_what_was_written_and_keeps_the_rest_for_the_next_start() {
    let (folder, mut car) = car();
    car.receive(1..=3, 0);
    assert!(car.outbox.front().now_or_never().is_some());
    // The agent has not heard of it.
    car.outbox.written();
    car.stop().await;
    let mut car = Car::start(&folder);
    let mut told = all(2..=3, "held");
    told.insert(1, "taken");
    assert_eq!(car.told(), told);
    assert_eq!(car.pending(), [2, 3]);
}

#[tokio::test]
async fn time_that_a_message_has_left_outlives_a_stop() {
    let (folder, mut car) = car();
    car.told_after(3_600_000);
    car.receive([1], 60);
    car.stop().await;
    let mut car = Car::start(&folder);
    assert_eq!(car.told(), all([1], "held"));
    assert_eq!(car.told_after(62_000), all([1], "expired"));
}

#[test]
fn messages_without_receipts_are_no_news_when_they_are_written() {
    let outbox = Outbox::default();
    let unread = |number| super::outbox::Unread {
        number,
        message: "1".into(),
    };
    outbox.watch(2);
    for number in 1..=2 {
        outbox.push(super::outbox::Item::Message(unread(number)));
    }
    assert!(!outbox.written());
    assert!(outbox.written());
    assert_eq!(outbox.take_written(), [2]);
    assert!(outbox.take_written().is_empty());
}
