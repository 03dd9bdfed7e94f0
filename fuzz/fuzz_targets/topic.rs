//! Any topic is taken apart as a plain split would, and what is built from the parts is the topic
//! again. Any filter says of every topic that it matches that it hears it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use vinbus_protocol::topic::{Direction, PREFIX_DEFAULT, TopicProfile, TopicScheme};

fuzz_target!(|input: &str| {
    let (topic, filter) = input.split_once('\n').unwrap_or((input, input));
    // Half of the inputs need not find the prefix by themselves.
    let prefixed = |text: &str| format!("{PREFIX_DEFAULT}/{text}");
    for profile in [TopicProfile::Table, TopicProfile::Sample] {
        for topic in [topic, &prefixed(topic)] {
            check(profile, topic);
            check_filter(profile, &prefixed(filter), topic);
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

fn check_filter(profile: TopicProfile, filter: &str, topic: &str) {
    let scheme = TopicScheme::new(PREFIX_DEFAULT, profile).unwrap();
    let hears = scheme.parse_filter(filter);
    if !matches(filter, topic) {
        return;
    }
    let Ok(parsed) = scheme.parse(topic) else {
        return;
    };
    let hears = hears.unwrap_or_else(|error| panic!("{filter:?} matches {topic:?}: {error}"));
    assert!(hears.direction.is_none_or(|it| it == parsed.direction));
    assert!(hears.uid.is_none_or(|uid| uid == parsed.uid));
    assert!(hears.vin.is_none_or(|vin| vin == parsed.vin));
}

/// Whether a broker hands `topic` to a subscription of `filter` (MQTT 5, 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    let mut filters = filter.split('/').peekable();
    while let Some(filter) = filters.next() {
        if filter == "#" {
            return filters.peek().is_none();
        }
        match levels.next() {
            Some(level) if filter == "+" || filter == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
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
