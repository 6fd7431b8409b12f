//! The Delta transaction log, read for one purpose: which objects does version V need?
//!
//! Pure: names and bytes in, actions and live files out. A backup must not refuse what it can hold, so this reads
//! only the fields that decide about files, never parses a schema, and never re-encodes a log file.

use serde::{Deserialize, Serialize};

use crate::ids::Location;

/// A data file as an `add` names it, reduced to what a backup needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Add {
    /// Where the file is.
    pub file: Location,
    /// Bytes.
    pub size: u64,
    /// The log's `modificationTime`, milliseconds since 1970.
    pub modification_time: i64,
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
