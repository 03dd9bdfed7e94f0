//! `--data-dir`: what waits when the agent is stopped, for its next start.
//!
//! The folder holds `lock`, so that no second agent uses it, `epoch`, which numbers the agent's lives
//! for receipts, `last-words` after a panic, and `waiting.jsonl`: a first line with
//! the VIN, then one line for each pending message and each uplink message. It is written in one
//! piece (a temporary file, synced, renamed), for the user alone to read.
//!
//! Pending messages keep their numbers, so that an app that has taken a message, but whose confirmation
//! came too late, knows it again. The file `journal` ([`super::journal`]) names the *life* in which
//! numbers are given, and has all messages with receipts. Requests
//! that are open end with the agent.
//!
//! What is taken up stays in the file until it is needed there no longer: the pending messages of an
//! app until the app takes them, so that it never gets one twice; the uplink messages until the last
//! of them has met its fate, so that none is lost. An agent that is killed before takes the rest up
//! again. Everything else without receipts that was in memory is lost with it, as are popups that wait, in any case.
//!
//! Messages of an app that is not installed any more stay in the file, which each start tells, until
//! the app is back or the file is removed: a slip in `--app` must not lose them. They cannot grow, as
//! no message for such an app is taken in.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Epoch;
use vinbus_protocol::envelope::{AppMessage, Uplink};
use vinbus_protocol::id::{AppId, Vin};
use vinbus_protocol::pending::PendingRing;

use crate::linux::journal::{Journal, NEEDED};
use crate::linux::last_words;
use crate::linux::portal::SocketApps;
use crate::linux::run::{LinuxDesk, epoch_of_now};

/// The folder, locked.
#[derive(Debug)]
pub(crate) struct Saved {
    folder: PathBuf,
    vin: Vin,
    _lock: File,
}

/// What was taken up and is still in the file.
#[derive(Debug)]
pub(crate) struct TakenUp<'s> {
    saved: &'s Saved,
    /// The numbers of the messages that each app has not taken.
    pending: BTreeMap<String, BTreeSet<u64>>,
    /// Uplink messages without a fate. They are the first in the queue.
    uplinks: u64,
    /// Apps with messages that are not installed.
    absent: BTreeSet<String>,
}

#[derive(Deserialize, Serialize)]
struct Head {
    vin: String,
}

/// A message that waits; `message` is for the app, `content` from it: JSON texts as strings, so that
/// every byte of them is kept.
#[derive(Deserialize, Serialize)]
struct Waiting {
    app: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    subtopic: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
}

impl Saved {
    /// Whether there is or can be such a folder.
    ///
    /// # Errors
    /// When it, or what it would lie in, is a file.
    pub(crate) fn check(folder: &Path) -> anyhow::Result<()> {
        let mut parts = folder.ancestors();
        if let Some(found) = parts.find(|part| part.exists())
            && !found.is_dir()
        {
            let (folder, file) = (folder.display(), found.display());
            bail!("cannot use --data-dir {folder}: {file} is a file; name a folder");
        }
        Ok(())
    }

    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// When it cannot be made, or another agent uses it.
    pub(crate) fn open(folder: &Path, vin: Vin) -> anyhow::Result<Self> {
        let shown = folder.display();
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .with_context(|| format!("cannot make --data-dir {shown}"))?;
        let lock = private()
            .truncate(false)
            .open(folder.join("lock"))
            .with_context(|| format!("cannot write to --data-dir {shown}"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!("another agent uses --data-dir {shown}; stop it, or choose another folder")
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock --data-dir {shown}"));
            }
        }
        let folder = folder.to_owned();
        Ok(Self {
            folder,
            vin,
            _lock: lock,
        })
    }

    /// What the last life said when it panicked, once; from now on the words of this one are kept.
    pub(crate) fn last_words(&self) -> Option<String> {
        let words = last_words::take(&self.folder);
        last_words::keep_in(&self.folder);
        words
    }

