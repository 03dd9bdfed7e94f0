//! Bus vectors: the topic map, topics taken apart, base fields of payloads, and access decisions.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use vinbus_protocol::bus::access::{AccessRules, Action, Permission, Subject};
use vinbus_protocol::bus::{BaseFields, BusTopic, Owner, PayloadKind, topics};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    about: String,
    #[serde(default)]
    map: Vec<Entry>,
    #[serde(default)]
    of_host: Vec<Entry>,
    parse: Vec<Parse>,
    fields: Vec<Fields>,
    access: Vec<Access>,
}

/// An entry of the topic map, with each variable's own name as its value.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    pattern: String,
    resource: String,
    scope: String,
    payload: String,
    topic: String,
    filter: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parse {
    name: String,
    topic: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parsed: Option<Parsed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Parsed {
    owner: String,
    resource: String,
    scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_as: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    variables: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    payload: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    fields: Option<BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Access {
    name: String,
    #[serde(default)]
    apps: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(default)]
    permissions: Vec<String>,
    #[serde(default, skip_serializing_if = "is_false")]
    superuser: bool,
    #[serde(default, skip_serializing_if = "is_false")]
    lenient: bool,
    topic: String,
    #[serde(default)]
    decided: BTreeMap<String, String>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde asks for a reference"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Derives everything that is not an input.
pub(crate) fn derive(file: &mut File) {
    file.map = topics::ALL.iter().map(Entry::of).collect();
    file.of_host = topics::OF_HOST.iter().map(Entry::of).collect();
    for case in &mut file.parse {
        case.derive();
    }
    for case in &mut file.fields {
        case.derive();
    }
    for case in &mut file.access {
        case.derive();
    }
}

impl Entry {
    fn of(spec: &vinbus_protocol::bus::TopicSpec) -> Self {
        let variables: Vec<_> = spec.variables().map(|name| (name, name)).collect();
        Self {
            name: format!("{}.{}", spec.group, spec.key),
            pattern: spec.pattern.into(),
            resource: spec.resource.into(),
            scope: spec.scope.into(),
            payload: payload(spec.payload).into(),
            topic: spec.topic(&variables).expect("a topic").as_str().into(),
            filter: spec.filter(&[]).expect("a filter").as_str().into(),
        }
    }
}

impl Parse {
    fn derive(&mut self) {
        (self.parsed, self.error) = match BusTopic::parse(&self.topic) {
            Ok(topic) => (Some(Parsed::of(topic)), None),
            Err(error) => (None, Some(error.to_string())),
        };
    }
}

impl Parsed {
    fn of(topic: BusTopic<'_>) -> Self {
        Self {
            owner: match topic.owner {
                Owner::App(app) => format!("app {app}"),
                Owner::User(user) => format!("user {user}"),
                Owner::System => "system".into(),
            },
            resource: topic.resource.into(),
            scope: topic.scope.into(),
            context: topic.context.map(Into::into),
            known_as: topic
                .spec
                .map(|spec| format!("{}.{}", spec.group, spec.key)),
            variables: topic
                .variables()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
        }
    }
}

impl Fields {
    fn derive(&mut self) {
        (self.fields, self.error) = match BaseFields::read(self.payload.as_bytes()) {
            Ok(fields) => {
                let all = [
                    ("appId", fields.app_id),
                    ("clientId", fields.client_id),
                    ("requestId", fields.request_id),
                    ("userId", fields.user_id),
                    ("ts", fields.ts),
                    ("sessionId", fields.session_id),
                ];
                let known = all
                    .into_iter()
                    .filter_map(|(name, value)| Some((name.into(), value?.to_string())));
                (Some(known.collect()), None)
            }
            Err(error) => (None, Some(error.reason.name().into())),
        };
    }
}

impl Access {
    fn derive(&mut self) {
        let permissions: Vec<_> = self
            .permissions
            .iter()
            .map(|text| Permission::parse(text.clone()).expect("a permission"))
            .collect();
        let subject = Subject {
            apps: &self.apps,
            user: self.user.as_deref(),
            permissions: &permissions,
            superuser: self.superuser,
        };
        let rules = AccessRules {
            lenient: self.lenient,
        };
        let decide = |action| match rules.decide(&subject, action, &self.topic) {
            Ok(rule) => format!("allowed: {}", rule.name()),
            Err(denial) => format!("denied: {}", denial.name()),
        };
        self.decided = [
            ("publish", Action::Publish),
            ("subscribe", Action::Subscribe),
            ("deliver", Action::Deliver),
        ]
        .map(|(name, action)| (name.into(), decide(action)))
        .into();
    }
}

fn payload(kind: PayloadKind) -> &'static str {
    match kind {
        PayloadKind::Event => "event",
        PayloadKind::Change => "change",
        PayloadKind::DialogueMessage => "dialogue message",
        PayloadKind::UiInteraction => "ui interaction",
        PayloadKind::AgentHeartBeat => "agent heartbeat",
        PayloadKind::OperationState => "operation state",
        PayloadKind::TokenRequested => "token requested",
        PayloadKind::TokenExpiring => "token expiring",
        PayloadKind::VehiclePresence => "vehicle presence",
        PayloadKind::VehicleReceived => "vehicle received",
        PayloadKind::VehicleRefused => "vehicle refused",
        PayloadKind::VehicleHealth => "vehicle health",
        PayloadKind::MessageStep => "message step",
        PayloadKind::EventsMissed => "events missed",
        PayloadKind::Bytes => "bytes",
    }
}
