//! Topics of the bus taken apart, without copying.

use core::fmt;

use super::spec::{levels, variable};
use super::{Owner, TopicSpec, topics};
use crate::id::{IdError, is_topic_safe};
use crate::limits::{BUS_LEVEL_BYTES_MAX, BUS_TOPIC_BYTES_MAX, BUS_TOPIC_LEVELS_MAX};
use crate::topic::is_slash;

/// A topic of the bus, taken apart. One that the topic map does not know is carried as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusTopic<'t> {
    /// Whose it is.
    pub owner: Owner<'t>,
    /// What a permission names before its point.
    pub resource: &'t str,
    /// What a permission names behind its point.
    pub scope: &'t str,
    /// What follows the scope, without the slash between them.
    pub context: Option<&'t str>,
    /// Its entry in the topic map.
    pub spec: Option<&'static TopicSpec>,
}

/// Why a text is not a topic of the bus, or not a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BusTopicError {
    /// The text is empty.
    Empty,
    /// It has `len` bytes where at most [`BUS_TOPIC_BYTES_MAX`] are allowed.
    TooLong {
        /// Bytes of the text.
        len: usize,
    },
    /// It has more than [`BUS_TOPIC_LEVELS_MAX`] levels.
    TooManyLevels,
    /// A control character, such as NUL, stands at byte `offset`.
    Control {
        /// Offset in bytes from the start of the text.
        offset: usize,
    },
    /// The `+` or `#` at byte `offset` may not stand there: nowhere in a topic, and in a filter only
    /// as a whole level, `#` as the last.
    Wildcard {
        /// Offset in bytes from the start of the text.
        offset: usize,
    },
    /// The first level is none of `app`, `user` and `system`.
    Root,
    /// It has no scope: `app/{appId}/{resource}/{scope}` is the shortest.
    TooShort,
    /// The application, user, resource or scope at byte `offset` is empty or too long.
    Level {
        /// Offset in bytes from the start of the text.
        offset: usize,
        /// Why.
        error: IdError,
    },
}

impl<'t> BusTopic<'t> {
    /// Takes a topic apart.
    ///
    /// # Errors
    /// A [`BusTopicError`] that names the first thing that is wrong.
    pub fn parse(topic: &'t str) -> Result<Self, BusTopicError> {
        check_text(topic, Wildcards::Refused)?;
        let mut rest = Rest(Some(topic));
        let level = |rest: &mut Rest<'t>| {
            let offset = topic.len().saturating_sub(rest.0.map_or(0, str::len));
            let level = rest.next().ok_or(BusTopicError::TooShort)?;
            check_level(level).map_err(|error| BusTopicError::Level { offset, error })
        };
        let owner = match rest.next() {
            Some("app") => Owner::App(level(&mut rest)?),
            Some("user") => Owner::User(level(&mut rest)?),
            Some("system") => Owner::System,
            _ => return Err(BusTopicError::Root),
        };
        let (resource, scope) = (level(&mut rest)?, level(&mut rest)?);
        let mut parsed = Self {
            owner,
            resource,
            scope,
            context: rest.0,
            spec: None,
        };
        parsed.spec = parsed.find_spec();
        Ok(parsed)
    }

    /// The variables of its entry in the map, in the order of their levels, with their values.
    pub fn variables(&self) -> impl Iterator<Item = (&'static str, &'t str)> + use<'t> {
        let (owner, context) = self.spec.map_or((None, &[][..]), |spec| {
            (spec.owner.levels().1, spec.context)
        });
        let owner = owner.zip(self.owner.levels().1);
        let context = context.iter().copied().zip(self.context_levels());
        owner
            .into_iter()
            .chain(context)
            .filter_map(|(pattern, level)| Some((variable(pattern)?, level)))
    }

    /// The value of a variable; `None` when the map does not know the topic, or the topic has no
    /// such variable.
    #[must_use]
    pub fn variable(&self, name: &str) -> Option<&'t str> {
        self.variables()
            .find_map(|(variable, value)| (variable == name).then_some(value))
    }

    /// The entry that fits best: a literal fits better than a variable.
    fn find_spec(&self) -> Option<&'static TopicSpec> {
        topics::ALL
            .iter()
            .chain(topics::OF_HOST)
            .filter(|spec| self.fits(spec))
            .max_by_key(|spec| {
                spec.context
                    .iter()
                    .filter(|level| variable(level).is_none())
                    .count()
            })
    }

    fn fits(&self, spec: &TopicSpec) -> bool {
        if spec.resource != self.resource
            || spec.scope != self.scope
            || spec.owner.levels().0 != self.owner.levels().0
        {
            return false;
        }
        let mut levels = self.context_levels();
        let (owner, whose) = (spec.owner.levels().1, self.owner.levels().1);
        let fit = spec.context.iter().all(|pattern| {
            levels.next().is_some_and(|level| match variable(pattern) {
                // The one variable that stands twice in a topic is the application.
                Some(_) if owner == Some(*pattern) => whose == Some(level),
                Some(_) => check_level(level).is_ok(),
                None => *pattern == level,
            })
        });
        fit && levels.next().is_none()
    }

    fn context_levels(&self) -> impl Iterator<Item = &'t str> + use<'t> {
        self.context.into_iter().flat_map(levels)
    }
}

