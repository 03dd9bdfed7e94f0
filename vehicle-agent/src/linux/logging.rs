//! What the program logs, and where: lines on the error output, filtered by `VINBUS_LOG`.

use std::env::{self, VarError};
use std::io::IsTerminal as _;

use anyhow::{Context, anyhow, bail};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// Shared with the host server.
pub(super) const VARIABLE: &str = "VINBUS_LOG";

/// Starts logging at `level`, unless the variable says otherwise.
///
/// # Errors
/// When the variable is no filter.
pub fn start(level: &str) -> anyhow::Result<()> {
    let filter = match env::var(VARIABLE) {
        Ok(filter) => filter,
        Err(VarError::NotPresent) => level.to_owned(),
        Err(VarError::NotUnicode(filter)) => bail!("{VARIABLE}={} is not UTF-8", filter.display()),
    };
    tracing_subscriber::fmt()
        .with_env_filter(parse(&filter)?)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    Ok(())
}

/// A lone word could also be the name of a module, but is a level with a slip in it.
fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    let wrong = || {
        format!(
            "{VARIABLE}={filter:?} is no filter: use error, warn, info, debug or trace, or one for each module, such as info,vinbus_transport_std=debug"
        )
    };
    for word in filter.split(',') {
        if !word.is_empty() && !word.contains(['=', '[']) {
            word.parse::<LevelFilter>().map_err(|_| anyhow!(wrong()))?;
        }
    }
    EnvFilter::builder().parse(filter).with_context(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_and_modules_are_filters_and_a_level_with_a_slip_is_none() {
        for filter in [
            "",
            "info",
            "off",
            "WARN,vinbus_transport_std=debug",
            "[span]=info",
        ] {
            parse(filter).unwrap();
        }
        for filter in ["loud", "info,loud", "vinbus_transport_std=loud"] {
            let error = parse(filter).unwrap_err().to_string();
            assert!(error.contains("use error, warn, info"), "{error}");
        }
    }
}
