//! What was accepted, and what became of it: the books of a vehicle, and whether they balance.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

/// Every so many messages, one goes in parts.
const LONG_EVERY: u64 = 50;

/// What message `n` says.
pub(crate) fn content(n: u64) -> Value {
    let bytes = usize::try_from(n % 1_000).unwrap();
    json!({ "n": n, "text": "text ".repeat(bytes / 5) })
}

/// What message `n` to an app says.
pub(crate) fn content_down(n: u64) -> Value {
    if n % LONG_EVERY == LONG_EVERY - 1 {
        return json!({ "n": n, "text": "long ".repeat(40_000) });
    }
    content(n)
}

/// A vehicle's, in both directions.
#[derive(Default)]
pub(crate) struct Book {
    pub(crate) down: Down,
    pub(crate) up: Up,
    /// What the portal complained of.
    pub(crate) errors: Vec<String>,
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
            Some(n) if *it == content_down(n) => *self.seen.entry(n).or_default() += 1,
            _ => self.changed.push(it.to_string()),
        }
    }
}

/// From the app.
#[derive(Default)]
pub(crate) struct Up {
    sent: u64,
    /// Those that the agent said it keeps until the server has them.
    accepted: BTreeSet<u64>,
    /// Those that the server has, as the app was told.
    delivered: BTreeSet<u64>,
    /// Those that it was told are lost, and why; those that were never accepted are refused.
    lost: BTreeMap<u64, String>,
}

impl Up {
    pub(crate) fn next(&mut self) -> u64 {
        self.sent += 1;
        self.sent
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

    pub(crate) fn delivered_count(&self) -> usize {
        self.delivered.len()
    }

    /// Whether all that was accepted is stored or told as lost.
    pub(crate) fn is_settled(&self, stored: &[Value]) -> bool {
        let stored: BTreeSet<_> = stored.iter().filter_map(|it| it["n"].as_u64()).collect();
        let mut accepted = self.accepted.iter();
        accepted.all(|n| stored.contains(n) || self.lost.contains_key(n))
    }
}

/// The sums of one direction.
#[derive(Default)]
pub(crate) struct Sums {
    sent: usize,
    accepted: usize,
    confirmed: usize,
    held: usize,
    lost: BTreeMap<String, usize>,
    duplicates: usize,
    changed: usize,
    /// What does not balance, by its name.
    pub(crate) wrong: Vec<String>,
}

/// Whether this is the last that is told of a message.
pub(crate) fn is_last(status: &str) -> bool {
    let under_way = [
        "sent",
        "received",
        "handed",
        "part_stored",
        "part_missing",
        "unknown",
    ];
    !is_held(status) && !under_way.contains(&status)
}

fn is_held(status: &str) -> bool {
    ["accepted", "held", "held_background", "held_privacy"].contains(&status)
}

impl Sums {
    /// Books what the server tells of the messages that it accepted, beside what the app got.
    pub(crate) fn down(&mut self, vin: &str, book: &Down, status: &BTreeMap<u64, String>) {
        self.sent += book.sent;
        self.accepted += book.accepted.len();
        for (n, id) in &book.accepted {
            let (status, seen) = (status[n].as_str(), book.seen.contains_key(n));
            match status {
                "confirmed" if seen => self.confirmed += 1,
                status if is_held(status) && !seen => self.held += 1,
                status if is_last(status) && status != "confirmed" => {
                    let seen = if seen { ", though the app has it" } else { "" };
                    *self.lost.entry(format!("{status}{seen}")).or_default() += 1;
                }
                status => {
                    let seen = if seen { "has it" } else { "has it not" };
                    let wrong = format!("{vin}: {id} (n={n}) is {status}, and the app {seen}");
                    self.wrong.push(wrong);
                }
            }
        }
        self.once(vin, &book.seen);
        self.unchanged(vin, &book.changed);
    }

    /// Books what the server has in its log, beside what the app was told.
    pub(crate) fn up(&mut self, vin: &str, book: &Up, log: &[Value]) {
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
            match (stored.contains_key(n), book.lost.get(n)) {
                (true, None) => self.confirmed += 1,
                (false, Some(reason)) => *self.lost.entry(reason.clone()).or_default() += 1,
                (stored, lost) => {
                    let stored = if stored { "has it" } else { "has it not" };
                    let lost =
                        lost.map_or(String::new(), |lost| format!(", the app was told {lost}"));
                    let delivered = match book.delivered.contains(n) {
                        true => ", the app was told that it is delivered",
                        false => "",
                    };
                    let wrong =
                        format!("{vin}: from the app, n={n}: the server {stored}{lost}{delivered}");
                    self.wrong.push(wrong);
                }
            }
        }
        self.once(vin, &stored);
        self.unchanged(vin, &changed);
    }

    fn once(&mut self, vin: &str, times: &BTreeMap<u64, u32>) {
        for (n, times) in times.iter().filter(|(_, times)| **times > 1) {
            self.duplicates += 1;
            self.wrong.push(format!("{vin}: n={n} came {times} times"));
        }
    }

    fn unchanged(&mut self, vin: &str, changed: &[String]) {
        self.changed += changed.len();
        let shown = changed.iter().map(|it| it.chars().take(80).collect());
        let wrong = shown.map(|it: String| format!("{vin}: changed: {it}"));
        self.wrong.extend(wrong);
    }

    pub(crate) fn print(&self, direction: &str) {
        let lost: usize = self.lost.values().sum();
        println!(
            "{direction}: of {} sent, {} accepted = {} confirmed + {} still held + {lost} told as lost; {} duplicates, {} changed",
            self.sent, self.accepted, self.confirmed, self.held, self.duplicates, self.changed
        );
        for (reason, count) in &self.lost {
            println!("    {count} lost: {reason}");
        }
        for wrong in &self.wrong {
            println!("    does not balance: {wrong}");
        }
    }
}
