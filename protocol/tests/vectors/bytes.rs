//! Byte strings in a vector file: text where they are UTF-8, hexadecimal where not, long runs of
//! one character described instead of stored.

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use serde::{Deserialize, Serialize};

/// Runs of one character from this length on are described.
const RUN_MIN: usize = 64;

/// A byte string: one text, or the concatenation of parts.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Bytes {
    Text(String),
    Parts(Vec<Part>),
}

#[derive(Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Part {
    Text(String),
    Repeat { repeat: String, times: usize },
    Hex { hex: String },
}

impl Bytes {
    pub(crate) fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Parts(parts) => parts.iter().flat_map(Part::to_vec).collect(),
        }
    }

    /// The description of a text.
    pub(crate) fn describe(text: &str) -> Self {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let tail = rest.trim_start_matches(c);
            let run = &rest[..rest.len() - tail.len()];
            let times = run.chars().count();
            if times < RUN_MIN {
                plain += run;
            } else {
                if !plain.is_empty() {
                    parts.push(Part::Text(core::mem::take(&mut plain)));
                }
                let repeat = c.to_string();
                parts.push(Part::Repeat { repeat, times });
            }
            rest = tail;
        }
        if parts.is_empty() {
            return Self::Text(plain);
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Self::Parts(parts)
    }
}

impl Part {
    fn to_vec(&self) -> Vec<u8> {
        match self {
            Self::Text(text) => text.as_bytes().to_vec(),
            Self::Repeat { repeat, times } => repeat.repeat(*times).into_bytes(),
            Self::Hex { hex } => (0..hex.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("pairs of hex digits"))
                .collect(),
        }
    }
}
