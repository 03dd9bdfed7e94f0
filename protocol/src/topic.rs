//! Topics of the vehicle tree: `{prefix}/{to|from}/uid/{UID}/opa/{VIN}/`. The only module that
//! spells one (SPEC 2).
//!
//! The source document contradicts itself about which of `to` and `from` the host publishes on, so
//! a [`TopicProfile`] settles it for both ends alike. Code outside this module speaks of
//! [`Direction`]s only.
//!
//! Start at [`TopicScheme`]: it builds topics and filters, and parses what arrives.

mod filter;

use core::fmt;

use heapless::String;

use crate::id::{IdError, Uid, Vin, is_topic_safe};
use crate::limits::{PREFIX_BYTES_MAX, SUBTOPIC_BYTES_MAX, TOPIC_BYTES_MAX};
use crate::{health, presence};

pub use filter::ParsedFilter;

/// A topic or a topic filter, as text of at most [`TOPIC_BYTES_MAX`] bytes.
pub type TopicText = String<TOPIC_BYTES_MAX>;

/// The prefix of the source document's examples.
pub const PREFIX_DEFAULT: &str = "psa/OVIPPartners-Dev";

/// Which of the source document's two contradicting descriptions both ends follow (SPEC 2.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TopicProfile {
    /// The topic table: downlink on `to/…/`, uplink on `from/…/`, with a trailing slash.
    #[default]
    Table,
    /// The code samples: downlink on `from/…`, uplink on `to/…`, without a trailing slash.
    Sample,
}

/// Who speaks to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Host to vehicle.
    Downlink,
    /// Vehicle to host.
    Uplink,
}

/// Why a prefix or subtopic cannot be part of a topic.
pub type LevelError = IdError;

/// The prefix and the profile that both ends share; builds and parses every topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicScheme {
    prefix: String<PREFIX_BYTES_MAX>,
    profile: TopicProfile,
}

/// A topic of the vehicle tree, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedTopic<'t> {
    /// Who speaks.
    pub direction: Direction,
    /// The partner.
    pub uid: Uid,
    /// The vehicle.
    pub vin: Vin,
    /// What follows the VIN, without its leading slash; `None` when nothing or only a trailing
    /// slash follows.
    pub subtopic: Option<&'t str>,
}

/// Why a topic or a filter is not one of the vehicle tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It does not begin with the scheme's prefix and a slash.
    Prefix,
    /// The level after the prefix is neither `to` nor `from`.
    Direction,
    /// The levels `uid` and `opa` are not where they belong.
    Shape,
    /// The UID is not one.
    Uid(IdError),
    /// The VIN is not one.
    Vin(IdError),
    /// The subtopic is too long or holds `+`, `#` or control characters.
    Subtopic(IdError),
}

impl TopicScheme {
    /// A scheme of `prefix`, without slashes at its ends, and `profile`.
    ///
    /// # Errors
    /// A [`LevelError`] when the prefix is empty, longer than [`PREFIX_BYTES_MAX`], begins or ends
    /// with a slash, or holds `+`, `#` or control characters.
    pub fn new(prefix: &str, profile: TopicProfile) -> Result<Self, LevelError> {
        check_levels(prefix, PREFIX_BYTES_MAX)?;
        if prefix.starts_with('/') {
            return Err(LevelError::Character { offset: 0 });
        }
        if prefix.ends_with('/') {
            return Err(LevelError::Character {
                offset: prefix.len() - 1,
            });
        }
        let prefix = String::try_from(prefix).map_err(|_| LevelError::TooLong {
            len: prefix.len(),
            max: PREFIX_BYTES_MAX,
        })?;
        Ok(Self { prefix, profile })
    }

    /// The profile of this scheme.
    #[must_use]
    pub fn profile(&self) -> TopicProfile {
        self.profile
    }

