//! Which topics the broker grants, and which of the two profiles is in use there.

use tokio::time::Instant;
use vinbus_protocol::id::Uid;
use vinbus_protocol::topic::{Direction, TopicProfile, TopicScheme};

use super::access::Access;
use super::packets::{Answer, Publish, Version};
use super::reason;
use super::report::{Report, counted};
use super::session::Session;

/// The checks of a partner's topics.
pub(super) const CHECKS: [&str; 4] = [
    "subscribe-table",
    "subscribe-sample",
    "profile",
    "trailing-slash",
];

/// UIDs whose filters are tried.
const UIDS_MAX: usize = 16;

/// What is asked for.
pub(super) struct Wanted<'a> {
    pub(super) scheme: &'a TopicScheme,
    /// None for everybody's.
    pub(super) uids: &'a [Uid],
    pub(super) listen: std::time::Duration,
}

/// What was heard of vehicles and servers.
#[derive(Debug, Default)]
struct Heard {
    table: u64,
    sample: u64,
    with_slash: u64,
    without_slash: u64,
}

impl Heard {
    /// Notes who spoke where: an envelope with an `idApp` is a server's, one without a vehicle's.
    fn note(&mut self, table: &TopicScheme, message: &Publish) {
        let Ok(parsed) = table.parse(&message.topic) else {
            return;
        };
        let content: Result<serde_json::Value, _> = serde_json::from_slice(&message.payload);
        let Ok(serde_json::Value::Object(members)) = content else {
            return;
        };
        let spoken = if members.contains_key("idApp") {
            Direction::Downlink
        } else if members.contains_key("content") {
            Direction::Uplink
        } else {
            return;
        };
        if parsed.direction == spoken {
            self.table += 1;
        } else {
            self.sample += 1;
        }
        if message.topic.ends_with('/') {
            self.with_slash += 1;
        } else if parsed.subtopic.is_none() {
            self.without_slash += 1;
        }
    }
}

fn name(profile: TopicProfile) -> &'static str {
    match profile {
        TopicProfile::Table => "table",
        TopicProfile::Sample => "sample",
    }
}

/// Subscribes as a host would in both profiles; returns the scheme to go on with.
pub(super) async fn check(
    report: &mut Report,
    access: &Access,
    version: Version,
    wanted: &Wanted<'_>,
) -> TopicScheme {
    let chosen = wanted.scheme.clone();
    let other = match chosen.profile() {
        TopicProfile::Table => TopicProfile::Sample,
        TopicProfile::Sample => TopicProfile::Table,
    };
    // The prefix has been checked with the other profile.
    let Ok(other) = TopicScheme::new(chosen.prefix(), other) else {
        return chosen;
    };
    let mut session = match Session::open(access, version).await {
        Ok(session) => session,
        Err(fault) => {
            report.failed(CHECKS[0], fault.value(), fault.advice());
            return chosen;
        }
    };
    let granted = subscribe(report, &mut session, &chosen, wanted.uids, true).await;
    let granted_other = subscribe(report, &mut session, &other, wanted.uids, false).await;
    let mut heard = Heard::default();
    if granted || granted_other {
        let table = if chosen.profile() == TopicProfile::Table {
            &chosen
        } else {
            &other
        };
        // Retained messages come first, however short the time is.
        let settled = session.settle().await;
        let end = Instant::now() + wanted.listen;
        // A connection that breaks meanwhile is told by the checks that follow.
        if settled.is_ok() {
            let _ = session
                .listen(end, |message| heard.note(table, message))
                .await;
        }
    }
    session.close().await;
    let in_use = judge(&heard, granted, granted_other, chosen.profile());
    profile(report, &in_use, &chosen, wanted);
    slash(report, &heard, wanted);
    match in_use {
        InUse::Other(_) => other,
        InUse::Chosen(_) | InUse::Both | InUse::Mixed | InUse::Neither => chosen,
    }
}

/// Subscribes to what a client of the bus is meant to hear: which that is, is known to it alone.
pub(super) async fn check_bus(
    report: &mut Report,
    access: &Access,
    version: Version,
    filters: &[&str],
) {
    const CHECK: &str = "subscribe";
    if filters.is_empty() {
        let why = "no filter is given: name those of this client by --filter";
        report.not_tested(CHECK, why);
        return;
    }
    let mut session = match Session::open(access, version).await {
        Ok(session) => session,
        Err(fault) => {
            report.failed(CHECK, fault.value(), fault.advice());
            return;
        }
    };
    for filter in filters {
        match session.subscribe(filter, 1, false).await {
            Ok(answer) if reason::is_refusal(answer.code) => {
                let value = format!("{filter} is refused: SUBACK {}", answer.shown());
                let advice = "check that the filter names application, resource and scope without wildcards, and \
                              that the client has the permission resource.scope; of a vinbus platform, \
                              `host-server explain-acl` tells the rule";
                report.failed(CHECK, value, advice);
            }
            Ok(answer) => {
                let value = format!("{filter} is granted at QoS {} of 1", answer.code);
                report.ok(CHECK, value);
            }
            Err(fault) => {
                report.failed(
                    CHECK,
                    format!("{filter}: {}", fault.value()),
                    fault.advice(),
                );
                return;
            }
        }
    }
    session.close().await;
}

