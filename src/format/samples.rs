//! Values for the tests of this module: fixed ones, and strategies that make any that the format allows.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::page::{Entry, EntryKind, LiveUse, Placement};
use super::record::{
    Change, CommitFile, Disagreement, Previous, ProtocolRecord, Record, Scope, TableIdentity,
    Trigger,
};
use super::{
    Event, EventAction, JournalHeader, LockMode, Manifest, PageRef, Reference, TableKey, Totals,
    VaultFile,
};
use crate::delta::DeletionVector;
use crate::ids::{
    Digest, ETag, FileMode, Generation, Id128, Location, ObjectKey, ObjectVersion, SnapshotId,
    Timestamp, Version,
};

/// A data file in a blob of its own.
pub(crate) fn data_entry(key: &str, last_modified: Option<&str>) -> Entry {
    let content = Digest::of(key.as_bytes());
    Entry {
        absolute: false,
        etag: Some(ETag("\"1b2c\"".to_owned())),
        file: Location::Inside(key.parse().unwrap()),
        kind: EntryKind::Data,
        last_modified: last_modified.map(|time| time.parse().unwrap()),
        live: vec![LiveUse::plain(None)],
        mode: None,
        modification_time: Some(1_767_225_600_000),
        object_version: None,
        placement: Placement::Blob {
            offset: None,
            reference: Reference {
                generation: Generation(3),
                key: super::VaultKey::blob(content, None).object_key().unwrap(),
                sha256: content,
                size: key.len() as u64,
                version: Some(ObjectVersion("v1".to_owned())),
            },
        },
        rows: Some(10),
        sha256: Some(content),
        size: key.len() as u64,
        unreadable: false,
    }
}

/// A log file that is inlined; its content is its own key.
pub(crate) fn log_entry(key: &str) -> Entry {
    Entry {
        kind: EntryKind::Commit,
        live: Vec::new(),
        modification_time: None,
        placement: Placement::Inline(Bytes::copy_from_slice(key.as_bytes())),
        rows: None,
        ..data_entry(key, Some("2026-01-01T00:00:00Z"))
    }
}

/// An event that holds a snapshot.
pub(crate) fn event(seq: u64, previous: Option<Previous>) -> Event {
    Event {
        at: "2026-02-01T00:00:00Z".parse().unwrap(),
        action: EventAction::Hold {
            snapshot: SnapshotId(Digest::of(b"\x01")),
        },
        format: 1,
        previous,
        principal: "legal@desk".to_owned(),
        requires: Vec::new(),
        run: Id128::from_bytes([5; 16]),
        seq,
        tool: "deltavault 0.1.0".to_owned(),
    }
}

/// The key of the table that [`record`] is of.
pub(crate) fn table_key() -> TableKey {
    let table = record().table;
    let uri = table.uri.parse().expect("it is a URI");
    TableKey::of(&table.source, &uri).expect("it has a key")
}

/// The first record of a ledger.
pub(crate) fn record() -> Record {
    let manifest = Digest::of(b"manifest");
    Record {
        base: None,
        change: Change::default(),
        checkpoint: None,
        class: "default".to_owned(),
        commit: None,
        commit_time: "2026-01-01T00:00:00Z".parse().unwrap(),
        disagreements: Vec::new(),
        distrusts: Vec::new(),
        doubt: None,
        emptied: None,
        findings: Vec::new(),
        format: 1,
        journals: Vec::new(),
        lock_mode: LockMode::None,
        locks: BTreeMap::new(),
        log_digest: Digest::of(b"log"),
        manifest: Reference {
            generation: Generation(0),
            key: super::VaultKey::manifest(manifest, None)
                .object_key()
                .unwrap(),
            sha256: manifest,
            size: 8,
            version: None,
        },
        opened: BTreeMap::new(),
        overwritten_from: None,
        previous: None,
        principal: "backup@host".to_owned(),
        promise: "2026-01-31T00:00:00Z".parse().unwrap(),
        properties: BTreeMap::new(),
        protocol: ProtocolRecord {
            reader: 1,
            writer: 2,
            ..ProtocolRecord::default()
        },
        requires: Vec::new(),
        run: Id128::from_bytes([7; 16]),
        scope: Scope::Live,
        seq: 1,
        set: None,
        table: TableIdentity {
            delta_id: "5fba94ed-9794-4965-ba6e-6ee3c0d22af9".to_owned(),
            name: "orders".to_owned(),
            source: "local".to_owned(),
            uri: "file:///srv/lake/orders".to_owned(),
        },
        taken_at: "2026-01-01T00:05:00Z".parse().unwrap(),
        tool: "deltavault 0.1.0".to_owned(),
        totals: Totals::default(),
        trigger: Trigger::Manual,
        vault_file: Digest::of(b"vault.json"),
        version: Version(0),
        whole_versions: Vec::new(),
    }
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<u64>().prop_map(|seed| Digest::of(&seed.to_be_bytes()))
}

fn ids() -> impl Strategy<Value = Id128> {
    any::<[u8; 16]>().prop_map(Id128::from_bytes)
}

