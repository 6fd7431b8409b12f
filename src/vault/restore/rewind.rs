//! Turns a live table back: a rewind, a replacement, or the undo of one.
//!
//! **Order.** Claim; safety snapshot of the live table; event that it has begun; data and the log up to V put back; the log
//! listed again, and a stop where it has a commit that the safety snapshot does not hold; what stands for anything above V
//! removed, newest first; `_last_checkpoint` put back; after a quiet time a second look; our own check and the independent
//! reader's; event that it is done. A replacement takes the log down before the first file of the wanted log is put.
//!
//! **Safe to repeat.** A run that was killed at any of these is run again: its event is open, and names the safety snapshot,
//! so that none is taken of what was left half-way. Where somebody has committed since, the next run begins again, with a
//! safety snapshot of what is there then.
//!
//! **What is lost.** Nothing: a file is removed only while it is what was listed, and only if the vault holds its bytes; any
//! other is set aside beside the table.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;

use super::claim::OwnClaim;
use super::{
    Aside, Checked, RestoreDone, RestorePlan, RestoreRequest, Restorer, live_tip, makes_a_version,
};
use crate::delta::segment::LogListing;
use crate::delta::{LogFile, LogFileKind};
use crate::error::{Error, RestoreError};
use crate::format::event::{DeedAction, TurnedBack};
use crate::format::ledger::Bodies;
use crate::format::{Entry, EventAction, Placement, Record, TableKey};
use crate::ids::{ETag, Location, ObjectKey, SnapshotId, Timestamp, Version};
use crate::plan::choose::History;
use crate::plan::restore::deed::{Deed, DeedKind};
use crate::plan::restore::order::Turn;
use crate::plan::restore::removal::{is_hint, removals};
use crate::plan::restore::{FileState, Mode, Situation};
use crate::progress::Phase;
use crate::source::{LOG_PREFIX, Source};
use crate::store::{Attributes, NoteStore, StoreError, StoreErrorKind};
use crate::vault::events::Actor;
use crate::vault::snapshot::{SnapshotRequest, Snapshotter};

/// How long a writer may take to commit on top of the version that it had read: the log is looked at again after this.
pub const QUIET: Duration = Duration::from_secs(5);

/// What turning a live table back needs beyond a restore.
pub struct TurnBack {
    /// What is done.
    pub intent: Intent,
    /// Where events are put, with the restorer's keys.
    pub notes: Arc<dyn NoteStore>,
    /// Who does it.
    pub actor: Actor,
    /// How long to wait for the second look.
    pub quiet: Duration,
}

/// What is done to a live table.
#[derive(Debug)]
pub enum Intent {
    /// It is rewound or replaced, after a safety snapshot.
    Begin(Box<Safety>),
    /// A rewind or a replacement is taken back.
    Undo(Deed),
}

/// Takes the safety snapshot, with the snapshotter's keys.
#[derive(Debug)]
pub struct Safety {
    /// Takes it.
    pub snapshotter: Snapshotter,
    /// The live table.
    pub source: Source,
    /// What to hold of it.
    pub request: SnapshotRequest,
}

impl std::fmt::Debug for TurnBack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TurnBack")
            .field("quiet", &self.quiet)
            .finish_non_exhaustive()
    }
}

/// A live table that was turned back.
#[derive(Debug, Clone)]
pub struct TurnedBackDone {
    /// What was put.
    pub done: RestoreDone,
    /// What the table is found to be.
    pub checked: Checked,
    /// The snapshot of what was there before, and until when it is kept; `None` where none could be taken, and of an undo.
    pub safety: Option<(SnapshotId, Timestamp)>,
    /// Files removed from the log.
    pub removed: u64,
    /// How many of them are kept beside the table, since the vault does not hold them.
    pub set_aside: u64,
    /// The newest version, where somebody has committed on top of V by now.
    pub on_top: Option<Version>,
}

