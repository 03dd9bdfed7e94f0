//! Which applications of the bus are told what (SPEC 17.1, 18.6).

use vinbus_protocol::id::{AppId, Uid, Vin};

use super::rules::Rules;
use crate::bus::ClientName;
use crate::hub::HubEvent;

/// An application that is told what happens to a partner's vehicles and messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The application.
    pub app: ClientName,
    /// The partner.
    pub uid: Uid,
    /// What of it.
    pub hears: Hears,
}

/// What a [`Listener`] is told of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hears {
    /// Everything.
    Everything,
    /// What becomes of the messages for one app, in one vehicle or all.
    Messages {
        /// The vehicle.
        vin: Option<Vin>,
        /// The app.
        app: AppId,
    },
    /// What one vehicle, or each, sent that was refused.
    Refusals {
        /// The vehicle.
        vin: Option<Vin>,
    },
}

/// All who are told. Nobody is told of a partner that no [`Listener`] names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(Vec<Listener>);

impl Audience {
    /// These, each once.
    #[must_use]
    pub fn new(listeners: Vec<Listener>) -> Self {
        let mut each = Self(Vec::with_capacity(listeners.len()));
        listeners.into_iter().for_each(|it| each.add(it));
        each
    }

    /// The applications of rules, which are told what becomes of their own messages.
    #[must_use]
    pub fn of_rules(rules: &Rules) -> Self {
        let listener = |rule: &super::Rule, hears| Listener {
            app: rule.app.clone(),
            uid: rule.uid.clone(),
            hears,
        };
        let listeners = rules.iter().flat_map(|rule| {
            let vin = rule.vin;
            let down = rule.down.as_ref().map(|down| {
                let app = down.app.clone();
                listener(rule, Hears::Messages { vin, app })
            });
            let up = rule
                .up
                .as_ref()
                .map(|_| listener(rule, Hears::Refusals { vin }));
            down.into_iter().chain(up)
        });
        Self::new(listeners.collect())
    }

    /// Both.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        other.0.into_iter().for_each(|it| self.add(it));
        self
    }

    fn add(&mut self, listener: Listener) {
        if !self.0.contains(&listener) {
            self.0.push(listener);
        }
    }

    /// Whether there is nobody to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter()
    }

    /// Whether an application is told of any events with this scope (SPEC 17.2).
    #[must_use]
    pub fn tells(&self, app: &ClientName, scope: &str) -> bool {
        let mut own = self.0.iter().filter(|it| it.app == *app);
        own.any(|it| match it.hears {
            Hears::Everything => true,
            Hears::Messages { .. } => matches!(scope, "message" | "missed"),
            Hears::Refusals { .. } => matches!(scope, "refused" | "missed"),
        })
    }

    /// The applications that are told of an event, each once.
    pub(super) fn of(&self, event: &HubEvent) -> Vec<&ClientName> {
        each(self.0.iter().filter(|it| it.is_told_of(event)))
    }

    /// The applications that are told what a partner's vehicles send.
    pub(super) fn of_received(&self, uid: &Uid) -> Vec<&ClientName> {
        each(self.everything().filter(|it| it.uid == *uid))
    }

    /// Every application.
    pub(super) fn apps(&self) -> Vec<&ClientName> {
        each(self.0.iter())
    }

    /// Whether anybody is told what vehicles send.
    pub(super) fn is_told_of_received(&self) -> bool {
        self.everything().next().is_some()
    }

    /// The partner whose vehicles' messages are told, if it is only one.
    pub(super) fn only_uid(&self) -> Option<Uid> {
        let mut uids = self.everything().map(|it| &it.uid);
        let first = uids.next()?;
        uids.all(|uid| uid == first).then(|| first.clone())
    }

    fn everything(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter().filter(|it| it.hears == Hears::Everything)
    }
}

