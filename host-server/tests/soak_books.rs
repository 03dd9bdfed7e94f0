//! The arithmetic of the books that `cargo xtask soak` balances.

#[path = "soak/books.rs"]
#[allow(dead_code, reason = "the soak uses all of it")]
mod books;

use std::collections::BTreeMap;

use books::{BOARD_LOSES, Book, CAR_LOSES, Fate, SILENT_APP_LOSES, Sums, Table, content};

const VIN: &str = "0123456789ABCDEFG";

/// An agent that keeps what it has on disk, and a board, which forgets it with its power.
const KEEPS: bool = false;
const FORGETS: bool = true;

/// Messages to an app whose agent keeps what it has.
fn down(messages: &[(&str, u32)], has_app: bool) -> Sums {
    down_to(messages, (has_app, CAR_LOSES))
}

/// Messages to an app: what the server says of each, and how often the app got it.
fn down_to(messages: &[(&str, u32)], of: (bool, &[&str])) -> Sums {
    let (mut book, mut status) = (Book::default(), BTreeMap::new());
    for (n, (said, times)) in (0..).zip(messages) {
        book.down.sent += 1;
        book.down.accepted.insert(n, format!("id-{n}"));
        for _ in 0..*times {
            book.down.arrived(&content(n));
        }
        status.insert(n, (*said).to_owned());
    }
    let mut sums = Sums::default();
    sums.down(VIN, &book.down, &status, of);
    assert!(sums.is_whole());
    sums
}

/// What is told of the only thing that is wrong.
fn wrong(sums: &Sums) -> &str {
    assert_eq!(sums.wrong.len(), 1, "{:?}", sums.wrong);
    &sums.wrong[0].what
}

#[test]
fn messages_to_apps_are_confirmed_held_or_told_as_lost() {
    let messages = [
        ("confirmed", 1),
        ("held_background", 0),
        ("evicted", 0),
        ("peer_restarted", 1),
        ("peer_restarted", 0),
    ];
    let sums = down_to(&messages, (false, BOARD_LOSES));
    assert_eq!((sums.sent, sums.accepted), (5, 5));
    assert_eq!((sums.confirmed, sums.held, sums.missing), (1, 1, 0));
    let lost: Vec<_> = sums
        .lost
        .iter()
        .map(|(why, count)| (why.as_str(), *count))
        .collect();
    let expected = [
        ("evicted", 1),
        ("peer_restarted", 1),
        ("peer_restarted, though the app has it", 1),
    ];
    assert_eq!(lost, expected);
    assert!(sums.wrong.is_empty(), "{:?}", sums.wrong);
}

#[test]
fn agent_that_keeps_what_it_has_loses_only_what_newer_messages_push_out() {
    for status in ["peer_restarted", "known", "given_up", "expired"] {
        let sums = down(&[(status, 0), ("evicted", 0)], true);
        assert_eq!((sums.missing, sums.lost["evicted"]), (1, 1));
        assert!(wrong(&sums).contains(&format!("is {status}")));
    }
    let sums = up(books::Up::forgotten, &[]);
    assert_eq!(sums.missing, 4);
    let why = "the app was told: that the agent, which has a disk, forgot it";
    assert!(sums.wrong[0].what.contains(why), "{:?}", sums.wrong);
}

#[test]
fn message_that_no_app_got_is_not_confirmed() {
    let sums = down(&[("confirmed", 0)], true);
    assert_eq!((sums.confirmed, sums.missing), (0, 1));
    assert!(wrong(&sums).contains("id-0 (n=0) is confirmed, and the app has it not"));
    assert_eq!(sums.wrong[0].id.as_deref(), Some("id-0"));
}

#[test]
fn app_that_confirms_nothing_has_each_message_that_is_taken_and_none_that_is_evicted() {
    let silent = |message| down_to(&[message], (true, SILENT_APP_LOSES));
    for message in [("taken", 1), ("known", 0), ("known", 1), ("evicted", 0)] {
        let sums = silent(message);
        assert!(sums.wrong.is_empty(), "{:?}", sums.wrong);
    }
    for message in [("taken", 0), ("evicted", 1), ("known", 2)] {
        assert!(wrong(&silent(message)).contains("n=0"));
    }
}

#[test]
fn message_that_is_on_its_way_for_ever_is_missing() {
    for status in [
        "accepted",
        "held",
        "sent",
        "at_agent",
        "handed",
        "part_stored",
    ] {
        let sums = down(&[(status, 0)], true);
        assert_eq!(sums.missing, 1);
        assert!(wrong(&sums).contains(&format!("is {status}")));
    }
}

#[test]
fn what_is_held_waits_for_an_app_that_is_away_and_has_to_come_to_it_once() {
    assert_eq!(down(&[("held_background", 0)], true).missing, 1);
    let mut sums = down(&[("held_background", 0)], false);
    assert_eq!((sums.held, sums.waiting.len()), (1, 1));
    sums.read(VIN, 0, "id-0".into(), "confirmed", 1);
    assert!(sums.wrong.is_empty());
    sums.read(VIN, 0, "id-0".into(), "held_background", 0);
    assert!(wrong(&sums).contains("got it 0 times, and it is held_background"));
}

