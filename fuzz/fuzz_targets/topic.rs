//! Any topic is taken apart as a plain split would, and what is built from the parts is the topic
//! again.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vinbus_protocol::topic::{Direction, PREFIX_DEFAULT, TopicProfile, TopicScheme};

fuzz_target!(|topic: &str| {
    // Half of the inputs need not find the prefix by themselves.
    let prefixed = format!("{PREFIX_DEFAULT}/{topic}");
    for profile in [TopicProfile::Table, TopicProfile::Sample] {
        for topic in [topic, &prefixed] {
            check(profile, topic);
        }
    }
});

fn check(profile: TopicProfile, topic: &str) {
    let scheme = TopicScheme::new(PREFIX_DEFAULT, profile).unwrap();
    let parsed = scheme.parse(topic).ok();
    assert_eq!(parsed.is_some(), model_accepts(topic), "{topic:?}");
    let Some(parsed) = parsed else { return };
    let to = topic.starts_with("psa/OVIPPartners-Dev/to/");
    let downlink = to == (profile == TopicProfile::Table);
    assert_eq!(parsed.direction == Direction::Downlink, downlink);

    let (uid, vin) = (&parsed.uid, &parsed.vin);
    match parsed.subtopic {
        None => {
            let filters = scheme.exact_filters(parsed.direction, uid, vin);
            assert!(filters.iter().any(|filter| filter == topic), "{topic:?}");
        }
        Some(subtopic) => {
            // The first slash of a subtopic is optional when building.
            let built = scheme.publish_topic(parsed.direction, uid, vin, Some(subtopic));
            if !subtopic.starts_with('/') {
                assert_eq!(built.unwrap(), topic);
            }
        }
    }
}

/// Whether `topic` is one of the vehicle tree, level by level.
fn model_accepts(topic: &str) -> bool {
    let levels: Vec<&str> = topic.split('/').collect();
    let [
        "psa",
        "OVIPPartners-Dev",
        "to" | "from",
        "uid",
        uid,
        "opa",
        vin,
        rest @ ..,
    ] = &levels[..]
    else {
        return false;
    };
    let plain = |text: &str| !text.contains(|c: char| c.is_control() || c == '+' || c == '#');
    let subtopic = rest.join("/");
    (1..=64).contains(&uid.len())
        && plain(uid)
        && vin.len() == 17
        && vin.bytes().all(|byte| byte.is_ascii_alphanumeric())
        && subtopic.len() <= 64
        && plain(&subtopic)
}
