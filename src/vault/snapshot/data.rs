//! Copies the files that no base holds: small ones together in packs, larger ones alone, each read once and hashed
//! on the way, and journalled when it is placed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::super::put::Placer;
use crate::error::Error;
use crate::format::page::{ENTRIES_MAX, PACK_LIMIT, PACKED_FILE_LIMIT};
use crate::format::{Entry, JournalHeader, Placement, VaultKey, encode_journal};
use crate::ids::Id128;
use crate::plan::snapshot::{Batch, Need, plan_batches};
use crate::progress::Progress;
use crate::source::{Fetched, Source};
use crate::store::{Payload, PayloadData};

/// When placements are written down: what a killed run may have to do twice.
#[derive(Debug, Clone, Copy)]
pub struct JournalPace {
    /// After so many files…
    pub files: usize,
    /// …or after so long.
    pub every: Duration,
}

impl Default for JournalPace {
    fn default() -> Self {
        Self {
            files: 1000,
            every: Duration::from_mins(1),
        }
    }
}

/// Batches of one table in flight; each holds at most one pack in memory twice (its files and their sequence).
const BATCHES: usize = 4;
/// Files of one batch in flight.
const FILES_PER_BATCH: usize = 16;

/// Files being read at a time, over all tables of a run.
#[derive(Debug, Clone)]
pub struct Budget {
    files: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        // Enough to hide the latency of small reads; with the in-memory limit it bounds a run's memory at 256 MiB.
        Self {
            files: Arc::new(Semaphore::new(32)),
        }
    }
}

/// What became of one file.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in the vault.
    Placed(Box<Entry>),
    /// The source no longer has it.
    Missing(Box<Need>),
    /// It has another size than the log says.
    WrongSize {
        file: String,
        expected: u64,
        actual: u64,
    },
}

/// Copies files of one table into the vault.
pub(super) struct Copier<'a> {
    pub(super) source: &'a Source,
    pub(super) placer: Placer<'a>,
    pub(super) folder: &'a Path,
    pub(super) budget: &'a Budget,
    pub(super) progress: &'a dyn Progress,
}

impl Copier<'_> {
    /// Copies everything in `needs` and hands each outcome to `sink`, journalling what was placed.
    pub(super) async fn copy_all(
        &self,
        needs: impl Iterator<Item = Result<Need, Error>> + Send,
        journal: &mut Journal<'_>,
        mut sink: impl FnMut(Outcome) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut batches = stream::iter(plan_batches(needs))
            .map(|batch| async { self.carry_out(batch?).await })
            .buffer_unordered(BATCHES);
        while let Some(outcomes) = batches.try_next().await? {
            for outcome in outcomes {
                if let Outcome::Placed(entry) = &outcome {
                    self.progress.file_done(entry.size);
                    journal.note(entry);
                }
                sink(outcome)?;
            }
            journal.flush_if_due().await?;
        }
        Ok(())
    }

    async fn carry_out(&self, batch: Batch) -> Result<Vec<Outcome>, Error> {
        match batch {
            Batch::Single(need) => {
                let outcome = match self.read(&need).await? {
                    Ok(fetched) => self.place_alone(need, fetched).await?,
                    Err(outcome) => outcome,
                };
                Ok(vec![outcome])
            }
            Batch::Pack(needs) => self.carry_out_pack(needs).await,
        }
    }

    async fn carry_out_pack(&self, needs: Vec<Need>) -> Result<Vec<Outcome>, Error> {
        let mut outcomes = Vec::new();
        let mut pack = Pack::default();
        // In the order of the plan, so that a second run makes the same packs.
        let mut reads = stream::iter(needs)
            .map(|need| async move {
                let read = self.read(&need).await;
                (need, read)
            })
            .buffered(FILES_PER_BATCH);
        while let Some((need, read)) = reads.next().await {
            let fetched = match read? {
                Ok(fetched) => fetched,
                Err(outcome) => {
                    outcomes.push(outcome);
                    continue;
                }
            };
            match &fetched.payload.data {
                PayloadData::Bytes(bytes) if fetched.payload.size <= PACKED_FILE_LIMIT => {
                    if pack.bytes.len() as u64 + fetched.payload.size > PACK_LIMIT {
                        self.put_pack(std::mem::take(&mut pack), &mut outcomes)
                            .await?;
                    }
                    let bytes = bytes.clone();
                    pack.add(need, fetched, &bytes);
                }
                PayloadData::Bytes(_) | PayloadData::File(_) => {
                    outcomes.push(self.place_alone(need, fetched).await?);
                }
            }
        }
        self.put_pack(pack, &mut outcomes).await?;
        Ok(outcomes)
    }

    async fn put_pack(&self, pack: Pack, outcomes: &mut Vec<Outcome>) -> Result<(), Error> {
        if pack.files.is_empty() {
            return Ok(());
        }
        let alone = pack.files.len() == 1;
        let payload = Payload::from_bytes(pack.bytes.freeze());
        let reference = self.placer.blob(&payload).await?;
        outcomes.extend(pack.files.into_iter().map(|(need, fetched, offset)| {
            let offset = (!alone).then_some(offset);
            let placement = Placement::Blob {
                offset,
                reference: reference.clone(),
            };
            Outcome::Placed(Box::new(entry_of(need, &fetched, placement)))
        }));
        Ok(())
    }

    async fn place_alone(&self, need: Need, fetched: Fetched) -> Result<Outcome, Error> {
        let reference = self.placer.blob(&fetched.payload).await?;
        let placement = Placement::Blob {
            offset: None,
            reference,
        };
        Ok(Outcome::Placed(Box::new(entry_of(
            need, &fetched, placement,
        ))))
    }

    async fn read(&self, need: &Need) -> Result<Result<Fetched, Outcome>, Error> {
        let _permit = self.budget.files.acquire().await;
        let fetched = match self.source.fetch(&need.file, self.folder).await {
            Ok(fetched) => fetched,
            Err(error) if error.is_not_found() => {
                return Ok(Err(Outcome::Missing(Box::new(need.clone()))));
            }
            Err(error) => return Err(error.into()),
        };
        match need.size {
            Some(expected) if expected != fetched.payload.size => Ok(Err(Outcome::WrongSize {
                file: need.file.to_string(),
                expected,
                actual: fetched.payload.size,
            })),
            Some(_) | None => Ok(Ok(fetched)),
        }
    }
}

