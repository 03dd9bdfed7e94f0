//! The access rules of the bus (SPEC 13): every topic of the map, held against what a reader can
//! check at a glance, and every way to be denied.

use proptest::collection::vec;
use proptest::prelude::*;
use vinbus_protocol::bus::access::{
    AccessRules, Action, Denial, Permission, PermissionError, Place, Rule, Subject,
    TELLS_OF_VEHICLES,
};
use vinbus_protocol::bus::{BusTopicError, Owner, topics};
use vinbus_protocol::id::IdError;

const STRICT: AccessRules = AccessRules { lenient: false };
const LENIENT: AccessRules = AccessRules { lenient: true };
const ACTIONS: [Action; 3] = [Action::Publish, Action::Subscribe, Action::Deliver];

fn permissions<'t>(texts: &[&'t str]) -> Vec<Permission<&'t str>> {
    let parse = |text: &&'t str| Permission::parse(*text).expect("a permission");
    texts.iter().map(parse).collect()
}

fn client<'a>(permissions: &'a [Permission<&'a str>]) -> Subject<'a, &'a str> {
    Subject {
        apps: &["mine", "mine-too"],
        user: Some("me"),
        permissions,
        superuser: false,
    }
}

/// What becomes of it for a client of the apps `mine` and `mine-too` and the user `me`.
fn decide<'a>(
    permissions: &'a [Permission<&'a str>],
    action: Action,
    topic: &'a str,
) -> Result<Rule<'a>, Denial<'a>> {
    STRICT.decide(&client(permissions), action, topic)
}

#[test]
fn every_topic_needs_its_permission_whatever_is_done_with_it() {
    for spec in topics::ALL.iter().chain(topics::OF_HOST) {
        let variables: Vec<_> = spec.variables().map(|name| (name, "mine")).collect();
        let topic = spec.topic(&variables).expect("a topic");
        let filter = match spec.owner {
            Owner::App(_) => spec.filter(&[("appId", "mine")]),
            Owner::User(_) | Owner::System => spec.filter(&[]),
        };
        let filter = filter.expect("a filter");
        let exact = format!("{}.{}", spec.resource, spec.scope);
        let whole = format!("{}.*", spec.resource);
        let elsewhere = permissions(&["other.*", "other.thing", "ui.other", "word"]);
        for action in ACTIONS {
            let denied = match spec.owner {
                Owner::System => Denial::System,
                _ if action == Action::Publish && topics::OF_HOST.contains(spec) => {
                    Denial::HostsOwn
                }
                Owner::App(_) | Owner::User(_) => Denial::Permission {
                    resource: spec.resource,
                    scope: spec.scope,
                },
            };
            let asked = [&topic, &filter];
            let asked = if action == Action::Subscribe {
                &asked[..]
            } else {
                &asked[..1]
            };
            for topic in asked {
                assert_eq!(decide(&elsewhere, action, topic), Err(denied), "{topic}");
                for held in [&exact, &whole, "*"] {
                    let held = permissions(&["other.*", held]);
                    let expected = match spec.owner {
                        Owner::System => Err(Denial::System),
                        _ if action == Action::Publish && topics::OF_HOST.contains(spec) => {
                            Err(Denial::HostsOwn)
                        }
                        Owner::App(_) | Owner::User(_) => Ok(Rule::Permission(held[1].as_str())),
                    };
                    assert_eq!(decide(&held, action, topic), expected, "{topic}");
                }
            }
        }
    }
}

#[test]
fn what_a_host_tells_is_published_by_nobody_else() {
    let all = permissions(&["*", "platform.*", "vehicle.*", "vehicle.message"]);
    let host = permissions(&["ui.content", TELLS_OF_VEHICLES]);
    let told = [
        "vehicle/presence/V",
        "vehicle/message/V/sent",
        "vehicle/missed",
        "vehicle/anything",
    ];
    for topic in told.map(|topic| format!("app/mine/{topic}")) {
        assert_eq!(decide(&all, Action::Publish, &topic), Err(Denial::HostsOwn));
        let telling = decide(&host, Action::Publish, &topic);
        assert_eq!(telling, Ok(Rule::Permission(TELLS_OF_VEHICLES)));
        for action in [Action::Subscribe, Action::Deliver] {
            assert!(decide(&all, action, &topic).is_ok(), "{topic}");
            assert!(decide(&host, action, &topic).is_err(), "{topic}");
        }
    }
    let elsewhere = decide(&host, Action::Publish, "app/yours/vehicle/missed");
    assert_eq!(elsewhere, Err(Denial::OtherApp("yours")));
    let expiring = "app/mine/platform/token/expiring/c";
    for held in [&all, &host] {
        let refused = decide(held, Action::Publish, expiring);
        assert_eq!(refused, Err(Denial::HostsOwn));
    }
    for topic in ["app/mine/platform/token", "user/me/vehicle/presence/V"] {
        assert!(decide(&all, Action::Publish, topic).is_ok(), "{topic}");
    }
}

