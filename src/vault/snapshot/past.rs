//! A record of the ledger that a snapshot goes on from, and what of its snapshot may be used again.

use std::sync::Arc;

use crate::format::ledger::{Link, LinkBody};
use crate::format::{Entry, Manifest, Record};
use crate::ids::{ObjectKey, SnapshotId, Version};
use crate::plan::snapshot::BaseUse;
use crate::shell::operand;

/// A record of the ledger that this tool can read.
#[derive(Debug, Clone)]
pub(super) struct Past {
    pub(super) id: SnapshotId,
    pub(super) record: Arc<Record>,
}

impl Past {
    pub(super) fn of(link: &Link) -> Option<Self> {
        match &link.body {
            LinkBody::Record(record) => Some(Self {
                id: link.id,
                record: Arc::clone(record),
            }),
            LinkBody::Newer(_) => None,
        }
    }

    /// What is said of a commit that lost its bytes since a snapshot took them.
    pub(super) fn emptied_finding(&self, commit: Version) -> String {
        let table = operand(&self.record.table.name);
        format!(
            "commit {commit} is empty now (0 bytes), as a power loss leaves it, and readers miss what it did: snapshot {} holds \
             its bytes, and `deltavault restore {table}` shows whether they can be put back",
            self.id.short()
        )
    }
}

/// A record that was found to be of this table's past.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) past: Past,
    pub(super) manifest: Manifest,
    pub(super) using: BaseUse,
    /// Whether its objects may be referenced again: see `may_reuse` in `pin`.
    pub(super) reuse: bool,
    /// Objects of it that are gone from the vault.
    pub(super) lost: Vec<ObjectKey>,
}

impl Base {
    /// Whether an entry of it may be V's as it is.
    pub(super) fn reuses(&self, entry: &Entry) -> bool {
        let reference = entry.placement.reference();
        let is_its_own = !entry.is_above(self.past.record.version);
        self.reuse && is_its_own && reference.is_none_or(|it| !self.lost.contains(&it.key))
    }
}
