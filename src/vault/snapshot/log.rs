//! The log half of a manifest: what the base holds and what was listed, merged in log order and written as pages.
//!
//! Pages go out while the merge runs, so that a log of any length costs the memory of one page.

use std::collections::{HashSet, VecDeque};
use std::path::Path;
use std::pin::Pin;

use futures::future;
use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::ahead::ahead;
use super::super::log_replay::as_listed;
use super::super::{Entries, Vault};
use super::failure::Failure;
use super::log_files::{LOG_FILES_AHEAD, read_listed};
use super::pages::Pages;
use super::pin;
use super::pinned::Pinned;
use super::placer::Placer;
use super::planned::Plan;
use super::snapshotter::Snapshotter;
use super::ways::FailedCheckpoint;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::delta::{LogFile, LogFileKind};
use crate::error::Error;
use crate::format::page::{INLINE_LIMIT, LogOrder, log_order, log_order_of};
use crate::format::{Entry, EntryKind, PageRef, Placement, Tally};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::{LogScope, LogStep, plan_log_file};
use crate::source::{Fetched, Source};
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{Attributes, PayloadData};

/// What is to be done for one name of the log, in log order.
enum Step {
    Keep(Box<Entry>),
    Take(LogFile),
}

impl Step {
    /// The bytes that its entry holds, or that making it takes.
    fn held_bytes(&self) -> u64 {
        match self {
            Self::Keep(entry) => entry.size.min(INLINE_LIMIT),
            Self::Take(file) => file.size.min(IN_MEMORY_LIMIT),
        }
    }
}

struct LogWriter<'a> {
    vault: &'a Vault,
    source: &'a Source,
    placer: Placer<'a>,
    plan: &'a Plan,
    /// Files of checkpoints that could not be decoded.
    unreadable: HashSet<ObjectKey>,
    /// Parts of checkpoints that are held, and whose other parts are others by now.
    stale_parts: HashSet<ObjectKey>,
}

/// The log files and log pages, all in the vault.
#[derive(Debug, Default)]
pub(super) struct LogWritten {
    pub(super) pages: Vec<PageRef>,
    pub(super) new_files: u64,
    pub(super) new_bytes: u64,
    /// Sums over the entries of the pages.
    pub(super) tally: Tally,
    /// What it holds, as a listing of it would show it, but for files of checkpoints that cannot be decoded.
    readable: Vec<Attributes>,
}

impl Snapshotter {
    /// Writes the log pages, and with them every log file that the base does not hold.
    pub(super) async fn write_log(
        &self,
        source: &Source,
        plan: &mut Plan,
    ) -> Result<LogWritten, Failure> {
        let pinned = &mut plan.pinned;
        let mut scope = pin::log_scope(pinned);
        // As long as ways differ, or one of them cannot be read, what each is made of stays: of what cannot be read, only
        // where the base's own commit shows that its log is of this table's past.
        let can_be_read =
            plan.log.failed.is_empty() && pinned.inherited.unreadable(&pinned.listing).is_empty();
        scope.whole &= pinned.ended || plan.disagreements.is_empty();
        scope.whole &= can_be_read || !pin::goes_on(pinned);
        let hint = hint_is_true(source, pinned, plan.scratch.path()).await?;
        let hold = files_to_hold(pinned, hint);
        let writer = LogWriter {
            vault: &self.vault,
            source,
            placer: self.placer(&plan.terms),
            plan,
            unreadable: plan.log.unreadable(),
            stale_parts: plan.pinned.inherited.stale_parts(&plan.pinned.listing),
        };
        let mut written = writer.write(hold, scope).await?;
        written.leads_to(plan.pinned.version, &mut plan.log.failed)?;
        Ok(written)
    }
}

impl LogWritten {
    /// Makes sure that a way through the log that is held leads to V: without one nobody could read what is restored.
    ///
    /// # Errors
    /// What is wrong with the checkpoint that would have been one, or what is missing.
    fn leads_to(
        &mut self,
        version: Version,
        failed: &mut Vec<FailedCheckpoint>,
    ) -> Result<(), Failure> {
        let mut readable = std::mem::take(&mut self.readable);
        let is_held = |key: &ObjectKey| readable.iter().any(|it| it.key == *key);
        let closed: HashSet<_> = failed
            .iter()
            .filter(|it| !is_held(&it.file))
            .map(|it| &it.top)
            .collect();
        readable.retain(|it| !closed.contains(&it.key));
        match LogListing::new(readable).candidates(version).map(drop) {
            Ok(()) => Ok(()),
            Err(error) => Err(failed.pop().map_or(error, |failed| failed.error).into()),
        }
    }
}