#[test]
fn the_app_in_the_topic_must_be_the_tokens() {
    let all = permissions(&["*"]);
    for action in ACTIONS {
        let check = |topic, expected| assert_eq!(decide(&all, action, topic), expected, "{topic}");
        check("app/mine/ui/content", Ok(Rule::Permission("*")));
        check("app/mine-too/ui/content", Ok(Rule::Permission("*")));
        check("app/yours/ui/content", Err(Denial::OtherApp("yours")));
        check("app/min/ui/content", Err(Denial::OtherApp("min")));
        check("app//ui/content", Err(Denial::EmptyLevel(Place::App)));
        check("user/me/ui/content", Ok(Rule::Permission("*")));
        check("user/you/ui/content", Err(Denial::OtherUser("you")));
        check("user/mine/ui/content", Err(Denial::OtherUser("mine")));
    }
    let nobody = Subject::<&str> {
        apps: &[],
        user: None,
        permissions: &[],
        superuser: false,
    };
    let denied = STRICT.decide(&nobody, Action::Publish, "app/mine/ui/content");
    assert_eq!(denied, Err(Denial::OtherApp("mine")));
}

#[test]
fn wildcards_follow_the_scope_and_stand_nowhere_else() {
    let all = permissions(&["*"]);
    let check = |filter, expected| {
        assert_eq!(
            decide(&all, Action::Subscribe, filter),
            expected,
            "{filter}"
        );
    };
    check("#", Err(Denial::Wildcard(Place::Root)));
    check("+/mine/ui/content", Err(Denial::Wildcard(Place::Root)));
    check("app/#", Err(Denial::Wildcard(Place::App)));
    check("app/+/ui/content", Err(Denial::Wildcard(Place::App)));
    check("user/+/ui/content", Err(Denial::Wildcard(Place::User)));
    check("app/mine/#", Err(Denial::Wildcard(Place::Resource)));
    check("app/mine/+/content", Err(Denial::Wildcard(Place::Resource)));
    check("app/mine/ui/#", Err(Denial::Wildcard(Place::Scope)));
    check("app/mine/ui/+", Err(Denial::Wildcard(Place::Scope)));
    for allowed in ["#", "+", "+/+", "a/+/b", "a/#"] {
        let filter = format!("app/mine/ui/content/{allowed}");
        let decided = decide(&all, Action::Subscribe, &filter);
        assert_eq!(decided, Ok(Rule::Permission("*")), "{filter}");
        for action in [Action::Publish, Action::Deliver] {
            let refused = decide(&all, action, &filter);
            assert!(
                matches!(
                    refused,
                    Err(Denial::Malformed(BusTopicError::Wildcard { .. }))
                ),
                "{filter}"
            );
        }
    }
    for (filter, offset) in [
        ("app/mine/ui/content+", 19),
        ("app/mine/ui/content/#/a", 20),
        ("app/mine/ui/content/a#", 21),
    ] {
        check(
            filter,
            Err(Denial::Malformed(BusTopicError::Wildcard { offset })),
        );
    }
}

#[test]
fn shared_subscription_is_decided_by_the_filter_in_it() {
    let ui = permissions(&["ui.*"]);
    let check = |action, filter, expected| {
        assert_eq!(decide(&ui, action, filter), expected, "{filter}");
    };
    let subscribe = Action::Subscribe;
    check(
        subscribe,
        "$share/g/app/mine/ui/content/#",
        Ok(Rule::Permission("ui.*")),
    );
    check(
        subscribe,
        "$share/g/app/yours/ui/content",
        Err(Denial::OtherApp("yours")),
    );
    check(
        subscribe,
        "$share/g/app/+/ui/content",
        Err(Denial::Wildcard(Place::App)),
    );
    check(subscribe, "$share/g/$SYS/#", Err(Denial::BrokersOwn));
    check(
        subscribe,
        "$share/g/",
        Err(Denial::Malformed(BusTopicError::Empty)),
    );
    check(subscribe, "$share/g", Err(Denial::Share));
    check(subscribe, "$share//app/mine/ui/content", Err(Denial::Share));
    check(
        subscribe,
        "$share/+/app/mine/ui/content",
        Err(Denial::Share),
    );
    // A second one inside is no way around.
    check(
        subscribe,
        "$share/g/$share/g/app/mine/ui/content",
        Err(Denial::BrokersOwn),
    );
    for action in [Action::Publish, Action::Deliver] {
        check(action, "$share/g/app/mine/ui/content", Err(Denial::Share));
    }
}

