//! Health vectors: what an agent reports, and what the host server reads in a report.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::envelope::Uplink;
use vinbus_protocol::health::{self, Counters, Health, Pools, Troubles, Usage};
use vinbus_protocol::limits::HEALTH_BYTES_MAX;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    #[serde(default)]
    subtopic: String,
    build: Vec<Build>,
    parse: Vec<Parse>,
}

/// A report with `first`, `first + 1` and so on in its counters and troubles, in their order, or with
/// none in them.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Build {
    name: String,
    agent: String,
    platform: String,
    uptime_s: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    crash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<(u32, u32)>,
    /// Of `pending`, `uplinks`, `popups` and `outboxes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pools: Option<[(u32, u32); 4]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<u32>,
    #[serde(default)]
    payload: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parse {
    name: String,
    payload: String,
    #[serde(default)]
    reported: Option<Reported>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Reported {
    uptime_s: Option<u64>,
    crash: Option<String>,
}

/// Derives everything that is not an input.
pub(crate) fn derive(file: &mut File) {
    file.subtopic = health::SUBTOPIC.into();
    for case in &mut file.build {
        let mut buffer = [0; HEALTH_BYTES_MAX];
        let encoded = report(case).encode(&mut buffer).expect("a report fits");
        case.payload = String::from_utf8(encoded.into()).expect("a report is text");
    }
    for case in &mut file.parse {
        let message = Uplink::decode(case.payload.as_bytes()).expect("an uplink message");
        case.reported = health::reported(message.content).map(|reported| Reported {
            uptime_s: reported.uptime_s,
            crash: reported.crash.map(|crash| crash.to_string()),
        });
    }
}

fn report(case: &Build) -> Health<'_> {
    let mut last = case.first.unwrap_or(0);
    let mut next = || {
        let count = last;
        last += u32::from(case.first.is_some());
        count
    };
    Health {
        agent: &case.agent,
        platform: &case.platform,
        uptime_s: case.uptime_s,
        crash: case.crash.as_deref(),
        stack: case.stack.map(usage),
        pools: pools(case.pools.unwrap_or_default()),
        counters: Counters {
            sessions: next(),
            received: next(),
            delivered: next(),
            pending: next(),
            popups: next(),
            uplinks_accepted: next(),
            uplinks_delivered: next(),
        },
        troubles: Troubles {
            evicted: next(),
            foreign_topic: next(),
            oversize: next(),
            envelope: next(),
            unknown_app: next(),
            foreign_uid: next(),
            too_large: next(),
            popup_overflow: next(),
            uplinks_refused: next(),
            uplinks_dropped: next(),
            uplinks_refused_by_broker: next(),
            sockets_refused: next(),
            sockets_ended: next(),
            frames_refused: next(),
            network_dropped: next(),
        },
    }
}

fn usage((used, size): (u32, u32)) -> Usage {
    Usage { used, size }
}

fn pools(pools: [(u32, u32); 4]) -> Pools {
    let [pending, uplinks, popups, outboxes] = pools.map(usage);
    Pools {
        pending,
        uplinks,
        popups,
        outboxes,
    }
}
