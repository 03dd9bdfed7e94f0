//! The journal over kills, damage and a full disk.

use vinbus_protocol::checksum::crc32;
use vinbus_protocol::delivery::{Epoch, MessageId, Part, Snapshot};
use vinbus_protocol::id::Uid;
use vinbus_protocol::request::RequestId;

use super::*;
use crate::linux::portal::Untold;
use crate::notes::{Kept, Sent};

const SLOT: AppSlot = AppSlot::new(0);

fn open(folder: &Path) -> Journal {
    find(folder, false).0
}

fn find(folder: &Path, had_one: bool) -> (Journal, Option<Found>) {
    let vin = Vin::parse("0123456789ABCDEFG").unwrap();
    Journal::open(folder, vin, 7, had_one).unwrap()
}

fn note(journal: &mut Journal, note: Note<'_>) -> Result<(), NotNoted> {
    let app = |_| AppId::parse("demo").ok();
    journal
        .note(note, app, Some("\"id\""))
        .and_then(|()| journal.keep())
}

fn uid() -> Uid {
    Uid::parse("demo-partner").unwrap()
}

fn accepted(ticket: u64) -> Note<'static> {
    Note::Accepted {
        ticket,
        slot: SLOT,
        subtopic: None,
        content: b"{\"a\" : 1}",
    }
}

fn memory() -> Snapshot {
    Snapshot {
        peer: Epoch::new(3),
        ..Snapshot::fresh(Epoch::new(9).unwrap())
    }
}

fn id(number: u32) -> MessageId {
    let epoch = Epoch::new(3).unwrap();
    MessageId { epoch, number }
}

/// Two messages of apps, the second with a number; two to apps, the second of which waits.
fn fill(journal: &mut Journal) {
    let (uid, memory) = (&uid(), memory());
    let kept = Kept {
        slot: SLOT,
        number: 4,
        ends_in_ms: Some(60_000),
        content: b"2",
    };
    let (ticket, number) = (1, 1);
    let notes = [
        Note::Channel { uid, memory },
        accepted(0),
        accepted(ticket),
        Note::Settled { ticket: 0 },
        Note::Numbered {
            ticket,
            uid,
            number,
        },
        Note::Came {
            uid,
            id: id(1),
            kept: None,
            whole: false,
        },
        Note::Came {
            uid,
            id: id(2),
            kept: Some(kept),
            whole: false,
        },
    ];
    for it in notes {
        assert_eq!(note(journal, it), Ok(()));
    }
}

fn check(journal: &Journal) {
    let live = &journal.live;
    let uplinks: Vec<_> = live.uplinks.iter().collect();
    let [(1, uplink)] = uplinks[..] else {
        panic!("{uplinks:?}");
    };
    assert_eq!(uplink.number, Some(("demo-partner".to_owned(), 1)));
    let Line::Accepted { content, id, .. } = journal.line(uplink.span).unwrap() else {
        panic!("it is a message of an app");
    };
    assert_eq!((&*content, id.as_deref()), ("{\"a\" : 1}", Some("\"id\"")));
    let channel = &live.channels["demo-partner"];
    assert_eq!(channel.memory.next_number, 2);
    assert_eq!(
        (
            channel.memory.window.highest(),
            channel.memory.window.seen()
        ),
        (2, 3)
    );
    assert_eq!(
        channel.ended,
        [(1, Step::Known)],
        "it was being handed over"
    );
    assert!(matches!(channel.open[&2], Some(span)
        if matches!(journal.line(span).unwrap(), Line::Came { kept: Some(kept), .. } if kept.number == 4)));
}

#[test]
fn notes_outlive_a_kill_and_the_next_one() {
    let dir = tempfile::tempdir().unwrap();
    fill(&mut open(dir.path()));
    for start in 2..5 {
        let journal = open(dir.path());
        check(&journal);
        assert_eq!((journal.life, journal.start), (7, start));
    }
}

