//! `snapshots`, `show`, `ls`, `diff` and `index rebuild`: what is in a vault.

use std::sync::Arc;

use deltavault::format::ledger::{Bodies, Severity};
use deltavault::format::{Entry, Manifest, Placement, VaultKey};
use deltavault::ids::{SnapshotId, Timestamp};
use deltavault::index::Index;
use deltavault::plan::choose::{History, Mark, Snapshot};
use deltavault::progress::Progress;
use deltavault::vault::diff::{
    Change, DiffSums, DiffTotals, Difference as Differs, LiveChange, LiveDifference, LiveTotals,
};
use deltavault::vault::look::find_snapshot;
use deltavault::{Error, ExitCode};
use futures::TryStreamExt;

use super::Context;
use crate::cli::args::{DiffSide, SnapshotPrefix};
use crate::cli::cache::{self, Cache, index_path};
use crate::cli::error::CommandError;
use crate::cli::request::TableName;
use crate::cli::rows::{
    DiffDone, DiffRow, Difference, FileRow, IndexDone, KindRow, ShowRow, SnapshotRow,
};
use crate::cli::stores::OpenVault;

/// Says what there is to say about a table's ledger.
pub(super) fn note_findings(history: &History, progress: &dyn Progress) {
    let name = history.name();
    for finding in &history.findings {
        let object = VaultKey::Record {
            table: history.table.clone(),
            seq: finding.slot(),
        };
        progress.note(&format!("{name}: {object}: {finding}"));
    }
}

/// `snapshots`
pub(super) async fn snapshots(
    table: Option<TableName>,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let mut cache = Cache::open(open.vault.file().id, Arc::clone(&context.progress));
    let mut histories = match table {
        None => {
            let histories = open.vault.histories(|table| cache.records(table));
            histories.await?
        }
        Some(table) => {
            let found = open.find_table(&table).await?;
            let bodies = cache.records(&found.key);
            vec![open.vault.history(&found.key, bodies).await?]
        }
    };
    cache.put(&histories);
    let now = context.clock.now();
    open.vault.mark_pruned(&mut histories, now).await?;
    let rows = histories.iter().flat_map(History::marked);
    let rows: Vec<SnapshotRow> = rows
        .map(|(snapshot, mark)| snapshot_row(snapshot, mark))
        .collect();
    context.output.snapshots(&rows)?;
    let mut code = ExitCode::Done;
    for history in &histories {
        for newer in history.newer.iter().filter(|newer| !newer.is_distrusted) {
            let error = CommandError::from(newer.error.clone());
            context.output.table_failed(history.name(), &error)?;
            code = code.max(error.exit_code());
        }
        note_findings(history, context.progress.as_ref());
        let mut findings = history.findings.iter();
        let hides_all = history.snapshots.is_empty() && history.unread().is_some();
        if hides_all || findings.any(|finding| finding.severity() == Severity::Damage) {
            code = code.max(ExitCode::Damage);
        }
    }
    if code == ExitCode::Damage {
        let what_to_do = "the ledger is damaged: `deltavault verify` says what to do";
        context.progress.note(&context.again.in_text(what_to_do));
    }
    Ok(code)
}

/// `show`
pub(super) async fn show(
    prefix: SnapshotPrefix,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let looked = Looked::new(context).await?;
    let (history, snapshot) = find_snapshot(&looked.histories, prefix.as_str())?;
    let vault = &looked.open.vault;
    let now = context.clock.now();
    let kinds = async {
        let manifest = vault.manifest(&snapshot.record).await?;
        vault.count_kinds(&manifest).await
    };
    // The record can be shown whatever became of its pages.
    let (kinds, damage) = match kinds.await {
        Ok(kinds) => (Some(kinds), None),
        Err(error) => {
            let why = vault.why_unreadable(error, snapshot, history, now);
            (None, Some(why.await))
        }
    };
    let kinds = kinds.map(|kinds| {
        let kinds = kinds.into_iter().map(|(kind, count)| KindRow {
            kind: kind.as_str(),
            files: count.files,
            bytes: count.bytes,
            absent: count.absent,
        });
        kinds.collect()
    });
    let mark = history.marked().find(|(it, _)| it.id == snapshot.id);
    let row = SnapshotRow {
        pruned: matches!(damage, Some(Error::Pruned { .. })),
        ..snapshot_row(snapshot, mark.and_then(|(_, mark)| mark))
    };
    context.output.show(&show_row(snapshot, row, kinds))?;
    damage.map_or(Ok(ExitCode::Done), |damage| Err(damage.into()))
}