impl Listener {
    fn is_told_of(&self, event: &HubEvent) -> bool {
        let uids = match event {
            HubEvent::Presence { partners, .. } => &partners[..],
            HubEvent::Health { uid, .. } | HubEvent::Refused { uid, .. } => {
                std::slice::from_ref(uid)
            }
            HubEvent::Step { message, .. } => std::slice::from_ref(&message.uid),
        };
        if !uids.contains(&self.uid) {
            return false;
        }
        match (&self.hears, event) {
            (Hears::Everything, _) => true,
            (Hears::Messages { vin, app }, HubEvent::Step { message, .. }) => {
                vin.is_none_or(|vin| vin == message.vin) && *app == message.app
            }
            (Hears::Refusals { vin }, HubEvent::Refused { vin: of, .. }) => {
                vin.is_none_or(|vin| vin == *of)
            }
            (Hears::Messages { .. } | Hears::Refusals { .. }, _) => false,
        }
    }
}

/// The applications of some, each once.
fn each<'a>(listeners: impl Iterator<Item = &'a Listener>) -> Vec<&'a ClientName> {
    let mut each = Vec::new();
    for listener in listeners {
        if !each.contains(&&listener.app) {
            each.push(&listener.app);
        }
    }
    each
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::hub::MessageHead;
    use crate::model::{Brief, MessageId, Step};

    const VIN: &str = "0123456789ABCDEFG";

    fn listener(app: &str, uid: &str, hears: Hears) -> Listener {
        Listener {
            app: ClientName::parse(app).unwrap(),
            uid: Uid::parse(uid).unwrap(),
            hears,
        }
    }

    fn step(uid: &str, app: &str) -> HubEvent {
        HubEvent::Step {
            id: MessageId("m".to_owned()),
            message: MessageHead {
                vin: Vin::parse(VIN).unwrap(),
                uid: Uid::parse(uid).unwrap(),
                app: AppId::parse(app).unwrap(),
                expires_at: UNIX_EPOCH,
                brief: Brief::default(),
                request_id: None,
            },
            step: Step::Sent,
            at: UNIX_EPOCH,
        }
    }

    fn names(apps: Vec<&ClientName>) -> Vec<String> {
        apps.into_iter().map(ToString::to_string).collect()
    }

    #[test]
    fn application_is_told_of_its_own_partners_only() {
        let audience = Audience::new(vec![
            listener("one", "mine", Hears::Everything),
            listener("two", "mine", Hears::Everything),
            listener("two", "yours", Hears::Everything),
            listener("one", "mine", Hears::Everything),
        ]);
        let told = |uid: &str| {
            let received = names(audience.of_received(&Uid::parse(uid).unwrap()));
            assert_eq!(names(audience.of(&step(uid, "demo"))), received);
            received
        };
        assert_eq!(told("mine"), ["one", "two"]);
        assert_eq!(told("yours"), ["two"]);
        assert_eq!(told("another"), [""; 0]);
        assert_eq!(names(audience.apps()), ["one", "two"]);
        assert_eq!(audience.only_uid(), None);
    }

    #[test]
    fn application_of_a_rule_is_told_of_the_messages_of_its_app_only() {
        let hears = |vin: &str| Hears::Messages {
            vin: Some(Vin::parse(vin).unwrap()),
            app: AppId::parse("demo").unwrap(),
        };
        let audience = Audience::new(vec![
            listener("one", "mine", hears(VIN)),
            listener("two", "mine", hears("0123456789ABCDEFH")),
            listener("three", "mine", Hears::Refusals { vin: None }),
        ]);
        assert_eq!(names(audience.of(&step("mine", "demo"))), ["one"]);
        assert_eq!(names(audience.of(&step("mine", "other"))), [""; 0]);
        assert_eq!(names(audience.of(&step("yours", "demo"))), [""; 0]);
        let refused = HubEvent::Refused {
            vin: Vin::parse(VIN).unwrap(),
            uid: Uid::parse("mine").unwrap(),
            reason: "json",
            detail: String::new(),
        };
        assert_eq!(names(audience.of(&refused)), ["three"]);
        assert!(!audience.is_told_of_received());
        assert_eq!(audience.only_uid(), None);
    }
}
