//! Holds a snapshot beyond its promise, releases it, and retires a table.
//!
//! A hold is put on in the order that makes the event true: first a legal hold on every object version that the snapshot
//! needs, then the event. A release goes the other way round, and leaves alone what another held snapshot needs, of
//! whatever table: equal files are one object. Killed anywhere, either is finished by being run again, and a snapshot is
//! never called held that is not.

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{self, StreamExt};
use serde::{Deserialize, Serialize};

use super::Vault;
use super::events::Doer;
use super::prune::{each_reference, place};
use crate::error::Error;
use crate::format::ledger::Bodies;
use crate::format::{Deed, Event, LockMode, TableKey, VaultKey};
use crate::ids::{ObjectKey, ObjectVersion, SnapshotId};
use crate::plan::choose::Snapshot;
use crate::plan::keep::held;
use crate::sort::Sorter;
use crate::store::{HoldStore, NoteStore, StoreError};

/// Objects that are held or released at a time.
const OBJECTS_AT_ONCE: usize = 32;

/// Holds and releases in one vault.
#[derive(Debug, Clone)]
pub struct Holder {
    /// The vault, for reading.
    pub vault: Vault,
    /// The vault, for holding.
    pub store: Arc<dyn HoldStore>,
    /// Where temporary files go.
    pub temp: PathBuf,
}

/// What a hold or a release came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HoldDone {
    /// Whether it was so before.
    pub was_so: bool,
    /// Object versions on which a legal hold was put, or from which it was taken; `None` in a vault without locks, where
    /// the event alone counts.
    pub objects: Option<u64>,
    /// Object versions that stay held for another snapshot.
    pub shared: u64,
}

/// An object version of a snapshot that is to be released, or of one that stays held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Grip {
    // Fields in the order in which they are compared: of one object, those that stay come first.
    key: ObjectKey,
    version: Option<ObjectVersion>,
    goes: bool,
}

impl Holder {
    /// Holds a snapshot.
    ///
    /// # Errors
    /// An object of it that is not there: then it is not held.
    pub async fn hold(&self, snapshot: &Snapshot, doer: &Doer) -> Result<HoldDone, Error> {
        let mut grips = Sorter::new(&self.temp)?;
        self.grip(snapshot, true, &mut grips).await?;
        let objects = match self.vault.file().lock_mode {
            LockMode::None => None,
            LockMode::Governance | LockMode::Compliance => Some(self.set(grips, true).await?.0),
        };
        let was_so = self.is_held(snapshot).await?;
        if !was_so {
            let deed = Deed::Hold {
                snapshot: snapshot.id,
            };
            self.append(&snapshot.table, deed, doer).await?;
        }
        Ok(HoldDone {
            was_so,
            objects,
            shared: 0,
        })
    }

    /// Releases a snapshot.
    ///
    /// # Errors
    /// What the store says; another release goes on.
    pub async fn release(&self, snapshot: &Snapshot, doer: &Doer) -> Result<HoldDone, Error> {
        let was_so = !self.is_held(snapshot).await?;
        if !was_so {
            let deed = Deed::Release {
                snapshot: snapshot.id,
            };
            self.append(&snapshot.table, deed, doer).await?;
        }
        if self.vault.file().lock_mode == LockMode::None {
            return Ok(HoldDone {
                was_so,
                objects: None,
                shared: 0,
            });
        }
        let mut grips = Sorter::new(&self.temp)?;
        self.grip(snapshot, true, &mut grips).await?;
        for table in self.vault.tables().await? {
            let held = held(&self.events(&table).await?);
            if held.is_empty() {
                continue;
            }
            let history = self.vault.history(&table, Bodies::new()).await?;
            for other in &history.snapshots {
                if held.contains_key(&other.id) {
                    self.grip(other, false, &mut grips).await?;
                }
            }
        }
        let (objects, shared) = self.set(grips, false).await?;
        Ok(HoldDone {
            was_so,
            objects: Some(objects),
            shared,
        })
    }

    async fn is_held(&self, snapshot: &Snapshot) -> Result<bool, Error> {
        let events = self.events(&snapshot.table).await?;
        Ok(held(&events).contains_key(&snapshot.id))
    }

