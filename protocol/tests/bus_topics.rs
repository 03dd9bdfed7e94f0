//! Topics of the bus (SPEC 12): the map, built and taken apart; base fields against `serde_json`.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;
use vinbus_protocol::bus::{
    BaseFields, BuildError, BusTopic, BusTopicError, Owner, PayloadKind, TopicSpec, topics,
};
use vinbus_protocol::envelope::EnvelopeReason;
use vinbus_protocol::id::IdError;
use vinbus_protocol::json::{JsonReason, JsonString};
use vinbus_protocol::limits::{BUS_LEVEL_BYTES_MAX, PAYLOAD_BYTES_MAX};

/// The values of all variables of a topic, each with `text` in it.
fn values(spec: &TopicSpec, text: &str) -> Vec<(&'static str, String)> {
    let value = |name| (name, format!("{text}{name}"));
    spec.variables().map(value).collect()
}

fn borrowed<'a>(values: &'a [(&'static str, String)]) -> Vec<(&'a str, &'a str)> {
    values
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect()
}

#[test]
fn map_has_all_57_topics_and_none_twice() {
    assert_eq!(topics::ALL.len(), 57);
    let patterns: BTreeSet<_> = topics::ALL.iter().map(|spec| spec.pattern).collect();
    assert_eq!(patterns.len(), 57);
    let names: BTreeSet<_> = topics::ALL
        .iter()
        .map(|spec| (spec.group, spec.key))
        .collect();
    assert_eq!(names.len(), 57);
    let raw = topics::ALL.iter().filter(|spec| !spec.payload.is_json());
    let raw: Vec<_> = raw.map(|spec| spec.key).collect();
    assert_eq!(raw, ["userSpeech", "userSpeechStream", "agentSpeech"]);
    assert_eq!(topics::UI_INTERACTION.payload, PayloadKind::UiInteraction);
}

#[test]
fn host_adds_topics_that_are_none_of_the_map() {
    let of_host = topics::OF_HOST.iter();
    let patterns: BTreeSet<_> = of_host.map(|spec| spec.pattern).collect();
    assert_eq!(patterns.len(), topics::OF_HOST.len());
    assert!(
        topics::ALL
            .iter()
            .all(|spec| !patterns.contains(spec.pattern))
    );
    assert!(topics::OF_HOST.iter().all(|spec| spec.payload.is_json()));
}

#[test]
fn every_topic_is_taken_apart_into_what_it_was_built_from() {
    for spec in topics::ALL.iter().chain(topics::OF_HOST) {
        let values = values(spec, "é-");
        let topic = spec.topic(&borrowed(&values)).expect("a topic");
        let parsed = BusTopic::parse(&topic).expect("a topic of the bus");
        assert_eq!(parsed.spec, Some(spec), "{topic}");
        let expected = borrowed(&values);
        assert_eq!(parsed.variables().collect::<Vec<_>>(), expected, "{topic}");
        for (name, value) in expected {
            assert_eq!(parsed.variable(name), Some(value));
        }
        assert_eq!(parsed.variable("none"), None);
    }
}

#[test]
fn longest_values_fit_and_longer_ones_are_refused() {
    let longest = "v".repeat(BUS_LEVEL_BYTES_MAX);
    let longer = format!("{longest}v");
    for spec in topics::ALL.iter().chain(topics::OF_HOST) {
        let with = |value| {
            spec.variables()
                .map(|name| (name, value))
                .collect::<Vec<_>>()
        };
        assert!(
            spec.topic(&with(longest.as_str())).is_ok(),
            "{}",
            spec.pattern
        );
        let error = IdError::TooLong { len: 97, max: 96 };
        let variable = spec.variables().next().expect("a variable");
        let refused = Err(BuildError::Value { variable, error });
        assert_eq!(spec.topic(&with(longer.as_str())), refused);
    }
}

#[test]
fn filter_hears_what_is_not_given() {
    let check = |spec: TopicSpec, given: &[(&str, &str)], expected: &str| {
        assert_eq!(spec.filter(given).unwrap(), expected);
    };
    check(
        topics::DIALOGUE_AGENT_SPEECH,
        &[("appId", "a"), ("messageId", "m")],
        "app/a/dialogue/speech/+/m/+",
    );
    check(
        topics::DIALOGUE_AGENT_SPEECH,
        &[],
        "app/+/dialogue/speech/+/+/+",
    );
    check(topics::UI_CONTENT, &[("appId", "a")], "app/a/ui/content");
    check(
        topics::PLATFORM_APP_CHANGED,
        &[("appId", "a")],
        "app/a/platform/app/changed/a",
    );
    check(
        topics::PLATFORM_MODULE_CHANGED,
        &[],
        "system/platform/module/changed/+",
    );
}

#[test]
fn variables_that_make_no_topic_are_named() {
    let tool = topics::DIALOGUE_TOOL_TRIGGERED;
    let check = |given: &[(&str, &str)], error| assert_eq!(tool.topic(given), Err(error));
    check(&[("appId", "a")], BuildError::Missing { variable: "name" });
    check(
        &[("appId", "a"), ("nmae", "t")],
        BuildError::Unknown { place: 1 },
    );
    let value = |error| BuildError::Value {
        variable: "name",
        error,
    };
    check(&[("appId", "a"), ("name", "")], value(IdError::Empty));
    for hostile in ["t/x", "t+", "t#", "t\0", "t\n"] {
        let error = value(IdError::Character { offset: 1 });
        check(&[("appId", "a"), ("name", hostile)], error);
    }
    check(
        &[("appId", "a"), ("name", "not-matching")],
        BuildError::OfAnother,
    );
    let widened = topics::UI_CONTENT.filter(&[("appid", "a")]);
    assert_eq!(widened, Err(BuildError::Unknown { place: 0 }));
}

#[test]
fn literal_fits_better_than_a_variable() {
    let spec = |topic| BusTopic::parse(topic).unwrap().spec.map(|spec| spec.key);
    assert_eq!(
        spec("app/a/dialogue/tool/not-matching"),
        Some("toolNotMatching")
    );
    assert_eq!(spec("app/a/dialogue/tool/hammer"), Some("toolTriggered"));
    assert_eq!(
        spec("app/a/dialogue/task/handler"),
        Some("taskFieldHandler")
    );
    assert_eq!(spec("app/a/dialogue/task/changed/7"), Some("taskChanged"));
    assert_eq!(spec("app/a/dialogue/user-speech/s/c"), Some("userSpeech"));
    assert_eq!(
        spec("app/a/dialogue/user-speech/stream/s/c"),
        Some("userSpeechStream")
    );
}

#[test]
fn topic_that_the_map_does_not_know_is_carried_as_it_is() {
    let check = |topic, owner, context| {
        let parsed = BusTopic::parse(topic).unwrap();
        assert_eq!((parsed.resource, parsed.scope), ("ui", "status"), "{topic}");
        assert_eq!(
            (parsed.owner, parsed.context, parsed.spec),
            (owner, context, None)
        );
        assert_eq!(parsed.variables().count(), 0);
    };
    check("app/a/ui/status/more//", Owner::App("a"), Some("more//"));
    check("app/a/ui/status/", Owner::App("a"), Some(""));
    check("user/u/ui/status", Owner::User("u"), None);
    check("system/ui/status", Owner::System, None);
    // What one application says about another one is not `platform.appChanged`.
    let spec = |topic| BusTopic::parse(topic).unwrap().spec;
    assert!(spec("app/a/platform/app/changed/a").is_some());
    assert!(spec("app/a/platform/app/changed/b").is_none());
}

#[test]
fn topic_that_modules_add_is_built_from_its_levels() {
    let app = Owner::App("a");
    assert_eq!(
        app.topic("weather", "now", &[]).unwrap(),
        "app/a/weather/now"
    );
    let deeper = Owner::User("u").topic("weather", "now", &["b", "c"]);
    assert_eq!(deeper.unwrap(), "user/u/weather/now/b/c");
    assert_eq!(
        Owner::System.filter("weather", "now").unwrap(),
        "system/weather/now/#"
    );
    let level = |offset, error| Err(BusTopicError::Level { offset, error });
    assert_eq!(app.topic("", "now", &[]), level(6, IdError::Empty));
    let wildcard = IdError::Character { offset: 0 };
    assert_eq!(app.filter("weather", "+"), level(14, wildcard));
    let long = "x".repeat(BUS_LEVEL_BYTES_MAX);
    let len = "app/a/weather/now".len() + 6 * (1 + BUS_LEVEL_BYTES_MAX);
    let too_long = app.topic("weather", "now", &[long.as_str(); 6]);
    assert_eq!(too_long, Err(BusTopicError::TooLong { len }));
    assert!(app.topic("weather", "now", &["x"; 12]).is_ok());
    let too_many = app.topic("weather", "now", &["x"; 13]);
    assert_eq!(too_many, Err(BusTopicError::TooManyLevels));
}

#[test]
fn parser_names_what_is_wrong() {
    let check = |topic: &str, error| assert_eq!(BusTopic::parse(topic), Err(error), "{topic}");
    check("", BusTopicError::Empty);
    check("psa/a/ui/status", BusTopicError::Root);
    check("app", BusTopicError::TooShort);
    check("app/a/performance", BusTopicError::TooShort);
    check("system/platform", BusTopicError::TooShort);
    check(
        "app//ui/status",
        BusTopicError::Level {
            offset: 4,
            error: IdError::Empty,
        },
    );
    check(
        "app/a//status",
        BusTopicError::Level {
            offset: 6,
            error: IdError::Empty,
        },
    );
    check(
        "app/a/ui/",
        BusTopicError::Level {
            offset: 9,
            error: IdError::Empty,
        },
    );
    check("app/a/ui/+", BusTopicError::Wildcard { offset: 9 });
    check("app/a/ui/status/#", BusTopicError::Wildcard { offset: 16 });
    check("app/a/ui/st\0tus", BusTopicError::Control { offset: 11 });
    check(&"a/".repeat(20), BusTopicError::TooManyLevels);
    check(&"a".repeat(513), BusTopicError::TooLong { len: 513 });
}

#[test]
fn fields_are_read_whatever_else_the_payload_holds() {
    let payload = r#" {"appId":"a","requestId":null,"ts":12,"x":{"userId":"no"},"sessionId":"s",
        "\u0063lientId":"c\u00e9","sessionId":"last"} "#;
    let fields = BaseFields::read(payload.as_bytes()).unwrap();
    let text = |field: Option<JsonString<'_>>| field.map(|text| text.to_string());
    assert_eq!(text(fields.app_id).as_deref(), Some("a"));
    assert_eq!(text(fields.client_id).as_deref(), Some("cé"));
    assert_eq!(text(fields.session_id).as_deref(), Some("last"));
    let missing = [fields.request_id, fields.user_id, fields.ts];
    assert!(missing.iter().all(Option::is_none));
}

