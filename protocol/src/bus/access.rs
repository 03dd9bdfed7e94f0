//! Who may publish on, subscribe to and hear which topic of the bus (SPEC 13).
//!
//! Pure decisions: what a token says comes in as a [`Subject`], and the rule that decided comes out,
//! as an allowing [`Rule`] or a [`Denial`], for the log and for whoever asks why.
//!
//! A subject acts on topics of its own applications only, and needs the permission for the resource
//! and scope that a topic names. So `+` and `#` may stand behind the scope alone: nowhere else could
//! it be said what they hear. Begin at [`AccessRules::decide`].

mod denial;
mod permission;

use super::parse::{Rest, Wildcards, check_text};

pub use denial::{Denial, Place};
pub use permission::{Permission, PermissionError};

/// The permission to publish what a host tells of vehicles, `app/{appId}/vehicle/…`: for the host's own
/// client on another platform (SPEC 17.6). No other permission stands for it, `*` neither.
pub const TELLS_OF_VEHICLES: &str = "platform.vehicle";

/// The rules, with what of them is a setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessRules {
    /// Whether `app/{appId}/{name}` is a topic, for those who have the permission `{name}` or `*`.
    /// The source document's own example subscribes to one (SPEC 13.8).
    pub lenient: bool,
}

/// Who asks, as its token says.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a, T> {
    /// The applications that the token is for.
    pub apps: &'a [T],
    /// The user that the token is for.
    pub user: Option<&'a str>,
    /// What it may do with topics of these applications and this user.
    pub permissions: &'a [Permission<T>],
    /// Whether it is the platform itself, or an administrator's: it may do everything on the bus.
    pub superuser: bool,
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// To publish on a topic.
    Publish,
    /// To subscribe with a filter, which may be a shared subscription's.
    Subscribe,
    /// To hear a message on a topic: for a broker that decides on each message. One that decides the
    /// filters of a session anew after each change of rights, before the next message, need not ask
    /// (SPEC 13).
    Deliver,
}

/// What allowed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule<'a> {
    /// The subject is a superuser.
    Superuser,
    /// It has this permission.
    Permission(&'a str),
    /// It has this permission, and a topic without a scope is taken because the rules are lenient.
    Lenient(&'a str),
}

impl AccessRules {
    /// Decides whether `subject` may do it. `topic` is a filter when `action` is to subscribe.
    ///
    /// # Errors
    /// The [`Denial`] of the first rule, in the order of the levels, that is broken.
    ///
    /// ```
    /// use vinbus_protocol::bus::access::{AccessRules, Action, Denial, Permission, Rule, Subject};
    ///
    /// let permissions = [Permission::parse("ui.*").unwrap()];
    /// let subject = Subject { apps: &["myapp"], user: None, permissions: &permissions, superuser: false };
    /// let decide = |topic| AccessRules::default().decide(&subject, Action::Publish, topic);
    /// assert_eq!(decide("app/myapp/ui/status"), Ok(Rule::Permission("ui.*")));
    /// assert_eq!(decide("app/yours/ui/status"), Err(Denial::OtherApp("yours")));
    /// ```
    pub fn decide<'a, T: AsRef<str>>(
        self,
        subject: &Subject<'a, T>,
        action: Action,
        topic: &'a str,
    ) -> Result<Rule<'a>, Denial<'a>> {
        let topic = match topic.strip_prefix("$share/") {
            Some(shared) => shared_filter(action, shared)?,
            None => topic,
        };
        let wildcards = match action {
            Action::Subscribe => Wildcards::Allowed,
            Action::Publish | Action::Deliver => Wildcards::Refused,
        };
        check_text(topic, wildcards).map_err(Denial::Malformed)?;
        let mut levels = Rest(Some(topic));
        match levels.next().unwrap_or_default() {
            "+" | "#" => return Err(Denial::Wildcard(Place::Root)),
            root if root.starts_with("$") => {
                let reads = action != Action::Publish;
                return match subject.superuser && reads {
                    true => Ok(Rule::Superuser),
                    false => Err(Denial::BrokersOwn),
                };
            }
            "app" | "user" | "system" if subject.superuser => return Ok(Rule::Superuser),
            "app" => {
                let app = named(&mut levels, Place::App)?;
                if !subject.apps.iter().any(|own| own.as_ref() == app) {
                    return Err(Denial::OtherApp(app));
                }
            }
            "user" => {
                let user = named(&mut levels, Place::User)?;
                if subject.user != Some(user) {
                    return Err(Denial::OtherUser(user));
                }
            }
            "system" => return Err(Denial::System),
            _ => return Err(Denial::Root),
        }
        let resource = named(&mut levels, Place::Resource)?;
        if levels.0.is_none() {
            return self.without_scope(subject, topic, resource);
        }
        let scope = named(&mut levels, Place::Scope)?;
        if action == Action::Publish && topic.starts_with("app/") {
            match (resource, scope, levels.next()) {
                ("vehicle", ..) => return permission::to_tell_of_vehicles(subject.permissions),
                ("platform", "token", Some("expiring")) => return Err(Denial::HostsOwn),
                _ => {}
            }
        }
        permission::granting(subject.permissions, resource, scope)
            .map(Rule::Permission)
            .ok_or(Denial::Permission { resource, scope })
    }

    fn without_scope<'a, T: AsRef<str>>(
        self,
        subject: &Subject<'a, T>,
        topic: &'a str,
        name: &'a str,
    ) -> Result<Rule<'a>, Denial<'a>> {
        let of_app = topic.starts_with("app/");
        if !(self.lenient && of_app) {
            return Err(Denial::NoScope {
                lenient_would_do: of_app && !self.lenient,
            });
        }
        permission::granting_bare(subject.permissions, name)
            .map(Rule::Lenient)
            .ok_or(Denial::BarePermission { name })
    }
}

/// The filter of a shared subscription, from what follows `$share/`.
fn shared_filter(action: Action, shared: &str) -> Result<&str, Denial<'_>> {
    let mut levels = Rest(Some(shared));
    let group = levels.next().unwrap_or_default();
    let plain = !group.is_empty() && !group.chars().any(|c| matches!(c, '+' | '#'));
    match levels.0 {
        Some(filter) if plain && action == Action::Subscribe => Ok(filter),
        _ => Err(Denial::Share),
    }
}

/// The next level, which must say what it is.
fn named<'a>(levels: &mut Rest<'a>, place: Place) -> Result<&'a str, Denial<'a>> {
    match levels.next() {
        Some("+" | "#") => Err(Denial::Wildcard(place)),
        Some("") => Err(Denial::EmptyLevel(place)),
        Some(level) => Ok(level),
        None => Err(Denial::TooShort(place)),
    }
}

impl Rule<'_> {
    /// The rule's stable name, for metrics and logs.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Superuser => "superuser",
            Self::Permission(_) => "permission",
            Self::Lenient(_) => "lenient",
        }
    }
}

impl core::fmt::Display for Rule<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Superuser => f.write_str("the token is a superuser's"),
            Self::Permission(text) => write!(f, "the client has the permission `{text}`"),
            Self::Lenient(text) => write!(
                f,
                "the client has the permission `{text}`, and lenient rules take a topic without a scope"
            ),
        }
    }
}
