//! What a subscription hears of the vehicle tree.

use core::str::Split;

use super::{Direction, TopicError, TopicScheme, is_slash};
use crate::id::{Uid, Vin};

/// What a topic filter hears, as far as topics of the vehicle tree differ: `None` where it hears
/// all, because a wildcard stands there.
///
/// What it asks for below the VIN is not told: who may hear a vehicle may hear all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParsedFilter {
    /// Who speaks.
    pub direction: Option<Direction>,
    /// The partner.
    pub uid: Option<Uid>,
    /// The vehicle.
    pub vin: Option<Vin>,
}

impl TopicScheme {
    /// Takes a valid MQTT filter apart, without the `$share/{group}/` of a shared subscription. The
    /// prefix must be written out; below it, `+` may stand for any level, and `#` for any and all
    /// behind it.
    ///
    /// # Errors
    /// A [`TopicError`] that names the first part that no topic of the vehicle tree matches.
    pub fn parse_filter(&self, filter: &str) -> Result<ParsedFilter, TopicError> {
        let mut levels = Levels {
            levels: self
                .below_prefix(filter)?
                .split(is_slash as fn(char) -> bool),
            all_behind: false,
        };
        let direction = levels.next()?.map(|level| self.direction(level));
        let direction = direction.transpose()?;
        levels.next_is("uid")?;
        let uid = levels.next()?.map(Uid::parse);
        levels.next_is("opa")?;
        let vin = levels.next()?.map(Vin::parse);
        Ok(ParsedFilter {
            direction,
            uid: uid.transpose().map_err(TopicError::Uid)?,
            vin: vin.transpose().map_err(TopicError::Vin)?,
        })
    }
}

/// The levels of a filter.
struct Levels<'f> {
    levels: Split<'f, fn(char) -> bool>,
    /// A `#` was read.
    all_behind: bool,
}

impl<'f> Levels<'f> {
    /// The next level, or `None` if it is a wildcard's.
    fn next(&mut self) -> Result<Option<&'f str>, TopicError> {
        if self.all_behind {
            return Ok(None);
        }
        match self.levels.next().ok_or(TopicError::Shape)? {
            "+" => Ok(None),
            "#" => {
                self.all_behind = true;
                Ok(None)
            }
            level => Ok(Some(level)),
        }
    }

    fn next_is(&mut self, expected: &str) -> Result<(), TopicError> {
        match self.next()? {
            Some(level) if level != expected => Err(TopicError::Shape),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::IdError;
    use crate::topic::{PREFIX_DEFAULT, TopicProfile};

    const VIN: &str = "0123456789ABCDEFG";

    fn parse(below_prefix: &str) -> Result<ParsedFilter, TopicError> {
        TopicScheme::default().parse_filter(&std::format!("{PREFIX_DEFAULT}/{below_prefix}"))
    }

    fn check(below_prefix: &str, direction: Option<Direction>, uid: Option<&str>, vin: bool) {
        let expected = ParsedFilter {
            direction,
            uid: uid.map(|uid| Uid::parse(uid).unwrap()),
            vin: vin.then(|| Vin::parse(VIN).unwrap()),
        };
        assert_eq!(parse(below_prefix), Ok(expected), "{below_prefix}");
    }

    #[test]
    fn filters_that_a_scheme_builds_are_taken_apart_again() {
        let (uid, vin) = (Uid::parse("U").unwrap(), Vin::parse(VIN).unwrap());
        for profile in [TopicProfile::Table, TopicProfile::Sample] {
            let scheme = TopicScheme::new("a/b", profile).unwrap();
            for direction in [Direction::Downlink, Direction::Uplink] {
                let [slash, bare] = scheme.exact_filters(direction, &uid, &vin);
                let subtree = scheme.subtree_filter(direction, &uid, &vin);
                let of_uid = scheme.uid_filter(direction, &uid);
                let all = scheme.all_filter(direction);
                for (filter, uid, vin) in [
                    (slash, Some(&uid), Some(vin)),
                    (bare, Some(&uid), Some(vin)),
                    (subtree, Some(&uid), Some(vin)),
                    (of_uid, Some(&uid), None),
                    (all, None, None),
                ] {
                    let expected = ParsedFilter {
                        direction: Some(direction),
                        uid: uid.cloned(),
                        vin,
                    };
                    assert_eq!(scheme.parse_filter(&filter), Ok(expected), "{filter}");
                }
            }
        }
    }

    #[test]
    fn wildcards_hear_all_of_what_they_stand_for() {
        let down = Some(Direction::Downlink);
        check("#", None, None, false);
        check("+/#", None, None, false);
        check("to/#", down, None, false);
        check("to/+/acme/#", down, Some("acme"), false);
        check("to/uid/acme/#", down, Some("acme"), false);
        check("to/uid/acme/opa/+/+/x", down, Some("acme"), false);
        check("+/+/+/+/0123456789ABCDEFG/#", None, None, true);
        check("to/uid/+/opa/0123456789ABCDEFG", down, None, true);
    }

    #[test]
    fn filter_that_no_topic_matches_is_refused() {
        let bad = |below_prefix: &str, error| {
            assert_eq!(parse(below_prefix), Err(error), "{below_prefix}");
        };
        bad("", TopicError::Direction);
        bad("TO/#", TopicError::Direction);
        bad("to", TopicError::Shape);
        bad("to/uid/acme", TopicError::Shape);
        bad("to/uid/acme/opa", TopicError::Shape);
        bad("to/id/#", TopicError::Shape);
        bad("to/uid/+/vin/+", TopicError::Shape);
        bad("to/uid//#", TopicError::Uid(IdError::Empty));
        bad(
            "to/uid/a/opa/short/#",
            TopicError::Vin(IdError::VinLength { len: 5 }),
        );
        let scheme = TopicScheme::default();
        for filter in ["#", "+/#", "psa/#", "psa/OVIPPartners-Dev", "$SYS/#"] {
            assert_eq!(scheme.parse_filter(filter), Err(TopicError::Prefix));
        }
    }
}