#[test]
fn message_that_came_twice_or_changed_is_named() {
    let sums = down(&[("confirmed", 2)], true);
    assert_eq!((sums.confirmed, sums.duplicates), (1, 1));
    assert!(wrong(&sums).contains("n=0 came 2 times"));
    let mut book = Book::default();
    book.down
        .arrived(&serde_json::json!({ "n": 1, "text": "another" }));
    let mut sums = Sums::default();
    sums.down(VIN, &book.down, &BTreeMap::new(), (true, CAR_LOSES));
    assert_eq!(sums.changed, 1);
    assert!(wrong(&sums).contains("another"));
}

/// Messages 1 to 4 from an app, all of which its agent, which keeps them, took.
fn up(tell: impl Fn(&mut books::Up), stored: &[u64]) -> Sums {
    up_from(tell, stored, KEEPS)
}

/// The same from any agent.
fn up_from(tell: impl Fn(&mut books::Up), stored: &[u64], forgets: bool) -> Sums {
    let mut book = Book::default();
    for _ in 0..4 {
        let n = book.up.next(true);
        book.up.accepted(n);
    }
    tell(&mut book.up);
    let log: Vec<_> = stored.iter().map(|n| content(*n)).collect();
    let mut sums = Sums::default();
    sums.up(VIN, &book.up, &log, forgets);
    assert!(sums.is_whole());
    let settled = sums.wrong.is_empty();
    assert!(!settled || book.up.is_settled(&log));
    sums
}

#[test]
fn messages_from_apps_are_on_the_servers_disk_and_none_is_given_up() {
    let sums = up(|_| {}, &[1, 2, 3, 4]);
    assert_eq!((sums.accepted, sums.confirmed), (4, 4));
    assert!(sums.wrong.is_empty(), "{:?}", sums.wrong);
    let sums = up(|book| book.not_delivered(4, "given-up"), &[1, 2, 3]);
    assert_eq!((sums.confirmed, sums.missing), (3, 1));
    assert!(wrong(&sums).contains("the app was told: given-up"));
}

#[test]
fn message_from_an_app_that_is_nowhere_is_missing() {
    let sums = up(|_| {}, &[1, 2, 3]);
    assert_eq!(sums.missing, 1);
    assert!(wrong(&sums).contains("n=4: the server has it not; the app was told: nothing"));
}

#[test]
fn app_that_was_told_something_untrue_is_named() {
    let sums = up(|book| book.not_delivered(4, "expired"), &[1, 2, 3, 4]);
    assert!(wrong(&sums).contains("n=4: the server has it; the app was told: expired"));
    let sums = up(|book| book.delivered(4), &[1, 2, 3]);
    assert!(
        wrong(&sums).contains("has it not; the app was told: nothing, and that it is delivered")
    );
    let sums = up(|_| {}, &[1, 2, 3, 4, 4]);
    assert_eq!(sums.duplicates, 1);
    assert!(wrong(&sums).contains("n=4 came 2 times"));
}

#[test]
fn what_a_board_had_is_told_as_lost_with_its_memory_but_what_was_delivered() {
    let sums = up_from(
        |book| {
            book.delivered(1);
            book.forgotten();
        },
        &[1, 2],
        FORGETS,
    );
    assert_eq!((sums.confirmed, sums.missing), (1, 0));
    assert_eq!(sums.lost["with the agent's memory"], 2);
    assert_eq!(
        sums.lost["with the agent's memory, though the server has it"],
        1
    );
    assert!(sums.wrong.is_empty(), "{:?}", sums.wrong);
}

#[test]
fn what_went_without_receipts_is_told_so_wherever_it_came() {
    let tell = |book: &mut books::Up| {
        book.not_delivered(3, books::WITH_BROKER);
        book.not_delivered(4, books::WITH_BROKER);
    };
    for stored in [&[1, 2, 3][..], &[1, 2, 3, 3]] {
        let sums = up(tell, stored);
        assert!(sums.wrong.is_empty(), "{:?}", sums.wrong);
        assert_eq!((sums.confirmed, sums.missing), (2, 0));
        assert_eq!(sums.lost[books::WITH_BROKER], 1);
        assert_eq!(sums.lost.len(), 2);
    }
}

#[test]
fn app_on_a_board_sends_no_long_message() {
    let mut up = books::Up::default();
    let numbers: Vec<_> = (0..100).map(|_| up.next(false)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b));
    assert!(!numbers.iter().any(|n| books::is_long(*n)));
    assert!((0..100).any(|_| books::is_long(up.next(true))));
}

#[test]
fn agent_whose_app_takes_what_comes_at_once_loses_nothing() {
    for status in ["evicted", "known", "peer_restarted", "expired", "waiting"] {
        let sums = down_to(&[("taken", 1), (status, 0)], (true, &[]));
        assert_eq!((sums.confirmed, sums.missing), (1, 1));
        assert!(wrong(&sums).contains(&format!("id-1 (n=1) is {status}")));
    }
}

#[test]
fn every_step_is_an_end_or_not() {
    for (status, is_last) in [
        ("confirmed", true),
        ("taken", true),
        ("expired", true),
        ("sent", false),
    ] {
        assert_eq!(Fate::of(status).is_last(true), is_last, "{status}");
    }
}

#[test]
fn table_shows_each_direction_and_why_messages_were_lost() {
    let shown = Table(&[("to apps", down(&[("confirmed", 1), ("evicted", 0)], true))]).to_string();
    let line = shown.lines().nth(1).unwrap();
    let numbers: Vec<_> = line.split_whitespace().collect();
    assert_eq!(
        numbers[..9],
        ["to", "apps", "2", "2", "=", "1", "+", "0", "+"]
    );
    assert!(
        shown.contains("1 to apps are told as lost: evicted"),
        "{shown}"
    );
}