    async fn events(&self, table: &TableKey) -> Result<Vec<Event>, Error> {
        let chain = self.vault.events(table).await?;
        let events = chain.links.iter().filter_map(|link| link.record().cloned());
        Ok(events.collect())
    }

    async fn append(&self, table: &TableKey, deed: Deed, doer: &Doer) -> Result<Event, Error> {
        let store = self.store.as_ref();
        self.vault.append_event(store, table, deed, doer).await
    }

    /// Takes note of every object version that a snapshot needs, its record included.
    async fn grip(
        &self,
        snapshot: &Snapshot,
        goes: bool,
        grips: &mut Sorter<Grip>,
    ) -> Result<(), Error> {
        let record = VaultKey::Record {
            table: snapshot.table.clone(),
            seq: snapshot.seq,
        };
        grips.push(Grip {
            key: record.object_key()?,
            version: snapshot.record_version.clone(),
            goes,
        })?;
        let mut seen = HashSet::new();
        let vault = self.vault.without_pages();
        each_reference(&vault, &snapshot.record, &mut seen, &mut |reference| {
            let (key, version) = place(reference);
            grips.push(Grip { key, version, goes })?;
            Ok(())
        })
        .await
    }

    /// Puts legal holds on what goes, or takes them off, unless it stays as well; how many of each.
    async fn set(&self, grips: Sorter<Grip>, on: bool) -> Result<(u64, u64), Error> {
        let mut shared = 0;
        let mut last: Option<Grip> = None;
        let mut failed = None;
        let goes = grips.finish()?.filter_map(|grip| {
            let grip = match grip {
                Ok(grip) => grip,
                Err(error) => return Some(Err(Error::from(error))),
            };
            let before = last
                .replace(grip.clone())
                .filter(|before| before.key == grip.key && before.version == grip.version);
            match before {
                // Told already, or stays.
                Some(before) => {
                    shared += u64::from(grip.goes && !before.goes);
                    None
                }
                None => grip.goes.then_some(Ok(grip)),
            }
        });
        let mut done = 0;
        let mut sets = stream::iter(goes)
            .map(|grip| async move {
                let grip = grip?;
                let version = grip.version.as_ref();
                let set = self.store.set_hold(&grip.key, version, on).await;
                match set {
                    Ok(()) => Ok(1),
                    // What is gone holds nothing any more.
                    Err(error) if error.is_not_found() && !on => Ok(0),
                    Err(error) => Err(lost(error)),
                }
            })
            .buffer_unordered(OBJECTS_AT_ONCE);
        while let Some(set) = sets.next().await {
            match set {
                Ok(one) => done += one,
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        drop(sets);
        match failed {
            Some(error) => Err(error),
            None => Ok((done, shared)),
        }
    }
}

fn lost(error: StoreError) -> Error {
    if error.is_not_found() {
        return Error::Damaged {
            object: error.uri,
            what: "the snapshot needs it and it is gone, so that it cannot be held".to_owned(),
        };
    }
    error.into()
}

/// Retires a table: its newest snapshot is no longer kept beyond its promise. `false`: it was retired before.
///
/// # Errors
/// What the store says.
pub async fn retire<S: NoteStore + ?Sized>(
    vault: &Vault,
    store: &S,
    table: &TableKey,
    doer: &Doer,
) -> Result<bool, Error> {
    let head = vault.head(table, &[]).await?.head;
    let last = head.link.as_ref().map_or(0, |link| link.seq);
    let events = vault.events(table).await?;
    let events = events.links.iter().filter_map(|link| link.record());
    if crate::plan::keep::is_retired(events, last) {
        return Ok(false);
    }
    let deed = Deed::Retire { last };
    vault.append_event(store, table, deed, doer).await?;
    Ok(true)
}

/// The snapshots of a table that are held.
///
/// # Errors
/// What the store says.
pub async fn held_of(vault: &Vault, table: &TableKey) -> Result<HashSet<SnapshotId>, Error> {
    let events = vault.events(table).await?;
    let events: Vec<&Event> = events
        .links
        .iter()
        .filter_map(|link| link.record())
        .collect();
    Ok(held(events).into_keys().collect())
}
