//! Which applications of the bus are told what happens to a partner's vehicles and messages.

use vinbus_protocol::id::Uid;

use crate::bus::ClientName;

/// An application that is told what happens to a partner's vehicles and messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The application.
    pub app: ClientName,
    /// The partner.
    pub uid: Uid,
}

/// All who are told. Nobody is told of a partner that no [`Listener`] names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Audience(Vec<Listener>);

impl Audience {
    /// These, each once.
    #[must_use]
    pub fn new(listeners: Vec<Listener>) -> Self {
        let mut each = Vec::with_capacity(listeners.len());
        for listener in listeners {
            if !each.contains(&listener) {
                each.push(listener);
            }
        }
        Self(each)
    }

    /// Whether there is nobody to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Everybody.
    pub fn listeners(&self) -> impl Iterator<Item = &Listener> {
        self.0.iter()
    }

    /// The applications that are told of a partner's.
    pub(super) fn of<'a>(&'a self, uid: &'a Uid) -> impl Iterator<Item = &'a ClientName> {
        let those = self.0.iter().filter(move |it| it.uid == *uid);
        those.map(|it| &it.app)
    }

    /// Every application, once.
    pub(super) fn apps(&self) -> impl Iterator<Item = &ClientName> {
        let apps = self.0.iter().map(|it| &it.app);
        apps.enumerate()
            .filter(|(place, app)| self.0[..*place].iter().all(|it| it.app != **app))
            .map(|(_, app)| app)
    }

    /// The partner, if it is only one.
    pub(super) fn only_uid(&self) -> Option<Uid> {
        let (first, others) = self.0.split_first()?;
        let only = others.iter().all(|it| it.uid == first.uid);
        only.then(|| first.uid.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listener(app: &str, uid: &str) -> Listener {
        Listener {
            app: ClientName::parse(app).unwrap(),
            uid: Uid::parse(uid).unwrap(),
        }
    }

    #[test]
    fn application_is_told_of_its_own_partners_only() {
        let audience = Audience::new(vec![
            listener("one", "mine"),
            listener("two", "mine"),
            listener("two", "yours"),
            listener("one", "mine"),
        ]);
        let told = |uid| {
            let uid = Uid::parse(uid).unwrap();
            let apps = audience.of(&uid).map(ClientName::as_str);
            apps.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(told("mine"), ["one", "two"]);
        assert_eq!(told("yours"), ["two"]);
        assert_eq!(told("another"), [""; 0]);
        let apps: Vec<_> = audience.apps().map(ClientName::as_str).collect();
        assert_eq!(apps, ["one", "two"]);
        assert_eq!(audience.only_uid(), None);
        let one = Audience::new(vec![listener("one", "mine"), listener("two", "mine")]);
        assert_eq!(one.only_uid().unwrap().as_str(), "mine");
    }
}
