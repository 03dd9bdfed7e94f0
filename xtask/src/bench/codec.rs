//! Decoding envelopes, measured by criterion in `protocol/benches/decode.rs`.

use std::path::PathBuf;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::table;
use crate::command::{cargo, root, run as run_command};

/// Bytes of a message; `protocol/benches/decode.rs` measures both.
const SIZES: &[&str] = &["200", "131072"];
const CONTENTS: &[&str] = &["objects", "text", "numbers"];
const DECODERS: &[&str] = &["vinbus", "serde_json", "sonic-rs"];

/// Measures, and prints medians and their ratios.
pub(crate) fn run() -> Result<()> {
    let start = SystemTime::now();
    run_command(&mut cargo(&[
        "bench",
        "--package",
        "vinbus-protocol",
        "--bench",
        "decode",
    ]))?;
    let mut rows = Vec::new();
    for size in SIZES {
        for content in CONTENTS {
            rows.push(row(size, content, start)?);
        }
    }
    let heading = [
        "message",
        "vinbus",
        "serde_json",
        "sonic-rs",
        "x serde_json",
        "x sonic-rs",
    ];
    table::print("decoding a downlink message, median time", &heading, &rows);
    Ok(())
}

fn row(size: &str, content: &str, start: SystemTime) -> Result<Vec<String>> {
    let mut times = Vec::new();
    for decoder in DECODERS {
        times.push(median_ns(
            &format!("decode_{size}_{content}/{decoder}"),
            start,
        )?);
    }
    let mut row = vec![format!("{size} B, {content}")];
    row.extend(times.iter().map(|time| format!("{time:.0} ns")));
    row.extend(
        times[1..]
            .iter()
            .map(|time| format!("{:.2}", time / times[0])),
    );
    Ok(row)
}

/// What criterion has written since `start`, and not in an earlier run.
pub(super) fn median_ns(name: &str, start: SystemTime) -> Result<f64> {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let file = target
        .join("criterion")
        .join(name)
        .join("new/estimates.json");
    let cannot_read = || format!("criterion left no {}", file.display());
    if std::fs::metadata(&file)
        .and_then(|data| data.modified())
        .with_context(cannot_read)?
        < start
    {
        bail!("{name} was not measured in this run");
    }
    let text = std::fs::read_to_string(&file).with_context(cannot_read)?;
    let estimates: Value = serde_json::from_str(&text)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(|| format!("{} has no median", file.display()))
}
