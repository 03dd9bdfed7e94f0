//! What the server was told: one table of options for command line, environment and file.
//!
//! [`ServeOptions`] names every option once; clap reads it from the command line and from
//! `VINBUS_…` in the environment, serde from the TOML file, where a key is the option's name
//! without its dashes. The nearer word wins: command line, environment, file, default. [`Config`]
//! is the checked result and the only thing the rest of the server sees.

mod bridge;
mod broker;
mod bytes;
mod count;
mod error;
mod file;
mod listen;
mod options;
mod range;
mod rules;
mod settings;
mod time;
mod tokens;

pub use bridge::PlatformChoice;
pub use broker::{BrokerChoice, ExternalBroker};
pub use error::ConfigError;
pub use file::FileError;
pub use listen::{Listen, LocalListen};
pub use options::{
    BusTopics, LogFormat, MqttVersion, Networks, PlatformKind, Profile, ServeOptions,
    TokenAlgorithm,
};
pub use settings::{Config, HttpLimits};

use crate::bridge::Rules;

use std::path::{Path, PathBuf};
use std::time::Duration;

/// The port of `--mqtts` where none is given.
pub const MQTTS_PORT_DEFAULT: u16 = 8886;

/// The data folder where `--data-dir` names none, in the working folder.
pub const DATA_DIR_DEFAULT: &str = "vinbus-data";

/// Turns what was given into a checked [`Config`], reading the configuration file if one is named.
///
/// # Errors
/// A [`ConfigError`] that names the option, or the line and column of the file.
pub fn load(given: ServeOptions) -> Result<Config, ConfigError> {
    let (options, rules) = match &given.config {
        Some(path) => {
            let file = file::read(path)?;
            (given.clone().over(file.options), file.rules)
        }
        None => (given, Rules::default()),
    };
    settings::check(&options, rules)
}

/// A time as people write it, such as `90s` or `7days`.
///
/// # Errors
/// What is wrong with it, and what is right.
pub fn parse_time(text: &str) -> Result<Duration, String> {
    time::parse(text).map_err(|error| error.to_string())
}

/// The data folder that `given` or the default names.
#[must_use]
pub fn data_dir(given: Option<&Path>) -> PathBuf {
    given.unwrap_or(Path::new(DATA_DIR_DEFAULT)).to_owned()
}