    /// The prefix of this scheme.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The topic to publish on: with the trailing slash that the profile asks for, or with
    /// `subtopic` below the VIN (a leading slash in it is optional).
    ///
    /// # Errors
    /// A [`LevelError`] for a subtopic that is empty, longer than [`SUBTOPIC_BYTES_MAX`], or holds
    /// `+`, `#` or control characters.
    pub fn publish_topic(
        &self,
        direction: Direction,
        uid: &Uid,
        vin: &Vin,
        subtopic: Option<&str>,
    ) -> Result<TopicText, LevelError> {
        let subtopic = match subtopic {
            Some(text) => {
                let text = text.strip_prefix('/').unwrap_or(text);
                check_levels(text, SUBTOPIC_BYTES_MAX)?;
                Some(text)
            }
            None => None,
        };
        let tail = match (subtopic, self.profile) {
            (Some(text), _) => ["/", text],
            (None, TopicProfile::Table) => ["/", ""],
            (None, TopicProfile::Sample) => ["", ""],
        };
        Ok(self.vehicle(direction, uid, vin, tail))
    }

    /// The two exact filters that together hear a vehicle's topic with and without a trailing
    /// slash. Brokers match exact filters at no cost, however many vehicles subscribe.
    #[must_use]
    pub fn exact_filters(&self, direction: Direction, uid: &Uid, vin: &Vin) -> [TopicText; 2] {
        [
            self.vehicle(direction, uid, vin, ["/", ""]),
            self.vehicle(direction, uid, vin, ["", ""]),
        ]
    }

    /// The filter that hears a vehicle's topic and every subtopic: `…/{VIN}/#`.
    #[must_use]
    pub fn subtree_filter(&self, direction: Direction, uid: &Uid, vin: &Vin) -> TopicText {
        self.vehicle(direction, uid, vin, ["/#", ""])
    }

    /// The filter that hears all vehicles of a UID: `…/uid/{UID}/opa/#`.
    #[must_use]
    pub fn uid_filter(&self, direction: Direction, uid: &Uid) -> TopicText {
        self.text(direction, &["/uid/", uid.as_str(), "/opa/#"])
    }

    /// The filter that hears all vehicles of all UIDs: `…/uid/+/opa/#`.
    #[must_use]
    pub fn all_filter(&self, direction: Direction) -> TopicText {
        self.text(direction, &["/uid/+/opa/#"])
    }

    /// Takes a topic apart; accepts no or one trailing slash and an optional subtopic.
    ///
    /// # Errors
    /// A [`TopicError`] that names the first part that is wrong.
    pub fn parse<'t>(&self, topic: &'t str) -> Result<ParsedTopic<'t>, TopicError> {
        let mut levels = self.below_prefix(topic)?.splitn(5, is_slash);
        let direction = self.direction(levels.next().unwrap_or_default())?;
        let (Some("uid"), Some(uid), Some("opa"), Some(tail)) =
            (levels.next(), levels.next(), levels.next(), levels.next())
        else {
            return Err(TopicError::Shape);
        };
        let (vin, subtopic) = match tail.split_once(is_slash) {
            None | Some((_, "")) => (tail.trim_end_matches('/'), None),
            Some((vin, subtopic)) => (vin, Some(subtopic)),
        };
        if let Some(subtopic) = subtopic {
            check_levels(subtopic, SUBTOPIC_BYTES_MAX).map_err(TopicError::Subtopic)?;
        }
        Ok(ParsedTopic {
            direction,
            uid: Uid::parse(uid).map_err(TopicError::Uid)?,
            vin: Vin::parse(vin).map_err(TopicError::Vin)?,
            subtopic,
        })
    }

    fn below_prefix<'t>(&self, topic: &'t str) -> Result<&'t str, TopicError> {
        topic
            .strip_prefix(self.prefix.as_str())
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or(TopicError::Prefix)
    }

    fn direction(&self, level: &str) -> Result<Direction, TopicError> {
        match (level, self.profile) {
            ("to", TopicProfile::Table) | ("from", TopicProfile::Sample) => Ok(Direction::Downlink),
            ("from", TopicProfile::Table) | ("to", TopicProfile::Sample) => Ok(Direction::Uplink),
            _ => Err(TopicError::Direction),
        }
    }

    fn vehicle(&self, direction: Direction, uid: &Uid, vin: &Vin, tail: [&str; 2]) -> TopicText {
        let mut text = self.text(direction, &["/uid/", uid.as_str(), "/opa/", vin.as_str()]);
        push_all(&mut text, &tail);
        text
    }

    fn text(&self, direction: Direction, parts: &[&str]) -> TopicText {
        let level = match (direction, self.profile) {
            (Direction::Downlink, TopicProfile::Table)
            | (Direction::Uplink, TopicProfile::Sample) => "/to",
            (Direction::Uplink, TopicProfile::Table)
            | (Direction::Downlink, TopicProfile::Sample) => "/from",
        };
        let mut text = TopicText::new();
        push_all(&mut text, &[&self.prefix, level]);
        push_all(&mut text, parts);
        text
    }
}

