//! A record: one link of a table's ledger, published by put-if-absent. Its SHA-256 is the snapshot's id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{LockMode, Reference, Totals};
use crate::ids::{Digest, ETag, Generation, Id128, SnapshotId, Timestamp, Version};

/// A record's bytes may not be more than this; a slot with more is a scar.
pub const RECORD_LIMIT: u64 = 1024 * 1024;

/// One snapshot of one table.
///
/// `format`, `requires`, `seq` and `previous` never change their meaning in any later format.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The record that this snapshot's entries were taken over from, when it was trusted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<SnapshotId>,
    /// What this snapshot brought since the previous one.
    pub change: Change,
    /// The newest complete checkpoint at or below V that was planned from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Version>,
    /// The retention class that was resolved.
    pub class: String,
    /// V's commit file; absent where the log's own clean-up had removed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<CommitFile>,
    /// When V was committed: the in-commit timestamp, else the commit file's last-modified time, else the
    /// checkpoint's.
    pub commit_time: Timestamp,
    /// Snapshots on which nothing may be built any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distrusts: Vec<SnapshotId>,
    /// What the owner should know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<String>,
    /// The format of this object.
    pub format: u32,
    /// Journals of unfinished runs whose placements were used.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub journals: Vec<Id128>,
    /// How the objects are locked.
    pub lock_mode: LockMode,
    /// The earliest lock that was proven, by generation; empty without locks.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<Generation, Timestamp>,
    /// SHA-256 over the log files from the checkpoint on: `name TAB size TAB etag LF`, in the order of names.
    pub log_digest: Digest,
    /// The manifest.
    pub manifest: Reference,
    /// The start of the calendar period that each class last opened.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub opened: BTreeMap<String, Timestamp>,
    /// The record before this one; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Who took it: user and host, or the caller's ARN.
    pub principal: String,
    /// Until when the snapshot is promised to be kept.
    pub promise: Timestamp,
    /// The table's protocol at V.
    pub protocol: ProtocolRecord,
    /// Features that a reader of this record must know.
    #[serde(default)]
    pub requires: Vec<String>,
    /// The run that took it.
    pub run: Id128,
    /// What is held.
    pub scope: Scope,
    /// The slot, counted from 1.
    pub seq: u64,
    /// The set it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub set: Option<Id128>,
    /// The table.
    pub table: TableIdentity,
    /// When the record was made.
    pub taken_at: Timestamp,
    /// The tool and its version.
    pub tool: String,
    /// Sums over the manifest.
    pub totals: Totals,
    /// Why it was taken.
    pub trigger: Trigger,
    /// SHA-256 of `vault.json`.
    pub vault_file: Digest,
    /// The Delta version that was pinned.
    pub version: Version,
    /// With scope `history`: the versions below V that are whole in the vault, as ascending inclusive ranges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub whole_versions: Vec<(Version, Version)>,
}

/// The link to the record before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Previous {
    /// Its slot.
    pub seq: u64,
    /// SHA-256 of its bytes.
    pub sha256: Digest,
}

/// V's commit file as it was when the snapshot was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitFile {
    /// The source's tag.
    pub etag: ETag,
    /// SHA-256 of the file.
    pub sha256: Digest,
    /// Bytes.
    pub size: u64,
}

/// Which table a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableIdentity {
    /// The id in the table's `metaData`.
    pub delta_id: String,
    /// The configured name, else the slug of the URI.
    pub name: String,
    /// The source: a configured name, an endpoint, `aws`, or `local`.
    pub source: String,
    /// The table's URI, normalised.
    pub uri: String,
}

/// A table's protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRecord {
    /// `minReaderVersion`.
    pub reader: u32,
    /// `readerFeatures`, sorted.
    #[serde(default)]
    pub reader_features: Vec<String>,
    /// `minWriterVersion`.
    pub writer: u32,
    /// `writerFeatures`, sorted.
    #[serde(default)]
    pub writer_features: Vec<String>,
}

/// What a snapshot holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The log and the files that V needs.
    #[default]
    Live,
    /// Also the files that older versions still in the log need.
    History,
}

/// Why a snapshot was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// By a timer.
    Scheduled,
    /// By a person.
    #[default]
    Manual,
    /// Before something destructive.
    Safety,
}

/// What a snapshot brought since the record before it, for the same Delta id; all of it for the first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Logical files that became live.
    pub files_added: u64,
    /// Logical files that are live no more.
    pub files_removed: u64,
    /// Bytes that the vault had to take in for this snapshot.
    pub new_bytes: u64,
    /// Files that the vault had to take in for this snapshot.
    pub new_files: u64,
    /// The operation of V's commitInfo, e.g. `MERGE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<String>,
    /// Live rows now minus live rows then, when both are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<i64>,
    /// Who committed V, by its commitInfo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Versions since the record before.
    pub versions: u64,
}
