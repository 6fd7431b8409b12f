//! A table's events: read as its records are, and appended by one put-if-absent.
//!
//! Each role has a chain of its own. A command reads the chains that it depends on and no other, so that what lies in one
//! role's chain stands in no other role's way.

use std::collections::HashMap;
use std::time::Duration;

use jiff::SignedDuration;

use super::{Slot, SlotFolder, Vault, oldest_version};
use crate::error::Error;
use crate::format::ledger::{self, Bodies, Chain, Head, LedgerFinding, Link, ScarReason, Slots};
use crate::format::{
    Event, EventAction, EventRole, FORMAT, FormatError, LockMode, TableKey, layout,
};
use crate::ids::{Digest, Id128, ObjectKey, Timestamp};
use crate::plan::retention::lock_floor;
use crate::store::{NoteStore, Payload, StoreError, StoreErrorKind, Written, read_all};

/// How often a run that lost a slot tries the next one.
const APPEND_ATTEMPTS: usize = 16;

/// Who does something, and when.
#[derive(Debug, Clone)]
pub struct Actor {
    /// The time.
    pub now: Timestamp,
    /// User and host, or the caller's ARN.
    pub principal: String,
    /// 128 random bits.
    pub run: Id128,
    /// The tool and its version.
    pub tool: String,
}

/// One role's chain of events.
#[derive(Debug, Clone)]
pub struct EventChain {
    /// The role.
    pub role: EventRole,
    /// Everything that is linked, and what is wrong with it.
    pub chain: Chain<Event>,
}

impl EventChain {
    /// The events that count, oldest first: an action that belongs to another role's chain has no effect in this one.
    pub fn records(&self) -> impl Iterator<Item = &Event> + Clone {
        let role = self.role;
        self.chain
            .records()
            .filter(move |event| event.action.role().is_none_or(|of| of == role))
    }

    /// The events whose action belongs to another role's chain.
    pub fn misplaced(&self) -> impl Iterator<Item = &Event> {
        let role = self.role;
        self.chain
            .records()
            .filter(move |event| event.action.role().is_some_and(|of| of != role))
    }

    /// What lies above the newest event and is not an event: any of it may have been one. The next event's writer is warned.
    pub(super) fn unread(&self) -> impl Iterator<Item = &LedgerFinding> {
        let newest = self.chain.links.last().map_or(0, |link| link.seq);
        let scars = self.chain.findings.iter().filter(
            |it| matches!(it, LedgerFinding::Scar { reason, .. } if *reason != ScarReason::Forged),
        );
        scars.filter(move |it| it.seq() > newest)
    }

    /// Where an event may be out of sight: above the newest one, or below others.
    pub fn out_of_sight(&self) -> impl Iterator<Item = &LedgerFinding> {
        let lost = self.chain.findings.iter().filter(|it| {
            matches!(
                it,
                LedgerFinding::BeyondGap { .. }
                    | LedgerFinding::Broken { .. }
                    | LedgerFinding::Lost { .. }
            )
        });
        self.unread().chain(lost)
    }
}

/// The slots of all of a table's chains of events, as one listing showed them.
#[derive(Debug)]
pub struct ListedEvents<'a> {
    vault: &'a Vault,
    table: &'a TableKey,
    slots: HashMap<EventRole, Slots>,
}

impl ListedEvents<'_> {
    /// Reads one role's chain.
    ///
    /// # Errors
    /// As [`Vault::events`].
    pub async fn read(&self, role: EventRole) -> Result<EventChain, Error> {
        let none = Slots::from_listing([]);
        let slots = self.slots.get(&role).unwrap_or(&none);
        let read = |slots: &_, bodies: &_| ledger::read_chain(slots, bodies, &[]);
        let slots_of = SlotFolder::Events(self.table, role);
        let chain = self
            .vault
            .read_listed(slots_of, slots, Bodies::new(), read)
            .await?;
        Ok(EventChain { role, chain })
    }
}

/// What time it is by now when so much has passed since it was `then`.
pub(super) fn by_now(then: Timestamp, passed: Duration) -> Timestamp {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    then.checked_add(passed).unwrap_or(Timestamp::MAX)
}

