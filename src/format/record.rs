//! A record: one link of a table's ledger, published by put-if-absent. Its SHA-256 is the snapshot's id.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use super::{
    FORMAT, FormatError, KNOWN_FEATURES, LockMode, Reference, Totals, check_size, decode_json,
    encode_limited,
};
use crate::delta::{Protocol, have_in_commit_timestamps};
use crate::ids::{Digest, ETag, Generation, Id128, ObjectKey, SnapshotId, Timestamp, Version};

/// A record's bytes may not be more than this; a slot with more is a scar.
pub const RECORD_LIMIT: u64 = 1024 * 1024;

const WHAT: &str = "record";

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
    /// The complete checkpoints whose state is not the one that the log's other ways give for their version; empty when
    /// all ways agree.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disagreements: Vec<Disagreement>,
    /// Snapshots on which nothing may be built any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub distrusts: Vec<SnapshotId>,
    /// Why it is in doubt whether V is what its writers committed: one of the findings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// A commit at or below V that has 0 bytes, and of which an older snapshot holds more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub emptied: Option<Version>,
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
    /// SHA-256 over the objects under `_delta_log/` from the checkpoint's 20 digits on: `key TAB size TAB etag LF`, in the
    /// byte order of the keys.
    pub log_digest: Digest,
    /// The manifest.
    pub manifest: Reference,
    /// The start of the calendar period that each class last opened.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub opened: BTreeMap<String, Timestamp>,
    /// The first commit at or below the version of the snapshot before that has other bytes than it held then: from there
    /// on older snapshots are of another history, whatever their own commits say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overwritten_from: Option<Version>,
    /// The record before this one; absent in the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// Who took it: user and host, or the caller's ARN.
    pub principal: String,
    /// Until when the snapshot is promised to be kept.
    pub promise: Timestamp,
    /// Those of the table's properties at V that say what a snapshot of it does not hold.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub properties: BTreeMap<String, String>,
    /// The table's protocol at V.
    pub protocol: ProtocolRecord,
    /// Features that a reader of this record must know.
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

/// Names of more bytes name nothing: a record may have a megabyte of one, which would be printed with each line.
const NAME_MAX: usize = 255;

impl TableIdentity {
    /// The name, unless it is too long to be one.
    pub fn name(&self) -> Option<&str> {
        Some(self.name.as_str()).filter(|name| name.len() <= NAME_MAX)
    }
}

/// A table's protocol.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProtocolRecord {
    /// `minReaderVersion`.
    pub reader: u32,
    /// `readerFeatures`, sorted.
    pub reader_features: Vec<String>,
    /// `minWriterVersion`.
    pub writer: u32,
    /// `writerFeatures`, sorted.
    pub writer_features: Vec<String>,
}

/// A complete checkpoint that differs from what the log's other ways say of its version. Then the manifest's `live` is the
/// union of all complete ways to V.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Disagreement {
    /// Logical files that only the checkpoint names.
    pub adds: u64,
    /// The checkpoint's version.
    pub checkpoint: Version,
    /// The newest empty commit at or below it: the checkpoint may be all that is left of what that one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub empty: Option<Version>,
    /// Its first file.
    pub file: ObjectKey,
    /// Logical files that only the other ways name.
    pub lacks: u64,
    /// Logical files of both to which, or to whose vectors, the checkpoint gives another size, or another cardinality: readers
    /// that start from it cannot read them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub sizes: u64,
    /// Whether it has another protocol or another table id.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub state: bool,
    /// Those of `adds` that no commit names, although all commits from version 0 on are there: the checkpoint may be all that
    /// is left of what lost or overwritten ones did.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unnamed: u64,
}