/// Subscribes to each filter; whether all are granted.
async fn subscribe(
    report: &mut Report,
    session: &mut Session<'_>,
    scheme: &TopicScheme,
    uids: &[Uid],
    needed: bool,
) -> bool {
    let check = format!("subscribe-{}", name(scheme.profile()));
    let mut filters: Vec<String> = uids
        .iter()
        .take(UIDS_MAX)
        .map(|uid| {
            scheme
                .uid_filter(Direction::Uplink, uid)
                .as_str()
                .to_owned()
        })
        .collect();
    if uids.is_empty() {
        filters.push(scheme.all_filter(Direction::Uplink).as_str().to_owned());
    }
    let mut all = true;
    for filter in filters {
        match session.subscribe(&filter, 1, false).await {
            Ok(answer) => {
                all &= !reason::is_refusal(answer.code);
                tell(report, &check, &filter, &answer, needed);
            }
            Err(fault) => {
                let value = format!("{filter}: {}", fault.value());
                let advice =
                    "ask the broker's operator to grant this filter, or to refuse it in SUBACK";
                report.failed(&check, value, advice);
                return false;
            }
        }
    }
    all
}

fn tell(report: &mut Report, check: &str, filter: &str, answer: &Answer, needed: bool) {
    if reason::is_refusal(answer.code) {
        let value = format!("{filter} is refused: SUBACK {}", answer.shown());
        if needed {
            let advice = "check --partner (the UID), --prefix and --profile, and ask the broker's operator \
                          to allow the filter for this user";
            report.failed(check, value, advice);
        } else {
            report.ok(check, format!("{value}; not needed"));
        }
    } else {
        let qos = answer.code;
        let value = format!("{filter} is granted at QoS {qos} of 1");
        let advice =
            "the broker downgrades: send what must arrive with receipts (--receipts-for of serve)";
        if needed && qos == 0 {
            report.warning(check, value, advice);
        } else {
            report.ok(check, value);
        }
    }
}

/// Which profile is in use, and how that is known.
#[derive(Debug, PartialEq, Eq)]
enum InUse {
    Chosen(String),
    Other(String),
    /// Both are granted, and nothing was heard.
    Both,
    Mixed,
    Neither,
}

fn judge(heard: &Heard, granted: bool, granted_other: bool, chosen: TopicProfile) -> InUse {
    let (of_chosen, of_other) = match chosen {
        TopicProfile::Table => (heard.table, heard.sample),
        TopicProfile::Sample => (heard.sample, heard.table),
    };
    let by_ear = |count| format!("by {} heard", counted(count, "message"));
    let by_grant = || "the broker grants its filter alone".to_owned();
    match (of_chosen, of_other, granted, granted_other) {
        (1.., 1.., ..) => InUse::Mixed,
        (count @ 1.., ..) => InUse::Chosen(by_ear(count)),
        (_, count @ 1.., ..) => InUse::Other(by_ear(count)),
        (_, _, true, false) => InUse::Chosen(by_grant()),
        (_, _, false, true) => InUse::Other(by_grant()),
        (_, _, true, true) => InUse::Both,
        (_, _, false, false) => InUse::Neither,
    }
}

fn profile(report: &mut Report, in_use: &InUse, chosen: &TopicScheme, wanted: &Wanted<'_>) {
    const CHECK: &str = "profile";
    let (chosen, other) = match chosen.profile() {
        TopicProfile::Table => ("table", "sample"),
        TopicProfile::Sample => ("sample", "table"),
    };
    match in_use {
        InUse::Chosen(how) => report.ok(CHECK, format!("{chosen}: {how}")),
        InUse::Other(how) => {
            let advice = format!("use --profile {other} here, and the same in the vehicles");
            report.failed(CHECK, format!("{other}, not {chosen}: {how}"), advice);
        }
        InUse::Mixed => report.failed(
            CHECK,
            "messages of both profiles were heard",
            "bring all vehicles and servers to one profile (--profile)",
        ),
        InUse::Both => {
            let listened = humantime::format_duration(wanted.listen);
            report.not_tested(
                CHECK,
                format!(
                    "the broker grants both, as some do whatever their rules deliver, and nothing was heard \
                     within {listened}: have a vehicle speak meanwhile, with a longer --listen"
                ),
            );
        }
        InUse::Neither => report.not_tested(CHECK, "the broker grants neither"),
    }
}

