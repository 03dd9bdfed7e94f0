//! When an endless answer has to end: the server stops, or the session that asked for it is over.

use crate::identity::SessionEnd;
use crate::stop::Stop;

/// The end of an endless answer.
pub(super) struct End {
    stop: Stop,
    session: Option<SessionEnd>,
}

impl End {
    pub(super) fn new(stop: Stop, session: Option<SessionEnd>) -> Self {
        Self { stop, session }
    }

    /// Whether it has come.
    pub(super) fn is_reached(&self) -> bool {
        self.stop.is_requested() || self.session.as_ref().is_some_and(SessionEnd::is_reached)
    }

    /// Returns when it has come.
    pub(super) async fn reached(&mut self) {
        match &mut self.session {
            None => self.stop.requested().await,
            Some(session) => tokio::select! {
                () = self.stop.requested() => {}
                () = session.reached() => {}
            },
        }
    }
}
