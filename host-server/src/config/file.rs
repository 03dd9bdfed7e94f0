//! Reads the configuration file; what is wrong in it is shown with its line and column.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::IgnoredAny;
use toml::Spanned;

use super::options::ServeOptions;
use super::rules::{self, BRIDGE_KEY};
use crate::bridge::Rules;
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

/// What a file says.
#[derive(Debug)]
pub(super) struct Contents {
    /// The options.
    pub(super) options: ServeOptions,
    /// What the bridge carries.
    pub(super) rules: Rules,
}

/// Reads what the file at `path` says.
///
/// # Errors
/// A [`FileError`].
pub(super) fn read(path: &Path) -> Result<Contents, FileError> {
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
    let options = toml::from_str(&text).map_err(refused)?;
    let tables: rules::Tables = toml::from_str(&text).map_err(refused)?;
    let line = |offset| Place::of(text.as_bytes(), offset).line;
    let rules = rules::check(&tables, line)
        .map_err(|rules::Wrong { span, message }| wrong(path, &text, span, message))?;
    Ok(Contents { options, rules })
}

fn is_known(key: &str) -> bool {
    key == BRIDGE_KEY || ServeOptions::keys().any(|known| known == key)
}

/// What to say of a key that is none of ours.
fn unknown_key(key: &str) -> String {
    let bridge = std::iter::once(BRIDGE_KEY.to_owned());
    let known: Vec<_> = ServeOptions::keys().chain(bridge).collect();
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

    const RULE: &str = "[[bridge]]\napp = \"myapp\"\nuid = \"partner\"\n";

    /// A rule with these lines is refused: the first of them is line 4.
    fn check_rule(lines: &str, line: usize, column: usize, part: &str) {
        check(&format!("{RULE}{lines}"), line, column, part);
    }

    #[test]
    fn wrong_rule_is_refused_at_its_line() {
        check("bridges = 1", 1, 1, "did you mean `bridge`?");
        check("[bridge]\napp = \"a\"", 1, 1, "");
        check(
            "[[bridge]]\nuid = \"partner\"\n",
            1,
            1,
            "missing field `app`",
        );
        check(
            "[[bridge]]\napp = \"a/b\"\nuid = \"partner\"\n",
            2,
            7,
            "app \"a/b\" cannot be used",
        );
        check("[[bridge]]\napp = 5\n", 2, 7, "expected a string in quotes");
        check_rule("", 1, 1, "it carries nothing");
        check_rule(
            "from = \"a/b\"",
            4,
            1,
            "unknown field `from`, expected one of",
        );
        check_rule(
            "vin = \"short\"\nto-bus = \"a/b\"",
            4,
            7,
            "vin \"short\" cannot be used",
        );
        check_rule("to-bus = \"a\"", 4, 10, "write resource/scope");
        check_rule(
            "to-bus = \"a/b\"\nsubtopic = \"+\"",
            5,
            12,
            "subtopic \"+\" cannot be used",
        );
        check_rule(
            "to-bus = \"a/b\"\nid-app = \"x\"",
            5,
            10,
            "no effect without from-bus",
        );
        check_rule("from-bus = \"a/b/:vin\"", 1, 1, "needs id-app");
        check_rule(
            "from-bus = \"a/b\"\nid-app = \"x\"",
            4,
            12,
            "`:vin` must stand in from-bus",
        );
        check_rule(
            "vin = \"0123456789ABCDEFG\"\nfrom-bus = \"a/b/:vin\"\nid-app = \"x\"",
            5,
            12,
            "remove `:vin`",
        );
        check_rule(
            "from-bus = \"a/b/:vin\"\nid-app = \"x\"\nttl = \"1ms\"",
            6,
            7,
            "at least 1s",
        );
        check_rule(
            "from-bus = \"a/b/:vin\"\nid-app = \"x\"\nreceipts = \"maybe\"",
            6,
            12,
            "write yes, no or repeatable",
        );
        check_rule(
            "from-bus = \"a/b/:vin\"\nid-app = \"vinbus\"",
            5,
            10,
            "it is the server's own",
        );
    }

    #[test]
    fn rules_that_do_not_go_together_are_refused_at_the_later_one() {
        let first = format!("{RULE}from-bus = \"a/b/:vin\"\nid-app = \"x\"\n");
        let second = |lines: &str| format!("{first}{RULE}{lines}");
        check(
            &second("from-bus = \"a/b/:vin\"\nid-app = \"y\""),
            9,
            12,
            "the rule in line 1 takes",
        );
        check(
            &second("to-bus = \"a/b/c\""),
            9,
            10,
            "where the rule in line 1 takes",
        );
        check(
            &format!("{first}to-bus = \"a/b/:vin\"\n"),
            6,
            10,
            "where the rule in line 1 takes",
        );
    }

    #[test]
    fn rules_and_options_stand_in_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("vinbus.toml");
        let text = format!("http = \"127.0.0.1:0\"\n{RULE}to-bus = \"a/b\"\nsubtopic = \"/s\"\n");
        std::fs::write(&path, text).unwrap();
        let Contents { options, rules } = read(&path).unwrap();
        assert!(options.http.is_some());
        let rule = rules.iter().next().unwrap();
        let up = rule.up.as_ref().unwrap();
        assert_eq!(
            (up.to.to_string(), up.subtopic.as_deref()),
            ("a/b".to_owned(), Some("s"))
        );
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
