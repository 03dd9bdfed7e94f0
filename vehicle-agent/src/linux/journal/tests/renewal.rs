//! The journal written anew while the agent goes on, and killed at any moment of that.

use std::thread;

use super::*;
use crate::linux::journal::live::{Channel, Uplink};

pub(super) static CONTENT: [u8; 20_000] = [b'1'; 20_000];

fn take(journal: &mut Journal, ticket: u64) {
    let subtopic = None;
    let content = &CONTENT[..];
    let accepted = Note::Accepted {
        ticket,
        slot: SLOT,
        subtopic,
        content,
    };
    assert_eq!(note(journal, accepted), Ok(()));
}

/// Messages of apps until the file is being written anew: of every second one the fate is known.
fn begin(journal: &mut Journal) -> u64 {
    fill(journal);
    let mut ticket = 2;
    while journal.renewal.is_none() {
        take(journal, ticket);
        take(journal, ticket + 1);
        assert_eq!(note(journal, Note::Settled { ticket }), Ok(()));
        ticket += 2;
    }
    ticket
}

/// All that is live, as it can be read of the file.
pub(super) fn state(journal: &Journal) -> Vec<String> {
    let live = &journal.live;
    let uplinks = live.uplinks.iter().map(|(ticket, uplink)| {
        let line = journal.line(uplink.span).unwrap();
        let Line::Accepted { content, .. } = line else {
            panic!("{line:?}");
        };
        let (len, number) = (content.len(), &uplink.number);
        format!("{ticket} {len} {number:?} {:?}", uplink.parts)
    });
    let channels = live.channels.iter().map(|(uid, channel)| {
        let Channel { memory, ended, .. } = channel;
        let open = channel.open.iter().map(|(number, span)| {
            let line = span.map(|span| journal.line(span).unwrap());
            format!("{number} {line:?}")
        });
        let parts = channel.parts.iter();
        let parts = parts.map(|span| format!("{:?}", journal.line(*span).unwrap()));
        let (open, parts): (Vec<_>, Vec<_>) = (open.collect(), parts.collect());
        format!("{uid} {memory:?} {ended:?} {open:?} {parts:?}")
    });
    uplinks.chain(channels).collect()
}

/// What a later life finds if the agent is killed now.
#[track_caller]
fn check_kill(journal: &Journal) {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(&journal.folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    assert_eq!(state(&open(copy.path())), state(journal));
}

pub(super) fn wait_until_done(journal: &Journal) {
    while !journal.renewal.as_ref().unwrap().is_done() {
        thread::yield_now();
    }
}

/// A journal in which nothing was being handed over, which a kill would end.
fn journal(folder: &Path) -> (Journal, u64) {
    let mut journal = open(folder);
    let ticket = begin(&mut journal);
    let ended = Note::Ended {
        uid: &uid(),
        id: id(1),
        step: Step::Confirmed,
    };
    assert_eq!(note(&mut journal, ended), Ok(()));
    (journal, ticket)
}

#[test]
fn agent_notes_on_while_the_file_is_written_anew_and_a_kill_at_any_moment_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, next) = journal(dir.path());
    check_kill(&journal);
    let before = journal.len;
    wait_until_done(&journal);
    check_kill(&journal);
    // Half a file, as a kill leaves one.
    let new = OpenOptions::new().write(true).open(journal.new_path());
    let (new, renewal) = (new.unwrap(), journal.renewal.take());
    let whole = new.metadata().unwrap().len();
    let bytes = fs::read(journal.new_path()).unwrap();
    for len in [0, whole / 2] {
        new.set_len(len).unwrap();
        check_kill(&journal);
    }
    new.write_all_at(&bytes, 0).unwrap();
    // What is noted meanwhile is of messages that were there, and of new ones.
    journal.renew_at = u64::MAX;
    take(&mut journal, next);
    let (uid, ticket, number) = (&uid(), 3, 2);
    let numbered = Note::Numbered {
        ticket,
        uid,
        number,
    };
    for it in [numbered, Note::Settled { ticket: 5 }] {
        assert_eq!(note(&mut journal, it), Ok(()));
    }
    check_kill(&journal);
    journal.renewal = renewal;
    let live = state(&journal);
    journal.renew_meanwhile(false).unwrap();
    assert!(journal.renewal.is_none() && journal.len < before);
    assert_eq!(state(&journal), live);
    check_kill(&journal);
    take(&mut journal, next + 1);
    assert_eq!(note(&mut journal, Note::Settled { ticket }), Ok(()));
    check_kill(&journal);
}

