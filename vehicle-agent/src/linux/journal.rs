//! `--data-dir`: the file `journal`, which messages with receipts outlive the agent in, however it ends.
//!
//! Each note is a line, `CRC JSON`, written at once and synced before anybody relies on it
//! ([`crate::notes`]). In memory is only where the lines of live messages stand, so that the file can be
//! written anew without the others: at each start, and when it is long. That is done in another file, while
//! the agent goes on ([`renewal`]), which takes the place of the old one. What is live is bounded by the queue of messages from apps
//! and the places for messages to them, and the file by twice that and [`SLACK_BYTES`].
//!
//! A last line without its end was being written when the power went: nobody relied on it. Any other line
//! that cannot be read is damage. Then it is not known which numbers were used, so every channel begins
//! a new epoch, and hosts are told that messages to apps are lost. What is left of messages from apps is
//! sent again. The damaged file is kept as `journal.damaged`. A file that is gone, or empty, in a folder that had one is damage
//! as well. The log says once what was found ([`Found`]).
//!
//! Lines rather than a database: there is nothing to look for, one writer, and a file that a person can
//! read costs no library.

mod found;
mod line;
mod live;
mod renewal;
mod restore;

use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::delivery::Step;
use vinbus_protocol::id::{AppId, Vin};

pub(crate) use self::found::Found;
use self::line::{Line, UntoldLine};
use self::live::{Item, Live, Span};
use self::renewal::{Renewal, Renewed};
use crate::notes::{NotNoted, Note};

/// Bytes of lines that are not live, or of little ones, before the file is written anew.
const SLACK_BYTES: u64 = 256 * 1024;

/// Above it nothing is noted unless the file can be written anew. What is live is, each character escaped, the
/// queue of messages from apps, 8 MiB with the default one; what waits for each app, 5 MiB; a long message
/// from each partner, 2 MiB; and the last answers, half a MiB.
const BYTES_MAX: u64 = 128 << 20;

/// What to do where the folder cannot be written at the start.
pub(crate) const NEEDED: &str = "an agent does not start without noting which numbers it gives to messages: make room on the disk, \
     as much as the files of the folder take; what they hold is kept meanwhile";

/// The open file and what of it is live.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: PathBuf,
    /// The same, to have names of files in it written to disk.
    directory: File,
    vin: Vin,
    file: File,
    len: u64,
    /// When it is to be written anew.
    renew_at: u64,
    /// Not all of it is known to survive a loss of power.
    dirty: bool,
    /// A write failed: it is written anew before anything else is.
    broken: bool,
    /// It is being written anew.
    renewal: Option<Renewal>,
    failures: u64,
    life: u64,
    start: u64,
    live: Live,
    /// Lines that the disk did not take, of messages of apps whose fate is known: they are written before the
    /// next line. A later life that does not know of them would send their messages again, under numbers
    /// that their host may have forgotten by then. No more than there are messages that were noted.
    owed: String,
}

impl Journal {
    /// Reads the file of the last life, if there is one, and writes it anew for this one. `had_one` says
    /// that there was one.
    ///
    /// # Errors
    /// When it cannot be read or written, or belongs to another vehicle.
    pub(crate) fn open(
        folder: &Path,
        vin: Vin,
        new_life: u64,
        had_one: bool,
    ) -> anyhow::Result<(Self, Option<Found>)> {
        let path = folder.join("journal");
        let shown = path.display();
        let old = match File::open(&path) {
            Ok(file) => Some(file),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error).with_context(|| format!("cannot read {shown}")),
        };
        let bytes = match &old {
            Some(_) => fs::read(&path).with_context(|| format!("cannot read {shown}"))?,
            None => Vec::new(),
        };
        let mut live = Live::default();
        let (mut head, mut at) = (None, 0);
        // How many lines, and the first of them.
        let (mut damaged, mut first) = (0_u64, 0);
        for (text, line) in bytes.split_inclusive(|byte| *byte == b'\n').zip(1_u64..) {
            let span = Span {
                at,
                len: text.len() as u64,
            };
            at += span.len;
            let Some(text) = text.strip_suffix(b"\n") else {
                tracing::info!(bytes = span.len, file = %shown, "a last note was not finished");
                break;
            };
            match Line::read(text) {
                Some(Line::Head { vin, life, start }) => head = Some((vin, life, start)),
                Some(line) => live.apply(&line, span),
                None => {
                    damaged += 1;
                    if damaged == 1 {
                        first = line;
                    }
                }
            }
        }
        if let Some((of, ..)) = &head
            && *of != vin.as_str()
        {
            bail!("{shown} belongs to vehicle {of}, this is {}", vin.as_str());
        }
        let mut found = None;
        if bytes.is_empty() && had_one {
            found = Some(Found::Missing { file: path.clone() });
        }
        if !bytes.is_empty() && (damaged > 0 || head.is_none()) {
            let kept = folder.join("journal.damaged");
            fs::copy(&path, &kept).with_context(|| format!("cannot write {}", kept.display()))?;
            found = Some(Found::Damaged {
                lines: damaged,
                first,
                to_apps: live.waiting_for_apps(),
                from_apps: live.forget_channels(),
                kept,
            });
            head = None;
        }
        let (life, start) = head.map_or((new_life, 0), |(_, life, start)| (life, start));
        live.end_what_was_handed_over();
        let file = match old {
            Some(file) => file,
            None => private().open(&path)?,
        };
        let directory =
            File::open(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        let mut journal = Self {
            folder: folder.to_owned(),
            directory,
            vin,
            file,
            len: bytes.len() as u64,
            renew_at: 0,
            dirty: false,
            broken: false,
            renewal: None,
            failures: 0,
            life,
            start: start.saturating_add(1),
            live,
            owed: String::new(),
        };
        // Without it in the file a later life would give the same numbers to other messages.
        journal
            .renew()
            .with_context(|| format!("cannot write {shown}; {NEEDED}"))?;
        Ok((journal, found))
    }

