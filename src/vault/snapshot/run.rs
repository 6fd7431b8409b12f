//! The attempts of one run: each reads the ledger and pins a version again, avoiding what earlier attempts found damaged
//! or gone.

use std::time::Duration;

use tokio::time::Instant;

use super::attempt::Attempt;
use super::data;
use super::failure::{Avoid, Failure};
use super::inputs::Inputs;
use super::lock_terms::LockTerms;
use super::planned::Planned;
use super::request::{SnapshotDone, SnapshotPlan, SnapshotRequest};
use super::snapshotter::Snapshotter;
use crate::delta::LogFile;
use crate::delta::segment::LogListing;
use crate::error::{Error, HeldSnapshot};
use crate::exit_code::ExitCode;
use crate::format::TableUri;
use crate::format::ledger::Link;
use crate::format::record::TableIdentity;
use crate::plan::snapshot::{Forecast, plan_batches};
use crate::source::Source;
use crate::vault::LedgerView;
use crate::vault::events::by_now;

/// How often a run pins a version before it gives up.
const ATTEMPTS: usize = 5;

impl Snapshotter {
    /// Makes one attempt's plan and estimates what executing it would do.
    pub(super) async fn plan_once(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotPlan, Error> {
        let view = self.vault.head(&request.key, &request.distrust).await?;
        view.head.check_may_write(&request.distrust)?;
        let request = &named(request.clone(), &view);
        let inputs = Inputs {
            source,
            request,
            view: &view,
            avoid: &Avoid::default(),
        };
        let planned = self.estimate(inputs).await;
        planned.map_err(|failure| failure.into_error(&request.table.name, newest_of(&view)))
    }

    async fn estimate(&self, inputs: Inputs<'_>) -> Result<SnapshotPlan, Failure> {
        let Inputs {
            source, request, ..
        } = inputs;
        let terms = LockTerms::decide(&self.vault, request, inputs.view)?.only_planned();
        let table = request.table.name.clone();
        let (chosen, days) = (terms.chosen.clone(), terms.days());
        let planned = match self.attempt_plan(inputs, &terms).await? {
            Attempt::Unchanged(pinned, past) => {
                let terms = terms.on(Some(&past));
                let held = Some((&*past.record, None));
                return Ok(SnapshotPlan {
                    commitment: self.commitment(&terms, held, 0).await?,
                    chosen,
                    days,
                    table,
                    version: pinned.version,
                    base: Some(past.id),
                    unchanged: true,
                    files: 0,
                    bytes: 0,
                    forecast: Forecast::new(),
                    known_files: past.record.totals.data_files,
                    findings: pinned.findings_of_unchanged(&past.record),
                });
            }
            Attempt::Planned(planned) => planned,
        };
        let commitment = self.commitment_of(&planned).await?;
        let Planned { plan, copies, .. } = *planned;
        let (files, bytes) = (copies.needs.len(), copies.bytes);
        let mut forecast = Forecast::new();
        forecast.requests.reads += copies.asked;
        let needs = copies.needs.finish()?;
        for batch in plan_batches(needs.map(|need| Ok::<_, Error>(need?.row))) {
            let batch = batch?;
            let way = data::forecast(&batch, source, self.bulk.as_ref());
            forecast.add(&batch, way);
        }
        Ok(SnapshotPlan {
            chosen,
            commitment,
            days,
            table,
            version: plan.pinned.version,
            base: plan.pinned.base.as_ref().map(|base| base.past.id),
            unchanged: false,
            files,
            bytes,
            forecast,
            known_files: copies.kept + copies.known.len(),
            findings: plan.pinned.findings,
        })
    }

    /// Makes attempts until one publishes, or ends for a reason that another attempt would not help against.
    pub(super) async fn take_in_attempts(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotDone, Error> {
        let mut journals = 0;
        let mut last = Error::Interrupted;
        let mut avoid = Avoid::default();
        let mut request = request.clone();
        let (first, begun) = (request.now, Instant::now());
        for _ in 0..ATTEMPTS {
            // To the second, as records have it.
            let passed = Duration::from_secs(begun.elapsed().as_secs());
            request.now = by_now(first, passed);
            let view = self.vault.head(&request.key, &request.distrust).await?;
            view.head.check_may_write(&request.distrust)?;
            request = named(request, &view);
            let inputs = Inputs {
                source,
                request: &request,
                view: &view,
                avoid: &avoid,
            };
            // The future holds all of a run: on the heap, since it would fill the caller's stack.
            let failure = match Box::pin(self.attempt(inputs, &mut journals)).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            let retry = self.why_retry(source, &failure, &mut avoid).await?;
            last = failure.into_error(&request.table.name, newest_of(&view));
            match retry {
                Some(reason) => self.progress.note(&reason),
                None => break,
            }
        }
        Err(last)
    }

    async fn attempt(
        &self,
        inputs: Inputs<'_>,
        journals: &mut u32,
    ) -> Result<SnapshotDone, Failure> {
        let terms = LockTerms::decide(&self.vault, inputs.request, inputs.view)?;
        match self.attempt_plan(inputs, &terms).await? {
            Attempt::Unchanged(pinned, past) => {
                self.publish_unchanged(inputs, terms, &pinned, &past).await
            }
            Attempt::Planned(planned) => self.execute(inputs, *planned, journals).await,
        }
    }

    /// Why another attempt may succeed where this one failed, having noted what it must avoid; `None` where the run ends.
    async fn why_retry(
        &self,
        source: &Source,
        failure: &Failure,
        avoid: &mut Avoid,
    ) -> Result<Option<String>, Error> {
        Ok(Some(match failure {
            // A page of the base, most likely: without that base the snapshot can still be taken.
            Failure::Error(
                error @ (Error::Damaged { object, .. } | Error::Malformed { object, .. }),
            ) if error.exit_code() == ExitCode::Damage && !avoid.objects.contains(object) => {
                avoid.objects.push(object.clone());
                format!("{object} is damaged; building on something else")
            }
            Failure::Gone { object, manifest } => {
                // Older snapshots reference most of the same objects: looked at once, then all is copied again.
                avoid.all = !avoid.manifests.is_empty();
                avoid.manifests.push(*manifest);
                format!("{object} is gone from the vault; building on something else")
            }
            Failure::Error(_) | Failure::Archived { .. } | Failure::Limit { .. } => {
                return Ok(None);
            }
            Failure::Outlived => {
                "the snapshot took longer than what it builds on is sure to stay: starting over"
                    .to_owned()
            }
            Failure::Moved { file } => format!("{file} changed while it was read; pinning again"),
            Failure::Vanished { version, files, .. } => {
                let listing = LogListing::new(source.list_log(None, LogFile::is_one).await?);
                if listing.tip(Some(*version), None)? <= *version {
                    return Ok(None);
                }
                format!(
                    "{} files of version {version} vanished; pinning a newer version",
                    files.len()
                )
            }
        }))
    }
}

/// Gives a request whose table has no name the one that the ledger knows it by.
fn named(mut request: SnapshotRequest, view: &LedgerView) -> SnapshotRequest {
    if request.table.name.is_empty() {
        let head = view.head.link.as_ref();
        let trusted = head.filter(|head| !request.distrust.contains(&head.id));
        let identity = trusted.and_then(Link::record).map(|record| &record.table);
        let own = identity.filter(|identity| request.key.is_of(identity));
        request.table.name = own.and_then(TableIdentity::name).map_or_else(
            || {
                let uri = request.table.uri.parse::<TableUri>();
                uri.map_or_else(|_| request.key.slug().to_owned(), |uri| uri.name())
            },
            ToOwned::to_owned,
        );
    }
    request
}

/// The newest snapshot of a table.
fn newest_of(view: &LedgerView) -> Option<HeldSnapshot> {
    let link = view.head.link.as_ref()?;
    Some(HeldSnapshot {
        id: link.id,
        version: link.record()?.version,
    })
}
