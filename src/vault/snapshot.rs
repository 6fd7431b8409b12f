//! Takes snapshots: pin V, replay, copy what is missing, prove the result from the vault's own bytes, publish.
//!
//! The crash-consistency argument: nothing that this module writes is visible before the record is, the record is one
//! put-if-absent, and every object it leads to was written and checked before. A kill at any call leaves
//! unreferenced objects; journals let the next run reference them instead of copying again. The store's type has no
//! overwrite and no delete, so no bug here can harm an earlier snapshot.

use std::sync::Arc;

use futures::{StreamExt, TryStreamExt, stream};

use self::closure::{ChangeData, Closure, Held, LogRead, Replayed, Way};
use self::data::{Copier, Journal, Outcome};
use self::log::LogWriter;
use self::pages::Pages;
use self::pin::{Past, Pinned};
use self::record::Facts;
use super::put::Placer;
use super::{LedgerView, Vault};
use crate::delta::path::TableRoot;
use crate::delta::replay::Replay;
use crate::delta::segment::LogListing;
use crate::delta::{LogError, check_protocol};
use crate::error::Error;
use crate::format::ledger::Link;
use crate::format::record::TableIdentity;
use crate::format::{
    Entry, FORMAT, JournalHeader, LockMode, Manifest, PageRef, Placement, Record, Reference, Scope,
    TableKey, Trigger, VaultKey, decode_journal, layout,
};
use crate::ids::{Generation, Id128, SnapshotId, Timestamp, Version};
use crate::plan::snapshot::{BaseUse, InDataOrder, LogScope, Need, Tally, whole_versions};
use crate::progress::{Phase, PlannedWork, Progress};
use crate::sort::Sorter;
use crate::source::Source;
use crate::spool::{Scratch, Spool};
use crate::store::{Payload, WriteStore, read_all};

mod closure;
mod data;
mod log;
mod pages;
mod pin;
mod prove;
mod publish;
mod record;

pub use data::{Budget, JournalPace};

/// How often a version is pinned anew when files vanish under the copy.
const PIN_ATTEMPTS: usize = 5;

/// A journal's bytes may not be more than this: 1,000 entries take less than 1 MiB.
const JOURNAL_LIMIT: u64 = 64 * 1024 * 1024;

/// What to take a snapshot of, and how.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Name, source and URI of the table; its Delta id is found out.
    pub table: TableIdentity,
    /// The table's key in the vault.
    pub key: TableKey,
    /// What to hold.
    pub scope: Scope,
    /// Why.
    pub trigger: Trigger,
    /// The resolved retention class.
    pub class: String,
    /// Until when the snapshot is kept.
    pub promise: Timestamp,
    /// The time of the run.
    pub now: Timestamp,
    /// 128 random bits.
    pub run: Id128,
    /// The set that the snapshot belongs to.
    pub set: Option<Id128>,
    /// Who takes it.
    pub principal: String,
    /// The tool and its version.
    pub tool: String,
    /// Snapshots on which nothing may be built from now on.
    pub distrust: Vec<SnapshotId>,
}

/// A snapshot that was published.
#[derive(Debug, Clone)]
pub struct SnapshotDone {
    /// Its id.
    pub id: SnapshotId,
    /// Its record.
    pub record: Record,
    /// Whether it names the same manifest as the one before.
    pub unchanged: bool,
}

/// What a snapshot would do.
#[derive(Debug, Clone)]
pub struct SnapshotPlan {
    /// The version that was pinned.
    pub version: Version,
    /// The snapshot that it would build on.
    pub base: Option<SnapshotId>,
    /// Whether nothing has changed since the base.
    pub unchanged: bool,
    /// Data files to copy.
    pub files: u64,
    /// Their bytes, as far as the log says.
    pub bytes: u64,
    /// Data files that are held already.
    pub known_files: u64,
    /// What the owner should know.
    pub findings: Vec<String>,
}

/// Everything a snapshot works with.
#[derive(Debug)]
pub struct Snapshotter {
    /// The vault, for reading.
    pub vault: Vault,
    /// The vault, for writing.
    pub store: Arc<dyn WriteStore>,
    /// Files in flight, over all tables.
    pub budget: Budget,
    /// When what was placed is written down.
    pub journal: JournalPace,
    /// Where temporary files go.
    pub temp: std::path::PathBuf,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
}

