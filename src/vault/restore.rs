//! Puts a table back from the vault: plans from one listing of the target, then executes the plan.
//!
//! Restore never makes it worse: every write into the target is conditional, a wrong file is set aside before it is
//! replaced, data goes before the log and the newest commit after all others. A restore that was killed is run again;
//! what is right by then is not copied again.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::TryStreamExt;

use super::Vault;
use super::ahead::Bounds;
use super::snapshot::Interrupt;
use crate::delta::{LogFile, LogFileKind};
use crate::error::Error;
use crate::format::{Entry, Record};
use crate::ids::{ETag, Location, ObjectKey, SnapshotId, Timestamp, Version};
use crate::plan::restore::consent::ChosenBy;
use crate::plan::restore::order::LogOrder;
use crate::plan::restore::{FileState, Healthy, Mode, Permission, RestoreStep, Situation, compare};
use crate::progress::{PlannedWork, Progress};
use crate::reader::RefusalCause;
use crate::sort::Sorter;
use crate::source::outside::Outside;
use crate::source::{LOG_PREFIX, Source};
use crate::spool::Scratch;
use crate::store::{Attributes, ReadStore, RestoreStore, StoreError};

pub use self::claim::AtWork;

mod aside;
mod check;
mod claim;
mod commit;
mod consent;
mod content;
mod copy;
mod data;
mod deeds;
mod execute;
mod fit;
mod fork;
mod held;
mod judge;
mod lacking;
mod live;
mod lost;
mod measure;
mod mend;
mod older;
mod planning;
mod rewind;
mod streams;
mod turned_back;
mod under;

pub use check::{Checked, Counted, Difference, Expected};
pub use commit::Committed;
pub use copy::CopyPlace;
pub use deeds::Deeds;
pub use live::LiveTable;
pub use mend::{Aside, LeftOut, WhyLeftOut, WrittenWithout};
pub use rewind::{Intent, QUIET, Safety, TurnBack, TurnedBackDone};
pub use under::NotPut;

/// Where a restore keeps its claim and what it set aside; Delta ignores names that begin with an underscore.
pub const OWN_PREFIX: &str = "_deltavault/";

/// Files put at a time: hundreds of small ones, few large ones.
const FILES_IN_FLIGHT: Bounds = Bounds {
    count: 256,
    bytes: 64 * 1024 * 1024,
};

/// Files compared at a time. Each may take 8 MiB of memory.
const FILES_COMPARED: usize = 16;

/// Opens the store that holds a file outside the table's root, for putting it back there.
pub type OpenOutsideForRestore =
    Arc<dyn Fn(&str) -> Result<(Arc<dyn RestoreStore>, ObjectKey), StoreError> + Send + Sync>;

/// What to put back, and how.
#[derive(Debug, Clone)]
pub struct RestoreRequest {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its record.
    pub record: Arc<Record>,
    /// The version to put back: the snapshot's own, or an older one that it is whole at.
    pub version: Version,
    /// Where to, and how far to go.
    pub mode: Mode,
    /// Where files that the log names outside the table's folder may be put back.
    pub outside: Outside,
    /// Which of the snapshot's checkpoints belong into the log.
    pub log: LogWanted,
    /// Whether files that the vault has lost are left out, instead of stopping the restore before the log.
    pub accept_damaged: bool,
    /// The time of the run.
    pub now: Timestamp,
    /// Who restores.
    pub by: String,
    /// Whether to take the table over from another restore that is at work.
    pub take_over: bool,
    /// Who chose the snapshot.
    pub named: ChosenBy,
}

/// Which of a snapshot's checkpoints are put back into the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogWanted {
    /// All that can be read; what cannot is left out where the rest suffices.
    #[default]
    Readable,
    /// All, as they were.
    AsItWas,
    /// All but those of a version: readers then take the other ways.
    Without(Version),
}

/// What the independent reader makes of a live table that lacks nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// It opens it.
    Opens,
    /// It does not.
    Refuses {
        /// Its reason.
        reason: String,
        /// What the reason is about.
        about: RefusalCause,
        /// What our own replay of every way through the log says; `None` when all can be read and agree.
        replay: Option<String>,
    },
}

impl Reading {
    /// Whether nobody can read the table: no way through its log does without what is wrong.
    pub fn has_no_way(&self) -> bool {
        match self {
            Self::Opens => false,
            Self::Refuses { replay, .. } => replay.is_some(),
        }
    }
}

/// Everything a restore works with.
pub struct Restorer {
    /// The vault.
    pub vault: Vault,
    /// The place to put the table.
    pub target: Arc<dyn RestoreStore>,
    /// The place where the table was, for object versions that it still has; `None` where it is out of reach.
    pub origin: Option<Arc<dyn ReadStore>>,
    /// Opens what lies outside of it.
    pub outside: OpenOutsideForRestore,
    /// Where temporary files go.
    pub temp: PathBuf,
    /// Takes the progress of the run.
    pub progress: Arc<dyn Progress>,
    /// Ends a restore that is running: it lets go of its claim, then fails with [`Error::Interrupted`].
    pub interrupt: Interrupt,
}

impl std::fmt::Debug for Restorer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Restorer")
            .field("target", &self.target.uri())
            .finish_non_exhaustive()
    }
}

