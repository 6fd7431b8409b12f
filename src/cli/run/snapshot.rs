//! `snapshot`: takes tables side by side. What becomes of each is told when it is known.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltavault::delta::LogError;
use deltavault::format::ledger::{Bodies, resolve_prefix};
use deltavault::format::record::TableIdentity;
use deltavault::format::{TableKey, TableUri, Trigger};
use deltavault::ids::{Id128, SnapshotId, Timestamp, Version};
use deltavault::plan::choose::ChooseError;
use deltavault::plan::price::{Commitment, Prices};
use deltavault::plan::retention::{self, Ask};
use deltavault::plan::snapshot::Going;
use deltavault::progress::Progress;
use deltavault::source::Source;
use deltavault::vault::snapshot::{self, Limits, MaxPrice, SnapshotPlan, Snapshotter};
use deltavault::{Error, ExitCode};

use super::fleet::{self, Outcome, Pace};
use super::{Clock, Context, remind_of_locks};
use crate::cli::args::SnapshotPrefix;
use crate::cli::cache;
use crate::cli::config::Config;
use crate::cli::error::CommandError;
use crate::cli::render::with_causes;
use crate::cli::request::{SnapshotRequest, TableName, TableToTake};
use crate::cli::rows::{CommitRow, NotHeld, SnapshotDone, SnapshotPlanned, WayRow};
use crate::cli::stores::{OpenVault, Place, table_uri};
use crate::cli::who;

const PACE: Pace = Pace {
    // Their files share one budget, so more would only hold more logs in memory.
    at_a_time: 4,
    // What stands in a server's way for longer than a call is tried again needs more than a moment.
    pause: Duration::from_secs(5),
};

/// Everything that taking snapshots needs.
pub(super) struct Taker {
    open: OpenVault,
    snapshotter: Snapshotter,
    /// Whether the source is looked through once the snapshot is published.
    check_source: bool,
}

/// One table, ready to be taken.
#[derive(Debug)]
pub(super) struct Job {
    source: Source,
    request: snapshot::SnapshotRequest,
}

/// What is the same for every table of one run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    /// Why.
    pub(super) trigger: Trigger,
    /// The class or the time that was asked for.
    pub(super) ask: Ask,
    /// The most to newly commit to, for one table.
    pub(super) max_commit: Option<MaxPrice>,
    /// Tells the time when a table's turn comes.
    pub(super) clock: Clock,
    /// The set, where several tables are taken.
    pub(super) set: Option<Id128>,
    /// Snapshots to build nothing on, by table.
    pub(super) distrust: BTreeMap<TableKey, Vec<SnapshotId>>,
    /// The version that the owner calls the newest.
    pub(super) accept_tip: Option<Version>,
}

/// Where a table is, with the links and dots of its path resolved; what cannot be resolved is refused in its turn.
fn real_place(table: &TableName) -> String {
    match table_uri(&table.uri) {
        Ok(uri) => uri.to_string(),
        Err(_) => table.uri.clone(),
    }
}

/// Takes the snapshots, or says what they would be.
pub(super) async fn snapshot(
    mut request: SnapshotRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    // One place under two spellings would make the run race with itself.
    let mut places = HashSet::new();
    request
        .tables
        .retain(|take| places.insert(real_place(&take.table)));
    let open = context.open_vault().await?;
    remind_of_locks(&open, context.progress.as_ref());
    check_clock(&open, context.clock)?;
    // A dry run writes nothing, not even the file that a lock needs.
    let _lock = if request.dry_run { None } else { open.share()? };
    let mut taker = Taker::new(open, Arc::clone(&context.progress));
    taker.check_source = request.check_source;
    taker.snapshotter.interrupt = context.interrupt.clone();
    taker.snapshotter.limits = limits(&request, &taker.open, context.clock.now());
    let run = Run {
        trigger: request.trigger,
        ask: Ask {
            class: request.class.clone(),
            until: request.retain_until.as_ref().map(|until| until.time),
        },
        max_commit: request.max_commit_usd.map(|amount| MaxPrice {
            amount,
            prices: Prices::of(taker.open.storage_class()),
        }),
        clock: context.clock,
        set: (request.tables.len() > 1).then(|| Id128::from_bytes(rand::random())),
        distrust: taker.distrusted(&request).await?,
        accept_tip: request.accept_tip,
    };
    let Context { config, output, .. } = context;
    let config = &*config;
    let of = request.tables.len();
    let dry_run = request.dry_run;
    let taker = Arc::new(taker);
    let take = async |table: &TableToTake| {
        let job = taker.job(table, &run, config).await?;
        let taker = Arc::clone(&taker);
        fleet::apart(move || async move {
            if dry_run {
                taker.plan(&job).await.map(Taken::Planned)
            } else {
                taker.take(&job).await.map(Taken::Done)
            }
        })
        .await
    };
    let mut code = ExitCode::Done;
    let mut failed: Vec<(String, CommandError)> = Vec::new();
    fleet::run(&request.tables, PACE, take, |table, outcome| {
        let name = &table.table.text;
        match outcome {
            Outcome::Done(done) => {
                let (findings, lost) = match &done {
                    Taken::Planned(row) => {
                        output.snapshot_planned(row)?;
                        (&row.findings, None)
                    }
                    Taken::Done(row) => {
                        output.snapshot_done(row)?;
                        (&row.findings, row.source_lost)
                    }
                };
                if lost.is_some_and(|lost| lost > 0) {
                    code = ExitCode::Damage;
                } else if !findings.is_empty() {
                    code = code.max(ExitCode::Findings);
                }
            }
            Outcome::Waits(error) => output.table_waits(name, &error)?,
            Outcome::Failed(error) => {
                if of > 1 {
                    output.table_failed(name, &error)?;
                }
                failed.push((name.clone(), error));
            }
        }
        // What is done is told even when the next table takes an hour.
        output.finish()
    })
    .await?;
    if failed.is_empty() {
        return Ok(code);
    }
    if of == 1
        && let Some((_, error)) = failed.pop()
    {
        return Err(error);
    }
    let failed = failed.into_iter();
    let (failed, codes) = failed
        .map(|(name, error)| (name, error.exit_code()))
        .unzip();
    Err(CommandError::SomeTablesFailed { failed, of, codes })
}