/// What is left of a topic behind the levels that were read; `None` behind the last.
pub(super) struct Rest<'t>(pub(super) Option<&'t str>);

impl<'t> Iterator for Rest<'t> {
    type Item = &'t str;

    fn next(&mut self) -> Option<&'t str> {
        let text = self.0?;
        let (level, rest) = match text.split_once(is_slash) {
            Some((level, rest)) => (level, Some(rest)),
            None => (text, None),
        };
        self.0 = rest;
        Some(level)
    }
}

/// Whether wildcards may stand in a text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Wildcards {
    Refused,
    Allowed,
}

/// Checks what holds for every topic and filter: length, levels, characters.
pub(super) fn check_text(text: &str, wildcards: Wildcards) -> Result<(), BusTopicError> {
    if text.is_empty() {
        return Err(BusTopicError::Empty);
    }
    if text.len() > BUS_TOPIC_BYTES_MAX {
        return Err(BusTopicError::TooLong { len: text.len() });
    }
    let mut rest = Rest(Some(text));
    let mut start = 0_usize;
    let mut count = 0_usize;
    while let Some(level) = rest.next() {
        count = count.saturating_add(1);
        if count > BUS_TOPIC_LEVELS_MAX {
            return Err(BusTopicError::TooManyLevels);
        }
        let whole = match level {
            "+" => true,
            "#" => rest.0.is_none(),
            _ => false,
        };
        if !(whole && wildcards == Wildcards::Allowed)
            && let Some((at, c)) = level.char_indices().find(|&(_, c)| !is_topic_safe(c))
        {
            let offset = start.saturating_add(at);
            return Err(match c {
                '+' | '#' => BusTopicError::Wildcard { offset },
                _ => BusTopicError::Control { offset },
            });
        }
        start = start.saturating_add(level.len()).saturating_add(1);
    }
    Ok(())
}

/// A text that may be one level of a topic of the bus.
pub(super) fn check_level(level: &str) -> Result<&str, IdError> {
    if level.is_empty() {
        return Err(IdError::Empty);
    }
    if level.len() > BUS_LEVEL_BYTES_MAX {
        return Err(IdError::TooLong {
            len: level.len(),
            max: BUS_LEVEL_BYTES_MAX,
        });
    }
    match level.char_indices().find(|&(_, c)| !is_topic_safe(c)) {
        Some((offset, _)) => Err(IdError::Character { offset }),
        None => Ok(level),
    }
}

impl fmt::Display for BusTopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty"),
            Self::TooLong { len } => write!(
                f,
                "it has {len} bytes, at most {BUS_TOPIC_BYTES_MAX} are allowed"
            ),
            Self::TooManyLevels => write!(
                f,
                "it has more than {BUS_TOPIC_LEVELS_MAX} levels, the most that are allowed"
            ),
            Self::Control { offset } => {
                write!(f, "it has a control character at byte {offset}")
            }
            Self::Wildcard { offset } => write!(
                f,
                "the wildcard at byte {offset} may not stand there: a topic has none, and in a \
                 filter it is a whole level, `#` the last"
            ),
            Self::Root => f.write_str("its first level is none of `app`, `user` and `system`"),
            Self::TooShort => {
                f.write_str("it is too short: the form is `app/{appId}/{resource}/{scope}`")
            }
            Self::Level { offset, error } => write!(f, "the level at byte {offset}: {error}"),
        }
    }
}

impl core::error::Error for BusTopicError {}
