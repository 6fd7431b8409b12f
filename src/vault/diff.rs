//! How two snapshots differ, and how the live table differs from one.
//!
//! Entries are brought side by side by an external sort, so that memory does not grow with the table; pages that
//! both snapshots have are not read at all. A comparison with the live table costs one listing and reads no
//! file: what only a tag says is called unsure.

use std::path::Path;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::Vault;
use super::listing::{KnownKeys, list_all};
use crate::error::Error;
use crate::format::page::log_order_of;
use crate::format::{Entry, EntryKind, Manifest, PageRef, Placement};
use crate::ids::{Digest, ETag, Location, Version};
use crate::sort::Sorter;
use crate::source::LOG_PREFIX;
use crate::store::{Attributes, ReadStore};

/// Where a restore keeps its claims and what it sets aside, below a live table's root: no part of the table.
const OWN_PREFIX: &str = "_deltavault/";

/// A file that two snapshots do not have alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What it is for its table.
    pub kind: EntryKind,
    /// The file.
    pub file: Location,
    /// How they differ.
    pub change: Change,
}

/// How two snapshots differ in a file. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Only the second has it.
    Added {
        /// There.
        size: u64,
    },
    /// Only the first has it.
    Removed {
        /// There.
        size: u64,
    },
    /// Both have it, with another SHA-256; or one of them names it without holding it.
    Changed {
        /// In the first.
        before: u64,
        /// In the second.
        after: u64,
    },
}

/// Files and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Files.
    pub files: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.files += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// The sums of a comparison, for the files of the log or for all others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffSums {
    /// Only the second has them.
    pub added: Sum,
    /// Only the first has them.
    pub removed: Sum,
    /// Other bytes; counted as in the second.
    pub changed: Sum,
    /// Files that are the same.
    pub same: u64,
}

/// The sums of a comparison.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiffTotals {
    /// Files of the log.
    pub log: DiffSums,
    /// Data, deletion-vector and change-data files.
    pub data: DiffSums,
}

impl DiffTotals {
    fn of(&mut self, kind: EntryKind) -> &mut DiffSums {
        if kind.is_log() {
            &mut self.log
        } else {
            &mut self.data
        }
    }

    fn add(&mut self, difference: &Difference) {
        let sums = self.of(difference.kind);
        match difference.change {
            Change::Added { size } => sums.added.add(size),
            Change::Removed { size } => sums.removed.add(size),
            Change::Changed { after, .. } => sums.changed.add(after),
        }
    }
}

/// A file that the live table does not have as the snapshot has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveDifference {
    /// What it is for the snapshot; `None` for a file that the snapshot does not have.
    pub kind: Option<EntryKind>,
    /// The file.
    pub file: Location,
    /// How they differ.
    pub change: LiveChange,
}

/// How the live table differs in a file. Sizes are bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LiveChange {
    /// The live table does not have it.
    Missing {
        /// In the snapshot.
        size: u64,
    },
    /// It has another size.
    OtherSize {
        /// In the snapshot.
        held: u64,
        /// In the live table.
        live: u64,
    },
    /// It has the same size and another tag: perhaps other bytes, perhaps the same put again. Not read.
    Unsure {
        /// In both.
        size: u64,
    },
    /// A file of the log above the snapshot's version.
    NewerLog {
        /// In the live table.
        size: u64,
    },
    /// Another file that the snapshot does not have: of a newer or an older version, or of none.
    Extra {
        /// In the live table.
        size: u64,
    },
}

/// The sums of a comparison with the live table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LiveTotals {
    /// Files that are there with the same size and tag.
    pub same: u64,
    /// Missing files.
    pub missing: Sum,
    /// Files of another size; counted as in the snapshot.
    pub other_size: Sum,
    /// Files with another tag.
    pub unsure: Sum,
    /// Files of the log above the snapshot's version.
    pub newer_log: Sum,
    /// Other files that the snapshot does not have.
    pub extra: Sum,
    /// Files outside the table's root, which the listing does not show.
    pub outside: u64,
    /// How many of the differing files are the log's.
    pub of_the_log: u64,
    /// The newest version whose commit the listing shows.
    pub newest: Option<Version>,
}

