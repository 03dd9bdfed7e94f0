//! The topics of a rule, `resource/scope` and more levels, some of them `:variables` (SPEC 18.2).

use std::fmt;

use vinbus_protocol::bus::{BusTopic, BusTopicError, BusTopicText, Owner};
use vinbus_protocol::id::Vin;
use vinbus_protocol::limits::BUS_LEVEL_BYTES_MAX;

/// The variable that stands for the vehicle.
const VIN_VARIABLE: &str = "vin";

/// The topics of one application that a rule is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    resource: String,
    scope: String,
    context: Vec<Level>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    Vehicle,
    Variable(String),
}

/// Why a text is no [`Pattern`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// There is no resource or no scope.
    #[error(
        "write resource/scope, such as \"robotics/move\", and more levels behind them if needed"
    )]
    TooShort,
    /// A variable stands where a permission needs a word.
    #[error("resource and scope cannot be variables: permissions name them")]
    VariableInFront,
    /// A variable has no name.
    #[error("a variable needs a name behind its colon, such as \":vin\"")]
    Unnamed,
    /// A variable stands twice.
    #[error("the variable `:{name}` stands twice")]
    Twice {
        /// Its name.
        name: String,
    },
    /// It makes no topic.
    #[error("it makes no topic: {0}")]
    Topic(BusTopicError),
    /// Only the host publishes there.
    #[error("what is below `vehicle` and `platform` is the host's own: choose another resource")]
    OfHost,
}

/// Why a message makes no topic of a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unmapped {
    #[error("its content has no text or number `{name}`, which the topic {pattern} needs")]
    Missing { name: String, pattern: String },
    #[error(
        "its `{name}` cannot stand in the topic {pattern}: a level has 1 to {BUS_LEVEL_BYTES_MAX} bytes without `/`, `+`, `#` and control characters"
    )]
    Value { name: String, pattern: String },
}