#[test]
fn last_line_that_was_not_finished_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    fill(&mut open(dir.path()));
    let whole = fs::read(&path).unwrap();
    note(&mut open(dir.path()), accepted(2)).unwrap();
    let longer = fs::read(&path).unwrap();
    for cut in [1, 5, 60] {
        fs::write(&path, &longer[..longer.len() - cut]).unwrap();
        check(&open(dir.path()));
    }
    fs::write(&path, whole).unwrap();
    check(&open(dir.path()));
    assert!(!dir.path().join("journal.damaged").exists());
}

#[test]
fn damage_costs_the_channels_and_no_message_of_an_app() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("journal");
    fill(&mut open(dir.path()));
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(8).position(|it| it == b"numbered").unwrap();
    bytes[at] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let (journal, found) = find(dir.path(), true);
    assert!(journal.live.channels.is_empty());
    assert_eq!(journal.live.uplinks[&1].number, None);
    let kept = dir.path().join("journal.damaged");
    assert_eq!(fs::read(&kept).unwrap(), bytes);
    let damaged = Found::Damaged {
        lines: 1,
        first: 6,
        to_apps: 1,
        from_apps: 1,
        kept,
    };
    let told = damaged.to_string();
    assert!(told.contains("line 6 cannot be read"), "{told}");
    assert!(
        told.contains("Lost are 1 messages that waited for apps"),
        "{told}"
    );
    assert_eq!(found, Some(damaged));
    // It is told once.
    for _ in 0..2 {
        let (journal, found) = find(dir.path(), true);
        assert_eq!((journal.live.uplinks.len(), found), (1, None));
    }
}

#[test]
fn journal_that_is_gone_or_empty_is_told_where_there_was_one_and_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(find(dir.path(), false).1, None);
    let file = dir.path().join("journal");
    let missing = Some(Found::Missing { file: file.clone() });
    fs::write(&file, "").unwrap();
    assert_eq!(find(dir.path(), true).1, missing);
    assert_eq!(find(dir.path(), true).1, None);
    fs::remove_file(&file).unwrap();
    assert_eq!(find(dir.path(), true).1, missing);
    // The first line is gone: whose it is cannot be known.
    let whole = fs::read_to_string(&file).unwrap();
    let (_, rest) = whole.split_once('\n').unwrap();
    assert_eq!(rest, "");
    let line = Line::Told { app: "demo".into() }.to_text().unwrap();
    fs::write(&file, line).unwrap();
    let told = find(dir.path(), true).1.unwrap().to_string();
    assert!(told.contains("it does not say whose it is"), "{told}");
}

#[test]
fn fates_that_an_app_was_not_told_outlive_kills_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let app = AppId::parse("demo").unwrap();
    let told = r#"{"type":"WebPortal.MQTT.evt.messageDelivered","id":1}"#;
    let untold = |journal: &Journal| -> Vec<String> {
        let untold = journal.live.untold.get("demo");
        let lines = untold.into_iter().flat_map(Untold::iter);
        let frame = |(_, &span): (u64, &Span)| match journal.line(span).unwrap() {
            Line::Settled {
                untold: Some(untold),
                ..
            } => untold.frame.into_owned(),
            other => panic!("{other:?}"),
        };
        lines.map(frame).collect()
    };
    let mut journal = open(dir.path());
    for ticket in 0..3 {
        assert_eq!(note(&mut journal, accepted(ticket)), Ok(()));
    }
    for ticket in 0..2 {
        assert_eq!(journal.note_untold(ticket, &app, told), Ok(()));
    }
    for _ in 0..2 {
        journal = open_again(journal, dir.path());
        assert_eq!(untold(&journal), [told; 2]);
        assert_eq!(journal.live.uplinks.keys().collect::<Vec<_>>(), [&2]);
    }
    for ticket in 3..100 {
        assert_eq!(journal.note_untold(ticket, &app, told), Ok(()));
    }
    journal = open_again(journal, dir.path());
    assert_eq!(untold(&journal).len(), 64);
    assert_eq!(journal.live.untold["demo"].forgotten(), 99 - 64);
    // A later message may have the ticket of one that is over.
    assert_eq!(note(&mut journal, accepted(3)), Ok(()));
    journal = open_again(journal, dir.path());
    assert!(journal.live.uplinks.contains_key(&3));
    journal.note_told(&app);
    journal = open_again(journal, dir.path());
    assert!(journal.live.untold.is_empty());
    journal.note_forgotten(&app, 35);
    journal = open_again(journal, dir.path());
    assert_eq!(journal.live.untold["demo"].forgotten(), 35);
}