/// What may be removed, and when.
#[derive(Debug)]
pub(super) struct Removing {
    /// V; what is above it goes. `None` for the whole log.
    keep: Option<Version>,
    /// Whether the hint goes, too.
    hint: bool,
    /// The entries of the snapshot that holds the live log.
    held: HashMap<ObjectKey, Entry>,
    /// Where no snapshot could be taken: what the owner has seen, and accepted to be set aside.
    accepted: HashSet<(ObjectKey, ETag)>,
    /// The turn before whose files it is removed.
    before: Turn,
}

/// What was removed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Removed {
    files: u64,
    set_aside: u64,
}

/// A deed that is under way.
struct UnderWay {
    /// The slot of its event.
    seq: u64,
    /// What the snapshot that holds the live log has of the files to be removed; `None` where none could be taken.
    held: Option<HashMap<ObjectKey, Entry>>,
    safety: Option<(SnapshotId, Timestamp)>,
}

impl Restorer {
    /// Does what the plan says, a rewind or a replacement, and checks what is there then.
    ///
    /// # Errors
    /// As [`Restorer::execute`]; a safety snapshot that cannot be taken; a commit that came meanwhile. Run it again.
    pub async fn turn_back(
        &self,
        request: &RestoreRequest,
        plan: RestorePlan,
        turn: &TurnBack,
    ) -> Result<TurnedBackDone, Error> {
        self.refuse_undecided(request, &plan)?;
        self.claimed(request, async |claim| {
            self.turn_back_claimed(request, plan, turn, claim).await
        })
        .await
    }

    async fn turn_back_claimed(
        &self,
        request: &RestoreRequest,
        plan: RestorePlan,
        turn: &TurnBack,
        claim: &OwnClaim,
    ) -> Result<TurnedBackDone, Error> {
        let table = table_key(&request.record)?;
        let history = self.vault.history(&table, Bodies::default()).await?;
        let under_way = match &turn.intent {
            Intent::Begin(safety) => self.begin(&history, request, &plan, turn, safety).await?,
            Intent::Undo(deed) => Some(self.begin_undo(&history, &plan, turn, deed).await?),
        };
        let removing = under_way
            .as_ref()
            .map(|under_way| Removing::of(request, &plan, under_way.held.clone()));
        let expected = plan.expected.clone();
        let put = self.put_all(request, plan, claim, removing.as_ref());
        let (done, removed) = put.await?;
        tokio::time::sleep(turn.quiet).await;
        let on_top = self.look_again(request.version).await?;
        let checked = self.check(request, &expected.after(&done)).await?;
        if let Some(UnderWay { seq: of, .. }) = under_way {
            let end = match &turn.intent {
                Intent::Undo(_) => DeedAction::Undone { of },
                Intent::Begin(_) if request.mode == Mode::Replace => DeedAction::Replaced { of },
                Intent::Begin(_) => DeedAction::Rewound { of },
            };
            self.note(&table, turn, end).await?;
        }
        Ok(TurnedBackDone {
            done,
            checked,
            safety: under_way.and_then(|it| it.safety),
            removed: removed.files,
            set_aside: removed.set_aside,
            on_top,
        })
    }

    async fn note(
        &self,
        table: &TableKey,
        turn: &TurnBack,
        action: DeedAction,
    ) -> Result<u64, Error> {
        let action = EventAction::Deed(action);
        let notes = turn.notes.as_ref();
        let event = self.vault.append_event(notes, table, action, &turn.actor);
        Ok(event.await?.seq)
    }