fn snapshot_ids() -> impl Strategy<Value = SnapshotId> {
    digests().prop_map(SnapshotId)
}

fn times() -> impl Strategy<Value = Timestamp> {
    // The years 1 to 9999, to the nanosecond.
    (-62_135_596_800_i64..253_402_207_200, 0..1_000_000_000_i32)
        .prop_map(|(second, nanosecond)| Timestamp::new(second, nanosecond).unwrap())
}

fn keys() -> impl Strategy<Value = ObjectKey> {
    any::<String>().prop_filter_map("not an object key", |text| text.parse().ok())
}

fn locations() -> impl Strategy<Value = Location> {
    prop_oneof![
        9 => keys().prop_map(Location::Inside),
        1 => any::<String>().prop_map(Location::Outside),
    ]
}

fn references() -> impl Strategy<Value = Reference> {
    (
        any::<u64>(),
        keys(),
        digests(),
        any::<u64>(),
        option::of(any::<String>().prop_map(ObjectVersion)),
    )
        .prop_map(|(generation, key, sha256, size, version)| Reference {
            generation: Generation(generation),
            key,
            sha256,
            size,
            version,
        })
}

fn live_uses() -> impl Strategy<Value = LiveUse> {
    let vectors = (
        any::<u64>(),
        option::of(locations()),
        any::<String>(),
        option::of(any::<u64>()),
        any::<u64>(),
    )
        .prop_map(|(cardinality, file, id, offset, size)| DeletionVector {
            cardinality,
            file,
            id,
            offset,
            size,
        });
    let spelled = vec(any::<String>(), 0..3);
    (any::<bool>(), option::of(vectors), spelled).prop_map(|(by_text, dv, spelled)| LiveUse {
        by_text,
        dv,
        spelled,
    })
}

fn kinds() -> impl Strategy<Value = EntryKind> {
    prop::sample::select(vec![
        EntryKind::Data,
        EntryKind::DeletionVector,
        EntryKind::ChangeData,
        EntryKind::Sidecar,
        EntryKind::Checkpoint,
        EntryKind::Compaction,
        EntryKind::Checksum,
        EntryKind::Other,
        EntryKind::Commit,
        EntryKind::LastCheckpoint,
    ])
}

/// Any entry that keeps the rules.
pub(super) fn entries() -> impl Strategy<Value = Entry> {
    let origin = (
        option::of(any::<String>().prop_map(ETag)),
        locations(),
        kinds(),
        option::of(times()),
        vec(live_uses(), 0..3),
        option::of((0..=0o777_u32).prop_map(FileMode::of)),
        option::of(any::<i64>()),
        option::of(any::<String>().prop_map(ObjectVersion)),
        option::of(any::<u64>()),
    );
    let inlined = vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    (
        origin,
        0..5_u8,
        references(),
        any::<u32>(),
        inlined,
        digests(),
    )
        .prop_map(
            |(origin, placement, mut reference, offset, inlined, sha256)| {
                let (
                    etag,
                    file,
                    kind,
                    last_modified,
                    live,
                    mode,
                    modification_time,
                    object_version,
                    rows,
                ) = origin;
                let mut size = reference.size;
                let mut sha256 = Some(sha256);
                let placement = match placement {
                    0 => {
                        sha256 = None;
                        Placement::Absent {}
                    }
                    1 => {
                        size = inlined.len() as u64;
                        Placement::Inline(inlined)
                    }
                    2 => {
                        let offset = u64::from(offset).min(reference.size);
                        size = reference.size - offset;
                        let offset = Some(offset);
                        Placement::Blob { offset, reference }
                    }
                    3 => {
                        reference.sha256 = sha256.unwrap();
                        let offset = None;
                        Placement::Blob { offset, reference }
                    }
                    _ => {
                        reference.sha256 = sha256.unwrap();
                        Placement::Copy { reference }
                    }
                };
                Entry {
                    absolute: false,
                    etag,
                    file,
                    kind,
                    last_modified,
                    live,
                    mode,
                    modification_time,
                    object_version,
                    placement,
                    rows,
                    sha256,
                    size,
                    unreadable: size % 2 == 1,
                }
            },
        )
}

fn totals() -> impl Strategy<Value = Totals> {
    (any::<[u64; 6]>(), option::of(any::<u64>())).prop_map(|(sums, rows)| {
        let [
            absent_files,
            bytes,
            data_bytes,
            data_files,
            files,
            live_files,
        ] = sums;
        Totals {
            absent_files,
            bytes,
            data_bytes,
            data_files,
            files,
            live_files,
            rows,
        }
    })
}

/// Any manifest that keeps the rules.
pub(super) fn manifests() -> impl Strategy<Value = Manifest> {
    let pages = || {
        let page = (1..=4096_u64, references());
        vec(
            page.prop_map(|(entries, page)| PageRef { entries, page }),
            0..4,
        )
    };
    (pages(), pages(), any::<String>(), totals(), any::<u64>())
        .prop_map(
            |(data_pages, log_pages, delta_id, totals, version)| Manifest {
                data_pages,
                delta_id,
                format: 1,
                log_pages,
                totals,
                version: Version(version),
            },
        )
        .prop_filter("a page named twice", |manifest| manifest.encode().is_ok())
}