impl LogWriter<'_> {
    /// Merges the base's log entries with the files to hold, reads what is new, and writes the pages.
    async fn write(&self, hold: Vec<LogFile>, scope: LogScope) -> Result<LogWritten, Failure> {
        let base = self.plan.pinned.reused();
        let known = base.map_or(&[][..], |base| &base.manifest.log_pages);
        let entries: Entries<'_> = match base {
            Some(base) => {
                let reused = |entry: &Entry| future::ready(base.reuses(entry));
                self.vault.entries(known).try_filter(reused).boxed()
            }
            None => stream::empty().boxed(),
        };
        let sidecars = &self.plan.log.sidecars;
        let steps = merge(entries, sorted(hold), scope, sidecars, &self.stale_parts);
        let mut pages = Pages::new(self.vault, self.placer, known, Tally::default());
        let mut written = LogWritten::default();
        let work = steps.map(|step| {
            let weight = step.as_ref().map_or(0, Step::held_bytes);
            let entry = async move {
                match step? {
                    Step::Keep(entry) => Ok((*entry, false)),
                    Step::Take(file) => self.take(&file).await.map(|entry| (entry, true)),
                }
            };
            (weight, entry)
        });
        let mut entries = ahead(Box::pin(work), LOG_FILES_AHEAD);
        while let Some((entry, new)) = entries.try_next().await? {
            if new {
                written.new_files += 1;
                written.new_bytes += entry.size;
            }
            if let Location::Inside(key) = &entry.file
                && !entry.unreadable
            {
                written.readable.push(as_listed(key, &entry));
            }
            pages.push(&entry).await?;
        }
        (written.pages, written.tally) = pages.finish().await?;
        Ok(written)
    }

    /// Reads a log file, or takes it from the spool, and places it.
    async fn take(&self, file: &LogFile) -> Result<Entry, Failure> {
        let folder = self.plan.scratch.path();
        let fetched = match self.plan.log.bodies.get(&file.key) {
            Some(body) => Fetched {
                attributes: body.attributes.clone(),
                payload: body
                    .spooled
                    .payload(IN_MEMORY_LIMIT, folder)
                    .map_err(Error::Scratch)?,
            },
            None => read_listed(self.source, file, folder).await?,
        };
        let payload = fetched.payload;
        let placement = match &payload.data {
            PayloadData::Bytes(bytes) if payload.size <= INLINE_LIMIT => {
                Placement::Inline(bytes.clone())
            }
            PayloadData::Bytes(_) | PayloadData::File(_) => Placement::Blob {
                offset: None,
                reference: self.placer.blob(&payload).await?,
            },
        };
        Ok(Entry {
            absolute: false,
            etag: Some(fetched.attributes.etag),
            file: Location::Inside(file.key.clone()),
            kind: kind_of(file.kind),
            // A listing may tell it to the millisecond where the answer to a GET cannot.
            last_modified: Some(fetched.attributes.last_modified.max(file.last_modified)),
            live: Vec::new(),
            mode: fetched.attributes.mode,
            modification_time: None,
            object_version: fetched.attributes.version,
            placement,
            rows: None,
            sha256: Some(payload.sha256),
            size: payload.size,
            unreadable: self.unreadable.contains(&file.key),
        })
    }
}

fn sorted(files: Vec<LogFile>) -> VecDeque<(Location, LogFile)> {
    let mut files: Vec<_> = files
        .into_iter()
        .map(|file| (Location::Inside(file.key.clone()), file))
        .collect();
    files.sort_by(|(a, _), (b, _)| log_order_of(a).cmp(&log_order_of(b)));
    files.into()
}

/// Merges two sequences in log order and decides each name.
fn merge<'a>(
    base: Entries<'a>,
    listed: VecDeque<(Location, LogFile)>,
    scope: LogScope,
    sidecars: &'a HashSet<ObjectKey>,
    stale_parts: &'a HashSet<ObjectKey>,
) -> impl futures::Stream<Item = Result<Step, Failure>> + Send + 'a {
    let state = (base.peekable(), listed);
    stream::try_unfold(state, move |(mut base, mut listed)| async move {
        loop {
            if let Some(Err(_)) = Pin::new(&mut base).peek().await {
                base.next().await.transpose()?;
                continue;
            }
            let held = match Pin::new(&mut base).peek().await {
                Some(Ok(entry)) => Some(log_order(entry)),
                Some(Err(_)) | None => None,
            };
            let next = listed.front().map(|(location, _)| log_order_of(location));
            let (take_held, take_listed) = match (held, next) {
                (None, None) => return Ok(None),
                (Some(held), Some(next)) => (held <= next, next <= held),
                (held, next) => (held.is_some(), next.is_some()),
            };
            let version = held.as_ref().and_then(LogOrder::version);
            let entry = if take_held {
                base.next().await.transpose()?
            } else {
                None
            };
            let file = if take_listed {
                listed.pop_front().map(|(_, file)| file)
            } else {
                None
            };
            let stray =
                |file: &LogFile| file.kind == LogFileKind::Sidecar && !sidecars.contains(&file.key);
            if entry.is_none() && file.as_ref().is_some_and(stray) {
                continue;
            }
            let decided = plan_log_file(
                entry.as_ref().map(|entry| (entry, version)),
                file.as_ref(),
                scope,
            );
            let decided = match (&entry, &file) {
                (Some(entry), None) if is_one_of(entry, stale_parts) => LogStep::Drop,
                (Some(entry), None) => unlisted(entry, sidecars).unwrap_or(decided),
                _ => decided,
            };
            let step = match (decided, entry, file) {
                (LogStep::Keep, Some(entry), _) => Step::Keep(Box::new(entry)),
                (LogStep::Take, _, Some(file)) => Step::Take(file),
                _ => continue,
            };
            return Ok(Some((step, (base, listed))));
        }
    })
}

