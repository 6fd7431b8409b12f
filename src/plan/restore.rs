//! What a restore finds, and what it may do about it.
//!
//! Decides from a snapshot's entries and one listing of the target. Nothing that is right is touched; what is wrong is
//! set aside before it is replaced; where something is the owner's choice, the plan says so and changes nothing.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

use crate::format::page::log_order;
use crate::format::{Entry, EntryKind, Placement};
use crate::ids::{Digest, ETag, ObjectKey, Timestamp, Version};
use crate::store::Attributes;

use self::order::Turn;

pub mod claim;
pub mod consent;
pub mod deed;
pub mod fit;
pub mod order;
pub mod removal;
pub mod under;
pub mod whole;

/// What stands at the target, in the order in which the cases are looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Situation {
    /// An empty place for a full copy, or one that a restore of the same snapshot has begun to fill, or has filled.
    EmptyTarget,
    /// Another table lives there now: dropped and re-created.
    AnotherTable {
        /// Its Delta id.
        delta_id: String,
    },
    /// Commits at or below V have other bytes, or lead to files that V's history never had.
    CommitsDiffer {
        /// Their names.
        files: Vec<String>,
    },
    /// No log: a drop, or an interrupted delete.
    NoLog,
    /// Nothing above V: the table can be healed in place.
    NothingAbove,
    /// The live table is newer than V.
    NewerLive {
        /// Its newest version.
        tip: Version,
    },
}

impl Situation {
    /// The newest version of a live table that is newer than V.
    pub fn newer_tip(&self) -> Option<Version> {
        match self {
            Self::NewerLive { tip } => Some(*tip),
            Self::EmptyTarget
            | Self::AnotherTable { .. }
            | Self::CommitsDiffer { .. }
            | Self::NoLog
            | Self::NothingAbove => None,
        }
    }
}

/// A live table that ends at V or below it, and that is whole as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Healthy {
    /// It is at V: what is missing is of older versions only.
    AtV,
    /// It is behind V, at this version.
    Behind(Version),
}

/// What the live log tells about the target, for [`judge`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveLog {
    /// The newest version that a commit or a checkpoint names, if any.
    pub tip: Option<Version>,
    /// Its Delta id, where it had to be read.
    pub delta_id: Option<String>,
    /// Commits at or below V that have other bytes than the snapshot's, or that it does not hold and that do not lead to V.
    pub other_commits: Vec<String>,
}

/// Names the first situation that fits.
pub fn judge(live: &LiveLog, delta_id: &str, version: Version) -> Situation {
    match live.tip {
        None => Situation::NoLog,
        Some(tip) => match &live.delta_id {
            Some(other) if other != delta_id => Situation::AnotherTable {
                delta_id: other.clone(),
            },
            _ if !live.other_commits.is_empty() => Situation::CommitsDiffer {
                files: live.other_commits.clone(),
            },
            _ if tip > version => Situation::NewerLive { tip },
            _ => Situation::NothingAbove,
        },
    }
}

/// What a restore is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A full copy into an empty place.
    To,
    /// In place, whatever the situation allows without a choice.
    InPlace,
    /// In place, and under a newer live table put back V's data files only.
    Heal,
    /// In place; what a newer live table has above V is removed from its log.
    Rewind,
    /// In place; another table that lives there, or another history, is removed from the log first.
    Replace,
    /// In place, forward again to what was there before a rewind.
    Undo,
}

/// What a restore may do in a situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// Put back everything that is missing or wrong, log included.
    Everything,
    /// Put back data files only, and what the live log cannot be read without.
    DataOnly,
    /// Nothing until the owner has chosen.
    OwnerMustChoose,
}

/// Decides what is allowed.
pub fn permit(situation: &Situation, mode: Mode) -> Permission {
    match (situation, mode) {
        (Situation::EmptyTarget | Situation::NoLog | Situation::NothingAbove, _)
        | (Situation::NewerLive { .. }, Mode::Rewind)
        | (Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }, Mode::Replace) => {
            Permission::Everything
        }
        (Situation::NewerLive { .. }, Mode::Heal) => Permission::DataOnly,
        (
            Situation::NewerLive { .. }
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. },
            _,
        ) => Permission::OwnerMustChoose,
    }
}

/// How a file of the snapshot stands at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileState {
    /// It is there with the tag and size that were recorded.
    Right,
    /// It is there with the right size and another tag: its bytes must be read.
    Unsure,
    /// It is not there.
    Missing,
    /// It is not there, and the live log leads nowhere without it.
    Hole,
    /// It has other bytes.
    Wrong,
    /// It is a file of the log that has other bytes and cannot be read, or does not say what it did; the vault's can be.
    Broken,
}

/// Compares an entry with what the listing shows under its key.
pub fn compare(entry: &Entry, listed: Option<&Attributes>) -> FileState {
    match listed {
        None => FileState::Missing,
        Some(listed) if listed.size != entry.size => FileState::Wrong,
        Some(listed) if entry.etag.as_ref() == Some(&listed.etag) => FileState::Right,
        Some(_) => FileState::Unsure,
    }
}

/// One thing that a restore has to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreStep {
    /// When.
    pub turn: Turn,
    /// The file to put.
    pub entry: Entry,
    /// The tag of the wrong file that is there now: it is set aside first.
    pub replaces: Option<ETag>,
    /// Whether it is a data file that comes back below a newer live table, whose log may not name it: by its old time the
    /// next VACUUM would remove it.
    pub is_under: bool,
}

