//! What can be wrong with a configuration, each told with the option to change.

use vinbus_protocol::id::IdError;
use vinbus_protocol::topic::LevelError;
use vinbus_transport_std::UrlError;
use vinbus_transport_std::bus::PlatformUrlError;

use super::file::FileError;
use crate::bus::{KeyUrlError, NameError};

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
    /// The prefix begins as topics of the bus do.
    #[error(
        "--prefix {prefix:?} is where the bus has its topics: begin with another level than app, user and system"
    )]
    PrefixOfBus {
        /// What was given.
        prefix: String,
    },
    /// The address of the broker is none. It is not shown, because people write passwords into it.
    #[error("--broker cannot be used: {0}")]
    BrokerUrl(UrlError),
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
    /// The user name is no UID, and no other is given.
    #[error(
        "--broker-username {login:?} is not a UID: {reason}; if the partner's UID in the topics is another, \
         give it by --partner"
    )]
    LoginIsNoUid {
        /// The user name.
        login: String,
        /// Why not.
        reason: IdError,
    },
    /// What should be the id of an application is none.
    #[error("--{option} {text:?} is not an application: {reason}")]
    App {
        /// Which option.
        option: &'static str,
        /// What was given.
        text: String,
        /// Why not.
        reason: NameError,
    },
    /// An application without a partner.
    #[error("--bus-events {text:?} names no partner: write APP=UID, with commas between several")]
    NoPair {
        /// What was given.
        text: String,
    },
    /// A list with nothing before, after or between its commas.
    #[error("--{option} {text:?} has an empty name: leave out the comma that is too many")]
    EmptyName {
        /// Which option.
        option: &'static str,
        /// What was given.
        text: String,
    },
    /// What should be an app in a vehicle is none.
    #[error("--{option} {text:?} is not an idApp: {reason}")]
    VehicleApp {
        /// Which option.
        option: &'static str,
        /// What was given.
        text: String,
        /// Why not.
        reason: IdError,
    },
    /// There are rules for a bus, and no bus.
    #[error(
        "[[bridge]] needs a bus, and beside --broker there is none of our own: name a --platform"
    )]
    NoBus,
    /// A rule is about an application that we are not of at the platform.
    #[error(
        "[[bridge]] is about the application {app}, and --platform-client is of {own}: a client \
         reaches its own application only"
    )]
    ForeignApp {
        /// Of the rule.
        app: String,
        /// Of our client.
        own: String,
    },
    /// The address of a platform is none.
    #[error("--platform {0}")]
    PlatformUrl(PlatformUrlError),
    /// What should be a client of a platform is none.
    #[error("--platform-client {text:?} is no client: write APP/CLIENT")]
    PlatformClient {
        /// What was given.
        text: String,
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
        option: String,
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
    /// The other issuer of tokens has the name of this one.
    #[error("--trusted-issuer {issuer:?} is the issuer of this server itself (--token-issuer)")]
    OwnIssuer {
        /// The name.
        issuer: String,
    },
    /// Keys are not read from there.
    #[error("--trusted-jwks: {0}")]
    KeySet(#[from] KeyUrlError),
    /// A value below its range.
    #[error("--{option} {given} is too little: at least {least}")]
    TooLittle {
        /// Which option.
        option: &'static str,
        /// What was given.
        given: String,
        /// The least that is taken.
        least: String,
    },
    /// A value above its range.
    #[error("--{option} {given} is too much: at most {most}")]
    TooMuch {
        /// Which option.
        option: &'static str,
        /// What was given.
        given: String,
        /// The most that is taken.
        most: String,
    },
    /// Neither a DNS name nor an address.
    #[error(
        "--server-names: {name:?} is neither a host name nor an IP address; write names such as \
         vinbus.example,192.0.2.1 with commas between them"
    )]
    ServerName {
        /// The name.
        name: String,
    },
}
