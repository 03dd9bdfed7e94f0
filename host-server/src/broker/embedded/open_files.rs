//! Room for connections: each takes a file descriptor, and a process gets 1,024 unless it asks.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::warn;

/// Descriptors for everything that is no connection: store, listeners, webhooks, REST.
const OTHERS: u64 = 512;

/// Raises the limit of open files, as far as this process may, to what `connections` need. When that
/// is not enough, fewer clients get in, and a line in the log says what to do.
pub(super) fn make_room(connections: usize) {
    let needed = connections as u64 + OTHERS;
    let limit = getrlimit(Resource::Nofile);
    let Some(raised) = raise(limit.current, limit.maximum, needed) else {
        return;
    };
    let wanted = Rlimit {
        current: Some(raised),
        maximum: limit.maximum,
    };
    let allowed = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => raised,
        Err(_) => limit.current.unwrap_or(raised),
    };
    if allowed < needed {
        warn!(
            allowed,
            needed,
            "too few open files are allowed for all connections; raise the limit (`ulimit -n`, \
             LimitNOFILE= of systemd)"
        );
    }
}

/// What to raise the limit to; `None` when it is high enough. `None` stands for no limit.
fn raise(current: Option<u64>, maximum: Option<u64>, needed: u64) -> Option<u64> {
    let current = current?;
    let most = maximum.unwrap_or(needed);
    (current < needed).then_some(needed.min(most).max(current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_raised_as_far_as_needed_and_allowed_and_never_lowered() {
        assert_eq!(raise(Some(1024), Some(1_048_576), 10_512), Some(10_512));
        assert_eq!(raise(Some(1024), Some(4096), 10_512), Some(4096));
        assert_eq!(raise(Some(1024), None, 10_512), Some(10_512));
        assert_eq!(raise(Some(20_000), Some(20_000), 10_512), None);
        assert_eq!(raise(None, None, 10_512), None);
        assert_eq!(raise(Some(1024), Some(1000), 10_512), Some(1024));
    }
}
