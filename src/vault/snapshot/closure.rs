//! V's closure: the objects that its live files need, and which of them are held already.

use std::path::Path;

use futures::TryStreamExt;
use serde::{Deserialize, Serialize};

use super::super::Vault;
use super::Failure;
use super::pin::Pinned;
use super::replayed::{ChangeData, Fingerprint, Replayed, Watched};
use crate::delta::replay::TableState;
use crate::error::Error;
use crate::format::{Change, Entry, EntryKind};
use crate::ids::Location;
use crate::plan::snapshot::{
    ByFile, InDataOrder, Matched, Need, count_change, data_needs, match_need,
};
use crate::sort::{SortError, Sorted, Sorter};

/// Everything that the plan found out about V.
pub(super) struct Closure {
    pub(super) state: TableState,
    /// What was odd about the live files.
    pub(super) findings: Vec<String>,
    /// Entries that serve as they are, brought up to V.
    pub(super) known: Sorter<InDataOrder>,
    /// What must be copied.
    pub(super) copy: Sorter<ByFile<Need>>,
    pub(super) copy_bytes: u64,
    pub(super) change: Change,
}

/// Matches V's needs with what is held and sorts the rest for copying.
pub(super) async fn close(
    vault: &Vault,
    pinned: &Pinned,
    replayed: Replayed,
    mut held: Held,
    folder: &Path,
) -> Result<(Closure, Fingerprint), Failure> {
    let Replayed {
        replay,
        change_data,
        history,
    } = replayed;
    let (state, files) = if history {
        replay.finish_with_history()?
    } else {
        replay.finish()?
    };
    let mut closure = Closure {
        state,
        findings: Vec::new(),
        known: Sorter::new(folder)?,
        copy: Sorter::new(folder)?,
        copy_bytes: 0,
        change: Change::default(),
    };
    if let Some(base) = &pinned.base {
        let mut entries = vault.entries(&base.manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            held.push(entry, base.reuse)?;
        }
    }
    let mut live = Watched::new(files);
    let mut vectors: Sorter<ByFile<Need>> = Sorter::new(folder)?;
    let needs = data_needs(&mut live).map(|need| {
        let need = need?;
        for vector in vector_needs(&need) {
            vectors.push(ByFile {
                file: vector.file.clone(),
                row: vector,
            })?;
        }
        Ok(need)
    });
    closure.join(needs, held.data.finish()?)?;
    closure.join(unique(vectors.finish()?), held.vectors.finish()?)?;
    let mut feed: Sorter<ByFile<Need>> = Sorter::new(folder)?;
    if history {
        for ChangeData {
            file,
            absolute,
            size,
        } in change_data
        {
            let plain = Need::plain(file.clone(), EntryKind::ChangeData, Some(size), false);
            let need = Need { absolute, ..plain };
            feed.push(ByFile { file, row: need })?;
        }
    }
    closure.join(unique(feed.finish()?), held.feed.finish()?)?;
    closure.findings = live.findings();
    Ok((closure, live.into_fingerprint()))
}

/// Entries that a base or a journal holds, by what they are.
pub(super) struct Held {
    data: Sorter<ByFile<HeldEntry>>,
    vectors: Sorter<ByFile<HeldEntry>>,
    feed: Sorter<ByFile<HeldEntry>>,
}

/// An entry, and whether its placement may be used again or only tells what was live.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct HeldEntry {
    entry: Entry,
    from_base: bool,
    reuse: bool,
}

impl Held {
    pub(super) fn new(folder: &Path) -> Result<Self, Failure> {
        Ok(Self {
            data: Sorter::new(folder)?,
            vectors: Sorter::new(folder)?,
            feed: Sorter::new(folder)?,
        })
    }

    fn push(&mut self, entry: Entry, reuse: bool) -> Result<(), Failure> {
        self.push_row(HeldEntry {
            entry,
            from_base: true,
            reuse,
        })
    }

