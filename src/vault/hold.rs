//! Holds a snapshot beyond its promise, releases it, and retires a table.
//!
//! A hold is put on in the order that makes the event true: first a legal hold on every object version that the snapshot
//! needs, then the event. A release goes the other way round, and leaves alone what another held snapshot needs, of
//! whatever table: equal files are one object. Killed anywhere, either is finished by being run again, and a snapshot is
//! never called held that is not.
//!
//! **Repairs.** What a repair put in the place of something that the snapshot names is held with it, and what is gone may
//! be held so alone.
//!
//! **Beside a release.** A release reads what else is held before it takes anything off and once more afterwards, until
//! both readings agree, and holds again what both snapshots need; a hold looks after its event whether everything is
//! still held. Whichever of event and second reading came first, the other one sees it. A release that cannot read what
//! another table holds changes nothing.
//!
//! **Beside a prune.** A prune looks for new events before its first batch of deletions and every half minute from then
//! on, and stops. That leaves the batches that are deleted before it looks again: without locks nothing keeps what
//! is in them, and a server may look at the legal holds of a whole batch first and delete then, as `MinIO` does.
//! Nothing in them can be what was kept until the event, because no survey had found that useless. So a hold of a
//! snapshot that something keeps for another hour, by this machine's clock, is sure. Another one looks whether
//! everything is still there after its event, takes the hold back where something is gone, and is else reported as
//! unsure ([`HoldDone::is_sure`]): the same hold, once the prune must have looked ([`SETTLED`]), finds everything
//! there, or names what is gone. What was held before that run it leaves held: whether to release it is for its owner
//! to say. In a folder the commands lock each other out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};
use jiff::SignedDuration;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::events::{Actor, EventChain, by_now};
use super::prune::decide;
use super::substitutes::{Gone, Name, Names, names_of, substitutes};
use super::walk::{Each, OnDamage, Seen, Use, each_object, walk};
use super::{Vault, oldest_version};
use crate::error::Error;
use crate::format::layout::{BLOBS_PREFIX, MANIFESTS_PREFIX, PAGES_PREFIX};
use crate::format::ledger::Bodies;
use crate::format::{Event, EventAction, EventRole, LockMode, TableKey, VaultKey};
use crate::ids::{ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use crate::plan::choose::{ChooseError, Snapshot};
use crate::plan::keep::{held, is_retired};
use crate::sort::Sorter;
use crate::store::{HoldStore, ListedVersion, NoteStore, StoreError, local_path};

const OBJECTS_AT_ONCE: usize = 32;

/// Up to this many files, the substitutes of each are looked for by a listing of its own: that costs no more than the
/// listing of a vault with a million objects, which comes a thousand keys at a time.
const ASKED_FOR_ALONE: u64 = 1000;

/// After this a prune that was under way has looked for new events and every call of before has ended: one is given up
/// earlier, all its attempts and the difference of two clocks included.
pub const SETTLED: SignedDuration = SignedDuration::from_mins(15);

/// What something keeps for so long cannot have been found useless by any clock.
const SURELY_KEPT: SignedDuration = SignedDuration::from_hours(1);

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
    pub already: bool,
    /// Object versions on which a legal hold was put, or from which it was taken; `None` in a vault without locks, where
    /// the event alone counts.
    pub objects: Option<u64>,
    /// Object versions that stay held for another snapshot.
    pub shared: u64,
    /// Whether no prune can be deleting what is held; else the same hold tells after [`SETTLED`].
    pub is_sure: bool,
}

/// An object version of a snapshot that is to be released, or of one that stays held.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct NeededObject {
    // Fields in the order in which they are compared: of one object, those that stay come first.
    key: ObjectKey,
    version: Option<ObjectVersion>,
    goes: bool,
}

/// The names under which one listing of the vault has shown objects with a suffix: a substitute is only looked for under
/// these. `None`: each is looked for by a listing of its own.
type Shown = Option<Names>;