#[test]
fn platforms_own_topics_are_for_superusers() {
    let module = "system/platform/module/changed/m1";
    let all = permissions(&["*"]);
    let superuser = Subject {
        superuser: true,
        ..client(&[])
    };
    for action in ACTIONS {
        assert_eq!(decide(&all, action, module), Err(Denial::System));
        assert_eq!(
            decide(&all, action, "$SYS/broker/uptime"),
            Err(Denial::BrokersOwn)
        );
        assert_eq!(
            STRICT.decide(&superuser, action, module),
            Ok(Rule::Superuser)
        );
        let anothers = STRICT.decide(&superuser, action, "app/yours/ui/content");
        assert_eq!(anothers, Ok(Rule::Superuser));
    }
    let check = |action, topic, expected| {
        assert_eq!(
            STRICT.decide(&superuser, action, topic),
            expected,
            "{topic}"
        );
    };
    check(Action::Subscribe, "app/#", Ok(Rule::Superuser));
    check(Action::Subscribe, "app/+/ui/#", Ok(Rule::Superuser));
    check(Action::Subscribe, "$SYS/#", Ok(Rule::Superuser));
    check(Action::Deliver, "$SYS/broker/uptime", Ok(Rule::Superuser));
    check(
        Action::Publish,
        "$SYS/broker/uptime",
        Err(Denial::BrokersOwn),
    );
    // The vehicle tree is none of the bus.
    check(Action::Subscribe, "#", Err(Denial::Wildcard(Place::Root)));
    check(
        Action::Subscribe,
        "psa/OVIPPartners-Dev/#",
        Err(Denial::Root),
    );
}

#[test]
fn topic_without_a_scope_is_for_lenient_rules() {
    let topic = "app/mine/performance";
    let held = |texts: &'static [&'static str]| permissions(texts);
    for action in ACTIONS {
        let strict = decide(&[], action, topic);
        assert_eq!(
            strict,
            Err(Denial::NoScope {
                lenient_would_do: true
            })
        );
        assert!(strict.unwrap_err().to_string().contains("`lenient`"));
        let check = |texts, expected| {
            assert_eq!(
                LENIENT.decide(&client(&held(texts)), action, topic),
                expected
            );
        };
        check(&["performance"], Ok(Rule::Lenient("performance")));
        check(&["*"], Ok(Rule::Lenient("*")));
        let denied = Denial::BarePermission {
            name: "performance",
        };
        check(&["performance.*", "ui.performance", "other"], Err(denied));
    }
    let all = held(&["*", "performance"]);
    let check = |topic, expected| {
        let decided = LENIENT.decide(&client(&all), Action::Subscribe, topic);
        assert_eq!(decided, expected, "{topic}");
    };
    check("app/mine/+", Err(Denial::Wildcard(Place::Resource)));
    check("app/mine/#", Err(Denial::Wildcard(Place::Resource)));
    check(
        "app/mine/performance/#",
        Err(Denial::Wildcard(Place::Scope)),
    );
    check(
        "app/mine/performance/",
        Err(Denial::EmptyLevel(Place::Scope)),
    );
    check("app/yours/performance", Err(Denial::OtherApp("yours")));
    check("app/mine", Err(Denial::TooShort(Place::Resource)));
    check("app", Err(Denial::TooShort(Place::App)));
    check(
        "user/me/performance",
        Err(Denial::NoScope {
            lenient_would_do: false,
        }),
    );
}

