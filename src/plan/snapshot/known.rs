//! Which of the files that V needs are held already.

use serde::{Deserialize, Serialize};

use super::Need;
use crate::format::{Entry, EntryKind, Placement};
use crate::ids::ETag;

/// How a need is met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// The base or a journal holds it: its entry, brought up to V.
    Known(Entry),
    /// It is held under the same description, and a commit since then names it again: the source must be asked.
    Recheck(Recheck),
    /// It must be copied.
    Copy(Need),
}

/// A file that may be another one than is held under its name, size and time: a commit after the base names it again, or
/// it was placed by a run that did not finish.
///
/// Most often it has a new deletion vector and its bytes are the same. A writer that wrote other bytes under the old
/// name leaves no other trace than the store's tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recheck {
    /// What V needs.
    pub need: Need,
    held: Vec<Entry>,
}

impl Recheck {
    /// The entries that it may be, all held under its name.
    pub fn held(&self) -> &[Entry] {
        &self.held
    }

    /// The need, with the entry that would have served if the vault had not lost its object.
    pub fn into_lost(self) -> Need {
        let mut need = self.need;
        need.held = self.held.into_iter().next().map(Box::new);
        need
    }

    /// Decides by what the source has: the object's tag and size, or nothing. A file that the source has lost is the held one.
    ///
    /// # Errors
    /// The file, which must be copied.
    pub fn settle(self, found: Option<(&ETag, u64)>) -> Result<Entry, Box<Need>> {
        let Self { need, mut held } = self;
        let same = held.iter().position(|entry| {
            found.is_none_or(|(etag, size)| entry.etag.as_ref() == Some(etag) && entry.size == size)
        });
        if let Some(same) = same {
            return Ok(brought_up(held.swap_remove(same), need));
        }
        Err(Box::new(need))
    }
}

impl Need {
    /// Whether an entry under the same name is this file, as far as the log can tell.
    pub fn is_held_by(&self, entry: &Entry) -> bool {
        // A data file may have been rewritten under its name, which only its time tells. Without one it is read again
        // as long as a live version needs it; one that only older versions need may be nowhere but in the vault.
        let told_by_time = self.kind == EntryKind::Data && self.required;
        entry.kind == self.kind
            && self.may_have(entry.size)
            && (entry.modification_time == self.modification_time)
            && (self.modification_time.is_some() || !told_by_time)
            // It may be there again; and if not, the versions that it spoils have to be counted again.
            && entry.placement != Placement::Absent {}
    }
}

/// Matches one need with what is held under the same file: `published` by the base, `placed` by a run that did not
/// finish. `is_named_again` says whether a commit after the base names it.
///
/// A run that did not finish has published nothing, so commits that the base has not seen may have named its files
/// again since: the source is asked about each.
pub fn match_need(
    mut need: Need,
    published: &[Entry],
    placed: &[Entry],
    is_named_again: bool,
) -> Matched {
    let is_live = (need.kind == EntryKind::Data && !need.live.is_empty())
        || (need.kind == EntryKind::DeletionVector && need.required);
    let published: Vec<&Entry> = published
        .iter()
        .filter(|entry| need.is_held_by(entry))
        .collect();
    if let Some(first) = published.first() {
        if !(is_named_again && is_live) {
            return Matched::Known(brought_up((*first).clone(), need));
        }
        need.was = first.sha256.map(Box::new);
    }
    let placed = placed.iter().filter(|entry| need.is_held_by(entry));
    let held: Vec<_> = published.into_iter().chain(placed).cloned().collect();
    if held.is_empty() {
        Matched::Copy(need)
    } else {
        Matched::Recheck(Recheck { need, held })
    }
}

fn brought_up(entry: Entry, need: Need) -> Entry {
    Entry {
        absolute: need.absolute,
        live: need.live,
        rows: need.rows,
        ..entry
    }
}
