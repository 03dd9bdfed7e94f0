//! Why something is denied, in words that lead to what would be allowed.

use core::fmt;

use super::TELLS_OF_VEHICLES;
use crate::bus::BusTopicError;

/// What denied it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denial<'a> {
    /// It is neither a topic nor, to subscribe, a filter.
    Malformed(BusTopicError),
    /// What begins with `$share/` is a whole shared subscription, `$share/{group}/{filter}`, and
    /// nothing but a subscription.
    Share,
    /// Topics that begin with `$` are the broker's own. A superuser may hear them.
    BrokersOwn,
    /// What a host tells of vehicles and of tokens that end, nobody else may publish (SPEC 17.6).
    HostsOwn,
    /// Topics that begin with `system` are the platform's own, for superusers.
    System,
    /// The first level is none of `app`, `user` and `system`.
    Root,
    /// A wildcard stands where a name must stand.
    Wildcard(Place),
    /// Nothing stands between two slashes where a name must stand.
    EmptyLevel(Place),
    /// It ends before this level.
    TooShort(Place),
    /// It ends before the scope.
    NoScope {
        /// Whether lenient rules would have looked at it.
        lenient_would_do: bool,
    },
    /// The token is not for this application.
    OtherApp(&'a str),
    /// The token is not for this user.
    OtherUser(&'a str),
    /// The client lacks the permission.
    Permission {
        /// What the permission names before its point.
        resource: &'a str,
        /// What it names behind.
        scope: &'a str,
    },
    /// The client lacks the permission for a topic without a scope.
    BarePermission {
        /// The permission.
        name: &'a str,
    },
}

/// A level of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The first: `app`, `user` or `system`.
    Root,
    /// The application.
    App,
    /// The user.
    User,
    /// The resource.
    Resource,
    /// The scope.
    Scope,
}

impl Denial<'_> {
    /// The denial's stable name, for metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Share => "share",
            Self::BrokersOwn => "brokers_own",
            Self::HostsOwn => "hosts_own",
            Self::System => "system",
            Self::Root => "root",
            Self::Wildcard(_) => "wildcard",
            Self::EmptyLevel(_) => "empty_level",
            Self::TooShort(_) => "too_short",
            Self::NoScope { .. } => "no_scope",
            Self::OtherApp(_) => "other_app",
            Self::OtherUser(_) => "other_user",
            Self::Permission { .. } => "permission",
            Self::BarePermission { .. } => "bare_permission",
        }
    }
}

impl Place {
    /// What stands there.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "first level",
            Self::App => "application",
            Self::User => "user",
            Self::Resource => "resource",
            Self::Scope => "scope",
        }
    }
}

impl fmt::Display for Denial<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FORM: &str = "`app/{appId}/{resource}/{scope}`";
        match self {
            Self::Malformed(error) => error.fmt(f),
            Self::Share => f.write_str(
                "`$share/{group}/{filter}` is a subscription and nothing else, and its group has a \
                 name without wildcards",
            ),
            Self::BrokersOwn => f.write_str(
                "topics that begin with `$` are the broker's own: superusers may hear them, nobody \
                 may publish there",
            ),
            Self::HostsOwn => write!(
                f,
                "only the host publishes there: clients may hear it; a host with vehicles elsewhere \
                 publishes as a client with the permission `{TELLS_OF_VEHICLES}`"
            ),
            Self::System => f.write_str("`system/…` is for superusers"),
            Self::Root => write!(
                f,
                "the first level is none of `app`, `user` and `system`: the form is {FORM}"
            ),
            Self::Wildcard(place) => write!(
                f,
                "a wildcard stands for the {}: write it out; wildcards may follow the scope",
                place.name()
            ),
            Self::EmptyLevel(place) => {
                write!(f, "the {} is empty: the form is {FORM}", place.name())
            }
            Self::TooShort(place) => {
                write!(f, "it ends before the {}: the form is {FORM}", place.name())
            }
            Self::NoScope { lenient_would_do } => {
                write!(f, "it has no scope: the form is {FORM}")?;
                if *lenient_would_do {
                    f.write_str(
                        "; the platform's `lenient` setting, which is off, would take it: \
                         `host-server --bus-topics lenient`",
                    )?;
                }
                Ok(())
            }
            Self::OtherApp(app) => write!(f, "the token is not for the application `{app}`"),
            Self::OtherUser(user) => write!(f, "the token is not for the user `{user}`"),
            Self::Permission { resource, scope } => write!(
                f,
                "the client has none of the permissions `{resource}.{scope}`, `{resource}.*` and `*`"
            ),
            Self::BarePermission { name } => {
                write!(f, "the client has none of the permissions `{name}` and `*`")
            }
        }
    }
}

impl core::error::Error for Denial<'_> {}
