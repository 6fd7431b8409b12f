//! The golden files of format 1: bytes that every later tool has to read as they were meant. `tests/golden/write.rs` wrote
//! them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes the functions that tests share for production code"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use deltavault::format::ledger::{Bodies, SlotRow, Slots, Step, read_chain};
use deltavault::format::{
    Event, EventAction, FormatError, Manifest, PageWriter, Placement, Record, VaultFile, VaultKey,
    decode_journal, decode_page, encode_journal, layout,
};
use deltavault::ids::{Digest, Id128, SnapshotId};
use deltavault::plan::restore::claim::Claim;
use serde::Deserialize;

use crate::sample_vault::{SampleVault, table, vault_file};

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/v1")
}

fn read(key: &str) -> Vec<u8> {
    let path = golden().join("vault").join(key);
    fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read_tree(folder: &Path, root: &Path, files: &mut BTreeMap<String, Vec<u8>>) {
    for child in fs::read_dir(folder).unwrap() {
        let path = child.unwrap().path();
        if path.is_dir() {
            read_tree(&path, root, files);
        } else {
            let key = path
                .strip_prefix(root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned();
            files.insert(key, fs::read(path).unwrap());
        }
    }
}

#[test]
fn every_golden_object_is_written_again_byte_for_byte() {
    let root = golden().join("vault");
    let mut files = BTreeMap::new();
    read_tree(&root, &root, &mut files);
    let sample = SampleVault::build();
    assert_eq!(
        files.keys().collect::<Vec<_>>(),
        sample.objects.keys().collect::<Vec<_>>()
    );
    for (key, bytes) in &files {
        assert_eq!(bytes, &sample.objects[key], "{key}");
        assert!(VaultKey::parse(key).is_some(), "{key}");
    }
}

#[test]
fn vault_file_parse_v1() {
    let bytes = read("vault.json");
    assert_eq!(VaultFile::decode(&bytes).unwrap(), vault_file());
    assert_eq!(vault_file().encode().unwrap(), bytes);
}

#[test]
fn record_parse_v1() {
    let sample = SampleVault::build();
    for record in sample.records {
        let table = table();
        let key = VaultKey::Record {
            table,
            seq: record.seq,
        };
        let bytes = read(&key.to_string());
        assert_eq!(Record::decode(&bytes).unwrap(), record);
        assert_eq!(record.encode().unwrap(), bytes);
    }
}

#[test]
fn manifest_parse_v1() {
    let sample = SampleVault::build();
    for (record, manifest) in sample.records.iter().zip(sample.manifests) {
        let bytes = read(record.manifest.key.as_str());
        assert_eq!(Manifest::decode(&bytes).unwrap(), manifest);
        assert_eq!(manifest.encode().unwrap(), bytes);
    }
}

#[test]
fn page_parse_v1() {
    for (key, entries) in SampleVault::build().pages {
        let bytes = read(&key);
        assert_eq!(decode_page(&bytes).unwrap(), entries);
        let mut writer = PageWriter::new();
        for entry in &entries {
            assert!(writer.push(entry).unwrap().is_none());
        }
        assert_eq!(writer.finish().unwrap().pack().unwrap().bytes, bytes);
    }
}

#[test]
fn lines_of_pages_and_journals_are_the_golden_text() {
    let sample = SampleVault::build();
    let manifest = &sample.manifests[1];
    for (name, page) in [
        ("log-page.jsonl", &manifest.log_pages[0]),
        ("data-page.jsonl", &manifest.data_pages[0]),
    ] {
        let text = fs::read(golden().join(name)).unwrap();
        let unpacked = zstd::decode_all(&read(page.page.key.as_str())[..]).unwrap();
        assert_eq!(String::from_utf8(unpacked), String::from_utf8(text));
    }
    let (key, ..) = sample.journal.unwrap();
    let text = fs::read(golden().join("journal.jsonl")).unwrap();
    let unpacked = zstd::decode_all(&read(&key)[..]).unwrap();
    assert_eq!(String::from_utf8(unpacked), String::from_utf8(text));
}

#[test]
fn journal_parse_v1() {
    let (key, header, placed) = SampleVault::build().journal.unwrap();
    let bytes = read(&key);
    assert_eq!(
        decode_journal(&bytes).unwrap(),
        (header.clone(), placed.clone())
    );
    assert_eq!(encode_journal(&header, &placed).unwrap(), bytes);
}

#[test]
fn ledger_parse_v1() {
    let sample = SampleVault::build();
    let prefix = layout::ledger_prefix(&table());
    let mut seals = Vec::new();
    let rows: Vec<SlotRow> = sample
        .objects
        .iter()
        .filter(|(key, _)| key.starts_with(&prefix))
        .filter_map(|(key, bytes)| match VaultKey::parse(key) {
            Some(VaultKey::Record { seq, .. }) => Some(SlotRow {
                seq,
                version: None,
                size: bytes.len() as u64,
            }),
            Some(VaultKey::RecordSeal { seq, sha256, .. }) => {
                seals.push((seq, sha256));
                None
            }
            other => panic!("{key}: {other:?}"),
        })
        .collect();
    let slots = Slots::from_listing(rows).with_seals(seals);
    let mut bodies = Bodies::<Record>::new();
    let chain = loop {
        match read_chain(&slots, &bodies, &[]).unwrap() {
            Step::Done(chain) => break chain,
            Step::Read(rows) => {
                for row in rows {
                    let table = table();
                    let key = VaultKey::Record {
                        table,
                        seq: row.seq,
                    };
                    bodies.insert(row, &read(&key.to_string()));
                }
            }
        }
    };
    assert_eq!(chain.findings, []);
    let ids: Vec<_> = chain.links.iter().map(|link| link.id).collect();
    let expected: Vec<_> = sample.snapshots.iter().map(|(id, _)| *id).collect();
    assert_eq!(ids, expected);
}

/// An object that is nearly one of the golden ones.
#[derive(Deserialize)]
struct Near {
    /// What it is made from.
    of: String,
    name: String,
    /// What a reader makes of it.
    is: Verdict,
    /// What is replaced in the golden object; all of it where this is empty.
    from: String,
    to: Option<String>,
    to_hex: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Taken,
    Refused,
    Newer,
}

impl Verdict {
    fn of<T>(decoded: &Result<T, FormatError>) -> Self {
        match decoded {
            Ok(_) => Self::Taken,
            Err(FormatError::NewerFormat { .. } | FormatError::UnknownFeature { .. }) => {
                Self::Newer
            }
            Err(
                FormatError::Malformed { .. }
                | FormatError::Invalid { .. }
                | FormatError::TooLarge { .. },
            ) => Self::Refused,
        }
    }
}

impl Near {
    fn bytes(&self, golden: &[u8]) -> Vec<u8> {
        let hex = |digits: &str| {
            let pairs = digits.as_bytes().chunks(2);
            let pairs = pairs.map(|pair| std::str::from_utf8(pair).unwrap());
            pairs
                .map(|pair| u8::from_str_radix(pair, 16).unwrap())
                .collect()
        };
        let to = match (&self.to, &self.to_hex) {
            (Some(to), None) => to.clone().into_bytes(),
            (None, Some(digits)) => hex(digits),
            other => panic!("{}: {other:?}", self.name),
        };
        if self.from.is_empty() {
            return to;
        }
        let from = self.from.as_bytes();
        let found: Vec<usize> = golden
            .windows(from.len())
            .enumerate()
            .filter(|(_, window)| *window == from)
            .map(|(at, _)| at)
            .collect();
        let [at] = found[..] else {
            panic!("{}: {} times", self.name, found.len());
        };
        [&golden[..at], &to, &golden[at + from.len()..]].concat()
    }
}

#[test]
fn what_is_nearly_an_object_is_judged_as_the_vectors_say() {
    let sample = SampleVault::build();
    let seq = 2;
    let record = VaultKey::Record {
        table: table(),
        seq,
    };
    let page = fs::read(golden().join("data-page.jsonl")).unwrap();
    let entry = page.split(|byte| *byte == b'\n').next().unwrap();
    let vectors = fs::read_to_string(golden().join("near.jsonl")).unwrap();
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in vectors.lines() {
        let near: Near = serde_json::from_str(line).unwrap();
        let golden = match near.of.as_str() {
            "record" => read(&record.to_string()),
            "event" => fs::read(golden().join("event.json")).unwrap(),
            "entry" => entry.to_vec(),
            "manifest" => read(sample.records[1].manifest.key.as_str()),
            "vault.json" => read("vault.json"),
            other => panic!("{other}"),
        };
        let bytes = near.bytes(&golden);
        let verdict = match near.of.as_str() {
            "record" => Verdict::of(&Record::decode(&bytes)),
            "event" => Verdict::of(&Event::decode(&bytes)),
            "entry" => {
                let line = [&bytes[..], b"\n"].concat();
                let page = zstd::encode_all(&line[..], 3).unwrap();
                Verdict::of(&decode_page(&page))
            }
            "manifest" => Verdict::of(&Manifest::decode(&bytes)),
            _ => Verdict::of(&VaultFile::decode(&bytes)),
        };
        if verdict != near.is {
            wrong.push((near.name, near.is, verdict));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(count > 200, "{count}");
}

/// The fenced blocks of the specification: tag and text.
fn spec_fences() -> Vec<(String, String)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format/spec.md");
    let spec = fs::read_to_string(path).unwrap();
    let mut fences = Vec::new();
    let mut lines = spec.lines();
    while let Some(line) = lines.next() {
        if let Some(tag) = line.trim_start().strip_prefix("```") {
            let text: Vec<&str> = lines
                .by_ref()
                .take_while(|line| !line.trim_start().starts_with("```"))
                .collect();
            fences.push((tag.to_owned(), text.join("\n")));
        }
    }
    fences
}

#[test]
fn samples_in_the_specification_are_golden_objects() {
    let sample = SampleVault::build();
    let mut golden: Vec<serde_json::Value> = sample
        .objects
        .values()
        .filter_map(|bytes| serde_json::from_slice(bytes).ok())
        .collect();
    for entry in sample.pages.values().flatten() {
        golden.push(serde_json::to_value(entry).unwrap());
    }
    golden.push(serde_json::to_value(&sample.journal.as_ref().unwrap().1).unwrap());
    let held = Event {
        at: "2026-02-01T00:00:00Z".parse().unwrap(),
        action: EventAction::Hold {
            snapshot: SnapshotId(Digest::of(&[1])),
        },
        format: 1,
        previous: None,
        principal: "legal@desk".to_owned(),
        requires: Vec::new(),
        run: Id128::from_bytes([5; 16]),
        seq: 1,
        tool: "deltavault 0.1.0".to_owned(),
    };
    let event = held.encode().unwrap();
    assert_eq!(event, fs::read(self::golden().join("event.json")).unwrap());
    golden.push(serde_json::from_slice(&event).unwrap());
    let claim = Claim {
        by: "ann@host".to_owned(),
        renewed: 3,
        run: "0b1f3c5d7e9fa1b3c5d7e9fa1b3c5d7e".parse().unwrap(),
        seconds: 300,
        since: "2026-01-03T03:02:00Z".parse().unwrap(),
        snapshot: SnapshotId(Digest::of(&[2])),
    };
    golden.push(serde_json::to_value(claim).unwrap());
    let fences = spec_fences();
    assert!(fences.len() > 10);
    for (tag, text) in &fences {
        assert!(["json", "text", "sh"].contains(&tag.as_str()), "{text}");
        if tag == "json" {
            let value = serde_json::from_str(text).unwrap();
            assert!(golden.contains(&value), "not a golden object: {text}");
        }
    }
    let has_text = |wanted: &str| fences.iter().any(|(_, text)| text.contains(wanted));
    let keys: Vec<&str> = sample.objects.keys().map(String::as_str).collect();
    assert!(has_text(&keys.join("\n")));
    let (id, _) = sample.snapshots[1];
    assert!(has_text(&id.to_string()));
    let mut pages = sample.pages.values().flatten();
    let pack = pages
        .find_map(|entry| match &entry.placement {
            Placement::Blob {
                offset: Some(_),
                reference,
            } => Some(read(reference.key.as_str())),
            Placement::Blob { .. }
            | Placement::Copy { .. }
            | Placement::Inline(_)
            | Placement::Absent {} => None,
        })
        .unwrap();
    let trailer = pack.iter().position(|byte| *byte == b'{').unwrap();
    assert!(has_text(
        std::str::from_utf8(&pack[trailer..]).unwrap().trim_end()
    ));
}
