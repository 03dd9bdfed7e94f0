//! What the topic map says about a topic.

use crate::topic::is_slash;

/// Whose topic it is: the first level, and the second where the first needs one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Owner<'t> {
    /// `app/{appId}/…`: of the programs of one application.
    App(&'t str),
    /// `user/{userId}/…`: of one user.
    User(&'t str),
    /// `system/…`: of the platform itself.
    System,
}

/// What is published on a topic. Every kind but [`Bytes`](Self::Bytes) is a JSON object that has
/// the [`BaseFields`](super::BaseFields), and may have members of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PayloadKind {
    /// Base fields and members of its own.
    Event,
    /// `operation` (`created`, `updated`, `deleted`) and the `record` that it was done to.
    Change,
    /// What a user or an agent said: `actor`, `text`, `language` and more.
    DialogueMessage,
    /// What a user did to a module's interface: `moduleId`, `interaction`.
    UiInteraction,
    /// How an agent is: `status`, `agentId`, `moduleId`.
    AgentHeartBeat,
    /// What a robot does: `op`, `state`.
    OperationState,
    /// Which client was given a token: `tokenType`.
    TokenRequested,
    /// When a token is over: `tokenId`, `expiresAt`, `mqttClientId`.
    TokenExpiring,
    /// Whether a vehicle can hear the host: `vin`, `uid`, `presence`, `since`.
    VehiclePresence,
    /// What a vehicle sent: `vin`, `uid`, `cursor`, `content`.
    VehicleReceived,
    /// What a vehicle sent that breaks the protocol: `vin`, `uid`, `reason`, `detail`.
    VehicleRefused,
    /// What a vehicle reported of its health: `vin`, `report`.
    VehicleHealth,
    /// What became of a message for a vehicle: `vin`, `uid`, `messageId`, `step`.
    MessageStep,
    /// How many events the host could not tell: `count`.
    EventsMissed,
    /// Sound or other raw bytes: not JSON.
    Bytes,
}

/// A topic of the topic map. Two of them are the same when their patterns are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TopicSpec {
    /// The name of its group in the platform's source.
    pub group: &'static str,
    /// Its own name in the platform's source.
    pub key: &'static str,
    /// The topic as the platform's source writes it, with `:variables`.
    pub pattern: &'static str,
    /// Whose it is; an application's is `App(":appId")`.
    pub owner: Owner<'static>,
    /// What a permission names before its point.
    pub resource: &'static str,
    /// What a permission names behind its point.
    pub scope: &'static str,
    /// The levels behind the scope, `:variables` among them.
    pub context: &'static [&'static str],
    /// What is published on it.
    pub payload: PayloadKind,
}

impl TopicSpec {
    /// The names of its variables, in the order of their levels, without colons. A name that stands
    /// twice is one variable.
    pub fn variables(&self) -> impl Iterator<Item = &'static str> + use<> {
        levels(self.pattern).filter_map(variable)
    }
}

impl PayloadKind {
    /// Whether the payload is a JSON object.
    #[must_use]
    pub const fn is_json(self) -> bool {
        !matches!(self, Self::Bytes)
    }
}

impl<'t> Owner<'t> {
    /// The levels that say so: the root, and the application or user if it needs one.
    pub(super) const fn levels(self) -> (&'static str, Option<&'t str>) {
        match self {
            Self::App(app) => ("app", Some(app)),
            Self::User(user) => ("user", Some(user)),
            Self::System => ("system", None),
        }
    }
}

/// The levels of a topic, filter or pattern.
pub(super) fn levels(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_slash)
}

/// The name of the variable that stands at a level of a pattern.
pub(super) fn variable(level: &str) -> Option<&str> {
    level.strip_prefix(':')
}
