//! The journeys.

use std::collections::HashSet;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::id::{AppId, Uid, Vin};
use vinbus_protocol::limits::DELIVERY_IN_FLIGHT_MAX;
use vinbus_protocol::topic::TopicScheme;
use vinbus_protocol::uplink_queue::DropPolicy;
use vinbus_vehicle_agent::agent::{self, STOP_GRACE_MS, World};
use vinbus_vehicle_agent::apps::Request;
use vinbus_vehicle_agent::desk::Desk;
use vinbus_vehicle_agent::identity::Identity;

use crate::air::{Air, FakeLink, SharedAir, VirtualClock};
use crate::cabin::{Cabin, FakeApps, SharedCabin, Wish};
use crate::dice::Dice;

pub(crate) const APPS: usize = 3;
const QUEUE: usize = 64;
const VIN: &str = "0123456789ABCDEFG";

/// The partner of an app: two of them share one.
fn partner(app: usize) -> &'static str {
    ["first", "second", "second"][app]
}

pub(crate) fn topic(direction: &str, app: usize) -> String {
    format!(
        "psa/OVIPPartners-Dev/{direction}/uid/{}/opa/{VIN}/",
        partner(app)
    )
}

pub(crate) type TestDesk = Desk<Vec<u8>, Vec<u8>, APPS, QUEUE, DELIVERY_IN_FLIGHT_MAX>;

pub(crate) fn desk() -> TestDesk {
    let vin = Vin::parse(VIN).unwrap();
    let identity = Identity::new(vin, TopicScheme::default(), false);
    let mut desk = Desk::new(identity, vec![0; 1024], vec![0; 8192], DropPolicy::Oldest);
    for app in 0..APPS {
        let id = AppId::parse(&format!("app{app}")).unwrap();
        desk.install(id, &Uid::parse(partner(app)).unwrap(), vec![0; 1024])
            .unwrap();
    }
    desk
}

/// Runs the agent while `drive` does something to it, then stops it and returns what it knew.
pub(crate) async fn life(
    air: &SharedAir,
    cabin: &SharedCabin,
    seed: u64,
    drive: impl Future<Output = ()>,
) -> TestDesk {
    life_of(desk(), air, cabin, seed, drive).await
}

/// The same, of this desk.
pub(crate) async fn life_of(
    mut desk: TestDesk,
    air: &SharedAir,
    cabin: &SharedCabin,
    seed: u64,
    drive: impl Future<Output = ()>,
) -> TestDesk {
    let (stop, stopped) = oneshot::channel::<()>();
    let world = World {
        link: &mut FakeLink(air.clone()),
        apps: &mut FakeApps::new(cabin),
        clock: &VirtualClock(Instant::now()),
        random: &mut Dice(seed),
    };
    let stopped = async {
        let _ = stopped.await;
    };
    let driven = async {
        drive.await;
        let _ = stop.send(());
    };
    tokio::join!(agent::run(&mut desk, world, stopped), driven);
    desk
}

/// What the test has sent, to check against.
#[derive(Default)]
struct Ledger {
    downlinks: u64,
    uplinks: u64,
}

