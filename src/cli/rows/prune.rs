//! What `prune`, `hold`, `release` and `retire` have to say.

use std::collections::BTreeMap;

use deltavault::ids::{Id128, SnapshotId, Timestamp};
use serde::Serialize;

use super::Row;

/// What is kept of a table, and why.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PruneTable {
    /// The table.
    pub(crate) table: String,
    /// Snapshots that are kept.
    pub(crate) kept: usize,
    /// Snapshots that are not.
    pub(crate) expired: usize,
    /// Each, oldest first.
    pub(crate) snapshots: Vec<PruneSnapshot>,
}

/// Why a snapshot is kept or not.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PruneSnapshot {
    /// The snapshot.
    pub(crate) snapshot: SnapshotId,
    /// Whether it is kept.
    pub(crate) kept: bool,
    /// Why.
    pub(crate) reason: String,
}

/// What is to become of an object.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PruneObject {
    /// `delete` or `mark`.
    pub(crate) action: &'static str,
    /// Its key.
    pub(crate) key: String,
    /// Its object version.
    pub(crate) version: Option<String>,
    /// Bytes.
    pub(crate) bytes: u64,
    /// Why nothing needs it.
    pub(crate) reason: &'static str,
    /// The snapshot that needed it last, where one did.
    pub(crate) snapshot: Option<SnapshotId>,
    /// Until when it is locked, as far as that is known.
    pub(crate) locked_until: Option<Timestamp>,
}

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct AmountRow {
    /// Objects.
    pub(crate) objects: u64,
    /// Bytes.
    pub(crate) bytes: u64,
}

/// Objects and their bytes, by the reason why nothing needs them.
pub(crate) type Reasons = BTreeMap<&'static str, AmountRow>;

/// What a reading of the vault came to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PrunePlanned {
    /// Tables.
    pub(crate) tables: u64,
    /// Snapshots that are kept.
    pub(crate) kept: u64,
    /// Snapshots that are not.
    pub(crate) expired: u64,
    /// What the kept ones need.
    pub(crate) needed: AmountRow,
    /// Journals of runs that may be gone on with.
    pub(crate) unfinished: AmountRow,
    /// Too young to be of no use.
    pub(crate) young: AmountRow,
    /// Of no use, in a bucket without object versions, where nothing can be deleted safely.
    pub(crate) nameless: AmountRow,
    /// To be marked.
    pub(crate) mark: Reasons,
    /// Marked, and waiting for the grace period to pass.
    pub(crate) waits: Reasons,
    /// Marked, and waiting for a lock to end.
    pub(crate) locked: Reasons,
    /// To be deleted.
    pub(crate) delete: Reasons,
    /// Not the vault's; it stays.
    pub(crate) strangers: AmountRow,
    /// The first of those.
    pub(crate) strangers_named: Vec<String>,
    /// What the owner should know, and what stops nothing.
    pub(crate) findings: Vec<String>,
    /// Whether nothing is going to be done.
    pub(crate) dry_run: bool,
}

/// What a prune did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PruneDoneRow {
    /// Deleted for good.
    pub(crate) deleted: Reasons,
    /// Found locked.
    pub(crate) locked: AmountRow,
    /// Found under a legal hold.
    pub(crate) held: AmountRow,
    /// Refused for another reason.
    pub(crate) refused: AmountRow,
    /// What the store said of the first of those.
    pub(crate) refusal: Option<String>,
    /// Marked for a later run.
    pub(crate) marked: Reasons,
    /// The plans that say so.
    pub(crate) plans: Vec<Id128>,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// What a hold or a release did.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct HoldRow {
    /// The table.
    pub(crate) table: String,
    /// The snapshot.
    pub(crate) snapshot: SnapshotId,
    /// Whether it is held now.
    pub(crate) held: bool,
    /// Whether that was so before.
    pub(crate) was_so: bool,
    /// Object versions with a legal hold put on or taken off; none in a vault without locks.
    pub(crate) objects: Option<u64>,
    /// Object versions that stay held for another snapshot.
    pub(crate) shared: u64,
    /// Whether no prune can have been deleting what is held.
    pub(crate) sure: bool,
}

/// A table was retired.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RetireRow {
    /// The table.
    pub(crate) table: String,
    /// Whether it was retired before.
    pub(crate) was_so: bool,
}

macro_rules! rows {
    ($($row:ty => $message_type:literal),* $(,)?) => {
        $(impl Row for $row {
            const MESSAGE_TYPE: &'static str = $message_type;
        })*
    };
}

rows! {
    PruneTable => "prune_table",
    PruneObject => "prune_object",
    PrunePlanned => "plan",
    PruneDoneRow => "summary",
    HoldRow => "hold",
    RetireRow => "retired",
}
