//! What was accepted, and what became of it: the books, and whether they balance.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Value, json};

/// Every so many messages to and from an app on Linux, one goes in parts.
const LONG_EVERY: u64 = 50;

/// What message `n` says, to or from an app.
pub(crate) fn content(n: u64) -> Value {
    if is_long(n) {
        return json!({ "n": n, "text": "long ".repeat(40_000) });
    }
    let bytes = usize::try_from(n % 1_000).unwrap();
    json!({ "n": n, "text": "text ".repeat(bytes / 5) })
}

/// Whether message `n` goes in parts, which boards neither send nor take.
pub(crate) fn is_long(n: u64) -> bool {
    n % LONG_EVERY == LONG_EVERY - 1
}

/// What an app is told of a message that a board, which has no memory of its host, had to send without
/// receipts, as the host was away (SPEC 16.19).
pub(crate) const WITH_BROKER: &str = "it went without receipts";

/// What one app, and who sends to it, were told.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) down: Down,
    pub(crate) up: Up,
    /// What the portal complained of, and how often.
    pub(crate) errors: BTreeMap<String, usize>,
}

/// To the app.
#[derive(Default)]
pub(crate) struct Down {
    pub(crate) sent: usize,
    /// The id of each message that the server answered 202.
    pub(crate) accepted: BTreeMap<u64, String>,
    /// How often the app got each.
    pub(crate) seen: BTreeMap<u64, u32>,
    pub(crate) changed: Vec<String>,
}

impl Down {
    pub(crate) fn arrived(&mut self, it: &Value) {
        match it["n"].as_u64() {
            Some(n) if *it == content(n) => *self.seen.entry(n).or_default() += 1,
            _ => self.changed.push(it.to_string()),
        }
    }
}

/// From the app.
#[derive(Default)]
pub(crate) struct Up {
    sent: u64,
    /// The number of the last one.
    last: u64,
    /// Those that the agent said it keeps until the server has them.
    accepted: BTreeSet<u64>,
    /// Those that the server has, as the app was told.
    delivered: BTreeSet<u64>,
    /// Those that it was told are lost, and why; those that were never accepted are refused.
    lost: BTreeMap<u64, String>,
    /// Those that the agent had in a life of which it told, by a new one, that it is over.
    forgotten: BTreeSet<u64>,
}

impl Up {
    /// The number of the next message, left out those of long ones if there are to be none.
    pub(crate) fn next(&mut self, long: bool) -> u64 {
        self.sent += 1;
        self.last += 1;
        self.last += u64::from(!long && is_long(self.last));
        self.last
    }

    pub(crate) fn accepted(&mut self, n: u64) {
        self.accepted.insert(n);
    }

    pub(crate) fn delivered(&mut self, n: u64) {
        self.delivered.insert(n);
    }

    pub(crate) fn not_delivered(&mut self, n: u64, reason: &str) {
        self.lost.insert(n, reason.to_owned());
    }

    /// The agent has lost its memory: what it had and did not tell of is told as lost with it.
    pub(crate) fn forgotten(&mut self) {
        self.forgotten = self.accepted.difference(&self.delivered).copied().collect();
    }

    pub(crate) fn delivered_count(&self) -> usize {
        self.delivered.len()
    }

    /// Whether all that was accepted is stored or told as lost.
    pub(crate) fn is_settled(&self, stored: &[Value]) -> bool {
        let stored: BTreeSet<_> = stored.iter().filter_map(|it| it["n"].as_u64()).collect();
        let told = |n| self.lost.contains_key(n) || self.forgotten.contains(n);
        let mut accepted = self.accepted.iter();
        accepted.all(|n| stored.contains(n) || told(n))
    }
}

/// The ends of messages to an app that an agent may tell which keeps what it has, on disk: newer messages
/// take the place of those that wait for the app.
pub(crate) const CAR_LOSES: &[&str] = &["evicted", "evicted, though the app has it"];

/// Those of messages to an app that confirms nothing: what is being written to it when its agent is killed it may have.
pub(crate) const SILENT_APP_LOSES: &[&str] = &["evicted", "known", "known, though the app has it"];