/// `ls`
pub(super) async fn ls(
    prefix: SnapshotPrefix,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let looked = Looked::new(context).await?;
    let found = find_snapshot(&looked.histories, prefix.as_str())?;
    let manifest = looked.manifest(found, context.clock.now()).await?;
    let mut files = looked.open.vault.files(&manifest);
    while let Some(entry) = files.try_next().await? {
        context.output.file(&file_row(&entry))?;
    }
    Ok(ExitCode::Done)
}

/// `diff`
pub(super) async fn diff(
    before: SnapshotPrefix,
    after: DiffSide,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let looked = Looked::new(context).await?;
    let vault = &looked.open.vault;
    let now = context.clock.now();
    let found = find_snapshot(&looked.histories, before.as_str())?;
    let (_, before) = found;
    let manifest = looked.manifest(found, now).await?;
    let spill = tempfile::tempdir().map_err(Error::Scratch)?;
    let mut rows = Rows(context);
    let done = match after {
        DiffSide::Live => {
            let table = &before.record.table;
            let live = looked.open.stores.home(&table.source, &table.uri).await?;
            let totals = vault
                .diff_live(
                    &manifest,
                    live.read().as_ref(),
                    spill.path(),
                    &mut |found| Ok(rows.live(&found)?),
                )
                .await?;
            live_done(before, &totals)
        }
        DiffSide::Snapshot(after) => {
            let found = find_snapshot(&looked.histories, after.as_str())?;
            let (_, after) = found;
            let other = looked.manifest(found, now).await?;
            let totals = vault
                .diff(&manifest, &other, spill.path(), &mut |found| {
                    Ok(rows.snapshots(&found)?)
                })
                .await?;
            diff_done(before, after, &totals)
        }
    };
    context.output.diff_done(&done)?;
    Ok(ExitCode::Done)
}

/// `index rebuild`
pub(super) async fn index_rebuild(context: &mut Context) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let histories = open.vault.histories(|_| Bodies::default()).await?;
    let id = open.vault.file().id;
    let path = index_path(id).ok_or(CommandError::NoCacheFolder)?;
    let mut opened = Index::open(&path, id)?;
    if let Err(error) = opened.index.rebuild(&histories) {
        opened = opened.index.renew(error)?;
        opened.index.rebuild(&histories)?;
    }
    context.output.index_done(&IndexDone {
        path: path.display().to_string(),
        tables: histories.len() as u64,
        snapshots: histories
            .iter()
            .map(|history| history.snapshots.len() as u64)
            .sum(),
    })?;
    Ok(ExitCode::Done)
}

/// A vault that is open, and everything that its ledgers say.
struct Looked {
    open: OpenVault,
    histories: Vec<History>,
}

impl Looked {
    async fn new(context: &Context) -> Result<Self, CommandError> {
        let open = context.open_vault().await?;
        let mut cache = Cache::open(open.vault.file().id, Arc::clone(&context.progress));
        let histories = open.vault.histories(|table| cache.records(table)).await?;
        cache.put(&histories);
        let vault = cache::with_pages(open.vault.clone());
        let open = OpenVault { vault, ..open };
        Ok(Self { open, histories })
    }

    /// Reads a snapshot's manifest, or says that it was pruned.
    async fn manifest(
        &self,
        (history, snapshot): (&History, &Snapshot),
        now: Timestamp,
    ) -> Result<Manifest, CommandError> {
        let vault = &self.open.vault;
        match vault.manifest(&snapshot.record).await {
            Ok(manifest) => Ok(manifest),
            Err(error) => Err(vault
                .why_unreadable(error, snapshot, history, now)
                .await
                .into()),
        }
    }
}

/// Prints differences as they are found.
struct Rows<'a>(&'a mut Context);

impl Rows<'_> {
    fn snapshots(&mut self, found: &Differs) -> Result<(), CommandError> {
        let (difference, size, size_before) = match found.change {
            Change::Added { size } => (Difference::Added, size, None),
            Change::Removed { size } => (Difference::Removed, size, Some(size)),
            Change::Changed { before, after } => (Difference::Changed, after, Some(before)),
        };
        self.0.output.difference(&DiffRow {
            difference,
            kind: found.kind.as_str(),
            path: found.file.to_string(),
            size,
            size_before,
        })
    }

    fn live(&mut self, found: &LiveDifference) -> Result<(), CommandError> {
        let (difference, size, size_before) = match found.change {
            LiveChange::Missing { size } => (Difference::Removed, size, Some(size)),
            LiveChange::OtherSize { held, live } => (Difference::Changed, live, Some(held)),
            LiveChange::Unsure { size } => (Difference::Unsure, size, Some(size)),
            LiveChange::NewerLog { size } | LiveChange::Extra { size } => {
                (Difference::Added, size, None)
            }
        };
        let kind = match (found.kind, found.change) {
            (Some(kind), _) => kind.as_str(),
            (None, LiveChange::NewerLog { .. }) => "newer-log",
            (None, _) => "extra",
        };
        self.0.output.difference(&DiffRow {
            difference,
            kind,
            path: found.file.to_string(),
            size,
            size_before,
        })
    }
}

