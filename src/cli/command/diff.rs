//! `diff`: two snapshots, or one and its live table.

use std::convert::Infallible;
use std::str::FromStr;

use clap::Args;
use deltavault::format::Manifest;
use deltavault::ids::{Location, Version};
use deltavault::plan::choose::Snapshot;
use deltavault::spool::Scratch;
use deltavault::vault::diff::{
    Change, DiffSums, DiffTotals, Difference as Differs, LiveChange, LiveDifference, LiveTotals,
};
use deltavault::{Error, ExitCode};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use super::Context;
use super::looked::Looked;
use crate::cli::complete;
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output};
use crate::cli::snapshot_name::SnapshotName;

/// Flags of `diff`.
#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    /// Snapshot to compare: 4 or more digits of its id, its TABLE, or like orders@latest~1, orders@v12
    #[arg(value_name = "A", add = complete::snapshots())]
    pub(crate) before: SnapshotName,
    /// Snapshot to compare with, or `live` for the table as it is now; without a TABLE it is of the table of A
    #[arg(value_name = "B|live", add = complete::snapshots())]
    pub(crate) after: DiffSide,
}

/// What a snapshot is compared with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DiffSide {
    /// The table as it is now.
    Live,
    /// Another snapshot.
    Snapshot(SnapshotName),
}

impl FromStr for DiffSide {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        match text {
            "live" => Ok(Self::Live),
            text => text.parse().map(Self::Snapshot),
        }
    }
}

