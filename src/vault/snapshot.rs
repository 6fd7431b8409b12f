//! Takes snapshots: pin V, replay, copy what is missing, prove the result from the vault's own bytes, publish.
//!
//! The crash-consistency argument: nothing that this module writes is visible before the record is, the record is one
//! put-if-absent, and every object it leads to was written and checked before. A kill at any call leaves
//! unreferenced objects; journals let the next run reference them instead of copying again. The store's type has no
//! overwrite and no delete, so no bug here can harm an earlier snapshot.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use self::attempt::{Attempt, Planned};
use super::events::by_now;
use super::{LedgerView, PageCache, Vault};
use crate::delta::segment::LogListing;
use crate::error::{Error, HeldSnapshot};
use crate::format::ledger::Link;
use crate::format::record::TableIdentity;
use crate::format::{Record, Scope, TableKey, TableUri, Trigger};
use crate::ids::{Digest, Id128, ObjectKey, SnapshotId, Timestamp, Version};
use crate::plan::price::Commitment;
use crate::plan::retention::{Chosen, ClassReason, Policy, RetentionRequest};
use crate::plan::snapshot::{Forecast, plan_batches};
use crate::plan::unheld::Unheld;
use crate::progress::{NoProgress, PlannedWork, Progress};
use crate::source::Source;
use crate::spool::Scratch;
use crate::store::WriteStore;

mod attempt;
mod budget;
mod carry;
mod check_source;
mod closure;
mod data;
mod inherit;
mod journal;
mod left;
mod live_log;
mod lock;
mod log;
mod pages;
mod pairs;
mod pin;
mod presence;
mod prove;
mod publish;
mod record;
mod replayed;
mod sidecars;
mod since;
mod streams;
mod terms;
mod ways;

pub use budget::{Budget, Interrupt, Limit, Limits, MaxPrice};
pub use check_source::SourceCheck;
pub use journal::JournalPace;
pub use pairs::Pairs;
pub(super) use terms::Terms;

/// How often a version is pinned again when files vanish under the copy.
const PIN_ATTEMPTS: usize = 5;

/// What to take a snapshot of, and how.
#[derive(Debug, Clone)]
pub struct SnapshotRequest {
    /// Name, source and URI of the table; its Delta id is found out. An empty name is that by which the ledger knows
    /// the table, else made of its URI.
    pub table: TableIdentity,
    /// The table's key in the vault.
    pub key: TableKey,
    /// What to hold.
    pub scope: Scope,
    /// Why.
    pub trigger: Trigger,
    /// The classes that there are.
    pub policy: Policy,
    /// The class or the time that was asked for.
    pub ask: RetentionRequest,
    /// What may be newly committed to; more is refused before anything is copied.
    pub max_commit: Option<MaxPrice>,
    /// The time of the run.
    pub now: Timestamp,
    /// 128 random bits.
    pub run: Id128,
    /// The set that the snapshot belongs to.
    pub set: Option<Id128>,
    /// Who takes it.
    pub principal: String,
    /// The tool and its version.
    pub tool: String,
    /// Snapshots on which nothing may be built from now on.
    pub distrust: Vec<SnapshotId>,
    /// The version that the owner calls the newest, where one stands alone far above the rest.
    pub accept_tip: Option<Version>,
}

impl SnapshotRequest {
    fn check_commitment(&self, commitment: &Commitment) -> Result<(), Error> {
        let Some(MaxPrice { amount, prices }) = &self.max_commit else {
            return Ok(());
        };
        let estimate = commitment.estimate(prices);
        if estimate > *amount {
            return Err(Error::CommitsTooMuch {
                table: self.table.name.clone(),
                volume: commitment.terabyte_months(),
                estimate,
                limit: *amount,
            });
        }
        Ok(())
    }
}

/// A snapshot that was published.
#[derive(Debug, Clone)]
pub struct SnapshotDone {
    /// Its id.
    pub id: SnapshotId,
    /// Its record.
    pub record: Record,
    /// Why it has its class.
    pub reason: ClassReason,
    /// What was newly committed to.
    pub commitment: Commitment,
    /// Whether it names the same manifest as the one before.
    pub unchanged: bool,
    /// What it does not hold, as far as that is not true of the one before.
    pub newly_unheld: Vec<Unheld>,
}

