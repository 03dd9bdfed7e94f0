//! The one thread that writes, and its queue: group commit.
//!
//! The writer takes what is waiting, at most [`BATCH_JOBS_MAX`] jobs or [`BATCH_BYTES_MAX`] bytes,
//! runs it as one transaction, and answers all of it when that is on disk. It never waits for a
//! batch to fill: while one commit is written to disk the next batch gathers by itself, so batches
//! grow with the load and a lonely message waits for nobody.
//!
//! A batch that fails is tried again job by job, so that one job's failure is not another's.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::oneshot;

use super::error::{failed, full, of_file};
use super::retention::Retention;
use super::room;
use super::tables::Tables;
use crate::metrics::{COUNT_BOUNDS, Counter, DURATION_BOUNDS_S, Gauge, Histogram, Metrics};
use crate::store::{Pending, StoreError};

/// Jobs in one transaction: enough to make the cost of a commit small against the rest of it, few
/// enough that a batch of small messages takes some ten milliseconds.
pub(super) const BATCH_JOBS_MAX: usize = 2048;

/// Bytes in one transaction.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// Jobs of one kind that may wait.
const WAITING_JOBS_MAX: usize = 16_384;

/// Bytes of the jobs of one kind that may wait.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// How often a full store looks whether there is room again, at most and at least: nobody may send to it until it
/// says so.
const PROBE_TIME: Duration = Duration::from_secs(2);

/// What a job is about: each kind has its own share of the queue, so that none starves another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Appends a message from a vehicle.
    Uplink,
    /// Appends a message for a vehicle.
    Downlink,
    /// Changes what is there; works even when the quota is reached, because it makes room.
    Change,
}

/// The handle of the writer thread. Dropping it writes what waits and ends the thread.
pub(super) struct Writer {
    queue: Option<Sender<Entry>>,
    shares: [Arc<Share>; 3],
    full: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Share {
    jobs: AtomicUsize,
    bytes: AtomicUsize,
}

struct Entry {
    kind: Kind,
    bytes: usize,
    share: Arc<Share>,
    job: Box<dyn Job>,
}

/// A piece of work for the writer; may run more than once, each time in a fresh transaction.
trait Job: Send {
    fn run(&mut self, tables: &mut Tables) -> rusqlite::Result<()>;
    fn settle(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Write<T, F> {
    work: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnMut(&mut Tables) -> rusqlite::Result<T> + Send,
{
    fn run(&mut self, tables: &mut Tables) -> rusqlite::Result<()> {
        self.value = Some((self.work)(tables)?);
        Ok(())
    }

    fn settle(self: Box<Self>, committed: Result<(), StoreError>) {
        let result = match (committed, self.value) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(value)) => Ok(value),
            (Ok(()), None) => Err(StoreError::Failed {
                detail: "the write was not run".to_owned(),
            }),
        };
        // Whoever asked may have gone.
        let _ = self.reply.send(result);
    }
}

impl Writer {
    /// Starts the thread on `tables` of the database at `path`.
    pub(super) fn start(
        tables: Tables,
        path: &Path,
        quota_bytes: u64,
        retention: Retention,
        metrics: &Metrics,
    ) -> Result<Self, StoreError> {
        if let Err(error) = room::remove_leftover(path) {
            tracing::warn!(%error, "{} could not be removed", room::FILE);
        }
        let (queue, entries) = channel();
        let full = Arc::new(AtomicBool::new(false));
        let thread = WriterThread {
            full: Arc::clone(&full),
            tables,
            path: path.to_owned(),
            quota_bytes,
            retention,
            figures: Figures::new(metrics),
            probe_at: Instant::now(),
            probe_failed: None,
        };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || thread.run(&entries))
            .map_err(|error| failed(path, &error))?;
        Ok(Self {
            queue: Some(queue),
            shares: Default::default(),
            full,
            thread: Some(thread),
        })
    }

