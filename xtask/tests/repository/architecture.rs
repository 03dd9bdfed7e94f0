//! Who may know whom.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

use crate::{CRATES, files, read, root};

/// Each crate of ours, and those that it may depend on.
const MAY_KNOW: &[(&str, &[&str])] = &[
    ("vinbus-protocol", &[]),
    ("vinbus-transport-std", &["vinbus-protocol"]),
    ("vinbus-transport-embedded", &["vinbus-protocol"]),
    (
        "vinbus-vehicle-agent",
        &[
            "vinbus-protocol",
            "vinbus-transport-std",
            "vinbus-transport-embedded",
        ],
    ),
    (
        "vinbus-host-server",
        &["vinbus-protocol", "vinbus-transport-std"],
    ),
    (
        "vinbus-board-bring-up",
        &[
            "vinbus-protocol",
            "vinbus-transport-embedded",
            "vinbus-vehicle-agent",
        ],
    ),
    (
        "vinbus-board-mps2-an500",
        &[
            "vinbus-board-bring-up",
            "vinbus-protocol",
            "vinbus-transport-embedded",
            "vinbus-vehicle-agent",
        ],
    ),
    (
        "vinbus-board-nucleo-h743zi",
        &[
            "vinbus-board-bring-up",
            "vinbus-protocol",
            "vinbus-transport-embedded",
            "vinbus-vehicle-agent",
        ],
    ),
    ("xtask", &[]),
    ("vinbus-chromium", &[]),
];

/// The files of a board's firmware that may be `unsafe`, each with its reason at its head.
const UNSAFE_ON_BOARDS: &[&str] = &[
    "executor.rs",
    "fault.rs",
    "interrupts.rs",
    "last_words.rs",
    "memory.rs",
    "mmio.rs",
    "provisioning.rs",
    "stack.rs",
];

/// Each foreign technology that has one home, by its name in code, and that home. Tests may speak
/// to our programs with whatever suits them.
const HOMES: &[(&str, &[&str])] = &[
    ("argon2", &["host-server/src/identity"]),
    ("async_tungstenite", &["transport-std/src/web_socket"]),
    (
        "axum",
        &[
            "host-server/src/api",
            // Where the broker takes over a WebSocket that HTTP has accepted.
            "host-server/src/broker/embedded",
            "host-server/src/serve/broker",
            "vehicle-agent/src/linux",
        ],
    ),
    ("embedded_nal", &["transport-embedded/src/nal"]),
    ("embedded_tls", &["transport-embedded/src/tls"]),
    ("indicatif", &["vehicle-agent/src/linux"]),
    ("minimq", &["transport-embedded/src"]),
    (
        "mqtt5",
        &[
            "host-server/src/broker/embedded",
            // Its codec.
            "host-server/src/commands/doctor/packets",
        ],
    ),
    (
        "rcgen",
        &["host-server/src/identity", "transport-std/src/conformance"],
    ),
    ("rumqttc_v4", &["transport-std/src"]),
    ("rumqttc_v5", &["transport-std/src"]),
    ("rusqlite", &["host-server/src/store"]),
    (
        "webpki",
        &["transport-embedded/src/tls", "transport-std/src/tls"],
    ),
    (
        "x509_parser",
        &[
            "host-server/src/identity",
            "host-server/src/broker/embedded/tls",
            "host-server/src/commands/doctor",
            "transport-std/src/tls",
        ],
    ),
];

#[test]
fn dependencies_point_in_one_direction() {
    let allowed: BTreeMap<_, _> = MAY_KNOW.iter().copied().collect();
    for package in packages() {
        let name = package["name"].as_str().expect("a package has a name");
        let may_know = allowed
            .get(name)
            .unwrap_or_else(|| panic!("{name} is new: say in MAY_KNOW whom it may know"));
        for dependency in array(&package["dependencies"]) {
            let other = dependency["name"]
                .as_str()
                .expect("a dependency has a name");
            // A crate's tests may play its peer; what is shipped may not know it.
            let ships = dependency["kind"] != "dev" || name == "xtask";
            if ships && allowed.contains_key(other) {
                assert!(may_know.contains(&other), "{name} must not know {other}");
            }
        }
    }
}

#[test]
fn protocol_has_one_dependency_on_a_board_and_it_needs_no_heap() {
    let packages = packages();
    let protocol = packages
        .iter()
        .find(|package| package["name"] == "vinbus-protocol")
        .expect("the protocol crate is in the workspace");
    let ships: Vec<_> = array(&protocol["dependencies"])
        .iter()
        .filter(|dependency| dependency["kind"].is_null())
        .map(|dependency| {
            let name = dependency["name"].as_str();
            (
                name.expect("a dependency has a name"),
                dependency["target"].as_str(),
            )
        })
        .collect();
    let host = Some("cfg(target_arch = \"x86_64\")");
    assert_eq!(ships, [("heapless", None), ("safe_arch", host)]);
    for file in files(&["protocol/src"], "rs") {
        let code = read(&file);
        assert!(!code.contains("extern crate alloc"), "{}", file.display());
    }
}

