//! What a client may do on which topic: the rules of the bus (SPEC 13), and two topics about the
//! client's own token (SPEC 15).

use std::fmt;

use vinbus_protocol::bus::access::{AccessRules, Action, Denial, Rule, Subject};
use vinbus_protocol::bus::{BuildError, BusTopicText, RENEWAL_TOPIC, topics};

use super::{BusClient, ClientKey, PermissionError, Permissions};

/// The rules, with what of them is a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BusRules(AccessRules);

/// What allows a client to do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allowance<'a> {
    /// A rule of the bus.
    Rule(Rule<'a>),
    /// It is about the client's own token.
    OwnToken,
}

impl fmt::Display for Allowance<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rule(rule) => rule.fmt(f),
            Self::OwnToken => f.write_str("it is about the client's own token"),
        }
    }
}

impl BusRules {
    /// Rules that take a topic without a scope, or not.
    #[must_use]
    pub fn new(lenient: bool) -> Self {
        Self(AccessRules { lenient })
    }

    /// Checks that each of these can permit something by these rules.
    ///
    /// # Errors
    /// [`PermissionError::NoScope`] of the first that cannot.
    pub fn check(self, permissions: &Permissions) -> Result<(), PermissionError> {
        match permissions.without_scope() {
            Some(text) if !self.0.lenient => Err(PermissionError::NoScope {
                text: text.to_owned(),
            }),
            Some(_) | None => Ok(()),
        }
    }

    /// Decides whether `client` may do it.
    ///
    /// # Errors
    /// The [`Denial`] of the rule that is broken.
    pub fn decide<'a>(
        self,
        client: &'a BusClient,
        action: Action,
        topic: &'a str,
    ) -> Result<Allowance<'a>, Denial<'a>> {
        if is_about_own_token(&client.key, action, topic) {
            return Ok(Allowance::OwnToken);
        }
        let subject = Subject {
            apps: std::slice::from_ref(client.key.app.shared()),
            user: Some(&client.subject),
            permissions: client.permissions.as_slice(),
            superuser: false,
        };
        self.0.decide(&subject, action, topic).map(Allowance::Rule)
    }

    /// Decides whether the administrator may do it.
    ///
    /// # Errors
    /// The [`Denial`] of the rule that is broken.
    pub fn decide_for_admin(self, action: Action, topic: &str) -> Result<Rule<'_>, Denial<'_>> {
        let subject = Subject::<&str> {
            apps: &[],
            user: None,
            permissions: &[],
            superuser: true,
        };
        self.0.decide(&subject, action, topic)
    }
}

/// Where a client is told that its token ends soon.
///
/// # Errors
/// None for a key that was parsed: its names are levels of a topic.
pub fn expiry_topic(key: &ClientKey) -> Result<BusTopicText, BuildError> {
    let variables = [
        ("appId", key.app.as_str()),
        ("clientId", key.client.as_str()),
    ];
    topics::PLATFORM_TOKEN_EXPIRING.topic(&variables)
}

/// Whether a topic or filter, also that of a shared subscription, is one of the bus and not of the
/// vehicle tree.
#[must_use]
pub fn is_of_bus(topic: &str) -> bool {
    let topic = match topic.strip_prefix("$share/") {
        Some(shared) => shared.split_once('/').map_or("", |(_, filter)| filter),
        None => topic,
    };
    let root = topic.split_once('/').map_or(topic, |(root, _)| root);
    matches!(root, "app" | "user" | "system")
}

fn is_about_own_token(key: &ClientKey, action: Action, topic: &str) -> bool {
    match action {
        Action::Publish => topic == RENEWAL_TOPIC,
        // What is denied for all others is looked at closer.
        Action::Subscribe | Action::Deliver => {
            topic.contains("/token/expiring/")
                && expiry_topic(key).is_ok_and(|own| own.as_str() == topic)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::bus::ClientName;

    fn client(permissions: &[&str]) -> BusClient {
        BusClient {
            key: ClientKey {
                app: ClientName::parse("myapp").unwrap(),
                client: ClientName::parse("dashboard").unwrap(),
            },
            name: None,
            subject: "s".to_owned(),
            secret_argon2id: String::new(),
            permissions: Arc::new(Permissions::parse(permissions).unwrap()),
            disabled: false,
            generation: 0,
            revoked_until: 0,
            created_at: UNIX_EPOCH,
            changed_at: UNIX_EPOCH,
            changes: 0,
        }
    }

    #[test]
    fn a_client_hears_of_its_own_token_and_renews_it_whatever_its_permissions() {
        let client = client(&["ui.content"]);
        let decide = |action, topic| BusRules::default().decide(&client, action, topic).is_ok();
        let own = "app/myapp/platform/token/expiring/dashboard";
        assert!(decide(Action::Subscribe, own) && decide(Action::Deliver, own));
        assert!(decide(Action::Publish, RENEWAL_TOPIC));
        assert!(!decide(Action::Publish, own));
        assert!(!decide(Action::Subscribe, RENEWAL_TOPIC));
        for foreign in [
            "app/myapp/platform/token/expiring/other",
            "app/myapp/platform/token/expiring/+",
            "app/other/platform/token/expiring/dashboard",
            "$share/group/app/myapp/platform/token/expiring/dashboard",
        ] {
            assert!(!decide(Action::Subscribe, foreign), "{foreign}");
        }
    }

    #[test]
    fn permission_that_permits_nothing_is_refused_and_named() {
        for (text, strict, lenient) in [
            ("*", true, true),
            ("*.*", true, true),
            ("vehicle.*", true, true),
            ("platform.app:editor", true, true),
            ("vehicle", false, true),
        ] {
            let permissions = Permissions::parse(&["ui.content", text]).unwrap();
            for (rules, expected) in [(false, strict), (true, lenient)] {
                let checked = BusRules::new(rules).check(&permissions);
                assert_eq!(checked.is_ok(), expected, "{text} {rules}");
                if let Err(error) = checked {
                    let told = error.to_string();
                    assert!(told.contains(&format!("{text:?}")), "{told}");
                    assert!(told.contains(&format!("{text}.*")), "{told}");
                }
            }
        }
    }

    #[test]
    fn topics_of_the_bus_are_told_from_others() {
        for topic in [
            "app",
            "app/a/b/c",
            "user/u/#",
            "system/x",
            "$share/g/app/a/b/c",
        ] {
            assert!(is_of_bus(topic), "{topic}");
        }
        for topic in [
            "",
            "#",
            "+/a",
            "apps/a",
            "$share/g",
            "$SYS/app",
            "psa/app/a",
            "/app",
        ] {
            assert!(!is_of_bus(topic), "{topic}");
        }
    }
}