impl Disagreement {
    /// Whether the checkpoint may be all that is left of a commit that was lost.
    pub fn may_be_right(&self) -> bool {
        self.empty.is_some() || self.unnamed > 0
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes fields so")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl ProtocolRecord {
    /// The record of a protocol as the log has it.
    pub fn of(protocol: &Protocol) -> Self {
        let mut reader_features = protocol.reader_features.clone();
        let mut writer_features = protocol.writer_features.clone();
        reader_features.sort_unstable();
        writer_features.sort_unstable();
        Self {
            reader: protocol.min_reader_version,
            reader_features,
            writer: protocol.min_writer_version,
            writer_features,
        }
    }

    /// Whether the table's commits may say with authority when they were made.
    pub fn has_in_commit_timestamps(&self) -> bool {
        have_in_commit_timestamps(&self.writer_features)
    }
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
    /// Logical files that are no longer live.
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

impl Record {
    /// Encodes the record; the SHA-256 of these bytes is the snapshot's id.
    ///
    /// # Errors
    /// [`FormatError::Invalid`] when it breaks a rule, [`FormatError::TooLarge`] past [`RECORD_LIMIT`].
    pub fn encode(&self) -> Result<Vec<u8>, FormatError> {
        self.check()?;
        encode_limited(WHAT, self, RECORD_LIMIT)
    }

    /// Decodes a record. Its format and what it requires are looked at before anything else in it.
    ///
    /// # Errors
    /// Every variant of [`FormatError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, FormatError> {
        Preamble::decode(WHAT, bytes)?.check_known(WHAT)?;
        let record: Self = decode_json(WHAT, bytes)?;
        record.check()?;
        Ok(record)
    }

    fn check(&self) -> Result<(), FormatError> {
        check_links(WHAT, self.format, self.seq, self.previous)
    }
}

/// The rules of the chain. There are no others, and none may be added: a record that one tool reads and another
/// takes for a scar would tear the ledger in two.
pub(super) fn check_links(
    what: &'static str,
    format: u32,
    seq: u64,
    previous: Option<Previous>,
) -> Result<(), FormatError> {
    let invalid = |rule| FormatError::Invalid { what, rule };
    if format == 0 {
        return Err(invalid("format is 1 or more"));
    }
    if seq == 0 {
        return Err(invalid("seq is 1 or more"));
    }
    if previous.is_some_and(|previous| previous.seq == 0 || previous.seq >= seq) {
        return Err(invalid("the previous record is in a lower slot, 1 or more"));
    }
    Ok(())
}

/// The four fields of a record that never change their meaning, and the name of the tool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preamble {
    /// The format of the record.
    pub format: u32,
    /// Features that a reader must know.
    pub requires: Vec<String>,
    /// The slot.
    pub seq: u64,
    /// The record before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Previous>,
    /// The tool that wrote it, by its own account; `an unknown tool` when it does not say.
    #[serde(default = "unknown_tool", deserialize_with = "tool", skip_serializing)]
    pub tool: String,
}

fn unknown_tool() -> String {
    "an unknown tool".to_owned()
}

/// It may be anything in a later format.
fn tool<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let tool = serde_json::Value::deserialize(deserializer)?;
    Ok(tool.as_str().map_or_else(unknown_tool, str::to_owned))
}

impl Preamble {
    /// Decodes the four fields, whatever else there is in a `what`.
    ///
    /// # Errors
    /// [`FormatError::TooLarge`], [`FormatError::Malformed`] and [`FormatError::Invalid`].
    pub fn decode(what: &'static str, bytes: &[u8]) -> Result<Self, FormatError> {
        check_size(what, bytes.len() as u64, RECORD_LIMIT)?;
        let read: Self = decode_json(what, bytes)?;
        check_links(what, read.format, read.seq, read.previous)?;
        Ok(read)
    }

    /// Checks that this tool knows its format and everything that it requires.
    ///
    /// # Errors
    /// [`FormatError::NewerFormat`] and [`FormatError::UnknownFeature`].
    pub fn check_known(&self, what: &'static str) -> Result<(), FormatError> {
        if self.format > FORMAT {
            return Err(FormatError::NewerFormat {
                what,
                found: self.format,
            });
        }
        check_features(&self.requires, Operation::Read, &self.tool)
    }
}

/// What a tool is about to do, for which it has to know what a record or an event requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// Read it, and what it leads to.
    Read,
    /// Put the next one after it.
    Write,
    /// Delete anything that it may need.
    Delete,
}

