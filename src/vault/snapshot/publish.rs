//! Publishes a record by one put-if-absent; the loser reads again and decides.

use super::failure::Failure;
use super::inputs::Inputs;
use super::lock_terms::LockTerms;
use super::past::Past;
use super::pinned::Pinned;
use super::request::{SnapshotDone, SnapshotRequest};
use super::snapshotter::Snapshotter;
use crate::error::Error;
use crate::format::ledger::{Bodies, Link};
use crate::format::record::TableIdentity;
use crate::format::{Change, Manifest, Record, layout};
use crate::ids::{Location, SnapshotId};
use crate::plan::price::Commitment;
use crate::plan::retention::LockPhase;
use crate::plan::unheld::newly_unheld;
use crate::source::Source;
use crate::store::{Payload, StoreError, StoreErrorKind};
use crate::vault::{LedgerView, SlotFolder};

/// How often a run that lost a slot tries the next one.
const PUBLISH_ATTEMPTS: usize = 16;

/// A record but for its place in the ledger and its locks, and what it was made from.
pub(super) struct Unpublished<'a> {
    pub(super) terms: LockTerms,
    pub(super) pinned: &'a Pinned,
    pub(super) record: Record,
    /// `None` for a table in which nothing has changed.
    pub(super) manifest: Option<&'a Manifest>,
}

impl Snapshotter {
    /// Publishes a record for a table in which nothing has changed.
    pub(super) async fn publish_unchanged(
        &self,
        inputs: Inputs<'_>,
        terms: LockTerms,
        pinned: &Pinned,
        unchanged: &Past,
    ) -> Result<SnapshotDone, Failure> {
        let request = inputs.request;
        let then = &unchanged.record;
        let terms = terms.on(Some(unchanged));
        let commitment = self.commitment(&terms, Some((then, None)), 0).await?;
        request.check_commitment(&commitment)?;
        let record = Record {
            base: Some(unchanged.id),
            change: Change {
                operation: then.change.operation.clone(),
                user: then.change.user.clone(),
                rows: then.totals.rows.map(|_| 0),
                ..Change::default()
            },
            distrusts: request.distrust.clone(),
            findings: pinned.findings_of_unchanged(then),
            journals: Vec::new(),
            overwritten_from: None,
            principal: request.principal.clone(),
            run: request.run,
            scope: request.scope,
            set: request.set,
            table: TableIdentity {
                delta_id: then.table.delta_id.clone(),
                ..request.table.clone()
            },
            taken_at: request.now,
            tool: request.tool.clone(),
            trigger: request.trigger,
            vault_file: self.vault.file_digest(),
            ..Record::clone(then)
        };
        let unpublished = Unpublished {
            terms,
            pinned,
            record,
            manifest: None,
        };
        let done = self.publish(inputs, unpublished).await?;
        Ok(SnapshotDone {
            commitment,
            unchanged: true,
            ..done
        })
    }