/// What a snapshot would do.
#[derive(Debug, Clone)]
pub struct SnapshotPlan {
    /// The table's name.
    pub table: String,
    /// The version that was pinned.
    pub version: Version,
    /// The snapshot that it would build on.
    pub base: Option<SnapshotId>,
    /// Whether nothing has changed since the base.
    pub unchanged: bool,
    /// Data files to copy.
    pub files: u64,
    /// Their bytes, as far as the log says.
    pub bytes: u64,
    /// How they would go into the vault.
    pub forecast: Forecast,
    /// Data files that are held already.
    pub known_files: u64,
    /// Class and promise that it would have.
    pub chosen: Chosen,
    /// What it would newly commit to.
    pub commitment: Commitment,
    /// For how many days what is new would be paid for.
    pub days: u64,
    /// What the owner should know.
    pub findings: Vec<String>,
}

/// Everything a snapshot works with.
#[derive(Debug, Clone)]
pub struct Snapshotter {
    /// The vault, for reading.
    pub vault: Vault,
    /// The vault, for writing.
    pub store: Arc<dyn WriteStore>,
    /// The same place, where blobs and copies get a storage class of their own. What has to be read on every night
    /// goes through `store`.
    pub bulk: Arc<dyn WriteStore>,
    /// What may be in flight, over all tables.
    pub budget: Budget,
    /// Where the run ends early.
    pub limits: Limits,
    /// What the run has learnt about copies that the store makes itself.
    pub pairs: Pairs,
    /// Ends the run.
    pub interrupt: Interrupt,
    /// When what was placed is written down.
    pub journal: JournalPace,
    /// Where temporary files go.
    pub temp: std::path::PathBuf,
    /// Who is told.
    pub progress: Arc<dyn Progress>,
}

