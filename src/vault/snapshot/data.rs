//! Copies the files that no base holds into the vault: small ones together in packs, larger ones alone, each by the
//! method that the plan chose, and journalled when it is placed.
//!
//! Memory is bounded before anything is read: a pack, or a body, waits until the budget has room for all of it, and
//! takes room only once, so that nothing waits for room that it has itself. Each batch runs as a task of its own: what
//! hashes and what waits for the network share all cores, and the next pack fills while the last one is being put.

use std::path::PathBuf;
use std::sync::Arc;

use futures::FutureExt as _;
use futures::stream::{self, StreamExt};
use tokio::task::JoinSet;
use tokio::time::sleep_until;

use super::budget::{Limit, Room};
use super::journal::Journal;
use super::lock_terms::LockTerms;
use super::pairs::Turn;
use super::placer::Placer;
use super::snapshotter::Snapshotter;
use crate::error::Error;
use crate::format::page::PACK_LIMIT;
use crate::format::{Entry, Placement};
use crate::ids::Digest;
use crate::plan::snapshot::{Batch, Need, plan_batches};
use crate::plan::transfer::{CopyMethod, MethodReason, ServerCopy, choose_method};
use crate::progress::watched;
use crate::source::{Fetched, Source, collect};
use crate::spool::IN_MEMORY_LIMIT;
use crate::store::{
    Attributes, CopyAddress, ObjectReader, ReadStore, StoreError, StoreErrorKind, WriteStore,
};

mod by_store;
mod lost;
mod pack;

/// Batches of one table that have begun: packs wait for memory before they do, and large files in turn.
const BATCHES: usize = 64;

/// Bodies above this many bytes wait on disk.
const BODY_IN_MEMORY: u64 = PACK_LIMIT;

/// What a body that waits on disk takes of the memory: chunks on their way.
const CHUNKS: u64 = 1024 * 1024;

/// What became of one file.
#[derive(Debug)]
pub(super) enum Outcome {
    Placed {
        entry: Box<Entry>,
        /// Whether the base holds other bytes under the same name, size and time.
        is_other: bool,
        /// Whether it has none of the sizes that the log gives.
        is_resized: bool,
    },
    Missing(Box<Need>),
    /// The source has it where nothing can be read at once.
    Archived {
        file: String,
    },
    WrongSize {
        file: String,
        expected: u64,
        or_more: bool,
        actual: u64,
    },
}

pub(super) struct Copier {
    pub(super) run: Snapshotter,
    pub(super) source: Source,
    pub(super) terms: LockTerms,
    /// Into how many phases what is placed is cut.
    pub(super) lock_phases: u64,
    pub(super) folder: PathBuf,
}

/// How a copy without an error ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Whole,
    /// A limit was reached; what had begun was finished.
    At(Limit),
}

/// A file that was opened and read, or what stands in the way.
type Read = Result<Fetched, Outcome>;

/// A file that was opened, or what stands in the way.
type Opened = Result<(Arc<dyn ReadStore>, ObjectReader), Outcome>;

impl Copier {
    /// Copies everything in `needs` and hands each outcome to `sink`, journalling what was placed.
    pub(super) async fn copy_all(
        self: &Arc<Self>,
        needs: impl Iterator<Item = Result<Need, Error>> + Send,
        journal: &mut Journal<'_>,
        mut sink: impl FnMut(Outcome) -> Result<(), Error>,
    ) -> Result<Ended, Error> {
        let mut ended = Ended::Whole;
        let batches = plan_batches(needs).map_while(|batch| {
            if let Ok(batch) = &batch
                && let Some(limit) = self.spend(batch)
            {
                ended = Ended::At(limit);
                return None;
            }
            Some(batch)
        });
        let outcomes = stream::iter(batches)
            .then(|batch| async {
                Ok::<_, Error>((self.room_for(batch.as_ref().ok()).await, batch?))
            })
            .map(|begun| async {
                let (room, batch) = begun?;
                apart(Arc::clone(self).copy_batch(batch, room)).await
            })
            .buffer_unordered(BATCHES);
        let mut outcomes = Box::pin(outcomes);
        loop {
            let due = journal.due();
            tokio::select! {
                biased;
                () = self.run.interrupt.fired() => {
                    // What has just ended is placed, too.
                    while let Some(Some(Ok(done))) = outcomes.next().now_or_never() {
                        note_all(journal, &done);
                    }
                    return Err(Error::Interrupted);
                }
                done = outcomes.next() => {
                    let Some(done) = done else { break };
                    let done = done?;
                    note_all(journal, &done);
                    for outcome in done {
                        if let Outcome::Placed { entry, .. } = &outcome {
                            self.run.progress.file_done(entry.size);
                        }
                        sink(outcome)?;
                    }
                    journal.flush_if_due().await?;
                }
                () = wait_until(due) => journal.flush().await?,
            }
        }
        drop(outcomes);
        Ok(ended)
    }

