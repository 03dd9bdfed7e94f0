//! The journal written anew at random moments, beside one with the same notes that never is: an agent that is
//! killed finds the same in both.

use super::renewal::{CONTENT, state, wait_until_done};
use super::*;

/// All that a later life takes up, of a copy of the folder.
fn found(folder: &Path) -> Vec<String> {
    let copy = tempfile::tempdir().unwrap();
    for file in fs::read_dir(folder).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    let journal = open(copy.path());
    let live = &journal.live;
    let mut all = state(&journal);
    let answers = live.answers.iter();
    all.extend(answers.map(|span| format!("{:?}", journal.line(*span).unwrap())));
    for (app, untold) in &live.untold {
        let told = untold.iter().map(|(_, span)| journal.line(*span).unwrap());
        let told: Vec<_> = told.collect();
        all.push(format!("{app} {} {told:?}", untold.forgotten()));
    }
    // Contents are long.
    all.iter().map(|it| it.replace("111", "")).collect()
}

/// What was noted last.
#[derive(Default)]
struct Last {
    ticket: u64,
    /// Of each partner: its host's epoch, and the number of its last message.
    came: [(u32, u32); 2],
}

/// The same note in both, whatever it is of.
fn note_in_both(journals: &mut [Journal; 2], dice: &mut impl FnMut(u32) -> u32, last: &mut Last) {
    let partner = dice(2) as usize;
    let (uid, app) = (
        Uid::parse(["one", "two"][partner]).unwrap(),
        AppId::parse(["demo", "other"][dice(2) as usize]).unwrap(),
    );
    let (uid, kind) = (&uid, dice(14));
    let (epoch, came) = &mut last.came[partner];
    let is_first = *epoch == 0;
    if is_first || kind == 13 && dice(20) == 0 {
        (*epoch, *came) = (*epoch + 1, 0);
        let memory = Snapshot {
            peer: Epoch::new(*epoch),
            next_number: 41,
            ..Snapshot::fresh(Epoch::new(9).unwrap())
        };
        // An end may hear of a new life by a message.
        if is_first || dice(2) == 0 {
            for journal in journals.iter_mut() {
                assert_eq!(note(journal, Note::Channel { uid, memory }), Ok(()));
            }
        }
    }
    last.ticket += u64::from(kind < 3);
    *came += u32::from(kind == 9 || kind == 10);
    let id = MessageId {
        epoch: Epoch::new(*epoch).unwrap(),
        number: match kind {
            9 | 10 => *came,
            _ => came.saturating_sub(dice(20)).max(1),
        },
    };
    if *came == 0 && kind > 10 {
        return;
    }
    let ticket = match kind {
        0..3 => last.ticket,
        _ => last.ticket.saturating_sub(dice(30).into()),
    };
    let content = &CONTENT[..dice(3_000) as usize];
    let number = 1 + dice(40);
    let kept = Kept {
        slot: SLOT,
        number: number.into(),
        ends_in_ms: None,
        content,
    };
    let part = Part {
        offset: dice(3),
        ..Part::first("[1,2,3,4]")
    };
    let sent = Sent {
        number: None,
        stored: number,
        begun: 1,
    };
    let it = match kind {
        0..3 => Note::Accepted {
            ticket,
            slot: SLOT,
            subtopic: None,
            content,
        },
        3 => Note::Numbered {
            ticket,
            uid,
            number,
        },
        4 => Note::Progress { ticket, sent },
        5 => Note::Settled { ticket },
        6..8 => {
            let frame = format!("{{{ticket}}}");
            for journal in journals {
                assert_eq!(journal.note_untold(ticket, &app, &frame), Ok(()));
            }
            return;
        }
        8 if dice(80) == 0 => {
            journals.iter_mut().for_each(|it| it.note_told(&app));
            return;
        }
        9 => Note::Came {
            uid,
            id,
            kept: Some(kept).filter(|_| dice(2) == 0),
            whole: dice(4) == 0,
        },
        10 => Note::Part {
            uid,
            id,
            part,
            piece: content,
            ends_in_ms: None,
        },
        11 => Note::Answered {
            uid,
            id,
            request: RequestId::new(number.into()),
            slot: SLOT,
            answer: content,
        },
        _ => Note::Ended {
            uid,
            id,
            step: Step::Confirmed,
        },
    };
    for journal in journals {
        let app = |_| AppId::parse("demo").ok();
        assert_eq!(journal.note(it, app, None), Ok(()));
    }
}

#[test]
fn journal_that_is_written_anew_at_any_moment_says_what_one_says_that_never_is() {
    for seed in 1..=2_u32 {
        let mut word = 0x9e37_79b9_u32.wrapping_mul(seed);
        let mut dice = |sides: u32| {
            word ^= word << 13;
            word ^= word >> 17;
            word ^= word << 5;
            ((u64::from(word) * u64::from(sides)) >> 32) as u32
        };
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let mut journals = folders.each_ref().map(|folder| open(folder.path()));
        let mut last = Last::default();
        for n in 0..1_200 {
            for journal in &mut journals {
                journal.renew_at = u64::MAX;
            }
            note_in_both(&mut journals, &mut dice, &mut last);
            match dice(12) {
                0 => journals[0].renew_at = 0,
                1 if journals[0].renewal.is_some() => wait_until_done(&journals[0]),
                2 if dice(10) == 0 => journals[0].renew().unwrap(),
                _ => continue,
            }
            journals[0].renew_meanwhile(false).unwrap();
            if dice(8) == 0 {
                let [renewed, whole] = folders.each_ref().map(|it| found(it.path()));
                assert_eq!(renewed, whole, "seed {seed}, note {n}");
            }
        }
        assert!(journals[0].len < journals[1].len);
    }
}