fn is_one_of(entry: &Entry, keys: &HashSet<ObjectKey>) -> bool {
    matches!(&entry.file, Location::Inside(key) if keys.contains(key))
}

/// What becomes of held entries that name no version and are not listed any more, whatever their place in the log.
fn unlisted(entry: &Entry, sidecars: &HashSet<ObjectKey>) -> Option<LogStep> {
    match (entry.kind, &entry.file) {
        // It stays as long as a checkpoint that names it.
        (EntryKind::Sidecar, Location::Inside(key)) if sidecars.contains(key) => {
            Some(LogStep::Keep)
        }
        // Every listing reaches it, so it is gone, or no longer true.
        (EntryKind::LastCheckpoint, _) => Some(LogStep::Drop),
        _ => None,
    }
}

fn kind_of(kind: LogFileKind) -> EntryKind {
    match kind {
        LogFileKind::Commit => EntryKind::Commit,
        LogFileKind::ClassicCheckpoint
        | LogFileKind::CheckpointPart { .. }
        | LogFileKind::UuidCheckpoint(_) => EntryKind::Checkpoint,
        LogFileKind::Compaction { .. } => EntryKind::Compaction,
        LogFileKind::Checksum => EntryKind::Checksum,
        LogFileKind::LastCheckpoint => EntryKind::LastCheckpoint,
        LogFileKind::Sidecar => EntryKind::Sidecar,
        LogFileKind::Staged | LogFileKind::Hidden | LogFileKind::Other => EntryKind::Other,
    }
}

/// The files of the log to consider: all at or below V, every sidecar, and the hint when it is true.
fn files_to_hold(pinned: &mut Pinned, hint_is_true: bool) -> Vec<LogFile> {
    let listing = &pinned.listing;
    let sidecars = listing
        .files()
        .filter(|file| file.kind == LogFileKind::Sidecar);
    let hint = listing.last_checkpoint().filter(|_| hint_is_true);
    let mut left = Foreign {
        files: FOREIGN_FILES,
        bytes: FOREIGN_BYTES,
    };
    let mut left_out = 0;
    let held: Vec<_> = listing
        .held(pinned.version)
        .filter(|file| file.kind != LogFileKind::Sidecar)
        .filter(|file| {
            let is_held = kind_of(file.kind) != EntryKind::Other || left.take(file.size);
            left_out += usize::from(!is_held);
            is_held
        })
        .chain(sidecars)
        .chain(hint)
        .cloned()
        .collect();
    let past = listing
        .files()
        .find_map(|it| LogFile::past_versions(&it.key));
    pinned.findings.extend(past);
    if left_out > 0 {
        pinned.findings.push(format!(
            "_delta_log/ holds more than {FOREIGN_FILES} files, or {} MiB, that are none of Delta's: {left_out} of them are \
             not held",
            FOREIGN_BYTES >> 20
        ));
    }
    held
}

/// How many files in the log's folder are held that are none of Delta's, and their bytes: no reader needs them.
const FOREIGN_FILES: u64 = 1000;
const FOREIGN_BYTES: u64 = 64 * 1024 * 1024;

/// How many more of them there is room for.
struct Foreign {
    files: u64,
    bytes: u64,
}

impl Foreign {
    fn take(&mut self, size: u64) -> bool {
        let rest = (self.files.checked_sub(1), self.bytes.checked_sub(size));
        let (Some(files), Some(bytes)) = rest else {
            return false;
        };
        (self.files, self.bytes) = (files, bytes);
        true
    }
}

/// The most bytes of a `_last_checkpoint` that is read: those of engines have a few hundred, and the schema with some.
const HINT_MAX: u64 = 4 * 1024 * 1024;

/// Whether `_last_checkpoint` names a complete checkpoint at or below V; any other hint would make the restored
/// table unreadable for some readers.
async fn hint_is_true(
    source: &Source,
    pinned: &mut Pinned,
    folder: &Path,
) -> Result<bool, Failure> {
    #[derive(serde::Deserialize)]
    struct Hint {
        version: Version,
    }
    let Some(file) = pinned.listing.last_checkpoint() else {
        return Ok(false);
    };
    let mut hint = None;
    if file.size <= HINT_MAX {
        let fetched = read_listed(source, file, folder).await?;
        if let PayloadData::Bytes(bytes) = &fetched.payload.data {
            hint = serde_json::from_slice::<Hint>(bytes).ok();
        }
    }
    let named = |checkpoint: &CheckpointFiles| {
        hint.as_ref()
            .is_some_and(|hint| hint.version == checkpoint.version)
    };
    let is_true = hint
        .as_ref()
        .is_some_and(|hint| hint.version <= pinned.version)
        && pinned.listing.checkpoints().iter().any(named);
    if !is_true {
        pinned.findings.push(
            "_last_checkpoint names no complete checkpoint of this version and is not held"
                .to_owned(),
        );
    }
    Ok(is_true)
}