impl LiveTotals {
    fn add(&mut self, change: LiveChange) {
        match change {
            LiveChange::Missing { size } => self.missing.add(size),
            LiveChange::OtherSize { held, .. } => self.other_size.add(held),
            LiveChange::Unsure { size } => self.unsure.add(size),
            LiveChange::NewerLog { size } => self.newer_log.add(size),
            LiveChange::Extra { size } => self.extra.add(size),
        }
    }
}

/// One entry on its way to its counterpart. The order is that of the fields.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct EntryRow {
    file: Location,
    is_second: bool,
    kind: EntryKind,
    size: u64,
    sha256: Option<Digest>,
    etag: Option<ETag>,
}

impl EntryRow {
    fn new(entry: Entry, is_second: bool) -> Self {
        Self {
            file: entry.file,
            is_second,
            kind: entry.kind,
            size: entry.size,
            sha256: entry.sha256,
            etag: entry.etag,
        }
    }
}

impl Vault {
    /// Compares two manifests; `found` takes the differences in the order of the files' locations. Rows wait in
    /// `spill` while they are sorted.
    ///
    /// # Errors
    /// [`Error::Damaged`] when a page cannot be read, and whatever `found` returns.
    pub async fn diff(
        &self,
        before: &Manifest,
        after: &Manifest,
        spill: &Path,
        found: &mut (dyn FnMut(Difference) -> Result<(), Error> + Send),
    ) -> Result<DiffTotals, Error> {
        let mut totals = DiffTotals::default();
        let mut rows: Sorter<EntryRow> = Sorter::new(spill)?;
        for is_log in [true, false] {
            let (before, after) = (pages(before, is_log), pages(after, is_log));
            let (mine, shared) = apart(before, after);
            let (theirs, _) = apart(after, before);
            let same = if is_log {
                &mut totals.log.same
            } else {
                &mut totals.data.same
            };
            *same += shared;
            for (pages, is_second) in [(mine, false), (theirs, true)] {
                let mut entries = self.entries(&pages);
                while let Some(entry) = entries.try_next().await? {
                    rows.push(EntryRow::new(entry, is_second))?;
                }
            }
        }
        let mut rows = rows.finish()?.peekable();
        while let Some(row) = rows.next().transpose()? {
            let other = if row.is_second {
                None
            } else {
                rows.next_if(
                    |next| matches!(next, Ok(next) if next.file == row.file && next.is_second),
                )
                .transpose()?
            };
            let (before, size) = (row.size, row.size);
            let (kind, change) = match other {
                Some(other) if (other.sha256, other.size) == (row.sha256, row.size) => {
                    totals.of(row.kind).same += 1;
                    continue;
                }
                Some(other) => {
                    let after = other.size;
                    (other.kind, Change::Changed { before, after })
                }
                None if row.is_second => (row.kind, Change::Added { size }),
                None => (row.kind, Change::Removed { size }),
            };
            let file = row.file;
            let difference = Difference { kind, file, change };
            totals.add(&difference);
            found(difference)?;
        }
        Ok(totals)
    }

