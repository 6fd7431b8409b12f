//! Vaults made by the format's own functions, object by object, so that tests can make them wrong.
//!
//! Every version of a table adds one commit (inlined), one data file in a blob of its own and three in a pack.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use deltavault::format::layout::Suffix;
use deltavault::format::record::{
    Change, CommitFile, Previous, ProtocolRecord, RECORD_LIMIT, TableIdentity,
};
use deltavault::format::{
    Entry, EntryKind, LiveUse, LockMode, Manifest, PageRef, PageWriter, Placement, Record,
    Reference, Scope, TableKey, TableUri, Totals, Trigger, VaultFile, VaultKey, data_order,
    log_order,
};
use deltavault::ids::{
    Digest, ETag, Generation, Id128, Location, ObjectKey, SnapshotId, Timestamp, Version,
};
use deltavault::store::{Payload, WriteStore, read_all};
use deltavault::vault::{self, Vault};
use serde_json::json;

/// The time of version `n`.
pub(crate) fn time(n: u64) -> Timestamp {
    Timestamp::from_second(1_793_491_200 + i64::try_from(n).unwrap() * 60).unwrap()
}

/// When tests look at vaults: every promise still holds.
pub(crate) fn now() -> Timestamp {
    "2026-11-02T00:00:00Z".parse().unwrap()
}

/// A new, empty vault.
pub(crate) async fn new_vault<S: WriteStore + Clone + 'static>(store: &S) -> Vault {
    let new = VaultFile::new(Id128::from_bytes([1; 16]), time(0));
    vault::init(store, new).await.unwrap();
    open(store).await
}

pub(crate) async fn open<S: WriteStore + Clone + 'static>(store: &S) -> Vault {
    Vault::open(Arc::new(store.clone())).await.unwrap()
}

/// Puts bytes under their own name; bytes that are there already are adopted.
pub(crate) async fn put_content(
    store: &dyn WriteStore,
    name: fn(Digest, Option<Suffix>) -> VaultKey,
    bytes: Bytes,
) -> Reference {
    let payload = Payload::from_bytes(bytes);
    let key = name(payload.sha256, None).object_key().unwrap();
    let version = match store.put_new(&key, &payload, None).await {
        Ok(written) => written.version,
        Err(_) => store.attributes(&key, None).await.unwrap().version,
    };
    Reference {
        generation: Generation(0),
        key,
        sha256: payload.sha256,
        size: payload.size,
        version,
    }
}

/// Puts the pages of some entries.
pub(crate) async fn put_pages(store: &dyn WriteStore, mut entries: Vec<Entry>) -> Vec<PageRef> {
    entries.sort_by(|a, b| {
        if a.kind.is_log() {
            log_order(a).cmp(&log_order(b))
        } else {
            data_order(a).cmp(&data_order(b))
        }
    });
    let mut writer = PageWriter::new();
    let mut pages = Vec::new();
    for entry in &entries {
        pages.extend(writer.push(entry).unwrap());
    }
    pages.extend(writer.finish());
    let pages = pages.into_iter().map(|page| page.pack().unwrap());
    let mut references = Vec::new();
    for page in pages {
        references.push(PageRef {
            entries: page.entries,
            page: put_content(store, VaultKey::page, page.bytes).await,
        });
    }
    references
}

fn etag(bytes: &[u8]) -> ETag {
    ETag(Digest::of(bytes).to_string()[..32].to_owned())
}

/// The name of a version's commit.
pub(crate) fn commit_key(version: u64) -> String {
    format!("_delta_log/{version:020}.json")
}

/// A table and the snapshots that were taken of it.
#[derive(Debug, Clone)]
pub(crate) struct TableBuilder<S> {
    store: S,
    vault_file: Digest,
    lock_mode: LockMode,
    pub(crate) key: TableKey,
    pub(crate) identity: TableIdentity,
    pub(crate) entries: Vec<Entry>,
    pub(crate) version: Option<u64>,
    pub(crate) records: Vec<(SnapshotId, Record)>,
}

impl<S: WriteStore> TableBuilder<S> {
    pub(crate) fn new(store: S, vault: &Vault, name: &str) -> Self {
        let uri: TableUri = format!("file:///lake/{name}").parse().unwrap();
        let file: &VaultFile = vault.file();
        Self {
            store,
            vault_file: vault.file_digest(),
            lock_mode: file.lock_mode,
            key: TableKey::of("local", &uri).unwrap(),
            identity: TableIdentity {
                delta_id: format!("id of {name}"),
                name: name.to_owned(),
                source: "local".to_owned(),
                uri: uri.to_string(),
            },
            entries: Vec::new(),
            version: None,
            records: Vec::new(),
        }
    }

