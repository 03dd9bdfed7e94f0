//! What is deleted, and when: old uplink messages and the traces of messages that were sent.
//!
//! By age, an uplink message goes only when every webhook has received it. By size, the oldest go
//! whoever still wants them: an endpoint that never answers must not fill the disk of all others.
//! What came of a message of which the other parts did not goes when they are awaited no longer.
//! Messages that wait for a vehicle are never deleted. Everything deleted is counted, and uplink
//! messages that a webhook had not received are counted apart and logged.

use std::time::{Duration, Instant, SystemTime};

use super::StoreSettings;
use super::tables::{Tables, micros};
use super::writer::BATCH_JOBS_MAX;
use crate::metrics::{Counter, Metrics};

/// Time between two looks at what is old.
const INTERVAL: Duration = Duration::from_secs(10);

/// Messages deleted in one transaction: more than a batch of the writer appends, so that a full log
/// does not outgrow its limit, and few enough that appends wait some ten milliseconds at most.
const STEP_MESSAGES: i64 = 2 * BATCH_JOBS_MAX as i64;

/// Decides what goes; driven by the writer between its batches.
pub(super) struct Retention {
    settings: StoreSettings,
    due: Instant,
    /// The last step failed; the next one waits for its time.
    failed: bool,
    uplink: Counter,
    undelivered: Counter,
    traces: Counter,
    incomplete: Counter,
}

impl Retention {
    pub(super) fn new(settings: StoreSettings, metrics: &Metrics) -> Self {
        let deleted = |what| {
            metrics.counter(
                "vinbus_store_deleted_total",
                "Messages deleted by age or size: uplink, uplink that a webhook had not received, \
                 uplink of which not all parts came, and downlink that was sent.",
                &[("what", what)],
            )
        };
        Self {
            settings,
            due: Instant::now(),
            failed: false,
            uplink: deleted("uplink"),
            undelivered: deleted("uplink_undelivered"),
            traces: deleted("downlink"),
            incomplete: deleted("uplink_incomplete"),
        }
    }

    /// When [`Retention::step`] wants to run next.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Whether [`Retention::step`] should run now: it is time, or the uplink log has outgrown its
    /// limit by so much that it must not wait. A little may, so that deleting is not paid for with
    /// every batch.
    pub(super) fn is_due(&self, tables: &Tables) -> bool {
        let max = self.settings.uplink_bytes_max;
        let outgrown = excess(tables.counts().uplink_bytes, max.saturating_add(max / 64)) > 0;
        self.due <= Instant::now() || (outgrown && !self.failed)
    }

    /// Deletes one portion; what is left over is due at once.
    pub(super) fn step(&mut self, tables: &mut Tables, now: SystemTime) -> rusqlite::Result<()> {
        self.due = Instant::now() + INTERVAL;
        self.failed = true;
        let expired = micros(now).saturating_sub(as_micros(self.settings.trace_age_max));
        let fleets =
            tables.transaction(|tables| tables.delete_old_fleet(expired, STEP_MESSAGES))?;
        let incomplete = tables
            .transaction(|tables| tables.delete_abandoned(micros(now), STEP_MESSAGES / 16))?;
        self.incomplete.add(incomplete);
        let deleted = self.delete_uplink(tables, now)?
            + self.delete_traces(tables, now)?
            + fleets
            + incomplete;
        self.failed = false;
        if deleted > 0 {
            self.due = Instant::now();
        }
        Ok(())
    }

    fn delete_uplink(&self, tables: &mut Tables, now: SystemTime) -> rusqlite::Result<u64> {
        let expired = micros(now).saturating_sub(as_micros(self.settings.uplink_age_max));
        let delivered = tables.delivered_to_all()?;
        let mut excess = self.uplink_excess(tables)?;
        let (mut upto, mut bytes, mut count, mut undelivered) = (0, 0, 0, 0);
        for (cursor, received_at, size) in tables.oldest_uplink(STEP_MESSAGES)? {
            if excess <= 0 && (received_at >= expired || cursor > delivered) {
                break;
            }
            excess -= size;
            bytes += size;
            upto = cursor;
            count += 1;
            undelivered += u64::from(cursor > delivered);
        }
        if count > 0 {
            tables.transaction(|tables| tables.delete_uplink_to(upto, bytes))?;
            self.uplink.add(count);
        }
        if undelivered > 0 {
            self.undelivered.add(undelivered);
            tracing::warn!(
                undelivered,
                upto,
                "deleted uplink messages that a webhook had not received: the log is larger than \
                 its limit"
            );
        }
        Ok(count)
    }

    /// Bytes of uplink messages that are too many.
    ///
    /// The sizes of the logs count payload, not pages: a message of half a page takes a whole one. So
    /// when the file nears its quota, the log is cut below its limit, down to half of it.
    fn uplink_excess(&self, tables: &Tables) -> rusqlite::Result<i64> {
        let StoreSettings {
            uplink_bytes_max: max,
            quota_bytes: quota,
            ..
        } = self.settings;
        let bytes = tables.counts().uplink_bytes;
        let used = i64::try_from(tables.used_bytes()?).unwrap_or(i64::MAX);
        let near = excess(used, quota - quota / 16).min(excess(bytes, max / 2));
        Ok(near.max(excess(bytes, max)))
    }

    fn delete_traces(&self, tables: &mut Tables, now: SystemTime) -> rusqlite::Result<u64> {
        let expired = micros(now).saturating_sub(as_micros(self.settings.trace_age_max));
        let mut excess = excess(
            tables.counts().downlink_bytes,
            self.settings.downlink_bytes_max,
        );
        let is_due = |oldest: &[(i64, i64, i64)]| {
            oldest
                .first()
                .is_some_and(|&(_, finished_at, _)| excess > 0 || finished_at < expired)
        };
        if !is_due(&tables.oldest_finished(1)?) {
            return Ok(0);
        }
        let oldest = tables.oldest_finished(STEP_MESSAGES)?;
        let count = tables.transaction(|tables| {
            let mut count = 0;
            for (sequence, finished_at, size) in oldest {
                if excess <= 0 && finished_at >= expired {
                    break;
                }
                excess -= size;
                count += 1;
                tables.delete_downlink(sequence, finished_at, size)?;
            }
            Ok(count)
        })?;
        self.traces.add(count);
        Ok(count)
    }
}

fn excess(bytes: i64, max: u64) -> i64 {
    bytes.saturating_sub(i64::try_from(max).unwrap_or(i64::MAX))
}

fn as_micros(age: Duration) -> i64 {
    i64::try_from(age.as_micros()).unwrap_or(i64::MAX)
}