    /// Compares a manifest with the table as it lives below `live`, by one listing; `found` takes the
    /// differences in the order of the files' locations.
    ///
    /// # Errors
    /// As [`Vault::diff`], and what the live store says.
    pub async fn diff_live(
        &self,
        manifest: &Manifest,
        live: &dyn ReadStore,
        spill: &Path,
        found: &mut (dyn FnMut(LiveDifference) -> Result<(), Error> + Send),
    ) -> Result<LiveTotals, Error> {
        let mut totals = LiveTotals::default();
        let mut rows: Sorter<EntryRow> = Sorter::new(spill)?;
        let mut known = KnownKeys::default();
        let mut entries = self.files(manifest);
        while let Some(entry) = entries.try_next().await? {
            match (&entry.placement, &entry.file) {
                // Named by older versions only, and gone before the snapshot was taken.
                (Placement::Absent {}, _) => {}
                (_, Location::Outside(_)) => totals.outside += 1,
                (_, Location::Inside(key)) => {
                    known.see(key);
                    rows.push(EntryRow::new(entry, false))?;
                }
            }
        }
        drop(entries);
        let mut tell = |kind: Option<EntryKind>, file: Location, change| {
            totals.add(change);
            totals.of_the_log += u64::from(file.as_str().starts_with(LOG_PREFIX));
            found(LiveDifference { kind, file, change })
        };
        let (mut same, mut newest) = (0, None);
        let mut held = rows.finish()?.peekable();
        let ends = known.range_ends(live);
        let mut listing = list_all(live, &ends);
        while let Some(object) = listing.try_next().await? {
            if object.key.as_str().starts_with(OWN_PREFIX) {
                continue;
            }
            let file = Location::Inside(object.key.clone());
            newest = newest.max(committed_by(&file));
            while let Some(missing) =
                held.next_if(|next| next.as_ref().map_or(true, |next| next.file < file))
            {
                let missing = missing?;
                let change = LiveChange::Missing { size: missing.size };
                tell(Some(missing.kind), missing.file, change)?;
            }
            let entry = held
                .next_if(|next| matches!(next, Ok(next) if next.file == file))
                .transpose()?;
            let kind = entry.as_ref().map(|entry| entry.kind);
            match entry {
                None => tell(kind, file.clone(), extra(&file, &object, manifest.version))?,
                Some(entry) => match compare(&entry, &object) {
                    None => same += 1,
                    Some(change) => tell(kind, file, change)?,
                },
            }
        }
        for missing in held {
            let missing = missing?;
            let change = LiveChange::Missing { size: missing.size };
            tell(Some(missing.kind), missing.file, change)?;
        }
        (totals.same, totals.newest) = (same, newest);
        Ok(totals)
    }
}

fn pages(manifest: &Manifest, is_log: bool) -> &[PageRef] {
    if is_log {
        &manifest.log_pages
    } else {
        &manifest.data_pages
    }
}

/// The pages that only `mine` has, and how many entries the others have together.
fn apart(mine: &[PageRef], theirs: &[PageRef]) -> (Vec<PageRef>, u64) {
    let theirs: std::collections::HashSet<Digest> =
        theirs.iter().map(|page| page.page.sha256).collect();
    let (shared, alone): (Vec<&PageRef>, Vec<&PageRef>) = mine
        .iter()
        .partition(|page| theirs.contains(&page.page.sha256));
    (
        alone.into_iter().cloned().collect(),
        shared.iter().map(|page| page.entries).sum(),
    )
}

/// The version that a file of the log commits.
fn committed_by(file: &Location) -> Option<Version> {
    let name = file.as_str().strip_prefix(LOG_PREFIX)?;
    let digits = name.strip_suffix(".json")?;
    (digits.len() == 20).then(|| log_order_of(file).version())?
}

fn extra(file: &Location, object: &Attributes, pinned: Version) -> LiveChange {
    let size = object.size;
    let is_newer = file.as_str().starts_with(LOG_PREFIX)
        && log_order_of(file)
            .version()
            .is_some_and(|version| version > pinned);
    if is_newer {
        LiveChange::NewerLog { size }
    } else {
        LiveChange::Extra { size }
    }
}

fn compare(entry: &EntryRow, object: &Attributes) -> Option<LiveChange> {
    let (held, live) = (entry.size, object.size);
    if held != live {
        return Some(LiveChange::OtherSize { held, live });
    }
    let is_same = entry.etag.as_ref() == Some(&object.etag);
    (!is_same).then_some(LiveChange::Unsure { size: live })
}
