//! What is put into the store comes out of it: order, filters, steps, webhooks, what is deleted.

mod store_support;

use std::time::Duration;

use store_support::{at, downlink, now, open, open_with, settled, uid, uplink, vin, wait_until};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{
    Cursor, Downlink, MessageId, NewDownlink, Receipts, Step, Webhook,
};
use vinbus_host_server::store::Store;
use vinbus_host_server::store::channels::{ChannelChange, ChannelStore as _};
use vinbus_host_server::store::lock::{DataDir, DataDirError};
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_protocol::delivery::{self, Epoch};

fn webhook(id: &str, cursor: u64) -> Webhook {
    Webhook {
        id: id.to_owned(),
        url: "http://127.0.0.1:9/".to_owned(),
        uid: Some(uid("partner")),
        secret: "whsec_c2VjcmV0".to_owned(),
        cursor: Cursor(cursor),
        disabled: false,
        private_allowed: false,
    }
}

fn cursors(store: &impl Store, after: u64) -> Vec<u64> {
    let page = store.uplink_after(Cursor(after), None, None, 1000).unwrap();
    page.messages.iter().map(|uplink| uplink.cursor.0).collect()
}

fn sequences(page: &[Downlink]) -> Vec<u64> {
    page.iter().map(|downlink| downlink.sequence).collect()
}

#[test]
fn uplink_comes_back_unchanged_in_order_and_filtered() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut messages = vec![
        uplink("a", 1, &b"{\"content\":1}"[..]),
        uplink("b", 1, &b"{\"content\":2}"[..]),
        uplink("a", 2, vec![b'x'; 131_072]),
    ];
    messages[1].subtopic = Some("sub/topic".to_owned());
    for message in &messages {
        settled(store.append_uplink(message.clone())).unwrap();
    }
    let read = |uid: Option<&str>, vin: Option<usize>| {
        let uid = uid.map(store_support::uid);
        let vin = vin.map(store_support::vin);
        let page = store
            .uplink_after(Cursor(0), uid.as_ref(), vin.as_ref(), 10)
            .unwrap();
        page.messages
            .into_iter()
            .map(|uplink| uplink.message)
            .collect::<Vec<_>>()
    };
    assert_eq!(read(None, None), messages);
    assert_eq!(
        read(Some("a"), None),
        [messages[0].clone(), messages[2].clone()]
    );
    assert_eq!(read(None, Some(1)), messages[..2]);
    assert_eq!(read(Some("b"), Some(1)), messages[1..2]);
    assert_eq!(read(Some("b"), Some(2)), []);
    assert_eq!(store.uplink_end(), Ok(Cursor(3)));
}

#[test]
fn a_page_of_large_messages_ends_early_and_the_next_continues() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let pendings: Vec<_> = (0..80)
        .map(|n| store.append_uplink(uplink("a", n, vec![b'x'; 131_072])))
        .collect();
    pendings.into_iter().for_each(|pending| {
        settled(pending).unwrap();
    });
    let first = cursors(&store, 0);
    assert!(first.len() < 80, "one page has {} messages", first.len());
    let mut all = first;
    while let Some(last) = all.last() {
        let more = cursors(&store, *last);
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    assert_eq!(all, (1..=80).collect::<Vec<_>>());
}

#[test]
fn appends_that_wait_together_share_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let store = open_with(dir.path(), StoreSettings::default(), &metrics).unwrap();
    let commits = metrics.counter("vinbus_store_commits_total", "", &[]);
    let pendings: Vec<_> = (0..4000)
        .map(|n| store.append_uplink(uplink("a", n, &b"{\"content\":1}"[..])))
        .collect();
    for (n, pending) in pendings.into_iter().enumerate() {
        assert_eq!(settled(pending), Ok(Cursor(n as u64 + 1)));
    }
    // While the first commit is written to disk, thousands of appends gather.
    let commits = commits.value();
    assert!(commits <= 400, "4000 appends took {commits} commits");
}

#[test]
fn steps_of_a_message_are_noted_once_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let accepted = settled(store.append_downlink(downlink(1, &b"{}"[..]), at(0))).unwrap();
    for (step, seconds) in [
        (Step::Held, 1),
        (Step::Held, 2),
        (Step::Sent, 3),
        (Step::Held, 4),
        (Step::Sent, 5),
        (Step::Rejected, 6),
    ] {
        settled(store.note(&accepted.id, step, at(seconds))).unwrap();
    }
    let trace = store.trace(&accepted.id).unwrap().unwrap();
    assert_eq!(trace.downlink, accepted);
    assert_eq!(
        trace.steps,
        [
            (Step::Accepted, at(0)),
            (Step::Held, at(1)),
            (Step::Sent, at(3))
        ]
    );
    assert_eq!(store.trace(&MessageId("unknown".to_owned())), Ok(None));
}

