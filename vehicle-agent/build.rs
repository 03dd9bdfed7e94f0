//! Puts the portal's page together, as one document, and compresses it: programs and firmware carry
//! it with them.
//!
//! One document, because a board has few connections: style and modules go where `index.html` names
//! them, each module as a function whose result is what it exports. Only their hashes may run, says
//! the page's content-security policy.

use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

type Done<T = ()> = Result<T, Box<dyn Error>>;

fn main() -> Done {
    println!("cargo::rerun-if-changed=portal");
    println!("cargo::rerun-if-changed=build.rs");
    let style = without_comments(&read("portal.css")?);
    let mut script = String::new();
    add_module("portal.js", &mut Vec::new(), &mut script)?;
    if script.contains("</script") || style.contains("</style") {
        return Err("style and script cannot stand in a document".into());
    }
    let page = read("index.html")?;
    let page = replace(
        &page,
        r#"<link rel="stylesheet" href="portal.css">"#,
        &format!("<style>{style}</style>"),
    )?;
    let page = replace(
        &page,
        r#"<script type="module" src="portal.js"></script>"#,
        &format!(r#"<script type="module">{script}</script>"#),
    )?;
    println!("cargo::rustc-env=PORTAL_STYLE={}", hash(&style));
    println!("cargo::rustc-env=PORTAL_SCRIPT={}", hash(&script));
    pack("index.html", "PORTAL_PAGE", &page)?;
    let app_script = without_comments(&read("webportal.js")?);
    pack("webportal.js", "PORTAL_APP_SCRIPT", &app_script)
}

/// Adds a module behind those that it imports.
fn add_module(name: &str, added: &mut Vec<String>, script: &mut String) -> Done {
    if added.iter().any(|known| known == name) {
        return Ok(());
    }
    added.push(name.to_owned());
    let (mut body, mut exports) = (String::new(), Vec::new());
    for line in without_comments(&read(name)?).lines() {
        if let Some(import) = line.strip_prefix("import ") {
            let (names, from) = import
                .split_once(" from './")
                .ok_or("an import of a file")?;
            let from = from.strip_suffix("';").ok_or("an import on one line")?;
            add_module(from, added, script)?;
            writeln!(body, "const {names} = {};", variable(from))?;
        } else if let Some(export) = line.strip_prefix("export ") {
            let exported = export
                .split([' ', '('])
                .nth(1)
                .ok_or("an export of a name")?;
            exports.push(exported.to_owned());
            writeln!(body, "{export}")?;
        } else {
            writeln!(body, "{line}")?;
        }
    }
    let exports = exports.join(", ");
    writeln!(
        script,
        "const {} = (() => {{\n{body}return {{ {exports} }};\n}})();",
        variable(name)
    )?;
    Ok(())
}

/// The variable that holds what a module exports.
fn variable(file: &str) -> String {
    format!("module_{}", file.trim_end_matches(".js"))
}

/// The text without indentation, empty lines and the comments that have lines of their own.
fn without_comments(text: &str) -> String {
    let (mut rest, mut in_comment) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        in_comment |= line.starts_with("/*");
        if !in_comment && !line.is_empty() && !line.starts_with("//") {
            rest.push_str(line);
            rest.push('\n');
        }
        in_comment &= !line.ends_with("*/");
    }
    rest
}

fn replace(text: &str, part: &str, by: &str) -> Done<String> {
    if text.matches(part).count() != 1 {
        return Err(format!("index.html has not one {part}").into());
    }
    Ok(text.replace(part, by))
}

fn read(name: &str) -> Done<String> {
    let path = Path::new("portal").join(name);
    Ok(fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))?)
}

fn hash(text: &str) -> String {
    STANDARD.encode(Sha256::digest(text))
}

/// Compresses a file, and names its version in a variable.
fn pack(name: &str, variable: &str, text: &str) -> Done {
    let out = std::env::var_os("OUT_DIR").ok_or("cargo names no folder")?;
    let mut packer = GzEncoder::new(Vec::new(), Compression::best());
    packer.write_all(text.as_bytes())?;
    let packed = packer.finish()?;
    let version: String = hash(text)
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(16)
        .collect();
    println!("cargo::rustc-env={variable}={version}");
    fs::write(Path::new(&out).join(format!("{name}.gz")), packed)?;
    Ok(())
}