    /// A table with that many versions, each with its snapshot.
    pub(crate) async fn with_snapshots(store: S, vault: &Vault, name: &str, count: u64) -> Self {
        let mut table = Self::new(store, vault, name);
        for _ in 0..count {
            table.commit().await;
            table.publish().await;
        }
        table
    }

    /// The next version: its commit and its files.
    pub(crate) async fn commit(&mut self) {
        let version = self.version.map_or(0, |version| version + 1);
        self.version = Some(version);
        let name = self.identity.name.clone();
        let mut lines = vec![json!({"commitInfo": {"operation": "WRITE", "userName": "ann"}})];
        if version == 0 {
            let id = &self.identity.delta_id;
            lines.push(json!({"protocol": {"minReaderVersion": 1, "minWriterVersion": 2}}));
            lines.push(json!({"metaData": {"id": id, "partitionColumns": []}}));
        }
        let lines: Vec<_> = lines.iter().map(|line| format!("{line}\n")).collect();
        self.inline(&commit_key(version), &lines.concat());
        let big = format!("a large file of version {version} of {name}").repeat(20);
        let reference = self.put_content(VaultKey::blob, big.clone().into()).await;
        self.data(
            &format!("part-{version}-big"),
            big.as_bytes(),
            Placement::Blob {
                offset: None,
                reference,
            },
        );
        let small: Vec<String> = (0..3)
            .map(|n| format!("small file {n} of version {version} of {name}"))
            .collect();
        let reference = self
            .put_content(VaultKey::blob, small.concat().into())
            .await;
        let mut offset = 0;
        for (n, bytes) in small.iter().enumerate() {
            let placement = Placement::Blob {
                offset: Some(offset),
                reference: reference.clone(),
            };
            self.data(&format!("part-{version}-{n}"), bytes.as_bytes(), placement);
            offset += bytes.len() as u64;
        }
    }

    /// Adds a file of the log that is inlined.
    pub(crate) fn inline(&mut self, key: &str, text: &str) {
        let placement = Placement::Inline(text.to_owned().into());
        let entry = self.entry(key, text.as_bytes(), placement);
        self.entries.push(Entry {
            kind: EntryKind::Commit,
            live: Vec::new(),
            rows: None,
            ..entry
        });
    }

    /// Adds a data file, and names it in the newest commit.
    pub(crate) fn data(&mut self, key: &str, bytes: &[u8], placement: Placement) {
        let entry = self.entry(key, bytes, placement);
        let path = key.replace('%', "%25").replace(' ', "%20");
        let add = json!({"add": {"path": path, "size": entry.size}});
        self.entries.push(entry);
        self.say(&format!("{add}\n"));
    }

    /// Adds a line to the newest commit.
    pub(crate) fn say(&mut self, line: &str) {
        let commit = Location::Inside(commit_key(self.version.unwrap()).parse().unwrap());
        let mut entries = self.entries.iter_mut();
        let entry = entries.find(|entry| entry.file == commit).unwrap();
        let Placement::Inline(bytes) = &entry.placement else {
            panic!("the commit is not inlined");
        };
        let bytes = Bytes::from([bytes, line.as_bytes()].concat());
        entry.etag = Some(etag(&bytes));
        entry.sha256 = Some(Digest::of(&bytes));
        entry.size = bytes.len() as u64;
        entry.placement = Placement::Inline(bytes);
    }

    fn entry(&self, key: &str, bytes: &[u8], placement: Placement) -> Entry {
        Entry {
            absolute: false,
            etag: Some(etag(bytes)),
            file: Location::Inside(key.parse().unwrap()),
            kind: EntryKind::Data,
            last_modified: Some(time(self.version.unwrap_or(0))),
            mode: None,
            live: vec![LiveUse::plain(None)],
            modification_time: None,
            object_version: None,
            placement,
            rows: Some(10),
            sha256: Some(Digest::of(bytes)),
            size: bytes.len() as u64,
            unreadable: false,
        }
    }

    /// As [`put_content`].
    pub(crate) async fn put_content(
        &self,
        name: fn(Digest, Option<Suffix>) -> VaultKey,
        bytes: Bytes,
    ) -> Reference {
        put_content(&self.store, name, bytes).await
    }

    /// As [`put_pages`].
    pub(crate) async fn put_pages(&self, entries: Vec<Entry>) -> Vec<PageRef> {
        put_pages(&self.store, entries).await
    }