#[test]
fn steps_keep_their_order_though_the_clock_was_set_back_and_are_told_with_the_same_times() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let asked = NewDownlink {
        receipts: Receipts::Asked,
        ..downlink(1, &b"{}"[..])
    };
    let accepted = settled(store.append_downlink(asked, at(9))).unwrap();
    for (step, seconds) in [(Step::Held, 3), (Step::Rejected, 9)] {
        settled(store.note(&accepted.id, step, at(seconds))).unwrap();
    }
    let trace = store.trace(&accepted.id).unwrap().unwrap();
    let later = at(9) + Duration::from_micros(1);
    let steps = [(Step::Held, at(9)), (Step::Rejected, later)];
    assert_eq!(trace.steps[1..], steps);
    let told = store.uplink_after(Cursor(0), None, None, 10).unwrap();
    let told: Vec<_> = told.messages.iter().collect();
    assert_eq!(told.len(), 2);
    for (told, (step, at)) in told.iter().zip(steps) {
        assert_eq!(told.message.received_at, at, "{step:?}");
    }
}

#[test]
fn unsent_messages_are_per_vehicle_in_order_until_sent_or_rejected() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let messages: Vec<_> = (0..6)
        .map(|n| settled(store.append_downlink(downlink(n % 2, &b"{}"[..]), at(0))).unwrap())
        .collect();
    settled(store.note(&messages[0].id, Step::Sent, at(1))).unwrap();
    settled(store.note(&messages[1].id, Step::Rejected, at(1))).unwrap();
    settled(store.note(&messages[3].id, Step::Held, at(1))).unwrap();
    drop(store);

    let store = open(dir.path()).unwrap();
    let unsent = |number, after| {
        sequences(
            &store
                .unsent(&vin(number), &uid("partner"), after, 10)
                .unwrap(),
        )
    };
    assert_eq!(unsent(0, 0), [3, 5]);
    assert_eq!(unsent(1, 0), [4, 6]);
    assert_eq!(unsent(1, 4), [6]);
    assert_eq!(unsent(9, 0), [0; 0]);
    let backlog: Vec<_> = store
        .backlog()
        .unwrap()
        .into_iter()
        .map(|one| (one.vin, one.messages, one.held_to))
        .collect();
    assert_eq!(backlog, [(vin(0), 2, 0), (vin(1), 2, 4)]);
}

#[test]
fn webhooks_survive_a_restart_with_their_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    settled(store.add_webhook(webhook("a", 1))).unwrap();
    settled(store.add_webhook(webhook("b", 1))).unwrap();
    settled(store.webhook_delivered("a", Cursor(7))).unwrap();
    settled(store.webhook_delivered("a", Cursor(6))).unwrap();
    settled(store.disable_webhook("a")).unwrap();
    assert_eq!(settled(store.remove_webhook("b")), Ok(true));
    assert_eq!(settled(store.remove_webhook("b")), Ok(false));
    drop(store);

    let store = open(dir.path()).unwrap();
    let mut expected = webhook("a", 7);
    expected.disabled = true;
    assert_eq!(store.webhooks(), Ok(vec![expected]));
}

#[test]
fn a_webhook_shows_no_secret_when_printed() {
    let text = format!("{:?}", webhook("a", 1));
    assert!(!text.contains("c2VjcmV0"), "{text}");
}

#[test]
fn a_failed_write_does_not_fail_those_that_share_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    settled(store.add_webhook(webhook("a", 1))).unwrap();
    let before: Vec<_> = (0..100)
        .map(|n| store.append_uplink(uplink("a", n, &b"{}"[..])))
        .collect();
    let twice = store.add_webhook(webhook("a", 1));
    let after = store.append_uplink(uplink("a", 100, &b"{}"[..]));
    for pending in before {
        settled(pending).unwrap();
    }
    assert!(settled(twice).is_err());
    assert_eq!(settled(after), Ok(Cursor(101)));
    assert_eq!(cursors(&store, 0), (1..=101).collect::<Vec<_>>());
}