    /// Whether the last write found no room, or the quota is reached.
    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Relaxed)
    }

    /// Queues `work`, which carries `bytes`.
    pub(super) fn submit<T: Send + 'static>(
        &self,
        kind: Kind,
        bytes: usize,
        work: impl FnMut(&mut Tables) -> rusqlite::Result<T> + Send + 'static,
    ) -> Pending<T> {
        let (reply, pending) = oneshot::channel();
        let share = &self.shares[kind as usize];
        if let Err(busy) = share.enter(bytes) {
            let _ = reply.send(Err(busy));
            return pending;
        }
        let entry = Entry {
            kind,
            bytes,
            share: Arc::clone(share),
            job: Box::new(Write {
                work,
                value: None,
                reply,
            }),
        };
        if let Some(queue) = &self.queue {
            // If the thread is gone, the entry is dropped, and with it the reply: the receiver sees
            // that it was closed.
            let _ = queue.send(entry);
        }
        pending
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was printed by itself.
            let _ = thread.join();
        }
    }
}

impl Share {
    fn enter(&self, bytes: usize) -> Result<(), StoreError> {
        let waiting = self.jobs.fetch_add(1, Ordering::Relaxed);
        let waiting_bytes = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting >= WAITING_JOBS_MAX || waiting_bytes >= WAITING_BYTES_MAX {
            self.leave(bytes);
            return Err(StoreError::Busy { waiting });
        }
        Ok(())
    }

