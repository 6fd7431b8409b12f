//! Before a record is put, every object that it will reference is locked until its promise: what is short is extended.
//!
//! On most nights nothing is, and nothing is read for it. Else the manifest's pages are walked in bounded memory, and
//! exactly the objects of the generations that are short are extended, each once, by object version. What was extended
//! and is then not published is locked for longer than anybody needs, and does no other harm.

use std::collections::{BTreeMap, BTreeSet};
use std::iter::Peekable;

use futures::stream::{self, StreamExt, TryStreamExt};
use serde::{Deserialize, Serialize};

use super::failure::Failure;
use super::lock_terms::LockTerms;
use super::planned::Planned;
use super::snapshotter::Snapshotter;
use crate::error::Error;
use crate::format::{Manifest, Record, Reference};
use crate::ids::{Generation, ObjectKey, ObjectVersion, Timestamp};
use crate::plan::price::Commitment;
use crate::plan::retention::{LockExtension, LockPhase, is_short};
use crate::sort::{Sorted, Sorter};
use crate::spool::Scratch;
use crate::store::{StoreError, StoreErrorKind};
use crate::vault::walk::{OnDamage, Seen, Use, walk_manifest};

/// Locks being extended at a time: what hides the latency of a store without asking it to slow us down.
const EXTENSIONS_AT_ONCE: usize = 64;

/// One reference to an object whose lock is short.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Short {
    key: ObjectKey,
    version: Option<ObjectVersion>,
    until: Timestamp,
    generation: Generation,
    size: u64,
}

/// The objects of a manifest whose locks are short, each once.
struct Walked {
    rows: Peekable<Sorted<Short>>,
    /// The generations that occur in the manifest.
    seen: BTreeSet<Generation>,
    _scratch: Scratch,
}

impl Walked {
    /// The next object, until when it has to be locked, and the generations that it is in.
    fn next_object(&mut self) -> Option<Result<(Short, BTreeSet<Generation>), Error>> {
        let mut object = match self.rows.next()? {
            Ok(row) => row,
            Err(error) => return Some(Err(error.into())),
        };
        let mut generations = BTreeSet::from([object.generation]);
        while let Some(Ok(row)) = self.rows.next_if(|row| {
            row.as_ref()
                .is_ok_and(|row| row.key == object.key && row.version == object.version)
        }) {
            object.until = object.until.max(row.until);
            generations.insert(row.generation);
        }
        Some(Ok((object, generations)))
    }
}

impl Snapshotter {
    /// Extends what is short of the manifest that `record` names, and returns what is proven of each generation.
    ///
    /// `manifest` is that manifest where it is at hand.
    pub(super) async fn extend_locks(
        &self,
        terms: &LockTerms,
        record: &Record,
        manifest: Option<&Manifest>,
    ) -> Result<BTreeMap<Generation, Timestamp>, Failure> {
        let mut locks = terms.locks();
        let Some(mut walked) = self.short_objects(terms, record, manifest, &locks).await? else {
            return Ok(locks);
        };
        let mut proven: BTreeMap<Generation, Timestamp> = BTreeMap::new();
        let objects = stream::iter(std::iter::from_fn(|| walked.next_object()));
        let mut extended = objects
            .map(|object| async {
                let (object, generations) = object?;
                let (key, version) = (&object.key, object.version.as_ref());
                let store = self.store.as_ref();
                match terms.extend(store, key, version, object.until).await {
                    Ok(lock) => Ok((generations, lock)),
                    Err(Error::Store(error)) if error.is_not_found() => Err(Failure::Gone {
                        object: key.to_string(),
                        manifest: record.manifest.sha256,
                    }),
                    Err(error) => Err(error.into()),
                }
            })
            .buffer_unordered(EXTENSIONS_AT_ONCE);
        while let Some((generations, lock)) = extended.try_next().await? {
            for generation in generations {
                let earliest = proven.entry(generation).or_insert(lock);
                *earliest = (*earliest).min(lock);
            }
        }
        drop(extended);
        locks.retain(|generation, _| walked.seen.contains(generation));
        locks.extend(proven);
        for generation in &walked.seen {
            if is_short(&locks, *generation, terms.chosen.promise) {
                let object = record.manifest.key.to_string();
                let what = "an object of it is not locked for as long as was promised".to_owned();
                return Err(Error::Damaged { object, what }.into());
            }
        }
        Ok(locks)
    }

    /// What a plan newly commits to, as far as it is known before anything is copied.
    pub(super) async fn commitment_of(&self, planned: &Planned) -> Result<Commitment, Failure> {
        let base = planned.plan.pinned.reused();
        let base = base.map(|base| (&*base.past.record, Some(&base.manifest)));
        self.commitment(&planned.plan.terms, base, planned.copies.bytes)
            .await
    }