    /// Adds what an unfinished run has placed.
    pub(super) fn push_journalled(&mut self, entry: Entry) -> Result<(), Failure> {
        self.push_row(HeldEntry {
            entry,
            from_base: false,
            reuse: true,
        })
    }

    fn push_row(&mut self, row: HeldEntry) -> Result<(), Failure> {
        let sorter = match row.entry.kind {
            EntryKind::Data => &mut self.data,
            EntryKind::DeletionVector => &mut self.vectors,
            EntryKind::ChangeData => &mut self.feed,
            EntryKind::Sidecar
            | EntryKind::Checkpoint
            | EntryKind::Compaction
            | EntryKind::Checksum
            | EntryKind::Other
            | EntryKind::Commit
            | EntryKind::LastCheckpoint => return Ok(()),
        };
        Ok(sorter.push(ByFile {
            file: row.entry.file.clone(),
            row,
        })?)
    }
}

impl Closure {
    /// Merges needs and held entries, both in the order of their files.
    fn join(
        &mut self,
        needs: impl Iterator<Item = Result<Need, Error>>,
        held: Sorted<ByFile<HeldEntry>>,
    ) -> Result<(), Failure> {
        let mut held = held.peekable();
        for need in needs {
            let need = need?;
            while let Some(passed) = held.next_if(|row| before(row, &need.file)) {
                self.passed(&passed?.row);
            }
            let mut same = Vec::new();
            while let Some(row) = held.next_if(|row| is_of(row, &need.file)) {
                same.push(row?.row);
            }
            let then: Vec<_> = same
                .iter()
                .filter(|held| held.from_base)
                .flat_map(|held| held.entry.live.iter().cloned())
                .collect();
            count_change(&mut self.change, &need.live, &then);
            let usable: Vec<_> = same
                .into_iter()
                .filter(|held| held.reuse)
                .map(|held| held.entry)
                .collect();
            match match_need(need, &usable) {
                Matched::Known(entry) => self.known.push(InDataOrder(entry))?,
                Matched::Copy(need) => {
                    self.copy_bytes += need.size.unwrap_or_default();
                    self.copy.push(ByFile {
                        file: need.file.clone(),
                        row: need,
                    })?;
                }
            }
        }
        for passed in held {
            self.passed(&passed?.row);
        }
        Ok(())
    }

    /// Takes note of a held entry that V does not need any more.
    fn passed(&mut self, held: &HeldEntry) {
        if held.from_base {
            count_change(&mut self.change, &[], &held.entry.live);
        }
    }
}

fn before(row: &Result<ByFile<HeldEntry>, SortError>, file: &Location) -> bool {
    row.as_ref().map_or(true, |row| row.file < *file)
}

fn is_of(row: &Result<ByFile<HeldEntry>, SortError>, file: &Location) -> bool {
    row.as_ref().map_or(true, |row| row.file == *file)
}

/// The files of deletion vectors that a data file's logical files use.
fn vector_needs(need: &Need) -> impl Iterator<Item = Need> {
    need.vectors.iter().map(|used| Need {
        absolute: used.absolute,
        at_least: used.end,
        spans: vec![used.span],
        ..Need::plain(
            used.file.clone(),
            EntryKind::DeletionVector,
            None,
            used.span.1.is_none(),
        )
    })
}

/// Merges repeated needs of one file; they come sorted.
fn unique(needs: Sorted<ByFile<Need>>) -> impl Iterator<Item = Result<Need, Error>> {
    let mut needs = needs.peekable();
    std::iter::from_fn(move || {
        let mut need = match needs.next()? {
            Ok(need) => need.row,
            Err(error) => return Some(Err(error.into())),
        };
        while let Some(Ok(same)) =
            needs.next_if(|next| next.as_ref().is_ok_and(|next| next.file == need.file))
        {
            need.absolute |= same.row.absolute;
            need.required |= same.row.required;
            need.at_least = need.at_least.max(same.row.at_least);
            need.spans.extend(same.row.spans);
        }
        Some(Ok(need))
    })
}