    /// Counts a batch before it begins.
    fn spend(&self, batch: &Batch) -> Option<Limit> {
        let (method, _) = self.forecast(batch);
        self.run.limits.spend(
            batch.requests(method),
            batch.likely_size(),
            self.terms.days(),
        )
    }

    fn forecast(&self, batch: &Batch) -> (CopyMethod, MethodReason) {
        forecast(batch, &self.source, self.run.bulk.as_ref())
    }

    /// A pack waits here for memory, so that its files are not even listed before it has it.
    async fn room_for(&self, batch: Option<&Batch>) -> Option<Room> {
        match batch? {
            Batch::Pack(needs) => {
                let bytes = pack::room(needs) as u64;
                Some(self.run.budget.memory(bytes).await)
            }
            Batch::Single(_) => None,
        }
    }

    async fn copy_batch(
        self: Arc<Self>,
        batch: Batch,
        room: Option<Room>,
    ) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = match batch {
            Batch::Single(need) => vec![self.copy_single(need).await?],
            Batch::Pack(needs) => self.copy_pack(needs).await?,
        };
        // Only now: the store may send a body again until it has answered.
        drop(room);
        for outcome in &mut outcomes {
            if let Outcome::Missing(need) = outcome
                && let Some(found) = self.take_from_vault(need).await?
            {
                *outcome = found;
            }
        }
        Ok(outcomes)
    }

    /// Takes a file that the source has lost from what the vault still holds of an earlier snapshot.
    async fn take_from_vault(&self, need: &Need) -> Result<Option<Outcome>, Error> {
        let Some(entry) = &need.held else {
            return Ok(None);
        };
        let _room = self
            .run
            .budget
            .memory(entry.size.min(IN_MEMORY_LIMIT))
            .await;
        let payload = match self.run.vault.payload(entry, &self.folder).await {
            Ok(payload) => payload,
            // Gone from there as well.
            Err(Error::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let placement = Placement::Blob {
            offset: None,
            reference: self.placer().blob(&payload).await?,
        };
        let entry = Entry {
            absolute: need.absolute,
            live: need.live.clone(),
            rows: need.rows,
            placement,
            ..Entry::clone(entry)
        };
        Ok(Some(Outcome::Placed {
            entry: Box::new(entry),
            is_other: false,
            is_resized: false,
        }))
    }

    async fn copy_single(&self, need: Need) -> Result<Outcome, Error> {
        let address = address_of(&need, &self.source, self.run.bulk.as_ref());
        let size = need.likely_size();
        let largest = self.run.bulk.largest_put();
        let pair = if address.is_some() {
            ServerCopy::Unknown
        } else {
            ServerCopy::Unavailable
        };
        match (choose_method(size, &pair, largest).0, address) {
            (CopyMethod::Parts, _) => self.copy_in_parts(need).await,
            (CopyMethod::Copy, Some(address)) => match self.run.pairs.turn(&address).await {
                Turn::First(learning) => self.copy_by_store(need, address, Some(learning)).await,
                Turn::Known(pair) => match choose_method(size, &pair, largest).0 {
                    CopyMethod::Copy => self.copy_by_store(need, address, None).await,
                    CopyMethod::Pack | CopyMethod::Stream | CopyMethod::Parts => {
                        self.stream(need).await
                    }
                },
            },
            (CopyMethod::Pack | CopyMethod::Stream | CopyMethod::Copy, _) => {
                self.stream(need).await
            }
        }
    }

    async fn stream(&self, need: Need) -> Result<Outcome, Error> {
        let size = need.likely_size();
        let (_disk, in_memory) = if size > BODY_IN_MEMORY {
            (Some(self.run.budget.disk(size).await), CHUNKS)
        } else {
            (None, size)
        };
        let _room = self.run.budget.memory(in_memory).await;
        match self.read(&need, in_memory).await? {
            Ok(fetched) => self.place_alone(need, fetched).await,
            Err(outcome) => Ok(outcome),
        }
    }

    async fn place_alone(&self, need: Need, fetched: Fetched) -> Result<Outcome, Error> {
        let placement = Placement::Blob {
            offset: None,
            reference: self.placer().blob(&fetched.payload).await?,
        };
        Ok(placed(need, fetched.into(), placement))
    }

    /// Reads a file whole: in memory up to `in_memory` bytes, else onto disk.
    async fn read(&self, need: &Need, in_memory: u64) -> Result<Read, Error> {
        let _turn = self.run.budget.request(need.likely_size()).await;
        match self.open(need).await? {
            Ok((store, reader)) => Ok(Ok(
                collect(store.as_ref(), reader, in_memory, &self.folder).await?
            )),
            Err(outcome) => Ok(Err(outcome)),
        }
    }

    /// Opens a file that has the size that the log says.
    async fn open(&self, need: &Need) -> Result<Opened, Error> {
        let located = self.source.locate(&need.file);
        if is_out_of_reach(&located, need) {
            return Ok(Err(Outcome::Missing(Box::new(need.clone()))));
        }
        let (store, key) = located?;
        let mut opened = store.open(&key, None, None).await;
        if is_not_found(&opened)
            && let Some(lost) = lost::find(store.as_ref(), &key, need).await?
        {
            opened = store.open(&key, lost.version.as_ref(), None).await;
        }
        let reader = match opened {
            Ok(reader) => reader,
            Err(error) if error.is_not_found() => {
                return Ok(Err(Outcome::Missing(Box::new(need.clone()))));
            }
            Err(error) => return Ok(Err(archived(need, error)?)),
        };
        // Before its body, whose room was measured by what the log says.
        Ok(match wrong_size(need, reader.attributes.size) {
            Some(outcome) => Err(outcome),
            None => Ok((store, watched(reader, &self.run.progress))),
        })
    }

    fn placer(&self) -> Placer<'_> {
        Placer {
            store: &self.run.bulk,
            terms: &self.terms,
            lock_phases: self.lock_phases,
        }
    }
}

