//! Says of a snapshot that the live table does not go on from what became of the table since.

use super::past::{Base, Past};
use crate::ids::Version;

/// A snapshot that the live table does not go on from.
#[derive(Debug)]
pub(super) struct Left {
    past: Past,
    diverged: Option<Diverged>,
}

/// The first commit at or below a snapshot that has other bytes now.
#[derive(Debug)]
pub(super) enum Diverged {
    /// It has none.
    Emptied(Version),
    /// Somebody wrote it again.
    Rewritten(Version),
}

impl Left {
    /// A snapshot of which nothing is known but that the table does not go on from it.
    pub(super) fn all(past: Past) -> Self {
        Self {
            past,
            diverged: None,
        }
    }

    /// A snapshot, and where the table's log diverged from it.
    pub(super) fn at(past: Past, diverged: Option<Diverged>) -> Self {
        Self { past, diverged }
    }

    /// The commit whose bytes the table has lost, if it is the same table.
    pub(super) fn emptied(&self, delta_id: &str) -> Option<Version> {
        match self.diverged {
            Some(Diverged::Emptied(commit)) if self.past.record.table.delta_id == delta_id => {
                Some(commit)
            }
            _ => None,
        }
    }

    /// What became of the table since, as far as log and id tell.
    pub(super) fn finding(&self, delta_id: &str, version: Version, base: Option<&Base>) -> String {
        let Past { id, record } = &self.past;
        let (id, held) = (id.short(), record.version);
        let mut finding = if record.table.delta_id != delta_id {
            format!(
                "the table was dropped and re-created: snapshot {id} of version {held} is of another table under this name"
            )
        } else if let Some(Diverged::Emptied(commit)) = self.diverged {
            self.past.emptied_finding(commit)
        } else if let Some(Diverged::Rewritten(commit)) = self.diverged {
            format!(
                "the table was rewound and written on, or a writer overwrote its log: commit {commit} has other bytes \
                 than snapshot {id} of version {held} holds"
            )
        } else {
            format!(
                "the table lost its newest commits, or was rewound: its log ends at version {version}, and snapshot {id} holds version \
                 {held}"
            )
        };
        if let Some(base) = base {
            finding.push_str("; this snapshot builds on ");
            finding.push_str(&base.past.id.short());
        }
        finding
    }
}