#[test]
fn payload_that_is_no_object_is_refused() {
    let check = |payload: &[u8], reason, offset| {
        let error = BaseFields::read(payload).expect_err("it is wrong");
        assert_eq!((error.reason, error.offset), (reason, offset));
    };
    check(b" ", EnvelopeReason::Empty, 1);
    check(b" [1]", EnvelopeReason::NotAnObject, 1);
    check(b"\xff", EnvelopeReason::Utf8, 0);
    check(
        br#"{"appId":"a",}"#,
        EnvelopeReason::Json(JsonReason::ExpectedName),
        13,
    );
    let large = vec![b' '; PAYLOAD_BYTES_MAX + 1];
    let too_large = EnvelopeReason::TooLarge {
        len: PAYLOAD_BYTES_MAX + 1,
        max: PAYLOAD_BYTES_MAX,
    };
    check(&large, too_large, PAYLOAD_BYTES_MAX);
}

proptest! {
    #[test]
    fn parser_agrees_with_a_plain_split(levels in vec("[a-c]{0,2}|app|user|system|ui|status|\\+|#|\u{0}", 1..9)) {
        let topic = levels.join("/");
        let levels: Vec<&str> = levels.iter().map(String::as_str).collect();
        let expected = match &levels[..] {
            ["app", app, resource, scope, ..] => Some((Owner::App(app), *resource, *scope)),
            ["user", user, resource, scope, ..] => Some((Owner::User(user), *resource, *scope)),
            ["system", resource, scope, ..] => Some((Owner::System, *resource, *scope)),
            _ => None,
        };
        let expected = expected.filter(|(owner, resource, scope)| {
            let named = !matches!(owner, Owner::App("") | Owner::User(""));
            named && !resource.is_empty() && !scope.is_empty() && !topic.contains(['+', '#', '\0'])
        });
        let parsed = BusTopic::parse(&topic).ok();
        prop_assert_eq!(parsed.map(|it| (it.owner, it.resource, it.scope)), expected);
    }

    #[test]
    fn fields_are_those_that_serde_json_finds(
        names in vec("appId|clientId|requestId|userId|ts|sessionId|other", 0..8),
        value in "[\"\\\\a-c]{0,4}|\\pc{0,4}",
    ) {
        let members: Vec<_> = names.iter().enumerate().map(|(at, name)| {
            let value = serde_json::to_string(&format!("{value}{at}")).unwrap();
            format!("{name:?}:{value}")
        }).collect();
        let payload = format!("{{{}}}", members.join(","));
        let expected: serde_json::Value = serde_json::from_str(&payload).unwrap();
        let fields = BaseFields::read(payload.as_bytes()).unwrap();
        for (name, field) in [
            ("appId", fields.app_id),
            ("clientId", fields.client_id),
            ("requestId", fields.request_id),
            ("userId", fields.user_id),
            ("ts", fields.ts),
            ("sessionId", fields.session_id),
        ] {
            let field = field.map(|text| text.to_string());
            prop_assert_eq!(field.as_deref(), expected[name].as_str());
        }
    }
}
