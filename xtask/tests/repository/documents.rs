//! What the documents say is what the code does.

use std::collections::BTreeSet;
use std::process::Command;

use crate::{CRATES, files, read, root};

const DOCUMENTS: &[&str] = &[
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "docs/DELIVERY.md",
    "docs/PORTING.md",
    "docs/SPEC.md",
];

#[test]
fn every_chore_that_a_document_names_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("--help")
        .output()
        .expect("xtask can be started");
    let help = String::from_utf8(help.stdout).expect("help is text");
    let chores: BTreeSet<_> = help
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for document in DOCUMENTS.iter().copied().chain([".ci/run"]) {
        for chore in words_after(&read(document), "cargo xtask ") {
            assert!(
                chores.contains(chore.as_str()),
                "{document} names `cargo xtask {chore}`"
            );
        }
    }
}

#[test]
fn continuous_integration_runs_the_test_command_of_the_readme() {
    let command = "\ncargo xtask test\n";
    assert!(read("README.md").contains(command));
    assert!(read(".ci/run").ends_with(command));
}

#[test]
fn python_in_the_readme_is_that_of_the_example_which_the_tests_run() {
    let examples = ["bus_client.py", "vehicle_watch.py"];
    let examples = examples.map(|name| read(format!("docs/examples/{name}")));
    let readme = read("README.md");
    let mut blocks = readme.split("```python\n").skip(1).peekable();
    assert!(blocks.peek().is_some());
    for block in blocks {
        let (code, _) = block.split_once("```").expect("a block has an end");
        let stands = examples.iter().any(|example| example.contains(code));
        assert!(stands, "{code}");
    }
}

#[test]
fn every_requirement_that_code_cites_stands_in_the_specification() {
    let spec = read("docs/SPEC.md");
    let stands = |number: &str| {
        let (heading, requirement) = (format!("\n## {number} "), format!("\n**{number}** "));
        spec.contains(&heading) || spec.contains(&requirement)
    };
    let mut cited = 0;
    for file in files(CRATES, "rs") {
        for number in words_after(&read(&file), "SPEC ") {
            let number = number.trim_end_matches('.');
            if number.starts_with(|c: char| c.is_ascii_digit()) {
                assert!(stands(number), "{} cites SPEC {number}", file.display());
                cited += 1;
            }
        }
    }
    assert!(cited > 0, "no code cites the specification");
}

#[test]
fn requirements_are_numbered_in_order_and_once() {
    let spec = read("docs/SPEC.md");
    let numbers: Vec<(u32, u32)> = spec.lines().filter_map(requirement_number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len());
}

#[test]
fn every_relative_link_leads_to_a_file() {
    for document in DOCUMENTS {
        let folder = root().join(document);
        let folder = folder.parent().expect("a document is in a folder");
        let text = read(document);
        for target in text
            .split("](")
            .skip(1)
            .filter_map(|rest| rest.split(')').next())
        {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !target.contains("://") {
                assert!(folder.join(path).exists(), "{document} links to {target}");
            }
        }
    }
}

#[test]
fn every_path_that_a_document_names_exists() {
    for document in DOCUMENTS {
        for quoted in read(document).split('`').skip(1).step_by(2) {
            let is_path = quoted.contains('/')
                && !quoted.contains(|c: char| c.is_whitespace() || "…{<*".contains(c));
            let is_ours = CRATES.iter().chain(&["docs", "fuzz", ".ci"]).any(|folder| {
                quoted
                    .strip_prefix(folder)
                    .is_some_and(|rest| rest.starts_with('/'))
            });
            if is_path && is_ours {
                assert!(root().join(quoted).exists(), "{document} names {quoted}");
            }
        }
    }
}

#[test]
fn every_line_of_the_code_map_is_a_file_or_folder() {
    let text = read("ARCHITECTURE.md");
    let map = text
        .split("\n## Code map\n")
        .nth(1)
        .expect("there is a code map");
    let map = map.split("```").nth(1).expect("the code map is a block");
    let mut folder = "";
    for line in map.lines().skip(1) {
        let name = line.split_whitespace().next().expect("no line is empty");
        let path = if line.starts_with(' ') {
            root().join(folder).join(name)
        } else {
            folder = name;
            root().join(name)
        };
        assert!(path.exists(), "{} is not there", path.display());
    }
}

/// `(4, 2)` of a line that begins with `**4.2** `.
fn requirement_number(line: &str) -> Option<(u32, u32)> {
    let (number, _) = line.strip_prefix("**")?.split_once("** ")?;
    let (section, index) = number.split_once('.')?;
    Some((section.parse().ok()?, index.parse().ok()?))
}

/// What follows each `mark`, up to the first character that is not of a word or number.
fn words_after(text: &str, mark: &str) -> Vec<String> {
    let is_word = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.');
    text.split(mark)
        .skip(1)
        .map(|rest| rest.chars().take_while(is_word).collect())
        .filter(|word: &String| !word.is_empty() && !word.starts_with('-'))
        .collect()
}
