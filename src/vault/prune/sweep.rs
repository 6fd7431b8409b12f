//! Executes a survey: deletes what ripe plans and the survey agree on, and writes down what is new.

use std::time::Duration;

use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::survey::Ranked;
use super::{Amount, PruneDone, Pruner, Survey, Why};
use crate::error::Error;
use crate::format::prune_plan::PLAN_ROWS;
use crate::format::{EventRole, LockMode, PlanRow, PrunePlan, TableKey, VaultKey};
use crate::ids::{Id128, Timestamp};
use crate::plan::retention::check_clock;
use crate::store::{DeleteTarget, Deletion, Payload, StoreError, StoreErrorKind, local_path};
use crate::vault::events::{Actor, by_now};
use crate::vault::{SlotFolder, oldest_version};

/// Object versions that are deleted by one call.
const BATCH: usize = 1000;

const LOOKS_AHEAD: usize = 32;

/// How often it is looked for new holds: each look is a listing for every table of which something may be deleted.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// How often a plan's random name may turn out to be taken.
const NAMES_TRIED: usize = 3;

impl Pruner {
    /// Deletes what the survey found to be deleted, and puts plans for what it found to be marked.
    ///
    /// # Errors
    /// A clock that is wrong: nothing is deleted then. [`Error::EventsMeanwhile`] when an event came that this survey
    /// did not read: it may be a hold. What the store says. What was done stays done, and a later run goes on.
    pub async fn execute(&self, survey: Survey, actor: &Actor) -> Result<PruneDone, Error> {
        let (now, begun) = (survey.now, survey.begun);
        let mut done = PruneDone::default();
        let plan = || {
            PrunePlan::new(
                actor.now,
                actor.run,
                actor.principal.clone(),
                actor.tool.clone(),
            )
        };
        if !survey.delete.is_empty() {
            let plan = PrunePlan {
                sweeps: survey.ripe,
                ..plan()
            };
            // Before the first deletion: the store's clock has to agree that it is time.
            self.put_plan(plan, now, begun).await?;
            let mut rows = survey.delete.finish()?;
            let mut looked: Option<Instant> = None;
            loop {
                let batch: Vec<Ranked> = rows.by_ref().take(BATCH).collect::<Result<_, _>>()?;
                // After the last one too: what was held meanwhile may have lost something.
                if batch.is_empty() || looked.is_none_or(|at| at.elapsed() >= LOOK_EVERY) {
                    self.nothing_new(&survey.watched, &done).await?;
                    looked = Some(Instant::now());
                }
                if batch.is_empty() {
                    break;
                }
                self.delete(batch, &mut done).await?;
            }
        }
        let mut rows = survey.mark.finish()?;
        loop {
            let batch: Vec<Ranked> = rows.by_ref().take(PLAN_ROWS).collect::<Result<_, _>>()?;
            if batch.is_empty() {
                break;
            }
            let rows = self.with_locks(batch).await?;
            for row in &rows {
                let marked = done.marked.entry(Why::from(&row.reason)).or_default();
                marked.add(row.size);
            }
            let plan = PrunePlan { rows, ..plan() };
            let id = self.put_plan(plan, now, begun).await?;
            done.plans.push(id);
        }
        Ok(done)
    }

    /// Looks whether the holder's events by which it was decided what is kept are still all there are. No event of another
    /// role makes that more.
    async fn nothing_new(
        &self,
        watched: &[(TableKey, u64)],
        done: &PruneDone,
    ) -> Result<(), Error> {
        let mut slots = stream::iter(watched.to_vec())
            .map(|(table, next_free)| async move {
                let slots = self
                    .vault
                    .slots(SlotFolder::Events(&table, EventRole::Holder))
                    .await?;
                Ok::<_, Error>((table, slots.next_free() != next_free))
            })
            .buffered(LOOKS_AHEAD);
        while let Some((table, is_new)) = slots.try_next().await? {
            if is_new {
                return Err(Error::EventsMeanwhile {
                    table: table.to_string(),
                    deleted: done.deleted.values().map(|amount| amount.objects).sum(),
                });
            }
        }
        Ok(())
    }

    async fn delete(&self, batch: Vec<Ranked>, done: &mut PruneDone) -> Result<(), Error> {
        let targets: Vec<DeleteTarget> = batch
            .iter()
            .map(|ranked| (ranked.row.key.clone(), ranked.row.version.clone()))
            .collect();
        let outcomes = self.store.delete_versions(&targets).await?;
        for (Ranked { row, .. }, outcome) in batch.iter().zip(outcomes) {
            let amount: &mut Amount = match outcome {
                Deletion::Deleted => done.deleted.entry(Why::from(&row.reason)).or_default(),
                Deletion::Locked { .. } => &mut done.locked,
                Deletion::Held => &mut done.held,
                Deletion::Refused { detail } => {
                    done.refusal
                        .get_or_insert_with(|| format!("{}: {detail}", row.key));
                    &mut done.refused
                }
            };
            amount.add(row.size);
        }
        Ok(())
    }

    /// Asks for the locks of what no record tells them of, so that later runs need not try in vain every time.
    async fn with_locks(&self, batch: Vec<Ranked>) -> Result<Vec<PlanRow>, Error> {
        let rows = batch.into_iter().map(|ranked| ranked.row);
        if self.vault.file().lock_mode == LockMode::None {
            return Ok(rows.collect());
        }
        let rows: Vec<Option<PlanRow>> = stream::iter(rows)
            .map(|mut row| async move {
                if row.locked_until.is_none() {
                    let version = row.version.as_ref();
                    match self.vault.store().locked_until(&row.key, version).await {
                        Ok(until) => row.locked_until = until,
                        Err(error) if error.is_not_found() => return Ok(None),
                        Err(error) => return Err(error),
                    }
                }
                Ok::<_, StoreError>(Some(row))
            })
            .buffered(LOOKS_AHEAD)
            .try_collect()
            .await?;
        Ok(rows.into_iter().flatten().collect())
    }

    /// Puts a plan under a name of its own, and compares the store's clock with the one that the survey went by.
    async fn put_plan(
        &self,
        plan: PrunePlan,
        now: Timestamp,
        begun: Instant,
    ) -> Result<Id128, Error> {
        let payload = Payload::from_bytes(plan.encode()?);
        let lock = self.vault.floor(now);
        for _ in 0..NAMES_TRIED {
            let id = Id128::from_bytes(rand::random());
            let key = VaultKey::PrunePlan(id).object_key()?;
            let put = self
                .vault
                .put_first(self.store.as_ref(), &key, &payload, lock);
            if !put.await? {
                continue;
            }
            // A folder's clock is this machine's.
            if local_path(self.vault.uri()).is_none()
                && let Some(plan) = oldest_version(self.vault.store(), &key).await?
            {
                check_clock(by_now(now, begun.elapsed()), plan.last_modified)?;
            }
            return Ok(id);
        }
        Err(Error::Store(StoreError {
            action: "write a prune plan to",
            uri: self.vault.uri().to_owned(),
            kind: StoreErrorKind::AlreadyExists,
        }))
    }
}
