//! Takes one table, or says what that would take.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use deltavault::Error;
use deltavault::delta::LogError;
use deltavault::format::ledger::{Bodies, LedgerFinding, resolve_prefix};
use deltavault::format::record::TableIdentity;
use deltavault::format::{Scope, TableKey, TableUri, Trigger};
use deltavault::ids::{Id128, SnapshotId, Version};
use deltavault::plan::choose::ChooseError;
use deltavault::plan::price::{Commitment, Prices};
use deltavault::plan::retention::RetentionRequest;
use deltavault::plan::snapshot::MethodTotals;
use deltavault::progress::Progress;
use deltavault::source::Source;
use deltavault::vault::snapshot;
use deltavault::vault::snapshot::{MaxPrice, SnapshotPlan, Snapshotter};

use super::super::Clock;
use super::messages::{CommitRow, NotHeld, SnapshotDone, SnapshotPlanned, WayRow};
use crate::cli::args::SnapshotPrefix;
use crate::cli::config::Config;
use crate::cli::error::CommandError;
use crate::cli::output::with_causes;
use crate::cli::stores::{OpenVault, Place, listed, table_uri};
use crate::cli::table_name::TableName;
use crate::cli::{cache, who};

/// A table that a snapshot is taken of.
#[derive(Debug, Clone)]
pub(crate) struct TableToTake {
    pub(crate) table: TableName,
    /// What to hold.
    pub(crate) scope: Scope,
    /// The class that the configuration gives this table.
    pub(crate) class: Option<String>,
    /// URIs of places outside its folder that its log may name files in.
    pub(crate) outside: Vec<String>,
}

/// Everything that taking snapshots needs.
#[derive(Clone)]
pub(in crate::cli::command) struct Taker {
    pub(in crate::cli::command) open: OpenVault,
    pub(in crate::cli::command) snapshotter: Snapshotter,
    /// Whether the source is looked through once the snapshot is published.
    pub(in crate::cli::command) check_source: bool,
}

/// One table, ready to be taken.
#[derive(Debug)]
pub(in crate::cli::command) struct Job {
    pub(in crate::cli::command) source: Source,
    pub(in crate::cli::command) request: snapshot::SnapshotRequest,
}

/// What is the same for every table of one run.
#[derive(Debug, Clone)]
pub(in crate::cli::command) struct Run {
    /// Why.
    pub(in crate::cli::command) trigger: Trigger,
    /// The class or the time that was asked for.
    pub(in crate::cli::command) ask: RetentionRequest,
    /// The most to newly commit to, for one table.
    pub(in crate::cli::command) max_commit: Option<MaxPrice>,
    /// Tells the time when a table's turn comes.
    pub(in crate::cli::command) clock: Clock,
    /// The set, where several tables are taken.
    pub(in crate::cli::command) set: Option<Id128>,
    /// Snapshots to build nothing on, by table.
    pub(in crate::cli::command) distrust: BTreeMap<TableKey, Vec<SnapshotId>>,
    /// The version that the owner calls the newest.
    pub(in crate::cli::command) accept_tip: Option<Version>,
}

impl Taker {
    /// Takes snapshots into a vault.
    pub(in crate::cli::command) fn new(open: OpenVault, progress: Arc<dyn Progress>) -> Self {
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

    /// The same, with its progress reported elsewhere.
    pub(super) fn watched_by(&self, progress: Arc<dyn Progress>) -> Self {
        let mut this = self.clone();
        this.snapshotter.progress = progress;
        this
    }

    /// Finds out where a table is, what it is called and how long its snapshot is kept.
    pub(in crate::cli::command) async fn job(
        &self,
        take: &TableToTake,
        run: &Run,
        config: &Config,
    ) -> Result<Job, CommandError> {
        let (root, name) = self.locate(&take.table, config).await?;
        self.open.refuse_overlap(&root)?;
        let stores = &self.open.stores;
        for place in &take.outside {
            self.open.refuse_overlap(&stores.table(place).await?)?;
        }
        let outside = listed(&take.outside);
        let key = stores.table_key(&root)?;
        let mut ask = run.ask.clone();
        if ask == RetentionRequest::default() {
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
            principal: who::principal(&self.open.place).await,
            tool: who::tool(),
            accept_tip: run.accept_tip,
            outside: outside.clone(),
        };
        let source = stores.source(&root, outside);
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
            let progress = self.snapshotter.progress.as_ref();
            match self.open.find_table(name, progress).await {
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
    pub(in crate::cli::command) async fn distrusted(
        &self,
        distrust: &[SnapshotPrefix],
        tables: &[TableToTake],
    ) -> Result<BTreeMap<TableKey, Vec<SnapshotId>>, CommandError> {
        let mut ids: Vec<(TableKey, SnapshotId)> = Vec::new();
        if distrust.is_empty() {
            return Ok(BTreeMap::new());
        }
        for take in tables {
            let progress = self.snapshotter.progress.as_ref();
            let table = self.open.find_table(&take.table, progress).await?.key;
            let history = self.open.vault.history(&table, Bodies::default()).await?;
            let lost = history.findings.iter().flat_map(LedgerFinding::lost_ids);
            let known = history.ids().chain(lost.copied());
            ids.extend(known.map(|id| (table.clone(), id)));
            if history.unread().is_some() {
                let unlinked = self.open.vault.unlinked(&history, "").await?;
                ids.extend(unlinked.iter().map(|it| (table.clone(), it.id)));
            }
        }
        let mut found: BTreeMap<TableKey, Vec<SnapshotId>> = BTreeMap::new();
        for prefix in distrust.iter().map(SnapshotPrefix::as_str) {
            let id =
                resolve_prefix(ids.iter().map(|(_, id)| *id), prefix).map_err(ChooseError::from)?;
            for (table, _) in ids.iter().filter(|(_, known)| *known == id) {
                found.entry(table.clone()).or_default().push(id);
            }
        }
        Ok(found)
    }

    /// Takes one snapshot.
    pub(in crate::cli::command) async fn take(
        &self,
        job: &Job,
    ) -> Result<SnapshotDone, CommandError> {
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
        let new = |count| if done.unchanged { 0 } else { count };
        Ok(SnapshotDone {
            table: record.table.name,
            version: record.version,
            snapshot: done.id,
            sequence: record.seq,
            files: record.totals.files,
            bytes: record.totals.bytes,
            new_files: new(record.change.new_files),
            new_bytes: new(record.change.new_bytes),
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

    pub(in crate::cli::command) async fn plan(
        &self,
        job: &Job,
    ) -> Result<SnapshotPlanned, CommandError> {
        let plan = self.snapshotter.plan(&job.source, &job.request).await;
        let SnapshotPlan {
            table,
            version,
            base,
            unchanged,
            files,
            bytes,
            forecast,
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
            read_requests: forecast.requests.reads,
            write_requests: forecast.requests.writes,
            usd: self.open.is_on_s3().then(|| {
                Prices::of(self.open.storage_class()).estimate(forecast.requests, bytes, days)
            }),
            ways: forecast.methods.iter().map(way_row).collect(),
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
            commitment: *commitment,
            usd: self.open.is_on_s3().then(usd),
        })
    }
}

fn way_row(totals: &MethodTotals) -> WayRow {
    WayRow {
        way: totals.method.as_str(),
        reason: totals.reason.to_string(),
        files: totals.files,
        bytes: totals.bytes,
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
