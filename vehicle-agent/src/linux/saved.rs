//! `--data-dir`: what waits when the agent is stopped, for its next start.
//!
//! The folder holds `lock`, so that no second agent uses it, and between two lives `waiting.jsonl`:
//! a first line with the VIN, then one line for each pending message and each uplink message. It is
//! written in one piece (a temporary file, synced, renamed) and removed when it is taken up, so that
//! no message is handed out in two lives. A killed agent saves nothing: what was in memory is lost,
//! as are popups that wait, in any case.

use std::fs::{self, File, TryLockError};
use std::io::{BufRead, BufReader, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};

use vinbus_protocol::app_slot::AppSlot;
use vinbus_protocol::envelope::Uplink;
use vinbus_protocol::id::{AppId, Vin};

use crate::linux::run::LinuxDesk;

/// The folder, locked.
#[derive(Debug)]
pub(crate) struct Saved {
    folder: PathBuf,
    vin: Vin,
    _lock: File,
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
}

impl Saved {
    /// Makes the folder if need be and locks it.
    ///
    /// # Errors
    /// When it cannot be made, or another agent uses it.
    pub(crate) fn open(folder: &Path, vin: Vin) -> anyhow::Result<Self> {
        let shown = folder.display();
        fs::create_dir_all(folder).with_context(|| format!("cannot make --data-dir {shown}"))?;
        let lock = File::create(folder.join("lock"))
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

    /// Takes up what the last life left behind, and removes it; `uplink` is told whose each uplink
    /// message is.
    ///
    /// # Errors
    /// When the file cannot be read, or belongs to another vehicle; it is not touched then.
    pub(crate) fn restore(
        &self,
        desk: &mut LinuxDesk,
        mut uplink: impl FnMut(AppSlot),
    ) -> anyhow::Result<()> {
        let path = self.path();
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut lines = BufReader::new(file).lines();
        let head = lines.next().transpose()?.unwrap_or_default();
        let head: Head = serde_json::from_str(&head).with_context(|| {
            format!("{} is damaged; remove it to start without", path.display())
        })?;
        if head.vin != self.vin.as_str() {
            bail!(
                "{} belongs to vehicle {}, this is {}",
                path.display(),
                head.vin,
                self.vin.as_str()
            );
        }
        let (mut taken, mut left) = (0, 0);
        for line in lines {
            match take_up(&line?, desk) {
                Some(sender) => {
                    sender.into_iter().for_each(&mut uplink);
                    taken += 1;
                }
                None => left += 1,
            }
        }
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        tracing::info!(
            taken,
            left,
            "took up what waited when the agent was stopped"
        );
        Ok(())
    }

    /// Writes down what waits, and takes the uplink messages out.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub(crate) fn save(&self, desk: &mut LinuxDesk) -> anyhow::Result<()> {
        let lines = waiting(desk)?;
        if lines.is_empty() {
            return Ok(());
        }
        let (path, new) = (self.path(), self.folder.join("waiting.new"));
        let write = || -> std::io::Result<()> {
            let mut out = BufWriter::new(File::create(&new)?);
            serde_json::to_writer(
                &mut out,
                &Head {
                    vin: self.vin.as_str().to_owned(),
                },
            )?;
            for line in &lines {
                out.write_all(b"\n")?;
                out.write_all(line.as_bytes())?;
            }
            out.into_inner()?.sync_all()?;
            fs::rename(&new, &path)?;
            File::open(&self.folder)?.sync_all()
        };
        write().with_context(|| {
            format!("cannot save {} messages to {}", lines.len(), path.display())
        })?;
        tracing::info!(
            messages = lines.len(),
            "saved what waits for the next start"
        );
        Ok(())
    }

    fn path(&self) -> PathBuf {
        self.folder.join("waiting.jsonl")
    }
}

/// Takes up one line: the app if it is an uplink message; `None` if it cannot be taken.
fn take_up(line: &str, desk: &mut LinuxDesk) -> Option<Option<AppSlot>> {
    let waiting: Waiting = serde_json::from_str(line).ok()?;
    let slot = desk.portal().slot(&AppId::parse(&waiting.app).ok()?)?;
    if let Some(message) = waiting.message {
        desk.restore_pending(slot, message.as_bytes());
        return Some(None);
    }
    let content = waiting.content?;
    desk.restore_uplink(slot, waiting.subtopic.as_deref(), content.as_bytes())
        .ok()?;
    Some(Some(slot))
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
            .flat_map(|pending| pending.iter())
        {
            let message = std::str::from_utf8(record.bytes)?.to_owned();
            let app = app.as_str().to_owned();
            waiting.push(Waiting {
                app,
                subtopic: None,
                content: None,
                message: Some(message),
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
            });
        }
    });
    let line = |waiting| serde_json::to_string(waiting).map_err(Into::into);
    waiting.iter().map(line).collect()
}
