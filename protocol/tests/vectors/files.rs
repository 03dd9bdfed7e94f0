//! The files in `protocol/vectors/`, as they are and as they should be.

use std::path::{Path, PathBuf};

/// A file's text as it is, and as it should be after deriving everything anew from its inputs.
pub(crate) struct Comparison {
    pub(crate) path: PathBuf,
    pub(crate) current: String,
    pub(crate) derived: String,
}

/// All vector files, each compared with what this crate says today.
pub(crate) fn compare_all() -> impl Iterator<Item = Comparison> {
    macro_rules! names {
        ($($name:literal),*) => {
            [$($name),*]
        };
    }
    super::every_file!(names).into_iter().map(compare)
}

fn compare(name: &str) -> Comparison {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let path = folder.join(name).with_extension("json");
    let current = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{} cannot be read: {error}", path.display()));
    let derived = super::derived(name, &current);
    Comparison {
        path,
        current,
        derived,
    }
}
