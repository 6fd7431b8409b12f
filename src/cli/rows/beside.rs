//! What stands beside a result: what a snapshot does not hold, and who else is at work.

use deltavault::ids::{SnapshotId, Timestamp};
use deltavault::plan::unheld::Unheld;
use serde::Serialize;

/// Something of a table that a snapshot does not hold.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct NotHeld {
    /// A word for scripts: `older-versions`, `change-feed`, `uniform`, `symlink-manifests`, `object-attributes`,
    /// `catalog-commits`.
    pub(crate) what: &'static str,
    /// What it is, and what can be done.
    pub(crate) text: String,
}

impl From<&Unheld> for NotHeld {
    fn from(unheld: &Unheld) -> Self {
        Self {
            what: unheld.as_str(),
            text: format!("{}: {}", unheld.what(), unheld.advice()),
        }
    }
}

/// A restore that is at work.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Restoring {
    /// Who restores: user and host.
    pub(crate) by: String,
    /// The snapshot.
    pub(crate) snapshot: SnapshotId,
    /// Since when, by the clock of that restore.
    pub(crate) since: Timestamp,
    /// Seconds since its last sign of life.
    pub(crate) silent_seconds: u64,
}
