//! What can be wrong with a configuration, each told with the option to change.

use vinbus_protocol::id::IdError;
use vinbus_protocol::topic::LevelError;

use super::file::FileError;

/// Why the options make no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The configuration file is the trouble.
    #[error(transparent)]
    File(#[from] FileError),
    /// The prefix cannot begin a topic.
    #[error("--prefix {prefix:?} cannot begin a topic: {reason}")]
    Prefix {
        /// What was given.
        prefix: String,
        /// Why not.
        reason: LevelError,
    },
    /// What should be a UID is none.
    #[error("--{option} {text:?} is not a UID: {reason}")]
    Uid {
        /// Which option.
        option: &'static str,
        /// What was given.
        text: String,
        /// Why not.
        reason: IdError,
    },
    /// Two options that come together or not at all.
    #[error("--{given} needs --{missing} beside it")]
    Incomplete {
        /// What was given.
        given: &'static str,
        /// What was not.
        missing: &'static str,
    },
    /// An option that has no meaning beside another one.
    #[error("--{option} has no effect {beside}; remove it")]
    NoEffect {
        /// What was given.
        option: &'static str,
        /// Beside what.
        beside: &'static str,
    },
    /// The log of uplink messages would fill the store before anything is deleted from it.
    #[error(
        "--uplink-bytes-max {uplink_bytes_max} must be less than --store-bytes-max {quota_bytes}"
    )]
    LogFillsStore {
        /// Bytes of the log.
        uplink_bytes_max: u64,
        /// Bytes of everything.
        quota_bytes: u64,
    },
    /// Messages would be given up at once, or later than they may.
    #[error("--message-ttl must be from 1s to 30days")]
    MessageTtl,
    /// A bound that lets nothing through.
    #[error("--{option} must be at least 1")]
    Zero {
        /// Which.
        option: &'static str,
    },
}