#[test]
fn what_is_no_topic_is_denied_to_everyone() {
    let long = format!("app/mine/ui/content/{}", "x".repeat(493));
    let deep = format!("app/mine/ui/content{}", "/x".repeat(96));
    let superuser = Subject {
        superuser: true,
        ..client(&[])
    };
    for (topic, error) in [
        ("", BusTopicError::Empty),
        (
            "app/mine/ui/content\0",
            BusTopicError::Control { offset: 19 },
        ),
        (
            "app/mi\nne/ui/content",
            BusTopicError::Control { offset: 6 },
        ),
        (&long, BusTopicError::TooLong { len: 513 }),
        (&deep, BusTopicError::TooManyLevels),
    ] {
        for action in ACTIONS {
            let denied = Err(Denial::Malformed(error));
            assert_eq!(decide(&permissions(&["*"]), action, topic), denied);
            assert_eq!(STRICT.decide(&superuser, action, topic), denied);
        }
    }
    let all = permissions(&["*"]);
    for other in [
        "psa/OVIPPartners-Dev/to/uid/U/opa/V",
        "APP/mine/ui/content",
        "/app/mine/ui/a",
    ] {
        assert_eq!(
            decide(&all, Action::Publish, other),
            Err(Denial::Root),
            "{other}"
        );
    }
}

#[test]
fn fine_grained_permission_is_no_permission_for_the_topic() {
    let editor = permissions(&["platform.app:editor"]);
    let denied = Denial::Permission {
        resource: "platform",
        scope: "app",
    };
    let topic = "app/mine/platform/app/changed/mine";
    assert_eq!(decide(&editor, Action::Subscribe, topic), Err(denied));
    assert!(editor[0].permits("platform", "app:editor"));
    assert!(permissions(&["platform.*"])[0].permits("platform", "app:editor"));
}

#[test]
fn points_in_levels_cannot_be_shifted() {
    // As text, both pairs of levels are `a.b.c`.
    let held = permissions(&["a.b.c"]);
    assert!(held[0].permits("a", "b.c"));
    assert!(!held[0].permits("a.b", "c"));
}

#[test]
fn text_that_is_no_permission_is_refused_with_the_part_that_is_wrong() {
    let check = |text, error| assert_eq!(Permission::parse(text), Err(error), "{text}");
    check("", PermissionError::Resource(IdError::Empty));
    check(".content", PermissionError::Resource(IdError::Empty));
    check("ui.", PermissionError::Scope(IdError::Empty));
    check(
        "u/i.content",
        PermissionError::Resource(IdError::Character { offset: 1 }),
    );
    check(
        "ui.con#",
        PermissionError::Scope(IdError::Character { offset: 3 }),
    );
    check("ui.con*", PermissionError::Star);
    check("*.content", PermissionError::Star);
    check("**", PermissionError::Star);
    check("ui.**", PermissionError::Star);
    for permission in [
        "*",
        "ui.*",
        "ui.content",
        "platform.app:editor",
        "performance",
    ] {
        assert_eq!(Permission::parse(permission).unwrap().as_str(), permission);
    }
}

/// Levels that collide often, wildcards and hostile ones among them.
fn level() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "app",
        "user",
        "system",
        "$SYS",
        "$share",
        "g",
        "mine",
        "yours",
        "me",
        "ui",
        "content",
        "dialogue",
        "performance",
        "",
        "+",
        "#",
    ])
}

fn text() -> impl Strategy<Value = String> {
    vec(level(), 1..8).prop_map(|levels| levels.join("/"))
}

proptest! {
    /// The heart of the rules: no filter that is allowed hears anything that may not be delivered.
    #[test]
    fn what_an_allowed_filter_hears_may_be_delivered(
        filter in text(),
        topic in text(),
        held in prop::sample::subsequence(vec!["*", "ui.*", "ui.content", "performance", "dialogue.content"], 0..3),
        lenient: bool,
    ) {
        let rules = AccessRules { lenient };
        let held = permissions(&held);
        let subject = client(&held);
        let heard = filter.strip_prefix("$share/g/").unwrap_or(&filter);
        if rules.decide(&subject, Action::Subscribe, &filter).is_ok() && matches(heard, &topic) {
            let delivered = rules.decide(&subject, Action::Deliver, &topic);
            prop_assert!(delivered.is_ok(), "{filter} hears {topic}: {delivered:?}");
            prop_assert!(["app/mine/", "app/mine-too/", "user/me/"].iter().any(|own| topic.starts_with(own)));
        }
    }

    #[test]
    fn lenient_rules_take_nothing_away(filter in text()) {
        let held = permissions(&["ui.*", "performance"]);
        let subject = client(&held);
        for action in ACTIONS {
            if let Ok(rule) = STRICT.decide(&subject, action, &filter) {
                prop_assert_eq!(LENIENT.decide(&subject, action, &filter), Ok(rule));
            }
        }
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
