//! The environment variables that stand for options: which one a wrong value came from, and which
//! are none of ours.

use std::collections::HashMap;

use clap::CommandFactory as _;
use clap::error::{ContextKind, ContextValue};

use crate::linux::args::Cli;
use crate::linux::logging;

/// What our variables begin with, but for [`logging::VARIABLE`].
const PREFIX: &str = "VINBUS_AGENT_";

/// What to tell about the variables `set`, besides a command line that may be refused: one line each.
#[must_use]
pub fn notes(
    refused: Option<&clap::Error>,
    set: impl Iterator<Item = (String, String)>,
) -> Vec<String> {
    let known = known();
    let at_fault = refused.and_then(said);
    let set = set.filter(|(name, _)| name.starts_with(PREFIX));
    set.filter_map(|(name, value)| match known.get(&name) {
        None => {
            let meant = nearest(&name, known.keys()).map_or_else(
                || "is it misspelt?".to_owned(),
                |meant| format!("did you mean {meant}?"),
            );
            Some(format!(
                "warning: the environment variable {name} is none of ours and has no effect: {meant}"
            ))
        }
        Some(options) => at_fault
            .as_ref()
            .filter(|(option, wrong)| {
                options.contains(option) && (value == *wrong || value.split(',').any(|value| value == wrong))
            })
            .map(|_| format!("note: the value comes from the environment variable {name}")),
    })
    .collect()
}

/// The one of `known`, or the log's, that somebody meant who wrote `name` with a slip or two behind the
/// prefix: one for every three letters there.
fn nearest<'n>(name: &str, known: impl Iterator<Item = &'n String>) -> Option<&'n str> {
    let name = name.strip_prefix(PREFIX)?;
    let ours = known.filter_map(|known| Some((known.strip_prefix(PREFIX)?, known.as_str())));
    ours.chain([("LOG", logging::VARIABLE)])
        .map(|(rest, known)| (strsim::damerau_levenshtein(name, rest), rest, known))
        .filter(|(slips, rest, _)| *slips <= (rest.len() / 3).min(2))
        .min()
        .map(|(_, _, known)| known)
}

/// The option and the value that `error` complains of.
fn said(error: &clap::Error) -> Option<(String, String)> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        _ => None,
    };
    text(ContextKind::InvalidArg).zip(text(ContextKind::InvalidValue))
}

/// Our variables, each with the options that it stands for, as clap writes them.
fn known() -> HashMap<String, Vec<String>> {
    let mut cli = Cli::command();
    cli.build();
    let mut known: HashMap<_, Vec<_>> = HashMap::new();
    for option in cli.get_subcommands().flat_map(clap::Command::get_arguments) {
        if let Some(name) = option.get_env() {
            let options = known.entry(name.to_string_lossy().into_owned());
            options.or_default().push(option.to_string());
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn of(refused: Option<&clap::Error>, set: &[(&str, &str)]) -> Vec<String> {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        notes(refused, set.iter().map(owned))
    }

    #[test]
    fn a_misspelt_variable_is_told() {
        let told = of(
            None,
            &[
                ("VINBUS_AGENT_BROKR", "mqtt://h"),
                ("VINBUS_AGENT_BROKER", "mqtt://h"),
                ("VINBUS_LOG", "debug"),
                ("VINBUS_HTTP", "of the host server"),
            ],
        );
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].contains("VINBUS_AGENT_BROKR "), "{told:?}");
        assert!(
            told[0].ends_with("did you mean VINBUS_AGENT_BROKER?"),
            "{told:?}"
        );
        for (name, meant) in [
            ("VINBUS_AGENT_LOG", "did you mean VINBUS_LOG?"),
            ("VINBUS_AGENT_VIM", "did you mean VINBUS_AGENT_VIN?"),
            (
                "VINBUS_AGENT_RECIEPTSFOR",
                "did you mean VINBUS_AGENT_RECEIPTS_FOR?",
            ),
            ("VINBUS_AGENT_UID", "is it misspelt?"),
            ("VINBUS_AGENT_", "is it misspelt?"),
            ("VINBUS_AGENT_XYZZY", "is it misspelt?"),
        ] {
            let told = of(None, &[(name, "")]);
            assert!(told[0].ends_with(meant), "{told:?}");
        }
    }

    #[test]
    fn a_wrong_value_is_traced_to_its_variable() {
        let line = ["vehicle-agent", "run", "--vin", "0123456789ABCDEFG"];
        let rest = ["--broker", "mqtt://h", "--app", "demo=p", "--app", "demo"];
        let error = Cli::try_parse_from(line.iter().chain(&rest)).unwrap_err();
        let told = |apps| of(Some(&error), &[("VINBUS_AGENT_APPS", apps)]);
        let note = told("demo=p,demo");
        assert!(note[0].ends_with("VINBUS_AGENT_APPS"), "{note:?}");
        assert_eq!(told("demo=p"), [""; 0]);
    }
}
