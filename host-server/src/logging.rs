//! Log lines on standard error, for people or as one JSON object a line.
//!
//! Nothing here filters secrets: no type that holds one has a `Debug` or `Display` that shows it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::config::LogFormat;

/// The broker library logs what peers send, without bound.
const LIBRARY_OFF: &str = "mqtt5=off";

/// Why logging did not start.
#[derive(Debug, thiserror::Error)]
#[error("--log {filter:?} is no filter: {reason}; try `info` or `warn,vinbus_host_server=debug`")]
pub struct LogFilterError {
    filter: String,
    reason: ParseError,
}

/// Starts logging for the whole process; a second call changes nothing.
///
/// # Errors
/// A [`LogFilterError`] for a filter that is none.
pub fn start(format: LogFormat, filter: &str) -> Result<(), LogFilterError> {
    let wrong = |reason| LogFilterError {
        filter: filter.to_owned(),
        reason,
    };
    let parsed = EnvFilter::builder().parse(filter).map_err(wrong)?;
    let parsed = parsed.add_directive(LIBRARY_OFF.parse().map_err(wrong)?);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(parsed)
        .with_span_events(FmtSpan::NONE)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    // A logger that is there already, as in tests, goes on.
    let _ = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    Ok(())
}