    /// The journal of messages with receipts; a new one counts lives from `new_life`. To be called before
    /// [`Self::begin_epoch`], whose file says that there was a journal. What is wrong with it is told in the log.
    ///
    /// # Errors
    /// When it cannot be read or written, or belongs to another vehicle.
    pub(crate) fn journal(&self, new_life: u64) -> anyhow::Result<Journal> {
        let path = self.folder.join("epoch");
        let had_one = path
            .try_exists()
            .with_context(|| format!("cannot look for {}", path.display()))?;
        let (journal, found) = Journal::open(&self.folder, self.vin, new_life, had_one)?;
        if let Some(found) = found {
            tracing::error!("{found}");
        }
        Ok(journal)
    }

    /// The epoch of this life: greater than all before, which the file `epoch` remembers where the
    /// clock does not.
    ///
    /// # Errors
    /// When the file cannot be read or written, or holds no epoch.
    pub(crate) fn begin_epoch(&self) -> anyhow::Result<Epoch> {
        let path = self.folder.join("epoch");
        let last = match fs::read_to_string(&path) {
            Ok(text) => text.trim().parse().ok().and_then(Epoch::new).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Some(None),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let damaged = || format!("{} is damaged; remove it to start without", path.display());
        let last = last.with_context(damaged)?;
        let next = last.map_or(Some(Epoch::FIRST), Epoch::next);
        let epoch = epoch_of_now().max(next.unwrap_or(Epoch::FIRST));
        self.keep_epoch(epoch).context(NEEDED)?;
        Ok(epoch)
    }

    /// Remembers the greatest epoch of this life, if it was given a greater one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn keep_epoch(&self, epoch: Epoch) -> anyhow::Result<()> {
        let (path, new) = (self.folder.join("epoch"), self.folder.join("epoch.new"));
        let write = || -> std::io::Result<()> {
            absent_is_well(fs::remove_file(&new))?;
            let mut out = private().open(&new)?;
            writeln!(out, "{}", epoch.number())?;
            out.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Takes up what the last life left behind; `apps` is told whose each uplink message is, and of
    /// those that a queue smaller than before had to drop.
    ///
    /// # Errors
    /// When the file cannot be read, or belongs to another vehicle.
    pub(crate) fn restore(
        &self,
        desk: &mut LinuxDesk,
        apps: &mut SocketApps<'_>,
    ) -> anyhow::Result<TakenUp<'_>> {
        let mut taken_up = TakenUp {
            saved: self,
            pending: BTreeMap::new(),
            uplinks: 0,
            absent: BTreeSet::new(),
        };
        let (mut taken, mut left) = (0, 0);
        let mut absent: BTreeMap<String, u64> = BTreeMap::new();
        let (_, lines) = self.read()?;
        for line in lines {
            let Ok(waiting) = serde_json::from_str::<Waiting>(&line) else {
                left += 1;
                continue;
            };
            let Some(slot) = slot(&waiting, desk) else {
                *absent.entry(waiting.app).or_default() += 1;
                continue;
            };
            match take_up(&waiting, slot, desk, apps) {
                Some(TakenBack::Pending(number)) => {
                    let numbers = taken_up.pending.entry(waiting.app).or_default();
                    numbers.insert(number);
                }
                Some(TakenBack::Uplink) => apps.expect_fate(slot),
                None => {
                    left += 1;
                    continue;
                }
            }
            taken += 1;
        }
        taken_up.uplinks = desk.waiting() as u64;
        if taken + left > 0 {
            let dropped = desk.counters().uplinks_dropped;
            tracing::info!(
                taken,
                dropped,
                left,
                "took up what waited when the agent was stopped"
            );
        }
        for (app, messages) in &absent {
            let file = self.path();
            tracing::warn!(
                app, messages, file = %file.display(),
                "this app is not installed, its messages stay in the file: install it with --app, or remove the file to drop them"
            );
        }
        taken_up.absent.extend(absent.into_keys());
        Ok(taken_up)
    }

    fn head(&self) -> Head {
        Head {
            vin: self.vin.as_str().to_owned(),
        }
    }

    /// The first line, which is checked, and the others; none without a file.
    fn read(&self) -> anyhow::Result<(Head, Vec<String>)> {
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Ok((self.head(), Vec::new()));
            }
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let damaged = || format!("{} is damaged; remove it to start without", path.display());
        let mut lines = BufReader::new(file).lines();
        let head = lines.next().transpose().with_context(damaged)?;
        let head: Head = serde_json::from_str(&head.unwrap_or_default()).with_context(damaged)?;
        if head.vin != self.vin.as_str() {
            bail!(
                "{} belongs to vehicle {}, this is {}",
                path.display(),
                head.vin,
                self.vin.as_str()
            );
        }
        let lines = lines.collect::<Result<_, _>>().with_context(damaged)?;
        Ok((head, lines))
    }