/// Why one attempt ended.
#[derive(Debug)]
enum Failure {
    /// For good.
    Error(Error),
    /// A log file is another one than was listed, or gone: the version has to be pinned again.
    Moved { file: String },
    /// The run took so long that a prune could be about to collect what it built on.
    Outlived,
    /// An object that the base references is gone from the vault.
    Gone { object: String, manifest: Digest },
    /// Data files of V are gone.
    Vanished {
        version: Version,
        files: Vec<String>,
        /// An object of the vault that held one of them, and is gone, too.
        lost: Option<ObjectKey>,
    },
    /// Data files of V are in archive storage.
    Archived {
        version: Version,
        files: Vec<String>,
    },
    /// The run's owner wants it to end here.
    Limit {
        version: Version,
        limit: Limit,
        /// What this run has placed of what was planned.
        placed: PlannedWork,
        planned: PlannedWork,
        /// Data files that were held before.
        known: u64,
    },
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl Snapshotter {
    /// Takes snapshots into `store`, the place of `vault`, without limits; temporary files go below `temp`.
    pub fn new(vault: Vault, store: Arc<dyn WriteStore>, temp: std::path::PathBuf) -> Self {
        Self {
            vault,
            bulk: Arc::clone(&store),
            store,
            budget: Budget::default(),
            limits: Limits::default(),
            pairs: Pairs::default(),
            interrupt: Interrupt::default(),
            journal: JournalPace::default(),
            temp,
            progress: Arc::new(NoProgress),
        }
    }

    /// Plans a snapshot and says what it would do; writes nothing.
    ///
    /// # Errors
    /// Everything that [`Snapshotter::take`] would find out before it copies.
    pub async fn plan(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotPlan, Error> {
        let (this, _pages) = self.for_one_run()?;
        let view = this.vault.head(&request.key, &request.distrust).await?;
        let request = &named(request.clone(), &view);
        let table = request.table.name.clone();
        let terms = Terms::decide(&this.vault, request, &view)?.only_planned();
        let avoid = Avoid::default();
        let planned = this
            .attempt_plan(source, request, &view, &terms, &avoid)
            .await;
        let planned = planned.map_err(|failure| failure.into_error(request, held_by(&view)))?;
        let commitment = match &planned {
            Attempt::Unchanged(_, past) => {
                let terms = terms.clone().on(Some(past));
                let held = Some((&*past.record, None));
                this.commitment(&terms, held, 0).await
            }
            Attempt::Planned(planned) => this.commitment_of(planned).await,
        };
        let commitment =
            commitment.map_err(|failure| failure.into_error(request, held_by(&view)))?;
        let (chosen, days) = (terms.chosen.clone(), terms.days());
        match planned {
            Attempt::Unchanged(pinned, past) => Ok(SnapshotPlan {
                chosen,
                commitment,
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
            }),
            Attempt::Planned(planned) => {
                let Planned {
                    pinned, closure, ..
                } = *planned;
                let (files, bytes) = (closure.copy.len(), closure.copy_bytes);
                let known_files = closure.kept + closure.known.len();
                let needs = closure.copy.finish()?;
                let mut forecast = Forecast::new();
                forecast.requests.reads += closure.asked;
                for batch in plan_batches(needs.map(|need| Ok::<_, Error>(need?.row))) {
                    let batch = batch?;
                    let method = data::forecast(&batch, source, self.bulk.as_ref());
                    forecast.add(&batch, method);
                }
                Ok(SnapshotPlan {
                    chosen,
                    commitment,
                    days,
                    table,
                    version: pinned.version,
                    base: pinned.base.as_ref().map(|base| base.past.id),
                    unchanged: false,
                    files,
                    bytes,
                    forecast,
                    known_files,
                    findings: pinned.findings,
                })
            }
        }
    }

    /// Takes a snapshot and publishes it.
    ///
    /// # Errors
    /// Every refusal of the log, a source file that is missing or has another size (both named), another writer's
    /// newer snapshot, and what the stores say. Nothing is visible then, and nothing that was copied is lost.
    pub async fn take(
        &self,
        source: &Source,
        request: &SnapshotRequest,
    ) -> Result<SnapshotDone, Error> {
        let (this, _pages) = self.for_one_run()?;
        let mut journals = 0;
        let mut last = None;
        let mut held = None;
        let mut avoid = Avoid::default();
        let mut request = request.clone();
        let (first, begun) = (request.now, Instant::now());
        for _ in 0..PIN_ATTEMPTS {
            // To the second, as records have it.
            let passed = Duration::from_secs(begun.elapsed().as_secs());
            request.now = by_now(first, passed);
            let view = this.vault.head(&request.key, &request.distrust).await?;
            request = named(request, &view);
            held = held_by(&view);
            let attempt = this.attempt(source, &request, &view, &avoid, &mut journals);
            // All of a run is in it: too much for the stack of whoever waits.
            let failure = match Box::pin(attempt).await {
                Ok(done) => return Ok(done),
                Err(failure) => failure,
            };
            match &failure {
                // A page of the base, most likely: without that base the snapshot can still be taken.
                Failure::Error(Error::Damaged { object, .. })
                    if !avoid.objects.contains(object) =>
                {
                    self.progress
                        .note(&format!("{object} is damaged; building on something else"));
                    avoid.objects.push(object.clone());
                }
                Failure::Gone { object, manifest } => {
                    self.progress.note(&format!(
                        "{object} is gone from the vault; building on something else"
                    ));
                    // Older snapshots reference most of the same objects: looked at once, then all is copied again.
                    avoid.all = !avoid.manifests.is_empty();
                    avoid.manifests.push(*manifest);
                }
                Failure::Error(_) | Failure::Archived { .. } | Failure::Limit { .. } => {
                    return Err(failure.into_error(&request, held));
                }
                Failure::Outlived => {
                    self.progress.note(
                        "the snapshot took longer than what it builds on is sure to stay: starting over",
                    );
                }
                Failure::Moved { file } => {
                    self.progress
                        .note(&format!("{file} changed while it was read; pinning again"));
                }
                Failure::Vanished { version, files, .. } => {
                    if self.newest(source, *version).await? <= *version {
                        return Err(failure.into_error(&request, held));
                    }
                    self.progress.note(&format!(
                        "{} files of version {version} vanished; pinning a newer version",
                        files.len()
                    ));
                }
            }
            last = Some(failure);
        }
        Err(last.map_or(Error::Interrupted, |failure| {
            failure.into_error(&request, held)
        }))
    }

    /// Itself, with a place where the pages that this run reads wait for being read again: each is asked for once.
    fn for_one_run(&self) -> Result<(Self, Scratch), Error> {
        let scratch = Scratch::create(&self.temp).map_err(Error::Scratch)?;
        let cache = PageCache::new(scratch.path().to_owned());
        let vault = self.vault.clone().with_pages(cache);
        let this = Self {
            vault,
            ..self.clone()
        };
        Ok((this, scratch))
    }

    /// The newest version by now, where `taken` was the newest.
    async fn newest(&self, source: &Source, taken: Version) -> Result<Version, Error> {
        let listing = LogListing::new(source.list_log(None).await?);
        Ok(listing.tip(Some(taken), None)?)
    }

    async fn attempt(
        &self,
        source: &Source,
        request: &SnapshotRequest,
        view: &LedgerView,
        avoid: &Avoid,
        journals: &mut u32,
    ) -> Result<SnapshotDone, Failure> {
        let terms = Terms::decide(&self.vault, request, view)?;
        let attempt = self
            .attempt_plan(source, request, view, &terms, avoid)
            .await?;
        match attempt {
            Attempt::Unchanged(pinned, past) => {
                self.publish_unchanged(source, request, view, terms, &pinned, &past)
                    .await
            }
            Attempt::Planned(planned) => {
                self.carry_out(source, request, view, *planned, journals)
                    .await
            }
        }
    }
}

/// What an earlier attempt of the run has found to be no good to build on.
#[derive(Debug, Default)]
struct Avoid {
    /// Manifests and pages that cannot be read.
    objects: Vec<String>,
    /// Manifests that reference what is gone.
    manifests: Vec<Digest>,
    /// Every snapshot.
    all: bool,
}

impl Avoid {
    fn is_whole(&self, record: &Record) -> bool {
        !self.all && !self.manifests.contains(&record.manifest.sha256)
    }
}

/// Gives a request whose table has no name the one that the ledger knows it by.
fn named(mut request: SnapshotRequest, view: &LedgerView) -> SnapshotRequest {
    if request.table.name.is_empty() {
        let record = view.head.link.as_ref().and_then(Link::record);
        request.table.name = record.map_or_else(
            || {
                let uri = request.table.uri.parse::<TableUri>();
                uri.map_or_else(|_| request.key.slug().to_owned(), |uri| uri.name())
            },
            |record| record.table.name.clone(),
        );
    }
    request
}

/// The newest snapshot of a table.
fn held_by(view: &LedgerView) -> Option<HeldSnapshot> {
    let link = view.head.link.as_ref()?;
    Some(HeldSnapshot {
        id: link.id,
        version: link.record()?.version,
    })
}

impl Failure {
    fn into_error(self, request: &SnapshotRequest, held: Option<HeldSnapshot>) -> Error {
        let table = request.table.name.clone();
        match self {
            Self::Error(Error::Log(source)) if source.is_about_log() => Error::LogUnreadable {
                table,
                held,
                source: Box::new(source),
            },
            Self::Error(error) => error,
            Self::Moved { file } => Error::SourceMoving { table, file },
            Self::Outlived => Error::TookTooLong { table },
            Self::Gone { object, .. } => Error::Damaged {
                object,
                what: "it is gone from the vault".to_owned(),
            },
            Self::Vanished {
                version,
                files,
                lost,
            } => Error::SourceFileMissing {
                table,
                version,
                files,
                held,
                lost: lost.map(Box::new),
            },
            Self::Archived { version, files } => Error::SourceArchived {
                table,
                version,
                files,
            },
            Self::Limit {
                version,
                limit,
                placed,
                planned,
                known,
            } => Error::LimitReached {
                table,
                version,
                limit: limit.as_str(),
                placed,
                planned,
                known,
            },
        }
    }
}