    /// Takes up what was begun, or takes a safety snapshot and begins; `None` where there is nothing to turn back.
    async fn begin(
        &self,
        history: &History,
        request: &RestoreRequest,
        plan: &RestorePlan,
        turn: &TurnBack,
        safety: &Safety,
    ) -> Result<Option<UnderWay>, Error> {
        if let Some(deed) = self.vault.deeds(history).await?.last
            && is_begun(&deed, request)
            && let Some(under_way) = self.taken_up(history, &deed, plan).await?
        {
            return Ok(Some(under_way));
        }
        if plan.removals.is_empty() {
            return Ok(None);
        }
        let live = plan.newest_commit();
        let taken = safety
            .snapshotter
            .take(&safety.source, &safety.request)
            .await;
        let taken = match taken {
            Ok(taken) if live.is_some_and(|live| live != taken.record.version) => {
                let version = taken.record.version;
                return Err(self.outrun(format!("the table is at version {version} now")));
            }
            Ok(taken) => Some(taken),
            Err(error) if request.accept_damaged && is_about_the_table(&error) => None,
            Err(Error::AnotherWriterWon { .. }) => {
                let what = "another snapshot of it was published at the same time";
                return Err(self.outrun(what.to_owned()));
            }
            Err(error) if is_about_the_table(&error) => {
                return Err(RestoreError::NoSafetySnapshot {
                    uri: self.target.uri().to_owned(),
                    source: Box::new(error),
                }
                .into());
            }
            Err(error) => return Err(error),
        };
        self.progress
            .phase(&request.record.table.name, Phase::PutBack);
        let turned = TurnedBack {
            from: live,
            safety: taken.as_ref().map(|taken| taken.id),
            snapshot: request.id,
            version: request.version,
        };
        let action = if request.mode == Mode::Replace {
            DeedAction::Replace(turned)
        } else {
            DeedAction::Rewind(turned)
        };
        let seq = self.note(&history.table, turn, action).await?;
        let held = match &taken {
            Some(taken) => Some(self.held_entries(&taken.record, &plan.removals).await?),
            None => None,
        };
        Ok(Some(UnderWay {
            seq,
            held,
            safety: taken.map(|it| (it.id, it.record.promise)),
        }))
    }

    /// What was begun and not finished, where the live log has nothing that its safety snapshot does not hold.
    async fn taken_up(
        &self,
        history: &History,
        deed: &Deed,
        plan: &RestorePlan,
    ) -> Result<Option<UnderWay>, Error> {
        let Some(id) = deed.turned.safety else {
            return Ok(None);
        };
        let holder = record_of(history, id)?;
        let held = self.held_entries(&holder, &plan.removals).await?;
        if !self.unheld(&held, &plan.removals).await?.is_empty() {
            return Ok(None);
        }
        Ok(Some(UnderWay {
            seq: deed.seq,
            held: Some(held),
            safety: Some((id, holder.promise)),
        }))
    }

    async fn begin_undo(
        &self,
        history: &History,
        plan: &RestorePlan,
        turn: &TurnBack,
        deed: &Deed,
    ) -> Result<UnderWay, Error> {
        let last = self.vault.deeds(history).await?.last;
        let seq = match (last, deed.kind) {
            (Some(last), _) if last.seq != deed.seq => {
                return Err(self.outrun(format!("{} has {} it", last.by, last.kind.as_str())));
            }
            (_, DeedKind::Undo { .. }) => deed.seq,
            (_, DeedKind::Rewind | DeedKind::Replace) => {
                let undo = DeedAction::Undo { of: deed.seq };
                self.note(&history.table, turn, undo).await?
            }
        };
        let holder = record_of(history, deed.turned.snapshot)?;
        Ok(UnderWay {
            seq,
            held: Some(self.held_entries(&holder, &plan.removals).await?),
            safety: None,
        })
    }

    /// The error for what somebody has done to the live table since it was looked at.
    pub(super) fn outrun(&self, what: String) -> Error {
        let uri = self.target.uri().to_owned();
        RestoreError::CommittedMeanwhile { uri, what }.into()
    }

