//! The Delta transaction log, read for one purpose: which objects does version V need?
//!
//! Pure: names and bytes in, actions and live files out. A backup must not refuse what it can hold, so this reads
//! only the fields that decide about files, never parses a schema, and never re-encodes a log file. What it cannot
//! understand it refuses with a [`LogError`] that names the file; it never guesses and never skips a file that is
//! live.
//!
//! The way of a version: [`segment::LogListing`] turns a listing into the ways to rebuild it, [`commit::read_commit`]
//! and [`checkpoint::read_parquet`] turn the files of one way into [`Action`]s, [`replay::Replay`] turns those into
//! the live set.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::ids::{Location, ObjectKey, Timestamp, Version};

/// Bytes that a table may take to decode a line or pages without waiting for another table: those of honest logs take a few MiB.
const SMALL: u64 = 32 << 20;

pub mod checkpoint;
pub mod commit;
mod error;
mod json;
mod name;
pub(crate) mod nesting;
mod number;
pub mod partitions;
pub mod path;
mod protocol;
mod raw;
pub mod replay;
pub mod segment;

pub use error::LogError;
pub use name::{CheckpointFormat, LogFile, LogFileKind};
pub(crate) use protocol::have_in_commit_timestamps;
pub use protocol::{MAX_READER_VERSION, Protocol, READER_FEATURES, check_protocol};

/// A data file as an `add` names it, reduced to what a backup needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Add {
    /// Where the file is.
    pub file: Location,
    /// Whether the log names it by an absolute path although it lies below the table's own root. Stays so until it
    /// is removed, even when it is named relatively too.
    pub absolute: bool,
    /// Bytes.
    pub size: u64,
    /// The log's `modificationTime`, milliseconds since 1970, where it has one that is a number.
    pub modification_time: Option<i64>,
    /// `numRecords` of the statistics, where there are any.
    pub rows: Option<u64>,
    /// Its deletion vector.
    pub dv: Option<DeletionVector>,
}

/// A deletion vector as a logical file uses it, in the spelling that the vault's format keeps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct DeletionVector {
    /// Rows that it deletes.
    pub cardinality: u64,
    /// Where its file is; absent for an inline vector.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Location>,
    /// Storage type, path or inline text, and `@offset` when there is one: the key of Delta's reconciliation.
    pub id: String,
    /// Offset into its file, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// Bytes of the vector.
    pub size: u64,
}

impl DeletionVector {
    /// Whether the log names the vector's file by an absolute path although it lies below the table's own root.
    pub fn is_absolute(&self) -> bool {
        self.id.starts_with('p') && matches!(self.file, Some(Location::Inside(_)))
    }

    /// Its id, size and cardinality.
    fn facts(&self) -> (&str, u64, u64) {
        (&self.id, self.size, self.cardinality)
    }
}

/// One action of the log. Actions and fields that are not here are skipped: they never decide about files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A logical file enters the table.
    Add {
        /// The file.
        add: Add,
        /// How the log spells its path.
        spelling: Spelling,
    },
    /// A logical file leaves the table.
    Remove {
        /// Where the file is.
        file: Location,
        /// The id of the deletion vector it had.
        dv_id: Option<String>,
        /// How the log spells its path.
        spelling: Spelling,
    },
    /// A remove on the same line as an add: readers take the add and pass over the remove, so it ends nothing.
    PassedOver {
        /// The path as the log spells it.
        path: String,
    },
    /// A file of the change data feed; it belongs to the commit that names it.
    Cdc {
        /// Where the file is.
        file: Location,
        /// As [`Add::absolute`].
        absolute: bool,
        /// Bytes, where the log says so.
        size: Option<u64>,
    },
    /// A remove, or a file of the change data feed, under a path that no object can have. It concerns no live file.
    Unnameable {
        /// The path as the log spells it.
        path: String,
    },
    /// A part of a V2 checkpoint.
    Sidecar {
        /// Its key below the table's root, always under `_delta_log/_sidecars/`.
        key: ObjectKey,
        /// Bytes, where the checkpoint says so.
        size: Option<u64>,
    },
    /// What a reader must understand.
    Protocol(Protocol),
    /// The table's metadata.
    Metadata(Metadata),
    /// How far an application has written.
    Txn {
        /// The application's id.
        app_id: String,
        /// Its own version.
        version: Option<i64>,
    },
    /// Configuration of one feature.
    Domain {
        /// The domain's name.
        domain: String,
        /// Its configuration, opaque; `None` when the domain is removed.
        configuration: Option<String>,
    },
    /// The first row of a V2 checkpoint.
    CheckpointMetadata {
        /// The checkpoint's version.
        version: Option<Version>,
    },
    /// Who committed what, and when.
    CommitInfo(CommitInfo),
}

/// The part of a `metaData` action that a backup shows or keeps. The schema is never looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Metadata {
    /// The table's id, where there is one.
    pub id: Option<String>,
    /// The name that its owner gave it.
    pub name: Option<String>,
    /// The columns by which it is partitioned.
    pub partition_columns: Vec<String>,
    /// Its properties.
    pub configuration: BTreeMap<String, String>,
}

/// Provenance of a commit. The log promises nothing about these, so every one may be absent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CommitInfo {
    /// `WRITE`, `MERGE`, `DELETE`, …
    pub operation: Option<String>,
    /// The operation's `mode`: `Append`, `Overwrite`, `Complete`.
    pub mode: Option<String>,
    /// The operation's `predicate`, as its writer spelled it: rarely SQL that could be run again.
    pub predicate: Option<String>,
    /// `userName`, else `userId`.
    pub user: Option<String>,
    /// When the writer says it committed.
    pub timestamp: Option<Timestamp>,
    /// The in-commit timestamp: binding where the table has that feature.
    pub in_commit_timestamp: Option<Timestamp>,
}

/// How the log spells the path of a file. Readers that compare paths as text take two spellings of one object for two
/// files.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Spelling(Option<String>);

impl Spelling {
    /// The spelling `raw` of the path of `file`.
    pub fn of(raw: &str, file: &Location) -> Self {
        Self((raw != file.as_str()).then(|| raw.to_owned()))
    }

    /// Whether it is the file's own name, letter by letter.
    pub fn is_plain(&self) -> bool {
        self.0.is_none()
    }

    /// The text in the log.
    pub fn text<'a>(&'a self, file: &'a Location) -> &'a str {
        self.0.as_deref().unwrap_or(file.as_str())
    }
}

/// Whether a log file is JSON lines by its name; the rest of what holds actions is Parquet.
pub(crate) fn is_json(key: &ObjectKey) -> bool {
    key.as_str()
        .rsplit_once('.')
        .is_some_and(|(_, ending)| ending == "json")
}

/// Takes the actions of a file, one by one.
pub type Sink<'a> = dyn FnMut(Action) -> Result<(), LogError> + 'a;

/// The id of a deletion vector as reconciliation compares it.
fn vector_id(storage: &str, path_or_inline: &str, offset: Option<i64>) -> String {
    let offset = offset.map_or(Cow::Borrowed(""), |offset| Cow::Owned(format!("@{offset}")));
    format!("{storage}{path_or_inline}{offset}")
}
