//! What stands beside a result: who else is at work.

use deltavault::ids::{SnapshotId, Timestamp};
use serde::Serialize;

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
