//! `snapshots`: what is kept, and until when.

use std::collections::BTreeSet;

use clap::Args;
use deltavault::format::ledger::LedgerFinding;
use deltavault::format::{LockMode, Scope, TableKey, Trigger};
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::choose::{History, Mark, Snapshot};
use deltavault::plan::verify::KnownRecord;
use deltavault::vault::look::Histories;
use deltavault::visible::{cell, visible};
use deltavault::{Error, ExitCode};
use glob::Pattern;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::Context;
use super::looked::{Hold, Looked, note_findings};
use crate::cli::complete;
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, align_right, lock, minute, plain_table, signed};
use crate::cli::table_name::pattern;
use crate::cli::when::When;

/// Flags of `snapshots`.
#[derive(Debug, Args)]
pub(crate) struct SnapshotsArgs {
    /// Tables to list; a name may be a pattern like 'sales.*' [all]
    #[arg(value_name = "TABLE", add = complete::tables())]
    pub(crate) tables: Vec<String>,
    /// Only the newest N of each table [all]
    #[arg(long, value_name = "N")]
    pub(crate) latest: Option<usize>,
    /// Only those taken at or after TIME, like 2026-11-20, yesterday or 2h ago [all]
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Only those of a retention class [all]
    #[arg(long, value_name = "CLASS")]
    pub(crate) class: Option<String>,
    /// Print the newest of each table as `sha256sum` would, to be kept elsewhere for `verify --heads`
    #[arg(long, conflicts_with_all = ["latest", "since", "class", "kept"])]
    pub(crate) heads: bool,
    /// Leave out those that a prune has deleted [list their records, too]
    #[arg(long)]
    pub(crate) kept: bool,
}

impl SnapshotsArgs {
    /// Which of a table's snapshots are listed, the newest last.
    fn listed<'a>(
        &self,
        history: &'a History,
        since: Option<&When>,
    ) -> Vec<(&'a Snapshot, Option<Mark>)> {
        let fits = |(snapshot, _): &(&Snapshot, Option<Mark>)| {
            let record = &snapshot.record;
            let is_new = since.is_none_or(|since| record.taken_at >= since.time);
            let is_of_class = self.class.as_ref().is_none_or(|it| *it == record.class);
            is_new && is_of_class && !(self.kept && snapshot.is_pruned)
        };
        let mut listed: Vec<_> = history.marked().filter(fits).collect();
        let newest = self.latest.unwrap_or(usize::MAX);
        listed.split_off(listed.len().saturating_sub(newest))
    }
}

/// `snapshots`
pub(super) async fn snapshots(
    args: SnapshotsArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let since = args.since.as_deref();
    let since = since.map(|text| When::parse(text, &context.here()));
    let since = since.transpose()?;
    let mut looked = Looked::new(context).await?;
    let Histories {
        read: mut histories,
        refused,
    } = histories_of(&args.tables, &mut looked, context).await?;
    if args.heads {
        for head in histories.iter().filter_map(KnownRecord::head) {
            let (key, snapshot) = (head.key().to_string(), head.id);
            context.output.say(&HeadRow { key, snapshot })?;
        }
        return say_findings(&histories, refused, context);
    }
    let now = context.clock.now();
    looked.open.vault.mark_pruned(&mut histories, now).await?;
    let mut rows = Vec::new();
    for (history, holds) in histories
        .iter()
        .zip(looked.holds(&histories, context).await?)
    {
        let listed = args.listed(history, since.as_ref()).into_iter();
        rows.extend(listed.map(|(it, mark)| snapshot_row(it, mark, holds.get(&it.id).cloned())));
    }
    print(&rows, &mut context.output)?;
    say_findings(&histories, refused, context)
}

/// Says what is wrong with the ledgers, and how the command ends by that.
fn say_findings(
    histories: &[History],
    refused: Vec<(TableKey, Error)>,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let mut code = ExitCode::Done;
    for (table, error) in refused {
        let error = CommandError::from(error);
        context.output.table_failed(table.slug(), &error)?;
        code = code.max(error.exit_code());
    }
    for history in histories {
        for newer in history.newer.iter().filter(|newer| !newer.is_distrusted) {
            let error = CommandError::from(newer.error.clone());
            context.output.table_failed(history.name(), &error)?;
            code = code.max(error.exit_code());
        }
        note_findings(history, context.progress.as_ref());
        let mut findings = history.findings.iter();
        let hides_all = history.snapshots.is_empty() && history.unread().is_some();
        if hides_all || findings.any(LedgerFinding::is_damage) {
            code = code.max(ExitCode::Damage);
        }
    }
    if code == ExitCode::Damage {
        let what_to_do = "the ledger is damaged: `deltavault verify` says what to do";
        context.progress.note(&context.again.in_text(what_to_do));
    }
    Ok(code)
}

