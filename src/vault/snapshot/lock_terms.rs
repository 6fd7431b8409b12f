//! What a run promises, and with which locks it puts what it puts: decided against a ledger's head, before the first
//! byte, and again when another writer was quicker.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::SignedDuration;
use tokio::time::Instant;

use super::past::Past;
use super::request::SnapshotRequest;
use crate::error::Error;
use crate::format::ledger::Link;
use crate::format::{LockMode, TableKey, Trigger, VaultFile};
use crate::ids::{Generation, ObjectKey, ObjectVersion, SnapshotId, Timestamp};
use crate::plan::prune::ADOPTED_WITHOUT_LOCKS;
use crate::plan::retention::{
    self, Chosen, LockExtension, LockPhase, NewSnapshot, Placing, Upcoming, check_lengths, choose,
    is_locked_enough, lock_ceiling, place, plan_extensions, upcoming,
};
use crate::store::{Attributes, StoreErrorKind, WriteStore};
use crate::vault::events::by_now;
use crate::vault::extend_lock::extend_lock;
use crate::vault::{LedgerView, Vault};

/// What a snapshot stands on while it is taken: nothing of it may be collected before it is locked for longer.
#[derive(Debug, Clone)]
struct Foundation {
    snapshot: SnapshotId,
    stays_until: Option<Timestamp>,
    /// It stays since it is the newest.
    as_newest: bool,
}

/// What holds for one attempt. Clones share what was handed out.
#[derive(Debug, Clone)]
pub(crate) struct LockTerms {
    /// Class, promise and periods.
    pub(super) chosen: Chosen,
    table: TableKey,
    file: VaultFile,
    now: Timestamp,
    /// The instant at which `now` was read.
    begun: Instant,
    base: Option<Foundation>,
    /// Longer promises that the table will make.
    upcoming: Vec<Upcoming>,
    /// What is proven of what the base references.
    known: BTreeMap<Generation, Timestamp>,
    /// The generations that objects were put in, and their locks.
    placed: Arc<Mutex<BTreeMap<Generation, Timestamp>>>,
    /// Whether the plan is only shown: nothing is written, and locks are left as they are.
    only_planned: bool,
}

impl LockTerms {
    /// The table whose objects they are for.
    pub(super) fn table(&self) -> &TableKey {
        &self.table
    }

    /// Decides class and promise against a head.
    pub(super) fn decide(
        vault: &Vault,
        request: &SnapshotRequest,
        view: &LedgerView,
    ) -> Result<Self, Error> {
        let file = vault.file().clone();
        let none = BTreeMap::new();
        let head = view.head.link.as_ref();
        let opened = head.map(|link| Link::record(link).map_or(&none, |record| &record.opened));
        let new = NewSnapshot {
            table: &request.key,
            trigger: request.trigger,
            opened,
            now: request.now,
        };
        let chosen = choose(&request.policy, &request.ask, &new, &file)?;
        let by_policy = request.trigger == Trigger::Scheduled
            && request.ask == retention::RetentionRequest::default();
        let upcoming = if by_policy {
            check_lengths(&request.policy, &file)?;
            upcoming(&request.policy, &request.key, &file, request.now)
        } else {
            Vec::new()
        };
        Ok(Self {
            chosen,
            table: request.key.clone(),
            file,
            now: request.now,
            begun: Instant::now(),
            base: None,
            upcoming,
            known: BTreeMap::new(),
            placed: Arc::default(),
            only_planned: false,
        })
    }

    /// The same, to say what would be.
    pub(super) fn only_planned(self) -> Self {
        Self {
            only_planned: true,
            ..self
        }
    }

    pub(super) fn may_extend(&self) -> bool {
        !self.only_planned
    }

    /// The same, where a base's objects may be referenced again.
    pub(super) fn on(mut self, base: Option<&Past>) -> Self {
        self.known = base.map_or_else(BTreeMap::new, |base| base.record.locks.clone());
        let lock_mode = self.file.lock_mode;
        self.base = base.map(|base| Foundation {
            snapshot: base.id,
            stays_until: retention::stays_until(&base.record, lock_mode),
            as_newest: !retention::outlasts_a_run(&base.record, lock_mode, self.now),
        });
        self
    }

    /// Whether the base stays until a record is published, whose predecessor would be `head`.
    pub(super) fn may_publish_after(&self, head: Option<SnapshotId>) -> bool {
        let Some(base) = &self.base else {
            return true;
        };
        let is_kept = base.as_newest && head == Some(base.snapshot);
        is_kept || retention::may_publish_on(base.stays_until, self.present())
    }

    /// The same objects, with what another head makes of class and promise.
    pub(super) fn decided_again(&self, other: Self) -> Self {
        Self {
            begun: self.begun,
            base: self.base.clone(),
            known: self.known.clone(),
            placed: Arc::clone(&self.placed),
            ..other
        }
    }