    /// Writes down what waits without receipts, and takes the uplink messages out.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn save(&self, desk: &mut LinuxDesk) -> anyhow::Result<()> {
        let head = self.head();
        let mut lines = waiting(desk)?;
        lines.extend(self.of_absent_apps(desk));
        self.write(&head, &lines)?;
        if !lines.is_empty() {
            tracing::info!(
                messages = lines.len(),
                "saved what waits for the next start"
            );
        }
        Ok(())
    }

    /// The lines of apps that are not installed.
    fn of_absent_apps(&self, desk: &LinuxDesk) -> Vec<String> {
        let is_absent = |line: &String| {
            let waiting = serde_json::from_str::<Waiting>(line);
            waiting.is_ok_and(|waiting| slot(&waiting, desk).is_none())
        };
        match self.read() {
            Ok((_, lines)) => lines.into_iter().filter(is_absent).collect(),
            Err(error) => {
                let error = format!("{error:#}");
                tracing::warn!(error, "messages of apps that are not installed are lost");
                Vec::new()
            }
        }
    }

    /// Replaces the file, in one piece; without lines there is none.
    fn write(&self, head: &Head, lines: &[String]) -> anyhow::Result<()> {
        let (path, new) = (self.path(), self.folder.join("waiting.new"));
        let write = || -> std::io::Result<()> {
            if lines.is_empty() {
                absent_is_well(fs::remove_file(&path))?;
                return File::open(&self.folder)?.sync_all();
            }
            // One that was left half written may be readable for others.
            absent_is_well(fs::remove_file(&new))?;
            let mut out = BufWriter::new(private().open(&new)?);
            serde_json::to_writer(&mut out, head)?;
            for line in lines {
                out.write_all(b"\n")?;
                out.write_all(line.as_bytes())?;
            }
            out.into_inner()?.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write()
            .with_context(|| format!("cannot save {} messages to {}", lines.len(), path.display()))
    }

    fn path(&self) -> PathBuf {
        self.folder.join("waiting.jsonl")
    }
}

impl TakenUp<'_> {
    /// The app takes its pending messages up to the number `upto`, now or with a confirmation.
    pub(crate) fn app_takes(&mut self, app: &AppId, upto: u64) {
        self.app_takes_those(app, |number| number <= upto);
    }

    /// The app takes one of its pending messages.
    pub(crate) fn app_takes_one(&mut self, app: &AppId, number: u64) {
        self.app_takes_those(app, |other| other == number);
    }

    fn app_takes_those(&mut self, app: &AppId, taken: impl Fn(u64) -> bool) {
        let Some(numbers) = self.pending.get_mut(app.as_str()) else {
            return;
        };
        numbers.retain(|number| !taken(*number));
        if numbers.is_empty() {
            self.pending.remove(app.as_str());
            self.rewrite();
        }
    }

    /// The oldest uplink message has met its fate, or the one behind as many `older` ones.
    pub(crate) fn uplink_settled(&mut self, older: u64) {
        if self.uplinks > older {
            self.uplinks -= 1;
            if self.uplinks == 0 {
                self.rewrite();
            }
        }
    }

    /// Leaves in the file what is still needed there. Waits for the disk: seldom, and not for long.
    fn rewrite(&self) {
        let rewritten = self.saved.read().and_then(|(head, mut lines)| {
            lines.retain(|line| self.needs(line));
            self.saved.write(&head, &lines)
        });
        if let Err(error) = rewritten {
            tracing::warn!(
                error = format!("{error:#}"),
                "an agent that is killed now hands out messages again"
            );
        }
    }

    fn needs(&self, line: &str) -> bool {
        serde_json::from_str::<Waiting>(line).is_ok_and(|waiting| {
            let needed = match waiting.message {
                Some(_) => self.pending.contains_key(&waiting.app),
                None => self.uplinks > 0,
            };
            needed || self.absent.contains(&waiting.app)
        })
    }
}

