//! Bounds of options, which hold wherever an option was given.

use std::num::NonZeroU32;
use std::time::Duration;

use vinbus_protocol::limits::LINK_BYTES_PER_S_MIN;

use super::error::ConfigError;
use crate::hub::TTL_MAX;

/// Least time that something may take.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// Longest time that something may take: longer than anybody waits, and short enough for all clocks.
const WAIT_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest time that a token lives: what it says is asked anew after it.
const TOKEN_LIFETIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Least time that a key signs: with the longest tokens, some 170 keys are kept at once.
const KEY_ROTATION_MIN: Duration = Duration::from_secs(60 * 60);

/// Longest time that a key signs.
const KEY_ROTATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// Least time that something may be kept.
const RETENTION_MIN: Duration = Duration::from_secs(1);

/// A count that lets something through.
pub(super) fn count(
    given: Option<u32>,
    default: usize,
    option: &'static str,
) -> Result<usize, ConfigError> {
    match given {
        Some(0) => Err(ConfigError::TooLittle {
            option,
            given: "0".to_owned(),
            least: "1".to_owned(),
        }),
        Some(count) => Ok(count as usize),
        None => Ok(default),
    }
}

/// A number of bytes.
pub(super) fn bytes(given: u64, least: u64, option: &'static str) -> Result<u64, ConfigError> {
    if given < least {
        return Err(ConfigError::TooLittle {
            option,
            given: given.to_string(),
            least: format!("{least} bytes"),
        });
    }
    Ok(given)
}

/// How fast a vehicle is sent to, in bytes a second: as fast as the slowest link that counts as one, or
/// 0 for no limit. More than four billion is none either.
pub(super) fn vehicle_rate(
    given: Option<u64>,
    default: Option<NonZeroU32>,
    option: &'static str,
) -> Result<Option<NonZeroU32>, ConfigError> {
    match given {
        None => Ok(default),
        Some(0) => Ok(None),
        Some(rate) => {
            let rate = bytes(rate, u64::from(LINK_BYTES_PER_S_MIN), option)?;
            Ok(u32::try_from(rate).ok().and_then(NonZeroU32::new))
        }
    }
}

/// How long something may take.
pub(super) fn wait(
    given: Option<Duration>,
    default: Duration,
    option: &'static str,
) -> Result<Duration, ConfigError> {
    let wait = at_most(given.unwrap_or(default), WAIT_MAX, option)?;
    at_least(wait, WAIT_MIN, option)
}

/// How long a message waits for its vehicle.
pub(super) fn message_ttl(
    given: Option<Duration>,
    default: Duration,
    option: &'static str,
) -> Result<Duration, ConfigError> {
    let ttl = at_most(given.unwrap_or(default), TTL_MAX, option)?;
    at_least(ttl, RETENTION_MIN, option)
}

/// How long something is kept.
pub(super) fn retention(
    given: Option<Duration>,
    default: Duration,
    option: &'static str,
) -> Result<Duration, ConfigError> {
    at_least(given.unwrap_or(default), RETENTION_MIN, option)
}

/// How long a token lives.
pub(super) fn token_lifetime(
    given: Duration,
    option: &'static str,
) -> Result<Duration, ConfigError> {
    at_least(
        at_most(given, TOKEN_LIFETIME_MAX, option)?,
        RETENTION_MIN,
        option,
    )
}

/// How long a key signs tokens.
pub(super) fn key_rotation(given: Duration, option: &'static str) -> Result<Duration, ConfigError> {
    at_least(
        at_most(given, KEY_ROTATION_MAX, option)?,
        KEY_ROTATION_MIN,
        option,
    )
}

fn at_most(given: Duration, most: Duration, option: &'static str) -> Result<Duration, ConfigError> {
    if given > most {
        return Err(ConfigError::TooMuch {
            option,
            given: shown(given),
            most: shown(most),
        });
    }
    Ok(given)
}

fn at_least(
    given: Duration,
    least: Duration,
    option: &'static str,
) -> Result<Duration, ConfigError> {
    if given < least {
        return Err(ConfigError::TooLittle {
            option,
            given: shown(given),
            least: shown(least),
        });
    }
    Ok(given)
}

/// As bounds are documented: in days at most, as a month of the formatter is 30.44 of them.
fn shown(time: Duration) -> String {
    const DAY_S: u64 = 24 * 60 * 60;
    let days = match time.as_secs() / DAY_S {
        0 => return humantime::format_duration(time).to_string(),
        1 => "1day".to_owned(),
        days => format!("{days}days"),
    };
    match Duration::new(time.as_secs() % DAY_S, time.subsec_nanos()) {
        Duration::ZERO => days,
        rest => format!("{days} {}", humantime::format_duration(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_of_a_vehicle_is_none_or_that_of_a_link() {
        let default = NonZeroU32::new(7);
        let rate = |given| vehicle_rate(given, default, "vehicle-rate");
        assert_eq!(rate(None).unwrap(), default);
        assert_eq!(rate(Some(0)).unwrap(), None);
        assert_eq!(rate(Some(30_000)).unwrap(), NonZeroU32::new(30_000));
        assert_eq!(rate(Some(u64::MAX)).unwrap(), None);
        let shown = rate(Some(2_047)).unwrap_err().to_string();
        assert!(
            shown.contains("--vehicle-rate") && shown.contains("2048"),
            "{shown}"
        );
    }

    #[test]
    fn what_is_out_of_range_is_told_with_the_bound() {
        let check = |refused: Result<Duration, ConfigError>, part: &str| {
            let shown = refused.unwrap_err().to_string();
            assert!(shown.contains("--name") && shown.contains(part), "{shown}");
        };
        let (zero, default) = (Some(Duration::ZERO), Duration::from_secs(1));
        check(
            wait(zero, default, "name"),
            "0s is too little: at least 1ms",
        );
        check(wait(Some(Duration::MAX), default, "name"), "at most 1day");
        check(retention(zero, default, "name"), "at least 1s");
        let hours = |hours: u64| Some(Duration::from_secs(hours * 60 * 60));
        check(
            message_ttl(hours(40 * 24), default, "name"),
            "40days is too much: at most 30days",
        );
        check(
            wait(hours(25), default, "name"),
            "1day 1h is too much: at most 1day",
        );
        assert_eq!(
            retention(Some(Duration::MAX), default, "name").unwrap(),
            Duration::MAX
        );
    }
}