/// What a restore found and would do.
#[derive(Debug)]
pub struct RestorePlan {
    /// How the snapshot is not what its record says, where that was accepted.
    pub not_whole: Option<String>,
    /// Where no log stood that leads to a version, what stood under its names.
    log_before: Option<HashSet<ObjectKey>>,
    /// What stands at the target.
    pub situation: Situation,
    /// What a place for a full copy holds; `None` in place.
    pub copy_place: Option<CopyPlace>,
    /// What may be done about it.
    pub permission: Permission,
    /// Files that are removed from the live log, in this order.
    removals: Vec<Attributes>,
    /// Where a live log goes on to a newer version: what makes it a version as it was listed.
    goes_on_from: Option<HashSet<(ObjectKey, ETag)>>,
    /// Files to put where nothing is.
    pub missing: PlannedWork,
    /// Wrong files to set aside and replace.
    pub wrong: PlannedWork,
    /// Files that are missing or wrong and must stay so under the newer live table.
    pub not_put: NotPut,
    /// The first file of V that its log names by an absolute path below the table: a copy elsewhere would read the
    /// original's.
    pub absolute: Option<String>,
    /// Files of a version that the live log leads to no more and that the newest version does not need: they are not put.
    pub useless: PlannedWork,
    /// Whether files are put for the newest live version's sake alone: the log leads to V no more.
    pub serves_live: bool,
    /// How many of both are commits whose file times will be new.
    pub new_times: u64,
    /// Files of the snapshot that are right as they are.
    pub kept: PlannedWork,
    /// Log files with other bytes that are left as they are, first ones named.
    pub left: Vec<String>,
    /// Files that the log names outside the table's folder and that are not there.
    pub outside_missing: Vec<String>,
    /// Whether a live table that does not go beyond V is whole without what is put.
    pub sound: Option<Healthy>,
    /// What was found of a newer live table; empty in every other situation.
    pub live: LiveTable,
    /// What is wrong with log files that are put right: replaced, put back, or set aside.
    pub broken: Vec<String>,
    /// Empty commits that stay so: with their bytes, the table may have rows that nobody put there.
    pub written_without: Vec<WrittenWithout>,
    /// Files that are taken out of the log, in this order, after everything else.
    pub asides: Vec<Aside>,
    /// Checkpoints of the snapshot that are not put back.
    pub left_out: Vec<LeftOut>,
    /// Checkpoints that cannot be read and are put back as they were: nothing stands in for them.
    pub kept_unreadable: Vec<Version>,
    /// What the independent reader makes of the live table, where it was asked.
    pub reading: Option<Reading>,
    /// What is there once the plan was executed.
    pub expected: Expected,
    /// Objects that vanished at the target while it was watched.
    pub vanishing: u64,
    /// Another restore that is at work there, or one that was killed a moment ago.
    pub at_work: Option<AtWork>,
    order: LogOrder,
    steps: Sorter<RestoreStep>,
    // Holds what the steps were sorted in.
    scratch: Scratch,
}

impl RestorePlan {
    /// Whether there is nothing to put back.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty() && self.asides.is_empty() && self.removals.is_empty()
    }

    /// How many files are removed from the live log. Then only [`Restorer::turn_back`] may execute the plan.
    pub fn removed(&self) -> usize {
        self.removals.len()
    }
}

/// A restore that is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreDone {
    /// Files put.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Those that the store copied by itself.
    pub bytes_by_store: u64,
    /// Files that were right already.
    pub files_kept: u64,
    /// Files among those put that the vault had lost where the snapshot points, and that were found elsewhere.
    pub files_rescued: u64,
    /// Files that nobody has any more.
    pub lost: Vec<Location>,
    /// A hint that was not put, because the checkpoint that it may name is lost.
    pub useless: Vec<Location>,
    /// How the snapshot is not what its record says.
    pub not_whole: Option<String>,
}

impl Restorer {
    async fn list_log(&self) -> Result<HashMap<ObjectKey, Attributes>, Error> {
        let listed = self.target.list(LOG_PREFIX, None);
        Ok(listed
            .map_ok(|file| (file.key.clone(), file))
            .try_collect()
            .await?)
    }

    /// Compares an entry with the listing; where only its tag differs, the bytes decide.
    async fn settle(&self, entry: &Entry, listed: Option<&Attributes>) -> Result<FileState, Error> {
        match (compare(entry, listed), listed) {
            (FileState::Unsure, Some(listed)) => {
                let source = self.as_source();
                let location = Location::Inside(listed.key.clone());
                let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
                match source.fetch(&location, scratch.path()).await {
                    Ok(found) if Some(found.payload.sha256) == entry.sha256 => Ok(FileState::Right),
                    Ok(_) => Ok(FileState::Wrong),
                    Err(error) if error.is_not_found() => Ok(FileState::Missing),
                    Err(error) => Err(error.into()),
                }
            }
            (state, _) => Ok(state),
        }
    }

    fn as_source(&self) -> Source {
        let outside = Arc::clone(&self.outside);
        let root: Arc<dyn ReadStore> = self.target.clone();
        Source::new(
            root,
            Arc::new(move |uri| {
                let (store, key) = outside(uri)?;
                let store: Arc<dyn ReadStore> = store;
                Ok((store, key))
            }),
        )
    }
}

/// The newest version that a commit or a checkpoint of a log names.
fn live_tip(log: &HashMap<ObjectKey, Attributes>) -> Option<Version> {
    let files = log.values().cloned().filter_map(LogFile::parse);
    let made = files.filter(makes_a_version);
    made.filter_map(|file| file.version).max()
}

/// Whether a version exists by this file: readers take a commit or a checkpoint for one.
fn makes_a_version(file: &LogFile) -> bool {
    matches!(
        file.kind,
        LogFileKind::Commit
            | LogFileKind::ClassicCheckpoint
            | LogFileKind::CheckpointPart { .. }
            | LogFileKind::UuidCheckpoint(_)
    )
}
