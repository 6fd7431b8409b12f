//! The rows that a replay sorts: one for each add and each remove.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use super::Sizes;
use crate::delta::{Add, DeletionVector, Spelling};
use crate::ids::{Location, Version};

/// One add or remove, as it is sorted. Its names are short because a million of them go to disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Event {
    #[serde(rename = "f")]
    pub(super) file: Location,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) dv_id: Option<String>,
    #[serde(rename = "v")]
    pub(super) version: Version,
    /// When it was pushed: of two adds of one file in one commit, the later counts.
    #[serde(rename = "q")]
    pub(super) sequence: u64,
    #[serde(rename = "s", default, skip_serializing_if = "Spelling::is_plain")]
    pub(super) spelling: Spelling,
    /// The file's facts; `None` for a removal.
    #[serde(rename = "a", default, skip_serializing_if = "Option::is_none")]
    pub(super) add: Option<AddBody>,
    /// At the start of a replay: only readers that compare paths as text have the file live.
    #[serde(rename = "t", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) by_text: bool,
    /// The compared checkpoint whose row this is; `None` for a row of the replay itself.
    #[serde(rename = "c", default, skip_serializing_if = "Option::is_none")]
    pub(super) compared: Option<usize>,
}

impl Ord for Event {
    fn cmp(&self, other: &Self) -> Ordering {
        fn key(event: &Event) -> impl Ord + '_ {
            // A checkpoint says what its version is after all of that version's commit.
            let source = (event.compared, event.add.is_some());
            let order = (event.version, source, event.sequence);
            (&event.file, &event.dv_id, order)
        }
        key(self).cmp(&key(other))
    }
}

impl PartialOrd for Event {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// An [`Add`] without its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct AddBody {
    #[serde(rename = "a", default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) absolute: bool,
    #[serde(rename = "s")]
    pub(super) size: u64,
    #[serde(rename = "m", default, skip_serializing_if = "Option::is_none")]
    pub(super) modification_time: Option<i64>,
    #[serde(rename = "r", default, skip_serializing_if = "Option::is_none")]
    pub(super) rows: Option<u64>,
    #[serde(rename = "d", default, skip_serializing_if = "Option::is_none")]
    pub(super) dv: Option<VectorBody>,
}

/// A deletion vector without its id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct VectorBody {
    #[serde(rename = "c")]
    pub(super) cardinality: u64,
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<Location>,
    #[serde(rename = "o", default, skip_serializing_if = "Option::is_none")]
    pub(super) offset: Option<u64>,
    #[serde(rename = "s")]
    pub(super) size: u64,
}

impl AddBody {
    pub(super) fn is_same_file(&self, other: &Self) -> bool {
        self.size == other.size && self.dv == other.dv
    }

    pub(super) fn sizes(&self) -> Sizes {
        Sizes {
            file: self.size,
            vector: self.dv.as_ref().map(|dv| dv.size),
        }
    }

    pub(super) fn into_add(self, file: Location, dv_id: Option<String>) -> Add {
        Add {
            file,
            absolute: self.absolute,
            size: self.size,
            modification_time: self.modification_time,
            rows: self.rows,
            dv: self.dv.zip(dv_id).map(|(dv, id)| DeletionVector {
                cardinality: dv.cardinality,
                file: dv.file,
                id,
                offset: dv.offset,
                size: dv.size,
            }),
        }
    }
}