/// The histories of the tables that are named, by patterns too; of all where none is.
async fn histories_of(
    texts: &[String],
    looked: &mut Looked,
    context: &Context,
) -> Result<Histories, CommandError> {
    let mut patterns = Vec::new();
    let mut keys = BTreeSet::new();
    for text in texts {
        if let Some(pattern) = pattern(text, &context.config)? {
            patterns.push(pattern);
        } else {
            let name = context.table(text)?;
            let found = looked.open.find_table(&name, context.progress.as_ref());
            keys.insert(found.await?.key);
        }
    }
    if patterns.is_empty() && !keys.is_empty() {
        let mut histories = Histories::default();
        for key in keys {
            histories.read.push(looked.history(&key).await?);
        }
        return Ok(histories);
    }
    let mut histories = looked.histories().await?;
    let read = &histories.read;
    let is_unused = |pattern: &&Pattern| !read.iter().any(|it| pattern.matches(it.name()));
    if let Some(pattern) = patterns.iter().find(is_unused) {
        let known = read.iter().map(|it| it.name().to_owned()).collect();
        let name = pattern.to_string();
        return Err(Error::UnknownTable { name, known }.into());
    }
    let is_wanted = |key: &TableKey, name: &str| {
        let matches = |pattern: &Pattern| pattern.matches(name);
        texts.is_empty() || keys.contains(key) || patterns.iter().any(matches)
    };
    histories.read.retain(|it| is_wanted(&it.table, it.name()));
    histories
        .refused
        .retain(|(key, _)| is_wanted(key, key.slug()));
    Ok(histories)
}

pub(super) fn snapshot_row(
    snapshot: &Snapshot,
    mark: Option<Mark>,
    held: Option<Hold>,
) -> SnapshotRow {
    let record = snapshot.record.as_ref();
    let change = &record.change;
    SnapshotRow {
        table: record
            .table
            .name()
            .unwrap_or(snapshot.table.slug())
            .to_owned(),
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
        held,
        mark: mark.map(Mark::as_str),
    }
}

/// A snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotRow {
    /// The table's name.
    pub(crate) table: String,
    /// The table's URI.
    pub(crate) uri: String,
    /// Its id.
    pub(crate) snapshot: SnapshotId,
    /// Its slot in the ledger.
    pub(crate) sequence: u64,
    /// The version that it holds.
    pub(crate) version: Version,
    /// When that version was committed.
    pub(crate) commit_time: Timestamp,
    /// When it was taken.
    pub(crate) taken_at: Timestamp,
    /// Until when it is promised.
    pub(crate) promise: Timestamp,
    /// By which lock.
    pub(crate) lock_mode: LockMode,
    /// Its retention class.
    pub(crate) class: String,
    /// What it holds.
    pub(crate) scope: Scope,
    /// Why it was taken.
    pub(crate) trigger: Trigger,
    /// Files that it holds.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Files that the vault had to take in for it.
    pub(crate) new_files: u64,
    /// Their bytes.
    pub(crate) new_bytes: u64,
    /// Versions since the snapshot before.
    pub(crate) versions: u64,
    /// The operation that made the version, by its commitInfo.
    pub(crate) operation: Option<String>,
    /// Who committed it.
    pub(crate) user: Option<String>,
    /// Files that became live since the snapshot before.
    pub(crate) files_added: u64,
    /// Files that are live no more.
    pub(crate) files_removed: u64,
    /// The change in rows since the snapshot before, where it is known.
    pub(crate) rows: Option<i64>,
    /// Whether it is distrusted, and chosen by its id only.
    pub(crate) distrusted: bool,
    /// Whether a prune has deleted what it held: only its record is left.
    pub(crate) pruned: bool,
    /// Since when and by whom it is held beyond its promise; none where it is not.
    pub(crate) held: Option<Hold>,
    /// Where the table's history breaks before it: `re-created`, `rewound`, `rewritten`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<&'static str>,
}

impl SnapshotRow {
    const TYPE: &'static str = "snapshot";
}

/// Prints a line of JSON a snapshot, or a table for people.
/// The newest record of a table.
#[derive(Debug, Serialize)]
pub(crate) struct HeadRow {
    /// Its key in the vault.
    key: String,
    /// Its SHA-256, the id of the snapshot.
    snapshot: SnapshotId,
}

impl Message for HeadRow {
    const TYPE: &'static str = "head";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!("{}  {}", self.snapshot, self.key))
    }
}

