//! How people sign in to the console: a link that opens one session, once and soon, and the session.
//!
//! Whoever has the administrator's token, or starts the server, gets links. A browser gives the link's
//! secret back and gets a session's, which it keeps in a cookie. Only hashes are kept, in memory: a
//! server that starts again knows none of them. Both are bounded: one link too many takes the place of
//! the oldest, one session too many ends the one that was used longest ago.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ring::digest::{self, SHA256};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Secret;
use super::secret_checks::SECRET_BYTES_MAX;

/// Links that are remembered, those that were used or have expired among them.
const LINKS_MAX: usize = 64;

/// Sessions open at once.
const SESSIONS_MAX: usize = 16;

/// A link can be used this long.
const LINK_LIFE: Duration = Duration::from_secs(10 * 60);

/// A session ends after this time, however much it is used.
const SESSION_LIFE: Duration = Duration::from_secs(12 * 60 * 60);

/// Links and sessions of one run of the server.
#[derive(Debug)]
pub struct Sessions {
    link_life: Duration,
    session_life: Duration,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    links: VecDeque<Link>,
    /// The one that was used last stands last.
    sessions: Vec<Session>,
}

type Hash = [u8; 32];

#[derive(Debug)]
struct Link {
    hash: Hash,
    until: Instant,
    is_used: bool,
}

#[derive(Debug)]
struct Session {
    hash: Hash,
    until: Instant,
    /// Dropped with the session, which [`SessionEnd`] sees.
    open: watch::Sender<()>,
}

/// Why a link opens nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// It was made by nobody here, or by an earlier run of the server.
    #[error(
        "this server did not make this sign-in link since it started: copy it whole, or get a new one"
    )]
    Unknown,
    /// It opened a session before.
    #[error("this sign-in link was used before, and each works once: get a new one")]
    Used,
    /// Its time is over.
    #[error("this sign-in link is too old: get a new one")]
    Expired,
    /// The operating system has no random numbers.
    #[error("the system has no random numbers for a session")]
    NoRandomness,
}

/// The end of a session, to be waited for.
#[derive(Clone, Debug)]
pub struct SessionEnd {
    until: Instant,
    open: watch::Receiver<()>,
}

impl SessionEnd {
    /// Whether the session is over.
    #[must_use]
    pub fn is_reached(&self) -> bool {
        self.until <= Instant::now() || self.open.has_changed().is_err()
    }

    /// Returns when the session is over: its time, its owner or a newer session ended it.
    pub async fn reached(&mut self) {
        let ended = async { while self.open.changed().await.is_ok() {} };
        // Either way it is over.
        let _ = tokio::time::timeout_at(self.until, ended).await;
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self::new(LINK_LIFE, SESSION_LIFE)
    }
}

impl Sessions {
    /// No links and no sessions yet, and how long each will live.
    #[must_use]
    pub fn new(link_life: Duration, session_life: Duration) -> Self {
        Self {
            link_life,
            session_life,
            kept: Mutex::default(),
        }
    }

    /// How long a link can be used.
    #[must_use]
    pub fn link_life(&self) -> Duration {
        self.link_life
    }

    /// How long a session lasts.
    #[must_use]
    pub fn session_life(&self) -> Duration {
        self.session_life
    }

    /// The secret of a new link; `None` when the operating system has no random numbers.
    pub fn link(&self) -> Option<Secret> {
        let secret = Secret::generate("")?;
        let mut kept = self.kept();
        if kept.links.len() >= LINKS_MAX {
            kept.links.pop_front();
        }
        kept.links.push_back(Link {
            hash: hash(secret.expose()),
            until: Instant::now() + self.link_life,
            is_used: false,
        });
        Some(secret)
    }

