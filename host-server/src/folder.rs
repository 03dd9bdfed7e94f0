//! Making a folder that only its owner may look into.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// Readable by the owner only.
const MODE: u32 = 0o700;

/// Why there is no folder.
#[derive(Debug)]
pub(crate) enum FolderError {
    /// It, or what it would lie in, is this file.
    IsFile(PathBuf),
    /// The disk refused.
    Io(io::Error),
}

/// Makes a folder and what it lies in, closed to others; one that is there stays as it is.
pub(crate) fn make(path: &Path) -> Result<(), FolderError> {
    let made = DirBuilder::new().recursive(true).mode(MODE).create(path);
    made.map_err(|error| match file_among(path) {
        Some(file) => FolderError::IsFile(file.to_owned()),
        None => FolderError::Io(error),
    })
}

/// What is there and no folder, of a path and what it lies in.
fn file_among(path: &Path) -> Option<&Path> {
    let found = path.ancestors().find(|part| part.exists())?;
    (!found.is_dir()).then_some(found)
}
