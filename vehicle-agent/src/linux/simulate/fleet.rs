//! What all simulated vehicles together have done.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;

use crate::desk::Counters;

/// Counters that all vehicles share.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) vehicles: u64,
    connected: watch::Sender<u64>,
    connected_at_end: AtomicU64,
    received: AtomicU64,
    /// Messages that the apps handed over, and those of them that are with the broker.
    handed_over: AtomicU64,
    sent: AtomicU64,
    echoes_skipped: AtomicU64,
    /// Why a link was down last.
    trouble: Mutex<Option<String>>,
    ended: Mutex<Ended>,
}

/// The sums over the vehicles that have ended.
#[derive(Debug, Default)]
struct Ended {
    sessions: u64,
    refused: u64,
    refused_by_broker: u64,
    dropped: u64,
    unsent: u64,
    downlinks_refused: u64,
    pending: u64,
}

impl Fleet {
    pub(super) fn new(vehicles: u32) -> Self {
        Self {
            vehicles: u64::from(vehicles),
            connected: watch::Sender::new(0),
            connected_at_end: AtomicU64::new(0),
            received: AtomicU64::new(0),
            handed_over: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            echoes_skipped: AtomicU64::new(0),
            trouble: Mutex::new(None),
            ended: Mutex::new(Ended::default()),
        }
    }

    pub(super) fn received(&self) {
        self.received.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn handed_over(&self) {
        self.handed_over.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sent(&self) {
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn echo_skipped(&self) {
        self.echoes_skipped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn link_changed(&self, up: bool) {
        self.connected.send_modify(|connected| {
            *connected = if up {
                *connected + 1
            } else {
                connected.saturating_sub(1)
            };
        });
    }

    /// Remembers why a link is down, and what to do.
    pub(super) fn trouble(&self, trouble: String) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(trouble);
    }

    pub(super) fn last_trouble(&self) -> Option<String> {
        self.trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Completes when so many vehicles are connected.
    pub(super) async fn connected(&self, vehicles: u64) {
        let mut connected = self.connected.subscribe();
        // The sender is ours, so it cannot be gone.
        let _ = connected.wait_for(|connected| *connected >= vehicles).await;
    }

    /// Remembers how many are connected now, before they are stopped.
    pub(super) fn freeze_connected(&self) {
        self.connected_at_end
            .store(*self.connected.borrow(), Ordering::Relaxed);
    }

    /// Adds up what a vehicle has counted; `unsent` of its messages still wait.
    pub(super) fn ended(&self, counters: &Counters, unsent: usize) {
        let portal = &counters.portal;
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        ended.sessions += counters.sessions;
        ended.refused += counters.uplinks_refused;
        ended.refused_by_broker += counters.uplinks_refused_by_broker;
        ended.dropped += counters.uplinks_dropped;
        ended.unsent += unsent as u64;
        ended.pending += portal.pending;
        ended.downlinks_refused += counters.foreign_topics
            + portal.refused_envelope
            + portal.refused_unknown_app
            + portal.refused_foreign_uid
            + portal.refused_too_large;
    }

    /// One line for the progress display.
    pub(super) fn line(&self) -> String {
        let connected = self.connected_now();
        let mut line = format!(
            "connected {connected}/{}, sent {}, received {}",
            self.vehicles,
            self.sent.load(Ordering::Relaxed),
            self.received.load(Ordering::Relaxed)
        );
        if let Some(trouble) = self.last_trouble().filter(|_| connected < self.vehicles) {
            line.push_str("; a link is down: ");
            line.push_str(&trouble);
        }
        line
    }

    pub(super) fn connected_now(&self) -> u64 {
        *self.connected.borrow()
    }

    /// The report at the end; `memory` is what the vehicles have added to the process, in bytes.
    pub(super) fn summary(&self, memory: Option<u64>) -> String {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let lost = ended.refused + ended.refused_by_broker + ended.dropped + ended.unsent;
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name:<11}{value}");
        };
        line("vehicles", self.vehicles.to_string());
        line(
            "connected",
            format!(
                "{} at the end, {} sessions in all",
                load(&self.connected_at_end),
                ended.sessions
            ),
        );
        line(
            "sent",
            format!(
                "{} of {} that apps handed over",
                load(&self.sent),
                load(&self.handed_over)
            ),
        );
        line(
            "received",
            format!(
                "{} by apps, {} pending, {} refused, {} not sent back",
                load(&self.received),
                ended.pending,
                ended.downlinks_refused,
                load(&self.echoes_skipped)
            ),
        );
        line(
            "lost",
            format!(
                "{lost}: {} refused to the app, {} by the broker, {} dropped, {} unsent",
                ended.refused, ended.refused_by_broker, ended.dropped, ended.unsent
            ),
        );
        if let Some(trouble) = self.last_trouble() {
            line("trouble", trouble);
        }
        if let Some(memory) = memory {
            let each = memory as f64 / 1024.0 / self.vehicles as f64;
            line(
                "memory",
                format!("{each:.1} KB for each vehicle (resident set)"),
            );
        }
        text
    }
}

/// Memory of this process that is in use, in bytes.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kilobytes: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_not_counted_as_sent() {
        let fleet = Fleet::new(1);
        for _ in 0..3 {
            fleet.handed_over();
        }
        fleet.sent();
        assert!(fleet.line().contains("sent 1,"), "{}", fleet.line());
        let summary = fleet.summary(None);
        assert!(
            summary.contains("1 of 3 that apps handed over"),
            "{summary}"
        );
    }
}
