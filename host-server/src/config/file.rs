//! Reads the configuration file; what is wrong in it is shown with its line and column.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use toml::Spanned;

use super::options::ServeOptions;
use crate::nearest::nearest;
use crate::place::Place;

/// Why a configuration file says nothing usable.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("the configuration file {} cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is no TOML, or has an unknown key or a wrong value.
    #[error("{}:{line}:{column}: {message}\n{excerpt}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The column in characters, from 1.
        column: usize,
        /// What is wrong.
        message: String,
        /// The line as far as it is wrong, with a mark below the place: what is behind an unknown key
        /// may be a password.
        excerpt: String,
    },
}

/// Reads the options that the file at `path` gives.
///
/// # Errors
/// A [`FileError`].
pub(super) fn read(path: &Path) -> Result<ServeOptions, FileError> {
    let text = std::fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let refused = |error: toml::de::Error| {
        // Whoever left the quotes away does not see what is wrong with the value.
        let message = error.message();
        let message = message.replace("expected a string", "expected a string in quotes");
        wrong(path, &text, error.span().unwrap_or_default(), message)
    };
    let keys: BTreeMap<Spanned<String>, IgnoredAny> = toml::from_str(&text).map_err(refused)?;
    let unknown = keys.keys().filter(|key| !is_known(key.as_ref()));
    if let Some(key) = unknown.min_by_key(|key| key.span().start) {
        return Err(wrong(path, &text, key.span(), unknown_key(key.as_ref())));
    }
    toml::from_str(&text).map_err(refused)
}

fn is_known(key: &str) -> bool {
    ServeOptions::keys().any(|known| known == key)
}

/// What to say of a key that is none of ours.
fn unknown_key(key: &str) -> String {
    let known: Vec<_> = ServeOptions::keys().collect();
    let meant = nearest(key, known.iter().map(String::as_str));
    let meant = meant.map_or_else(
        || ".".to_owned(),
        |meant| format!(", did you mean `{meant}`?"),
    );
    format!(
        "unknown key `{key}`{meant} Each key is an option of `host-server serve --help` without its dashes"
    )
}

fn wrong(path: &Path, text: &str, span: Range<usize>, message: String) -> FileError {
    let Place { line, column } = Place::of(text.as_bytes(), span.start);
    let before = text.get(..span.start).unwrap_or_default();
    let line_begin = before.rfind('\n').map_or(0, |newline| newline + 1);
    let as_far = text.get(line_begin..span.end).unwrap_or_default();
    let line_text = as_far.lines().next().unwrap_or_default();
    let margin = " ".repeat(line.to_string().len());
    FileError::Wrong {
        path: path.to_owned(),
        line,
        column,
        message,
        excerpt: format!(
            "{margin} |\n{line} | {line_text}\n{margin} | {:>column$}",
            "^"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, line: usize, column: usize, part: &str) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vinbus.toml");
        std::fs::write(&path, text).unwrap();
        let error = read(&path).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.contains(&format!("vinbus.toml:{line}:{column}: ")),
            "{shown}"
        );
        assert!(shown.contains(part), "{shown}");
    }

    #[test]
    fn unknown_key_is_refused_at_its_line() {
        check(
            "http = \"127.0.0.1:0\"\n\nhtpp = 1\n",
            3,
            1,
            "unknown key `htpp`, did you mean `http`?",
        );
        check(
            "[limits]\nstreams-max = 1",
            1,
            2,
            "unknown key `limits`. Each",
        );
        check("data_dir = \"d\"", 1, 1, "did you mean `data-dir`?");
    }

    #[test]
    fn what_is_behind_an_unknown_key_is_not_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vinbus.toml");
        std::fs::write(&path, "broker-password = \"secret\"\n").unwrap();
        let shown = read(&path).unwrap_err().to_string();
        assert!(shown.contains("1 | broker-password\n"), "{shown}");
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn wrong_value_is_refused_at_its_column() {
        check("# é\nhttp = \"here\"\n", 2, 8, "an IP address with a port");
        check("mqtt = \"0.0.0.0:1883\"", 1, 8, "loopback");
        check("request-time-max = \"soon\"", 1, 20, "such as 500ms, 30s");
        check("store-bytes-max = \"10 apples\"", 1, 19, "10GiB");
        check("streams-max = -1", 1, 15, "-1");
        check("broker-mqtt = \"4\"", 1, 15, "expected \"5\" or \"3.1.1\"");
        check("broker-mqtt = 5", 1, 15, "expected a string in quotes");
        check("http = 8080", 1, 8, "expected a string in quotes");
        check("profile = \"both\"", 1, 11, "`table` or `sample`");
    }

    #[test]
    fn broken_toml_is_refused_at_its_line() {
        check("http = \"127.0.0.1:0\"\nmqtt =\n", 2, 7, "");
    }

    #[test]
    fn config_file_may_not_name_a_config_file() {
        check("config = \"other.toml\"", 1, 1, "unknown key `config`");
    }

    #[test]
    fn missing_file_is_named() {
        let error = read(Path::new("no/such.toml")).unwrap_err();
        let shown = error.to_string();
        assert!(
            shown.contains("no/such.toml") && shown.contains("No such file"),
            "{shown}"
        );
    }
}
