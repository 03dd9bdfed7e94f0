//! Writing files that hold secrets, and naming files after identifiers.
//!
//! A file is never readable by others, not even for a moment: it is created with its final mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::enroll::IdentityError;
use super::secret::Secret;
use crate::folder::{self, FolderError};

/// Mode of every file written here.
const FILE_MODE: u32 = 0o600;

/// What to do about files that are there already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuse, and leave everything as it is.
    Refuse,
    /// Replace them.
    Replace,
}

/// Makes a folder and its parents, closed to others; one that is there stays as it is.
pub(super) fn make_folder(path: &Path) -> Result<(), IdentityError> {
    folder::make(path).map_err(|error| match error {
        FolderError::IsFile(file) => IdentityError::NoFolder {
            path: path.into(),
            file,
        },
        FolderError::Io(source) => IdentityError::io("create the folder", path, source),
    })
}

/// Writes several files into `folder`: all of them, or none when one exists and `existing` is
/// [`Existing::Refuse`].
pub(super) fn write_all(
    folder: &Path,
    files: &[(&str, &str)],
    existing: Existing,
) -> Result<(), IdentityError> {
    make_folder(folder)?;
    let names: Vec<_> = files.iter().map(|(name, _)| *name).collect();
    check(folder, &names, existing)?;
    for (name, text) in files {
        write(&folder.join(name), text, existing)?;
    }
    Ok(())
}

/// Whether files of these names may be written into `folder`.
pub(super) fn check(
    folder: &Path,
    names: &[&str],
    existing: Existing,
) -> Result<(), IdentityError> {
    let paths = names.iter().map(|name| folder.join(name));
    let mut there = paths.filter(|path| path.symlink_metadata().is_ok());
    match (existing, there.next()) {
        (Existing::Refuse, Some(path)) => Err(IdentityError::Exists { path }),
        (Existing::Refuse, None) | (Existing::Replace, _) => Ok(()),
    }
}

/// Adds a line to a file, which is made if it is not there. Several programs may do so at once.
pub(super) fn append(path: &Path, line: &str) -> Result<(), IdentityError> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(FILE_MODE)
        .open(path)
        .and_then(|mut file| {
            file.write_all(line.as_bytes())?;
            file.sync_all()
        })
        .map_err(|source| IdentityError::io("write", path, source))
}

/// Writes one file, whole or not at all as far as readers can see.
pub(crate) fn write(path: &Path, text: &str, existing: Existing) -> Result<(), IdentityError> {
    let temporary = temporary_beside(path)?;
    let written = fill(&temporary, text).and_then(|()| match existing {
        Existing::Replace => fs::rename(&temporary, path),
        // A link cannot take the place of another file, a rename would.
        Existing::Refuse => match fs::hard_link(&temporary, path) {
            Ok(()) => fs::remove_file(&temporary),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // A file system without links, for example on a memory stick.
            Err(_) => fill(path, text).and_then(|()| fs::remove_file(&temporary)),
        },
    });
    written.and_then(|()| sync_folder(path)).map_err(|source| {
        // What is left of a failed attempt helps nobody.
        let _ = fs::remove_file(&temporary);
        if source.kind() == io::ErrorKind::AlreadyExists {
            IdentityError::Exists { path: path.into() }
        } else {
            IdentityError::io("write", path, source)
        }
    })
}

/// Reads a file as text; `None` when it is not there.
pub(crate) fn read(path: &Path) -> Result<Option<String>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(IdentityError::io("read", path, source)),
    }
}

/// A path in the same folder that nobody else uses.
pub(super) fn temporary_beside(path: &Path) -> Result<PathBuf, IdentityError> {
    let random = Secret::generate("").ok_or(IdentityError::NoRandomness)?;
    Ok(path.with_extension(format!("{}.tmp", &random.expose()[..16])))
}

/// Turns an identifier into a file name: letters, digits, `-` and `_` stay, every other byte
/// becomes `~` and two hexadecimal digits, so that different identifiers get different names and
/// none can leave its folder.
pub(super) fn file_stem(identifier: &str) -> String {
    let mut stem = String::with_capacity(identifier.len());
    for byte in identifier.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_') {
            stem.push(char::from(byte));
        } else {
            stem.push('~');
            stem.push_str(&super::secret::hex(&[byte]));
        }
    }
    stem
}

fn fill(path: &Path, text: &str) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Makes the name of a file as durable as its bytes.
fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_and_folders_are_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("a/b");
        write_all(&folder, &[("key.pem", "secret")], Existing::Refuse).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        assert_eq!(mode(&folder.join("key.pem")), 0o600);
    }

    #[test]
    fn one_existing_file_refuses_them_all() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("two"), "old").unwrap();
        let files = [("one", "new"), ("two", "new")];
        let refused = write_all(folder.path(), &files, Existing::Refuse);
        assert!(matches!(refused, Err(IdentityError::Exists { path }) if path.ends_with("two")));
        assert!(!folder.path().join("one").exists());

        write_all(folder.path(), &files, Existing::Replace).unwrap();
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "no temporary file is left");
        assert_eq!(read(&folder.path().join("two")).unwrap().unwrap(), "new");
    }

    #[test]
    fn no_identifier_can_leave_its_folder() {
        assert_eq!(file_stem("demo-partner_1"), "demo-partner_1");
        assert_eq!(file_stem(".."), "~2e~2e");
        assert_eq!(file_stem("a/b~é"), "a~2fb~7e~c3~a9");
    }
}
