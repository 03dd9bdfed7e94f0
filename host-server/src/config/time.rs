//! A length of time as people write it: `30s`, `5min` or `30days`.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

/// Why a text says no length of time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("expected a time with its unit, such as 500ms, 30s, 5min or 30days ({0})")]
pub(super) struct TimeError(humantime::DurationError);

pub(super) fn parse(text: &str) -> Result<Duration, TimeError> {
    humantime::parse_duration(text).map_err(TimeError)
}

/// From the configuration file.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    parse(&text).map(Some).map_err(serde::de::Error::custom)
}
