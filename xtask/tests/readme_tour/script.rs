//! Reads the steps of the tour out of the README.

/// One step of the tour.
#[derive(Debug)]
pub(crate) enum Step {
    /// Commands that go on until the end of the tour.
    Keep { name: String, commands: String },
    /// Commands that end, with success.
    Run { name: String, commands: String },
    /// What a terminal prints.
    Prints { name: String, lines: String },
    /// What is typed into a terminal.
    Type { name: String, text: String },
}

const MARK: &str = "<!-- tour: ";

/// All steps, in order.
pub(crate) fn steps(readme: &str) -> Vec<Step> {
    readme.split(MARK).skip(1).map(step).collect()
}

fn step(text: &str) -> Step {
    let (marker, rest) = text
        .split_once(" -->\n")
        .expect("a marker ends with its line");
    let block = block(rest).unwrap_or_else(|| panic!("no block follows the marker `{marker}`"));
    if let Some(name) = marker.strip_prefix("type into ") {
        return Step::Type {
            name: name.into(),
            text: block,
        };
    }
    let (name, verb) = marker.split_once(' ').expect("a marker names a terminal");
    let name = name.to_owned();
    match verb {
        "keeps running" => Step::Keep {
            name,
            commands: block,
        },
        "ends" => Step::Run {
            name,
            commands: block,
        },
        "prints" => Step::Prints { name, lines: block },
        _ => panic!("the tour knows no `{verb}`"),
    }
}

/// The inside of the fenced block at the beginning of `text`.
fn block(text: &str) -> Option<String> {
    let fenced = text.strip_prefix("```")?;
    let (_language, inside) = fenced.split_once('\n')?;
    let (inside, _) = inside.split_once("```")?;
    Some(inside.to_owned())
}

#[test]
fn every_command_of_the_tour_is_a_step() {
    let readme = include_str!("../../../README.md");
    let tour = readme
        .split("\n## Three minutes\n")
        .nth(1)
        .expect("the README has a tour");
    let tour = tour.split("\n## ").next().expect("the tour ends");
    for before in tour
        .split("\n```sh\n")
        .collect::<Vec<_>>()
        .iter()
        .rev()
        .skip(1)
    {
        let line = before.lines().last().unwrap_or_default();
        assert!(
            line.starts_with(MARK),
            "a block without a marker follows `{line}`"
        );
    }
}