/// To write files that are for the user alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

fn absent_is_well(removed: std::io::Result<()>) -> std::io::Result<()> {
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Where a message was taken up.
enum TakenBack {
    /// Among the pending ones of its app, with this number.
    Pending(u64),
    /// In the queue.
    Uplink,
}

/// The place of the app that a message is for or from, if it is installed.
fn slot(waiting: &Waiting, desk: &LinuxDesk) -> Option<AppSlot> {
    desk.portal().slot(&AppId::parse(&waiting.app).ok()?)
}

/// Takes up one message; `None` if it cannot be taken.
fn take_up(
    waiting: &Waiting,
    slot: AppSlot,
    desk: &mut LinuxDesk,
    apps: &mut SocketApps<'_>,
) -> Option<TakenBack> {
    if let Some(message) = &waiting.message {
        // Without its number it is one that nobody has seen.
        let next = desk.portal().pending(slot)?.next_number();
        let number = waiting.number.unwrap_or(next);
        desk.restore_pending(slot, number, message.as_bytes());
        return Some(TakenBack::Pending(number));
    }
    let content = waiting.content.as_ref()?;
    let subtopic = waiting.subtopic.as_deref();
    desk.restore_uplink(slot, subtopic, content.as_bytes(), apps)
        .ok()?;
    Some(TakenBack::Uplink)
}

fn is_request(message: &[u8]) -> bool {
    matches!(
        AppMessage::decode_long(message),
        Ok(AppMessage::Request { .. })
    )
}

fn waiting(desk: &mut LinuxDesk) -> anyhow::Result<Vec<String>> {
    let apps: Vec<_> = desk
        .portal()
        .apps()
        .map(|app| (app.slot, app.id.clone()))
        .collect();
    let mut waiting = Vec::new();
    for (slot, app) in &apps {
        for record in desk
            .portal()
            .pending(*slot)
            .into_iter()
            .flat_map(PendingRing::iter)
            // The journal has those with receipts.
            .filter(|record| !desk.accounts_for(*slot, record.number))
            // Whoever made a request is told that it is over.
            .filter(|record| !is_request(record.bytes))
        {
            let message = std::str::from_utf8(record.bytes)?.to_owned();
            let app = app.as_str().to_owned();
            waiting.push(Waiting {
                app,
                subtopic: None,
                content: None,
                message: Some(message),
                number: Some(record.number),
            });
        }
    }
    desk.drain_uplinks(|uplink| {
        let app = apps.iter().find(|(slot, _)| *slot == uplink.slot);
        let content = Uplink::decode(uplink.payload)
            .ok()
            .map(|uplink| uplink.content);
        if let (Some((_, app)), Some(content)) = (app, content) {
            let content = content.as_str().to_owned();
            let subtopic = uplink.subtopic.map(str::to_owned);
            let app = app.as_str().to_owned();
            waiting.push(Waiting {
                app,
                subtopic,
                content: Some(content),
                message: None,
                number: None,
            });
        }
    });
    let line = |waiting| serde_json::to_string(waiting).map_err(Into::into);
    waiting.iter().map(line).collect()
}
