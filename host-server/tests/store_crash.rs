//! What the store answered as stored is there after the process was killed with SIGKILL.

mod store_support;

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use store_support::{at, downlink, open, settled, uplink};
use vinbus_host_server::model::{Cursor, MessageId};
use vinbus_host_server::store::Store;

const CHILD_DIR: &str = "VINBUS_TEST_CRASH_DIR";

/// Not a test of its own: what the killed process does. Returns at once unless it is that process.
#[test]
fn child_appends_until_it_is_killed() {
    let Some(dir) = std::env::var_os(CHILD_DIR) else {
        return;
    };
    let store = open(Path::new(&dir)).unwrap();
    let mut pendings = VecDeque::new();
    let mut stdout = std::io::stdout().lock();
    for n in 0.. {
        let up = store.append_uplink(uplink("a", n, format!("{{\"content\":{n}}}")));
        let down = store.append_downlink(downlink(n, format!("{{\"n\":{n}}}")), at(0));
        pendings.push_back((up, down));
        if pendings.len() < 100 {
            continue;
        }
        let Some((up, down)) = pendings.pop_front() else {
            continue;
        };
        let cursor = settled(up).unwrap();
        let downlink = settled(down).unwrap();
        writeln!(stdout, "stored {} {}", cursor.0, downlink.id).unwrap();
    }
}

/// Lets a child append until it has said so `count` times, kills it, and gives what it said.
fn append_and_kill(dir: &Path, count: usize) -> Vec<(u64, MessageId)> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_appends_until_it_is_killed", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let stored = |line: String| {
        let (cursor, id) = line.strip_prefix("stored ")?.split_once(' ')?;
        Some((cursor.parse().ok()?, MessageId(id.to_owned())))
    };
    let mut said = Vec::new();
    while said.len() < count {
        said.extend(stored(lines.next().unwrap().unwrap()));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What the child said before it died is still in the pipe; its last line may be cut off.
    for line in lines.map_while(Result::ok) {
        said.extend(stored(line).filter(|(_, id)| id.0.len() == 26));
    }
    said
}

#[test]
fn everything_answered_as_stored_survives_sigkill() {
    let dir = tempfile::tempdir().unwrap();
    let mut said = Vec::new();
    for round in 1..=3 {
        said.extend(append_and_kill(dir.path(), 500 * round));
    }
    let store = open(dir.path()).unwrap();
    for (cursor, id) in &said {
        let page = store
            .uplink_after(Cursor(cursor - 1), None, None, 1)
            .unwrap()
            .messages;
        assert_eq!(page[0].cursor.0, *cursor);
        let trace = store.trace(id).unwrap().expect("the message is there");
        let message = &trace.downlink.message;
        let unsent = store.unsent(&message.vin, &message.uid, 0, 100).unwrap();
        assert!(unsent.iter().any(|downlink| downlink.id == *id));
    }
}
