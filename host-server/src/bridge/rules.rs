//! What the bridge carries, as the operator has declared it (SPEC 18.1).

use std::time::Duration;

use vinbus_protocol::bus::{BusTopic, Owner};
use vinbus_protocol::id::{AppId, Uid, Vin};

use super::Pattern;
use crate::bus::ClientName;
use crate::model::{RECEIPT_SUBTOPIC, Receipts, Uplink};

/// A way between one application of the bus and one app in vehicles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The application of the bus.
    pub app: ClientName,
    /// The partner whose app it is.
    pub uid: Uid,
    /// The vehicle; without, all of the partner's.
    pub vin: Option<Vin>,
    /// What goes to vehicles.
    pub down: Option<Down>,
    /// What comes from vehicles.
    pub up: Option<Up>,
}

/// From the bus to vehicles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Down {
    /// The topics that are taken.
    pub from: Pattern,
    /// The app in the vehicle.
    pub app: AppId,
    /// How long a message is worth sending, where that is not what the host does otherwise.
    pub ttl: Option<Duration>,
    /// Whether messages carry receipts, where that is not what the host does otherwise.
    pub receipts: Option<Receipts>,
}

/// From vehicles to the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Up {
    /// The topic.
    pub to: Pattern,
    /// The messages with this subtopic only; without, those with any and with none.
    pub subtopic: Option<String>,
}

/// Why rules do not go together, and which of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// Nothing would be carried.
    #[error("it carries nothing: write from-bus, to-bus or both")]
    Nothing,
    /// The vehicle of a message would not be known.
    #[error(
        "without `vin` it is for all vehicles of the partner: `:vin` must stand in from-bus, such as \"robotics/move/:vin\""
    )]
    NoVehicle,
    /// The vehicle is named twice.
    #[error("`vin` names the vehicle already: remove `:vin` from from-bus")]
    TwoVehicles,
    /// Another rule takes the same messages.
    #[error(
        "from-bus {pattern} takes messages that the rule in line {line} takes, too: each goes to one app in one vehicle"
    )]
    Overlap {
        /// The pattern.
        pattern: String,
        /// Where the other rule is.
        line: usize,
    },
    /// What comes from vehicles would be sent to vehicles.
    #[error(
        "to-bus {pattern} is where the rule in line {line} takes messages for vehicles: choose another topic"
    )]
    Loop {
        /// The pattern.
        pattern: String,
        /// Where the other rule is.
        line: usize,
    },
}

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules(Vec<Rule>);

impl Rules {
    /// Rules that go together; `line` tells where one stands.
    ///
    /// # Errors
    /// The place of the first that does not, among `rules`, and why.
    pub fn new(
        rules: Vec<Rule>,
        line: impl Fn(usize) -> usize,
    ) -> Result<Self, (usize, RuleError)> {
        for (place, rule) in rules.iter().enumerate() {
            let refused = |error| Err((place, error));
            match (&rule.down, rule.vin) {
                (None, _) if rule.up.is_none() => return refused(RuleError::Nothing),
                (Some(down), None) if !down.from.names_vehicle() => {
                    return refused(RuleError::NoVehicle);
                }
                (Some(down), Some(_)) if down.from.names_vehicle() => {
                    return refused(RuleError::TwoVehicles);
                }
                _ => {}
            }
            let earlier = &rules[..place];
            if let Some((other, pattern)) = rule.down.as_ref().and_then(|down| {
                let other = taken_by(earlier, &rule.app, &down.from)?;
                Some((other, down.from.to_string()))
            }) {
                let line = line(other);
                return refused(RuleError::Overlap { pattern, line });
            }
            if let Some((other, pattern)) = rule.up.as_ref().and_then(|up| {
                let other = taken_by(&rules, &rule.app, &up.to)?;
                Some((other, up.to.to_string()))
            }) {
                let line = line(other);
                return refused(RuleError::Loop { pattern, line });
            }
        }
        Ok(Self(rules))
    }

    /// Whether nothing is carried.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Every rule.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.0.iter()
    }

    /// The rule that takes a topic of the bus, and the level in it that names the vehicle.
    pub(super) fn taking<'t>(&self, topic: &'t str) -> Option<(&Rule, &Down, Option<&'t str>)> {
        let topic = BusTopic::parse(topic).ok()?;
        let Owner::App(app) = topic.owner else {
            return None;
        };
        self.0.iter().find_map(|rule| {
            let down = rule.down.as_ref().filter(|_| rule.app.as_str() == app)?;
            Some((rule, down, down.from.fits(&topic)?))
        })
    }

    /// The rules that a message of a vehicle goes by.
    pub(super) fn carrying<'a>(
        &'a self,
        uplink: &'a Uplink,
    ) -> impl Iterator<Item = (&'a Rule, &'a Up)> {
        let message = &uplink.message;
        self.0.iter().filter_map(move |rule| {
            let up = rule.up.as_ref()?;
            // Receipts are told as steps of their messages.
            let fits = message.subtopic.as_deref() != Some(RECEIPT_SUBTOPIC)
                && rule.uid == message.uid
                && rule.vin.is_none_or(|vin| vin == message.vin)
                && (up.subtopic.is_none() || up.subtopic == message.subtopic);
            fits.then_some((rule, up))
        })
    }

    /// The partner of all that comes from vehicles, if it is only one.
    pub(super) fn only_uid_up(&self) -> Option<Uid> {
        let mut uids = self
            .0
            .iter()
            .filter(|rule| rule.up.is_some())
            .map(|rule| &rule.uid);
        let first = uids.next()?;
        uids.all(|uid| uid == first).then(|| first.clone())
    }
}

/// The place of the rule that takes topics of a pattern for vehicles.
fn taken_by(rules: &[Rule], app: &ClientName, pattern: &Pattern) -> Option<usize> {
    rules.iter().position(|rule| {
        let down = rule.down.as_ref();
        rule.app == *app && down.is_some_and(|down| down.from.overlaps(pattern))
    })
}
