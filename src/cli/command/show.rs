//! `show`: everything that is recorded about a snapshot.

use deltavault::format::VaultKey;
use deltavault::ids::{SnapshotId, Version};
use deltavault::plan::choose::Snapshot;
use deltavault::{Error, ExitCode};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::Context;
use super::looked::{Found, Hold, Looked, OneSnapshotArgs};
use super::snapshots::{SnapshotRow, operation, snapshot_row};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted, lock, range, signed};

/// `show`
pub(super) async fn show(
    args: OneSnapshotArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let mut looked = Looked::new(context).await?;
    let found = &looked.find(&args.snapshot, None, context).await?;
    let Found { history, snapshot } = found;
    let vault = &looked.open.vault;
    let kinds = async {
        let manifest = vault.manifest(&snapshot.record).await?;
        vault.count_kinds(&manifest).await
    };
    // The record can be shown whatever became of its pages.
    let (kinds, damage) = match kinds.await {
        Ok(kinds) => (Some(kinds), None),
        Err(error) => {
            let why = looked.unreadable(error, found, context);
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
    let holds = looked.holds(std::slice::from_ref(history), context).await?;
    let held = holds.into_iter().find_map(|mut it| it.remove(&snapshot.id));
    let row = SnapshotRow {
        pruned: matches!(
            damage.as_ref().and_then(CommandError::as_library),
            Some(Error::Pruned { .. })
        ),
        ..snapshot_row(snapshot, mark.and_then(|(_, mark)| mark), held)
    };
    context.output.say(&show_row(snapshot, row, kinds))?;
    damage.map_or(Ok(ExitCode::Done), Err)
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

/// Everything that is recorded about a snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShowRow {
    /// What the list has.
    #[serde(flatten)]
    pub(crate) snapshot: SnapshotRow,
    /// The table's Delta id.
    pub(crate) delta_id: String,
    /// What it holds, by kind; none when a page of it cannot be read.
    pub(crate) kinds: Option<Vec<KindRow>>,
    /// Data, deletion-vector and change-data files.
    pub(crate) data_files: u64,
    /// Their bytes.
    pub(crate) data_bytes: u64,
    /// Rows live at the version, where they are known.
    pub(crate) live_rows: Option<u64>,
    /// Files that older versions name and nobody has any more.
    pub(crate) absent_files: u64,
    /// The table's protocol, with its features.
    pub(crate) protocol: String,
    /// The checkpoint that was planned from.
    pub(crate) checkpoint: Option<Version>,
    /// With scope `history`: older versions that are whole too, as inclusive ranges.
    pub(crate) whole_versions: Vec<(Version, Version)>,
    /// The snapshot before.
    pub(crate) previous: Option<SnapshotId>,
    /// The snapshot that entries were taken over from.
    pub(crate) base: Option<SnapshotId>,
    /// The manifest's key in the vault.
    pub(crate) manifest: String,
    /// The record's key in the vault.
    pub(crate) record: String,
    /// Who took it.
    pub(crate) principal: String,
    /// With which tool.
    pub(crate) tool: String,
    /// What the owner should know.
    pub(crate) findings: Vec<String>,
}

impl Message for ShowRow {
    const TYPE: &'static str = "snapshot_details";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let snapshot = &self.snapshot;
        let id = |id: Option<SnapshotId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let whole = self.whole_versions.iter();
        let whole = whole.map(|(first, last)| range(*first, *last));
        let whole = std::iter::once(format!("v{}", snapshot.version)).chain(whole);
        let lines = [
            ("snapshot", snapshot.snapshot.to_string()),
            ("table", format!("{} at {}", snapshot.table, snapshot.uri)),
            ("delta id", self.delta_id.clone()),
            (
                "version",
                format!(
                    "v{} committed {}{}",
                    snapshot.version,
                    snapshot.commit_time,
                    snapshot.mark.map_or_else(String::new, |mark| format!(
                        "; {mark} since the snapshot before"
                    ))
                ),
            ),
            ("operation", operation(snapshot)),
            (
                "change",
                format!(
                    "{}, {} came, {} went, rows {}",
                    counted(snapshot.versions, "version"),
                    counted(snapshot.files_added, "file"),
                    HumanCount(snapshot.files_removed),
                    snapshot.rows.map_or_else(|| "unknown".to_owned(), signed)
                ),
            ),
            (
                "holds",
                format!(
                    "{}, {}; data {}, {}; absent {}; rows {}",
                    counted(snapshot.files, "file"),
                    HumanBytes(snapshot.bytes),
                    counted(self.data_files, "file"),
                    HumanBytes(self.data_bytes),
                    HumanCount(self.absent_files),
                    self.live_rows
                        .map_or_else(|| "unknown".to_owned(), |rows| HumanCount(rows).to_string())
                ),
            ),
            ("whole", whole.collect::<Vec<_>>().join(", ")),
            (
                "new",
                format!(
                    "{}, {}",
                    counted(snapshot.new_files, "file"),
                    HumanBytes(snapshot.new_bytes)
                ),
            ),
            ("protocol", self.protocol.clone()),
            ("kept until", kept_until(snapshot)),
            (
                "taken",
                format!(
                    "{} by {} with {}",
                    snapshot.taken_at, self.principal, self.tool
                ),
            ),
            ("previous", id(self.previous)),
            ("base", id(self.base)),
            ("record", self.record.clone()),
            ("manifest", self.manifest.clone()),
        ];
        for (label, text) in lines {
            out.print(format_args!("{label:<11}{text}"))?;
        }
        for kind in self.kinds.iter().flatten() {
            let absent = match kind.absent {
                0 => String::new(),
                absent => format!(", {} only named", HumanCount(absent)),
            };
            out.print(format_args!(
                "  {:<15} {:>15}  {:>11}{absent}",
                kind.kind,
                counted(kind.files, "file"),
                HumanBytes(kind.bytes).to_string()
            ))?;
        }
        out.findings(&self.findings)
    }
}

fn kept_until(snapshot: &SnapshotRow) -> String {
    let held = |hold: &Hold| format!("; held since {} by {}", hold.since, hold.by);
    format!(
        "{} by class {}, lock {}{}{}",
        snapshot.promise,
        snapshot.class,
        lock(snapshot.lock_mode),
        snapshot.held.as_ref().map_or_else(String::new, held),
        if snapshot.pruned { "; pruned" } else { "" }
    )
}

/// Files of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KindRow {
    /// What they are for the table.
    pub(crate) kind: &'static str,
    /// Files that are held.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that are only named.
    pub(crate) absent: u64,
}