impl Pattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// A [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let mut levels = text.split('/');
        let mut word = || match levels.next() {
            None | Some("") => Err(PatternError::TooShort),
            Some(level) if level.starts_with(':') => Err(PatternError::VariableInFront),
            Some(level) => Ok(level.to_owned()),
        };
        let (resource, scope) = (word()?, word()?);
        if matches!(&*resource, "vehicle" | "platform") {
            return Err(PatternError::OfHost);
        }
        let context = levels.map(|level| match level.strip_prefix(':') {
            None => Ok(Level::Literal(level.to_owned())),
            Some("") => Err(PatternError::Unnamed),
            Some(VIN_VARIABLE) => Ok(Level::Vehicle),
            Some(name) => Ok(Level::Variable(name.to_owned())),
        });
        let pattern = Self {
            resource,
            scope,
            context: context.collect::<Result<_, _>>()?,
        };
        for (place, level) in pattern.context.iter().enumerate() {
            let name = match level {
                Level::Literal(_) => continue,
                Level::Vehicle => VIN_VARIABLE,
                Level::Variable(name) => name,
            };
            if pattern.context[..place].contains(level) {
                return Err(PatternError::Twice {
                    name: name.to_owned(),
                });
            }
        }
        // With the longest values that there can be, it has to be a topic.
        let longest = "v".repeat(BUS_LEVEL_BYTES_MAX);
        pattern
            .fill(&longest, |_| Ok(longest.clone()))
            .map_err(PatternError::Topic)?;
        Ok(pattern)
    }

    /// Whether the vehicle stands in it.
    #[must_use]
    pub fn names_vehicle(&self) -> bool {
        self.context.contains(&Level::Vehicle)
    }

    /// Whether there is a topic of both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let fits = |(one, another): (&Level, &Level)| match (one, another) {
            (Level::Literal(one), Level::Literal(another)) => one == another,
            _ => true,
        };
        self.resource == other.resource
            && self.scope == other.scope
            && self.context.len() == other.context.len()
            && self.context.iter().zip(&other.context).all(fits)
    }

    /// Whether a topic is one of these; then the level that stands for the vehicle, if there is one.
    pub(super) fn fits<'t>(&self, topic: &BusTopic<'t>) -> Option<Option<&'t str>> {
        if topic.resource != self.resource || topic.scope != self.scope {
            return None;
        }
        let mut levels = topic
            .context
            .into_iter()
            .flat_map(|context| context.split('/'));
        let mut vehicle = None;
        for level in &self.context {
            let value = levels.next()?;
            match level {
                Level::Literal(literal) if literal != value => return None,
                Level::Literal(_) | Level::Variable(_) => {}
                Level::Vehicle => vehicle = Some(value),
            }
        }
        levels.next().is_none().then_some(vehicle)
    }

    /// The topic for a message of a vehicle, with the value of each other variable.
    pub(super) fn topic(
        &self,
        app: &str,
        vin: &Vin,
        value: impl Fn(&str) -> Option<String>,
    ) -> Result<BusTopicText, Unmapped> {
        let mut levels = Vec::with_capacity(self.context.len());
        for level in &self.context {
            levels.push(match level {
                Level::Literal(literal) => literal.clone(),
                Level::Vehicle => vin.as_str().to_owned(),
                Level::Variable(name) => {
                    let (name, pattern) = (name.clone(), self.to_string());
                    let value = value(&name).ok_or_else(|| Unmapped::Missing {
                        name: name.clone(),
                        pattern: pattern.clone(),
                    })?;
                    if Owner::App(app).topic("r", "s", &[&value]).is_err() || value.contains('/') {
                        return Err(Unmapped::Value { name, pattern });
                    }
                    value
                }
            });
        }
        let context: Vec<_> = levels.iter().map(String::as_str).collect();
        Owner::App(app)
            .topic(&self.resource, &self.scope, &context)
            .map_err(|_| Unmapped::Value {
                name: "appId".to_owned(),
                pattern: self.to_string(),
            })
    }

    /// The filter that hears all topics of it.
    pub(super) fn filter(&self, app: &str) -> String {
        let mut filter = format!("app/{app}/{}/{}", self.resource, self.scope);
        for level in &self.context {
            filter.push('/');
            filter.push_str(match level {
                Level::Literal(literal) => literal,
                Level::Vehicle | Level::Variable(_) => "+",
            });
        }
        filter
    }

    fn fill(
        &self,
        vehicle: &str,
        value: impl Fn(&str) -> Result<String, BusTopicError>,
    ) -> Result<(), BusTopicError> {
        let levels = self.context.iter().map(|level| match level {
            Level::Literal(literal) => Ok(literal.clone()),
            Level::Vehicle => Ok(vehicle.to_owned()),
            Level::Variable(name) => value(name),
        });
        let levels = levels.collect::<Result<Vec<_>, _>>()?;
        let context: Vec<_> = levels.iter().map(String::as_str).collect();
        Owner::App("a").topic(&self.resource, &self.scope, &context)?;
        Ok(())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.resource, self.scope)?;
        for level in &self.context {
            match level {
                Level::Literal(literal) => write!(f, "/{literal}")?,
                Level::Vehicle => write!(f, "/:{VIN_VARIABLE}")?,
                Level::Variable(name) => write!(f, "/:{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIN: &str = "0123456789ABCDEFG";

    fn pattern(text: &str) -> Pattern {
        let pattern = Pattern::parse(text).unwrap();
        assert_eq!(pattern.to_string(), text);
        pattern
    }

    #[test]
    fn topic_fits_level_by_level() {
        let fits = |text: &str, topic: &str| {
            let topic = BusTopic::parse(topic).unwrap();
            pattern(text).fits(&topic).map(|vin| vin.map(str::to_owned))
        };
        assert_eq!(fits("robotics/move", "app/a/robotics/move"), Some(None));
        assert_eq!(fits("robotics/move", "app/a/robotics/move/x"), None);
        assert_eq!(fits("robotics/move", "app/a/robotics/status"), None);
        let fleet = "robotics/move/:vin/fast";
        let found = fits(fleet, "app/a/robotics/move/V1/fast");
        assert_eq!(found, Some(Some("V1".to_owned())));
        assert_eq!(fits(fleet, "app/a/robotics/move/V1/slow"), None);
        assert_eq!(fits(fleet, "app/a/robotics/move/V1"), None);
        let session = "dialogue/messages/:sessionId";
        assert_eq!(fits(session, "app/a/dialogue/messages/s1"), Some(None));
    }

    #[test]
    fn topic_is_made_of_vehicle_and_values() {
        let vin = Vin::parse(VIN).unwrap();
        let made = |value: Option<&str>| {
            let value = |_: &str| value.map(str::to_owned);
            let topic = pattern("dialogue/messages/:sessionId/:vin").topic("a", &vin, value);
            topic.map(|topic| topic.as_str().to_owned())
        };
        let expected = format!("app/a/dialogue/messages/s1/{VIN}");
        assert_eq!(made(Some("s1")), Ok(expected));
        assert!(matches!(made(None), Err(Unmapped::Missing { .. })));
        for bad in ["", "a/b", "+", "#", "a\0", &"v".repeat(97)] {
            assert!(
                matches!(made(Some(bad)), Err(Unmapped::Value { .. })),
                "{bad}"
            );
        }
        let filter = pattern("dialogue/messages/:sessionId/:vin").filter("a");
        assert_eq!(filter, "app/a/dialogue/messages/+/+");
    }

    #[test]
    fn patterns_overlap_where_a_topic_is_of_both() {
        let overlap = |one: &str, another: &str| {
            let (one, another) = (pattern(one), pattern(another));
            assert_eq!(one.overlaps(&another), another.overlaps(&one));
            one.overlaps(&another)
        };
        assert!(overlap("a/b", "a/b"));
        assert!(overlap("a/b/:vin", "a/b/c"));
        assert!(overlap("a/b/:x/d", "a/b/c/:y"));
        assert!(!overlap("a/b/c", "a/b/d"));
        assert!(!overlap("a/b", "a/b/:vin"));
        assert!(!overlap("a/b", "a/c"));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        let check = |text: &str, expected: &str| {
            let shown = Pattern::parse(text).unwrap_err().to_string();
            assert!(shown.contains(expected), "{text}: {shown}");
        };
        check("robotics", "write resource/scope");
        check("", "write resource/scope");
        check("robotics/", "write resource/scope");
        check(":vin/move", "cannot be variables");
        check("robotics/:vin", "cannot be variables");
        check("a/b/:", "needs a name");
        check("a/b/:vin/:vin", "`:vin` stands twice");
        check("a/b/+", "it makes no topic");
        check("a/b//c", "it makes no topic");
        check("vehicle/presence", "the host's own");
        check(&format!("a/b{}", "/:x".repeat(2)), "`:x` stands twice");
        check("a/b/:1/:2/:3/:4/:5/:6", "it makes no topic: it has");
    }
}