impl Operation {
    /// Whether this cannot be done without knowing a feature. What a prefix that is not known stands for, nobody knows.
    fn needs(self, feature: &str) -> bool {
        match feature.split_once(':') {
            Some(("write", _)) => self == Self::Write,
            Some(("delete", _)) => self == Self::Delete,
            Some(_) | None => true,
        }
    }
}

/// Checks that this tool knows what a record or an event by `tool` requires for an operation.
///
/// # Errors
/// [`FormatError::UnknownFeature`].
pub fn check_features(
    requires: &[String],
    operation: Operation,
    tool: &str,
) -> Result<(), FormatError> {
    let needed = requires.iter().filter(|feature| operation.needs(feature));
    let unknown = needed.filter(|feature| !KNOWN_FEATURES.contains(&feature.as_str()));
    let features: Vec<String> = unknown.cloned().collect();
    if features.is_empty() {
        return Ok(());
    }
    Err(FormatError::UnknownFeature {
        features,
        tool: tool.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encode_json;
    use super::super::samples::{record, records};
    use super::*;

    #[test]
    fn what_a_record_requires_is_looked_at_before_the_rest() {
        let bytes = br#"{"format":1,"requires":["braids"],"seq":1,"tool":"deltavault 9.1.0"}"#;
        let error = Record::decode(bytes).unwrap_err();
        let (features, tool) = (vec!["braids".to_owned()], "deltavault 9.1.0".to_owned());
        assert_eq!(error, FormatError::UnknownFeature { features, tool });
        let error = Record::decode(br#"{"format":2,"requires":["braids"],"seq":1}"#).unwrap_err();
        assert_eq!(
            error,
            FormatError::NewerFormat {
                what: WHAT,
                found: 2
            }
        );
    }

    #[test]
    fn features_are_required_for_some_operations_or_for_all() {
        use Operation::{Delete, Read, Write};
        for (feature, needed_for) in [
            ("braids", &[Read, Write, Delete][..]),
            ("write:braids", &[Write]),
            ("delete:braids", &[Delete]),
            ("write:", &[Write]),
            ("write", &[Read, Write, Delete]),
            ("Write:braids", &[Read, Write, Delete]),
            ("prune:braids", &[Read, Write, Delete]),
            (":braids", &[Read, Write, Delete]),
        ] {
            for operation in [Read, Write, Delete] {
                let known = check_features(&[feature.to_owned()], operation, "t 1");
                let is_needed = needed_for.contains(&operation);
                assert_eq!(known.is_err(), is_needed, "{feature} {operation:?}");
            }
        }
    }

    #[test]
    fn record_past_its_limit_is_neither_written_nor_read() {
        let mut large = record();
        large.findings = vec!["x".repeat(1 << 20)];
        assert!(matches!(large.encode(), Err(FormatError::TooLarge { .. })));
        let bytes = encode_json(WHAT, &large).unwrap();
        assert!(matches!(
            Record::decode(&bytes),
            Err(FormatError::TooLarge { .. })
        ));
    }

    #[test]
    fn links_that_do_not_go_down_are_refused() {
        let previous = |seq| {
            Some(Previous {
                seq,
                sha256: Digest::of(b""),
            })
        };
        for (seq, previous) in [
            (0, None),
            (1, previous(1)),
            (5, previous(7)),
            (5, previous(0)),
        ] {
            let bad = Record {
                previous,
                seq,
                ..record()
            };
            assert!(bad.encode().is_err());
            assert!(Record::decode(&encode_json(WHAT, &bad).unwrap()).is_err());
        }
    }

    proptest! {
        #[test]
        fn records_come_back(record in records()) {
            let bytes = record.encode().unwrap();
            prop_assert_eq!(&Record::decode(&bytes).unwrap(), &record);
            let preamble = Preamble::decode(WHAT, &bytes).unwrap();
            prop_assert_eq!((preamble.seq, preamble.previous), (record.seq, record.previous));
        }

        #[test]
        fn unknown_fields_are_tolerated(record in records()) {
            let text = String::from_utf8(record.encode().unwrap()).unwrap();
            let text = text.replacen('{', r#"{"future":{"a":[1.5]},"#, 1);
            prop_assert_eq!(Record::decode(text.as_bytes()).unwrap(), record);
        }
    }
}