#[test]
fn more_writes_than_may_wait_are_refused_as_busy() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let envelope = bytes::Bytes::from(vec![b'x'; 131_072]);
    let pendings: Vec<_> = (0..5000)
        .map(|_| store.append_downlink(downlink(1, envelope.clone()), at(0)))
        .collect();
    let beside = store.append_uplink(uplink("a", 1, &b"{}"[..]));
    let (stored, refused): (Vec<_>, Vec<_>) =
        pendings.into_iter().map(settled).partition(Result::is_ok);
    assert!(!refused.is_empty(), "5000 x 128 KiB were queued");
    assert_eq!(settled(beside), Ok(Cursor(1)), "uplink has its own share");
    assert_eq!(
        store.backlog().unwrap()[0].messages,
        stored.len(),
        "what was refused left nothing"
    );
}

#[test]
fn second_server_on_the_same_folder_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _first = open(dir.path()).unwrap();
    let second = DataDir::lock(dir.path());
    let Err(DataDirError::InUse { owner, .. }) = &second else {
        panic!("{second:?}");
    };
    assert_eq!(*owner, std::process::id().to_string());
}

#[test]
fn the_folder_is_free_again_after_the_store_is_dropped() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    assert!(DataDir::lock(dir.path()).is_ok());
}

/// Fills a store, opens it again with `settings`, and waits until `expected` cursors are left.
fn check_left(settings: StoreSettings, webhook_at: Option<u64>, expected: &[u64]) -> Metrics {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for n in 0..10 {
        let mut message = uplink("a", n, vec![b'x'; 1000]);
        if n < 5 {
            message.received_at = at(0);
        }
        settled(store.append_uplink(message)).unwrap();
    }
    if let Some(cursor) = webhook_at {
        settled(store.add_webhook(webhook("a", cursor))).unwrap();
    }
    drop(store);
    let metrics = Metrics::new();
    let store: SqliteStore = open_with(dir.path(), settings, &metrics).unwrap();
    wait_until(&store, "the expected messages are left", || {
        cursors(&store, 0) == expected
    });
    // The counters follow the deletion, both before the store closes.
    drop(store);
    metrics
}

fn deleted(metrics: &Metrics, what: &str) -> u64 {
    metrics
        .counter("vinbus_store_deleted_total", "", &[("what", what)])
        .value()
}

#[test]
fn old_uplink_is_deleted_by_age_and_counted() {
    let settings = StoreSettings {
        uplink_age_max: Duration::from_secs(3600),
        ..StoreSettings::default()
    };
    let metrics = check_left(settings, None, &[6, 7, 8, 9, 10]);
    assert_eq!(deleted(&metrics, "uplink"), 5);
}

#[test]
fn age_does_not_delete_what_a_webhook_has_not_received() {
    let settings = StoreSettings {
        uplink_age_max: Duration::from_secs(3600),
        ..StoreSettings::default()
    };
    let metrics = check_left(settings, Some(2), &[3, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(deleted(&metrics, "uplink_undelivered"), 0);
}

#[test]
fn size_deletes_the_oldest_and_counts_what_a_webhook_has_not_received() {
    let settings = StoreSettings {
        uplink_bytes_max: 4000,
        ..StoreSettings::default()
    };
    let metrics = check_left(settings, Some(2), &[8, 9, 10]);
    assert_eq!(deleted(&metrics, "uplink_undelivered"), 5);
}

#[test]
fn positions_are_not_used_again_when_everything_old_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        uplink_bytes_max: 0,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    for n in 0..3 {
        settled(store.append_uplink(uplink("a", n, &b"{}"[..]))).unwrap();
    }
    drop(store);
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    wait_until(&store, "only the newest is left", || {
        cursors(&store, 0) == [3]
    });
    let next = settled(store.append_uplink(uplink("a", 4, &b"{}"[..])));
    assert_eq!(next, Ok(Cursor(4)));
}

#[test]
fn traces_of_sent_messages_are_deleted_and_unsent_messages_never() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        downlink_bytes_max: 0,
        trace_age_max: Duration::ZERO,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    let messages: Vec<_> = (0..4)
        .map(|n| settled(store.append_downlink(downlink(n, &b"{}"[..]), at(0))).unwrap())
        .collect();
    settled(store.note(&messages[0].id, Step::Sent, at(1))).unwrap();
    settled(store.note(&messages[2].id, Step::Sent, at(1))).unwrap();
    drop(store);
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    let exists = |n: usize| store.trace(&messages[n].id).unwrap().is_some();
    wait_until(&store, "sent ones are deleted", || !exists(0) && !exists(2));
    assert!(exists(1) && exists(3));
}

