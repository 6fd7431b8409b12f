//! Collects what nothing that is kept needs: by object version, in two runs, and only what both found useless.
//!
//! One reading of the vault serves both halves of a run ([`Pruner::survey`]): every ledger and every chain of events
//! whole, the manifest and pages of every snapshot that is kept, then one listing of the vault's objects, merged with
//! what is named. [`Pruner::execute`] deletes what is useless and stands in a plan as old as the grace period, and
//! writes down as a new plan what is useless and stands in none.
//!
//! **Why no snapshot ever misses an object.** Nothing is deleted by a survey that met anything it could not read or
//! follow: it is refused whole. Two things are only reported, because anyone who may write can make them and nobody can undo
//! them: an event that is out of sight or cannot be read keeps all snapshots of its own table and no others; and what a
//! distrusted record leads to is kept as far as it can be followed. What a survey read is never newer than what it
//! listed, and what is listed and named by nobody is looked at by age. That leaves the snapshot that is being taken just
//! now and will name an object which is useless until then. A lock that it puts on it just now is not enough: a server
//! may look at the locks of a whole batch first and delete then, as `MinIO` does. Time is what separates the two.
//!
//! - With locks, a run takes over only what is still locked for a day, and extends that at once: the store refuses to
//!   delete it until long after. What it references again from an older snapshot is locked that long as well, and still
//!   for an hour when it comes to extend and publish; else it begins again without. Or that snapshot is the newest of a
//!   table that is in use, which is kept here; to lose it, another one would have to be published, marked against and
//!   swept, grace period and all, while the run goes on. Even then the extension fails on what is gone, and it is copied
//!   again.
//! - Without locks, a run takes over only from a base that is promised for two more days, from a journal of up to 7 days,
//!   or an object of at most one day under the very name it wants. An object can be marked only when no kept snapshot
//!   names it and it is 10 days old, and be deleted only by a later run that reads the ledger again: a snapshot that took
//!   less than two days is published by then.
//! - A folder needs none of this: a prune holds its lock, and nothing else uses it.
//!
//! **Holds.** A hold may come while a survey is executed. So before the first batch of deletions, every half minute
//! from then on and after the last one, the events of every table that has a snapshot which is not kept are looked for
//! once more: when one came, nothing more is deleted. What was under way just then is the hold's to tell; see
//! [`hold`](super::hold).
//!
//! **Names.** In a bucket without object versions a deletion means whatever lies under the key when it is executed:
//! that may have been put there since the survey, after another prune or the first attempt of the very same call had
//! deleted what the survey saw. Nothing is marked or deleted there, unless nobody else uses the vault.
//!
//! **Repairs.** What a repair put stands in no manifest, and under the digest of something that does. An object under a
//! suffixed name that no snapshot names is kept as long as a kept snapshot needs such bytes, unless an earlier plan shows that a snapshot named it once. When an object that a kept snapshot
//! names is gone, whatever lies under its digest is kept, and nothing is deleted at all unless all of it is served so. To
//! find out the pages of the kept snapshots are read a second time, only when there are such objects.
//!
//! **Crashes.** Deleting is idempotent and goes from manifests down to files, so what is left of an expired snapshot
//! after a kill is collected by the next run from the same plan. A plan is one object, put whole; a run that died before
//! it put one leaves no trace. Records, events, plans, sets and `vault.json` are never deleted, nor is what is not a key
//! of the vault.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use jiff::SignedDuration;
use tokio::time::Instant;

use super::Vault;
use serde::Serialize;

use crate::error::Error;
use crate::format::{GarbageReason, LockMode, PlanRow, TableKey};
use crate::ids::{Id128, Timestamp};
use crate::plan::keep::Decision;
use crate::plan::pause::Uses;
use crate::plan::prune::YOUNG_WITHOUT_LOCKS;
use crate::sort::Sorted;
use crate::store::PruneStore;

mod doubtful;
mod facts;
mod gone;
mod survey;
mod sweep;
mod table_read;
mod unnamed;

pub(super) use table_read::decide;
pub use unnamed::Forget;

/// Collects in one vault.
#[derive(Debug, Clone)]
pub struct Pruner {
    /// The vault, for reading.
    pub vault: Vault,
    /// The vault, for deleting.
    pub store: Arc<dyn PruneStore>,
    /// Where temporary files go.
    pub temp: PathBuf,
    /// Which manifests that no record names need not be kept.
    pub forget: Forget,
}

/// How long what nothing needs stays.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How old an object has to be before it is marked, and a plan before it is executed.
    pub grace: SignedDuration,
    /// Whether no snapshot can be taken at the same time: a folder whose lock is held.
    pub is_alone: bool,
}

impl Patience {
    /// Whether what has no object version can be deleted without a doubt about which object that is.
    fn names_suffice(self, lock_mode: LockMode, keeps_versions: bool) -> bool {
        self.is_alone || keeps_versions || lock_mode != LockMode::None
    }

