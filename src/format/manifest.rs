//! A manifest: the ordered pages of one snapshot's log entries and data entries, and their totals.

use serde::{Deserialize, Serialize};

use super::Reference;
use crate::ids::Version;

/// The list of every file of one snapshot, as references to its pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Pages of data, deletion-vector and change-data entries, in order.
    pub data_pages: Vec<PageRef>,
    /// The id in the table's `metaData`.
    pub delta_id: String,
    /// The format of this object.
    pub format: u32,
    /// Pages of log entries, in order.
    pub log_pages: Vec<PageRef>,
    /// Sums over all pages.
    pub totals: Totals,
    /// The Delta version that was pinned.
    pub version: Version,
}

/// One page of a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageRef {
    /// Entries in it.
    pub entries: u64,
    /// The page's object.
    pub page: Reference,
}

/// Sums over a manifest's entries. Bytes are those of the files, not of what the vault needed for them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Entries that are absent.
    pub absent_files: u64,
    /// Bytes of all held files, log included.
    pub bytes: u64,
    /// Bytes of the data, deletion-vector and change-data files held.
    pub data_bytes: u64,
    /// Data, deletion-vector and change-data files held.
    pub data_files: u64,
    /// Files held, log included.
    pub files: u64,
    /// Logical files live at V.
    pub live_files: u64,
    /// Rows live at V, when every live file has statistics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
}