/// Any `vault.json` that keeps the rules.
pub(super) fn vault_files() -> impl Strategy<Value = VaultFile> {
    let modes = vec![LockMode::None, LockMode::Governance, LockMode::Compliance];
    (
        times(),
        1..=u32::MAX,
        ids(),
        prop::sample::select(modes),
        3..=u32::MAX,
        any::<u32>(),
    )
        .prop_map(
            |(created, generation_days, id, lock_mode, shortest_days, longer)| VaultFile {
                created,
                format: 1,
                generation_days,
                id,
                lock_mode,
                longest_days: shortest_days.saturating_add(longer),
                shortest_days,
            },
        )
}

/// Any header of a journal.
pub(super) fn journal_headers() -> impl Strategy<Value = JournalHeader> {
    any::<(String, String)>().prop_map(|(delta_id, principal)| JournalHeader {
        delta_id,
        format: 1,
        principal,
    })
}

/// Any record that keeps the rules.
#[allow(
    clippy::too_many_lines,
    reason = "a record has that many fields, each named once"
)]
pub(super) fn records() -> impl Strategy<Value = Record> {
    let chain = (
        1..=u64::MAX,
        any::<u64>(),
        digests(),
        option::of(snapshot_ids()),
    )
        .prop_map(|(seq, below, sha256, base)| {
            let previous = (below % seq > 0).then(|| Previous {
                seq: below % seq,
                sha256,
            });
            (seq, previous, base)
        });
    let delta = (
        any::<u64>(),
        times(),
        option::of(any::<u64>()),
        option::of((any::<String>(), digests(), any::<u64>())),
        any::<(u32, u32, Vec<String>, Vec<String>)>(),
        any::<[String; 4]>(),
        (
            any::<[u64; 5]>(),
            any::<Option<i64>>(),
            any::<Option<String>>(),
        ),
    );
    let keeping = (
        any::<String>(),
        times(),
        times(),
        btree_map(any::<u64>().prop_map(Generation), times(), 0..4),
        btree_map(any::<String>(), times(), 0..4),
        vec(snapshot_ids(), 0..3),
        vec(any::<String>(), 0..3),
        vec(ids(), 0..3),
    );
    let rest = (
        references(),
        totals(),
        any::<(String, String)>(),
        ids(),
        option::of(ids()),
        digests(),
        vec(any::<(u64, u64)>(), 0..3),
        any::<bool>(),
    );
    (chain, delta, keeping, rest).prop_map(|(chain, delta, keeping, rest)| {
        let (seq, previous, base) = chain;
        let (version, commit_time, checkpoint, commit, protocol, table, change) = delta;
        let (class, promise, taken_at, locks, opened, distrusts, findings, journals) = keeping;
        let (manifest, totals, (principal, tool), run, set, vault_file, whole, is_history) = rest;
        let (reader, writer, reader_features, writer_features) = protocol;
        let [delta_id, name, source, uri] = table;
        let ([files_added, files_removed, new_bytes, new_files, versions], rows, user) = change;
        let disagreements = checkpoint.map(|checkpoint| Disagreement {
            adds: new_files,
            checkpoint: Version(checkpoint),
            empty: is_history.then_some(Version(checkpoint)),
            file: "_delta_log/a.checkpoint.parquet".parse().unwrap(),
            lacks: new_bytes,
            sizes: 0,
            state: is_history,
            unnamed: new_bytes,
        });
        Record {
            base,
            change: Change {
                files_added,
                files_removed,
                new_bytes,
                new_files,
                operation: user.clone(),
                rows,
                user,
                versions,
            },
            checkpoint: checkpoint.map(Version),
            class,
            commit: commit.map(|(etag, sha256, size)| CommitFile {
                etag: ETag(etag),
                sha256,
                size,
            }),
            commit_time,
            disagreements: disagreements.into_iter().collect(),
            distrusts,
            doubt: findings.first().cloned(),
            emptied: rows.map(|rows| Version(rows.unsigned_abs())),
            findings,
            format: 1,
            journals,
            lock_mode: LockMode::Governance,
            locks,
            log_digest: vault_file,
            manifest,
            opened,
            overwritten_from: None,
            previous,
            principal,
            promise,
            properties: [(source.clone(), name.clone())].into(),
            protocol: ProtocolRecord {
                reader,
                reader_features,
                writer,
                writer_features,
            },
            requires: Vec::new(),
            run,
            scope: if is_history {
                Scope::History
            } else {
                Scope::Live
            },
            seq,
            set,
            table: TableIdentity {
                delta_id,
                name,
                source,
                uri,
            },
            taken_at,
            tool,
            totals,
            trigger: Trigger::Scheduled,
            vault_file,
            version: Version(version),
            whole_versions: whole
                .into_iter()
                .map(|(a, b)| (Version(a.min(b)), Version(a.max(b))))
                .collect(),
        }
    })
}