impl ParsedTopic<'_> {
    /// Whether this is the topic of a vehicle's [`presence`].
    #[must_use]
    pub fn is_presence(&self) -> bool {
        self.direction == Direction::Uplink && self.subtopic == Some(presence::SUBTOPIC)
    }

    /// Whether this is the topic of a vehicle's [`health`].
    #[must_use]
    pub fn is_health(&self) -> bool {
        self.direction == Direction::Uplink && self.subtopic == Some(health::SUBTOPIC)
    }
}

impl Default for TopicScheme {
    /// [`PREFIX_DEFAULT`] in the [`TopicProfile::Table`].
    fn default() -> Self {
        Self {
            prefix: String::try_from(PREFIX_DEFAULT).unwrap_or_default(),
            profile: TopicProfile::Table,
        }
    }
}

/// A pattern that, unlike the character itself, is searched without an index that could panic.
pub(crate) fn is_slash(c: char) -> bool {
    c == '/'
}

/// Appends parts whose lengths are bounded by their types, so that they fit by the derivation of
/// [`TOPIC_BYTES_MAX`].
fn push_all(text: &mut TopicText, parts: &[&str]) {
    for part in parts {
        let fits = text.push_str(part);
        debug_assert!(fits.is_ok(), "TOPIC_BYTES_MAX is too small");
    }
}

fn check_levels(text: &str, max: usize) -> Result<(), LevelError> {
    if text.is_empty() {
        return Err(LevelError::Empty);
    }
    if let Some((offset, _)) = text
        .char_indices()
        .find(|&(_, c)| c != '/' && !is_topic_safe(c))
    {
        return Err(LevelError::Character { offset });
    }
    if text.len() > max {
        return Err(LevelError::TooLong {
            len: text.len(),
            max,
        });
    }
    Ok(())
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix => f.write_str("the topic does not begin with the configured prefix"),
            Self::Direction => f.write_str("the level after the prefix is neither `to` nor `from`"),
            Self::Shape => f.write_str("the topic is not `{to|from}/uid/{UID}/opa/{VIN}`"),
            Self::Uid(error) => write!(f, "the topic's UID is wrong: {error}"),
            Self::Vin(error) => write!(f, "the topic's VIN is wrong: {error}"),
            Self::Subtopic(error) => write!(f, "the topic's subtopic is wrong: {error}"),
        }
    }
}

impl core::error::Error for TopicError {}