    /// What a snapshot newly commits to: `new` bytes, and those of `base`, whose manifest it goes on from, that have to
    /// be locked for longer.
    pub(super) async fn commitment(
        &self,
        terms: &LockTerms,
        base: Option<(&Record, Option<&Manifest>)>,
        new: u64,
    ) -> Result<Commitment, Failure> {
        let mut commitment = Commitment::default();
        commitment.add_new(new, terms.kept());
        let locks = terms.locks();
        let Some((record, manifest)) = base else {
            return Ok(commitment);
        };
        if let Some(mut walked) = self.short_objects(terms, record, manifest, &locks).await? {
            while let Some(object) = walked.next_object() {
                let (object, generations) = object?;
                let held = generations.iter().filter_map(|of| locks.get(of)).min();
                let held = held.copied().unwrap_or(terms.now());
                let longer = object.until.duration_since(held.max(terms.now()));
                commitment.add_longer(object.size, longer);
            }
        }
        Ok(commitment)
    }

    /// Looks whether the store keeps a lock that it was given with a put: the newest object's stands for the run's.
    pub(super) async fn check_lock(
        &self,
        terms: &LockTerms,
        put: &Reference,
    ) -> Result<(), Failure> {
        let Some(until) = terms.lock_until(LockPhase::default()) else {
            return Ok(());
        };
        let store = self.store.as_ref();
        let there = store.attributes(&put.key, put.version.as_ref()).await?;
        if there.locked_until.is_none_or(|locked| locked < until) {
            // It may have been adopted, or the lock may not be ours to see.
            terms
                .extend(store, &put.key, put.version.as_ref(), until)
                .await?;
            let there = store.attributes(&put.key, put.version.as_ref()).await?;
            if there.locked_until.is_some_and(|locked| locked < until) {
                let reason = "the store does not keep the locks that it is given".to_owned();
                let kind = StoreErrorKind::Unsupported { reason };
                let source = Box::new(StoreError::below(
                    "lock",
                    store.uri(),
                    put.key.as_str(),
                    kind,
                ));
                let object = put.key.to_string();
                return Err(Failure::Error(Error::LockRefused {
                    object,
                    until,
                    source,
                }));
            }
        }
        Ok(())
    }

    /// Walks a manifest when something of it is short; `None` when nothing can be.
    async fn short_objects(
        &self,
        terms: &LockTerms,
        record: &Record,
        manifest: Option<&Manifest>,
        locks: &BTreeMap<Generation, Timestamp>,
    ) -> Result<Option<Walked>, Failure> {
        if !terms.has_locks() {
            return Ok(None);
        }
        let needs = terms.needs(locks);
        // A record that says nothing of its own manifest's lock says nothing that counts.
        if needs.is_empty() && locks.contains_key(&record.manifest.generation) {
            return Ok(None);
        }
        let read;
        let manifest = if let Some(manifest) = manifest {
            manifest
        } else {
            read = self.vault.manifest(record).await?;
            &read
        };
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let mut short = ShortLocks {
            terms,
            locks,
            needs,
            rows: Sorter::new(scratch.path())?,
            seen: BTreeSet::new(),
            last: None,
        };
        let mut each = |used: Use<'_>| used.reference().map_or(Ok(()), |it| short.see(it));
        let (refuse, mut seen) = (OnDamage::Refuse, Seen::new());
        let reference = &record.manifest;
        walk_manifest(
            &self.vault,
            reference,
            manifest,
            refuse,
            &mut seen,
            &mut each,
        )
        .await?;
        Ok(Some(Walked {
            rows: short.rows.finish()?.peekable(),
            seen: short.seen,
            _scratch: scratch,
        }))
    }
}

/// References on their way to be sorted.
struct ShortLocks<'a> {
    terms: &'a LockTerms,
    locks: &'a BTreeMap<Generation, Timestamp>,
    needs: BTreeMap<Generation, LockExtension>,
    rows: Sorter<Short>,
    seen: BTreeSet<Generation>,
    /// The files of a pack often stand beside each other.
    last: Option<Reference>,
}

impl ShortLocks<'_> {
    fn see(&mut self, reference: &Reference) -> Result<(), Error> {
        if self.last.as_ref() == Some(reference) {
            return Ok(());
        }
        self.last = Some(reference.clone());
        let generation = reference.generation;
        self.seen.insert(generation);
        let need = match self.needs.get(&generation) {
            Some(need) => *need,
            None if self.locks.contains_key(&generation) => return Ok(()),
            None => self.terms.need_of_unknown(generation),
        };
        Ok(self.rows.push(Short {
            key: reference.key.clone(),
            version: reference.version.clone(),
            until: need.until,
            generation,
            size: reference.size,
        })?)
    }
}