/// What a pass over object versions came to.
#[derive(Default)]
struct Passed {
    /// How many it was done with.
    done: u64,
    /// How many of them stay held for another snapshot.
    shared: u64,
    /// Objects that are gone, with their URIs.
    gone: BTreeMap<ObjectKey, String>,
}

/// What is done with an object version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Hold,
    /// It is held where it is not.
    HoldAgain,
    Release,
}

impl Holder {
    /// Holds a snapshot.
    ///
    /// # Errors
    /// [`Error::Damaged`] for an object of it that is not there: then it is not held, unless it was before.
    /// [`Error::HeldTooLate`] for one that was deleted meanwhile: then the hold was taken back.
    pub async fn hold(&self, snapshot: &Snapshot, actor: &Actor) -> Result<HoldDone, Error> {
        let begun = Instant::now();
        let objects = self.hold_all(snapshot, Act::Hold).await?;
        let events = self.events(&snapshot.table).await?;
        let mut held = held(events.records());
        let since = held.remove(&snapshot.id).map(|(since, _)| since);
        // By when it is said that it is held, all of it is: that may take hours.
        let now = by_now(actor.now, begun.elapsed());
        let actor = &Actor {
            now,
            ..actor.clone()
        };
        // What is lost among the events may have been a hold, and the next event gives it up.
        if since.is_none() || events.out_of_sight().next().is_some() {
            let action = EventAction::Hold {
                snapshot: snapshot.id,
            };
            self.append(&snapshot.table, action, actor).await?;
        }
        if let Err(error) = self.hold_all(snapshot, Act::HoldAgain).await {
            let Error::Damaged { object, .. } = &error else {
                return Err(error);
            };
            if since.is_some() {
                return Err(error);
            }
            let late = Error::HeldTooLate {
                snapshot: snapshot.id,
                object: object.clone(),
            };
            return match self.release(snapshot, actor).await {
                Err(error) if !error.is_damage() => Err(error),
                Ok(_) | Err(_) => Err(late),
            };
        }
        Ok(HoldDone {
            already: since.is_some(),
            objects: self.has_locks().then_some(objects),
            shared: 0,
            is_sure: self.is_sure(snapshot, since, now).await?,
        })
    }