/// Those that a board may tell, which forgets what it has when its power goes.
pub(crate) const BOARD_LOSES: &[&str] = &[
    "evicted",
    "evicted, though the app has it",
    "known",
    "known, though the app has it",
    "peer_restarted",
    "peer_restarted, though the app has it",
];

/// What the last step that the server tells of a message means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fate<'s> {
    /// The app took it.
    Confirmed,
    /// It waits in the vehicle for the app.
    Held,
    /// It is lost, and this is why.
    Lost(&'s str),
    /// It is on its way.
    Open,
}

impl<'s> Fate<'s> {
    pub(crate) fn of(status: &'s str) -> Self {
        match status {
            "confirmed" | "taken" => Self::Confirmed,
            "held_background" | "held_privacy" => Self::Held,
            "accepted" | "waiting" | "held" | "sent" | "at_agent" | "handed" | "part_stored"
            | "part_missing" | "unknown" => Self::Open,
            lost => Self::Lost(lost),
        }
    }

    /// Whether nothing more is to come of it. What is held waits for an app that is away.
    pub(crate) fn is_last(&self, has_app: bool) -> bool {
        match self {
            Self::Confirmed | Self::Lost(_) => true,
            Self::Held => !has_app,
            Self::Open => false,
        }
    }
}

/// A message that is still held.
pub(crate) struct Waiting {
    pub(crate) vin: String,
    pub(crate) n: u64,
    pub(crate) id: String,
}

/// What does not balance.
#[derive(Debug)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    /// The message, if the server knows it by an id.
    pub(crate) id: Option<String>,
}

/// The sums of one direction.
#[derive(Default)]
pub(crate) struct Sums {
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    pub(crate) confirmed: usize,
    pub(crate) held: usize,
    /// What is held, to be read.
    pub(crate) waiting: Vec<Waiting>,
    pub(crate) lost: BTreeMap<String, usize>,
    pub(crate) duplicates: usize,
    pub(crate) changed: usize,
    /// Messages that were accepted and are in no other sum.
    pub(crate) missing: usize,
    pub(crate) wrong: Vec<Wrong>,
}

impl Sums {
    /// Books what the server tells of the messages that it accepted, beside what the app got. A message may
    /// be lost only by an end that the agent `may_lose` it by.
    pub(crate) fn down(
        &mut self,
        vin: &str,
        book: &Down,
        status: &BTreeMap<u64, String>,
        (has_app, may_lose): (bool, &[&str]),
    ) {
        self.sent += book.sent;
        self.accepted += book.accepted.len();
        for (n, id) in &book.accepted {
            let (status, seen) = (status[n].as_str(), book.seen.contains_key(n));
            let though = if seen { ", though the app has it" } else { "" };
            let lost = format!("{status}{though}");
            match Fate::of(status) {
                Fate::Confirmed if seen => self.confirmed += 1,
                Fate::Held if !has_app => {
                    self.held += 1;
                    let (vin, n, id) = (vin.to_owned(), *n, id.clone());
                    self.waiting.push(Waiting { vin, n, id });
                }
                Fate::Lost(_) if may_lose.contains(&lost.as_str()) => {
                    *self.lost.entry(lost).or_default() += 1;
                }
                Fate::Confirmed | Fate::Held | Fate::Open | Fate::Lost(_) => {
                    let seen = if seen { "has it" } else { "has it not" };
                    let what = format!("{vin}: {id} (n={n}) is {status}, and the app {seen}");
                    self.missing(what, Some(id.clone()));
                }
            }
        }
        self.once(vin, &book.seen, &book.accepted);
        self.unchanged(vin, &book.changed);
    }

    /// Books what became of a message that was held when its app came.
    pub(crate) fn read(&mut self, vin: &str, n: u64, id: String, status: &str, times: u32) {
        if Fate::of(status) != Fate::Confirmed || times != 1 {
            let what = format!(
                "{vin}: {id} (n={n}) was held; its app has come and got it {times} times, and it is {status}"
            );
            self.wrong.push(Wrong { what, id: Some(id) });
        }
    }

