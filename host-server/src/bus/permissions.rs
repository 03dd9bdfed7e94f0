//! What a client may do within its app: a bounded list of [`Permission`]s (SPEC 13.3).

use std::fmt;
use std::sync::Arc;

use vinbus_protocol::bus::access::{self, Permission, TELLS_OF_VEHICLES};

/// Permissions of one client.
const PERMISSIONS_MAX: usize = 256;

/// Longest permission, in bytes: a resource and a scope as long as they may be.
const PERMISSION_BYTES_MAX: usize = 200;

/// What a client has that was given no permissions: everything in its app.
const EVERYTHING: &str = "*";

/// What a client may do within its app.
#[derive(Clone, PartialEq, Eq)]
pub struct Permissions(Vec<Permission<Arc<str>>>);

/// Why permissions are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// One of them has another form.
    #[error(
        "{text:?} is no permission: {reason}; expected resource.scope, resource.* or *, such as ui.content"
    )]
    Form {
        /// The first that is wrong, shortened.
        text: String,
        /// What is wrong with it.
        reason: access::PermissionError,
    },
    /// One of them names no scope, where no topic without one is taken.
    #[error(
        "the permission {text:?} permits nothing here, because it names no scope: expected one such as \
         {text}.*, or start the host-server with --bus-topics lenient, where it is for app/{{appId}}/{text}"
    )]
    NoScope {
        /// The first of them.
        text: String,
    },
    /// There are too many, or one is too long.
    #[error(
        "a client has at most {PERMISSIONS_MAX} permissions of {PERMISSION_BYTES_MAX} bytes each"
    )]
    TooMuch,
}

impl Permissions {
    /// Parses permissions. None at all is everything in the app, as the SERMAS platform has it;
    /// repeated ones are kept once.
    ///
    /// # Errors
    /// A [`PermissionError`].
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<Self, PermissionError> {
        let is_long = |text: &str| text.len() > PERMISSION_BYTES_MAX;
        if texts.len() > PERMISSIONS_MAX || texts.iter().any(|text| is_long(text.as_ref())) {
            return Err(PermissionError::TooMuch);
        }
        if texts.is_empty() {
            return Self::parse(&[EVERYTHING]);
        }
        let mut permissions = Vec::with_capacity(texts.len());
        for text in texts {
            let permission = parse(text.as_ref())?;
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
        }
        Ok(Self(permissions))
    }

    /// The permissions themselves.
    #[must_use]
    pub fn as_slice(&self) -> &[Permission<Arc<str>>] {
        &self.0
    }

    /// The first that is for a topic without a scope alone.
    #[must_use]
    pub(super) fn without_scope(&self) -> Option<&str> {
        self.iter()
            .find(|text| *text != EVERYTHING && !text.contains('.'))
    }

    /// Whether one of them permits what `resource` and `scope` name.
    #[must_use]
    pub fn permit(&self, resource: &str, scope: &str) -> bool {
        self.0.iter().any(|it| it.permits(resource, scope))
    }

    /// Whether these permissions include all of `others`, so that their owner may pass them on. What
    /// [`TELLS_OF_VEHICLES`] has to be among them by its own name.
    #[must_use]
    pub fn include(&self, others: &Self) -> bool {
        let mut others = others.0.iter();
        others.all(|other| {
            self.0.contains(other)
                || match other.as_str().split_once('.') {
                    Some(_) if other.as_str() == TELLS_OF_VEHICLES => false,
                    // For all scopes of a resource, the star is as good a name as any.
                    Some((resource, scope)) => self.permit(resource, scope),
                    None => self.iter().any(|own| own == EVERYTHING),
                }
        })
    }

    /// The permissions as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(Permission::as_str)
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

fn parse(text: &str) -> Result<Permission<Arc<str>>, PermissionError> {
    // That platform knows both ways to say everything.
    let text = if text == "*.*" { EVERYTHING } else { text };
    Permission::parse(text.into()).map_err(|reason| PermissionError::Form {
        text: text.to_owned(),
        reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(texts: &[&str]) -> Permissions {
        Permissions::parse(texts).unwrap()
    }

    #[test]
    fn none_at_all_is_everything() {
        let none: &[&str] = &[];
        assert_eq!(permissions(none), permissions(&["*"]));
        assert_eq!(permissions(&["*.*", "*"]), permissions(&["*"]));
    }

    #[test]
    fn what_is_no_permission_is_named() {
        for text in [
            "",
            "ui.",
            ".content",
            "*.content",
            "ui.con/tent",
            "ui.+",
            "ui.con\ntent",
        ] {
            let error = Permissions::parse(&["ui.content", text]).unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        let many = vec!["ui.content"; PERMISSIONS_MAX + 1];
        assert_eq!(Permissions::parse(&many), Err(PermissionError::TooMuch));
        let long = "x".repeat(PERMISSION_BYTES_MAX + 1);
        assert_eq!(Permissions::parse(&[long]), Err(PermissionError::TooMuch));
    }

    #[test]
    fn nobody_passes_on_more_than_it_has() {
        let check = |own: &[&str], others: &[&str], includes: bool| {
            let outcome = permissions(own).include(&permissions(others));
            assert_eq!(outcome, includes, "{own:?} {others:?}");
        };
        check(
            &["*"],
            &["ui.*", "platform.app:editor", "performance"],
            true,
        );
        check(&["ui.*"], &["ui.content", "ui.*"], true);
        check(&["ui.*"], &["*"], false);
        check(&["ui.content"], &["ui.*"], false);
        check(
            &["ui.content", "ui.status"],
            &["ui.status", "session.agent"],
            false,
        );
        check(&["performance"], &["performance"], true);
        check(&["ui.*"], &["ui"], false);
        check(&["*", "platform.*"], &[TELLS_OF_VEHICLES], false);
        check(&[TELLS_OF_VEHICLES], &[TELLS_OF_VEHICLES], true);
    }
}