#[test]
fn search_of_a_rare_vehicle_goes_over_ten_thousand_positions_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let appends: Vec<_> = (1..=10_500)
        .map(|n| store.append_uplink(uplink("a", n / 10_500, &b"{}"[..])))
        .collect();
    for pending in appends {
        settled(pending).unwrap();
    }
    for uid in [None, Some(uid("a"))] {
        let search = |after| store.uplink_after(Cursor(after), uid.as_ref(), Some(&vin(1)), 10);
        let page = search(0).unwrap();
        assert_eq!((page.messages.len(), page.searched_to), (0, Cursor(10_000)));
        let page = search(10_000).unwrap();
        assert_eq!(page.messages[0].cursor, Cursor(10_500));
        assert_eq!(page.searched_to, Cursor(10_500));
        assert_eq!(search(10_500).unwrap().searched_to, Cursor(10_500));
    }
    let page = store.uplink_after(Cursor(0), None, None, 3).unwrap();
    assert_eq!(page.searched_to, Cursor(3));
}

#[test]
fn message_that_waits_keeps_no_expired_trace_behind_it_and_an_unexpired_one_stays() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        trace_age_max: Duration::from_secs(3600),
        ..StoreSettings::default()
    };
    let store = open(dir.path()).unwrap();
    let messages: Vec<_> = (0..4)
        .map(|n| settled(store.append_downlink(downlink(n, &b"{}"[..]), at(0))).unwrap())
        .collect();
    settled(store.note(&messages[0].id, Step::Held, at(1))).unwrap();
    settled(store.note(&messages[1].id, Step::Sent, now())).unwrap();
    settled(store.note(&messages[2].id, Step::Sent, at(1))).unwrap();
    drop(store);
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    let exists = |n: usize| store.trace(&messages[n].id).unwrap().is_some();
    wait_until(&store, "the expired one is deleted", || !exists(2));
    assert!(exists(0) && exists(1) && exists(3));
}

#[test]
fn what_expired_is_found_by_its_time_and_is_over_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let add = |number: usize, expires: u64| {
        let message = NewDownlink {
            expires_at: at(expires),
            ..downlink(number, "x")
        };
        settled(store.append_downlink(message, at(0))).unwrap()
    };
    let (late, early, other) = (add(1, 20), add(1, 10), add(2, 10));
    assert_eq!(store.with_expired(at(9), 10), Ok(vec![]));
    let mut found = store.with_expired(at(10), 10).unwrap();
    found.sort_unstable();
    assert_eq!(found, [(vin(1), uid("partner")), (vin(2), uid("partner"))]);
    assert_eq!(store.with_expired(at(10), 1).unwrap().len(), 1);
    let of_one = store.expired(&vin(1), &uid("partner"), at(10), 10);
    assert_eq!(of_one, Ok(vec![early.clone()]));
    for expired in [&early, &other] {
        settled(store.note(&expired.id, Step::Expired, at(11))).unwrap();
        settled(store.note(&expired.id, Step::Sent, at(12))).unwrap();
        let trace = store.trace(&expired.id).unwrap().unwrap();
        let expected = [(Step::Accepted, at(0)), (Step::Expired, at(11))];
        assert_eq!(trace.steps, expected);
    }
    assert_eq!(store.with_expired(at(10), 10), Ok(vec![]));
    let unsent = store.unsent(&vin(1), &uid("partner"), 0, 10);
    assert_eq!(unsent, Ok(vec![late]));
}

#[test]
fn message_that_waits_to_be_sent_again_is_kept_though_the_clock_was_set_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (before, hour) = (now(), Duration::from_secs(3600));
    let append = |receipts| {
        let message = NewDownlink {
            receipts,
            expires_at: before + hour,
            ..downlink(1, &b"{}"[..])
        };
        settled(store.append_downlink(message, before)).unwrap()
    };
    let again = append(Receipts::Repeatable);
    let (old, newest) = (append(Receipts::No), append(Receipts::No));
    let back = before - 2 * hour;
    settled(store.note(&old.id, Step::Sent, back + Duration::from_secs(1))).unwrap();
    let held = Step::Told(delivery::Step::HeldBackground);
    for (numbered, steps) in [
        (vec![(1, again.sequence)], vec![(1, held, back)]),
        (vec![], vec![(1, Step::SentAgain, back)]),
    ] {
        let change = ChannelChange {
            session: Some((Epoch::FIRST, Some(Epoch::FIRST), 1)),
            numbered,
            steps,
            ..ChannelChange::default()
        };
        settled(store.change_channel(&vin(1), &uid("partner"), change)).unwrap();
    }
    drop(store);
    let settings = StoreSettings {
        trace_age_max: hour,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    wait_until(&store, "the old trace is deleted", || {
        store.trace(&old.id).unwrap().is_none()
    });
    let unsent = store.unsent(&vin(1), &uid("partner"), 0, 10).unwrap();
    assert_eq!(unsent, [again, newest]);
}