/// Small files on their way into one blob.
#[derive(Default)]
struct Pack {
    bytes: BytesMut,
    files: Vec<(Need, Fetched, u64)>,
}

impl Pack {
    fn add(&mut self, need: Need, mut fetched: Fetched, bytes: &Bytes) {
        let offset = self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        // The pack holds the bytes now.
        fetched.payload.data = PayloadData::Bytes(Bytes::new());
        self.files.push((need, fetched, offset));
    }
}

fn entry_of(need: Need, fetched: &Fetched, placement: Placement) -> Entry {
    Entry {
        absolute: need.absolute,
        etag: Some(fetched.attributes.etag.clone()),
        file: need.file,
        kind: need.kind,
        last_modified: Some(fetched.attributes.last_modified),
        live: need.live,
        modification_time: need.modification_time,
        object_version: fetched.attributes.version.clone(),
        placement,
        rows: need.rows,
        sha256: Some(fetched.payload.sha256),
        size: fetched.payload.size,
    }
}

/// Writes down what a run has placed.
pub(super) struct Journal<'a> {
    placer: Placer<'a>,
    pace: JournalPace,
    header: JournalHeader,
    table: Id128,
    next_seq: u64,
    run: Id128,
    written: u32,
    pending: Vec<Entry>,
    last: Instant,
}

impl<'a> Journal<'a> {
    pub(super) fn start(
        placer: Placer<'a>,
        pace: JournalPace,
        header: JournalHeader,
        (table, next_seq, run): (Id128, u64, Id128),
        written: u32,
    ) -> Self {
        Self {
            placer,
            pace,
            header,
            table,
            next_seq,
            run,
            written,
            pending: Vec::new(),
            last: Instant::now(),
        }
    }

    /// How many journals were written so far.
    pub(super) fn written(&self) -> u32 {
        self.written
    }

    fn note(&mut self, entry: &Entry) {
        self.pending.push(entry.clone());
    }

    async fn flush_if_due(&mut self) -> Result<(), Error> {
        if self.pending.len() >= self.pace.files || self.last.elapsed() >= self.pace.every {
            self.flush().await?;
        }
        Ok(())
    }

    /// Writes down what is pending: also when a run is about to fail, so that the next one need not copy it again.
    pub(super) async fn flush(&mut self) -> Result<(), Error> {
        self.last = Instant::now();
        let pending = std::mem::take(&mut self.pending);
        // A single pack may place more files than one journal may name.
        for entries in pending.chunks(ENTRIES_MAX) {
            self.write(entries).await?;
        }
        Ok(())
    }

    async fn write(&mut self, entries: &[Entry]) -> Result<(), Error> {
        let body = encode_journal(&self.header, entries)?;
        self.written += 1;
        let Self {
            table,
            next_seq,
            run,
            written: n,
            ..
        } = *self;
        let key = VaultKey::Journal {
            table,
            next_seq,
            run,
            n,
        }
        .object_key()?;
        self.placer
            .store
            .put_new(&key, &Payload::from_bytes(body), self.placer.lock_until)
            .await?;
        Ok(())
    }
}