    /// Whether no prune can be deleting what a snapshot needs that is held now, and was since then.
    async fn is_sure(
        &self,
        snapshot: &Snapshot,
        since: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<bool, Error> {
        let soon = now.saturating_add(SURELY_KEPT).unwrap_or(now);
        if local_path(self.vault.uri()).is_some()
            || snapshot.record.promise > soon
            || since.is_some_and(|since| now.duration_since(since) >= SETTLED)
        {
            return Ok(true);
        }
        let history = self.vault.history(&snapshot.table, Bodies::new()).await?;
        let listed = self.vault.list_events(&snapshot.table).await?;
        let holder = listed.read(EventRole::Holder).await?;
        // Where it cannot be read whether the table is retired, the table keeps nothing for sure.
        let Ok(pruner) = listed.read(EventRole::Pruner).await else {
            return Ok(false);
        };
        let holds_it = EventAction::Hold {
            snapshot: snapshot.id,
        };
        let others = holder.records().filter(|event| event.action != holds_it);
        let events: Vec<Event> = others.chain(pruner.records()).cloned().collect();
        let decisions = decide(&history, &events, soon);
        let mut kept = decisions.iter().filter(|it| it.reason.keeps());
        Ok(kept.any(|decision| decision.id == snapshot.id))
    }

    /// Releases a snapshot.
    ///
    /// # Errors
    /// [`Error::HoldsUnread`] when it cannot be found out what else is on hold: then nothing was changed. What is damaged in the
    /// snapshot itself does not keep it from being released. What the store says; another release goes on.
    pub async fn release(&self, snapshot: &Snapshot, actor: &Actor) -> Result<HoldDone, Error> {
        let release = async || {
            let is_held = self.held_since(snapshot).await?.is_some();
            if is_held {
                let action = EventAction::Release {
                    snapshot: snapshot.id,
                };
                self.append(&snapshot.table, action, actor).await?;
            }
            Ok::<_, Error>(!is_held)
        };
        let mut done = HoldDone {
            already: false,
            objects: None,
            shared: 0,
            is_sure: true,
        };
        if !self.has_locks() {
            done.already = release().await?;
            return Ok(done);
        }
        let mut held = self.held_anywhere().await?;
        let (mut needed, damage) = self.what_goes(snapshot, &held).await?;
        done.already = release().await?;
        loop {
            let passed = self.pass(needed, Act::Release).await?;
            (done.objects, done.shared) = (Some(passed.done), passed.shared);
            let then = self.held_anywhere().await?;
            if then.contains_key(&snapshot.id) {
                // Somebody else has held it since.
                self.hold_all(snapshot, Act::HoldAgain).await?;
                break;
            }
            let others = held.keys().filter(|id| **id != snapshot.id);
            if then.keys().eq(others) {
                break;
            }
            held = then;
            (needed, _) = self.what_goes(snapshot, &held).await?;
        }
        damage.map_or(Ok(done), Err)
    }

    /// The objects that a snapshot needs and those that all others on hold need; the error is why the former are not known
    /// in full.
    async fn what_goes(
        &self,
        snapshot: &Snapshot,
        held: &BTreeMap<SnapshotId, Snapshot>,
    ) -> Result<(Sorter<NeededObject>, Option<Error>), Error> {
        let mut needed = Sorter::new(&self.temp)?;
        let others = held.values().filter(|other| other.id != snapshot.id);
        let all = std::iter::once(snapshot).chain(others.clone());
        let shown = self.shown(all).await?;
        let damage = match self.needed_by(snapshot, true, &shown, &mut needed).await {
            Ok(()) => None,
            Err(error) if error.is_damage() => Some(error),
            Err(error) => return Err(error),
        };
        for other in others {
            let read = self.needed_by(other, false, &shown, &mut needed).await;
            read.map_err(|error| unread(&other.table, error))?;
        }
        Ok((needed, damage))
    }

    async fn held_anywhere(&self) -> Result<BTreeMap<SnapshotId, Snapshot>, Error> {
        let mut snapshots = BTreeMap::new();
        for table in self.vault.tables().await? {
            let of_table = self.held_in(&table).await;
            let of_table = of_table.map_err(|error| unread(&table, error))?;
            snapshots.extend(of_table.into_iter().map(|snapshot| (snapshot.id, snapshot)));
        }
        Ok(snapshots)
    }

    async fn held_in(&self, table: &TableKey) -> Result<Vec<Snapshot>, Error> {
        let events = self.events(table).await?;
        let mut records = events.records();
        if let Some(event) = records.find(|it| it.action.is_unreadable_retention()) {
            return Err(Error::Damaged {
                object: VaultKey::Event {
                    table: table.clone(),
                    role: events.role,
                    seq: event.seq,
                }
                .to_string(),
                what: format!("a {} that this tool cannot read", event.action.name()),
            });
        }
        let held = held(events.records());
        if held.is_empty() {
            return Ok(Vec::new());
        }
        let mut snapshots = self.vault.history(table, Bodies::new()).await?.snapshots;
        snapshots.retain(|snapshot| held.contains_key(&snapshot.id));
        Ok(snapshots)
    }

    fn has_locks(&self) -> bool {
        self.vault.file().lock_mode != LockMode::None
    }

    async fn held_since(&self, snapshot: &Snapshot) -> Result<Option<Timestamp>, Error> {
        let events = self.events(&snapshot.table).await?;
        let mut held = held(events.records());
        Ok(held.remove(&snapshot.id).map(|(since, _)| since))
    }

    async fn events(&self, table: &TableKey) -> Result<EventChain, Error> {
        self.vault.events(table, EventRole::Holder).await
    }

    async fn append(
        &self,
        table: &TableKey,
        action: EventAction,
        actor: &Actor,
    ) -> Result<Event, Error> {
        let store = self.store.as_ref();
        self.vault.append_event(store, table, action, actor).await
    }

    /// How the substitutes of what some snapshots need are looked for.
    async fn shown(&self, snapshots: impl Iterator<Item = &Snapshot>) -> Result<Shown, Error> {
        let files = snapshots.map(|snapshot| snapshot.record.totals.files);
        if files.fold(0, u64::saturating_add) <= ASKED_FOR_ALONE {
            return Ok(None);
        }
        let mut names = Names::default();
        for prefix in [BLOBS_PREFIX, MANIFESTS_PREFIX, PAGES_PREFIX] {
            let mut listing = self.vault.store().list_versions(prefix, None);
            while let Some(row) = listing.try_next().await? {
                if let ListedVersion::Object(object) = row
                    && let Some(VaultKey::Content {
                        area,
                        sha256,
                        suffix: Some(_),
                    }) = VaultKey::parse(object.key.as_str())
                {
                    names.insert(&(area, sha256, object.size));
                }
            }
        }
        Ok(Some(names))
    }

    /// Takes note of every object version that a snapshot needs, its record and what a repair put included.
    async fn needed_by(
        &self,
        snapshot: &Snapshot,
        goes: bool,
        shown: &Shown,
        needed: &mut Sorter<NeededObject>,
    ) -> Result<(), Error> {
        let record = VaultKey::Record {
            table: snapshot.table.clone(),
            seq: snapshot.seq,
        };
        needed.push(NeededObject {
            key: record.object_key()?,
            version: snapshot.record_version.clone(),
            goes,
        })?;
        let mut hits: BTreeSet<(ObjectKey, Name)> = BTreeSet::new();
        let vault = self.vault.without_pages();
        let mut hold = each_object(|reference| {
            let (key, version) = (reference.key.clone(), reference.version.clone());
            Ok(needed.push(NeededObject { key, version, goes })?)
        });
        let mut each = |used: Use<'_>| {
            if let Some(reference) = used.reference() {
                let names = names_of(used)
                    .filter(|name| shown.as_ref().is_none_or(|shown| shown.contains(name)));
                hits.extend(names.map(|name| (reference.key.clone(), name)));
            }
            hold(used)
        };
        walk_all(&vault, snapshot, &mut each).await?;
        drop(hold);
        let mut found = stream::iter(&hits)
            .map(|(key, name)| substitutes(&vault, key, *name))
            .buffer_unordered(OBJECTS_AT_ONCE);
        while let Some(places) = found.try_next().await? {
            for (key, version) in places {
                needed.push(NeededObject { key, version, goes })?;
            }
        }
        Ok(())
    }

