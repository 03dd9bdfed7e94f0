//! Topics and filters from their parts.

use core::fmt;

use super::parse::{BusTopic, BusTopicError, Wildcards, check_level, check_text};
use super::spec::{levels, variable};
use super::{BusTopicText, Owner, TopicSpec};
use crate::id::IdError;
use crate::limits::BUS_TOPIC_BYTES_MAX;

/// Why variables do not make a topic. The caller's variables are at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BuildError {
    /// A variable that the topic needs is not among them.
    Missing {
        /// Its name.
        variable: &'static str,
    },
    /// A variable's value cannot be a level of a topic.
    Value {
        /// Its name.
        variable: &'static str,
        /// Why.
        error: IdError,
    },
    /// The topic has no variable of the name that stands at this place among those given.
    Unknown {
        /// The place, counted from 0.
        place: usize,
    },
    /// With these values it is the topic of another entry of the map, as `dialogue.toolTriggered`
    /// of a tool that is named `not-matching` is.
    OfAnother,
}

/// How a level is filled whose variable is not given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unset {
    Refused,
    Wildcard,
}

impl TopicSpec {
    /// The topic to publish on, each variable by its name: `[("appId", "myapp")]`.
    ///
    /// # Errors
    /// A [`BuildError`], for a variable that is missing, too.
    pub fn topic(&self, variables: &[(&str, &str)]) -> Result<BusTopicText, BuildError> {
        let topic = self.fill(variables, Unset::Refused)?;
        match BusTopic::parse(&topic) {
            Ok(parsed) if parsed.spec == Some(self) => Ok(topic),
            _ => Err(BuildError::OfAnother),
        }
    }

    /// The filter that hears the topic with these variables, and with any value of those that are
    /// not given.
    ///
    /// # Errors
    /// A [`BuildError`], but none for a variable that is missing.
    pub fn filter(&self, variables: &[(&str, &str)]) -> Result<BusTopicText, BuildError> {
        self.fill(variables, Unset::Wildcard)
    }

    fn fill(&self, given: &[(&str, &str)], unset: Unset) -> Result<BusTopicText, BuildError> {
        let unknown = |&(name, _): &(&str, _)| self.variables().all(|variable| variable != name);
        if let Some(place) = given.iter().position(unknown) {
            return Err(BuildError::Unknown { place });
        }
        let mut text = BusTopicText::new();
        for level in levels(self.pattern) {
            let level = match variable(level) {
                None => level,
                Some(variable) => match given.iter().find(|(name, _)| *name == variable) {
                    Some((_, value)) => {
                        check_level(value).map_err(|error| BuildError::Value { variable, error })?
                    }
                    None if unset == Unset::Wildcard => "+",
                    None => return Err(BuildError::Missing { variable }),
                },
            };
            push_level(&mut text, level);
        }
        Ok(text)
    }
}

impl Owner<'_> {
    /// A topic that the map need not know: modules of a platform may add topics while it runs.
    ///
    /// # Errors
    /// A [`BusTopicError`] for a part that cannot be a level, or for too many or too long ones.
    pub fn topic(
        self,
        resource: &str,
        scope: &str,
        context: &[&str],
    ) -> Result<BusTopicText, BusTopicError> {
        let mut text = self.subtree(resource, scope)?;
        for level in context {
            push_checked(&mut text, level)?;
        }
        check_text(&text, Wildcards::Refused)?;
        Ok(text)
    }

    /// The filter that hears all topics of a resource and scope.
    ///
    /// # Errors
    /// A [`BusTopicError`] for a part that cannot be a level.
    pub fn filter(self, resource: &str, scope: &str) -> Result<BusTopicText, BusTopicError> {
        let mut text = self.subtree(resource, scope)?;
        push_level(&mut text, "#");
        Ok(text)
    }

    fn subtree(self, resource: &str, scope: &str) -> Result<BusTopicText, BusTopicError> {
        let (root, whose) = self.levels();
        let mut text = BusTopicText::new();
        push_level(&mut text, root);
        for level in whose.into_iter().chain([resource, scope]) {
            push_checked(&mut text, level)?;
        }
        Ok(text)
    }
}

/// Appends a level from outside.
fn push_checked(text: &mut BusTopicText, level: &str) -> Result<(), BusTopicError> {
    let offset = text.len().saturating_add(1);
    let level = check_level(level).map_err(|error| BusTopicError::Level { offset, error })?;
    let len = offset.saturating_add(level.len());
    if len > BUS_TOPIC_BYTES_MAX {
        return Err(BusTopicError::TooLong { len });
    }
    push_level(text, level);
    Ok(())
}

/// Appends a level whose length is bounded, so that it fits by the derivation of
/// [`BUS_TOPIC_BYTES_MAX`] or because the caller has looked.
fn push_level(text: &mut BusTopicText, level: &str) {
    let slash = if text.is_empty() { "" } else { "/" };
    let fits = text.push_str(slash).and_then(|()| text.push_str(level));
    debug_assert!(fits.is_ok(), "BUS_TOPIC_BYTES_MAX is too small");
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { variable } => {
                write!(f, "the topic needs a value for its variable `{variable}`")
            }
            Self::Value { variable, error } => {
                write!(
                    f,
                    "the value of `{variable}` cannot stand in a topic: {error}"
                )
            }
            Self::Unknown { place } => {
                write!(f, "the topic has no variable of the name at place {place}")
            }
            Self::OfAnother => {
                f.write_str("with these values it is another topic of the topic map")
            }
        }
    }
}

impl core::error::Error for BuildError {}
