//! Puts a table back from the vault: plans from one listing of the target, then executes the plan.
//!
//! Restore never makes it worse: every write into the target is conditional, a wrong file is set aside before it is
//! replaced, data goes before the log and the newest commit after all others. A restore that was killed is run again;
//! what is right by then is not copied again.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::TryStreamExt;

use self::held::HeldLog;
use self::mend::{LogAfter, Mended};
use super::Vault;
use super::ahead::Bounds;
use super::snapshot::Interrupt;
use crate::delta::segment::LogListing;
use crate::delta::{LogFile, LogFileKind};
use crate::error::Error;
use crate::format::{Entry, EntryKind, Manifest, Record};
use crate::ids::{ETag, Location, ObjectKey, SnapshotId, Timestamp, Version};
use crate::plan::restore::consent::Named;
use crate::plan::restore::order::LogOrder;
use crate::plan::restore::{
    Action, FileState, LiveLog, Mode, Permission, RestoreStep, Situation, Sound, compare, judge,
    permit, plan_entry,
};
use crate::progress::{Phase, PlannedWork, Progress};
use crate::reader::{self, Lake, Trouble, Verdict};
use crate::sort::Sorter;
use crate::source::{LOG_PREFIX, Source};
use crate::spool::Scratch;
use crate::store::{Attributes, ReadStore, RestoreStore, StoreError};

pub use self::claim::AtWork;

mod aside;
mod check;
mod claim;
mod consent;
mod content;
mod copy;
mod data;
mod execute;
mod fit;
mod fork;
mod held;
mod lacking;
mod live;
mod lost;
mod measure;
mod mend;
mod older;
mod streams;
mod under;

pub use check::{Checked, Difference, Expected, Several};
pub use copy::CopyPlace;
pub use live::LiveTable;
pub use mend::{Aside, LeftOut, WhyLeftOut, WrittenWithout};
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
    /// Whether files that the log names outside the table's folder may be put back at their places.
    pub outside: bool,
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
    pub named: Named,
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
        about: Trouble,
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
    /// Who is told.
    pub progress: Arc<dyn Progress>,
    /// Ends what is being carried out: it lets go of its claim, then fails with [`Error::Interrupted`].
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
    /// Where no log stood that leads to a version, what stood under its names.
    log_before: Option<HashSet<ObjectKey>>,
    /// What stands at the target.
    pub situation: Situation,
    /// What a place for a full copy holds; `None` in place.
    pub copy_place: Option<CopyPlace>,
    /// What may be done about it.
    pub permission: Permission,
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
    pub sound: Option<Sound>,
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
    /// What is there once it was carried out.
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
        self.steps.is_empty() && self.asides.is_empty()
    }
}

/// A restore that is done.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RestoreDone {
    /// Files put.
    pub files_written: u64,
    /// Their bytes.
    pub bytes_written: u64,
    /// Files that were right already.
    pub files_kept: u64,
    /// Files among those put that the vault had lost where the snapshot points, and that were found elsewhere.
    pub files_rescued: u64,
    /// Files that nobody has any more.
    pub lost: Vec<Location>,
    /// A hint that was not put, because the checkpoint that it may name is lost.
    pub useless: Vec<Location>,
}