    /// Does what is to be done with everything that a snapshot needs; see [`Holder::pass`].
    ///
    /// # Errors
    /// [`Error::Damaged`] for an object that is gone, when nothing serves in its place.
    async fn hold_all(&self, snapshot: &Snapshot, act: Act) -> Result<u64, Error> {
        let mut needed = Sorter::new(&self.temp)?;
        let shown = self.shown(std::iter::once(snapshot)).await?;
        self.needed_by(snapshot, true, &shown, &mut needed).await?;
        let mut passed = self.pass(needed, act).await?;
        if passed.gone.is_empty() {
            return Ok(passed.done);
        }
        let mut gone = Gone::default();
        for key in passed.gone.keys() {
            gone.insert(key.clone());
        }
        let vault = self.vault.without_pages();
        let mut each = |used: Use<'_>| {
            gone.note(used, true);
            Ok(())
        };
        walk_all(&vault, snapshot, &mut each).await?;
        let first = gone.served(&vault).await?.lost.into_iter().next();
        match first.and_then(|key| passed.gone.remove(&key)) {
            Some(object) => Err(Error::Damaged {
                object,
                what: "the snapshot needs it and it is gone, so that it cannot be held".to_owned(),
            }),
            None => Ok(passed.done),
        }
    }

    /// Does what is to be done with each object version; with what stays as well, that it is held.
    async fn pass(&self, needed: Sorter<NeededObject>, act: Act) -> Result<Passed, Error> {
        let mut passed = Passed::default();
        let shared = &mut passed.shared;
        let mut last: Option<NeededObject> = None;
        let acts = needed.finish()?.filter_map(|object| {
            let object = match object {
                Ok(object) => object,
                Err(error) => return Some(Err(Error::from(error))),
            };
            let before = last
                .replace(object.clone())
                .filter(|before| before.key == object.key && before.version == object.version);
            match before {
                Some(before) if object.goes && !before.goes => {
                    *shared += 1;
                    Some(Ok((object, true)))
                }
                Some(_) => None,
                None => object.goes.then_some(Ok((object, false))),
            }
        });
        let mut under_way = stream::iter(acts)
            .map(|next| async move {
                let (object, stays) = next?;
                let this = if stays { Act::HoldAgain } else { act };
                match self.act(&object, this).await {
                    Ok(()) => Ok((u64::from(!stays), None)),
                    // What is gone holds nothing any more.
                    Err(error) if error.is_nowhere() && act == Act::Release => Ok((0, None)),
                    Err(error) if error.is_nowhere() => Ok((0, Some((object.key, error.uri)))),
                    Err(error) => Err(Error::from(error)),
                }
            })
            .buffer_unordered(OBJECTS_AT_ONCE);
        while let Some((done, gone)) = under_way.try_next().await? {
            passed.done += done;
            passed.gone.extend(gone);
        }
        drop(under_way);
        Ok(passed)
    }

    async fn act(&self, object: &NeededObject, act: Act) -> Result<(), StoreError> {
        let (key, version) = (&object.key, object.version.as_ref());
        if !self.has_locks() {
            let there = self.vault.store().attributes(key, version).await;
            return match there {
                // In a plain copy of a vault objects have other versions.
                Err(error) if error.is_not_found() => {
                    let other = oldest_version(self.vault.store(), key).await?;
                    other.map(|_| ()).ok_or(error)
                }
                there => there.map(|_| ()),
            };
        }
        let is_done = act == Act::HoldAgain && self.store.is_held(key, version).await?;
        if is_done {
            return Ok(());
        }
        let held = act != Act::Release;
        self.store.set_hold(key, version, held).await
    }
}

