//! What a client may do within its app: `resource.scope`, `resource.*` or `*`, each with an optional
//! `:role` behind it, as SERMAS writes them.

use std::fmt;

/// Permissions of one client.
const PERMISSIONS_MAX: usize = 256;

/// Longest permission, in bytes.
const PERMISSION_BYTES_MAX: usize = 128;

/// What a client has that was given no permissions: everything in its app.
const EVERYTHING: &str = "*";

/// What a client may do within its app.
#[derive(Clone, PartialEq, Eq)]
pub struct Permissions(Vec<Permission>);

#[derive(Clone, PartialEq, Eq)]
struct Permission {
    text: String,
    /// `None` is every resource.
    resource: Option<String>,
    /// `None` is every scope.
    scope: Option<String>,
}

/// Why permissions are not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PermissionError {
    /// One of them has another form.
    #[error(
        "{text:?} is no permission; expected resource.scope, resource.* or *, such as ui.content"
    )]
    Form {
        /// The first that is wrong, shortened.
        text: String,
    },
    /// There are too many.
    #[error("a client has at most {PERMISSIONS_MAX} permissions, not {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

impl Permissions {
    /// Parses permissions. None at all is everything in the app, as the SERMAS platform has it;
    /// repeated ones are kept once.
    ///
    /// # Errors
    /// A [`PermissionError`].
    pub fn parse(texts: &[impl AsRef<str>]) -> Result<Self, PermissionError> {
        if texts.len() > PERMISSIONS_MAX {
            return Err(PermissionError::TooMany { count: texts.len() });
        }
        if texts.is_empty() {
            return Self::parse(&[EVERYTHING]);
        }
        let mut permissions = Vec::with_capacity(texts.len());
        for text in texts {
            let permission = Permission::parse(text.as_ref())?;
            if !permissions.contains(&permission) {
                permissions.push(permission);
            }
        }
        Ok(Self(permissions))
    }

    /// The permission that grants `scope` of `resource`, as it was written.
    #[must_use]
    pub fn grant(&self, resource: &str, scope: &str) -> Option<&str> {
        let grants = |wanted: &Option<String>, name| wanted.as_deref().is_none_or(|it| it == name);
        self.0
            .iter()
            .find(|it| grants(&it.resource, resource) && grants(&it.scope, scope))
            .map(|it| it.text.as_str())
    }

    /// Whether these permissions include all of `others`, so that their owner may pass them on.
    #[must_use]
    pub fn include(&self, others: &Self) -> bool {
        let includes = |own: &Option<String>, other: &Option<String>| own.is_none() || own == other;
        others.0.iter().all(|other| {
            let mut own = self.0.iter();
            own.any(|it| {
                includes(&it.resource, &other.resource) && includes(&it.scope, &other.scope)
            })
        })
    }

    /// The permissions as they were written.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|it| it.text.as_str())
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl Permission {
    fn parse(text: &str) -> Result<Self, PermissionError> {
        let wrong = || PermissionError::Form {
            text: text.chars().take(PERMISSION_BYTES_MAX).collect(),
        };
        if text.len() > PERMISSION_BYTES_MAX {
            return Err(wrong());
        }
        // A role says what a user may do with a record; on topics it has no meaning.
        let (what, role) = match text.split_once(':') {
            Some((what, role)) => (what, Some(role)),
            None => (text, None),
        };
        if role.is_some_and(|role| !is_word(role)) {
            return Err(wrong());
        }
        let (resource, scope) = match what.split_once('.') {
            Some(both) => both,
            None if what == EVERYTHING => (EVERYTHING, EVERYTHING),
            None => return Err(wrong()),
        };
        let part = |part: &str| match part {
            EVERYTHING => Some(None),
            word => is_word(word).then(|| Some(word.to_owned())),
        };
        let (Some(resource), Some(scope)) = (part(resource), part(scope)) else {
            return Err(wrong());
        };
        if resource.is_none() && scope.is_some() {
            return Err(wrong());
        }
        Ok(Self {
            text: text.to_owned(),
            resource,
            scope,
        })
    }
}

/// Whether a text may be the name of a resource or scope: one level of a topic.
fn is_word(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    !text.is_empty() && text.chars().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permissions(texts: &[&str]) -> Permissions {
        Permissions::parse(texts).unwrap()
    }

    #[test]
    fn a_permission_grants_its_scope_its_resource_or_everything() {
        let check = |text: &str, resource: &str, scope: &str, granted: bool| {
            let grant = permissions(&[text])
                .grant(resource, scope)
                .map(str::to_owned);
            assert_eq!(
                grant,
                granted.then(|| text.to_owned()),
                "{text} {resource}.{scope}"
            );
        };
        check("ui.content", "ui", "content", true);
        check("ui.content", "ui", "status", false);
        check("ui.content", "session", "content", false);
        check("ui.*", "ui", "status", true);
        check("ui.*", "uix", "status", false);
        check("*", "session", "agent", true);
        check("*.*", "session", "agent", true);
        check("platform.app:editor", "platform", "app", true);
    }

    #[test]
    fn none_at_all_is_everything() {
        let none: &[&str] = &[];
        assert_eq!(permissions(none), permissions(&["*"]));
    }

    #[test]
    fn what_is_no_permission_is_named() {
        for text in [
            "",
            "ui",
            "ui.",
            ".content",
            "*.content",
            "ui.con/tent",
            "ui.+",
            "ui.a.b",
            "ui.content:",
            "ui content",
            "ü.x",
        ] {
            let error = Permissions::parse(&["ui.content", text]).unwrap_err();
            assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
        }
        let many = vec!["ui.content"; PERMISSIONS_MAX + 1];
        assert!(Permissions::parse(&many).is_err());
    }

    #[test]
    fn nobody_passes_on_more_than_it_has() {
        let check = |own: &[&str], others: &[&str], includes: bool| {
            let outcome = permissions(own).include(&permissions(others));
            assert_eq!(outcome, includes, "{own:?} {others:?}");
        };
        check(&["*"], &["ui.*", "platform.app:editor"], true);
        check(&["ui.*"], &["ui.content", "ui.*"], true);
        check(&["ui.*"], &["*"], false);
        check(&["ui.content"], &["ui.*"], false);
        check(
            &["ui.content", "ui.status"],
            &["ui.status", "session.agent"],
            false,
        );
    }
}