impl Restorer {
    /// Looks at the target and plans; writes nothing.
    ///
    /// # Errors
    /// A target that is not empty (with [`Mode::To`]), a path that would leave it, damage in the vault.
    pub async fn plan(&self, request: &RestoreRequest) -> Result<RestorePlan, Error> {
        self.progress.phase(&request.record.table.name, Phase::Plan);
        let manifest = self.vault.manifest(&request.record).await?;
        let log = self.list_log().await?;
        let mut held = self.survey_log(request, &manifest, &log).await?;
        let claims = self.claims().await?;
        self.tell_odd_claims(request, &claims);
        let copy_place = match request.mode {
            Mode::To => Some(self.copy_place(request, &claims, &log, &held).await?),
            Mode::InPlace | Mode::Heal => None,
        };
        let situation = match copy_place {
            Some(_) => Situation::EmptyTarget,
            None => self.situation(request, &manifest, &log, &held).await?,
        };
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let begins_log = matches!(situation, Situation::EmptyTarget | Situation::NoLog);
        let mut plan = RestorePlan {
            log_before: begins_log.then(|| log.keys().cloned().collect()),
            permission: permit(&situation, request.mode),
            situation,
            copy_place,
            missing: PlannedWork::default(),
            wrong: PlannedWork::default(),
            not_put: NotPut::default(),
            absolute: None,
            useless: PlannedWork::default(),
            serves_live: false,
            new_times: 0,
            kept: PlannedWork::default(),
            left: Vec::new(),
            outside_missing: Vec::new(),
            sound: None,
            live: LiveTable::default(),
            broken: Vec::new(),
            written_without: Vec::new(),
            asides: Vec::new(),
            left_out: Vec::new(),
            kept_unreadable: Vec::new(),
            reading: None,
            expected: Expected::default(),
            vanishing: 0,
            at_work: Self::at_work(request, &claims),
            order: LogOrder::Ascending,
            steps: Sorter::new(scratch.path())?,
            scratch,
        };
        let another = matches!(
            plan.situation,
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }
        );
        if another {
            plan.absolute = self.first_absolute(&manifest).await?;
            return Ok(plan);
        }
        let mended = self
            .mend(request, &manifest, &log, &mut held, &mut plan)
            .await?;
        plan.expected = Expected {
            log: plan.permission == Permission::Everything,
            live: None,
            except: mended.skip.clone(),
        };
        let now = LogListing::new(log.values().cloned());
        plan.order = LogOrder::new(&now, &mended.after.listing(), live_tip(&log));
        self.plan_log(request, &manifest, &log, &held, &mended, &mut plan)
            .await?;
        let lacking = self.plan_data(request, &manifest, &mut plan).await?;
        let is_whole = plan.is_empty() && plan.left.is_empty();
        if copy_place == Some(CopyPlace::Filled) && !is_whole {
            return Err(self.not_empty());
        }
        if let Situation::NewerLive { tip } = plan.situation {
            let mut uses = Sorter::new(plan.scratch.path())?;
            let wanted = (!lacking.is_empty()).then_some(&mut uses);
            plan.live = self
                .look_above(request.version, tip, &mended.after, wanted)
                .await?;
            self.plan_under(request, tip, lacking, uses, &mut plan)
                .await?;
        }
        if plan.situation == Situation::NothingAbove {
            let listing = mended.after.listing();
            let own = listing.commit(request.version);
            let empty = own.filter(|file| file.size == 0);
            plan.live.empty = empty.and_then(|file| file.version).into_iter().collect();
            self.set_unlike_aside(request, &held, &mended.after, &mut plan)
                .await?;
            self.look_for_health(request, &log, &held, &mut plan)
                .await?;
        }
        self.read_live(request, &mended.after, &mut plan).await?;
        let out = plan.asides.iter().map(|aside| aside.key.clone());
        plan.expected.except.extend(out);
        Ok(plan)
    }

    async fn list_log(&self) -> Result<HashMap<ObjectKey, Attributes>, Error> {
        let listed = self.target.list(LOG_PREFIX, None);
        Ok(listed
            .map_ok(|file| (file.key.clone(), file))
            .try_collect()
            .await?)
    }

    /// Finds out what stands at the target.
    async fn situation(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        log: &HashMap<ObjectKey, Attributes>,
        held: &HeldLog,
    ) -> Result<Situation, Error> {
        let tip = live_tip(log);
        let mut live = LiveLog {
            tip,
            delta_id: None,
            other_commits: held.other_commits.clone(),
        };
        if let Some(tip) = tip
            && live.other_commits.is_empty()
        {
            live.other_commits = self.forked(request, manifest, log, held, tip).await?;
        }
        if tip.is_some() && (held.right_commits == 0 || !live.other_commits.is_empty()) {
            let files = log.values().cloned().filter_map(LogFile::parse);
            live.delta_id = self.live_delta_id(&files.collect::<Vec<_>>()).await?;
        }
        Ok(judge(
            &live,
            &request.record.table.delta_id,
            request.version,
        ))
    }

    /// Lets the independent reader open a live table that lacks nothing, before anybody calls it healthy. Where it does
    /// not, our own replay of every way through the log finds out why, and checkpoints that nobody can read are set aside.
    async fn read_live(
        &self,
        request: &RestoreRequest,
        after: &LogAfter,
        plan: &mut RestorePlan,
    ) -> Result<(), Error> {
        let tip = match plan.situation {
            Situation::NothingAbove if plan.is_empty() => request.version,
            Situation::NewerLive { tip } if plan.broken.is_empty() => tip,
            Situation::EmptyTarget
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. }
            | Situation::NoLog
            | Situation::NothingAbove
            | Situation::NewerLive { .. } => return Ok(()),
        };
        let lake = Lake::Store(Arc::<dyn RestoreStore>::clone(&self.target));
        let about = request.record.totals.live_files;
        plan.reading = Some(match reader::judge(&lake, tip, about).await {
            Verdict::Opens { .. } => match after.listing().candidates(tip).map(drop) {
                Ok(()) => match self.lacks_unheld(request, after, tip).await? {
                    None => Reading::Opens,
                    Some(fault) => Reading::Refuses {
                        reason: fault.clone(),
                        about: Trouble::Log,
                        replay: Some(fault),
                    },
                },
                // It opens logs without their beginning.
                Err(error) => Reading::Refuses {
                    reason: error.to_string(),
                    about: Trouble::Log,
                    replay: Some(error.to_string()),
                },
            },
            Verdict::Refuses { reason, about } => {
                let replay = self.set_unreadable_aside(tip, after, plan).await?;
                Reading::Refuses {
                    reason,
                    about,
                    replay,
                }
            }
        });
        Ok(())
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

    async fn plan_log(
        &self,
        request: &RestoreRequest,
        manifest: &Manifest,
        log: &HashMap<ObjectKey, Attributes>,
        held: &HeldLog,
        mended: &Mended,
        plan: &mut RestorePlan,
    ) -> Result<(), Error> {
        let mut entries = self.log_entries(request, manifest);
        while let Some(entry) = entries.try_next().await? {
            let Location::Inside(key) = &entry.file else {
                continue;
            };
            if mended.skip.contains(key) {
                continue;
            }
            let etag = log.get(key).map(|file| file.etag.clone());
            let state = held.states.get(key).unwrap_or(&FileState::Missing).clone();
            self.add_step(request, plan, entry, &state, etag)?;
        }
        Ok(())
    }

    fn add_step(
        &self,
        request: &RestoreRequest,
        plan: &mut RestorePlan,
        entry: Entry,
        state: &FileState,
        etag: Option<ETag>,
    ) -> Result<(), Error> {
        let leaves = match &entry.file {
            Location::Inside(key) => key.has_odd_segment(),
            Location::Outside(_) => request.mode == Mode::To,
        };
        if leaves {
            return Err(Error::PathLeavesTarget {
                file: entry.file.to_string(),
                target: self.target.uri().to_owned(),
            });
        }
        if entry.absolute && request.mode == Mode::To {
            return Err(Error::AbsoluteIntoOwnRoot {
                file: entry.file.to_string(),
                table: request.record.table.uri.clone(),
            });
        }
        let outside = matches!(entry.file, Location::Outside(_));
        let action = plan_entry(&entry, state, plan.permission);
        let work = match action {
            Action::Keep => &mut plan.kept,
            Action::Put => &mut plan.missing,
            Action::Replace => &mut plan.wrong,
            Action::Report => {
                plan.left.push(entry.file.to_string());
                return Ok(());
            }
        };
        work.files += 1;
        work.bytes += entry.size;
        if action == Action::Keep {
            return Ok(());
        }
        if action == Action::Put {
            self.refuse_unless_it_fits(&entry)?;
        }
        let keeps_time = self.target.keeps_times() && entry.last_modified.is_some();
        if entry.kind == EntryKind::Commit && !keeps_time {
            plan.new_times += 1;
        }
        if outside && !request.outside {
            plan.outside_missing.push(entry.file.to_string());
            return Ok(());
        }
        let replaces = match action {
            Action::Replace => etag,
            Action::Keep | Action::Put | Action::Report => None,
        };
        plan.steps.push(RestoreStep {
            turn: plan.order.turn(&entry),
            entry,
            replaces,
        })?;
        Ok(())
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
    match file.kind {
        LogFileKind::Commit
        | LogFileKind::ClassicCheckpoint
        | LogFileKind::CheckpointPart { .. }
        | LogFileKind::UuidCheckpoint(_) => true,
        LogFileKind::Compaction { .. }
        | LogFileKind::Checksum
        | LogFileKind::LastCheckpoint
        | LogFileKind::Sidecar
        | LogFileKind::Staged
        | LogFileKind::Hidden
        | LogFileKind::Other => false,
    }
}