    /// The commits among the files that a plan removes which a snapshot does not hold.
    ///
    /// # Errors
    /// Damage in the vault, and what the stores say.
    pub async fn not_held(
        &self,
        holder: &Record,
        plan: &RestorePlan,
    ) -> Result<Vec<ObjectKey>, Error> {
        let held = self.held_entries(holder, &plan.removals).await?;
        let unheld = self.unheld(&held, &plan.removals).await?;
        Ok(unheld.into_iter().map(|file| file.key).collect())
    }

    /// The commits among some files that are not held.
    pub(super) async fn unheld(
        &self,
        held: &HashMap<ObjectKey, Entry>,
        files: &[Attributes],
    ) -> Result<Vec<Attributes>, Error> {
        let mut unheld = Vec::new();
        for file in files {
            if is_commit(file) && !self.is_held(held, file).await? {
                unheld.push(file.clone());
            }
        }
        Ok(unheld)
    }

    /// What a snapshot says of some log files; without their bytes.
    pub(super) async fn held_entries(
        &self,
        holder: &Record,
        files: &[Attributes],
    ) -> Result<HashMap<ObjectKey, Entry>, Error> {
        let wanted: HashSet<&ObjectKey> = files.iter().map(|file| &file.key).collect();
        let mut held = HashMap::new();
        if wanted.is_empty() {
            return Ok(held);
        }
        let manifest = self.vault.manifest(holder).await?;
        let mut entries = self.vault.entries(&manifest.log_pages);
        while let Some(entry) = entries.try_next().await? {
            if let Location::Inside(key) = &entry.file
                && wanted.contains(key)
                && entry.placement != (Placement::Absent {})
            {
                let placement = Placement::Absent {};
                held.insert(key.clone(), Entry { placement, ..entry });
            }
        }
        Ok(held)
    }

    async fn is_held(
        &self,
        held: &HashMap<ObjectKey, Entry>,
        file: &Attributes,
    ) -> Result<bool, Error> {
        match held.get(&file.key) {
            Some(entry) => Ok(self.settle(entry, Some(file)).await? == FileState::Right),
            None => Ok(false),
        }
    }

    /// Removes what stands for anything above V, newest first. Looks at all of it before it removes the first.
    pub(super) async fn remove_log(
        &self,
        removing: &Removing,
        folder: &Path,
    ) -> Result<Removed, Error> {
        let listed = self.list_log().await?;
        let mut files = Vec::new();
        for file in removals(listed.into_values(), removing.keep) {
            if is_hint(&file.key) && !removing.hint {
                continue;
            }
            let is_held = self.is_held(&removing.held, &file).await?;
            let seen = (file.key.clone(), file.etag.clone());
            if !is_held && is_commit(&file) && !removing.accepted.contains(&seen) {
                return Err(self.outrun(format!("{} is there now", file.key)));
            }
            files.push((file, is_held));
        }
        let mut removed = Removed::default();
        for (file, is_held) in files {
            let Attributes { key, etag, .. } = file;
            removed.files += 1;
            // The hint says nothing that the log does not, and the log is held.
            if is_held || (is_hint(&key) && removing.accepted.is_empty()) {
                match self.target.remove(&key, &etag).await {
                    Err(error) if error.is_not_found() => {}
                    done => done?,
                }
            } else {
                removed.set_aside += 1;
                self.take_out(&Aside { key, etag }, folder).await?;
            }
        }
        Ok(removed)
    }

    /// Looks whether somebody has committed on top of V; returns the newest version then.
    async fn look_again(&self, version: Version) -> Result<Option<Version>, Error> {
        let log = self.list_log().await?;
        let tip = live_tip(&log).filter(|tip| *tip > version);
        let Some(tip) = tip else {
            return Ok(None);
        };
        let listing = LogListing::new(log.into_values());
        if listing.candidates(tip).is_ok() && listing.has_every_commit(version..=tip) {
            return Ok(Some(tip));
        }
        Err(RestoreError::Torn {
            uri: self.target.uri().to_owned(),
            file: format!("{LOG_PREFIX}{:020}.json", tip.0).parse()?,
        }
        .into())
    }
}