async fn step(dice: &mut Dice, air: &SharedAir, cabin: &SharedCabin, ledger: &mut Ledger) {
    let app = dice.roll(APPS as u64) as usize;
    let slot = AppSlot::new(app as u8);
    let send = |ledger: &mut Ledger, app: usize| {
        ledger.downlinks += 1;
        let content = format!("\"{app}-{}\"", ledger.downlinks);
        let payload = format!(r#"{{"idApp":"app{app}","popup":false,"content":{content}}}"#);
        air.borrow_mut()
            .send(&topic("to", app), payload.into_bytes());
    };
    let say = |ledger: &mut Ledger| {
        ledger.uplinks += 1;
        let content = format!("\"{app}-{}\"", ledger.uplinks);
        cabin.borrow_mut().wish(Wish::Send(slot, content));
    };
    match dice.roll(40) {
        0 => air.borrow_mut().break_link(),
        // A flood, and one that the queue cannot hold.
        1 => (0..30).for_each(|_| send(ledger, app)),
        2 => (0..70).for_each(|_| say(ledger)),
        3..=15 => send(ledger, app),
        16..=22 => say(ledger),
        23..=25 => {
            let mut cabin = cabin.borrow_mut();
            if !std::mem::replace(&mut cabin.apps[app].running, true) {
                cabin.wish(Wish::Other(Request::Launched(slot)));
            }
            // Now and then an app forgets to say that it has loaded.
            if !dice.once_in(10) {
                cabin.wish(Wish::Other(Request::Loaded(slot)));
                cabin.wish(Wish::Other(Request::Shown(slot)));
            }
        }
        26 => cabin.borrow_mut().crash(slot),
        27 | 28 => cabin.borrow_mut().wish(Wish::Other(Request::Hidden(slot))),
        29 => {
            let active = !dice.once_in(3);
            cabin
                .borrow_mut()
                .wish(Wish::Other(Request::Nac { active }));
        }
        30..=32 => {
            let keep = dice.once_in(2);
            cabin
                .borrow_mut()
                .wish(Wish::Other(Request::TakePending { slot, keep }));
        }
        33 | 34 => cabin.borrow_mut().confirm(slot),
        35..=37 => cabin.borrow_mut().read(slot),
        _ => sleep(Duration::from_millis(dice.roll(20_000))).await,
    }
    sleep(Duration::from_millis(dice.roll(300))).await;
}

/// Lets everything that waits be done.
async fn settle(cabin: &SharedCabin) {
    while cabin.borrow().has_wishes() {
        sleep(Duration::from_millis(1)).await;
    }
    sleep(Duration::from_secs(600)).await;
}

/// Messages that the rings have dropped or still hold.
fn evicted_or_waiting(desk: &TestDesk) -> u64 {
    let rings = (0..APPS).map(|app| desk.portal().pending(AppSlot::new(app as u8)).unwrap());
    let gone = rings.map(|ring| {
        let counters = ring.counters();
        counters.evicted_by_count + counters.evicted_by_bytes + ring.len() as u64
    });
    gone.sum()
}

fn check_downlinks(cabin: &SharedCabin) {
    for (app, state) in cabin.borrow().apps.iter().enumerate() {
        let mut seen = HashSet::new();
        for message in &state.read {
            let own = format!(r#"{{"content":"{app}-"#);
            assert!(message.starts_with(&own), "app {app} read {message}");
            assert!(seen.insert(message), "app {app} read {message} twice");
        }
    }
}

fn check_uplinks(air: &SharedAir, cabin: &SharedCabin, reboots: u64) {
    let air = air.borrow();
    let mut lost = 0;
    for (app, state) in cabin.borrow().apps.iter().enumerate() {
        let told = state.delivered.len() + state.dropped.len() + state.refused.len();
        let accepted = state.accepted.len();
        assert!(
            told <= accepted,
            "app {app} was told more fates than it sent messages"
        );
        lost += accepted - told;
        for content in &state.accepted {
            let payload = format!(r#"{{"content":{content}}}"#);
            let wrong = air
                .published
                .iter()
                .find(|(at, what, _)| *what == payload && *at != topic("from", app));
            assert_eq!(wrong, None, "a message went to another partner");
        }
        let arrived: HashSet<_> = air.published.iter().map(|(_, what, _)| what).collect();
        let has_arrived =
            |content: &String| arrived.contains(&format!(r#"{{"content":{content}}}"#));
        let untrue = state.delivered.iter().find(|content| !has_arrived(content));
        assert_eq!(untrue, None, "the app was told that it is delivered");
        let untrue = state.dropped.iter().find(|content| has_arrived(content));
        assert_eq!(untrue, None, "the app was told that it is dropped");
    }
    assert!(reboots > 0 || lost == 0, "{lost} messages met no fate");
}

/// Drives a journey; returns how many messages apps have read.
async fn journey(seed: u64) -> usize {
    let mut dice = Dice(seed);
    let (air, cabin) = (Air::new(dice.roll(u64::MAX)), Cabin::new(APPS));
    let mut ledger = Ledger::default();
    let reboots = dice.roll(3);
    for _ in 0..=reboots {
        let mut steps = dice.clone();
        let jitter = dice.roll(u64::MAX);
        let drive = async {
            for _ in 0..300 {
                step(&mut steps, &air, &cabin, &mut ledger).await;
            }
            settle(&cabin).await;
        };
        let desk = life(&air, &cabin, jitter, drive).await;
        (0..APPS).for_each(|app| cabin.borrow_mut().read(AppSlot::new(app as u8)));
        let counters = cabin.borrow().counters;
        let portal = counters.portal;
        assert!(counters.received <= ledger.downlinks);
        assert!(
            portal.delivered + portal.pending >= counters.received,
            "each went somewhere"
        );
        if reboots == 0 {
            let read: u64 = cabin
                .borrow()
                .apps
                .iter()
                .map(|app| app.read.len() as u64)
                .sum();
            let gone = read + evicted_or_waiting(&desk);
            // One that was evicted between its handing out and its confirmation counts twice.
            assert!(
                gone >= counters.received,
                "each was read, waits, or was evicted"
            );
        }
        cabin.borrow_mut().power_cut();
        air.borrow_mut().break_link();
    }
    check_downlinks(&cabin);
    check_uplinks(&air, &cabin, reboots);
    let cabin = cabin.borrow();
    cabin.apps.iter().map(|app| app.read.len()).sum()
}

#[test]
fn nothing_is_read_twice_or_by_another_app_whatever_breaks() {
    let seeds = match std::env::var("VINBUS_SEED") {
        Ok(seed) => seed.parse().map(|seed| seed..=seed).unwrap(),
        Err(_) => 1..=60,
    };
    let mut read = 0;
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        let driven = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            runtime.block_on(journey(seed))
        }));
        read += driven.unwrap_or_else(|_| panic!("the journey with VINBUS_SEED={seed} failed"));
    }
    assert!(read > 0, "journeys on which nothing arrives prove nothing");
}

#[tokio::test(start_paused = true)]
async fn agent_says_that_it_is_online_first_and_that_it_is_not_last() {
    let (air, cabin) = (Air::new(7), Cabin::new(APPS));
    air.borrow_mut().kind = true;
    let drive = async {
        cabin
            .borrow_mut()
            .wish(Wish::Send(AppSlot::new(0), "1".into()));
        settle(&cabin).await;
    };
    life(&air, &cabin, 7, drive).await;
    let air = air.borrow();
    let presence: Vec<_> = air
        .published
        .iter()
        .filter(|(_, _, retain)| *retain)
        .collect();
    let partners = ["first", "second"];
    let expected = [true, false].into_iter().flat_map(|online| {
        partners.map(|uid| {
            let topic = format!("psa/OVIPPartners-Dev/from/uid/{uid}/opa/{VIN}/vinbus/presence");
            (
                topic,
                format!(r#"{{"content":{{"online":{online}}}}}"#),
                true,
            )
        })
    });
    assert_eq!(
        presence,
        expected.collect::<Vec<_>>().iter().collect::<Vec<_>>()
    );
    assert!(air.published.first().is_some_and(|(_, _, retain)| *retain));
    assert_eq!(air.filters.len(), 4, "two filters for each of two partners");
}

#[tokio::test(start_paused = true)]
async fn agent_that_is_stopped_while_it_says_that_it_is_online_tells_every_partner_that_it_is_not()
{
    for seed in 1..=20 {
        let (air, cabin) = (Air::new(seed), Cabin::new(APPS));
        air.borrow_mut().kind = true;
        let drive = async {
            while air.borrow().published.is_empty() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        life(&air, &cabin, seed, drive).await;
        let air = air.borrow();
        for uid in ["first", "second"] {
            let of_uid = format!("/uid/{uid}/");
            let mut reports = air.published.iter().rev();
            let last = reports.find(|(topic, _, _)| topic.contains(&of_uid));
            let payload = last.map(|(_, payload, _)| payload.as_str());
            let offline = r#"{"content":{"online":false}}"#;
            assert_eq!(payload, Some(offline), "{uid}, seed {seed}");
        }
    }
}

/// How an agent ended that was stopped while the broker took nothing, its link broken after `breaks`:
/// how long it took, and what it kept.
async fn stopped_in_the_middle_of_a_message(
    air: &SharedAir,
    breaks: Duration,
) -> (Duration, Vec<Vec<u8>>) {
    let cabin = Cabin::new(APPS);
    air.borrow_mut().kind = true;
    let slot = AppSlot::new(0);
    let (stopping, stopped) = oneshot::channel();
    let drive = async {
        while !air.borrow().connected {
            sleep(Duration::from_millis(1)).await;
        }
        settle(&cabin).await;
        air.borrow_mut().deaf = true;
        cabin.borrow_mut().wish(Wish::Send(slot, "1".into()));
        settle(&cabin).await;
        stopping.send(Instant::now()).unwrap();
    };
    let life = async { (life(air, &cabin, 7, drive).await, Instant::now()) };
    let life = timeout(Duration::from_secs(3_600), life);
    let broken = async {
        let stopped_at = stopped.await.unwrap();
        sleep(breaks).await;
        air.borrow_mut().break_link();
        stopped_at
    };
    let (ended, stopped_at) = tokio::join!(life, broken);
    let (mut desk, ended_at) = ended.unwrap();
    let mut kept = Vec::new();
    desk.drain_uplinks(|waiting| kept.push(waiting.payload.to_vec()));
    (ended_at - stopped_at, kept)
}

#[tokio::test(start_paused = true)]
async fn agent_that_is_stopped_while_the_broker_takes_nothing_stops_in_time_and_loses_nothing() {
    let air = Air::new(7);
    let (took, kept) = stopped_in_the_middle_of_a_message(&air, Duration::from_secs(60)).await;
    assert_eq!(took, Duration::from_millis(STOP_GRACE_MS));
    assert_eq!(
        air.borrow().cut,
        1,
        "what the broker has a part of ends the session"
    );
    assert_eq!(kept, [br#"{"content":1}"#]);
}

#[tokio::test(start_paused = true)]
async fn agent_that_is_stopped_while_the_broker_takes_nothing_stops_when_the_link_breaks() {
    let air = Air::new(7);
    let breaks = Duration::from_millis(STOP_GRACE_MS / 2);
    let (took, kept) = stopped_in_the_middle_of_a_message(&air, breaks).await;
    assert_eq!(took, breaks);
    assert_eq!(kept, [br#"{"content":1}"#]);
}

#[tokio::test(start_paused = true)]
async fn message_that_the_broker_did_not_take_goes_out_on_the_next_session() {
    let (air, cabin) = (Air::new(7), Cabin::new(APPS));
    air.borrow_mut().kind = true;
    let drive = async {
        while !air.borrow().connected {
            sleep(Duration::from_millis(1)).await;
        }
        settle(&cabin).await;
        air.borrow_mut().deaf = true;
        cabin
            .borrow_mut()
            .wish(Wish::Send(AppSlot::new(0), "1".into()));
        settle(&cabin).await;
        assert!(!sent(&air), "nothing was taken");
        air.borrow_mut().deaf = false;
        air.borrow_mut().break_link();
        settle(&cabin).await;
        assert!(sent(&air));
    };
    life(&air, &cabin, 7, drive).await;
}

fn sent(air: &SharedAir) -> bool {
    let air = air.borrow();
    air.published
        .iter()
        .any(|(_, payload, _)| payload == r#"{"content":1}"#)
}

#[tokio::test(start_paused = true)]
async fn lost_link_is_not_hammered() {
    let (air, cabin) = (Air::new(3), Cabin::new(APPS));
    let drive = async {
        for _ in 0..500 {
            sleep(Duration::from_secs(5)).await;
            air.borrow_mut().break_link();
        }
    };
    life(&air, &cabin, 3, drive).await;
    let attempts = &air.borrow().attempts;
    assert!(attempts.len() > 10);
    let soonest = attempts
        .windows(2)
        .map(|pair| pair[1] - pair[0])
        .min()
        .unwrap();
    assert!(soonest >= Duration::from_millis(500), "{soonest:?}");
}

#[tokio::test(start_paused = true)]
async fn link_that_held_is_tried_again_at_once_and_one_that_did_not_is_not() {
    for (held_s, soon) in [(11, true), (9, false)] {
        let (air, cabin) = (Air::new(3), Cabin::new(APPS));
        let mut pauses = Vec::new();
        let drive = async {
            for _ in 0..50 {
                while !air.borrow().connected {
                    sleep(Duration::from_millis(10)).await;
                }
                sleep(Duration::from_secs(held_s)).await;
                let (broken, attempts) = (Instant::now(), air.borrow().attempts.len());
                air.borrow_mut().break_link();
                while air.borrow().attempts.len() == attempts {
                    sleep(Duration::from_millis(10)).await;
                }
                pauses.push(air.borrow().attempts[attempts] - broken);
            }
        };
        life(&air, &cabin, 3, drive).await;
        let longest = *pauses.iter().max().unwrap();
        assert!(longest <= Duration::from_secs(60), "{longest:?}");
        assert_eq!(longest <= Duration::from_secs(1), soon, "{longest:?}");
    }
}