    /// Opens a session with a link's secret; returns the session's.
    ///
    /// # Errors
    /// A [`LinkError`]; no session was opened.
    pub fn open(&self, link: &str) -> Result<Secret, LinkError> {
        let (now, presented) = (Instant::now(), hash(bounded(link)));
        let mut kept = self.kept();
        let mut links = kept.links.iter_mut();
        let link = links
            .find(|link| link.hash == presented)
            .ok_or(LinkError::Unknown)?;
        if link.is_used {
            return Err(LinkError::Used);
        }
        if link.until <= now {
            return Err(LinkError::Expired);
        }
        let secret = Secret::generate("").ok_or(LinkError::NoRandomness)?;
        link.is_used = true;
        kept.sessions.retain(|session| session.until > now);
        if kept.sessions.len() >= SESSIONS_MAX {
            kept.sessions.remove(0);
        }
        kept.sessions.push(Session {
            hash: hash(secret.expose()),
            until: now + self.session_life,
            open: watch::Sender::new(()),
        });
        Ok(secret)
    }

    /// The end of the session with this secret; `None` if there is none (any more).
    pub fn session(&self, secret: &str) -> Option<SessionEnd> {
        let presented = hash(bounded(secret));
        let mut kept = self.kept();
        let place = kept.place(&presented)?;
        let session = kept.sessions.remove(place);
        if session.until <= Instant::now() {
            return None;
        }
        let end = SessionEnd {
            until: session.until,
            open: session.open.subscribe(),
        };
        kept.sessions.push(session);
        Some(end)
    }

    /// Ends a session.
    pub fn end(&self, secret: &str) {
        let presented = hash(bounded(secret));
        let mut kept = self.kept();
        if let Some(place) = kept.place(&presented) {
            kept.sessions.remove(place);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn place(&self, hash: &Hash) -> Option<usize> {
        self.sessions
            .iter()
            .position(|session| session.hash == *hash)
    }
}

/// What no secret of ours is as long as hashes to nothing that is kept.
fn bounded(secret: &str) -> &str {
    if secret.len() > SECRET_BYTES_MAX {
        ""
    } else {
        secret
    }
}

/// Hashes are compared, so the time that takes tells nothing of a secret.
fn hash(secret: &str) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&SHA256, secret.as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn link_opens_one_session_once_and_soon() {
        let sessions = Sessions::default();
        let link = sessions.link().unwrap();
        let session = sessions.open(link.expose()).unwrap();
        assert!(sessions.session(session.expose()).is_some());
        assert_eq!(sessions.open(link.expose()).err(), Some(LinkError::Used));
        let late = sessions.link().unwrap();
        tokio::time::advance(LINK_LIFE).await;
        assert_eq!(sessions.open(late.expose()).err(), Some(LinkError::Expired));
        for unknown in ["", "x", session.expose(), &"x".repeat(100_000)] {
            assert_eq!(sessions.open(unknown).err(), Some(LinkError::Unknown));
            assert!(unknown == session.expose() || sessions.session(unknown).is_none());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn session_ends_by_its_time_and_by_its_owner_and_tells() {
        let sessions = Sessions::default();
        let open = || sessions.open(sessions.link().unwrap().expose()).unwrap();
        let (one, two) = (open(), open());
        let mut end = sessions.session(one.expose()).unwrap();
        sessions.end(one.expose());
        end.reached().await;
        assert!(sessions.session(one.expose()).is_none());
        let mut end = sessions.session(two.expose()).unwrap();
        let begin = Instant::now();
        end.reached().await;
        assert!(begin.elapsed() >= SESSION_LIFE);
        assert!(sessions.session(two.expose()).is_none());
    }

    #[test]
    fn one_session_too_many_ends_the_one_that_was_used_longest_ago() {
        let sessions = Sessions::default();
        let open = || sessions.open(sessions.link().unwrap().expose()).unwrap();
        let opened: Vec<_> = (0..SESSIONS_MAX).map(|_| open()).collect();
        assert!(sessions.session(opened[0].expose()).is_some());
        let newest = open();
        assert!(sessions.session(opened[1].expose()).is_none());
        for kept in [&opened[0], &opened[2], &newest] {
            assert!(sessions.session(kept.expose()).is_some());
        }
    }

    #[test]
    fn links_are_bounded_and_the_oldest_goes_first() {
        let sessions = Sessions::default();
        let links: Vec<_> = (0..=LINKS_MAX).map(|_| sessions.link().unwrap()).collect();
        let first = sessions.open(links[0].expose());
        assert_eq!(first.err(), Some(LinkError::Unknown));
        assert!(sessions.open(links[LINKS_MAX].expose()).is_ok());
    }
}