    fn leave(&self, bytes: usize) {
        self.jobs.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Entry {
    fn settle(self, committed: Result<(), StoreError>) {
        self.share.leave(self.bytes);
        self.job.settle(committed);
    }
}

struct WriterThread {
    tables: Tables,
    path: PathBuf,
    quota_bytes: u64,
    retention: Retention,
    figures: Figures,
    full: Arc<AtomicBool>,
    /// When a full store looks again.
    probe_at: Instant,
    /// Why it could not look, as far as that was logged.
    probe_failed: Option<io::ErrorKind>,
}

impl WriterThread {
    fn run(mut self, entries: &Receiver<Entry>) {
        loop {
            let mut wait = self
                .retention
                .due()
                .saturating_duration_since(Instant::now());
            if self.full.load(Ordering::Relaxed) {
                wait = wait.min(self.probe_at.saturating_duration_since(Instant::now()));
            }
            match entries.recv_timeout(wait) {
                Ok(first) => {
                    let batch = gather(first, entries);
                    self.write(batch);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.retention.is_due(&self.tables) {
                self.delete_expired();
            }
            if self.full.load(Ordering::Relaxed) && self.probe_at <= Instant::now() {
                self.probe();
                self.probe_at = Instant::now() + PROBE_TIME;
            }
        }
    }

    fn write(&mut self, batch: Vec<Entry>) {
        let mut batch = self.refuse_over_quota(batch);
        if batch.is_empty() {
            return;
        }
        match self.commit(&mut batch) {
            Ok(()) => batch.into_iter().for_each(|entry| entry.settle(Ok(()))),
            Err(error) if batch.len() == 1 => self.fail(batch, &error),
            Err(_) => {
                for entry in batch {
                    let mut alone = vec![entry];
                    match self.commit(&mut alone) {
                        Ok(()) => alone.into_iter().for_each(|entry| entry.settle(Ok(()))),
                        Err(error) => self.fail(alone, &error),
                    }
                }
            }
        }
    }

    /// Answers appends with `Full` when the quota is reached and gives back the rest.
    fn refuse_over_quota(&mut self, batch: Vec<Entry>) -> Vec<Entry> {
        let used = self.tables.used_bytes().unwrap_or(0);
        self.figures.bytes.set(used as i64);
        if used < self.quota_bytes {
            return batch;
        }
        self.full.store(true, Ordering::Relaxed);
        let (appends, changes): (Vec<_>, _) = batch
            .into_iter()
            .partition(|entry| entry.kind != Kind::Change);
        let error = full(format!(
            "{} has {used} bytes, its quota is {}; raise the quota, or let the messages that wait \
             for vehicles be sent",
            self.path.display(),
            self.quota_bytes
        ));
        self.fail(appends, &error);
        changes
    }

    fn commit(&mut self, batch: &mut [Entry]) -> Result<(), StoreError> {
        let start = Instant::now();
        self.tables
            .transaction(|tables| batch.iter_mut().try_for_each(|entry| entry.job.run(tables)))
            .map_err(of_file(&self.path))?;
        self.figures.commits.increment();
        self.figures.batch_jobs.observe(batch.len() as f64);
        self.figures
            .commit_seconds
            .observe_duration(start.elapsed());
        Ok(())
    }

    /// Looks whether a full store has room again, for a message and what the database writes with it.
    fn probe(&mut self) {
        let is_below_quota = (self.tables.used_bytes()).is_ok_and(|used| used < self.quota_bytes);
        if !is_below_quota || self.tables.transaction(Tables::write_nothing_new).is_err() {
            return;
        }
        if let Err(error) = room::try_out(&self.path) {
            // The reason may be another than a full disk, and nobody else would tell.
            if self.probe_failed.replace(error.kind()) != Some(error.kind()) {
                tracing::warn!(%error, "the store is full until {} can be written", room::FILE);
            }
            return;
        }
        self.probe_failed = None;
        self.full.store(false, Ordering::Relaxed);
        tracing::info!("the store has room again");
    }

    fn fail(&self, batch: Vec<Entry>, error: &StoreError) {
        if matches!(error, StoreError::Full { .. }) {
            self.full.store(true, Ordering::Relaxed);
        }
        self.figures.failed.add(batch.len() as u64);
        for entry in batch {
            entry.settle(Err(error.clone()));
        }
    }

    fn delete_expired(&mut self) {
        if let Err(error) = self.retention.step(&mut self.tables, SystemTime::now()) {
            let error = of_file(&self.path)(error);
            tracing::error!(%error, "old messages could not be deleted; will try again");
        }
    }
}

/// `first` and what waits behind it, up to the bounds of a batch.
fn gather(first: Entry, entries: &Receiver<Entry>) -> Vec<Entry> {
    let mut bytes = first.bytes;
    let mut batch = vec![first];
    while batch.len() < BATCH_JOBS_MAX && bytes < BATCH_BYTES_MAX {
        let Ok(entry) = entries.try_recv() else {
            break;
        };
        bytes += entry.bytes;
        batch.push(entry);
    }
    batch
}

struct Figures {
    commits: Counter,
    failed: Counter,
    commit_seconds: Histogram,
    batch_jobs: Histogram,
    bytes: Gauge,
}

impl Figures {
    fn new(metrics: &Metrics) -> Self {
        Self {
            commits: metrics.counter(
                "vinbus_store_commits_total",
                "Transactions that were written to disk.",
                &[],
            ),
            failed: metrics.counter(
                "vinbus_store_failed_total",
                "Writes that the disk, the quota or the database refused.",
                &[],
            ),
            commit_seconds: metrics.histogram(
                "vinbus_store_commit_seconds",
                "Time from the start of a transaction until it is on disk.",
                &DURATION_BOUNDS_S,
                &[],
            ),
            batch_jobs: metrics.histogram(
                "vinbus_store_commit_writes",
                "Writes that shared one transaction.",
                &COUNT_BOUNDS,
                &[],
            ),
            bytes: metrics.gauge(
                "vinbus_store_bytes",
                "Bytes of the database that hold something.",
                &[],
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::sqlite::{StoreSettings, schema};

    /// A writer whose last write found no room.
    fn full_writer(folder: &Path) -> WriterThread {
        let path = folder.join("vinbus.db");
        let settings = StoreSettings::default();
        let metrics = Metrics::new();
        let connection = schema::open_writer(&path).unwrap();
        WriterThread {
            tables: Tables::load(connection, settings.quota_bytes).unwrap(),
            path,
            quota_bytes: settings.quota_bytes,
            retention: Retention::new(settings, &metrics),
            figures: Figures::new(&metrics),
            full: Arc::new(AtomicBool::new(true)),
            probe_at: Instant::now(),
            probe_failed: None,
        }
    }

    #[test]
    fn store_that_has_room_for_a_page_and_for_no_message_stays_full() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = full_writer(dir.path());
        // Nothing can be written where a folder is.
        let in_the_way = dir.path().join(room::FILE);
        std::fs::create_dir(&in_the_way).unwrap();
        writer.probe();
        assert!(writer.full.load(Ordering::Relaxed));
        std::fs::remove_dir(&in_the_way).unwrap();
        writer.probe();
        assert!(!writer.full.load(Ordering::Relaxed));
        assert!(!in_the_way.exists());
    }
}
