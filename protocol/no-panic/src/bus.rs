use core::hint::black_box;

use vinbus_protocol::bus::access::{AccessRules, Action, Denial, Permission, Place, Rule, Subject};
use vinbus_protocol::bus::{BaseFields, BusTopic, Owner, PayloadKind, TopicSpec, topics};

use crate::{bytes, displayed, number, text, used};

pub fn prove() {
    build();
    parse();
    access();
    if let Ok(fields) = BaseFields::read(bytes()) {
        if let Some(session) = fields.session_id {
            displayed(&session);
        }
    }
}

fn build() {
    let variables: &[(&str, &str)] = black_box(&[]);
    for spec in black_box(topics::ALL).iter().chain(topics::OF_HOST) {
        TopicSpec::variables(spec).for_each(used);
        used(PayloadKind::is_json(spec.payload));
        for built in [
            TopicSpec::topic(spec, variables),
            TopicSpec::filter(spec, variables),
        ] {
            match black_box(built) {
                Ok(topic) => used(topic),
                Err(error) => displayed(&error),
            }
        }
    }
    let owner = black_box(Owner::App(text()));
    let context: &[&str] = black_box(&[]);
    used(Owner::topic(owner, text(), text(), context));
    used(Owner::filter(owner, text(), text()));
}

fn parse() {
    match black_box(BusTopic::parse(text())) {
        Ok(topic) => {
            BusTopic::variables(&topic).for_each(used);
            used(BusTopic::variable(&topic, text()));
        }
        Err(error) => displayed(&error),
    }
}

fn access() {
    match black_box(Permission::parse(text())) {
        Ok(permission) => {
            displayed(&permission);
            used(Permission::as_str(&permission).len());
            used(Permission::permits(&permission, text(), text()));
        }
        Err(error) => displayed(&error),
    }
    let subject = Subject::<&str> {
        apps: black_box(&[]),
        user: black_box(None),
        permissions: black_box(&[]),
        superuser: number() == 0,
    };
    let rules = AccessRules {
        lenient: number() == 0,
    };
    let action = black_box(Action::Subscribe);
    match black_box(AccessRules::decide(rules, &subject, action, text())) {
        Ok(rule) => {
            used(Rule::name(&rule));
            displayed(&rule);
        }
        Err(denial) => {
            used(Denial::name(&denial));
            displayed(&denial);
        }
    }
    used(Place::name(black_box(Place::Root)));
}
