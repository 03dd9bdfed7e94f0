//! Writes the journal anew, without what is over, on a thread of its own: the agent goes on meanwhile, and
//! notes in the old file. What it noted there since follows, and then the new file takes the place of the
//! old one, which has everything until that moment: whenever the agent is killed, one of both is whole.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, ErrorKind, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};

use super::live::{Item, Span};
use super::private;

/// Bytes that are copied at once.
const COPY_BYTES: u64 = 64 * 1024;

/// A file that is being written.
#[derive(Debug)]
pub(super) struct Renewal {
    /// `None` once it has been waited for.
    thread: Option<JoinHandle<io::Result<Renewed>>>,
}

/// A file that is written and on disk, under its own name.
#[derive(Debug)]
pub(super) struct Renewed {
    file: File,
    len: u64,
    /// Where lines of the old file stand that were there at the beginning.
    moved: HashMap<u64, u64>,
    /// Where the old file ended at the beginning, and where the new one has what followed.
    cut: (u64, u64),
    /// Up to where the old file is in it.
    copied: u64,
}

impl Renewal {
    /// Begins with a new file of these items, of an old file of so many bytes.
    pub(super) fn begin(
        (old, len): (&File, u64),
        new: PathBuf,
        items: Vec<Item>,
    ) -> io::Result<Self> {
        let old = old.try_clone()?;
        Self::spawn(move || Renewed::write((&old, len), &new, items))
    }

    /// Begins to copy what followed in the old file, which has so many bytes now.
    pub(super) fn go_on((old, len): (&File, u64), mut renewed: Renewed) -> io::Result<Self> {
        let old = old.try_clone()?;
        Self::spawn(move || {
            renewed.follow((&old, len))?;
            Ok(renewed)
        })
    }

    fn spawn(work: impl FnOnce() -> io::Result<Renewed> + Send + 'static) -> io::Result<Self> {
        let thread = thread::Builder::new().name("journal".to_owned());
        let thread = Some(thread.spawn(work)?);
        Ok(Self { thread })
    }

    pub(super) fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for it.
    pub(super) fn wait(mut self) -> io::Result<Renewed> {
        let joined = self.thread.take().map(JoinHandle::join);
        // A panic was printed by itself.
        joined
            .and_then(Result::ok)
            .unwrap_or_else(|| Err(io::Error::other("its thread has failed")))
    }
}

impl Drop for Renewal {
    /// Whoever goes on may write a file of the same name.
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Renewed {
    /// Writes a new file.
    pub(super) fn write(
        (old, old_len): (&File, u64),
        new: &Path,
        items: Vec<Item>,
    ) -> io::Result<Self> {
        match fs::remove_file(new) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let file = private().read(true).open(new)?;
        let mut out = BufWriter::new(&file);
        let (mut len, mut moved) = (0, HashMap::new());
        for item in items {
            match item {
                Item::New(line) => {
                    out.write_all(line.as_bytes())?;
                    len += line.len() as u64;
                }
                Item::Old(span) => {
                    copy(old, span, |bytes| out.write_all(bytes))?;
                    moved.insert(span.at, len);
                    len += span.len;
                }
            }
        }
        out.flush()?;
        drop(out);
        file.sync_all()?;
        Ok(Self {
            file,
            len,
            moved,
            cut: (old_len, len),
            copied: old_len,
        })
    }

    /// Bytes of an old file that are not in it yet.
    pub(super) fn behind(&self, old_len: u64) -> u64 {
        old_len - self.copied
    }

    /// Copies what followed in the old file, which has so many bytes now.
    pub(super) fn follow(&mut self, (old, old_len): (&File, u64)) -> io::Result<()> {
        let span = Span {
            at: self.copied,
            len: self.behind(old_len),
        };
        let (file, mut at) = (&self.file, self.len);
        copy(old, span, |bytes| {
            file.write_all_at(bytes, at)?;
            at += bytes.len() as u64;
            Ok(())
        })?;
        file.sync_all()?;
        self.len += span.len;
        self.copied = old_len;
        Ok(())
    }

    /// Where a line of the old file stands in it.
    pub(super) fn place(&self, at: u64) -> u64 {
        let (old, new) = self.cut;
        match at.checked_sub(old) {
            Some(behind) => new + behind,
            None => self.moved.get(&at).copied().unwrap_or(at),
        }
    }

    /// The file, and how many bytes it has.
    pub(super) fn into_file(self) -> (File, u64) {
        (self.file, self.len)
    }
}

fn copy(old: &File, span: Span, mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    let mut buffer = vec![0; span.len.min(COPY_BYTES) as usize];
    let (mut at, end) = (span.at, span.at + span.len);
    while at < end {
        let len = (end - at).min(COPY_BYTES);
        let piece = &mut buffer[..len as usize];
        old.read_exact_at(piece, at)?;
        write(piece)?;
        at += len;
    }
    Ok(())
}
