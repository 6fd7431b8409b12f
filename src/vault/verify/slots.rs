//! Looks at what keeps a table's records, events and seals in their slots: their own locks, and the legal holds of records
//! that are on hold. Without them whoever may delete shortens the chain, and a missing tail is hard to see.

use std::collections::HashMap;

use futures::{StreamExt, stream};
use jiff::SignedDuration;

use super::sums::Kind;
use super::{OBJECTS_AHEAD, Verify, unreadable};
use crate::error::Error;
use crate::format::{LockMode, TableKey, VaultKey};
use crate::ids::{Digest, ObjectKey, ObjectVersion, Timestamp};
use crate::plan::choose::Snapshot;
use crate::plan::verify::{is_locked_long, is_locked_short};
use crate::store::StoreError;
use crate::vault::Vault;
use crate::vault::events::EventChain;

/// The oldest object version of each seal in a table's chains.
pub(super) type Seals = HashMap<ObjectKey, Option<ObjectVersion>>;

/// An object in a slot, or beside it.
struct InSlot {
    key: ObjectKey,
    version: Option<ObjectVersion>,
    of: Of,
}

/// What an object belongs to.
#[derive(Clone, Copy)]
enum Of {
    /// A record, by the ordinal of its snapshot.
    Record(usize),
    /// The seal of a record.
    RecordSeal(usize),
    /// An event that says it was written then, or its seal.
    Event(Timestamp),
}

/// What the store says of an object.
struct Looked {
    locked_until: Option<Timestamp>,
    taken: Timestamp,
    /// Whether a legal hold is on it, where one has to be.
    is_held: Option<bool>,
}

impl Verify<'_, '_> {
    /// Looks at the records of a table, whose snapshots begin at `first`, and at their seals.
    pub(super) async fn record_slots(
        &mut self,
        table: usize,
        first: usize,
        newest_first: &[&Snapshot],
        seals: &Seals,
    ) -> Result<(), Error> {
        let mut slots = Vec::new();
        for (age, snapshot) in newest_first.iter().enumerate() {
            let user = first + age;
            let is_held = self.snapshots.get(user).is_some_and(|it| it.is_held);
            if !self.looks_at_slot(snapshot.id.0, age == 0 || is_held) {
                continue;
            }
            let (table, seq, sha256) = (snapshot.table.clone(), snapshot.seq, snapshot.id.0);
            let record = VaultKey::Record {
                table: table.clone(),
                seq,
            };
            slots.push(InSlot {
                key: record.object_key()?,
                version: snapshot.record_version.clone(),
                of: Of::Record(user),
            });
            let seal = VaultKey::RecordSeal { table, seq, sha256 };
            slots.extend(sealed(&seal, seals, Of::RecordSeal(user))?);
        }
        self.slots(table, slots).await
    }

    /// Looks at the events in one role's chain of a table and at their seals.
    pub(super) async fn event_slots(
        &mut self,
        table: usize,
        key: &TableKey,
        events: &EventChain,
        seals: &Seals,
    ) -> Result<(), Error> {
        let mut slots = Vec::new();
        for (age, link) in events.chain.links.iter().rev().enumerate() {
            let Some(event) = link.record() else { continue };
            if !self.looks_at_slot(link.id.0, age == 0) {
                continue;
            }
            let (table, seq, sha256) = (key.clone(), link.seq, link.id.0);
            let role = events.role;
            let slot = VaultKey::Event {
                table: table.clone(),
                role,
                seq,
            };
            slots.push(InSlot {
                key: slot.object_key()?,
                version: link.version.clone(),
                of: Of::Event(event.at),
            });
            let seal = VaultKey::EventSeal {
                table,
                role,
                seq,
                sha256,
            };
            slots.extend(sealed(&seal, seals, Of::Event(event.at))?);
        }
        self.slots(table, slots).await
    }

    fn looks_at_slot(&self, sha256: Digest, always: bool) -> bool {
        let has_locks = self.vault.file().lock_mode != LockMode::None;
        has_locks && self.plan.looks_at_lock(sha256, always)
    }

    async fn slots(&mut self, table: usize, slots: Vec<InSlot>) -> Result<(), Error> {
        let vault = self.vault;
        let held: Vec<bool> = slots.iter().map(|slot| self.has_to_be_held(slot)).collect();
        let mut looks = stream::iter(slots.into_iter().zip(held))
            .map(|(slot, held)| async move {
                let looked = look(vault, &slot, held).await;
                (slot, looked)
            })
            .buffered(OBJECTS_AHEAD);
        while let Some((slot, looked)) = looks.next().await {
            let object = slot.key.as_str();
            match (looked, slot.of) {
                (Ok(looked), Of::Record(user) | Of::RecordSeal(user)) => {
                    self.note_lock(&[user], object, looked.locked_until);
                    if looked.is_held == Some(false) {
                        self.note(Kind::Unheld, &[user], object);
                    }
                }
                (Ok(looked), Of::Event(at)) => self.note_event(table, object, at, &looked),
                // A delete marker hides it, which is reported as such.
                (Err(error), _) if error.is_not_found() => {}
                (Err(error), _) => {
                    // One is enough to say what the role may not do.
                    return self.report_alone(Some(table), object, unreadable(&error));
                }
            }
        }
        Ok(())
    }

    fn has_to_be_held(&self, slot: &InSlot) -> bool {
        match slot.of {
            Of::Record(user) => self.snapshots.get(user).is_some_and(|it| it.is_held),
            Of::RecordSeal(_) | Of::Event(_) => false,
        }
    }

    /// Takes note of an event that is locked for less than the shortest promise, or for longer than any. Its own time may be
    /// a forgery: where the store took it earlier, the store's counts.
    fn note_event(&mut self, table: usize, object: &str, at: Timestamp, looked: &Looked) {
        let until = looked.locked_until;
        let days = i64::from(self.vault.file().shortest_days);
        let covered = at
            .min(looked.taken)
            .checked_add(SignedDuration::from_hours(24 * days))
            .unwrap_or(Timestamp::MAX);
        if covered > self.plan.now && is_locked_short(until, covered) {
            self.note_of((Kind::Unlocked, table), Vec::new(), object, until);
        }
        if let Some(end) = until
            && is_locked_long(end, looked.taken, self.vault.file())
        {
            self.note_of((Kind::Overlocked, table), Vec::new(), object, until);
        }
    }
}

/// The seal of a slot, where it has one: a writer may have ended just before it.
fn sealed(seal: &VaultKey, seals: &Seals, of: Of) -> Result<Option<InSlot>, Error> {
    let key = seal.object_key()?;
    let version = seals.get(&key);
    Ok(version.cloned().map(|version| InSlot { key, version, of }))
}

async fn look(vault: &Vault, slot: &InSlot, held: bool) -> Result<Looked, StoreError> {
    let (store, version) = (vault.store(), slot.version.as_ref());
    let attributes = store.attributes(&slot.key, version).await?;
    let is_held = if held {
        Some(store.is_held(&slot.key, version).await?)
    } else {
        None
    };
    Ok(Looked {
        locked_until: attributes.locked_until,
        taken: attributes.last_modified,
        is_held,
    })
}