#[test]
fn much_that_was_noted_meanwhile_is_copied_meanwhile_too() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, next) = journal(dir.path());
    let renewal = journal.renewal.take();
    journal.renew_at = u64::MAX;
    let more = 2 * SLACK_BYTES / CONTENT.len() as u64;
    for ticket in next..next + more {
        take(&mut journal, ticket);
    }
    journal.renewal = renewal;
    wait_until_done(&journal);
    let live = state(&journal);
    journal.renew_meanwhile(false).unwrap();
    assert!(
        journal.renewal.is_some(),
        "the rest is too much for a moment"
    );
    check_kill(&journal);
    wait_until_done(&journal);
    journal.renew_meanwhile(false).unwrap();
    assert!(journal.renewal.is_none());
    assert_eq!(state(&journal), live);
    check_kill(&journal);
}

#[test]
fn file_that_cannot_be_written_anew_goes_on_and_is_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let in_its_way = dir.path().join("journal.new");
    let mut journal = open(dir.path());
    fs::create_dir(&in_its_way).unwrap();
    let mut ticket = begin(&mut journal);
    wait_until_done(&journal);
    // It is seen with the next note, which is none the worse for it.
    take(&mut journal, ticket);
    assert!(journal.renewal.is_none());
    fs::remove_dir(&in_its_way).unwrap();
    while journal.renewal.is_none() {
        ticket += 1;
        take(&mut journal, ticket);
    }
    journal.renew_meanwhile(true).unwrap();
    let live = state(&journal).len();
    let journal = open_again(journal, dir.path());
    assert_eq!(state(&journal).len(), live);
}

/// The folder's name for it is in memory, and may be so on the disk: the old file is no journal any more.
#[test]
fn file_whose_name_may_not_be_on_the_disk_is_the_journal_and_keeps_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, next) = journal(dir.path());
    wait_until_done(&journal);
    // It refuses to be synced.
    let directory = File::open("/dev/null").unwrap();
    let directory = std::mem::replace(&mut journal.directory, directory);
    let before = journal.len;
    let (uid, ticket, number) = (&uid(), 3, 2);
    let numbered = Note::Numbered {
        ticket,
        uid,
        number,
    };
    assert_eq!(note(&mut journal, numbered), Err(NotNoted));
    assert!(journal.renewal.is_none() && journal.len < before);
    check_kill(&journal);
    journal.directory = directory;
    assert_eq!(journal.keep(), Ok(()));
    take(&mut journal, next);
    check_kill(&journal);
}

#[test]
fn file_that_could_not_be_finished_takes_no_place_on_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (mut journal, next) = journal(dir.path());
    journal.renew().unwrap();
    // Read last, it is not there.
    let nowhere = Uplink {
        span: Span {
            at: u64::MAX / 2,
            len: 1,
        },
        number: None,
        parts: None,
    };
    journal.live.uplinks.insert(u64::MAX, nowhere);
    journal.renew_at = 0;
    journal.renew_meanwhile(false).unwrap();
    wait_until_done(&journal);
    assert!(journal.new_path().exists());
    take(&mut journal, next);
    assert!(journal.renewal.is_none() && !journal.new_path().exists());
    assert!(journal.renew().is_err() && !journal.new_path().exists());
}