    /// In which life messages to apps are numbered.
    pub(crate) fn life(&self) -> u64 {
        self.life
    }

    /// Writes a note; `app` and `id` say what the slot and frame of it are.
    pub(crate) fn note(
        &mut self,
        note: Note<'_>,
        app: impl Fn(AppSlot) -> Option<AppId>,
        id: Option<&str>,
    ) -> Result<(), NotNoted> {
        let line = Line::of(note, app, id, now_s()).ok_or(NotNoted)?;
        self.write(&line)
    }

    /// Notes that the fate of an app's message is known, and that this frame is to tell it.
    pub(crate) fn note_untold(
        &mut self,
        ticket: u64,
        app: &AppId,
        frame: &str,
    ) -> Result<(), NotNoted> {
        let untold = UntoldLine {
            app: app.as_str().into(),
            frame: frame.into(),
        };
        self.write(&Line::Settled {
            ticket,
            untold: Some(untold),
        })
    }

    /// Notes that what became of so many more of its messages is not kept, and the app is to be told. Where
    /// that fails, this life alone tells it.
    pub(crate) fn note_forgotten(&mut self, app: &AppId, fates: u64) {
        let app = app.as_str().into();
        let _ = self.write(&Line::Forgotten { app, fates });
    }

    /// Notes that an app has been told all of that. Where that fails, it is told again.
    pub(crate) fn note_told(&mut self, app: &AppId) {
        let app = app.as_str().into();
        let _ = self.write(&Line::Told { app });
    }

    fn write(&mut self, line: &Line<'_>) -> Result<(), NotNoted> {
        let pressing = self.live.is_pressing(line);
        let written = self.append(line);
        // Others are noted again by who could not.
        if written.is_err() && self.live.has_unsettled(line) {
            self.owe(line);
        }
        self.dirty |= pressing;
        self.tell(written, "a message with receipts could not be noted")
    }

    /// Waits until all notes survive a loss of power.
    pub(crate) fn keep(&mut self) -> Result<(), NotNoted> {
        if !self.dirty {
            return Ok(());
        }
        // What the system could not write it may have forgotten, and does not try again.
        let synced = match self.broken {
            true => self.renew(),
            false => self.file.sync_data(),
        };
        self.broken |= synced.is_err();
        self.dirty = synced.is_err();
        self.tell(synced, "notes of messages with receipts could not be kept")
    }

    fn tell(&mut self, done: std::io::Result<()>, what: &str) -> Result<(), NotNoted> {
        let Err(error) = done else {
            self.failures = 0;
            return Ok(());
        };
        self.failures += 1;
        // Each power of two: the first at once, and a disk that stays full not for ever.
        if self.failures.is_power_of_two() {
            let (failures, folder) = (self.failures, self.folder.display());
            tracing::error!(%error, failures, %folder, "{what}: make room on the disk");
        }
        Err(NotNoted)
    }

    fn append(&mut self, line: &Line<'_>) -> std::io::Result<()> {
        if self.broken {
            self.renew()?;
        }
        let is_full = self.len >= BYTES_MAX;
        let renewed = self.renew_meanwhile(is_full);
        if is_full && self.len >= BYTES_MAX {
            renewed.and_then(|()| self.renew())?;
        }
        let (owed, text) = (self.owed.len(), line.to_text()?);
        self.owed.push_str(&text);
        let written = self.file.write_all_at(self.owed.as_bytes(), self.len);
        if let Err(error) = written {
            self.owed.truncate(owed);
            // Half a line must not stand before the next one.
            self.broken = self.file.set_len(self.len).is_err();
            return Err(error);
        }
        self.owed.clear();
        let span = Span {
            at: self.len + owed as u64,
            len: text.len() as u64,
        };
        self.len = span.at + span.len;
        if let Some((uid, epoch)) = self.live.outdated(line) {
            let folder = self.folder.display();
            tracing::warn!(
                uid,
                epoch,
                %folder,
                "the journal is older than what this partner's host has heard from it: an older copy of the folder \
                 was put back, or another agent has this VIN; a new epoch begins, messages from apps are sent again, and those to apps that are \
                 not in the copy are lost, which their senders are told"
            );
        }
        self.live.apply(line, span);
        Ok(())
    }