#[test]
fn file_stays_short_whatever_comes_and_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    for ticket in 2..10_000 {
        let app = |_| AppId::parse("demo").ok();
        journal.note(accepted(ticket), app, None).unwrap();
        journal.note(Note::Settled { ticket }, app, None).unwrap();
        if journal.renewal.is_some() {
            journal.renew_meanwhile(true).unwrap();
        }
        assert!(journal.len < 2 * SLACK_BYTES);
    }
    check(&open(dir.path()));
}

#[test]
fn journal_of_another_vehicle_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path());
    let other = Vin::parse("AAAAAAAAAAAAAAAAA").unwrap();
    let error = Journal::open(dir.path(), other, 7, true).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("belongs to vehicle 0123456789ABCDEFG"),
        "{error}"
    );
}

fn answered(number: u32) -> Note<'static> {
    static UID: std::sync::LazyLock<Uid> = std::sync::LazyLock::new(uid);
    Note::Answered {
        uid: &UID,
        id: id(number),
        request: RequestId::new(number.into()),
        slot: SLOT,
        answer: b"{\"content\":{\"vinbus\":{}}}",
    }
}

#[test]
fn message_that_an_app_took_is_taken_however_the_agent_ends() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    let (uid, id, step) = (&uid(), id(1), Step::Taken);
    assert_eq!(note(&mut journal, Note::Ended { uid, id, step }), Ok(()));
    for _ in 0..2 {
        journal = open_again(journal, dir.path());
        let ended = &journal.live.channels["demo-partner"].ended;
        assert_eq!(*ended, [(1, Step::Taken)]);
    }
}

#[test]
fn line_by_which_an_older_program_said_that_it_was_stopped_is_no_damage() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    journal.write(&Line::Stopped {}).unwrap();
    drop(journal);
    let (journal, found) = find(dir.path(), true);
    assert_eq!(found, None);
    check(&journal);
}

/// The requests whose answers are kept.
fn answers(journal: &Journal) -> Vec<u64> {
    let spans = journal.live.answers.iter();
    let request = |span: &Span| match journal.line(*span).unwrap() {
        Line::Answered { request, .. } => RequestId::parse(&request).unwrap().value(),
        other => panic!("{other:?}"),
    };
    spans.map(request).collect()
}

#[test]
fn answer_outlives_kills_and_ends_its_message_until_newer_ones_take_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    assert_eq!(note(&mut journal, answered(1)), Ok(()));
    drop(journal);
    let uid = &uid();
    for _ in 0..3 {
        let mut journal = open(dir.path());
        assert_eq!(answers(&journal), [1]);
        let ended = &journal.live.channels["demo-partner"].ended;
        assert_eq!(*ended, [(1, Step::Answered)], "it was not only handed over");
        // The message ends once.
        let step = Step::Answered;
        assert_eq!(
            note(
                &mut journal,
                Note::Ended {
                    uid,
                    id: id(1),
                    step
                }
            ),
            Ok(())
        );
    }
    let mut journal = open(dir.path());
    for number in 3..=40 {
        assert_eq!(note(&mut journal, answered(number)), Ok(()));
    }
    let journal = open_again(journal, dir.path());
    assert_eq!(answers(&journal), (9..=40).collect::<Vec<_>>());
    // Those that came under no number of this life have ended none.
    assert_eq!(journal.live.channels["demo-partner"].ended.len(), 1);
}

