//! A full store refuses, keeps nothing of what it refused, and recovers when room is made.

mod store_support;

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use store_support::{at, downlink, open, open_with, settled, uplink};
use vinbus_host_server::metrics::Metrics;
use vinbus_host_server::model::{Cursor, Step};
use vinbus_host_server::store::sqlite::{SqliteStore, StoreSettings};
use vinbus_host_server::store::{Store, StoreError};

const CHILD_DIR: &str = "VINBUS_TEST_FULL_DIR";

fn is_full<T>(result: &Result<T, StoreError>) -> bool {
    matches!(result, Err(StoreError::Full { .. }))
}

/// Appends messages of 10 kB until one is refused; gives how many were stored.
fn fill(store: &SqliteStore) -> usize {
    for n in 0..100_000 {
        let stored = settled(store.append_uplink(uplink("a", n, vec![b'x'; 10_000])));
        if is_full(&stored) {
            return n;
        }
        stored.unwrap();
    }
    panic!("a gigabyte was taken");
}

fn count(store: &SqliteStore) -> usize {
    let (mut count, mut after) = (0, Cursor(0));
    loop {
        let page = store
            .uplink_after(after, None, None, 1000)
            .unwrap()
            .messages;
        let Some(last) = page.last() else {
            return count;
        };
        after = last.cursor;
        count += page.len();
    }
}

#[test]
fn quota_refuses_appends_with_both_numbers_and_lets_changes_pass() {
    let dir = tempfile::tempdir().unwrap();
    let quota = StoreSettings {
        quota_bytes: 1 << 20,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), quota, &Metrics::new()).unwrap();
    let early = settled(store.append_downlink(downlink(1, &b"{}"[..]), at(0))).unwrap();
    let stored = fill(&store);
    let refused = settled(store.append_downlink(downlink(1, &b"{}"[..]), at(0)));
    assert!(is_full(&refused));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("its quota is 1048576"), "{text}");
    settled(store.note(&early.id, Step::Sent, at(1))).unwrap();
    assert_eq!(store.backlog(), Ok(Vec::new()));
    assert_eq!(count(&store), stored);
    drop(store);

    let store = open(dir.path()).unwrap();
    settled(store.append_uplink(uplink("a", 1, &b"{}"[..]))).unwrap();
    assert_eq!(count(&store), stored + 1);
}

#[test]
fn a_log_that_outgrows_its_limit_gives_way_before_the_quota_is_reached() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        uplink_bytes_max: 50_000,
        quota_bytes: 400_000,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    for n in 0..600 {
        let stored = settled(store.append_uplink(uplink("a", n, vec![b'x'; 1000])));
        assert!(stored.is_ok(), "{n}: {stored:?}");
    }
}

#[test]
fn room_made_by_deleting_old_messages_is_used_again() {
    let dir = tempfile::tempdir().unwrap();
    let quota = StoreSettings {
        quota_bytes: 1 << 20,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), quota, &Metrics::new()).unwrap();
    let stored = fill(&store);
    drop(store);
    let less = StoreSettings {
        uplink_bytes_max: 100_000,
        ..quota
    };
    let store = open_with(dir.path(), less, &Metrics::new()).unwrap();
    // The writer deletes before its first batch or right behind it.
    let stored_again = (0..1000)
        .find_map(|n| settled(store.append_uplink(uplink("a", n, vec![b'x'; 10_000]))).ok());
    assert_eq!(stored_again, Some(Cursor(stored as u64 + 1)));
}

#[test]
fn messages_that_take_more_pages_than_their_payload_do_not_fill_the_store_for_good() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings {
        quota_bytes: 1 << 20,
        uplink_bytes_max: 700_000,
        ..StoreSettings::default()
    };
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    let one = |n: usize| settled(store.append_uplink(uplink("a", n, vec![b'x'; 2100])));
    let stored = (0..1000).take_while(|n| one(*n).is_ok()).count();
    assert!(stored * 2260 < 700_000, "{stored}");
    drop(store);
    let store = open_with(dir.path(), settings, &Metrics::new()).unwrap();
    let stored_again =
        (0..1000).find_map(|n| settled(store.append_uplink(uplink("a", n, &b"{}"[..]))).ok());
    assert!(stored_again.is_some());
    assert!(count(&store) * 2260 > 300_000, "half of the limit stays");
}

/// Not a test of its own: what the process with a limited file size does.
#[test]
fn child_fills_its_disk() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = open(Path::new(&dir)).unwrap();
    let stored = fill(&store);
    let batch: Vec<_> = (0..50)
        .map(|n| store.append_uplink(uplink("a", n, vec![b'x'; 100_000])))
        .collect();
    assert!(
        batch
            .into_iter()
            .map(settled)
            .all(|result| is_full(&result))
    );
    assert_eq!(count(&store), stored, "nothing of a refused append is left");
    assert!(store.is_full());
    println!("\nfull {stored}");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    // It finds out by itself, as nobody sends to a server that is not ready.
    while store.is_full() {
        std::thread::yield_now();
    }
    let next = settled(store.append_uplink(uplink("a", 1, vec![b'x'; 100_000])));
    assert_eq!(next, Ok(Cursor(stored as u64 + 1)));
    println!("\nrecovered {}", count(&store));
}

#[test]
fn disk_that_takes_no_more_refuses_and_recovers_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new("sh")
        // A file may have 2,048 blocks of 512 bytes; the signal for more is turned into an error.
        .args(["-c", "trap '' XFSZ; ulimit -S -f 2048; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child_fills_its_disk", "--nocapture"])
        .env(CHILD_DIR, dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let full = lines
        .find_map(|line| line.strip_prefix("full ")?.parse::<usize>().ok())
        .expect("the child fills its disk");
    assert!(full > 10);
    let raised = Command::new("prlimit")
        .args(["--fsize=unlimited", "--pid", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(raised.success());
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let recovered = lines.find_map(|line| line.strip_prefix("recovered ")?.parse::<usize>().ok());
    assert_eq!(recovered, Some(full + 1));
    assert!(child.wait().unwrap().success());

    // What it tried the disk with is gone, and one that was killed meanwhile leaves it to the next.
    let tried = dir.path().join("vinbus.room");
    assert!(!tried.exists());
    std::fs::write(&tried, "x").unwrap();
    let store = open(dir.path()).unwrap();
    assert!(!tried.exists());
    assert_eq!(count(&store), full + 1);
}
