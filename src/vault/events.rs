//! A table's events: read as its records are, and appended by one put-if-absent.

use std::time::Duration;

use jiff::SignedDuration;

use super::{Slot, SlotFolder, Vault, oldest_version};
use crate::error::Error;
use crate::format::ledger::{self, Bodies, Chain, Head, LedgerFinding, Link, ScarReason};
use crate::format::{Event, EventAction, FORMAT, LockMode, TableKey};
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

/// What time it is by now when so much has passed since it was `then`.
pub(super) fn by_now(then: Timestamp, passed: Duration) -> Timestamp {
    let passed = SignedDuration::try_from(passed).unwrap_or(SignedDuration::MAX);
    then.checked_add(passed).unwrap_or(Timestamp::MAX)
}

/// What lies above the newest event and is none: any of it may have been a hold. The writer of the next event reads of it.
pub(super) fn unread(events: &Chain<Event>) -> impl Iterator<Item = &LedgerFinding> {
    let newest = events.links.last().map_or(0, |link| link.seq);
    let scars = events.findings.iter().filter(
        |it| matches!(it, LedgerFinding::Scar { reason, .. } if *reason != ScarReason::Forged),
    );
    scars.filter(move |it| it.seq() > newest)
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

/// Where an event may be out of sight that was a hold: above the newest one, or below others.
pub(super) fn out_of_sight(events: &Chain<Event>) -> impl Iterator<Item = &LedgerFinding> {
    let lost = events.findings.iter().filter(|it| {
        matches!(
            it,
            LedgerFinding::BeyondGap { .. }
                | LedgerFinding::Broken { .. }
                | LedgerFinding::Lost { .. }
        )
    });
    unread(events).chain(lost)
}

impl Vault {
    /// Where an event of a table may be out of sight that was a hold: above the newest one, or below others.
    ///
    /// # Errors
    /// As [`Vault::events`].
    pub async fn unread_events(&self, table: &TableKey) -> Result<Vec<LedgerFinding>, Error> {
        let events = self.events(table).await?;
        Ok(out_of_sight(&events).cloned().collect())
    }

    /// Reads all of a table's events.
    ///
    /// # Errors
    /// An event that needs a newer tool, and what the store says.
    pub async fn events(&self, table: &TableKey) -> Result<Chain<Event>, Error> {
        let read = |slots: &_, bodies: &_| ledger::read_chain(slots, bodies, &[]);
        self.read_chain(SlotFolder::Events(table), Bodies::new(), read)
            .await
    }

    async fn events_head(&self, table: &TableKey) -> Result<Head<Event>, Error> {
        let find = |slots: &_, bodies: &_| ledger::find_head(slots, bodies, &[]);
        self.read_chain(SlotFolder::Events(table), Bodies::new(), find)
            .await
    }

    /// Appends an event to a table's chain. It is written once it is the oldest object version of its slot.
    ///
    /// # Errors
    /// What the store says; nothing is written then, unless its answer was lost.
    pub async fn append_event<S: NoteStore + ?Sized>(
        &self,
        store: &S,
        table: &TableKey,
        action: EventAction,
        actor: &Actor,
    ) -> Result<Event, Error> {
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
            let head = self.events_head(table).await?;
            head.check_may_write(&[])?;
            event.seq = head.next_free;
            event.previous = head.link.as_ref().map(Link::as_previous);
            let slot = SlotFolder::Events(table).slot(event.seq);
            let payload = Payload::from_bytes(event.encode()?);
            let lock = self.floor(actor.now);
            if self.put_sealed(store, slot, &payload, lock).await? {
                return Ok(event);
            }
        }
        Err(Error::Store(StoreError {
            action: "append an event to",
            uri: format!("{}/{}", self.uri(), SlotFolder::Events(table).prefix()),
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
