//! What a vehicle tells of its own condition (SPEC 6.6 to 6.9).
//!
//! An agent publishes an encoded [`Health`] on the uplink subtopic [`SUBTOPIC`]. The host server asks
//! [`ParsedTopic::is_health`](crate::topic::ParsedTopic::is_health), and then [`reported`].

use core::fmt::Write;

use crate::envelope::{Content, EncodeError, Out};
use crate::json::{JsonString, Object};
use crate::limits::{HEALTH_BYTES_MAX, HEALTH_CRASH_BYTES_MAX, HEALTH_NAME_BYTES_MAX};
use crate::record_ring;

/// The uplink subtopic of health.
pub const SUBTOPIC: &str = "vinbus/health";

/// A report. Texts that are too long are cut off where they are written.
///
/// ```
/// use vinbus_protocol::health::{Counters, Health};
///
/// let counters = Counters { sessions: 1, ..Counters::default() };
/// let health = Health { agent: "0.1.0", platform: "linux", uptime_s: 9, counters, ..Health::default() };
/// let mut buffer = [0; 256];
/// assert_eq!(
///     health.encode(&mut buffer)?,
///     br#"{"content":{"agent":"0.1.0","platform":"linux","uptimeS":9,"counters":{"sessions":1},"troubles":{}}}"#
/// );
/// # Ok::<(), vinbus_protocol::envelope::EncodeError>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Health<'h> {
    /// The agent's version.
    pub agent: &'h str,
    /// The board or the system that it runs on.
    pub platform: &'h str,
    /// Seconds since it started.
    pub uptime_s: u32,
    /// What its last run had to say, if that ended in a panic, a fault or the like.
    pub crash: Option<&'h str>,
    /// Its stack, where that is measured.
    pub stack: Option<Usage>,
    /// What messages wait in.
    pub pools: Pools,
    /// What it did.
    pub counters: Counters,
    /// What went wrong.
    pub troubles: Troubles,
}

/// How full a piece of memory was, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Used at most since the start.
    pub used: u32,
    /// There are.
    pub size: u32,
}

impl From<record_ring::Usage> for Usage {
    fn from(usage: record_ring::Usage) -> Self {
        let at_most = |bytes| u32::try_from(bytes).unwrap_or(u32::MAX);
        Self {
            used: at_most(usage.used),
            size: at_most(usage.size),
        }
    }
}

/// The memory of messages that wait. One of size 0 is not there, and not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pools {
    /// For an app that is not in the foreground: the one of all apps that was fullest.
    pub pending: Usage,
    /// For the broker.
    pub uplinks: Usage,
    /// Popups.
    pub popups: Usage,
    /// For a socket of an app: the one that was fullest.
    pub outboxes: Usage,
}

/// What an agent did since it started. These and [`Troubles`] stay at the largest number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections to the broker.
    pub sessions: u32,
    /// Messages that arrived, whatever became of them.
    pub received: u32,
    /// Those handed to an app in the foreground at once.
    pub delivered: u32,
    /// Those kept for an app.
    pub pending: u32,
    /// Popups taken in.
    pub popups: u32,
    /// Messages of apps taken in.
    pub uplinks_accepted: u32,
    /// Messages of apps that are with the broker.
    pub uplinks_delivered: u32,
}

/// What went wrong since an agent started. A change is worth a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Troubles {
    /// Messages kept for an app that were dropped for newer ones, or for want of room (SPEC 5.2).
    pub evicted: u32,
    /// Messages on a topic that is not this vehicle's.
    pub foreign_topic: u32,
    /// Messages larger than a payload may be (SPEC 3.10).
    pub oversize: u32,
    /// Messages that break the rules of envelopes in another way (SPEC 3.11).
    pub envelope: u32,
    /// Messages for an app that is not installed (SPEC 5.4).
    pub unknown_app: u32,
    /// Messages for an app of another partner (SPEC 5.4).
    pub foreign_uid: u32,
    /// Messages that the vehicle has no room for.
    pub too_large: u32,
    /// Popups refused, as too many waited (SPEC 5.7).
    pub popup_overflow: u32,
    /// Messages of apps refused at once.
    pub uplinks_refused: u32,
    /// Messages of apps dropped for newer ones while they waited (SPEC 7.1).
    pub uplinks_dropped: u32,
    /// Messages of apps that the broker refused.
    pub uplinks_refused_by_broker: u32,
    /// Sockets of apps that were not let in.
    pub sockets_refused: u32,
    /// Sockets of apps that were ended for what they did or did not do.
    pub sockets_ended: u32,
    /// Frames of apps that were refused.
    pub frames_refused: u32,
    /// Frames that a board's network interface dropped: they were broken, or found no room.
    pub network_dropped: u32,
}

