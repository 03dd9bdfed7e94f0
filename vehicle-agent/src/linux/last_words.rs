//! What a panic had to say, kept in `--data-dir` for the next start to report (SPEC 6.7).

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::panic;
use std::path::Path;

use vinbus_protocol::limits::HEALTH_CRASH_BYTES_MAX;

const FILE: &str = "last-words";

/// Keeps the words of every panic from now on, of which the last one counts.
pub(crate) fn keep_in(folder: &Path) {
    let file = folder.join(FILE);
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let mut options = fs::OpenOptions::new();
        let opened = options.write(true).create(true).truncate(true).mode(0o600);
        let kept = opened
            .open(&file)
            .and_then(|mut file| write!(file, "{info}"));
        if let Err(error) = kept {
            // The log may be what has panicked.
            eprintln!("the panic below cannot be kept for the next start: {error}");
        }
        tell(info);
    }));
}

/// What the last life said when it panicked, once.
pub(crate) fn take(folder: &Path) -> Option<String> {
    let path = folder.join(FILE);
    let mut words = Vec::new();
    let read = fs::File::open(&path).and_then(|file| {
        // What does not fit into a report need not be read.
        file.take(HEALTH_CRASH_BYTES_MAX as u64)
            .read_to_end(&mut words)?;
        fs::remove_file(&path)
    });
    match read {
        Ok(()) => Some(String::from_utf8_lossy(&words).into_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => {
            tracing::warn!(%error, path = %path.display(), "cannot read how the last run ended");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_panic_are_told_once() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(take(folder.path()), None);
        keep_in(folder.path());
        let panicked = std::thread::spawn(|| panic!("out of {}", "petrol")).join();
        assert!(panicked.is_err());
        let words = take(folder.path()).unwrap();
        assert!(words.contains("last_words.rs"), "{words}");
        assert!(words.ends_with("out of petrol"), "{words}");
        assert_eq!(take(folder.path()), None);
    }
}
