//! The lock of a data folder: one server at a time.
//!
//! An advisory lock (`flock`) on the file `lock`, so that it ends with its process, however that
//! ends. The file holds the process id of the owner, for the error of the second server only.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use crate::folder::{self, FolderError};

/// A data folder that is ours until this is dropped.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    _lock: File,
}

/// Why a data folder is not ours.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// Another server works on it.
    #[error(
        "the data folder {} is in use by another server (process {owner}); stop that one or choose \
         another folder with --data-dir",
        path.display()
    )]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The process id that the other server noted, or `?`.
        owner: String,
    },
    /// It, or what it would lie in, is a file.
    #[error(
        "the data folder {} cannot be used: {} is a file; name a folder with --data-dir",
        path.display(),
        file.display()
    )]
    NoFolder {
        /// The folder.
        path: PathBuf,
        /// The file.
        file: PathBuf,
    },
    /// It cannot be made, read or written.
    #[error(
        "the data folder {} cannot be used: {source}; make it writable or choose another with \
         --data-dir",
        path.display()
    )]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDir {
    /// Makes the folder if it is missing, readable by its owner only, and locks it.
    ///
    /// # Errors
    /// A [`DataDirError`].
    pub fn lock(path: &Path) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        folder::make(path).map_err(|error| match error {
            FolderError::IsFile(file) => DataDirError::NoFolder {
                path: path.to_owned(),
                file,
            },
            FolderError::Io(source) => io(source),
        })?;
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path.join("lock"))
            .map_err(io)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(DataDirError::InUse {
                    path: path.to_owned(),
                    owner: owner(&mut file),
                });
            }
            Err(TryLockError::Error(source)) => return Err(io(source)),
        }
        note_owner(&mut file).map_err(io)?;
        Ok(Self {
            path: path.to_owned(),
            _lock: file,
        })
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn owner(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.take(20).read_to_string(&mut text);
    match (read, text.trim()) {
        (Err(_), _) | (Ok(_), "") => "?".to_owned(),
        (Ok(_), pid) => pid.to_owned(),
    }
}

fn note_owner(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_in_place_of_a_data_folder_is_told_as_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        for path in [file.clone(), file.join("below")] {
            let error = DataDir::lock(&path).unwrap_err().to_string();
            let said = format!("{} is a file; name a folder", file.display());
            assert!(error.contains(&said), "{error}");
        }
    }
}
