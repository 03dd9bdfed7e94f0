//! The codec: runs criterion and puts its estimates side by side.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, root, run};

/// Those that decode, as the benchmark names them; we come first.
const DECODERS: [&str; 3] = ["vinbus", "serde_json", "sonic-rs"];

/// Bytes that one iteration decodes.
const BATCH_BYTES: f64 = 1_048_576.0;

/// Message sizes in bytes, and kinds of content.
const SIZES: [u32; 2] = [200, 131_072];
const KINDS: [&str; 3] = ["objects", "sentences", "numbers"];

/// Runs the benchmark and prints one row for each size and kind.
pub(super) fn measure() -> Result<()> {
    run(&mut cargo(&[
        "bench",
        "--package",
        "vinbus-protocol",
        "--bench",
        "decode",
    ]))?;
    println!("\nDecoding of downlink envelopes, MB/s (median), and how much faster we are:\n");
    println!(
        "| bytes  | content   | vinbus | serde_json | sonic-rs | to serde_json | to sonic-rs |"
    );
    println!(
        "|-------:|-----------|-------:|-----------:|---------:|--------------:|------------:|"
    );
    for size in SIZES {
        for kind in KINDS {
            let [us, serde_json, sonic] = rates(size, kind)?;
            println!(
                "| {size:>6} | {kind:<9} | {us:>6.0} | {serde_json:>10.0} | {sonic:>8.0} | {:>13.2} | {:>11.2} |",
                us / serde_json,
                us / sonic
            );
        }
    }
    println!();
    Ok(())
}

/// MB/s of each decoder.
fn rates(size: u32, kind: &str) -> Result<[f64; 3]> {
    let mut rates = [0.0; 3];
    let group = results().join(format!("decode_{size}_{kind}"));
    for (rate, decoder) in rates.iter_mut().zip(DECODERS) {
        let nanoseconds = median(&group.join(decoder).join("new/estimates.json"))?;
        *rate = BATCH_BYTES / nanoseconds * 1e3;
    }
    Ok(rates)
}

/// Where criterion leaves what it measured.
fn results() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR");
    target
        .map_or_else(|| root().join("target"), PathBuf::from)
        .join("criterion")
}

/// Nanoseconds for one iteration.
fn median(estimates: &Path) -> Result<f64> {
    let name = || estimates.display().to_string();
    let text = fs::read_to_string(estimates).with_context(name)?;
    let estimates: Value = serde_json::from_str(&text).with_context(name)?;
    estimates["median"]["point_estimate"]
        .as_f64()
        .with_context(name)
}
