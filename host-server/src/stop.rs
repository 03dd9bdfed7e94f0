//! The word to stop: given once, heard by every part of the server.

use tokio::sync::watch;

/// Gives the word; dropping it gives it, too.
#[derive(Debug)]
pub struct StopSource(watch::Sender<bool>);

/// Hears the word; cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl StopSource {
    /// A source and what hears it.
    #[must_use]
    pub fn new() -> (Self, Stop) {
        let (sender, receiver) = watch::channel(false);
        (Self(sender), Stop(receiver))
    }

    /// Tells everybody to stop.
    pub fn stop(&self) {
        self.0.send_replace(true);
    }
}

impl Stop {
    /// Whether the word was given.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }

    /// Returns once the word was given.
    pub async fn requested(&mut self) {
        // An error says that the source is gone, which is the word as well.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}