pub(super) fn print(rows: &[SnapshotRow], out: &mut Output) -> Result<(), CommandError> {
    if out.is_json() {
        return rows
            .iter()
            .try_for_each(|row| out.line(SnapshotRow::TYPE, row));
    }
    let mut header = vec![
        "SNAPSHOT",
        "TABLE",
        "VERSION",
        "COMMITTED",
        "TAKEN",
        "KEPT UNTIL",
        "LOCK",
        "CLASS",
        "FILES",
        "SIZE",
        "NEW",
        "ROWS",
        "OPERATION",
    ];
    // Rare, and the more important: the versions below it are no continuation of those above.
    let has_marks = rows.iter().any(|row| row.mark.is_some());
    if has_marks {
        header.push("HISTORY");
    }
    let mut table = plain_table(&header);
    for column in [2, 8, 9, 10, 11] {
        align_right(&mut table, column);
    }
    for row in rows {
        let mut cells = vec![
            row.snapshot.short(),
            row.table.clone(),
            format!("v{}", row.version),
            minute(row.commit_time),
            minute(row.taken_at),
            kept_until(row),
            lock(row.lock_mode).to_owned(),
            row.class.clone(),
            HumanCount(row.files).to_string(),
            HumanBytes(row.bytes).to_string(),
            HumanBytes(row.new_bytes).to_string(),
            row.rows.map_or_else(|| "?".to_owned(), signed),
            operation(row),
        ];
        if has_marks {
            cells.push(row.mark.map_or_else(String::new, str::to_owned));
        }
        // Before the columns are measured, and before a newline would make a row of two lines.
        table.add_row(cells.iter().map(|cell| visible(cell).into_owned()));
    }
    out.table(&table)
}

/// Of a pruned one only the record is left; a hold lasts until it is released, whatever the promise.
fn kept_until(row: &SnapshotRow) -> String {
    match (row.pruned, &row.held) {
        (true, _) => "pruned".to_owned(),
        (false, Some(_)) => "held".to_owned(),
        (false, None) => minute(row.promise),
    }
}

pub(super) fn operation(row: &SnapshotRow) -> String {
    let operation = cell(row.operation.as_deref().unwrap_or("?"));
    let distrusted = if row.distrusted { "  DISTRUSTED" } else { "" };
    match row.user.as_deref().map(cell) {
        Some(user) => format!("{operation} by {user}{distrusted}"),
        None => format!("{operation}{distrusted}"),
    }
}

#[cfg(test)]
mod tests {
    use deltavault::ids::Digest;

    use super::*;
    use crate::cli::output::tests::printed;

    fn row(version: u64, rows: Option<i64>) -> SnapshotRow {
        let time = |text: &str| text.parse().unwrap();
        SnapshotRow {
            table: "orders".into(),
            uri: "file:///lake/orders".into(),
            snapshot: SnapshotId(Digest::of(&[0])),
            sequence: 3,
            version: Version(version),
            commit_time: time("2026-11-20T01:58:07Z"),
            taken_at: time("2026-11-20T02:00:00Z"),
            promise: time("2026-12-20T02:00:00Z"),
            lock_mode: LockMode::None,
            class: "daily".into(),
            scope: Scope::Live,
            trigger: Trigger::Manual,
            files: 41_880,
            bytes: 1 << 30,
            new_files: 12,
            new_bytes: 4096,
            versions: 1,
            operation: Some("MERGE".into()),
            user: Some("ann".into()),
            files_added: 2,
            files_removed: 1,
            rows,
            distrusted: false,
            pruned: false,
            held: None,
            mark: None,
        }
    }

    #[test]
    fn where_a_history_breaks_a_column_tells_it_and_elsewhere_there_is_none() {
        let whole = [row(7, None), row(8, None)];
        let text = printed(false, |output| print(&whole, output));
        assert!(!text.contains("HISTORY"), "{text}");
        let mut broken = [row(8, None), row(6, None), row(7, None)];
        broken[1].mark = Some("rewound");
        let text = printed(false, |output| print(&broken, output));
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[0].ends_with("HISTORY"), "{text}");
        assert!(lines[2].ends_with("rewound"), "{text}");
        assert!(!lines[3].contains("rewound"), "{text}");
        let json = printed(true, |output| print(&broken, output));
        assert_eq!(json.matches("\"mark\":\"rewound\"").count(), 1, "{json}");
        assert_eq!(json.matches("\"mark\"").count(), 1, "{json}");
    }

    #[test]
    fn snapshots_are_a_table_without_borders_or_trailing_blanks() {
        let text = printed(false, |output| {
            print(&[row(8790, Some(-12)), row(7, None)], output)
        });
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].starts_with("SNAPSHOT  TABLE   VERSION"), "{text}");
        assert!(
            lines[1].contains(
                "v8790  2026-11-20 01:58Z  2026-11-20 02:00Z  2026-12-20 02:00Z  none  daily"
            ),
            "{text}"
        );
        assert!(
            lines[1].ends_with("1.00 GiB  4.00 KiB   -12  MERGE by ann"),
            "{text}"
        );
        assert!(lines[2].contains("     v7  "), "{text}");
    }

    #[test]
    fn every_json_line_has_its_message_type_first_and_stays_flat() {
        let text = printed(true, |output| print(&[row(7, None)], output));
        assert!(
            text.starts_with("{\"message_type\":\"snapshot\",\"table\":\"orders\","),
            "{text}"
        );
        let line: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(line["version"], 7);
        assert_eq!(line["commit_time"], "2026-11-20T01:58:07Z");
        assert_eq!(line["rows"], serde_json::Value::Null);
        assert_eq!(line["lock_mode"], "none");
    }
}