fn slash(report: &mut Report, heard: &Heard, wanted: &Wanted<'_>) {
    const CHECK: &str = "trailing-slash";
    let (with, without) = (heard.with_slash, heard.without_slash);
    let listened = humantime::format_duration(wanted.listen);
    match (with, without) {
        (0, 0) if heard.table + heard.sample > 0 => report.not_tested(
            CHECK,
            format!(
                "what was heard within {listened} was on subtopics, which say nothing of it; listen longer by \
                 --listen"
            ),
        ),
        (0, 0) => report.not_tested(
            CHECK,
            format!("nothing was heard within {listened} (--listen)"),
        ),
        (_, 0) => report.ok(CHECK, format!("with it: {} heard", counted(with, "message"))),
        (0, _) => report.ok(CHECK, format!("without it: {} heard", counted(without, "message"))),
        (_, _) => report.warning(
            CHECK,
            format!("with it: {} heard; without it: {without}", counted(with, "message")),
            "vinbus hears both; other clients need a subscription that ends in /#",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(messages: &[(&str, &str)]) -> Heard {
        let table = TopicScheme::new("p", TopicProfile::Table).unwrap();
        let mut heard = Heard::default();
        for (topic, payload) in messages {
            let message = Publish {
                topic: (*topic).into(),
                payload: bytes::Bytes::copy_from_slice(payload.as_bytes()),
                qos: 0,
                retain: false,
                id: None,
            };
            heard.note(&table, &message);
        }
        heard
    }

    const FROM: &str = "p/from/uid/u/opa/0123456789ABCDEFG/";
    const TO: &str = "p/to/uid/u/opa/0123456789ABCDEFG";

    #[test]
    fn who_speaks_where_tells_the_profile() {
        let uplink = r#"{"content":1}"#;
        let downlink = r#"{"idApp":"a","popup":false,"content":1}"#;
        let check = |messages: &[(&str, &str)], expected: (u64, u64)| {
            let heard = heard(messages);
            assert_eq!((heard.table, heard.sample), expected, "{messages:?}");
        };
        check(&[(FROM, uplink), (TO, downlink)], (2, 0));
        check(&[(FROM, downlink), (TO, uplink)], (0, 2));
        check(
            &[(FROM, "nonsense"), (FROM, "[]"), ("p/else", uplink)],
            (0, 0),
        );
    }

    #[test]
    fn what_was_heard_on_subtopics_alone_is_not_told_as_nothing() {
        let mut report = Report::of(String::new());
        let scheme = TopicScheme::new("p", TopicProfile::Table).unwrap();
        let listen = std::time::Duration::from_secs(2);
        let wanted = Wanted {
            scheme: &scheme,
            uids: &[],
            listen,
        };
        let told = |heard: &Heard, report: &mut Report| {
            let in_use = judge(heard, true, true, TopicProfile::Table);
            profile(report, &in_use, &scheme, &wanted);
            slash(report, heard, &wanted);
        };
        let subtopic = "p/from/uid/u/opa/0123456789ABCDEFG/vinbus/presence";
        told(&heard(&[(subtopic, r#"{"content":1}"#)]), &mut report);
        let text = report.text();
        assert!(text.contains("table: by 1 message heard\n"), "{text}");
        assert!(text.contains("was on subtopics"), "{text}");
        assert!(!text.contains("nothing was heard"), "{text}");
        told(&Heard::default(), &mut report);
        assert_eq!(
            report.text().matches("nothing was heard within 2s").count(),
            2
        );
    }

    #[test]
    fn what_is_heard_counts_more_than_what_is_granted() {
        let uplink = r#"{"content":1}"#;
        let sample = heard(&[(TO, uplink)]);
        let table = TopicProfile::Table;
        assert!(matches!(
            judge(&sample, true, false, table),
            InUse::Other(_)
        ));
        assert!(matches!(
            judge(&sample, true, true, TopicProfile::Sample),
            InUse::Chosen(_)
        ));
        let none = Heard::default();
        assert!(matches!(judge(&none, true, false, table), InUse::Chosen(_)));
        assert!(matches!(judge(&none, false, true, table), InUse::Other(_)));
        assert_eq!(judge(&none, true, true, table), InUse::Both);
        assert_eq!(judge(&none, false, false, table), InUse::Neither);
        assert_eq!(
            judge(&heard(&[(TO, uplink), (FROM, uplink)]), true, true, table),
            InUse::Mixed
        );
    }
}