/// Why one attempt ended.
#[derive(Debug)]
enum Failure {
    /// For good.
    Error(Error),
    /// A log file is another one than was listed, or gone: the version has to be pinned again.
    Moved { file: String },
    /// Data files of V are gone.
    Vanished {
        version: Version,
        files: Vec<String>,
    },
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

/// One attempt's plan: everything that is known before the first byte is written.
struct Planned {
    pinned: Pinned,
    log: LogRead,
    closure: Closure,
    scratch: Scratch,
    root: TableRoot,
    journals: Vec<Id128>,
}

impl Snapshotter {
    /// Plans a snapshot and says what it would do; writes nothing.
    ///
    /// # Errors
    /// Everything that [`Snapshotter::take`] would find out before it copies.
    pub async fn plan(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotPlan, Error> {
        let view = self.vault.head(&request.key, &request.distrust).await?;
        let planned = self.attempt_plan(source, request, &view, &[]).await;
        match planned.map_err(|failure| failure.into_error(request))? {
            Attempt::Unchanged(pinned, past) => Ok(SnapshotPlan {
                version: pinned.version,
                base: Some(past.id),
                unchanged: true,
                files: 0,
                bytes: 0,
                known_files: past.record.totals.data_files,
                findings: pinned.findings,
            }),
            Attempt::Planned(planned) => Ok(SnapshotPlan {
                version: planned.pinned.version,
                base: planned.pinned.base.as_ref().map(|base| base.past.id),
                unchanged: false,
                files: planned.closure.copy.len(),
                bytes: planned.closure.copy_bytes,
                known_files: planned.closure.known.len(),
                findings: planned.pinned.findings,
            }),
        }
    }

    /// Takes a snapshot and publishes it.
    ///
    /// # Errors
    /// Every refusal of the log, a source file that is missing or has another size (both named), another writer's
    /// newer snapshot, and what the stores say. Nothing is visible then, and nothing that was copied is lost.
    pub async fn take(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotDone, Error> {
        let mut placed: Vec<Entry> = Vec::new();
        let mut last = None;
        for _ in 0..PIN_ATTEMPTS {
            let view = self.vault.head(&request.key, &request.distrust).await?;
            let attempt = self.attempt(source, request, &view, &mut placed).await;
            let failure = match attempt {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            match &failure {
                Failure::Error(_) => return Err(failure.into_error(request)),
                Failure::Moved { file } => {
                    self.progress
                        .note(&format!("{file} changed while it was read; pinning again"));
                }
                Failure::Vanished { version, files } => {
                    if self.newest(source).await? <= *version {
                        return Err(failure.into_error(request));
                    }
                    self.progress.note(&format!(
                        "{} files of version {version} vanished; pinning a newer version",
                        files.len()
                    ));
                }
            }
            last = Some(failure);
        }
        Err(last.map_or(Error::Interrupted, |failure| failure.into_error(request)))
    }

    async fn newest(&self, source: &Source) -> Result<Version, Error> {
        let listing = LogListing::new(source.list_log(None).await?);
        Ok(listing.newest()?)
    }

    async fn attempt(
        &self,
        source: &Source,
        request: &SnapshotRequest,
        view: &LedgerView,
        placed: &mut Vec<Entry>,
    ) -> Result<SnapshotDone, Failure> {
        match self.attempt_plan(source, request, view, placed).await? {
            Attempt::Unchanged(pinned, past) => {
                self.publish_unchanged(source, request, view, &pinned, &past)
                    .await
            }
            Attempt::Planned(planned) => {
                self.carry_out(source, request, view, *planned, placed)
                    .await
            }
        }
    }

    async fn attempt_plan(
        &self,
        source: &Source,
        request: &SnapshotRequest,
        view: &LedgerView,
        placed: &[Entry],
    ) -> Result<Attempt, Failure> {
        let table = &request.table.name;
        self.progress.phase(table, Phase::ReadLog);
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let mut pinned = pin::pin(&self.vault, source, request, view, scratch.path()).await?;
        if let Some(past) = pinned.unchanged.take() {
            return Ok(Attempt::Unchanged(Box::new(pinned), past));
        }
        let journalled = self.read_journals(request, view).await?;
        let root = TableRoot::new(source.uri())?;
        let history = request.scope == Scope::History;
        let ways = closure::ways(&pinned, request.scope)?;
        let mut first_error = None;
        let mut spool = Spool::create(&scratch).map_err(Error::Scratch)?;
        for way in ways {
            let tried = self
                .try_way(source, &pinned, way, &root, &scratch, &mut spool)
                .await;
            let (log, replay, change_data) = match tried {
                Ok(tried) => tried,
                Err(Failure::Error(Error::Log(error))) if error.is_about_content() => {
                    pinned
                        .findings
                        .push(format!("another way to the version was taken: {error}"));
                    first_error.get_or_insert(error);
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            self.progress.phase(table, Phase::Plan);
            let (protocol, metadata) = replay.state().required(pinned.version)?;
            check_protocol(protocol)?;
            let delta_id = metadata.id.clone().unwrap_or_default();
            if let Some(base) = &pinned.base
                && base.using == BaseUse::HeldOnly
                && base.past.record.table.delta_id != delta_id
            {
                pinned.base = None;
                pinned
                    .findings
                    .push("another table was made under the same name".to_owned());
            }
            let mut held = Held::new(scratch.path())?;
            let mut journals = Vec::new();
            for (run, header, entries) in journalled {
                if header.delta_id == delta_id {
                    journals.push(run);
                    for entry in entries {
                        held.push_journalled(entry)?;
                    }
                }
            }
            for entry in placed {
                held.push_journalled(entry.clone())?;
            }
            let replayed = Replayed {
                replay,
                change_data,
                history,
            };
            let closure =
                closure::close(&self.vault, &pinned, replayed, held, scratch.path()).await?;
            journals.sort_unstable();
            journals.dedup();
            let planned = Planned {
                pinned,
                log,
                closure,
                scratch,
                root,
                journals,
            };
            return Ok(Attempt::Planned(Box::new(planned)));
        }
        Err(first_error.unwrap_or(LogError::NoLog { files: 0 }).into())
    }

    /// Reads and replays one way to V.
    async fn try_way(
        &self,
        source: &Source,
        pinned: &Pinned,
        way: Way,
        root: &TableRoot,
        scratch: &Scratch,
        spool: &mut Spool,
    ) -> Result<(LogRead, Replay, Vec<ChangeData>), Failure> {
        let log = closure::read_log(source, pinned, way, root, scratch.path(), spool).await?;
        let commits = log.commits(pinned)?;
        let base = pinned.base.as_ref();
        let (replay, change_data) =
            closure::replay_version(&self.vault, base, &log, &commits, root, scratch.path())
                .await?;
        Ok((log, replay, change_data))
    }

    /// Reads the journals of runs that did not publish, as far as what they placed is still there.
    async fn read_journals(
        &self,
        request: &SnapshotRequest,
        view: &LedgerView,
    ) -> Result<Vec<(Id128, JournalHeader, Vec<Entry>)>, Failure> {
        let mut journals = Vec::new();
        if !request.distrust.is_empty() {
            return Ok(journals);
        }
        let head = view.head.link.as_ref();
        let from = head.map_or(0, |link| link.seq);
        let head = head.and_then(Link::record);
        // What the head's own run placed, and what that run used, its manifest has.
        let finished =
            |run| head.is_some_and(|head| head.run == run || head.journals.contains(&run));
        let prefix = layout::journals_prefix(&request.key);
        let start = layout::journals_start_after(&request.key, from);
        let mut listing = self.vault.store().list(&prefix, Some(&start));
        while let Some(found) = listing.try_next().await? {
            let Some(VaultKey::Journal { run, .. }) = VaultKey::parse(found.key.as_str()) else {
                continue;
            };
            if run == request.run || finished(run) {
                continue;
            }
            let body = read_all(self.vault.store(), &found.key, None, JOURNAL_LIMIT).await;
            // A journal saves work; one that cannot be read or understood saves none.
            let Ok((_, body)) = body else { continue };
            let Ok((header, entries)) = decode_journal(&body) else {
                continue;
            };
            journals.push((run, header, self.still_there(request, entries).await?));
        }
        Ok(journals)
    }

    /// Keeps the entries whose object is there, its lock extended where there are locks.
    async fn still_there(
        &self,
        request: &SnapshotRequest,
        entries: Vec<Entry>,
    ) -> Result<Vec<Entry>, Failure> {
        let mut objects: Vec<Reference> =
            entries.iter().filter_map(reference_of).cloned().collect();
        objects.sort_by(|a, b| (&a.key, &a.version).cmp(&(&b.key, &b.version)));
        objects.dedup();
        let there: Vec<Option<Reference>> = stream::iter(objects)
            .map(|object| async move {
                let proven = self
                    .store
                    .extend_lock(&object.key, object.version.as_ref(), request.promise)
                    .await;
                match proven {
                    Ok(_) => Ok(Some(object)),
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(Error::from(error)),
                }
            })
            .buffered(16)
            .try_collect()
            .await?;
        let there: Vec<_> = there.into_iter().flatten().collect();
        Ok(entries
            .into_iter()
            .filter(|entry| reference_of(entry).is_some_and(|object| there.contains(object)))
            .collect())
    }

    fn placer(&self, request: &SnapshotRequest) -> Placer<'_> {
        let lock_until = match self.vault.file().lock_mode {
            LockMode::None => None,
            LockMode::Governance | LockMode::Compliance => Some(request.promise),
        };
        Placer {
            store: self.store.as_ref(),
            lock_until,
            generation: Generation::default(),
        }
    }

    /// Copies, proves and publishes what was planned.
    async fn carry_out(
        &self,
        source: &Source,
        request: &SnapshotRequest,
        view: &LedgerView,
        planned: Planned,
        placed: &mut Vec<Entry>,
    ) -> Result<SnapshotDone, Failure> {
        let Planned {
            mut pinned,
            log,
            closure,
            scratch,
            root,
            journals,
        } = planned;
        let Closure {
            state,
            findings,
            fingerprint,
            mut known,
            mut absent,
            copy,
            copy_bytes,
            mut change,
        } = closure;
        let (protocol, metadata) = state.required(pinned.version)?;
        let delta_id = metadata.id.clone().unwrap_or_default();
        let placer = self.placer(request);
        let table = &request.table.name;
        let mut tally = Tally::default();

        let writer = LogWriter {
            vault: &self.vault,
            source,
            placer,
            folder: scratch.path(),
            bodies: &log.bodies,
            sidecars: &log.sidecars,
        };
        let scope = LogScope {
            whole: pinned.whole,
            keep_from: pin::second_newest_checkpoint(&pinned.listing, pinned.version),
        };
        let hint = writer.hint_is_true(&mut pinned).await?;
        let hold = log::files_to_hold(&pinned, hint);
        let base_pages = pinned.base.as_ref().map(|base| &base.manifest);
        let known_log = base_pages.map_or(&[][..], |manifest| &manifest.log_pages);
        let log_written = writer
            .write(&pinned, hold, scope, known_log, &mut tally)
            .await?;

        self.progress.phase(table, Phase::Copy);
        self.progress.planned(PlannedWork {
            files: copy.len(),
            bytes: copy_bytes,
        });
        let header = JournalHeader {
            delta_id: delta_id.clone(),
            format: FORMAT,
            principal: request.principal.clone(),
        };
        let seq = view.head.next_free;
        let mut journal = Journal::start(
            placer,
            self.journal,
            header,
            request.key.hash(),
            seq,
            request.run,
        );
        let copier = Copier {
            source,
            placer,
            folder: scratch.path(),
            budget: &self.budget,
            progress: self.progress.as_ref(),
        };
        let mut trouble = Trouble::default();
        let needs = copy.finish()?.map(|need| Ok(need?.row));
        let copied = copier
            .copy_all(needs, &mut journal, |outcome| {
                match outcome {
                    Outcome::Placed(entry) => {
                        change.new_files += 1;
                        change.new_bytes += entry.size;
                        known.push(InDataOrder(*entry))?;
                    }
                    Outcome::Missing(need) if need.required => {
                        trouble.missing.push(need.file.to_string());
                    }
                    Outcome::Missing(need) => {
                        absent.extend(need.spans.iter().copied());
                        known.push(InDataOrder(absent_entry(*need)))?;
                    }
                    Outcome::WrongSize {
                        file,
                        expected,
                        actual,
                    } => {
                        trouble.wrong_size.get_or_insert(Error::SourceFileSize {
                            file,
                            expected,
                            actual,
                        });
                    }
                }
                Ok(())
            })
            .await;
        if copied.is_err() || !trouble.is_none() {
            journal.flush().await?;
            copied?;
            // What was placed need not be copied again when a newer version is pinned.
            for entry in known.finish()? {
                placed.push(entry?.0);
            }
            return Err(trouble.into_failure(pinned.version));
        }
        change.new_files += log_written.new_files;
        change.new_bytes += log_written.new_bytes;

        self.progress.phase(table, Phase::Check);
        self.prove(
            &pinned,
            &log,
            &log_written.pages,
            &root,
            fingerprint,
            &scratch,
        )
        .await?;

        self.progress.phase(table, Phase::Publish);
        let known_data = base_pages.map_or(&[][..], |manifest| &manifest.data_pages);
        let data_pages = write_data_pages(placer, known_data, known, &mut tally).await?;
        let contents = Manifest {
            data_pages,
            delta_id: delta_id.clone(),
            format: FORMAT,
            log_pages: log_written.pages,
            totals: tally.totals(),
            version: pinned.version,
        };
        let body = contents.encode()?;
        let reference = placer.manifest(&Payload::from_bytes(body)).await?;

        change.operation = log.info.operation.clone();
        change.user = log.info.user.clone();
        let whole_versions = match (request.scope, pinned.version.0.checked_sub(1)) {
            (Scope::History, Some(last)) => {
                whole_versions(log.first_version(), Version(last), &absent)
            }
            (Scope::History, None) | (Scope::Live, _) => Vec::new(),
        };
        let facts = Facts {
            manifest: reference,
            totals: contents.totals,
            change,
            journals,
            whole_versions,
            findings,
        };
        let record = self.record(request, &mut pinned, &log, delta_id, protocol, facts);
        let done = self.publish(source, request, view, &pinned, record).await?;
        Ok(SnapshotDone {
            unchanged: false,
            ..done
        })
    }
}

/// What an attempt came to before anything was written.
enum Attempt {
    /// The head's manifest serves.
    Unchanged(Box<Pinned>, Past),
    /// There is something to do.
    Planned(Box<Planned>),
}

/// Files that stand in the way of a snapshot; the copy goes on, so that all of them are named and the rest is journalled.
#[derive(Debug, Default)]
struct Trouble {
    missing: Vec<String>,
    wrong_size: Option<Error>,
}

impl Trouble {
    fn is_none(&self) -> bool {
        self.missing.is_empty() && self.wrong_size.is_none()
    }

    fn into_failure(self, version: Version) -> Failure {
        match self.wrong_size {
            Some(error) => Failure::Error(error),
            None => Failure::Vanished {
                version,
                files: self.missing,
            },
        }
    }
}

impl Failure {
    fn into_error(self, request: &SnapshotRequest) -> Error {
        let table = request.table.name.clone();
        match self {
            Self::Error(error) => error,
            Self::Moved { file } => Error::SourceMoving { table, file },
            Self::Vanished { version, files } => Error::SourceFileMissing {
                table,
                version,
                files,
            },
        }
    }
}

/// The entry of a file that only older versions name and the source no longer has.
fn absent_entry(need: Need) -> Entry {
    Entry {
        etag: None,
        file: need.file,
        kind: need.kind,
        last_modified: None,
        live: Vec::new(),
        modification_time: need.modification_time,
        object_version: None,
        placement: Placement::Absent {},
        rows: need.rows,
        sha256: None,
        size: need.size.unwrap_or_default(),
    }
}

/// The vault object that holds an entry's bytes.
fn reference_of(entry: &Entry) -> Option<&Reference> {
    match &entry.placement {
        Placement::Blob { reference, .. } | Placement::Copy { reference } => Some(reference),
        Placement::Inline(_) | Placement::Absent {} => None,
    }
}

/// Writes the data pages from the entries in their order.
async fn write_data_pages(
    placer: Placer<'_>,
    known_pages: &[PageRef],
    entries: Sorter<InDataOrder>,
    tally: &mut Tally,
) -> Result<Vec<PageRef>, Failure> {
    let mut pages = Pages::new(placer, known_pages);
    for entry in entries.finish()? {
        let InDataOrder(entry) = entry?;
        tally.add(&entry);
        pages.push(&entry).await?;
    }
    Ok(pages.finish().await?)
}