    /// Books what the server has in its log, beside what the app was told. Only an agent that forgets loses
    /// any, but for those that went without receipts.
    pub(crate) fn up(&mut self, vin: &str, book: &Up, log: &[Value], forgets: bool) {
        let (mut stored, mut changed) = (BTreeMap::new(), Vec::new());
        for it in log {
            match it["n"].as_u64() {
                Some(n) if *it == content(n) => *stored.entry(n).or_default() += 1,
                _ => changed.push(it.to_string()),
            }
        }
        self.sent += usize::try_from(book.sent).unwrap();
        let accepted: BTreeSet<_> = book.accepted.union(&book.delivered).collect();
        self.accepted += accepted.len();
        for n in accepted {
            let has = stored.contains_key(n);
            let mut lose = |why: &str| *self.lost.entry(why.to_owned()).or_default() += 1;
            let forgotten = book.forgotten.contains(n);
            match book.lost.get(n) {
                None if has && !forgotten => self.confirmed += 1,
                None if has && forgets => lose("with the agent's memory, though the server has it"),
                None if forgotten && forgets => lose("with the agent's memory"),
                // Such a message may come twice (SPEC 7.2).
                Some(why) if why == WITH_BROKER && has => {
                    let times = stored.insert(*n, 1);
                    let twice = if times > Some(1) { " twice" } else { "" };
                    lose(&format!("{why}, though the server has it{twice}"));
                }
                Some(why) if why == WITH_BROKER && !book.delivered.contains(n) => lose(why),
                told => {
                    let has = if has { "has it" } else { "has it not" };
                    let told = match (told, forgotten) {
                        (Some(why), _) => why,
                        (None, true) => "that the agent, which has a disk, forgot it",
                        (None, false) => "nothing",
                    };
                    let delivered = match book.delivered.contains(n) {
                        true => ", and that it is delivered",
                        false => "",
                    };
                    self.missing(
                        format!("{vin}: from the app, n={n}: the server {has}; the app was told: {told}{delivered}"),
                        None,
                    );
                }
            }
        }
        self.once(vin, &stored, &BTreeMap::new());
        self.unchanged(vin, &changed);
    }

    fn missing(&mut self, what: String, id: Option<String>) {
        self.missing += 1;
        self.wrong.push(Wrong { what, id });
    }

    fn once(&mut self, vin: &str, times: &BTreeMap<u64, u32>, ids: &BTreeMap<u64, String>) {
        for (n, times) in times.iter().filter(|(_, times)| **times > 1) {
            self.duplicates += 1;
            let (what, id) = (
                format!("{vin}: n={n} came {times} times"),
                ids.get(n).cloned(),
            );
            self.wrong.push(Wrong { what, id });
        }
    }

    fn unchanged(&mut self, vin: &str, changed: &[String]) {
        self.changed += changed.len();
        for it in changed {
            let shown: String = it.chars().take(80).collect();
            let what = format!("{vin}: changed: {shown}");
            self.wrong.push(Wrong { what, id: None });
        }
    }

    /// Whether each message that was accepted is in one sum.
    pub(crate) fn is_whole(&self) -> bool {
        self.accepted == self.confirmed + self.held + self.all_lost() + self.missing
    }

    fn all_lost(&self) -> usize {
        self.lost.values().sum()
    }
}

/// The books as a table.
pub(crate) struct Table<'s>(pub(crate) &'s [(&'static str, Sums)]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<13}{:>8}{:>10} = {:>9} + {:>10} + {:>12}{:>10}{:>12}{:>9}",
            "",
            "sent",
            "accepted",
            "confirmed",
            "still held",
            "told as lost",
            "missing",
            "duplicates",
            "changed"
        )?;
        for (name, sums) in self.0 {
            writeln!(
                f,
                "{name:<13}{:>8}{:>10} = {:>9} + {:>10} + {:>12}{:>10}{:>12}{:>9}",
                sums.sent,
                sums.accepted,
                sums.confirmed,
                sums.held,
                sums.all_lost(),
                sums.missing,
                sums.duplicates,
                sums.changed
            )?;
        }
        for (name, sums) in self.0 {
            for (why, count) in &sums.lost {
                writeln!(f, "{count:>7} {name} are told as lost: {why}")?;
            }
        }
        Ok(())
    }
}
