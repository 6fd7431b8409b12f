//! A small vault with one table and two snapshots: every kind of placement, names that trip careless code. The
//! golden files in `tests/data/v1/vault` are this vault.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "clippy takes the functions that tests share for production code"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use deltavault::format::pack::{PackLine, encode_trailer};
use deltavault::format::record::{CommitFile, Previous, ProtocolRecord, TableIdentity};
use deltavault::format::{
    Change, Entry, EntryKind, JournalHeader, LiveUse, LockMode, Manifest, PageRef, PageWriter,
    Placement, Record, Reference, Scope, TableKey, Totals, Trigger, VaultFile, VaultKey,
    data_order, encode_journal, log_order,
};
use deltavault::ids::{
    Digest, ETag, Generation, Id128, Location, ObjectVersion, SnapshotId, Timestamp, Version,
};

/// A vault as a folder would have it, and the tables that its snapshots are of.
#[derive(Debug, Default)]
pub(crate) struct SampleVault {
    /// Bytes by vault key.
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// The snapshots, oldest first: id, and the table's files by key.
    pub(crate) snapshots: Vec<(SnapshotId, BTreeMap<String, Vec<u8>>)>,
    /// The records of these snapshots.
    pub(crate) records: Vec<Record>,
    /// The manifests of these snapshots.
    pub(crate) manifests: Vec<Manifest>,
    /// Every page's entries, by the page's key.
    pub(crate) pages: BTreeMap<String, Vec<Entry>>,
    /// The journal's key and content.
    pub(crate) journal: Option<(String, JournalHeader, Vec<Entry>)>,
    puts: u32,
}

/// The key of the sample's table.
pub(crate) fn table() -> TableKey {
    let uri = "s3a://lake/sales/Orders/".parse().unwrap();
    TableKey::of("aws", &uri).unwrap()
}

/// What `vault.json` of the sample says.
pub(crate) fn vault_file() -> VaultFile {
    VaultFile {
        created: time("2026-01-01T00:00:00Z"),
        format: 1,
        generation_days: 10,
        id: Id128::from_bytes([0xd0; 16]),
        lock_mode: LockMode::Governance,
        longest_days: 366,
        shortest_days: 7,
    }
}

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const COMMIT_0: &str = r#"{"commitInfo":{"timestamp":1767312000000,"operation":"WRITE","userName":"etl"}}
{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}
{"metaData":{"id":"5fba94ed-9794-4965-ba6e-6ee3c0d22af9","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[]}","partitionColumns":["region"],"configuration":{}}}
{"add":{"path":"region=north/part%200%20%CF%80%2520.parquet","partitionValues":{"region":"north"},"size":30,"modificationTime":1767312000000,"dataChange":true,"stats":"{\"numRecords\":3}"}}
{"add":{"path":"part-1.parquet","partitionValues":{"region":null},"size":14,"modificationTime":1767312000500,"dataChange":true,"stats":"{\"numRecords\":1}"}}
"#;
const COMMIT_1: &str = r#"{"commitInfo":{"timestamp":1767398400000,"operation":"MERGE","userName":"etl"}}
{"add":{"path":"part-2.parquet","partitionValues":{"region":null},"size":40,"modificationTime":1767398400000,"dataChange":true,"stats":"{\"numRecords\":4}"}}
{"add":{"path":"part-3.parquet","partitionValues":{"region":null},"size":21,"modificationTime":1767398400000,"dataChange":true,"stats":"{\"numRecords\":2}"}}
"#;
const CHECKSUM_1: &str = r#"{"tableSizeBytes":105,"numFiles":4}"#;
const LAST_CHECKPOINT: &str = r#"{"version":1,"size":4}"#;
const CHECKPOINT_1: &[u8] = b"PAR1 a checkpoint, said to be above the inline limit PAR1";

impl SampleVault {
    /// Builds it; the same bytes every time.
    pub(crate) fn build() -> Self {
        Self::build_with_data_key("region=north/part 0 π%20.parquet")
    }