fn part(number: u32, offset: u32, piece: &'static str) -> (u32, Part, &'static str) {
    let part = Part {
        offset,
        ..Part::first("[1,2,3,4]")
    };
    (number, part, piece)
}

fn note_part(journal: &mut Journal, (number, part, piece): (u32, Part, &str)) {
    let uid = &uid();
    let noted = note(
        journal,
        Note::Part {
            uid,
            id: id(number),
            part,
            piece: piece.as_bytes(),
            ends_in_ms: Some(60_000),
        },
    );
    assert_eq!(noted, Ok(()));
}

/// Where the parts begin that are kept.
fn parts(journal: &Journal) -> Vec<u32> {
    let spans = journal.live.channels["demo-partner"].parts.iter();
    let offset = |span: &Span| match journal.line(*span).unwrap() {
        Line::Part { offset, .. } => offset,
        other => panic!("{other:?}"),
    };
    spans.map(offset).collect()
}

#[test]
fn progress_of_a_long_message_from_an_app_outlives_kills_and_takes_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    let (ticket, uid) = (1, &uid());
    let sent = Sent {
        number: None,
        stored: 130_560,
        begun: 2,
    };
    let progress = Note::Progress { ticket, sent };
    assert_eq!(note(&mut journal, progress), Ok(()));
    let next = Note::Numbered {
        ticket,
        uid,
        number: 2,
    };
    for (numbered, expected) in [(None, None), (Some(next), Some(2))] {
        if let Some(numbered) = numbered {
            assert_eq!(note(&mut journal, numbered), Ok(()));
        }
        drop(journal);
        // A second start reads what the first has written anew.
        for _ in 0..2 {
            let journal = open(dir.path());
            let uplink = &journal.live.uplinks[&ticket];
            assert_eq!(uplink.parts, Some((130_560, 2)));
            let number = uplink.number.as_ref().map(|(_, number)| *number);
            assert_eq!(number, expected);
        }
        journal = open(dir.path());
    }
}

#[test]
fn parts_of_a_long_message_outlive_kills_until_it_is_whole_or_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut journal = open(dir.path());
    fill(&mut journal);
    for it in [part(3, 0, "[1,"), part(4, 3, "2,3")] {
        note_part(&mut journal, it);
    }
    drop(journal);
    for _ in 0..2 {
        let journal = open(dir.path());
        assert_eq!(parts(&journal), [0, 3]);
        let ended = &journal.live.channels["demo-partner"].ended;
        let ended: Vec<_> = ended.iter().copied().collect();
        let expected = [
            (3, Step::PartStored),
            (4, Step::PartStored),
            // It was being handed over.
            (1, Step::Known),
        ];
        assert_eq!(ended, expected);
    }
    let mut journal = open(dir.path());
    note_part(&mut journal, part(5, 0, "[4,"));
    assert_eq!(parts(&open_again(journal, dir.path())), [0]);
    let mut journal = open(dir.path());
    let uid = &uid();
    let whole = Note::Came {
        uid,
        id: id(6),
        kept: None,
        whole: true,
    };
    assert_eq!(note(&mut journal, whole), Ok(()));
    assert!(parts(&open_again(journal, dir.path())).is_empty());
}

#[test]
fn part_that_an_older_program_noted_without_a_checksum_is_no_damage() {
    let line = Line::Part {
        uid: uid().as_str().to_owned().into(),
        epoch: 3,
        number: 4,
        offset: 0,
        total: 10,
        checksum: 77,
        ends_s: None,
        piece: "[1,".into(),
    };
    let text = line.to_text().unwrap();
    let json = text[9..].trim_end().replace("\"checksum\":77,", "");
    assert!(json.len() < text[9..].trim_end().len());
    let text = format!("{:08x} {json}", crc32(json.as_bytes()));
    let read = Line::read(text.as_bytes());
    assert!(matches!(read, Some(Line::Part { checksum: 0, .. })));
}

fn open_again(journal: Journal, folder: &Path) -> Journal {
    drop(journal);
    open(folder)
}

mod full_disk;
mod renewal;
mod renewed_at_random;
