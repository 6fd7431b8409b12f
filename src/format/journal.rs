//! Journals: what an unfinished run has already placed, so that the next one, on whatever machine, copies
//! nothing twice. zstd of JSON lines: a header, then entries.

use serde::{Deserialize, Serialize};

/// The first line of a journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalHeader {
    /// The id in the table's `metaData`.
    pub delta_id: String,
    /// The format of this object.
    pub format: u32,
    /// Who wrote it.
    pub principal: String,
}
