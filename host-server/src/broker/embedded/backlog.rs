//! How far behind each client is with what QoS 1 forbids to drop, and the end of those that are too far.
//!
//! What a client has not acknowledged waits in queues of the library, which would drop the oldest when
//! one is full, and tell nobody. So the session of a client ends before that: it is told, and so are the
//! log and the counters.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use mqtt5::broker::router::MessageRouter;
use mqtt5::broker::storage::QueueHandle;

use super::connection::Connection;
use super::limits::{BACKLOG_LOOK_EVERY, BACKLOG_MAX};
use super::registry::ConnectionId;

/// What waits for each client.
pub(super) struct Backlogs {
    router: Arc<MessageRouter>,
    /// Nobody's; tells how many messages were queued so far for all.
    any: QueueHandle,
    /// What it told when all were looked at.
    looked_at: AtomicU64,
    of_clients: Mutex<HashMap<ConnectionId, Backlog>>,
}

struct Backlog {
    queue: QueueHandle,
    connection: Weak<Connection>,
}

impl Backlogs {
    pub(super) fn new(router: Arc<MessageRouter>) -> Self {
        // No client identifier has this character (MQTT 5, 1.5.4).
        let any = router.queue_handle("\0");
        Self {
            looked_at: AtomicU64::new(any.next_seq()),
            any,
            router,
            of_clients: Mutex::default(),
        }
    }

    /// From now on, the client of this connection is looked after.
    pub(super) fn follow(&self, id: ConnectionId, client_id: &str, connection: Weak<Connection>) {
        let queue = self.router.queue_handle(client_id);
        self.lock().insert(id, Backlog { queue, connection });
    }

    /// The connection is gone.
    pub(super) fn forget(&self, id: ConnectionId) {
        self.lock().remove(&id);
    }

    /// Ends the sessions of those for whom too much waits; to be called after each message that may have
    /// been queued. It looks at all of them only when as many were queued as can bring one nearer to its
    /// bound by a small part.
    pub(super) fn look(&self) {
        let queued = self.any.next_seq();
        let before = self.looked_at.load(Ordering::Relaxed);
        let is_due = queued.saturating_sub(before) >= BACKLOG_LOOK_EVERY
            && self
                .looked_at
                .compare_exchange(before, queued, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if is_due {
            self.end_those_over(BACKLOG_MAX);
        }
    }

    /// Ends the session of the client that is furthest behind, if any is.
    pub(super) fn end_furthest(&self) {
        let furthest = self.lock().values().map(|it| it.queue.count()).max();
        if let Some(most @ 1..) = furthest {
            self.end_those_over(most - 1);
        }
    }

    fn end_those_over(&self, max: usize) {
        let mut over = Vec::new();
        self.lock().retain(|_, it| {
            let waiting = it.queue.count();
            if waiting > max {
                over.push((it.connection.clone(), waiting));
            }
            waiting <= max
        });
        for (connection, waiting) in over {
            if let Some(connection) = connection.upgrade() {
                connection.end_too_slow(waiting);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ConnectionId, Backlog>> {
        self.of_clients
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}