    /// Builds it with another key for its first data file.
    pub(crate) fn build_with_data_key(key: &str) -> Self {
        let mut vault = Self::default();
        let vault_json = vault_file().encode().unwrap();
        vault.put(&VaultKey::VaultFile, vault_json);

        let north: &[u8] = b"PAR1 three rows of region PAR1";
        let one: &[u8] = b"PAR1 one  PAR1";
        let names = [key, "part-1.parquet"].map(|key| Location::Inside(key.parse().unwrap()));
        let line = |n: usize, offset, bytes: &[u8]| PackLine {
            file: &names[n],
            offset,
            sha256: Digest::of(bytes),
            size: bytes.len() as u64,
        };
        let trailer = encode_trailer(&table(), [line(0, 0, north), line(1, 30, one)]).unwrap();
        let pack = vault.put_blob(&[north, one, &trailer].concat());
        let packed = |key: &str, bytes: &[u8], offset, modified, rows| {
            let placement = Placement::Blob {
                offset: Some(offset),
                reference: pack.clone(),
            };
            data_entry(key, bytes, modified, rows, placement)
        };
        let mut data = vec![
            packed(key, north, 0, "2026-01-02T00:00:00Z", 3),
            packed("part-1.parquet", one, 30, "2026-01-02T00:00:00.5Z", 1),
        ];
        let modified_0 = "2026-01-02T00:00:01Z";
        let mut log = vec![inline_entry(
            "00000000000000000000.json",
            COMMIT_0,
            modified_0,
        )];
        vault.publish(0, &log, &data, &[north, one]);

        let two: &[u8] = b"PAR1 four rows in a blob of its own PAR1";
        let reference = vault.put_blob(two);
        let offset = None;
        let placement = Placement::Blob { offset, reference };
        let modified = "2026-01-03T00:00:00Z";
        data.push(data_entry("part-2.parquet", two, modified, 4, placement));
        let three: &[u8] = b"PAR1 two, copied PAR1";
        let reference = vault.put(
            &VaultKey::Copy(Id128::from_bytes([0xc0; 16])),
            three.to_vec(),
        );
        let placement = Placement::Copy { reference };
        data.push(data_entry("part-3.parquet", three, modified, 2, placement));
        let run = Id128::from_bytes([2; 16]);
        vault.journal(run, &data[2..]);

        let modified_1 = "2026-01-03T00:00:01Z";
        log.push(inline_entry(
            "00000000000000000001.json",
            COMMIT_1,
            modified_1,
        ));
        log.push(Entry {
            kind: EntryKind::Checksum,
            ..inline_entry("00000000000000000001.crc", CHECKSUM_1, modified_1)
        });
        log.push(Entry {
            kind: EntryKind::LastCheckpoint,
            ..inline_entry("_last_checkpoint", LAST_CHECKPOINT, modified_1)
        });
        let reference = vault.put_blob(CHECKPOINT_1);
        log.push(Entry {
            kind: EntryKind::Checkpoint,
            placement: Placement::Blob { offset, reference },
            sha256: Some(Digest::of(CHECKPOINT_1)),
            size: CHECKPOINT_1.len() as u64,
            ..inline_entry("00000000000000000001.checkpoint.parquet", "", modified_1)
        });
        vault.publish(1, &log, &data, &[north, one, two, three]);
        vault
    }