fn diff_done(before: &Snapshot, after: &Snapshot, totals: &DiffTotals) -> DiffDone {
    let DiffTotals { log, data } = totals;
    let differing = |sums: &DiffSums| sums.added.files + sums.removed.files + sums.changed.files;
    DiffDone {
        before: before.id.short(),
        after: after.id.short(),
        versions: (before.record.version, Some(after.record.version)),
        added: log.added.files + data.added.files,
        removed: log.removed.files + data.removed.files,
        changed: log.changed.files + data.changed.files,
        same: log.same + data.same,
        unsure: 0,
        outside: 0,
        bytes_added: log.added.bytes.saturating_add(data.added.bytes),
        bytes_removed: log.removed.bytes.saturating_add(data.removed.bytes),
        of_the_log: differing(log),
    }
}

fn live_done(before: &Snapshot, totals: &LiveTotals) -> DiffDone {
    DiffDone {
        before: before.id.short(),
        after: "live".to_owned(),
        versions: (before.record.version, totals.newest),
        added: totals.newer_log.files + totals.extra.files,
        removed: totals.missing.files,
        changed: totals.other_size.files,
        same: totals.same,
        unsure: totals.unsure.files,
        outside: totals.outside,
        bytes_added: totals.newer_log.bytes.saturating_add(totals.extra.bytes),
        bytes_removed: totals.missing.bytes,
        of_the_log: totals.of_the_log,
    }
}

fn snapshot_row(snapshot: &Snapshot, mark: Option<Mark>) -> SnapshotRow {
    let record = snapshot.record.as_ref();
    let change = &record.change;
    SnapshotRow {
        table: record.table.name.clone(),
        uri: record.table.uri.clone(),
        snapshot: snapshot.id,
        sequence: snapshot.seq,
        version: record.version,
        commit_time: record.commit_time,
        taken_at: record.taken_at,
        promise: record.promise,
        lock_mode: record.lock_mode,
        class: record.class.clone(),
        scope: record.scope,
        trigger: record.trigger,
        files: record.totals.files,
        bytes: record.totals.bytes,
        new_files: change.new_files,
        new_bytes: change.new_bytes,
        versions: change.versions,
        operation: change.operation.clone(),
        user: change.user.clone(),
        files_added: change.files_added,
        files_removed: change.files_removed,
        rows: change.rows,
        distrusted: snapshot.is_distrusted,
        pruned: snapshot.is_pruned,
        mark: mark.map(Mark::as_str),
    }
}

fn show_row(snapshot: &Snapshot, row: SnapshotRow, kinds: Option<Vec<KindRow>>) -> ShowRow {
    let record = snapshot.record.as_ref();
    let protocol = &record.protocol;
    let features = protocol
        .reader_features
        .iter()
        .chain(&protocol.writer_features);
    let mut features: Vec<&str> = features.map(String::as_str).collect();
    features.sort_unstable();
    features.dedup();
    let mut text = format!("reader {}, writer {}", protocol.reader, protocol.writer);
    if !features.is_empty() {
        text = format!("{text}: {}", features.join(", "));
    }
    let (table, seq) = (snapshot.table.clone(), snapshot.seq);
    ShowRow {
        snapshot: row,
        delta_id: record.table.delta_id.clone(),
        kinds,
        data_files: record.totals.data_files,
        data_bytes: record.totals.data_bytes,
        live_rows: record.totals.rows,
        absent_files: record.totals.absent_files,
        protocol: text,
        checkpoint: record.checkpoint,
        whole_versions: record.whole_versions.clone(),
        previous: record.previous.map(|previous| SnapshotId(previous.sha256)),
        base: record.base,
        manifest: record.manifest.key.to_string(),
        record: VaultKey::Record { table, seq }.to_string(),
        principal: record.principal.clone(),
        tool: record.tool.clone(),
        findings: record.findings.clone(),
    }
}

fn file_row(entry: &Entry) -> FileRow {
    let placement = match &entry.placement {
        Placement::Absent {} => "absent".to_owned(),
        Placement::Inline(_) => "inline".to_owned(),
        Placement::Copy { reference }
        | Placement::Blob {
            offset: None,
            reference,
        } => reference.key.to_string(),
        Placement::Blob {
            offset: Some(offset),
            reference,
        } => format!("{}@{offset}", reference.key),
    };
    FileRow {
        kind: entry.kind.as_str(),
        path: entry.file.to_string(),
        size: entry.size,
        rows: entry.rows,
        sha256: entry.sha256,
        placement,
    }
}