    /// Takes a line as written that is to be written later.
    fn owe(&mut self, line: &Line<'_>) {
        if let Ok(text) = line.to_text() {
            self.owed.push_str(&text);
        }
        self.live.apply(line, Span { at: 0, len: 0 });
    }

    /// Writes what is live into a new file, which takes the place of this one, at once.
    fn renew(&mut self) -> std::io::Result<()> {
        // It writes a file of the same name.
        self.renewal = None;
        // It is tried again after as many bytes.
        self.renew_at = self.len + SLACK_BYTES;
        let items = self.items()?;
        let renewed = Renewed::write((&self.file, self.len), &self.new_path(), items);
        let taken_up = renewed.and_then(|renewed| self.take_up(renewed));
        self.remove_unfinished(&taken_up);
        taken_up?;
        // What is over is left out.
        self.owed.clear();
        Ok(())
    }

    /// Goes on with the file that is written anew, or begins one. It is done on a thread, and so takes no
    /// longer here than to copy what was noted meanwhile, at most [`SLACK_BYTES`]. What fails is
    /// tried again after as many bytes: until then this file has all.
    fn renew_meanwhile(&mut self, wait: bool) -> std::io::Result<()> {
        let Some(renewal) = self.renewal.take() else {
            if self.len >= self.renew_at {
                self.renew_at = self.len + SLACK_BYTES;
                let (items, new) = (self.items()?, self.new_path());
                self.renewal = Some(Renewal::begin((&self.file, self.len), new, items)?);
            }
            return Ok(());
        };
        if !wait && !renewal.is_done() {
            self.renewal = Some(renewal);
            return Ok(());
        }
        self.renew_at = self.len + SLACK_BYTES;
        let gone_on = self.go_on_with(renewal, wait);
        self.remove_unfinished(&gone_on);
        if let Err(error) = &gone_on {
            let folder = self.folder.display();
            tracing::warn!(%error, %folder, "the journal could not be written anew, and grows until it is: make room on the disk");
        }
        gone_on
    }

    fn go_on_with(&mut self, renewal: Renewal, wait: bool) -> std::io::Result<()> {
        let mut renewed = renewal.wait()?;
        if !wait && renewed.behind(self.len) > SLACK_BYTES {
            self.renewal = Some(Renewal::go_on((&self.file, self.len), renewed)?);
            return Ok(());
        }
        renewed.follow((&self.file, self.len))?;
        self.take_up(renewed)
    }

    /// What there is of a file that cannot be finished takes the room that notes need.
    fn remove_unfinished(&self, done: &std::io::Result<()>) {
        if done.is_err() {
            let _ = fs::remove_file(self.new_path());
        }
    }

    /// What a new file has to say.
    fn items(&self) -> std::io::Result<Vec<Item>> {
        let head = Line::Head {
            vin: self.vin.as_str().into(),
            life: self.life,
            start: self.start,
        };
        let mut items = vec![Item::New(head.to_text()?)];
        items.append(&mut self.live.plan()?);
        Ok(items)
    }

    /// A file in which everything is takes the place of this one.
    fn take_up(&mut self, renewed: Renewed) -> std::io::Result<()> {
        fs::rename(self.new_path(), self.folder.join("journal"))?;
        self.live.move_to(|at| renewed.place(at));
        (self.file, self.len) = renewed.into_file();
        self.renew_at = 2 * self.len + SLACK_BYTES;
        // Until its name is on the disk a loss of power may bring back the old one, without what follows.
        self.broken = true;
        self.directory.sync_all()?;
        (self.dirty, self.broken) = (false, false);
        Ok(())
    }

    fn new_path(&self) -> PathBuf {
        self.folder.join("journal.new")
    }

    fn line(&self, span: Span) -> anyhow::Result<Line<'static>> {
        let text = read_at(&self.file, span).context("cannot read the journal")?;
        let line = text.strip_suffix(b"\n").and_then(Line::read);
        line.context("the journal has changed since it was read; start again")
    }
}

fn read_at(file: &File, span: Span) -> std::io::Result<Vec<u8>> {
    let mut text = vec![0; usize::try_from(span.len).map_err(std::io::Error::other)?];
    file.read_exact_at(&mut text, span.at)?;
    Ok(text)
}

fn now_s() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH);
    since_1970.unwrap_or(Duration::ZERO).as_secs()
}

/// To write a file that is for the user alone.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(0o600);
    options
}

/// What a message that was being handed over when the agent ended became: that is not known any more.
const HANDED_OVER: Step = Step::Known;

#[cfg(test)]
mod tests;
