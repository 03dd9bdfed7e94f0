//! The journal on a disk that is full, or cannot keep what it took.

use super::*;

#[test]
fn disk_that_is_full_refuses_and_takes_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let good = std::mem::replace(&mut journal.file, full);
    assert_eq!(note(&mut journal, accepted(2)), Err(NotNoted));
    journal.file = good;
    assert_eq!(note(&mut journal, accepted(3)), Ok(()));
    drop(journal);
    let journal = open(dir.path());
    assert_eq!(journal.live.uplinks.keys().collect::<Vec<_>>(), [&1, &3]);
}

#[test]
fn disk_that_is_full_at_the_start_is_told_with_what_to_do_and_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()));
    let before = fs::read(dir.path().join("journal")).unwrap();
    // No file of that name can be written.
    let taken = dir.path().join("journal.new");
    fs::create_dir(&taken).unwrap();
    let vin = Vin::parse("0123456789ABCDEFG").unwrap();
    let error = Journal::open(dir.path(), vin, 7, true).unwrap_err();
    let told = format!("{error:#}");
    assert!(told.contains("make room on the disk"), "{told}");
    assert_eq!(fs::read(dir.path().join("journal")).unwrap(), before);
    fs::remove_dir(&taken).unwrap();
    check(&open(dir.path()));
}

#[test]
fn message_whose_fate_was_known_while_the_disk_was_full_is_not_sent_by_a_later_life() {
    for takes_again in [accepted(3), Note::Settled { ticket: 9 }] {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = open(dir.path());
        fill(&mut journal);
        note(&mut journal, accepted(2)).unwrap();
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let good = std::mem::replace(&mut journal.file, full);
        for ticket in 1..=2 {
            let settled = Note::Settled { ticket };
            assert_eq!(note(&mut journal, settled), Err(NotNoted));
        }
        journal.file = good;
        assert_eq!(note(&mut journal, takes_again), Ok(()));
        let after: Vec<_> = journal.live.uplinks.keys().copied().collect();
        drop(journal);
        let journal = open(dir.path());
        assert!(journal.live.uplinks.keys().eq(&after));
        assert!(!after.contains(&1) && !after.contains(&2));
        assert!(!dir.path().join("journal.damaged").exists());
    }
}

#[test]
fn disk_that_could_not_keep_is_not_believed_before_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    let app = |_| AppId::parse("demo").ok();
    journal.note(accepted(2), app, None).unwrap();
    // A pipe takes no waiting for the disk.
    let (_out, into) = std::io::pipe().unwrap();
    let pipe = File::from(std::os::fd::OwnedFd::from(into));
    let good = std::mem::replace(&mut journal.file, pipe);
    assert_eq!(journal.keep(), Err(NotNoted));
    // Nor can it be read, to be written anew.
    assert_eq!(journal.keep(), Err(NotNoted));
    journal.file = good;
    assert_eq!(journal.keep(), Ok(()));
    let journal = open_again(journal, dir.path());
    assert_eq!(journal.live.uplinks.keys().collect::<Vec<_>>(), [&1, &2]);
}

#[test]
fn end_of_what_was_only_handed_over_waits_for_no_disk() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    let (uid, app) = (&uid(), |_| AppId::parse("demo").ok());
    for (number, dirty) in [(1, false), (2, true)] {
        let (id, step) = (id(number), Step::Confirmed);
        let ended = Note::Ended { uid, id, step };
        journal.note(ended, app, None).unwrap();
        assert_eq!(journal.dirty, dirty, "the second has waited for its app");
    }
    // Without a loss of power it is as good as any note.
    let journal = open_again(journal, dir.path());
    let ended = &journal.live.channels["demo-partner"].ended;
    assert_eq!(*ended, [(1, Step::Confirmed), (2, Step::Confirmed)]);
}

#[test]
fn messages_that_a_full_disk_refuses_leave_nothing_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    journal.file = OpenOptions::new().write(true).open("/dev/full").unwrap();
    for ticket in 2..1_000 {
        assert_eq!(note(&mut journal, accepted(ticket)), Err(NotNoted));
        // It is told so, whether it was written or not.
        let settled = Note::Settled { ticket };
        assert_eq!(note(&mut journal, settled), Err(NotNoted));
    }
    assert!(journal.owed.is_empty());
}