    /// Publishes a record as the ledger's next, unless another writer was as far or further. Class, promise and locks are
    /// decided again for each slot that is tried.
    pub(super) async fn publish(
        &self,
        inputs: Inputs<'_>,
        unpublished: Unpublished<'_>,
    ) -> Result<SnapshotDone, Failure> {
        let Unpublished {
            mut terms,
            pinned,
            mut record,
            manifest,
        } = unpublished;
        let Inputs {
            source, request, ..
        } = inputs;
        let mut view = inputs.view.clone();
        let planned_on = view.head.link.as_ref().map_or(0, |link| link.seq);
        for attempt in 0..PUBLISH_ATTEMPTS {
            if !terms.may_publish_after(view.head.link.as_ref().map(|link| link.id)) {
                return Err(Failure::Outlived);
            }
            record.class.clone_from(&terms.chosen.class);
            record.promise = terms.chosen.promise;
            record.opened.clone_from(&terms.chosen.opened);
            record.locks = self.extend_locks(&terms, &record, manifest).await?;
            terms.proven(record.locks.clone());
            // Nothing was read of an unchanged table since the listing, which has just shown V's commit.
            if manifest.is_some() || attempt > 0 {
                self.check_source(source, pinned).await?;
            }
            let head = view.head.link.as_ref();
            record.seq = view.head.next_free;
            record.previous = head.map(Link::as_previous);
            count_since(&mut record, head.and_then(Link::record));
            let newly_unheld = newly_unheld(&record, head.and_then(Link::record));
            let payload = Payload::from_bytes(record.encode()?);
            let id = SnapshotId(payload.sha256);
            let slot = SlotFolder::Records(&request.key).slot(record.seq);
            let lock_until = terms.lock_until(LockPhase::default());
            let put = self
                .vault
                .put_sealed(self.store.as_ref(), slot, &payload, lock_until);
            if put.await? {
                return Ok(SnapshotDone {
                    id,
                    reason: terms.chosen.reason,
                    record,
                    commitment: Commitment::default(),
                    unchanged: false,
                    newly_unheld,
                });
            }
            view = self.vault.head(&request.key, &request.distrust).await?;
            view.head.check_may_write(&request.distrust)?;
            self.yield_to_winner(request, &view, planned_on, &record)
                .await?;
            let before = terms.chosen.promise;
            terms = terms.decided_again(LockTerms::decide(&self.vault, request, &view)?);
            if terms.chosen.promise > before && request.max_commit.is_some() {
                let base = Some((&record, manifest));
                let commitment = self.commitment(&terms, base, 0).await?;
                request.check_commitment(&commitment)?;
            }
        }
        Err(Failure::Error(Error::Store(StoreError {
            action: "publish",
            uri: layout::ledger_prefix(&request.key),
            kind: StoreErrorKind::AlreadyExists,
        })))
    }

    /// Ends the run when a record published since its plan is of the same table at V or above.
    async fn yield_to_winner(
        &self,
        request: &SnapshotRequest,
        view: &LedgerView,
        planned_on: u64,
        ours: &Record,
    ) -> Result<(), Failure> {
        let Some(head) = &view.head.link else {
            return Ok(());
        };
        if head.seq <= planned_on {
            return Ok(());
        }
        let chain = self
            .vault
            .chain(&request.key, Bodies::new(), &request.distrust)
            .await?;
        let winner = chain
            .links
            .iter()
            .filter(|link| link.seq > planned_on)
            .find_map(|link| {
                let record = link.record()?;
                let further =
                    record.table.delta_id == ours.table.delta_id && record.version >= ours.version;
                further.then_some((link.id, record.version))
            });
        match winner {
            Some((snapshot, version)) => Err(Failure::Error(Error::AnotherWriterWon {
                table: request.table.name.clone(),
                version,
                snapshot,
            })),
            None => Ok(()),
        }
    }

    /// Looks once more whether V's commit is the file that was read.
    async fn check_source(&self, source: &Source, pinned: &Pinned) -> Result<(), Failure> {
        let Some(file) = pinned.commit() else {
            return Ok(());
        };
        match source.attributes(&Location::Inside(file.key.clone())).await {
            Ok(now) if now.etag == file.etag => Ok(()),
            Err(error) if !error.is_not_found() => Err(error.into()),
            Ok(_) | Err(_) => Err(Failure::Moved {
                file: file.key.to_string(),
            }),
        }
    }
}

/// Fills in what a record brought since the one before it, when that is of the same table.
fn count_since(record: &mut Record, previous: Option<&Record>) {
    let previous = previous.filter(|previous| previous.table.delta_id == record.table.delta_id);
    let first = previous.map_or(0, |previous| previous.version.0.saturating_add(1));
    record.change.versions = record.version.0.saturating_add(1).saturating_sub(first);
    record.change.rows = rows_change(record.totals.rows, previous);
}

fn rows_change(now: Option<u64>, previous: Option<&Record>) -> Option<i64> {
    let now = i64::try_from(now?).ok()?;
    let then = match previous {
        Some(previous) => i64::try_from(previous.totals.rows?).ok()?,
        None => 0,
    };
    Some(now - then)
}
