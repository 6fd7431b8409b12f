//! Journals: what a run has placed is written down while it goes on, and taken up by the next run, on whatever machine.

use std::collections::HashSet;
use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::closure::Stored;
use super::failure::Failure;
use super::inputs::Inputs;
use super::lock_terms::LockTerms;
use super::placer::Placer;
use super::snapshotter::Snapshotter;
use crate::error::Error;
use crate::format::journal::JOURNAL_LIMIT;
use crate::format::ledger::Link;
use crate::format::page::ENTRIES_MAX;
use crate::format::{
    Entry, FORMAT, JournalHeader, Reference, VaultKey, decode_journal, encode_journal, layout,
};
use crate::ids::{Id128, ObjectKey, ObjectVersion};
use crate::plan::prune::JOURNAL_LIFE_WITHOUT_LOCKS;
use crate::plan::retention::{LockPhase, phase_in};
use crate::store::{Payload, StoreError, StoreErrorKind, read_all};

/// Objects of a journal that are looked at, or locked for longer, at a time.
const OBJECTS_AT_ONCE: usize = 64;

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

impl Snapshotter {
    /// Takes what unfinished runs of the same table have placed, as far as it is still there; returns those runs.
    pub(super) async fn take_journals(
        &self,
        inputs: Inputs<'_>,
        terms: &LockTerms,
        delta_id: &str,
        held: &mut Stored,
    ) -> Result<Vec<Id128>, Failure> {
        let Inputs { request, view, .. } = inputs;
        let mut runs = Vec::new();
        if !request.distrust.is_empty() {
            return Ok(runs);
        }
        let newest = view.head.link.as_ref();
        let from = newest.map_or(0, |link| link.seq);
        let newest = newest.and_then(Link::record);
        // What the head's own run placed, and what that run used, its manifest has.
        let finished =
            |run| newest.is_some_and(|record| record.run == run || record.journals.contains(&run));
        let prefix = layout::journals_prefix(&request.key);
        let start = layout::journals_start_after(&request.key, from);
        let mut listing = self.vault.store().list(&prefix, Some(&start));
        while let Some(found) = listing.try_next().await? {
            let Some(VaultKey::Journal { run, .. }) = VaultKey::parse(found.key.as_str()) else {
                continue;
            };
            if self.vault.is_forged(&found) {
                continue;
            }
            // What a prune may be about to collect; see `vault/prune.rs`.
            let age = terms.present().duration_since(found.last_modified);
            if finished(run) || (!terms.has_locks() && age > JOURNAL_LIFE_WITHOUT_LOCKS) {
                continue;
            }
            let body = match read_all(self.vault.store(), &found.key, None, JOURNAL_LIMIT).await {
                Ok((_, body)) => body,
                // A journal saves work; one that is gone or is none saves none. What may come back is waited for: to
                // copy everything again because of one lost answer would cost more than another run.
                Err(StoreError {
                    kind: StoreErrorKind::NotFound | StoreErrorKind::TooLarge { .. },
                    ..
                }) => continue,
                Err(error) => return Err(error.into()),
            };
            let Ok((header, entries)) = decode_journal(&body) else {
                continue;
            };
            if header.delta_id == delta_id {
                runs.push(run);
                for entry in self.still_there(terms, entries).await? {
                    held.push_journalled(entry)?;
                }
            }
        }
        runs.sort_unstable();
        runs.dedup();
        Ok(runs)
    }

    /// Keeps the entries whose object is there and stays, its lock extended where there are locks; they are of this run's
    /// generations then.
    async fn still_there(
        &self,
        terms: &LockTerms,
        entries: Vec<Entry>,
    ) -> Result<Vec<Entry>, Failure> {
        let references = entries
            .iter()
            .filter_map(|entry| entry.placement.reference());
        let mut objects: Vec<Reference> = references.cloned().collect();
        objects.sort_by(|a, b| (&a.key, &a.version).cmp(&(&b.key, &b.version)));
        objects.dedup();
        let there: Vec<Option<(ObjectKey, Option<ObjectVersion>)>> = stream::iter(objects)
            .map(|object| async move {
                match self.stays(terms, &object).await {
                    Ok(stays) => Ok(stays.then_some((object.key, object.version))),
                    Err(Error::Store(error)) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                }
            })
            .buffer_unordered(OBJECTS_AT_ONCE)
            .try_collect()
            .await?;
        let there: HashSet<_> = there.into_iter().flatten().collect();
        let place = |object: &Reference| (object.key.clone(), object.version.clone());
        let adopt = |mut entry: Entry| {
            let object = entry.placement.reference()?;
            let phase = phase_in(object.generation);
            there.contains(&place(object)).then(|| {
                entry.placement.adopt(terms.generation(phase));
                entry
            })
        };
        Ok(entries.into_iter().filter_map(adopt).collect())
    }

    /// Looks at an object that a journal names, and takes it over.
    async fn stays(&self, terms: &LockTerms, object: &Reference) -> Result<bool, Error> {
        let version = object.version.as_ref();
        let there = self.vault.store().attributes(&object.key, version).await?;
        if !terms.has_locks() {
            // The age of the journal was checked already.
            return Ok(true);
        }
        let until = terms.lock_until(phase_in(object.generation));
        let until = until.filter(|_| terms.may_extend());
        terms.take_over(self.store.as_ref(), &there, until).await
    }
}

pub(super) struct Journal<'a> {
    placer: Placer<'a>,
    pace: JournalPace,
    header: JournalHeader,
    table: Id128,
    next_seq: u64,
    run: Id128,
    written: u32,
    pending: Vec<Entry>,
    /// Since when the oldest of them waits.
    last: Instant,
}

impl<'a> Journal<'a> {
    /// Goes on after `written` journals of the same run.
    pub(super) fn start(
        placer: Placer<'a>,
        pace: JournalPace,
        inputs: Inputs<'_>,
        delta_id: String,
        written: u32,
    ) -> Self {
        let request = inputs.request;
        Self {
            placer,
            pace,
            header: JournalHeader {
                delta_id,
                format: FORMAT,
                principal: request.principal.clone(),
            },
            table: request.key.hash(),
            next_seq: inputs.view.head.next_free,
            run: request.run,
            written,
            pending: Vec::new(),
            last: Instant::now(),
        }
    }

    pub(super) fn written(&self) -> u32 {
        self.written
    }

    pub(super) fn note(&mut self, entry: &Entry) {
        if self.pending.is_empty() {
            self.last = Instant::now();
        }
        self.pending.push(entry.clone());
    }

    /// When what is pending has to be written down although nothing more comes.
    pub(super) fn due(&self) -> Option<Instant> {
        (!self.pending.is_empty()).then_some(self.last + self.pace.every)
    }

    pub(super) async fn flush_if_due(&mut self) -> Result<(), Error> {
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
            .put_new(
                &key,
                &Payload::from_bytes(body),
                self.placer.terms.lock_until(LockPhase::default()),
            )
            .await?;
        Ok(())
    }
}
