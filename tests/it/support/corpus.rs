//! The corpus of real tables, each with the closure that a second implementation computed.
//!
//! It is too large for the repository: tests find it through `DELTAVAULT_CORPUS`, else beside the checkout, and say so
//! when they are skipped for want of it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy knows only test functions as tests, not the functions that they share"
)]

use std::fs;
use std::path::{Path, PathBuf};

use deltavault::delta::replay::LiveFile;
use deltavault::ids::{Digest, ETag, Timestamp};
use deltavault::store::Attributes;
use serde_json::Value;

/// One table and what is known of it.
#[derive(Debug)]
pub(crate) struct CorpusTable {
    /// Its name in the corpus.
    pub(crate) name: String,
    /// Its root folder.
    pub(crate) path: PathBuf,
    /// The closure of its newest version, and a digest of every older one.
    pub(crate) truth: Value,
}

/// Every table of the corpus by name; `None`, and a word about it, when there is no corpus.
pub(crate) fn tables(test: &str) -> Option<Vec<CorpusTable>> {
    let folder = std::env::var_os("DELTAVAULT_CORPUS").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/corpus"),
        PathBuf::from,
    );
    let Ok(truths) = fs::read_dir(folder.join("truth")) else {
        println!(
            "SKIPPED {test}: no corpus at {}; set DELTAVAULT_CORPUS",
            folder.display()
        );
        return None;
    };
    let mut tables: Vec<_> = truths
        .map(|truth| {
            let truth = truth.unwrap().path();
            let name = truth.file_stem().unwrap().to_str().unwrap().to_owned();
            CorpusTable {
                path: folder.join("tables").join(&name),
                truth: serde_json::from_slice(&fs::read(truth).unwrap()).unwrap(),
                name,
            }
        })
        .collect();
    tables.sort_by(|a, b| a.name.cmp(&b.name));
    assert!(
        !tables.is_empty(),
        "the corpus at {} is empty",
        folder.display()
    );
    Some(tables)
}

impl CorpusTable {
    /// The table's log as a store would list it.
    pub(crate) fn list_log(&self) -> Vec<Attributes> {
        let mut found = Vec::new();
        walk(&self.path, "_delta_log", &mut found);
        found
    }
}

fn walk(root: &Path, folder: &str, found: &mut Vec<Attributes>) {
    let Ok(entries) = fs::read_dir(root.join(folder)) else {
        return;
    };
    for entry in entries {
        let entry = entry.unwrap();
        let key = format!("{folder}/{}", entry.file_name().to_str().unwrap());
        let metadata = entry.metadata().unwrap();
        if metadata.is_dir() {
            walk(root, &key, found);
        } else {
            found.push(Attributes {
                key: key.parse().unwrap(),
                size: metadata.len(),
                last_modified: Timestamp::try_from(metadata.modified().unwrap()).unwrap(),
                etag: ETag(String::new()),
                version: None,
                sha256: None,
                locked_until: None,
                mode: None,
            });
        }
    }
}

/// A digest of a live set as the corpus defines it: SHA-256 over the sorted lines `file TAB size TAB vector`.
pub(crate) fn live_digest(files: &[LiveFile]) -> Digest {
    let mut lines: Vec<_> = files
        .iter()
        .map(|LiveFile { add, .. }| {
            let vector = match &add.dv {
                None => String::new(),
                Some(dv) => match &dv.file {
                    None => format!("inline:{}", dv.cardinality),
                    Some(file) => format!("{file}@{}", dv.offset.unwrap_or(0)),
                },
            };
            format!("{}\t{}\t{vector}", add.file, add.size)
        })
        .collect();
    lines.sort();
    Digest::of(lines.join("\n").as_bytes())
}