fn note_all(journal: &mut Journal<'_>, outcomes: &[Outcome]) {
    for outcome in outcomes {
        if let Outcome::Placed { entry, .. } = outcome {
            journal.note(entry);
        }
    }
}

/// The method by which a batch would be moved, as far as can be known before the store was asked.
pub(super) fn forecast(
    batch: &Batch,
    source: &Source,
    store: &dyn WriteStore,
) -> (CopyMethod, MethodReason) {
    match batch {
        Batch::Pack(_) => (CopyMethod::Pack, MethodReason::Small),
        Batch::Single(need) => {
            let pair = match address_of(need, source, store) {
                Some(_) => ServerCopy::Unknown,
                None => ServerCopy::Unavailable,
            };
            choose_method(need.likely_size(), &pair, store.largest_put())
        }
    }
}

/// Where a file is, when the store could copy from there.
fn address_of(need: &Need, source: &Source, store: &dyn WriteStore) -> Option<CopyAddress> {
    // What cannot be located says so when it is read.
    let (place, key) = source.locate(&need.file).ok()?;
    let address = place.copy_address(&key)?;
    store.can_copy_from(&address).then_some(address)
}

/// Runs a future as a task of its own, which ends with whoever waits for it.
pub(super) async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let mut task = JoinSet::new();
    task.spawn(work);
    match task.join_next().await {
        Some(Ok(result)) => result,
        Some(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Some(Err(_)) | None => Err(Error::Interrupted),
    }
}

async fn wait_until(due: Option<tokio::time::Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}

fn is_not_found<T>(result: &Result<T, StoreError>) -> bool {
    result.as_ref().is_err_and(StoreError::is_not_found)
}

/// Whether a file is nowhere: not there, or, where only older versions need it, at a place that cannot be read at all.
fn is_out_of_reach<T>(located: &Result<T, StoreError>, need: &Need) -> bool {
    is_not_found(located)
        || (!need.required
            && located.as_ref().is_err_and(|error| {
                matches!(
                    error.kind,
                    StoreErrorKind::Unsupported { .. } | StoreErrorKind::InvalidKey { .. }
                )
            }))
}

/// What a file in archive storage comes to; any other error stays one.
fn archived(need: &Need, error: StoreError) -> Result<Outcome, Error> {
    if matches!(error.kind, StoreErrorKind::Archived) {
        let file = need.file.to_string();
        return Ok(Outcome::Archived { file });
    }
    Err(error.into())
}

/// What a file comes to that has not the bytes that the log says.
fn wrong_size(need: &Need, actual: u64) -> Option<Outcome> {
    if need.may_have(actual) {
        return None;
    }
    if !need.required && need.is_of_v() {
        // Readers differ on whether they need it, and those who do may be wrong about its size.
        return None;
    }
    if !need.required {
        // The file that those versions need is not there any more, whatever is in its place.
        return Some(Outcome::Missing(Box::new(need.clone())));
    }
    Some(Outcome::WrongSize {
        file: need.file.to_string(),
        expected: need.size.unwrap_or(need.at_least),
        or_more: need.size.is_none(),
        actual,
    })
}

/// A file whose bytes are elsewhere by now.
#[derive(Debug)]
struct ReadFile {
    attributes: Attributes,
    sha256: Digest,
    size: u64,
}

impl From<Fetched> for ReadFile {
    fn from(fetched: Fetched) -> Self {
        Self {
            attributes: fetched.attributes,
            sha256: fetched.payload.sha256,
            size: fetched.payload.size,
        }
    }
}

fn placed(need: Need, read: ReadFile, placement: Placement) -> Outcome {
    let is_resized = !need.may_have(read.size);
    let is_other = need.was.is_some_and(|was| *was != read.sha256);
    let entry = Entry {
        absolute: need.absolute,
        etag: Some(read.attributes.etag),
        file: need.file,
        kind: need.kind,
        last_modified: Some(read.attributes.last_modified),
        live: need.live,
        mode: read.attributes.mode,
        modification_time: need.modification_time,
        object_version: read.attributes.version,
        placement,
        rows: need.rows,
        sha256: Some(read.sha256),
        size: read.size,
        unreadable: false,
    };
    Outcome::Placed {
        entry: Box::new(entry),
        is_other,
        is_resized,
    }
}