/// Compares the clock with that of the vault's server, which has just answered. Promises and locks count from it.
fn check_clock(open: &OpenVault, clock: Clock) -> Result<(), CommandError> {
    match (&open.place, clock) {
        (Place::Bucket(store), Clock::System) => {
            let told = store.client().server_time();
            told.map_or(Ok(()), |told| retention::check_clock(clock.now(), told))?;
            Ok(())
        }
        // A pinned clock means what it says.
        (Place::Bucket(_), Clock::Pinned(_)) | (Place::Folder(_), _) => Ok(()),
    }
}

/// Where the run ends early.
fn limits(request: &SnapshotRequest, open: &OpenVault, now: Timestamp) -> Limits {
    let until = request.until.as_ref();
    Limits::new(
        until.map(|until| tokio::time::Instant::now() + until.after(now)),
        request.max_bytes,
        request.max_usd.map(|amount| MaxPrice {
            amount,
            prices: Prices::of(open.storage_class()),
        }),
    )
}

enum Taken {
    Planned(SnapshotPlanned),
    Done(SnapshotDone),
}

impl Taker {
    /// Takes snapshots into a vault.
    pub(super) fn new(open: OpenVault, progress: Arc<dyn Progress>) -> Self {
        Self {
            snapshotter: Snapshotter {
                progress,
                bulk: open.bulk(),
                ..Snapshotter::new(
                    cache::with_pages(open.vault.clone()),
                    open.place.write(),
                    std::env::temp_dir(),
                )
            },
            open,
            check_source: false,
        }
    }

    /// Finds out where a table is, what it is called and how long its snapshot is kept.
    pub(super) async fn job(
        &self,
        take: &TableToTake,
        run: &Run,
        config: &Config,
    ) -> Result<Job, CommandError> {
        let (root, name) = self.locate(&take.table, config).await?;
        self.open.refuse_overlap(&root)?;
        let stores = &self.open.stores;
        let key = stores.table_key(&root)?;
        let mut ask = run.ask.clone();
        if ask == Ask::default() {
            ask.class.clone_from(&take.class);
        }
        if let Some(name) = &ask.class {
            config.class(name)?;
        }
        let request = snapshot::SnapshotRequest {
            table: TableIdentity {
                delta_id: String::new(),
                name,
                source: stores.source_id(&root),
                uri: root.uri().to_owned(),
            },
            distrust: run.distrust.get(&key).cloned().unwrap_or_default(),
            key,
            scope: take.scope,
            trigger: run.trigger,
            policy: config.policy.clone(),
            ask,
            max_commit: run.max_commit,
            now: run.clock.now(),
            run: Id128::from_bytes(rand::random()),
            set: run.set,
            principal: who::principal(),
            tool: who::tool(),
            accept_tip: run.accept_tip,
        };
        let source = stores.source(&root);
        Ok(Job { source, request })
    }

    /// The place of a table and its name, empty where nothing here gives it one: a word that is no folder may be the
    /// name of a table in the vault.
    async fn locate(
        &self,
        name: &TableName,
        config: &Config,
    ) -> Result<(Place, String), CommandError> {
        let stores = &self.open.stores;
        let mut root = stores.table(&name.uri).await?;
        if let Some(configured) = &name.configured {
            return Ok((root, configured.clone()));
        }
        let is_word = !name.text.contains('/');
        if is_word {
            match self.open.find_table(name).await {
                Ok(table) => root = stores.home_of(&table).await?,
                // A folder that the vault does not know yet, or of which no record can be read any more.
                Err(error) if error.is_about_an_unknown_table() && root.is_there() => {}
                Err(error) => return Err(error),
            }
        }
        let uri: TableUri = root.uri().parse()?;
        for table in &config.tables {
            if table_uri(&table.uri).is_ok_and(|configured| configured == uri) {
                return Ok((root, table.name.clone()));
            }
        }
        // A table keeps the name that the vault knows it by.
        Ok((root, String::new()))
    }