impl Health<'_> {
    /// Writes the report, an uplink message, to the start of `buffer` and returns what was written.
    ///
    /// # Errors
    /// An [`EncodeError`] when the buffer is too small; one of [`HEALTH_BYTES_MAX`] never is.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Result<&'b [u8], EncodeError> {
        let mut out = Out::new(&mut *buffer);
        self.write(&mut out);
        let (len, available) = (out.len(), buffer.len());
        buffer.get(..len).ok_or(EncodeError::Buffer {
            needed: HEALTH_BYTES_MAX,
            available,
        })
    }

    fn write(&self, out: &mut Out<'_>) {
        out.text(r#"{"content":{"agent":""#);
        write_text(out, self.agent, HEALTH_NAME_BYTES_MAX);
        out.text(r#"","platform":""#);
        write_text(out, self.platform, HEALTH_NAME_BYTES_MAX);
        out.text(r#"","uptimeS":"#);
        out.number(self.uptime_s);
        if let Some(crash) = self.crash {
            out.text(r#","crash":""#);
            write_text(out, crash, HEALTH_CRASH_BYTES_MAX);
            out.text("\"");
        }
        if let Some(stack) = self.stack {
            out.text(r#","stack":"#);
            stack.write(out);
        }
        self.pools.write(out);
        out.text(r#","counters":"#);
        write_counts(out, &Counters::NAMES, &self.counters.counts());
        out.text(r#","troubles":"#);
        write_counts(out, &Troubles::NAMES, &self.troubles.counts());
        out.text("}}");
    }
}

impl Usage {
    fn write(self, out: &mut Out<'_>) {
        let Self { used, size } = self;
        out.text(r#"{"used":"#);
        out.number(used);
        out.text(r#","size":"#);
        out.number(size);
        out.text("}");
    }
}

impl Pools {
    fn write(&self, out: &mut Out<'_>) {
        let pools = [
            ("pending", self.pending),
            ("uplinks", self.uplinks),
            ("popups", self.popups),
            ("outboxes", self.outboxes),
        ];
        let mut before = r#","pools":{"#;
        for (name, usage) in pools {
            if usage.size > 0 {
                write_name(out, before, name);
                usage.write(out);
                before = ",";
            }
        }
        out.text(if before == "," { "}" } else { "" });
    }
}

impl Counters {
    const NAMES: [&str; 7] = [
        "sessions",
        "received",
        "delivered",
        "pending",
        "popups",
        "uplinksAccepted",
        "uplinksDelivered",
    ];

    /// In the order of their names.
    const fn counts(&self) -> [u32; 7] {
        [
            self.sessions,
            self.received,
            self.delivered,
            self.pending,
            self.popups,
            self.uplinks_accepted,
            self.uplinks_delivered,
        ]
    }
}

impl Troubles {
    const NAMES: [&str; 15] = [
        "evicted",
        "foreignTopic",
        "oversize",
        "envelope",
        "unknownApp",
        "foreignUid",
        "tooLarge",
        "popupOverflow",
        "uplinksRefused",
        "uplinksDropped",
        "uplinksRefusedByBroker",
        "socketsRefused",
        "socketsEnded",
        "framesRefused",
        "networkDropped",
    ];

    /// In the order of their names.
    const fn counts(&self) -> [u32; 15] {
        [
            self.evicted,
            self.foreign_topic,
            self.oversize,
            self.envelope,
            self.unknown_app,
            self.foreign_uid,
            self.too_large,
            self.popup_overflow,
            self.uplinks_refused,
            self.uplinks_dropped,
            self.uplinks_refused_by_broker,
            self.sockets_refused,
            self.sockets_ended,
            self.frames_refused,
            self.network_dropped,
        ]
    }
}

fn write_name(out: &mut Out<'_>, before: &str, name: &str) {
    for part in [before, "\"", name, "\":"] {
        out.text(part);
    }
}

/// Writes an object with the counts that are not 0.
fn write_counts(out: &mut Out<'_>, names: &[&str], counts: &[u32]) {
    let mut before = "{";
    for (name, count) in names.iter().zip(counts) {
        if *count > 0 {
            write_name(out, before, name);
            out.number(*count);
            before = ",";
        }
    }
    out.text(if before == "{" { "{}" } else { "}" });
}

/// Writes the inside of a JSON string, of at most `max` bytes; what does not fit is cut off.
fn write_text(out: &mut Out<'_>, text: &str, max: usize) {
    let mut left = max;
    for c in text.chars() {
        let mut utf8 = [0; 4];
        let (plain, len) = match c {
            '"' => ("\\\"", 2),
            '\\' => ("\\\\", 2),
            '\n' => ("\\n", 2),
            c if c.is_control() => ("", 6),
            c => (&*c.encode_utf8(&mut utf8), c.len_utf8()),
        };
        let Some(rest) = left.checked_sub(len) else {
            break;
        };
        left = rest;
        match plain {
            "" => {
                // Writing there never fails.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            plain => out.text(plain),
        }
    }
}

/// What a host reads in a report; the rest is for people.
#[derive(Clone, Copy, Debug)]
pub struct Reported<'a> {
    /// Seconds since the agent started.
    pub uptime_s: Option<u64>,
    /// What its last run had to say.
    pub crash: Option<JsonString<'a>>,
}

/// Reads a report in the content of an uplink message on [`SUBTOPIC`]; `None` unless it is an object of
/// at most [`HEALTH_BYTES_MAX`] bytes. As in envelopes, the last of several members counts, and those of
/// another type are ignored.
///
/// ```
/// use vinbus_protocol::envelope::Uplink;
/// use vinbus_protocol::health;
///
/// let message = Uplink::decode(br#"{"content":{"uptimeS":9,"crash":"out of \"it\""}}"#)?;
/// let report = health::reported(message.content).unwrap();
/// assert_eq!(report.uptime_s, Some(9));
/// assert!(report.crash.unwrap().is("out of \"it\""));
/// # Ok::<(), vinbus_protocol::envelope::EnvelopeError>(())
/// ```
#[must_use]
pub fn reported(content: Content<'_>) -> Option<Reported<'_>> {
    if content.as_str().len() > HEALTH_BYTES_MAX {
        return None;
    }
    let mut object = Object::open(content.as_str())?;
    let mut reported = Reported {
        uptime_s: None,
        crash: None,
    };
    while let Ok(Some(member)) = object.next_member() {
        if member.name.is("uptimeS") {
            reported.uptime_s = member.value.text.parse().ok();
        } else if member.name.is("crash") {
            reported.crash = member.value.as_string();
        }
    }
    Some(reported)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::{String, ToString};

    fn text(health: &Health<'_>) -> String {
        let mut buffer = [0xa5; HEALTH_BYTES_MAX];
        let encoded = health.encode(&mut buffer).unwrap();
        String::from_utf8(encoded.into()).unwrap()
    }

    fn crash_of(crash: &str) -> String {
        let health = Health {
            crash: Some(crash),
            ..Health::default()
        };
        let text = text(&health);
        let message = crate::envelope::Uplink::decode(text.as_bytes()).unwrap();
        let reported = reported(message.content).unwrap();
        reported.crash.unwrap().to_string()
    }

    #[test]
    fn largest_report_fits_its_bound() {
        const MAX: u32 = u32::MAX;
        const FULL: Usage = Usage {
            used: MAX,
            size: MAX,
        };
        let long = "\u{1}".repeat(300);
        let health = Health {
            agent: &long,
            platform: &long,
            uptime_s: MAX,
            crash: Some(&long),
            stack: Some(FULL),
            pools: Pools {
                pending: FULL,
                uplinks: FULL,
                popups: FULL,
                outboxes: FULL,
            },
            counters: Counters {
                sessions: MAX,
                received: MAX,
                delivered: MAX,
                pending: MAX,
                popups: MAX,
                uplinks_accepted: MAX,
                uplinks_delivered: MAX,
            },
            troubles: Troubles {
                evicted: MAX,
                foreign_topic: MAX,
                oversize: MAX,
                envelope: MAX,
                unknown_app: MAX,
                foreign_uid: MAX,
                too_large: MAX,
                popup_overflow: MAX,
                uplinks_refused: MAX,
                uplinks_dropped: MAX,
                uplinks_refused_by_broker: MAX,
                sockets_refused: MAX,
                sockets_ended: MAX,
                frames_refused: MAX,
                network_dropped: MAX,
            },
        };
        let len = text(&health).len();
        assert!(len > HEALTH_BYTES_MAX - 128, "{len}: the bound is loose");
    }

    #[test]
    fn crash_survives_escaping_and_is_cut_off_between_characters() {
        for said in ["", "a\"b\\c\nd", "\u{0}\u{1f}\u{7f}\u{9f}", "é🚗"] {
            assert_eq!(crash_of(said), said);
        }
        assert_eq!(crash_of(&"x".repeat(257)), "x".repeat(256));
        assert_eq!(crash_of(&"\n".repeat(129)), "\n".repeat(128));
        assert_eq!(crash_of(&("x".repeat(255) + "é")), "x".repeat(255));
    }

    #[test]
    fn what_is_no_object_or_too_long_is_no_report() {
        let long = std::format!(r#"{{"crash":"{}"}}"#, "x".repeat(HEALTH_BYTES_MAX));
        for content in ["[]", "1", "\"crash\"", "null", &long] {
            let content = Content::parse(content.as_bytes()).unwrap();
            assert!(reported(content).is_none());
        }
    }
}