impl fmt::Display for TopicProfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Sample => "sample",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIN: &str = "0123456789ABCDEFG";

    fn scheme(profile: TopicProfile) -> TopicScheme {
        TopicScheme::new(PREFIX_DEFAULT, profile).unwrap()
    }

    fn ids() -> (Uid, Vin) {
        (Uid::parse("MY_UID").unwrap(), Vin::parse(VIN).unwrap())
    }

    #[test]
    fn profiles_differ_in_direction_and_trailing_slash() {
        let (uid, vin) = ids();
        let topic = |profile, direction| {
            scheme(profile)
                .publish_topic(direction, &uid, &vin, None)
                .unwrap()
        };
        assert_eq!(
            topic(TopicProfile::Table, Direction::Downlink),
            "psa/OVIPPartners-Dev/to/uid/MY_UID/opa/0123456789ABCDEFG/"
        );
        assert_eq!(
            topic(TopicProfile::Table, Direction::Uplink),
            "psa/OVIPPartners-Dev/from/uid/MY_UID/opa/0123456789ABCDEFG/"
        );
        assert_eq!(
            topic(TopicProfile::Sample, Direction::Downlink),
            "psa/OVIPPartners-Dev/from/uid/MY_UID/opa/0123456789ABCDEFG"
        );
        assert_eq!(
            topic(TopicProfile::Sample, Direction::Uplink),
            "psa/OVIPPartners-Dev/to/uid/MY_UID/opa/0123456789ABCDEFG"
        );
    }

    #[test]
    fn parser_accepts_no_slash_one_slash_and_a_subtopic() {
        let (uid, vin) = ids();
        for profile in [TopicProfile::Table, TopicProfile::Sample] {
            let scheme = scheme(profile);
            for direction in [Direction::Downlink, Direction::Uplink] {
                let [slash, bare] = scheme.exact_filters(direction, &uid, &vin);
                for topic in [slash, bare] {
                    let parsed = scheme.parse(&topic).unwrap();
                    assert_eq!((parsed.direction, parsed.subtopic), (direction, None));
                    assert_eq!((&parsed.uid, &parsed.vin), (&uid, &vin));
                }
                let sub = scheme
                    .publish_topic(direction, &uid, &vin, Some("/a/b"))
                    .unwrap();
                assert_eq!(scheme.parse(&sub).unwrap().subtopic, Some("a/b"));
            }
        }
    }

    #[test]
    fn parser_names_the_part_that_is_wrong() {
        let scheme = TopicScheme::default();
        let check =
            |topic: &str, expected| assert_eq!(scheme.parse(topic), Err(expected), "{topic}");
        check("other/to/uid/U/opa/0123456789ABCDEFG/", TopicError::Prefix);
        check(
            "psa/OVIPPartners-Developers/to/uid/U/opa/0123456789ABCDEFG/",
            TopicError::Prefix,
        );
        check("psa/OVIPPartners-Dev", TopicError::Prefix);
        check(
            "psa/OVIPPartners-Dev/TO/uid/U/opa/0123456789ABCDEFG/",
            TopicError::Direction,
        );
        check(
            "psa/OVIPPartners-Dev/to/uid/U/0123456789ABCDEFG/",
            TopicError::Shape,
        );
        check(
            "psa/OVIPPartners-Dev/to/uid//opa/0123456789ABCDEFG/",
            TopicError::Uid(IdError::Empty),
        );
        check(
            "psa/OVIPPartners-Dev/to/uid/U/opa/0123456789ABCDEF/",
            TopicError::Vin(IdError::VinLength { len: 16 }),
        );
        check(
            "psa/OVIPPartners-Dev/to/uid/U/opa/0123456789ABCDEFG/a+",
            TopicError::Subtopic(IdError::Character { offset: 1 }),
        );
    }

    #[test]
    fn two_trailing_slashes_are_a_subtopic_not_the_vehicle() {
        let parsed = TopicScheme::default();
        let parsed = parsed
            .parse("psa/OVIPPartners-Dev/to/uid/U/opa/0123456789ABCDEFG//")
            .unwrap();
        assert_eq!(parsed.subtopic, Some("/"));
    }

    #[test]
    fn longest_parts_still_fit() {
        let scheme = TopicScheme::new(&"p".repeat(64), TopicProfile::Table).unwrap();
        let (uid, vin) = (
            Uid::parse(&"u".repeat(64)).unwrap(),
            Vin::parse(VIN).unwrap(),
        );
        let sub = "s".repeat(64);
        let topic = scheme
            .publish_topic(Direction::Uplink, &uid, &vin, Some(&sub))
            .unwrap();
        assert_eq!(topic.len(), TOPIC_BYTES_MAX);
        assert_eq!(scheme.parse(&topic).unwrap().subtopic, Some(sub.as_str()));
    }

    #[test]
    fn prefix_is_checked() {
        let check = |prefix: &str, error| {
            assert_eq!(TopicScheme::new(prefix, TopicProfile::Table), Err(error));
        };
        check("", LevelError::Empty);
        check("/a", LevelError::Character { offset: 0 });
        check("a/", LevelError::Character { offset: 1 });
        check("a/+", LevelError::Character { offset: 2 });
        check(&"p".repeat(65), LevelError::TooLong { len: 65, max: 64 });
    }

    #[test]
    fn filters_cover_vehicle_partner_and_fleet() {
        let (uid, vin) = ids();
        let scheme = TopicScheme::default();
        let up = Direction::Uplink;
        assert_eq!(
            scheme.subtree_filter(up, &uid, &vin),
            "psa/OVIPPartners-Dev/from/uid/MY_UID/opa/0123456789ABCDEFG/#"
        );
        assert_eq!(
            scheme.uid_filter(up, &uid),
            "psa/OVIPPartners-Dev/from/uid/MY_UID/opa/#"
        );
        assert_eq!(
            scheme.all_filter(up),
            "psa/OVIPPartners-Dev/from/uid/+/opa/#"
        );
    }
}