    pub(crate) fn has_locks(&self) -> bool {
        match self.file.lock_mode {
            LockMode::None => false,
            LockMode::Governance | LockMode::Compliance => true,
        }
    }

    /// Until when what is put now in a phase is locked.
    pub(crate) fn lock_until(&self, phase: LockPhase) -> Option<Timestamp> {
        self.placing(phase).map(|placing| placing.lock_until)
    }

    /// The generation of what is put now in a phase.
    pub(crate) fn generation(&self, phase: LockPhase) -> Generation {
        let Some(placing) = self.placing(phase) else {
            return Generation::default();
        };
        let mut placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        placed.insert(placing.generation, placing.lock_until);
        placing.generation
    }

    fn placing(&self, phase: LockPhase) -> Option<Placing> {
        let promise = self.chosen.promise;
        let of = (&self.table, &self.file);
        self.has_locks()
            .then(|| place(self.now, promise, phase, &self.known, of))
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    pub(super) fn present(&self) -> Timestamp {
        by_now(self.now, self.begun.elapsed())
    }

    /// For how long what is placed now is kept.
    pub(super) fn kept(&self) -> SignedDuration {
        let lock = self.lock_until(LockPhase::default());
        lock.unwrap_or(self.chosen.promise).duration_since(self.now)
    }

    /// For how many days what is placed now is paid for.
    pub(super) fn days(&self) -> u64 {
        let hours = u64::try_from(self.kept().as_hours());
        hours.unwrap_or_default().div_ceil(24)
    }

    /// What is proven of each generation that the snapshot may reference.
    pub(super) fn locks(&self) -> BTreeMap<Generation, Timestamp> {
        let mut locks = self.known.clone();
        let placed = self.placed.lock().unwrap_or_else(PoisonError::into_inner);
        for (generation, lock) in placed.iter() {
            let known = locks.entry(*generation).or_insert(*lock);
            *known = (*known).min(*lock);
        }
        locks
    }

    /// Takes over what was proven.
    pub(super) fn proven(&mut self, locks: BTreeMap<Generation, Timestamp>) {
        self.known = locks;
        self.placed = Arc::default();
    }

    /// Which generations are extended before the record is put.
    pub(super) fn needs(
        &self,
        locks: &BTreeMap<Generation, Timestamp>,
    ) -> BTreeMap<Generation, LockExtension> {
        let of = (&self.table, &self.file);
        plan_extensions(locks, self.chosen.promise, &self.upcoming, self.now, of)
    }

    /// What a generation needs of which nothing is known.
    pub(super) fn need_of_unknown(&self, generation: Generation) -> LockExtension {
        let of = (&self.table, &self.file);
        retention::extension(generation, self.chosen.promise, self.now, of)
    }

    /// Whether a prune cannot be about to delete an object that this run found and did not put.
    fn may_take_over(&self, there: &Attributes) -> bool {
        if self.has_locks() {
            is_locked_enough(there.locked_until, self.present())
        } else {
            self.present().duration_since(there.last_modified) < ADOPTED_WITHOUT_LOCKS
        }
    }

    /// Takes over an object version that this run found and did not put, and makes sure that it is locked for so long;
    /// `false` when a prune may be about to delete it.
    pub(crate) async fn take_over(
        &self,
        store: &dyn WriteStore,
        there: &Attributes,
        until: Option<Timestamp>,
    ) -> Result<bool, Error> {
        if !self.may_take_over(there) {
            return Ok(false);
        }
        self.lock(store, there, until).await?;
        Ok(true)
    }

    /// Makes sure that an object version that was looked at is locked for so long.
    pub(crate) async fn lock(
        &self,
        store: &dyn WriteStore,
        there: &Attributes,
        until: Option<Timestamp>,
    ) -> Result<(), Error> {
        if let Some(until) = until
            && there.locked_until.is_none_or(|locked| locked < until)
        {
            self.extend(store, &there.key, there.version.as_ref(), until)
                .await?;
        }
        Ok(())
    }

    /// Makes sure that an object version is locked for so long.
    pub(crate) async fn extend(
        &self,
        store: &dyn WriteStore,
        key: &ObjectKey,
        version: Option<&ObjectVersion>,
        until: Timestamp,
    ) -> Result<Timestamp, Error> {
        // A forged record could make a run lock for longer than the bucket's owner allows, and then fail.
        let until = until.min(lock_ceiling(self.now, &self.file));
        let refused = |source| Error::LockRefused {
            object: key.to_string(),
            until,
            source: Box::new(source),
        };
        match extend_lock(store, key, version, until).await {
            Err(error)
                if matches!(
                    error.kind,
                    StoreErrorKind::Denied { .. } | StoreErrorKind::Unsupported { .. }
                ) =>
            {
                Err(refused(error))
            }
            extended => Ok(extended?),
        }
    }
}