/// `diff`
pub(super) async fn diff(args: DiffArgs, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut looked = Looked::new(context).await?;
    let found = looked.find(&args.before, None, context).await?;
    let after = match &args.after {
        DiffSide::Live => None,
        DiffSide::Snapshot(after) => {
            let table = Some(&found.history.table);
            Some(looked.find(after, table, context).await?)
        }
    };
    let vault = &looked.open.vault;
    let before = &found.snapshot;
    let manifest = looked.manifest(&found, context).await?;
    let spill = Scratch::create(&std::env::temp_dir()).map_err(Error::Scratch)?;
    let done = match &after {
        None => {
            let table = &before.record.table;
            let live = looked.open.stores.home(&table.source, &table.uri).await?;
            let mut rows = Rows(context);
            let totals = vault
                .diff_live(
                    &manifest,
                    live.read().as_ref(),
                    spill.path(),
                    &mut |found| Ok(rows.live(&found)?),
                )
                .await;
            match totals {
                Ok(totals) => live_done(before, &totals),
                Err(error) if names(&manifest, &error) => {
                    return Err(looked.unreadable(error, &found, context).await);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Some(other) => {
            let after = &other.snapshot;
            if before.table != after.table {
                let names = (found.history.name(), other.history.name());
                let note = format!("two tables are compared: {} and {}", names.0, names.1);
                context.progress.note(&note);
            }
            let in_other = looked.manifest(other, context).await?;
            let mut rows = Rows(context);
            let totals = vault
                .diff(&manifest, &in_other, spill.path(), &mut |found| {
                    Ok(rows.snapshots(&found)?)
                })
                .await;
            let totals = match totals {
                Ok(totals) => totals,
                Err(error) => {
                    let found = if names(&manifest, &error) {
                        &found
                    } else {
                        other
                    };
                    return Err(looked.unreadable(error, found, context).await);
                }
            };
            diff_done(before, after, &totals)
        }
    };
    context.output.say(&done)?;
    Ok(ExitCode::Done)
}

/// Whether an error is about a page of this manifest.
fn names(manifest: &Manifest, error: &Error) -> bool {
    let (Error::Damaged { object, .. } | Error::Malformed { object, .. }) = error else {
        return false;
    };
    let mut pages = manifest.pages();
    pages.any(|page| page.page.key.as_str() == object)
}

/// Prints differences as they are found.
struct Rows<'a>(&'a mut Context);

impl Rows<'_> {
    fn snapshots(&mut self, found: &Differs) -> Result<(), CommandError> {
        let differs = match found.change {
            Change::Added { size } => (Difference::Added, size, None),
            Change::Removed { size } => (Difference::Removed, size, Some(size)),
            Change::Changed { before, after } => (Difference::Changed, after, Some(before)),
        };
        self.say(found.kind.as_str(), &found.file, differs)
    }

    fn live(&mut self, found: &LiveDifference) -> Result<(), CommandError> {
        let differs = match found.change {
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
        self.say(kind, &found.file, differs)
    }

    fn say(
        &mut self,
        kind: &'static str,
        file: &Location,
        (difference, size, size_before): (Difference, u64, Option<u64>),
    ) -> Result<(), CommandError> {
        self.0.output.say(&DiffRow {
            difference,
            kind,
            path: file.to_string(),
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

/// How a file differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Difference {
    /// Only the second has it.
    Added,
    /// Only the first has it.
    Removed,
    /// Both have it, with other bytes.
    Changed,
    /// The live table has it with the same size and another tag; its bytes were not read.
    Unsure,
}

/// A file that differs.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DiffRow {
    /// How.
    pub(crate) difference: Difference,
    /// What it is for the table; `newer-log` and `extra` for what only the live table has.
    pub(crate) kind: &'static str,
    /// Its path below the table, or its URI.
    pub(crate) path: String,
    /// Bytes, in the second where it is there.
    pub(crate) size: u64,
    /// Bytes in the first, where it is there.
    pub(crate) size_before: Option<u64>,
}

impl Message for DiffRow {
    const TYPE: &'static str = "difference";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let sign = match self.difference {
            Difference::Added => '+',
            Difference::Removed => '-',
            Difference::Changed => '~',
            Difference::Unsure => '?',
        };
        out.print(format_args!(
            "{sign} {:<15} {:>12}  {}",
            self.kind, self.size, self.path
        ))
    }
}

/// The sums of a comparison.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct DiffDone {
    /// What was compared: a short id.
    pub(crate) before: String,
    /// With what: a short id, or `live`.
    pub(crate) after: String,
    /// The versions of both; for a live table the newest that its log shows.
    pub(crate) versions: (Version, Option<Version>),
    /// Files only the second has.
    pub(crate) added: u64,
    /// Files only the first has.
    pub(crate) removed: u64,
    /// Files with other bytes.
    pub(crate) changed: u64,
    /// Files that are the same.
    pub(crate) same: u64,
    /// Files of the live table with the same size and another tag, not read.
    pub(crate) unsure: u64,
    /// Files outside the table's folder, not looked at in a live table.
    pub(crate) outside: u64,
    /// Of those that were added, bytes.
    pub(crate) bytes_added: u64,
    /// Of those that were removed, bytes.
    pub(crate) bytes_removed: u64,
    /// How many of the added, removed and changed files are the log's.
    pub(crate) of_the_log: u64,
}

impl Message for DiffDone {
    const TYPE: &'static str = "diff_summary";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let after = self
            .versions
            .1
            .map_or_else(|| "without a commit".to_owned(), |v| format!("v{v}"));
        out.print(format_args!(
            "{} v{} to {} {after}: {} added ({}), {} removed ({}), {} changed, {} the same; {} of them the log's",
            self.before,
            self.versions.0,
            self.after,
            HumanCount(self.added),
            HumanBytes(self.bytes_added),
            HumanCount(self.removed),
            HumanBytes(self.bytes_removed),
            HumanCount(self.changed),
            HumanCount(self.same),
            HumanCount(self.of_the_log),
        ))?;
        if self.unsure > 0 {
            out.print(format_args!(
                "{} have the same size and another tag: perhaps the same bytes put again, they were not read",
                HumanCount(self.unsure)
            ))?;
        }
        if self.outside > 0 {
            out.print(format_args!(
                "{} lie outside the table's folder and were not looked at",
                HumanCount(self.outside)
            ))?;
        }
        Ok(())
    }
}
