//! What a client is permitted: `*`, `resource.*`, `resource.scope`.

use core::fmt;

use super::{Denial, Rule, TELLS_OF_VEHICLES};
use crate::bus::parse::check_level;
use crate::id::IdError;

/// A permission (SPEC 13.3): `*` for everything, `resource.*` for all scopes of a resource,
/// `resource.scope` for one, as `platform.app` or the finer `platform.app:editor`; or one word, for
/// topics without a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission<T>(T);

/// Why a text is not a permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionError {
    /// Its resource, what stands before the first point, cannot be a level of a topic.
    Resource(IdError),
    /// Its scope, what stands behind the first point, cannot be a level of a topic.
    Scope(IdError),
    /// A `*` stands beside other characters.
    Star,
}

impl<T: AsRef<str>> Permission<T> {
    /// Parses a permission.
    ///
    /// # Errors
    /// A [`PermissionError`] that names the part that is wrong.
    pub fn parse(text: T) -> Result<Self, PermissionError> {
        let (resource, scope) = halves(text.as_ref());
        if text.as_ref() != "*" {
            check_level(resource).map_err(PermissionError::Resource)?;
            scope
                .map_or(Ok(""), check_level)
                .map_err(PermissionError::Scope)?;
            let star = |text: &str| text.bytes().any(|byte| byte == b'*');
            if star(resource) || scope.is_some_and(|scope| scope != "*" && star(scope)) {
                return Err(PermissionError::Star);
            }
        }
        Ok(Self(text))
    }

    /// The permission as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }

    /// Whether it permits what `resource` and `scope` name.
    #[must_use]
    pub fn permits(&self, resource: &str, scope: &str) -> bool {
        let text = self.as_str();
        let exact = resource.len().saturating_add(scope.len()).saturating_add(1);
        // Most are told apart by their length, without a look at their text, which may be far away.
        if text.len() != 1 && text.len() != resource.len().saturating_add(2) && text.len() != exact
        {
            return false;
        }
        match halves(text) {
            (all, None) => all == "*",
            (of, Some(scopes)) => of == resource && (scopes == "*" || scopes == scope),
        }
    }
}

/// The resource, and the scope if there is one.
fn halves(text: &str) -> (&str, Option<&str>) {
    match text.split_once(is_point) {
        Some((resource, scope)) => (resource, Some(scope)),
        None => (text, None),
    }
}

/// A pattern that, unlike the character itself, is searched without an index that could panic.
fn is_point(c: char) -> bool {
    c == '.'
}

/// The first permission that permits what `resource` and `scope` name.
pub(super) fn granting<'a, T: AsRef<str>>(
    permissions: &'a [Permission<T>],
    resource: &str,
    scope: &str,
) -> Option<&'a str> {
    permissions
        .iter()
        .find(|permission| permission.permits(resource, scope))
        .map(Permission::as_str)
}

/// The first permission for a topic that has a name in place of resource and scope.
pub(super) fn granting_bare<'a, T: AsRef<str>>(
    permissions: &'a [Permission<T>],
    name: &str,
) -> Option<&'a str> {
    permissions
        .iter()
        .map(Permission::as_str)
        .find(|text| *text == "*" || *text == name)
}

/// Whether what a host tells of vehicles may be published, which takes the very permission.
pub(super) fn to_tell_of_vehicles<'a, T: AsRef<str>>(
    permissions: &'a [Permission<T>],
) -> Result<Rule<'a>, Denial<'a>> {
    let mut texts = permissions.iter().map(Permission::as_str);
    texts
        .find(|text| *text == TELLS_OF_VEHICLES)
        .map(Rule::Permission)
        .ok_or(Denial::HostsOwn)
}

impl<T: AsRef<str>> fmt::Display for Permission<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for PermissionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Resource(error) => write!(f, "the resource of the permission: {error}"),
            Self::Scope(error) => write!(f, "the scope of the permission: {error}"),
            Self::Star => f.write_str(
                "a `*` in a permission stands for everything (`*`) or for all scopes of a resource \
                 (`ui.*`), not for a part of a name",
            ),
        }
    }
}

impl core::error::Error for PermissionError {}