async fn walk_all(vault: &Vault, snapshot: &Snapshot, each: &mut Each<'_>) -> Result<(), Error> {
    let (refuse, mut seen) = (OnDamage::Refuse, Seen::new());
    walk(vault, &snapshot.record, refuse, &mut seen, each).await
}

fn unread(table: &TableKey, error: Error) -> Error {
    Error::HoldsUnread {
        table: table.to_string(),
        source: Box::new(error),
    }
}

/// Retires a table: its newest snapshot is no longer kept beyond its promise. `false`: it was retired before.
///
/// # Errors
/// [`ChooseError::NoSnapshot`], and what the store says.
pub async fn retire<S: NoteStore + ?Sized>(
    vault: &Vault,
    store: &S,
    table: &TableKey,
    actor: &Actor,
) -> Result<bool, Error> {
    let head = vault.head(table, &[]).await?.head;
    let Some(newest) = head.link.as_ref().map(|link| link.id) else {
        let table = table.to_string();
        return Err(ChooseError::NoSnapshot { table }.into());
    };
    let events = vault.events(table, EventRole::Pruner).await?;
    if is_retired(events.records(), newest) {
        return Ok(false);
    }
    let action = EventAction::Retire { snapshot: newest };
    vault.append_event(store, table, action, actor).await?;
    Ok(true)
}