    /// Finds the distrusted snapshots among those of the tables that are taken.
    async fn distrusted(
        &self,
        request: &SnapshotRequest,
    ) -> Result<BTreeMap<TableKey, Vec<SnapshotId>>, CommandError> {
        let mut ids: Vec<(TableKey, SnapshotId)> = Vec::new();
        if request.distrust.is_empty() {
            return Ok(BTreeMap::new());
        }
        for take in &request.tables {
            let table = self.open.find_table(&take.table).await?.key;
            let history = self.open.vault.history(&table, Bodies::default()).await?;
            ids.extend(history.ids().map(|id| (table.clone(), id)));
        }
        let mut found: BTreeMap<TableKey, Vec<SnapshotId>> = BTreeMap::new();
        for prefix in request.distrust.iter().map(SnapshotPrefix::as_str) {
            let id =
                resolve_prefix(ids.iter().map(|(_, id)| *id), prefix).map_err(ChooseError::from)?;
            for (table, _) in ids.iter().filter(|(_, known)| *known == id) {
                found.entry(table.clone()).or_default().push(id);
            }
        }
        Ok(found)
    }

    /// Takes one snapshot.
    pub(super) async fn take(&self, job: &Job) -> Result<SnapshotDone, CommandError> {
        let start = Instant::now();
        let done = self.snapshotter.take(&job.source, &job.request).await;
        let done = done.map_err(|error| named(error, job))?;
        let mut findings = done.record.findings.clone();
        let (mut source_files, mut source_faults, mut source_lost) = (None, None, None);
        if self.check_source {
            match self.snapshotter.check_live_files(&job.source, &done).await {
                Ok(check) => {
                    (source_files, source_faults) = (Some(check.files), Some(check.faults));
                    source_lost = Some(check.lost);
                    findings.extend(check.findings);
                }
                // The snapshot is published, and its line has to be printed.
                Err(error) => findings.push(format!(
                    "the source could not be looked through: {}",
                    with_causes(&error)
                )),
            }
        }
        if !done.unchanged
            && let Some(pages) = cache::page_cache(self.open.vault.file().id)
        {
            pages.trim();
        }
        let record = done.record;
        Ok(SnapshotDone {
            table: record.table.name,
            version: record.version,
            snapshot: done.id,
            sequence: record.seq,
            files: record.totals.files,
            bytes: record.totals.bytes,
            new_files: if done.unchanged {
                0
            } else {
                record.change.new_files
            },
            new_bytes: if done.unchanged {
                0
            } else {
                record.change.new_bytes
            },
            unchanged: done.unchanged,
            seconds: start.elapsed().as_secs_f64(),
            class: record.class,
            reason: done.reason.to_string(),
            promise: record.promise,
            commits: self.commit_row(&done.commitment),
            source_files,
            source_faults,
            source_lost,
            findings,
            not_held: done.newly_unheld.iter().map(NotHeld::from).collect(),
        })
    }

    async fn plan(&self, job: &Job) -> Result<SnapshotPlanned, CommandError> {
        let plan = self.snapshotter.plan(&job.source, &job.request).await;
        let SnapshotPlan {
            table,
            version,
            base,
            unchanged,
            files,
            bytes,
            outlook,
            known_files,
            chosen,
            commitment,
            days,
            findings,
        } = plan.map_err(|error| named(error, job))?;
        Ok(SnapshotPlanned {
            table,
            version,
            base,
            unchanged,
            new_files: files,
            new_bytes: bytes,
            read_requests: outlook.requests.reads,
            write_requests: outlook.requests.writes,
            usd: self.open.is_on_s3().then(|| {
                Prices::of(self.open.storage_class())
                    .estimate(outlook.requests, bytes, days)
                    .to_string()
            }),
            ways: outlook.going.iter().map(way_row).collect(),
            known_files,
            class: chosen.class,
            reason: chosen.reason.to_string(),
            promise: chosen.promise,
            commits: self.commit_row(&commitment),
            findings,
        })
    }

    fn commit_row(&self, commitment: &Commitment) -> Option<CommitRow> {
        let usd = || {
            let prices = Prices::of(self.open.storage_class());
            commitment.estimate(&prices).to_string()
        };
        (!commitment.is_none()).then(|| CommitRow {
            terabyte_months: commitment.terabyte_months().to_string(),
            new_bytes: commitment.new_bytes,
            longer_bytes: commitment.longer_bytes,
            longer_objects: commitment.longer_objects,
            usd: self.open.is_on_s3().then(usd),
        })
    }
}

fn way_row(going: &Going) -> WayRow {
    WayRow {
        way: going.way.as_str(),
        reason: going.reason.to_string(),
        files: going.files,
        bytes: going.bytes,
    }
}

/// Says which folder is no table.
fn named(error: Error, job: &Job) -> CommandError {
    if matches!(error, Error::Log(LogError::NoLog { .. })) {
        return CommandError::NotATable {
            uri: job.request.table.uri.clone(),
        };
    }
    error.into()
}
