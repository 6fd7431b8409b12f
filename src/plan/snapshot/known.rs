//! Which of the files that V needs are held already.

use serde::{Deserialize, Serialize};

use super::Need;
use crate::format::{Entry, EntryKind, Placement};
use crate::ids::ETag;

/// What a need turned out to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Matched {
    /// The base or a journal holds it: its entry, brought up to V.
    Known(Entry),
    /// It is held under the same description, and a commit since then names it again: the source has to be asked.
    Again(Again),
    /// It must be copied.
    Copy(Need),
}

/// A file that a commit after the base names again, with the size and the time under which it is held.
///
/// Most often it has a new deletion vector and its bytes are the same. A writer that wrote other bytes under the old
/// name leaves no other trace than the store's tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// What V needs.
    pub need: Need,
    held: Vec<Entry>,
}

impl Again {
    /// Decides by what the source has: the object's tag and size, or nothing. What it has no more, the vault has.
    ///
    /// # Errors
    /// The file, which must be copied.
    pub fn settle(self, found: Option<(&ETag, u64)>) -> Result<Entry, Box<Need>> {
        let Self { need, mut held } = self;
        let same = held.iter().position(|entry| {
            found.is_none_or(|(etag, size)| entry.etag.as_ref() == Some(etag) && entry.size == size)
        });
        match same {
            Some(same) => Ok(brought_up(held.swap_remove(same), need)),
            None => Err(Box::new(need)),
        }
    }
}

impl Need {
    /// Whether an entry under the same name is this file, as far as the log can tell.
    pub fn is_held_by(&self, entry: &Entry) -> bool {
        // A data file may have been rewritten under its name, which only its time tells. Without one it is read again
        // as long as a live version needs it; one that only older versions need may be nowhere but in the vault.
        let told_by_time = self.kind == EntryKind::Data && self.required;
        entry.kind == self.kind
            && self.size.is_none_or(|size| size == entry.size)
            && self.at_least <= entry.size
            && (entry.modification_time == self.modification_time)
            && (self.modification_time.is_some() || !told_by_time)
            // It may be there again; and if not, the versions that it spoils have to be counted again.
            && entry.placement != Placement::Absent {}
    }
}

/// Matches one need with what is held under the same file; `is_named_again` says whether a commit after the base names
/// it.
pub fn match_need(need: Need, held: &[Entry], is_named_again: bool) -> Matched {
    let mut matching = held.iter().filter(|entry| need.is_held_by(entry)).cloned();
    let Some(first) = matching.next() else {
        return Matched::Copy(need);
    };
    if is_named_again && need.kind == EntryKind::Data && !need.live.is_empty() {
        let held = std::iter::once(first).chain(matching).collect();
        return Matched::Again(Again { need, held });
    }
    Matched::Known(brought_up(first, need))
}

fn brought_up(entry: Entry, need: Need) -> Entry {
    Entry {
        absolute: need.absolute,
        live: need.live,
        rows: need.rows,
        ..entry
    }
}