    /// Writes the objects below a folder, as a vault folder has them.
    pub(crate) fn write_to(&self, folder: &Path) {
        for (key, bytes) in &self.objects {
            let path = folder.join(key);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
    }

    fn put(&mut self, key: &VaultKey, bytes: Vec<u8>) -> Reference {
        self.puts += 1;
        let reference = Reference {
            generation: Generation(2045),
            key: key.object_key().unwrap(),
            sha256: Digest::of(&bytes),
            size: bytes.len() as u64,
            version: Some(ObjectVersion(format!(
                "3sL4kqtJlcpXroDTDmJ.{:04}",
                self.puts
            ))),
        };
        self.objects.insert(key.to_string(), bytes);
        reference
    }

    fn put_blob(&mut self, bytes: &[u8]) -> Reference {
        self.put(&VaultKey::blob(Digest::of(bytes), None), bytes.to_vec())
    }

    fn journal(&mut self, run: Id128, placed: &[Entry]) {
        let header = JournalHeader {
            delta_id: "5fba94ed-9794-4965-ba6e-6ee3c0d22af9".to_owned(),
            format: 1,
            principal: "arn:aws:iam::111122223333:role/snapshotter".to_owned(),
        };
        let key = VaultKey::Journal {
            table: table().hash(),
            next_seq: 2,
            run,
            n: 0,
        };
        let bytes = encode_journal(&header, placed).unwrap();
        self.put(&key, bytes);
        self.journal = Some((key.to_string(), header, placed.to_vec()));
    }

    fn put_pages(&mut self, entries: &[Entry]) -> Vec<PageRef> {
        let mut writer = PageWriter::new();
        let mut pages = Vec::new();
        for entry in entries {
            pages.extend(writer.push(entry).unwrap());
        }
        pages.extend(writer.finish());
        let pages = pages.into_iter().map(|page| page.pack().unwrap());
        let mut rest = entries;
        pages
            .map(|page| {
                let key = VaultKey::page(page.sha256, None);
                let (own, after) = rest.split_at(usize::try_from(page.entries).unwrap());
                rest = after;
                self.pages.insert(key.to_string(), own.to_vec());
                PageRef {
                    entries: page.entries,
                    page: self.put(&key, page.bytes.to_vec()),
                }
            })
            .collect()
    }

    fn publish(&mut self, version: u64, log: &[Entry], data: &[Entry], data_bytes: &[&[u8]]) {
        let (mut log, mut data) = (log.to_vec(), data.to_vec());
        let mut files = BTreeMap::new();
        for (entry, bytes) in data.iter().zip(data_bytes) {
            files.insert(entry.file.to_string(), bytes.to_vec());
        }
        for entry in &log {
            let bytes = match &entry.placement {
                Placement::Inline(bytes) => bytes.to_vec(),
                Placement::Absent {} | Placement::Blob { .. } | Placement::Copy { .. } => {
                    CHECKPOINT_1.to_vec()
                }
            };
            files.insert(entry.file.to_string(), bytes);
        }
        log.sort_by(|a, b| log_order(a).cmp(&log_order(b)));
        data.sort_by(|a, b| data_order(a).cmp(&data_order(b)));
        let sum = |entries: &[Entry]| entries.iter().map(|entry| entry.size).sum::<u64>();
        let manifest = Manifest {
            data_pages: self.put_pages(&data),
            delta_id: "5fba94ed-9794-4965-ba6e-6ee3c0d22af9".to_owned(),
            format: 1,
            log_pages: self.put_pages(&log),
            totals: Totals {
                absent_files: 0,
                bytes: sum(&log) + sum(&data),
                data_bytes: sum(&data),
                data_files: data.len() as u64,
                files: (log.len() + data.len()) as u64,
                live_files: data.len() as u64,
                rows: data.iter().map(|entry| entry.rows).sum(),
            },
            version: Version(version),
        };
        let bytes = manifest.encode().unwrap();
        let reference = self.put(&VaultKey::manifest(Digest::of(&bytes), None), bytes);
        let record = self.record(version, &log, &manifest, reference);
        let bytes = record.encode().unwrap();
        let id = SnapshotId(Digest::of(&bytes));
        let (table, seq) = (table(), record.seq);
        let seal = VaultKey::RecordSeal {
            table: table.clone(),
            seq,
            sha256: id.0,
        };
        self.objects.insert(seal.to_string(), Vec::new());
        self.put(&VaultKey::Record { table, seq }, bytes);
        self.manifests.push(manifest);
        self.records.push(record);
        self.snapshots.push((id, files));
    }

    fn record(
        &self,
        version: u64,
        log: &[Entry],
        manifest: &Manifest,
        reference: Reference,
    ) -> Record {
        let held = self
            .manifests
            .last()
            .map_or(Totals::default(), |before| before.totals);
        let before = self.snapshots.last().map(|(id, _)| *id);
        let seq = self.records.len() as u64 + 1;
        let commit_key = format!("_delta_log/{version:020}.json");
        let commit = log
            .iter()
            .find(|entry| entry.file.as_str() == commit_key)
            .unwrap();
        let mut listed = String::new();
        for entry in log {
            let name = entry.file.as_str().rsplit('/').next().unwrap();
            let etag = &entry.etag.as_ref().unwrap().0;
            let _ = writeln!(listed, "{name}\t{}\t{etag}", entry.size);
        }
        let day = 2 + version;
        let promise = time(&format!("2026-02-{day:02}T01:00:00Z"));
        Record {
            base: before,
            change: Change {
                files_added: 2,
                files_removed: 0,
                new_bytes: manifest.totals.bytes - held.bytes,
                new_files: manifest.totals.files - held.files,
                operation: Some(["WRITE", "MERGE"][usize::try_from(version).unwrap()].to_owned()),
                rows: before.map(|_| 6),
                user: Some("etl".to_owned()),
                versions: 1,
            },
            checkpoint: before.map(|_| Version(version)),
            class: "default".to_owned(),
            commit: Some(CommitFile {
                etag: commit.etag.clone().unwrap(),
                sha256: commit.sha256.unwrap(),
                size: commit.size,
            }),
            commit_time: commit.last_modified.unwrap(),
            disagreements: Vec::new(),
            distrusts: Vec::new(),
            doubt: None,
            findings: Vec::new(),
            format: 1,
            journals: before
                .map(|_| Id128::from_bytes([2; 16]))
                .into_iter()
                .collect(),
            lock_mode: LockMode::Governance,
            locks: [(Generation(2045), time("2026-02-06T00:00:00Z"))].into(),
            log_digest: Digest::of(listed.as_bytes()),
            manifest: reference,
            opened: [("default".to_owned(), time("2026-01-02T00:00:00Z"))].into(),
            emptied: None,
            overwritten_from: None,
            previous: before.map(|id| Previous {
                seq: seq - 1,
                sha256: id.0,
            }),
            principal: "arn:aws:iam::111122223333:role/snapshotter".to_owned(),
            promise,
            protocol: ProtocolRecord {
                reader: 1,
                writer: 2,
                ..ProtocolRecord::default()
            },
            requires: Vec::new(),
            run: Id128::from_bytes([u8::try_from(seq).unwrap(); 16]),
            scope: Scope::Live,
            seq,
            set: None,
            table: TableIdentity {
                delta_id: manifest.delta_id.clone(),
                name: "sales-orders".to_owned(),
                source: "aws".to_owned(),
                uri: "s3://lake/sales/Orders".to_owned(),
            },
            taken_at: time(&format!("2026-01-{day:02}T01:00:00Z")),
            tool: "deltavault 0.1.0".to_owned(),
            totals: manifest.totals,
            trigger: Trigger::Scheduled,
            vault_file: Digest::of(&self.objects["vault.json"]),
            version: Version(version),
            properties: BTreeMap::new(),
            whole_versions: Vec::new(),
        }
    }
}

fn data_entry(key: &str, bytes: &[u8], modified: &str, rows: u64, placement: Placement) -> Entry {
    let sha256 = Digest::of(bytes);
    let last_modified = time(modified);
    Entry {
        absolute: false,
        etag: Some(ETag(format!("\"{}\"", sha256.short()))),
        file: Location::Inside(key.parse().unwrap()),
        kind: EntryKind::Data,
        last_modified: Some(last_modified),
        live: vec![LiveUse::plain(None)],
        mode: None,
        modification_time: Some(last_modified.as_millisecond()),
        object_version: None,
        placement,
        rows: Some(rows),
        sha256: Some(sha256),
        size: bytes.len() as u64,
        unreadable: false,
    }
}

fn inline_entry(name: &str, content: &str, modified: &str) -> Entry {
    let placement = Placement::Inline(content.to_owned().into());
    let key = format!("_delta_log/{name}");
    Entry {
        kind: EntryKind::Commit,
        live: Vec::new(),
        modification_time: None,
        rows: None,
        ..data_entry(&key, content.as_bytes(), modified, 0, placement)
    }
}