/// Puts a seal where it is not there yet.
pub(super) async fn put_seal<S: NoteStore + ?Sized>(
    store: &S,
    seal: &ObjectKey,
    lock_until: Option<Timestamp>,
) -> Result<(), StoreError> {
    match store
        .put_note(seal, &Payload::from_bytes(""), lock_until)
        .await
    {
        Err(error) if !matches!(error.kind, StoreErrorKind::AlreadyExists) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

impl Vault {
    /// Reads one role's chain of a table's events.
    ///
    /// # Errors
    /// An event that needs a newer tool, and what the store says.
    pub async fn events(&self, table: &TableKey, role: EventRole) -> Result<EventChain, Error> {
        let read = |slots: &_, bodies: &_| ledger::read_chain(slots, bodies, &[]);
        let slots_of = SlotFolder::Events(table, role);
        let chain = self.read_chain(slots_of, Bodies::new(), read).await?;
        Ok(EventChain { role, chain })
    }

    /// Lists the slots of all of a table's chains of events at once.
    ///
    /// # Errors
    /// What the store says.
    pub async fn list_events<'a>(&'a self, table: &'a TableKey) -> Result<ListedEvents<'a>, Error> {
        let chains = self.list_slots(&layout::events_prefix(table)).await?;
        let slots = chains.into_iter();
        let slots = slots.filter_map(|(role, chain)| Some((role?, chain.slots())));
        Ok(ListedEvents {
            vault: self,
            table,
            slots: slots.collect(),
        })
    }

    async fn events_head(&self, slots_of: SlotFolder<'_>) -> Result<Head<Event>, Error> {
        let find = |slots: &_, bodies: &_| ledger::find_head(slots, bodies, &[]);
        self.read_chain(slots_of, Bodies::new(), find).await
    }

    /// Appends an event to the chain that its action belongs to. It is written once it is the oldest object version of its
    /// slot.
    ///
    /// # Errors
    /// An action that belongs to no role's chain, and what the store says; nothing is written then, unless its answer was
    /// lost.
    pub async fn append_event<S: NoteStore + ?Sized>(
        &self,
        store: &S,
        table: &TableKey,
        action: EventAction,
        actor: &Actor,
    ) -> Result<Event, Error> {
        let role = action.role().ok_or(FormatError::Invalid {
            what: "event",
            rule: "its action belongs to a role's chain",
        })?;
        let slots_of = SlotFolder::Events(table, role);
        let mut event = Event {
            at: actor.now,
            action,
            format: FORMAT,
            previous: None,
            principal: actor.principal.clone(),
            requires: Vec::new(),
            run: actor.run,
            seq: 0,
            tool: actor.tool.clone(),
        };
        for _ in 0..APPEND_ATTEMPTS {
            let head = self.events_head(slots_of).await?;
            head.check_may_write(&[])?;
            event.seq = head.next_free;
            event.previous = head.link.as_ref().map(Link::as_previous);
            let slot = slots_of.slot(event.seq);
            let payload = Payload::from_bytes(event.encode()?);
            let lock = self.floor(actor.now);
            if self.put_sealed(store, slot, &payload, lock).await? {
                return Ok(event);
            }
        }
        Err(Error::Store(StoreError {
            action: "append an event to",
            uri: format!("{}/{}", self.uri(), slots_of.prefix()),
            kind: StoreErrorKind::AlreadyExists,
        }))
    }

    /// The lock of what has no promise: the shortest that a bucket's policy lets pass.
    pub(super) fn floor(&self, now: Timestamp) -> Option<Timestamp> {
        match self.file().lock_mode {
            LockMode::None => None,
            LockMode::Governance | LockMode::Compliance => Some(lock_floor(now, self.file())),
        }
    }

    /// Puts an entry into a free slot as [`Vault::put_first`] does, and seals the slot when it is there. An entry without a
    /// seal is as good as one with it; the next one vouches for it.
    pub(super) async fn put_sealed<S: NoteStore + ?Sized>(
        &self,
        store: &S,
        slot: Slot<'_>,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<bool, Error> {
        let key = slot.key().object_key()?;
        let is_first = self.put_first(store, &key, payload, lock_until).await?;
        if is_first {
            let seal = slot.seal(payload.sha256).object_key()?;
            if let Err(error) = put_seal(store, &seal, lock_until).await {
                tracing::warn!("{key} has no seal: {error}");
            }
        }
        Ok(is_first)
    }

    /// Puts an object under a key that has none, and looks whether it is the one that was there first: some servers
    /// ignore the condition, and an answer may be lost.
    pub(super) async fn put_first<S: NoteStore + ?Sized>(
        &self,
        store: &S,
        key: &ObjectKey,
        payload: &Payload,
        lock_until: Option<Timestamp>,
    ) -> Result<bool, Error> {
        let written = match store.put_note(key, payload, lock_until).await {
            Ok(written) => Some(written),
            Err(error) if matches!(error.kind, StoreErrorKind::AlreadyExists) => None,
            // The answer may have been lost after the put took effect.
            Err(error) if !error.is_permanent() => None,
            Err(error) => return Err(error.into()),
        };
        self.is_first(key, payload, written.as_ref()).await
    }

    /// Whether what was `written` under a key, or else something with the same bytes, is what was there first.
    pub(super) async fn is_first(
        &self,
        key: &ObjectKey,
        payload: &Payload,
        written: Option<&Written>,
    ) -> Result<bool, Error> {
        let Some(oldest) = oldest_version(self.store(), key).await? else {
            return Ok(false);
        };
        if oldest.size != payload.size {
            return Ok(false);
        }
        if let Some(written) = written
            && written.etag == oldest.etag
            && written.version == oldest.version
        {
            return Ok(true);
        }
        let version = oldest.version.as_ref();
        let (_, bytes) = read_all(self.store(), key, version, oldest.size).await?;
        Ok(Digest::of(&bytes) == payload.sha256)
    }
}
