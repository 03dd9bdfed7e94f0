//! Log lines on standard error, for people or as one JSON object a line.
//!
//! Nothing here filters secrets: no type that holds one has a `Debug` or `Display` that shows it.

use std::io::IsTerminal;

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::LogFormat;

/// The broker library logs what peers send, without bound.
const LIBRARY_OFF: &str = "mqtt5";

/// The level of every module that a filter does not name.
const LEVEL_DEFAULT: LevelFilter = LevelFilter::INFO;

const LEVELS: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "--log {filter:?} is no filter: {part:?} is none of off, error, warn, info, debug and trace, and \
     no MODULE=LEVEL either; try `debug`, or `warn,vinbus_host_server::api=debug` (VINBUS_LOG in the \
     environment means the same)"
)]
pub struct LogFilterError {
    filter: String,
    part: String,
}

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// A [`LogFilterError`] for a filter that is none.
pub fn start(format: LogFormat, filter: &str) -> Result<(), LogFilterError> {
    let filter = parse(filter)?.with_target(LIBRARY_OFF, LevelFilter::OFF);
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let logger = tracing_subscriber::registry().with(filter);
    // A logger that is there already, as in tests, goes on.
    let _ = match format {
        LogFormat::Text => logger.with(lines).try_init(),
        LogFormat::Json => logger.with(lines.json().flatten_event(true)).try_init(),
    };
    Ok(())
}

/// A level for all, levels by module, or both, separated by commas. A word that is neither is an
/// error, where the library takes it for a module whose every line is wanted.
fn parse(filter: &str) -> Result<Targets, LogFilterError> {
    let mut targets = Targets::new().with_default(LEVEL_DEFAULT);
    for part in filter.split(',').map(str::trim) {
        let parsed = match part.split_once('=') {
            None => level(part).map(|level| targets.clone().with_default(level)),
            Some(("", _)) => None,
            Some((module, text)) => {
                level(text).map(|level| targets.clone().with_target(module, level))
            }
        };
        targets = parsed.ok_or_else(|| LogFilterError {
            filter: filter.to_owned(),
            part: part.to_owned(),
        })?;
    }
    Ok(targets)
}

fn level(text: &str) -> Option<LevelFilter> {
    let named = |(name, _): &&(&str, LevelFilter)| name.eq_ignore_ascii_case(text);
    LEVELS.iter().find(named).map(|&(_, level)| level)
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_level_is_for_all_and_a_module_for_itself() {
        let filter = parse("WARN, a::b=debug").unwrap();
        assert!(filter.would_enable("a::b::c", &Level::DEBUG));
        assert!(!filter.would_enable("a", &Level::INFO));
        assert!(filter.would_enable("a", &Level::WARN));
    }

    #[test]
    fn what_a_filter_does_not_name_keeps_its_level() {
        let filter = parse("a=off").unwrap();
        assert!(!filter.would_enable("a", &Level::ERROR));
        assert!(filter.would_enable("b", &Level::INFO));
    }

    #[test]
    fn a_word_that_is_no_level_is_refused_with_what_is_allowed() {
        for filter in ["loud", "", "info,", "a=loud", "=info", "info,a", "a=b=info"] {
            let shown = parse(filter).unwrap_err().to_string();
            assert!(
                shown.contains("off, error, warn, info"),
                "{filter}: {shown}"
            );
        }
    }
}