    fn min_age(self, lock_mode: LockMode) -> SignedDuration {
        match lock_mode {
            LockMode::None if !self.is_alone => self.grace.max(YOUNG_WITHOUT_LOCKS),
            LockMode::None | LockMode::Governance | LockMode::Compliance => self.grace,
        }
    }
}

/// What is kept of one table, and why.
#[derive(Debug, Clone)]
pub struct TableKept {
    /// The table.
    pub table: TableKey,
    /// Its name.
    pub name: String,
    /// About each of its snapshots, oldest first.
    pub decisions: Vec<Decision>,
    /// Whether all of them are kept, whatever was decided: an event may be out of sight.
    pub all_kept: bool,
}

/// Takes what is decided about tables, as it is decided.
pub type EachTable<'a> = dyn FnMut(TableKept) -> Result<(), Error> + Send + 'a;

/// Object versions, and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Amount {
    /// Object versions.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Amount {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

/// Amounts by reason.
pub type ByReason = BTreeMap<Why, Amount>;

/// Why nothing needs an object; as [`GarbageReason`], whichever the snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "&'static str")]
pub enum Why {
    /// Only snapshots that are not kept needed it.
    Expired,
    /// No snapshot names it.
    Orphan,
    /// A journal that is done with.
    Journal,
    /// Put on top of another version.
    Planted,
}

impl Why {
    /// The reason as people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired snapshot",
            Self::Orphan => "orphan of a run",
            Self::Journal => "journal",
            Self::Planted => "planted on top",
        }
    }
}

impl From<Why> for &'static str {
    fn from(why: Why) -> Self {
        why.as_str()
    }
}

impl From<&GarbageReason> for Why {
    fn from(garbage: &GarbageReason) -> Self {
        match garbage {
            GarbageReason::Expired(_) => Self::Expired,
            GarbageReason::Orphan => Self::Orphan,
            GarbageReason::Journal => Self::Journal,
            GarbageReason::Planted => Self::Planted,
        }
    }
}

/// What one reading of the vault came to.
#[derive(Debug)]
pub struct Survey {
    now: Timestamp,
    /// The instant at which `now` was read.
    begun: Instant,
    /// Tables with snapshots that are not kept, and the next free slot of their events.
    watched: Vec<(TableKey, u64)>,
    delete: survey::Rows,
    mark: survey::Rows,
    /// The plans that name what is to be deleted.
    ripe: Vec<Id128>,
    /// When the vault was used.
    pub uses: Uses,
    /// What it counted.
    pub sums: Sums,
}

/// What is to be done with an object version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Deleted.
    Delete,
    /// Written down in a plan.
    Mark,
}

impl Survey {
    /// Everything that executing it would do, deletions first.
    ///
    /// # Errors
    /// What the disk says.
    pub fn into_rows(
        self,
    ) -> Result<impl Iterator<Item = Result<(Action, PlanRow), Error>>, Error> {
        let of = |action, rows: Sorted<survey::Ranked>| {
            rows.map(move |ranked| Ok((action, ranked?.row)))
        };
        let delete = of(Action::Delete, self.delete.finish()?);
        let mark = of(Action::Mark, self.mark.finish()?);
        Ok(delete.chain(mark))
    }
}

/// What a survey counted.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sums {
    /// Tables.
    pub tables: u64,
    /// Snapshots that are kept.
    pub kept: u64,
    /// Snapshots that are not kept; their records stay.
    pub expired: u64,
    /// What is needed.
    pub needed: Amount,
    /// Journals of runs that may be gone on with.
    pub unfinished: Amount,
    /// What is of no use and too young to be marked.
    pub young: Amount,
    /// What is of no use and stays, because its name may be taken again.
    pub unversioned: Amount,
    /// What is marked now.
    pub mark: ByReason,
    /// What waits for its plan to be old enough.
    pub waits: ByReason,
    /// What waits for its lock to end.
    pub locked: ByReason,
    /// What is deleted now.
    pub delete: ByReason,
    /// What the owner should know, and what stops nothing.
    pub findings: Vec<String>,
    /// Objects that are not the vault's, or so many on one key that they were not looked at; they stay.
    pub foreign: Foreign,
}

/// Objects that nothing is decided about.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Foreign {
    /// How many.
    #[serde(flatten)]
    pub amount: Amount,
    /// The first of them.
    pub first: Vec<String>,
}

const FOREIGN_NAMED: usize = 10;

impl Foreign {
    fn add(&mut self, key: &str, bytes: u64) {
        self.amount.add(bytes);
        if self.first.len() < FOREIGN_NAMED && self.first.last().is_none_or(|last| last != key) {
            self.first.push(key.to_owned());
        }
    }
}

/// What a run did.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PruneDone {
    /// Deleted for good.
    pub deleted: ByReason,
    /// Still locked.
    pub locked: Amount,
    /// Under a legal hold.
    pub held: Amount,
    /// Refused for another reason.
    pub refused: Amount,
    /// What the store said of the first that was refused.
    pub refusal: Option<String>,
    /// What was written down for a later run.
    pub marked: ByReason,
    /// The plans that say so.
    pub plans: Vec<Id128>,
}
