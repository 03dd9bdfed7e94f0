//! Log lines about what peers do: no peer can flood the log or put its own lines into it.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// One line for a peer and a reason in this time.
const QUIET_TIME: Duration = Duration::from_secs(60);

/// Pairs of peer and reason remembered; when there are more, new ones are not logged.
const REMEMBERED_MAX: usize = 4096;

/// Bytes shown of a text that a peer sent.
const SHOWN_BYTES_MAX: usize = 128;

/// Remembers what was logged lately.
#[derive(Debug, Default)]
pub(super) struct Quiet(Mutex<HashMap<(String, &'static str), Noted>>);

#[derive(Debug)]
struct Noted {
    at: Instant,
    suppressed: u64,
}

impl Quiet {
    /// Whether to log `reason` for `peer` now: the number of lines that were left out since the
    /// last one, or `None` to leave out this one as well.
    pub(super) fn allows(&self, peer: &str, reason: &'static str) -> Option<u64> {
        let now = Instant::now();
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = noted.get_mut(&(peer.to_owned(), reason)) {
            if now.duration_since(last.at) < QUIET_TIME {
                last.suppressed += 1;
                return None;
            }
            last.at = now;
            return Some(std::mem::take(&mut last.suppressed));
        }
        if noted.len() >= REMEMBERED_MAX {
            noted.retain(|_, last| now.duration_since(last.at) < QUIET_TIME);
            if noted.len() >= REMEMBERED_MAX {
                return None;
            }
        }
        noted.insert(
            (peer.to_owned(), reason),
            Noted {
                at: now,
                suppressed: 0,
            },
        );
        Some(0)
    }
}

/// A text from a peer as it may be shown: control characters escaped, not too long.
pub(super) struct Shown<'a>(pub(super) &'a str);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = self.0.floor_char_boundary(SHOWN_BYTES_MAX);
        write!(f, "{}", self.0[..end].escape_debug())?;
        if end < self.0.len() {
            f.write_str("…")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn second_line_of_a_peer_for_a_reason_waits_and_is_counted() {
        let quiet = Quiet::default();
        assert_eq!(quiet.allows("one", "denied"), Some(0));
        assert_eq!(quiet.allows("one", "denied"), None);
        assert_eq!(quiet.allows("one", "oversize"), Some(0));
        assert_eq!(quiet.allows("two", "denied"), Some(0));
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!(quiet.allows("one", "denied"), Some(1));
    }

    #[tokio::test(start_paused = true)]
    async fn peers_without_number_do_not_fill_the_memory() {
        let quiet = Quiet::default();
        for peer in 0..2 * REMEMBERED_MAX {
            quiet.allows(&peer.to_string(), "denied");
        }
        assert_eq!(quiet.0.lock().unwrap().len(), REMEMBERED_MAX);
        tokio::time::advance(QUIET_TIME).await;
        assert_eq!(quiet.allows("another", "denied"), Some(0));
    }

    #[test]
    fn peer_cannot_write_its_own_lines_into_the_log() {
        assert_eq!(Shown("a\nb\u{1b}[31m").to_string(), "a\\nb\\u{1b}[31m");
        let long = "é".repeat(100);
        assert_eq!(Shown(&long).to_string().chars().count(), 65);
    }
}