impl RestorePlan {
    /// Whether the whole live log is removed, and not only what is above V.
    fn takes_log_down(&self) -> bool {
        matches!(
            self.situation,
            Situation::AnotherTable { .. } | Situation::CommitsDiffer { .. }
        )
    }

    /// The version of the newest commit that is removed.
    fn newest_commit(&self) -> Option<Version> {
        let commits = self.removals.iter().filter(|file| is_commit(file));
        let versions = commits.filter_map(|file| LogFile::parse(file.clone())?.version);
        versions.max()
    }

    /// What is put only once the files are removed. A rewind puts the log up to V before it removes what is above; a
    /// replacement cannot, and where the wanted table uses names of the other's files, not even the data.
    fn removed_before(&self) -> Turn {
        match (self.takes_log_down(), self.wrong.files) {
            (false, _) => Turn::Hint,
            (true, 0) => Turn::Sidecar,
            (true, _) => Turn::Data,
        }
    }
}

impl Removing {
    /// What a plan removes; `held` is what the vault has of it, where it could be held.
    fn of(
        request: &RestoreRequest,
        plan: &RestorePlan,
        held: Option<HashMap<ObjectKey, Entry>>,
    ) -> Self {
        let seen = plan.removals.iter();
        let seen = seen.map(|it| (it.key.clone(), it.etag.clone()));
        Self {
            keep: (!plan.takes_log_down()).then_some(request.version),
            hint: plan.removals.iter().any(|it| is_hint(&it.key)),
            accepted: seen.filter(|_| held.is_none()).collect(),
            held: held.unwrap_or_default(),
            before: plan.removed_before(),
        }
    }

    /// Whether it is due before files of a turn are put.
    pub(super) fn is_due(&self, turn: Turn) -> bool {
        turn >= self.before
    }
}

/// Whether a deed is the one that is asked for, and not finished.
fn is_begun(deed: &Deed, request: &RestoreRequest) -> bool {
    let kind = if request.mode == Mode::Replace {
        DeedKind::Replace
    } else {
        DeedKind::Rewind
    };
    !deed.is_done
        && deed.kind == kind
        && deed.turned.snapshot == request.id
        && deed.turned.version == request.version
}

/// Whether a snapshot cannot be taken for what the table is, and not for what a store says.
fn is_about_the_table(error: &Error) -> bool {
    matches!(
        error,
        Error::SourceFileMissing { .. }
            | Error::SourceFileSize { .. }
            | Error::LogUnreadable { .. }
            | Error::Log(_)
            | Error::CannotBeHeld { .. }
            | Error::OutsideRefused { .. }
            | Error::Store(StoreError {
                kind: StoreErrorKind::InTheWay { .. },
                ..
            })
    )
}

/// Whether readers take a file for a version.
pub(super) fn stands_for_a_version(file: &Attributes) -> bool {
    LogFile::parse(file.clone()).is_some_and(|file| makes_a_version(&file))
}

/// Whether a file is somebody's commit. Anything else of a log can be made again from those.
pub(super) fn is_commit(file: &Attributes) -> bool {
    LogFile::parse(file.clone()).is_some_and(|file| file.kind == LogFileKind::Commit)
}

/// The record of a snapshot that an event names.
pub(super) fn record_of(history: &History, id: SnapshotId) -> Result<Arc<Record>, Error> {
    match history.find(id).map_err(Error::Choose)? {
        Some(snapshot) => Ok(Arc::clone(&snapshot.record)),
        None => Err(RestoreError::SafetyGone { snapshot: id }.into()),
    }
}

/// The key of the table that a record is of.
fn table_key(record: &Record) -> Result<TableKey, Error> {
    let uri = record.table.uri.parse()?;
    Ok(TableKey::of(&record.table.source, &uri)?)
}