// What lies in packs comes as it lies there, so that neighbours can be read together.
impl Ord for RestoreStep {
    fn cmp(&self, other: &Self) -> Ordering {
        fn key(step: &RestoreStep) -> impl Ord + '_ {
            (step.turn, in_pack(&step.entry))
        }
        key(self)
            .cmp(&key(other))
            .then_with(|| log_order(&self.entry).cmp(&log_order(&other.entry)))
            .then_with(|| self.entry.file.cmp(&other.entry.file))
    }
}

/// Where a file lies in a pack; the files of the log have an order of their own.
fn in_pack(entry: &Entry) -> Option<(&ObjectKey, u64)> {
    match &entry.placement {
        Placement::Blob {
            offset: Some(offset),
            reference,
        } if !entry.kind.is_log() => Some((&reference.key, *offset)),
        Placement::Blob { .. }
        | Placement::Copy { .. }
        | Placement::Inline(_)
        | Placement::Absent {} => None,
    }
}

impl PartialOrd for RestoreStep {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What to do about one entry, given how it stands and what is permitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Leave it.
    Keep,
    /// Put it where nothing is.
    Put,
    /// Set aside what is there, then put it.
    Replace,
    /// Leave it, and say that it has other bytes: checkpoints and checksums are legitimately rewritten.
    Report,
}

/// Decides one entry; `state` must not be [`FileState::Unsure`] any more.
pub fn plan_entry(entry: &Entry, state: &FileState, permission: Permission) -> Action {
    // What nobody can read is put right under a newer live table, too: it needs its log as it was.
    let mends = matches!(state, FileState::Hole | FileState::Broken);
    let in_scope = match permission {
        Permission::Everything => true,
        Permission::DataOnly | Permission::OwnerMustChoose => mends || !entry.kind.is_log(),
    };
    if !in_scope || entry.placement == (Placement::Absent {}) {
        return Action::Keep;
    }
    match (state, entry.kind) {
        (FileState::Right | FileState::Unsure, _) => Action::Keep,
        (FileState::Missing | FileState::Hole, _) => Action::Put,
        (FileState::Broken, _) => Action::Replace,
        (FileState::Wrong, EntryKind::Data | EntryKind::DeletionVector | EntryKind::ChangeData) => {
            Action::Replace
        }
        (FileState::Wrong, _) => Action::Report,
    }
}

/// One version of a live table: what it did, and how large it left the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LiveVersion {
    /// The version.
    pub version: Version,
    /// When, by its commit.
    pub time: Option<Timestamp>,
    /// When its commit file was written, which is what readers go by without in-commit timestamps.
    #[serde(skip)]
    pub modified: Option<Timestamp>,
    /// The operation, by the name that people know it by.
    pub operation: Option<String>,
    /// The condition of the operation, as its writer spelled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub predicate: Option<String>,
    /// Who committed it.
    pub user: Option<String>,
    /// Rows added minus rows removed, when they are known.
    pub rows: Option<i64>,
    /// Rows removed, when they are known.
    pub rows_removed: Option<u64>,
    /// Rows of the table in this version, when they are known.
    pub rows_after: Option<u64>,
    /// Files added.
    pub files_added: u64,
    /// Files removed.
    pub files_removed: u64,
    /// Logical files of the table in this version, when they are known.
    pub files_after: Option<u64>,
    /// SHA-256 of its commit, where that was read.
    #[serde(skip)]
    pub commit: Option<Digest>,
}

impl LiveVersion {
    /// A version of which nothing has been read yet.
    pub fn unread(version: Version) -> Self {
        Self {
            version,
            time: None,
            modified: None,
            operation: None,
            predicate: None,
            user: None,
            rows: None,
            rows_removed: None,
            rows_after: None,
            files_added: 0,
            files_removed: 0,
            files_after: None,
            commit: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live(tip: Option<u64>, delta_id: Option<&str>, other: &[&str]) -> LiveLog {
        LiveLog {
            tip: tip.map(Version),
            delta_id: delta_id.map(str::to_owned),
            other_commits: other.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    #[test]
    fn the_first_row_that_fits_is_taken() {
        let v = Version(5);
        let newer = Situation::NewerLive { tip: Version(9) };
        let delta_id = "new".to_owned();
        let other = Situation::AnotherTable { delta_id };
        let files = vec!["3.json".to_owned()];
        let differ = Situation::CommitsDiffer { files };
        let cases = [
            (live(None, None, &[]), Situation::NoLog),
            (live(Some(5), None, &[]), Situation::NothingAbove),
            (live(Some(3), None, &[]), Situation::NothingAbove),
            (live(Some(9), None, &[]), newer),
            (live(Some(9), Some("new"), &["0.json"]), other),
            (live(Some(9), Some("id"), &["3.json"]), differ),
        ];
        for (live, expected) in cases {
            assert_eq!(judge(&live, "id", v), expected, "{live:?}");
        }
    }

    #[test]
    fn a_newer_live_table_needs_a_choice_and_heal_touches_data_only() {
        let newer = Situation::NewerLive { tip: Version(9) };
        assert_eq!(permit(&newer, Mode::InPlace), Permission::OwnerMustChoose);
        assert_eq!(permit(&newer, Mode::Heal), Permission::DataOnly);
        assert_eq!(
            permit(&Situation::NoLog, Mode::InPlace),
            Permission::Everything
        );
        let other = Situation::AnotherTable {
            delta_id: "x".into(),
        };
        assert_eq!(permit(&other, Mode::Heal), Permission::OwnerMustChoose);
    }
}