#[test]
fn foreign_technology_is_named_in_its_home_only() {
    let mut strays = Vec::new();
    for folder in CRATES {
        for file in files(&[&format!("{folder}/src")], "rs") {
            let code = code_of(&read(&file));
            for (name, homes) in HOMES {
                let at_home = homes.iter().any(|home| {
                    file.starts_with(home) || file == std::path::Path::new(&format!("{home}.rs"))
                });
                if !at_home && names(&code, name) {
                    strays.push(format!("{} names {name}", file.display()));
                }
            }
        }
    }
    assert!(strays.is_empty(), "{strays:#?}");
}

#[test]
fn every_crate_inherits_the_lints_that_forbid_unsafe_code() {
    assert!(read("Cargo.toml").contains("unsafe_code = \"forbid\""));
    for folder in CRATES {
        let manifest = read(format!("{folder}/Cargo.toml"));
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder}/Cargo.toml"
        );
    }
}

#[test]
fn a_board_is_unsafe_only_in_the_named_files_which_say_why() {
    for manifest in files(&["vehicle-agent/boards"], "toml") {
        assert!(
            read(&manifest).contains("unsafe_code = \"deny\""),
            "{}",
            manifest.display()
        );
    }
    for file in files(&["vehicle-agent/boards"], "rs") {
        let code = read(&file);
        let named = file
            .file_name()
            .is_some_and(|name| UNSAFE_ON_BOARDS.iter().any(|allowed| name == *allowed));
        let says_why = code
            .split("unsafe_code,")
            .nth(1)
            .is_some_and(|rest| rest.trim_start().starts_with("reason = "));
        let allows = code_of(&code).contains("unsafe_code");
        assert!(!allows || named && says_why, "{}", file.display());
        assert!(!named || allows, "{} is named in vain", file.display());
    }
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args([
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ])
        .current_dir(root())
        .output()
        .expect("cargo can be started");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    array(&metadata["packages"]).to_vec()
}

fn array(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

/// The lines that are not comments.
fn code_of(text: &str) -> String {
    let code = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"));
    code.collect::<Vec<_>>().join("\n")
}

/// Whether code names a crate: as the beginning of a path.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = &code[at + name.len()..];
        let begins = !before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        begins
            && (after.starts_with("::") || after.starts_with(';') && code[..at].ends_with("use "))
    })
}

#[test]
fn a_crate_is_named_by_a_path_and_not_by_a_longer_word() {
    assert!(names("use mqtt5::Packet;", "mqtt5"));
    assert!(names("let x: mqtt5::Packet = y;", "mqtt5"));
    assert!(names("use mqtt5;", "mqtt5"));
    assert!(!names("use crate::mqtt5::Packet;", "mqtt5"));
    assert!(!names("let rmqtt5::A = b;", "mqtt5"));
    assert!(!names("mod mqtt5;", "mqtt5"));
}

#[test]
fn every_public_function_of_the_protocol_is_in_the_proof_without_panics() {
    let proof: String = files(&["protocol/no-panic/src"], "rs")
        .iter()
        .map(read)
        .collect();
    for file in files(&["protocol/src"], "rs") {
        let module = file.file_stem().expect("a file has a name");
        for function in public_functions(&module.to_string_lossy(), &read(&file)) {
            let called = proof.match_indices(&function).any(|(at, name)| {
                let before = proof[..at].chars().next_back();
                let whole = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
                // Called, or handed over.
                whole && proof[at + name.len()..].starts_with(['(', ')'])
            });
            assert!(called, "the proof lacks {function} of {}", file.display());
        }
    }
}

/// The public functions of a file as `Type::function`, or `module::function` outside of any type.
fn public_functions(module: &str, code: &str) -> Vec<String> {
    let shipped = code.split("#[cfg(test)]\nmod tests").next();
    let mut owner = module.to_owned();
    let mut functions = Vec::new();
    for line in shipped.unwrap_or_default().lines() {
        if let Some(of) = line.strip_prefix("impl") {
            owner = implemented(of).to_owned();
        } else if line == "}" {
            owner = module.to_owned();
        }
        let line = line.trim_start();
        let function = line
            .strip_prefix("pub fn ")
            .or_else(|| line.strip_prefix("pub const fn "));
        if let Some(name) = function.and_then(|rest| rest.split(['(', '<']).next()) {
            functions.push(format!("{owner}::{name}"));
        }
    }
    functions
}

/// The name of the type in what follows `impl`: `<S: Trait<u8>> Ring<S> {`, ` Trait for Ring {`.
fn implemented(of: &str) -> &str {
    let mut open = 0_usize;
    let behind_parameters = of
        .char_indices()
        .find_map(|(at, c)| {
            open += usize::from(c == '<');
            open -= usize::from(c == '>');
            (open == 0).then_some(at)
        })
        .unwrap_or_default();
    let of = of[behind_parameters..].trim_start_matches('>').trim_start();
    let of = of.split_once(" for ").map_or(of, |(_, of)| of);
    of.split(['<', ' ']).next().unwrap_or_default()
}

#[test]
fn public_functions_are_named_with_what_they_belong_to() {
    let code = "pub fn alone() {}\n\
        impl<S: AsRef<[u8]>, const N: usize> Ring<S, N> {\n    pub const fn new() {}\n    fn inner() {}\n}\n\
        pub const fn behind<T>() {}\n\
        impl Default for Ring<()> {\n    pub fn of_trait() {}\n}\n\
        #[cfg(test)]\nmod tests {\n    pub fn tested() {}\n}\n";
    let expected = ["it::alone", "Ring::new", "it::behind", "Ring::of_trait"];
    assert_eq!(public_functions("it", code), expected);
}
