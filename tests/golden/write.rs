//! Writes the golden files of the vault's format, `tests/data/v1`: for when a new format begins. The files of a format that
//! was released never change.
//!
//! `cargo run --locked --example write_golden`; the test `format_v1` compares the files with what this would write.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a program of the tests; it fails loudly"
)]

use std::fs;
use std::path::Path;

use deltavault::format::{encode_json, encode_line};

use sample_vault::SampleVault;

#[path = "../it/sample_vault.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod sample_vault;

fn main() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1");
    let sample = SampleVault::build();
    sample.write_to(&golden.join("vault"));
    let (_, header, placed) = sample.journal.unwrap();
    let mut lines = encode_json("journal", &header).unwrap();
    lines.push(b'\n');
    for entry in &placed {
        encode_line(&mut lines, entry).unwrap();
    }
    fs::write(golden.join("journal.jsonl"), lines).unwrap();
    for (n, page) in sample.manifests[1]
        .log_pages
        .iter()
        .chain(&sample.manifests[1].data_pages)
        .enumerate()
    {
        let mut lines = Vec::new();
        for entry in &sample.pages[page.page.key.as_str()] {
            encode_line(&mut lines, entry).unwrap();
        }
        let name = ["log-page.jsonl", "data-page.jsonl"][n];
        fs::write(golden.join(name), lines).unwrap();
    }
}
