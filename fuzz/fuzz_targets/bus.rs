//! Any topic of the bus is taken apart so that building it from the parts gives it again. What an
//! allowed subscription hears may be delivered, and is of the token's own applications. Base fields
//! are those that `serde_json` finds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::Value;
use vinbus_protocol::bus::access::{AccessRules, Action, Permission, Subject};
use vinbus_protocol::bus::{BaseFields, BusTopic};

fuzz_target!(|input: &str| {
    let (topic, filter) = input.split_once('\n').unwrap_or((input, input));
    // Half of the inputs need not find the token's application by themselves.
    let owned = |text: &str| format!("app/mine/{text}");
    for topic in [topic, &owned(topic)] {
        check_topic(topic);
        for filter in [filter, &owned(filter)] {
            check_access(filter, topic);
        }
    }
    check_fields(input);
});

fn check_topic(topic: &str) {
    let Ok(parsed) = BusTopic::parse(topic) else {
        return;
    };
    let context: Vec<&str> = parsed
        .context
        .into_iter()
        .flat_map(|it| it.split('/'))
        .collect();
    if let Ok(built) = parsed.owner.topic(parsed.resource, parsed.scope, &context) {
        assert_eq!(built, topic);
    }
    if let Some(spec) = parsed.spec {
        let variables: Vec<_> = parsed.variables().collect();
        let built = spec
            .topic(&variables)
            .expect("what was parsed can be built");
        assert_eq!(built, topic);
    }
}

fn check_access(filter: &str, topic: &str) {
    let permissions = ["ui.*", "dialogue.messages", "performance"];
    let permissions = permissions.map(|text| Permission::parse(text).unwrap());
    let subject = Subject {
        apps: &["mine"],
        user: Some("me"),
        permissions: &permissions,
        superuser: false,
    };
    for lenient in [false, true] {
        let rules = AccessRules { lenient };
        if rules.decide(&subject, Action::Subscribe, filter).is_err() {
            continue;
        }
        let heard = match filter.strip_prefix("$share/") {
            Some(shared) => shared.split_once('/').expect("a group and a filter").1,
            None => filter,
        };
        if matches(heard, topic) && BusTopic::parse(topic).is_ok() {
            let delivered = rules.decide(&subject, Action::Deliver, topic);
            assert!(
                delivered.is_ok(),
                "{filter:?} hears {topic:?}: {delivered:?}"
            );
            let own = topic.starts_with("app/mine/") || topic.starts_with("user/me/");
            assert!(own, "{filter:?} hears {topic:?}");
        }
    }
}

fn check_fields(payload: &str) {
    let Ok(fields) = BaseFields::read(payload.as_bytes()) else {
        return;
    };
    // Lone surrogates and numbers out of range are valid here and not there.
    let Ok(expected) = serde_json::from_str::<Value>(payload) else {
        return;
    };
    for (name, field) in [
        ("appId", fields.app_id),
        ("requestId", fields.request_id),
        ("sessionId", fields.session_id),
    ] {
        let field = field.map(|text| text.to_string());
        assert_eq!(field.as_deref(), expected[name].as_str(), "{name}");
    }
}

/// Whether a broker hands `topic` to a subscription of `filter` (MQTT 5, 4.7).
fn matches(filter: &str, topic: &str) -> bool {
    let mut levels = topic.split('/');
    for filter in filter.split('/') {
        if filter == "#" {
            return true;
        }
        match levels.next() {
            Some(level) if filter == "+" || filter == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}
