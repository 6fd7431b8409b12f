//! In which order files are put back: nobody may ever open a version that is not whole.
//!
//! Data comes before the log. A log that readers can open goes on commit by commit. One that nobody can open yet gets last
//! of all what it starts with: a checkpoint that is there before the commits above it would show an older version.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::delta::segment::LogListing;
use crate::format::page::log_order;
use crate::format::{Entry, EntryKind};
use crate::ids::{Location, ObjectKey, Version};

/// Files of one turn may be put at once, and only after every file of the turns before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Turn {
    /// Parquet files with rows.
    Data,
    /// Files of deletion vectors.
    DeletionVector,
    /// Files of the change data feed.
    ChangeData,
    /// Sidecars of checkpoints.
    Sidecar,
    /// Commits of a log that has no start yet.
    BeforeStart,
    /// What such a log starts with: it can be read from here on.
    Start,
    /// Checkpoints of a log that can be read.
    Checkpoint,
    /// Commits of a log that can be read: one after the other.
    Commit,
    /// Compactions, checksums and files that this tool does not know.
    Rest,
    /// `_last_checkpoint`.
    Hint,
}

impl Turn {
    /// Whether its files belong to the transaction log.
    pub fn is_log(self) -> bool {
        self >= Self::Sidecar
    }
}

/// The order in which the files of a log are put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogOrder {
    /// Readers can open the log: checkpoints, then commits ascending.
    Ascending,
    /// They can, and it goes on from this version, commit by commit; checkpoints above it come after the commits. A commit that
    /// somebody else makes meanwhile is found before anything stands above it.
    Onward(Version),
    /// They cannot: commits, then these files, then what is left.
    StartLast(HashSet<ObjectKey>),
}

impl LogOrder {
    /// The order for a log that is `now` so, and `after` it was put back so; its newest version is `tip`.
    pub fn new(now: &LogListing, after: &LogListing, tip: Option<Version>) -> Self {
        if let Some(tip) = tip
            && now.candidates(tip).is_ok()
        {
            let newest = after.versions().last().copied().unwrap_or(tip);
            return if newest <= tip || after.has_every_commit(tip.next()..=newest) {
                Self::Onward(tip)
            } else {
                Self::Ascending
            };
        }
        let start = match after.checkpoints().first() {
            Some(newest) => newest.files.iter().map(|file| file.key.clone()).collect(),
            None => after
                .commit(Version(0))
                .map(|file| file.key.clone())
                .into_iter()
                .collect(),
        };
        Self::StartLast(start)
    }

    /// The turn of an entry.
    pub fn turn(&self, entry: &Entry) -> Turn {
        let starts = |start: &HashSet<ObjectKey>| matches!(&entry.file, Location::Inside(key) if start.contains(key));
        let is_first = |entry: &Entry| log_order(entry).version() == Some(Version(0));
        match (entry.kind, self) {
            (EntryKind::Data, _) => Turn::Data,
            (EntryKind::DeletionVector, _) => Turn::DeletionVector,
            (EntryKind::ChangeData, _) => Turn::ChangeData,
            (EntryKind::Sidecar, _) => Turn::Sidecar,
            (EntryKind::LastCheckpoint, _) => Turn::Hint,
            (EntryKind::Compaction | EntryKind::Checksum | EntryKind::Other, _) => Turn::Rest,
            (_, Self::StartLast(start)) if starts(start) => Turn::Start,
            (EntryKind::Checkpoint, Self::Onward(tip))
                if log_order(entry).version() > Some(*tip) =>
            {
                Turn::Rest
            }
            (EntryKind::Commit, Self::StartLast(_)) if !is_first(entry) => Turn::BeforeStart,
            (EntryKind::Checkpoint, _) => Turn::Checkpoint,
            (EntryKind::Commit, _) => Turn::Commit,
        }
    }
}
