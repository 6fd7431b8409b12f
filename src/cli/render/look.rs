//! What a look into a vault shows: lists, one snapshot, its files, differences.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use deltavault::ids::SnapshotId;
use deltavault::visible::visible;
use indicatif::{HumanBytes, HumanCount};

use super::Output;
use super::results::{lock, minute};
use crate::cli::error::CommandError;
use crate::cli::rows::{DiffDone, DiffRow, Difference, FileRow, ShowRow, SnapshotRow};

impl Output {
    /// Prints snapshots, and until when each is kept.
    pub(crate) fn snapshots(&mut self, rows: &[SnapshotRow]) -> Result<(), CommandError> {
        if self.json {
            return rows.iter().try_for_each(|row| self.line(row));
        }
        let mut header = vec![
            "SNAPSHOT",
            "TABLE",
            "VERSION",
            "COMMITTED",
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
        for column in [2, 7, 8, 9, 10] {
            align_right(&mut table, column);
        }
        for row in rows {
            let mut cells = vec![
                row.snapshot.short(),
                row.table.clone(),
                format!("v{}", row.version),
                minute(row.commit_time),
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
        self.table(&table)
    }

    /// Prints one snapshot.
    pub(crate) fn show(&mut self, row: &ShowRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let snapshot = &row.snapshot;
        let id = |id: Option<SnapshotId>| id.map_or_else(|| "none".to_owned(), |id| id.to_string());
        let whole = row.whole_versions.iter().map(|(first, last)| {
            if first == last {
                format!("v{first}")
            } else {
                format!("v{first}-v{last}")
            }
        });
        let whole = std::iter::once(format!("v{}", snapshot.version)).chain(whole);
        let lines = [
            ("snapshot", snapshot.snapshot.to_string()),
            ("table", format!("{} at {}", snapshot.table, snapshot.uri)),
            ("delta id", row.delta_id.clone()),
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
                    "{} versions, {} files came, {} went, rows {}",
                    HumanCount(snapshot.versions),
                    HumanCount(snapshot.files_added),
                    HumanCount(snapshot.files_removed),
                    snapshot.rows.map_or_else(|| "unknown".to_owned(), signed)
                ),
            ),
            (
                "holds",
                format!(
                    "{} files, {}; data {} files, {}; absent {}; rows {}",
                    HumanCount(snapshot.files),
                    HumanBytes(snapshot.bytes),
                    HumanCount(row.data_files),
                    HumanBytes(row.data_bytes),
                    HumanCount(row.absent_files),
                    row.live_rows
                        .map_or_else(|| "unknown".to_owned(), |rows| HumanCount(rows).to_string())
                ),
            ),
            ("whole", whole.collect::<Vec<_>>().join(", ")),
            (
                "new",
                format!(
                    "{} files, {}",
                    HumanCount(snapshot.new_files),
                    HumanBytes(snapshot.new_bytes)
                ),
            ),
            ("protocol", row.protocol.clone()),
            (
                "kept until",
                format!(
                    "{} by class {}, lock {}{}",
                    snapshot.promise,
                    snapshot.class,
                    lock(snapshot.lock_mode),
                    if snapshot.pruned { "; pruned" } else { "" }
                ),
            ),
            (
                "taken",
                format!(
                    "{} by {} with {}",
                    snapshot.taken_at, row.principal, row.tool
                ),
            ),
            ("previous", id(row.previous)),
            ("base", id(row.base)),
            ("record", row.record.clone()),
            ("manifest", row.manifest.clone()),
        ];
        for (label, text) in lines {
            self.print(format_args!("{label:<11}{text}"))?;
        }
        for kind in row.kinds.iter().flatten() {
            let absent = match kind.absent {
                0 => String::new(),
                absent => format!(", {} only named", HumanCount(absent)),
            };
            self.print(format_args!(
                "  {:<15} {:>9} files  {:>11}{absent}",
                kind.kind,
                HumanCount(kind.files).to_string(),
                HumanBytes(kind.bytes).to_string()
            ))?;
        }
        self.findings(&row.findings)
    }

    /// Prints one file of a snapshot; listings are streamed, so columns have fixed widths.
    pub(crate) fn file(&mut self, row: &FileRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let digest = row
            .sha256
            .map_or_else(|| "-".repeat(8), |digest| digest.short());
        self.print(format_args!(
            "{:<15} {:>12} {digest}  {}",
            row.kind, row.size, row.path
        ))
    }

    /// Prints one file that differs.
    pub(crate) fn difference(&mut self, row: &DiffRow) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let sign = match row.difference {
            Difference::Added => '+',
            Difference::Removed => '-',
            Difference::Changed => '~',
            Difference::Unsure => '?',
        };
        self.print(format_args!(
            "{sign} {:<15} {:>12}  {}",
            row.kind, row.size, row.path
        ))
    }

    /// Prints the sums of a comparison.
    pub(crate) fn diff_done(&mut self, row: &DiffDone) -> Result<(), CommandError> {
        if self.json {
            return self.line(row);
        }
        let after = row
            .versions
            .1
            .map_or_else(|| "without a commit".to_owned(), |v| format!("v{v}"));
        self.print(format_args!(
            "{} v{} to {} {after}: {} added ({}), {} removed ({}), {} changed, {} the same; {} of them the log's",
            row.before,
            row.versions.0,
            row.after,
            HumanCount(row.added),
            HumanBytes(row.bytes_added),
            HumanCount(row.removed),
            HumanBytes(row.bytes_removed),
            HumanCount(row.changed),
            HumanCount(row.same),
            HumanCount(row.of_the_log),
        ))?;
        if row.unsure > 0 {
            self.print(format_args!(
                "{} have the same size and another tag: perhaps the same bytes put again, they were not read",
                HumanCount(row.unsure)
            ))?;
        }
        if row.outside > 0 {
            self.print(format_args!(
                "{} lie outside the table's folder and were not looked at",
                HumanCount(row.outside)
            ))?;
        }
        Ok(())
    }

    fn table(&mut self, table: &Table) -> Result<(), CommandError> {
        let lines: Vec<String> = table.lines().collect();
        lines
            .iter()
            .try_for_each(|line| self.print(format_args!("{}", line.trim_end())))
    }
}

fn plain_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(header.iter().copied());
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

fn align_right(table: &mut Table, column: usize) {
    if let Some(column) = table.column_mut(column) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn signed(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", HumanCount(change.unsigned_abs()))
}

/// Of a pruned one only the record is left.
fn kept_until(row: &SnapshotRow) -> String {
    if row.pruned {
        return "pruned".to_owned();
    }
    minute(row.promise)
}

fn operation(row: &SnapshotRow) -> String {
    let operation = row.operation.as_deref().unwrap_or("?");
    let distrusted = if row.distrusted { "  DISTRUSTED" } else { "" };
    match &row.user {
        Some(user) => format!("{operation} by {user}{distrusted}"),
        None => format!("{operation}{distrusted}"),
    }
}