    pub(crate) async fn put_manifest(&self) -> (Manifest, Reference) {
        let (log, data): (Vec<_>, Vec<_>) = self
            .entries
            .iter()
            .cloned()
            .partition(|entry| entry.kind.is_log());
        let held = |entries: &[Entry]| -> (u64, u64) {
            let held = entries
                .iter()
                .filter(|entry| entry.sha256.is_some())
                .map(|entry| entry.size);
            (held.clone().count() as u64, held.sum())
        };
        let (log_held, data_held) = (held(&log), held(&data));
        let live = data.iter().filter(|entry| !entry.live.is_empty()).count() as u64;
        let totals = Totals {
            absent_files: self.entries.len() as u64 - log_held.0 - data_held.0,
            bytes: log_held.1 + data_held.1,
            data_bytes: data_held.1,
            data_files: data_held.0,
            files: log_held.0 + data_held.0,
            live_files: live,
            rows: Some(live * 10),
        };
        let manifest = Manifest {
            data_pages: self.put_pages(data).await,
            delta_id: self.identity.delta_id.clone(),
            format: 1,
            log_pages: self.put_pages(log).await,
            totals,
            version: Version(self.version.unwrap()),
        };
        let bytes = manifest.encode().unwrap().into();
        let reference = self.put_content(VaultKey::manifest, bytes).await;
        (manifest, reference)
    }

    /// Takes a snapshot of the table as it is.
    pub(crate) async fn publish(&mut self) -> SnapshotId {
        self.publish_as(|_| {}).await
    }

    /// Takes a snapshot whose record was changed before it was put.
    pub(crate) async fn publish_as(&mut self, change: impl FnOnce(&mut Record)) -> SnapshotId {
        let (manifest, reference) = self.put_manifest().await;
        let mut record = self.record(&manifest, reference);
        change(&mut record);
        self.put_record(record).await
    }

    pub(crate) async fn put_record(&mut self, record: Record) -> SnapshotId {
        let bytes = record.encode().unwrap();
        let id = SnapshotId(Digest::of(&bytes));
        let payload = Payload::from_bytes(bytes);
        let (table, seq, sha256) = (self.key.clone(), record.seq, id.0);
        let seal = VaultKey::RecordSeal { table, seq, sha256 };
        let empty = Payload::from_bytes("");
        for (key, payload) in [
            (seal.object_key().unwrap(), &empty),
            (self.slot(seq), &payload),
        ] {
            self.store.put_new(&key, payload, None).await.unwrap();
        }
        self.records.push((id, record));
        id
    }

    pub(crate) fn record(&self, manifest: &Manifest, reference: Reference) -> Record {
        let seq = self.records.len() as u64 + 1;
        let version = manifest.version;
        let last = self.records.last();
        let commit = Location::Inside(commit_key(version.0).parse().unwrap());
        let commit = self.entries.iter().find(|entry| entry.file == commit);
        Record {
            base: last.map(|(id, _)| *id),
            change: Change {
                files_added: 4,
                operation: Some("WRITE".to_owned()),
                rows: Some(40),
                user: Some("ann".to_owned()),
                versions: 1,
                ..Change::default()
            },
            checkpoint: None,
            class: "default".to_owned(),
            commit: commit.map(|commit| CommitFile {
                etag: ETag("1".to_owned()),
                sha256: commit.sha256.unwrap(),
                size: commit.size,
            }),
            commit_time: time(version.0),
            disagreements: Vec::new(),
            distrusts: Vec::new(),
            doubt: None,
            findings: Vec::new(),
            format: 1,
            journals: Vec::new(),
            lock_mode: self.lock_mode,
            locks: BTreeMap::new(),
            log_digest: Digest::of(b"log"),
            manifest: reference,
            opened: BTreeMap::new(),
            emptied: None,
            overwritten_from: None,
            previous: last.map(|(id, record)| Previous {
                seq: record.seq,
                sha256: id.0,
            }),
            principal: "backup@host".to_owned(),
            promise: "2026-12-31T00:00:00Z".parse().unwrap(),
            protocol: ProtocolRecord {
                reader: 1,
                writer: 2,
                ..ProtocolRecord::default()
            },
            requires: Vec::new(),
            run: Id128::from_bytes([7; 16]),
            scope: Scope::Live,
            seq,
            set: None,
            table: self.identity.clone(),
            taken_at: time(1000 + seq),
            tool: "deltavault 0.1.0".to_owned(),
            totals: manifest.totals,
            trigger: Trigger::Manual,
            vault_file: self.vault_file,
            version,
            properties: BTreeMap::new(),
            whole_versions: Vec::new(),
        }
    }

    /// The key of a record.
    pub(crate) fn slot(&self, seq: u64) -> ObjectKey {
        let table = self.key.clone();
        VaultKey::Record { table, seq }.object_key().unwrap()
    }

    /// Reads the manifest of a record back.
    pub(crate) async fn manifest_of(&self, index: usize) -> Manifest {
        let reference = &self.records[index].1.manifest;
        let read = read_all(
            &self.store,
            &reference.key,
            reference.version.as_ref(),
            RECORD_LIMIT,
        );
        Manifest::decode(&read.await.unwrap().1).unwrap()
    }
}
