//! A damaged database gives a clear error, whenever it is met, and never a panic.

mod store_support;

use std::os::unix::fs::FileExt as _;
use std::path::Path;

use store_support::{at, downlink, open, settled, uid, uplink, vin};
use vinbus_host_server::model::{Cursor, MessageId};
use vinbus_host_server::store::{Store, StoreError};

/// A database with some hundred pages, closed.
fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for n in 0..300 {
        settled(store.append_uplink(uplink("a", n, vec![b'x'; 2000]))).unwrap();
        settled(store.append_downlink(downlink(n, vec![b'y'; 500]), at(0))).unwrap();
    }
    drop(store);
    dir
}

fn damage(dir: &Path, offset: u64, bytes: &[u8]) {
    let path = dir.join("vinbus.db");
    let file = std::fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(bytes, offset).unwrap();
}

fn check_corrupt_at_open(dir: &Path) {
    let Err(error) = open(dir) else {
        panic!("it opened");
    };
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    let text = error.to_string();
    for part in ["vinbus.db", "restore a backup"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn overwritten_header_is_corrupt_at_open() {
    let dir = filled();
    damage(dir.path(), 0, &[0xA5; 100]);
    check_corrupt_at_open(dir.path());
}

#[test]
fn other_file_in_its_place_is_corrupt_at_open() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("vinbus.db"), "not a database ".repeat(1000)).unwrap();
    check_corrupt_at_open(dir.path());
}

#[test]
fn emptied_file_is_not_taken_for_a_new_store() {
    let dir = filled();
    std::fs::write(dir.path().join("vinbus.db"), "").unwrap();
    check_corrupt_at_open(dir.path());
}

#[test]
fn first_start_that_was_killed_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    for (name, content) in [("db.new", ""), ("db.new-wal", "half a page")] {
        std::fs::write(dir.path().join("vinbus").with_extension(name), content).unwrap();
    }
    let store = open(dir.path()).unwrap();
    settled(store.append_uplink(uplink("a", 1, &b"{}"[..]))).unwrap();
    assert!(!dir.path().join("vinbus.db.new").exists());
}

#[test]
fn database_of_another_program_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vinbus.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("another program"), "{error}");
}

#[test]
fn database_of_a_newer_version_is_left_alone() {
    let dir = filled();
    let newer = rusqlite::Connection::open(dir.path().join("vinbus.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let error = open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("version 99"), "{error}");
}

/// Reads and writes everything; gives the errors.
fn errors_of_use(dir: &Path) -> Vec<StoreError> {
    let store = match open(dir) {
        Ok(store) => store,
        Err(error) => return vec![error],
    };
    let mut errors = Vec::new();
    let mut after = Cursor(0);
    loop {
        match store.uplink_after(after, None, None, 50) {
            Ok(page) => match page.messages.last() {
                // A damaged tree may give positions out of order.
                Some(last) if last.cursor > after => after = last.cursor,
                _ => break,
            },
            Err(error) => {
                errors.push(error);
                break;
            }
        }
    }
    errors.extend(store.backlog().err());
    errors.extend(store.webhooks().err());
    errors.extend(store.unsent(&vin(7), &uid("partner"), 0, 10).err());
    errors.extend(store.trace(&MessageId("x".to_owned())).err());
    errors.extend(settled(store.append_uplink(uplink("a", 1, &b"{}"[..]))).err());
    errors.extend(settled(store.append_downlink(downlink(1, &b"{}"[..]), at(0))).err());
    errors
}

#[test]
fn file_cut_in_half_is_reported_as_corrupt() {
    let dir = filled();
    let path = dir.path().join("vinbus.db");
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
    let errors = errors_of_use(dir.path());
    assert!(
        errors
            .iter()
            .any(|error| matches!(error, StoreError::Corrupt { .. })),
        "{errors:?}"
    );
}

#[test]
fn overwritten_pages_give_errors_and_never_a_panic() {
    let dir = filled();
    let whole = std::fs::read(dir.path().join("vinbus.db")).unwrap();
    let pages = whole.len() / 4096;
    let mut found = 0;
    for page in (1..pages).step_by(pages.div_ceil(60)) {
        std::fs::write(dir.path().join("vinbus.db"), &whole).unwrap();
        let noise: Vec<u8> = (0..4096).map(|n| (n * 31 + page * 17) as u8).collect();
        damage(dir.path(), page as u64 * 4096, &noise);
        let errors = errors_of_use(dir.path());
        found += usize::from(!errors.is_empty());
        for error in errors {
            assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        }
    }
    assert!(found > 20, "damage was seen {found} times of 60");
}
