//! What `restore` says: what it found and would do, and what it did.

use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::restore::LiveVersion;
use deltavault::plan::streams::Stream;
use deltavault::vault::restore::AtWork;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted};

/// One labelled line of a plan, e.g. `TABLE` and the rest.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PlanLine {
    /// Upper-case word; empty continues the line before.
    pub(crate) label: &'static str,
    pub(crate) text: String,
}

/// One thing the owner can choose.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Choice {
    /// What it does and costs.
    pub(crate) effect: String,
    /// The command, whole; of several statements for another engine, one a line.
    pub(crate) command: String,
    /// The same as single statements, where another engine is to run them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) statements: Vec<Statement>,
}

/// What a restore found and would do.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RestorePlanned {
    /// The table's name.
    pub(crate) table: String,
    /// What stands at the target, as a short word: `empty`, `another-table`, `other-commits`, `dropped`,
    /// `nothing-above`, `newer`.
    pub(crate) situation: String,
    /// The snapshot it would use.
    pub(crate) snapshot: Option<SnapshotId>,
    /// The version it would put back.
    pub(crate) version: Option<Version>,
    /// Files to put back.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// The newest version of the live table, where it has a log.
    pub(crate) live_version: Option<Version>,
    /// The version that is the likely reason for a restore, where one is.
    pub(crate) cause: Option<Version>,
    /// Every version above the one that is wanted: what going back loses.
    pub(crate) loses: Vec<VersionRow>,
    /// Without a choice: what can be chosen, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) versions: Vec<VersionRow>,
    /// Other tables that the vault holds under this name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) other_tables: Vec<OtherTable>,
    /// Streams that write to the table, at most 1,000.
    pub(crate) streams: Vec<StreamRow>,
    /// How many there are; `None` where that cannot be told.
    pub(crate) stream_count: Option<u64>,
    /// Whether versions below the wanted one can be read after a full restore.
    pub(crate) holds_older_versions: bool,
    /// The restore that is at work there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) restoring: Option<AtWork>,
    /// What a person reads, at most 15 lines with the choices.
    pub(crate) lines: Vec<PlanLine>,
    /// What there is to choose; empty when the plan can simply be carried out.
    pub(crate) choices: Vec<Choice>,
}

impl Message for RestorePlanned {
    const TYPE: &'static str = "restore_plan";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        plan_lines(&self.lines, out)?;
        if self.choices.is_empty() {
            return Ok(());
        }
        out.print(format_args!(
            "NOTHING CHANGED. {}:",
            if self.choices.len() == 1 {
                "Next"
            } else {
                "Choose"
            }
        ))?;
        self.choices.iter().try_for_each(|choice| {
            out.print(format_args!("  {}:", choice.effect))?;
            let mut lines = choice.command.lines();
            lines.try_for_each(|line| out.print(format_args!("    {line}")))
        })
    }
}

/// A restore is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RestoreDone {
    /// The table's name.
    pub(crate) table: String,
    /// The snapshot that was used.
    pub(crate) snapshot: SnapshotId,
    /// The version that was put back.
    pub(crate) version: Version,
    /// `to`, `dropped`, `heal`, `rewind`, `replace` or `undo`.
    pub(crate) mode: String,
    /// Files that were put back.
    pub(crate) files_written: u64,
    /// Their bytes.
    pub(crate) bytes_written: u64,
    /// Those that the store copied by itself: they did not pass through this machine.
    pub(crate) bytes_by_store: u64,
    /// Files that were right already.
    pub(crate) files_kept: u64,
    /// Files among those put back that the vault had lost where the snapshot points, and that were found elsewhere.
    pub(crate) files_rescued: u64,
    /// Files that nobody has any more.
    pub(crate) lost: Vec<String>,
    /// Files that were gone again after the last put.
    pub(crate) vanished: u64,
    /// Live files of the version, where `deltalake` opens it and they are few enough to be counted.
    pub(crate) opens_with_files: Option<u64>,
    /// Why `deltalake` does not open it, where it does not.
    pub(crate) refused_because: Option<String>,
    /// How long it took.
    pub(crate) seconds: f64,
    /// The snapshot of what was there before, where the live table was turned back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) safety: Option<SnapshotId>,
    /// Until when that is kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) safety_kept_until: Option<Timestamp>,
    /// Files that were removed from the live log.
    pub(crate) removed: u64,
    /// How many of them are kept beside the table.
    pub(crate) set_aside: u64,
    /// Statements to run next.
    pub(crate) statements: Vec<Statement>,
    /// What a person still has to know or to do, in order.
    pub(crate) notes: Vec<PlanLine>,
}

impl Message for RestoreDone {
    const TYPE: &'static str = "restored";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let by_store = match self.bytes_by_store {
            0 => String::new(),
            bytes => format!(", {} of it copied by the store itself", HumanBytes(bytes)),
        };
        out.print(format_args!(
            "{} v{} from snapshot {}: {} put back ({}{by_store}), {} kept, {:.1} s",
            self.table,
            self.version,
            self.snapshot.short(),
            HumanCount(self.files_written),
            HumanBytes(self.bytes_written),
            HumanCount(self.files_kept),
            self.seconds,
        ))?;
        plan_lines(&self.notes, out)
    }
}

/// What the restores of several tables would put back together.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RestoreRunPlan {
    pub(crate) tables: usize,
    /// Tables whose plan can be carried out.
    pub(crate) ready: usize,
    /// Tables that lack nothing, or of which nothing was asked and that are healthy.
    pub(crate) unchanged: usize,
    /// Tables that cannot be restored, or not without a choice, by name.
    pub(crate) not_restorable: Vec<String>,
    /// Files to put back.
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

impl Message for RestoreRunPlan {
    const TYPE: &'static str = "restore_run_plan";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "{}: {} to restore{}; {}, {}",
            counted(self.tables as u64, "table"),
            HumanCount(self.ready as u64),
            others(self.unchanged, &self.not_restorable),
            counted(self.files, "file"),
            HumanBytes(self.bytes),
        ))
    }
}

/// What the restores of several tables did together.
#[derive(Debug, Clone, Default, Serialize)]
pub(crate) struct RestoreRun {
    pub(crate) tables: usize,
    /// Tables that were put back.
    pub(crate) restored: usize,
    /// Tables that lacked nothing, or of which nothing was asked and that are healthy.
    pub(crate) unchanged: usize,
    /// Tables that are not, by name.
    pub(crate) not_restored: Vec<String>,
    /// Files that were put back.
    pub(crate) files_written: u64,
    /// Their bytes.
    pub(crate) bytes_written: u64,
    /// Files that were right already.
    pub(crate) files_kept: u64,
    /// How long it took, without the plans.
    pub(crate) seconds: f64,
}

impl Message for RestoreRun {
    const TYPE: &'static str = "restore_run_summary";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "{}: {} restored{}; {} put back ({}), {} kept, {:.1} s",
            counted(self.tables as u64, "table"),
            HumanCount(self.restored as u64),
            others(self.unchanged, &self.not_restored),
            HumanCount(self.files_written),
            HumanBytes(self.bytes_written),
            HumanCount(self.files_kept),
            self.seconds,
        ))
    }
}

/// The tables that are not put back, by why.
fn others(unchanged: usize, failed: &[String]) -> String {
    let counts = [(unchanged, "unchanged"), (failed.len(), "not restored")];
    let some = counts.into_iter().filter(|(count, _)| *count > 0);
    let some = some.map(|(count, what)| format!(", {} {what}", HumanCount(count as u64)));
    some.collect::<Vec<_>>().concat()
}

/// What runs a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    /// Spark, by SQL.
    SparkSql,
    /// Python with the package `deltalake`.
    PythonDeltalake,
}

/// What a statement is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Purpose {
    /// Lets older versions be used; comes before the others.
    Retention,
    /// Brings a version back as a new commit.
    Restore,
    /// Puts deleted rows back and leaves later commits in place.
    Insert,
    /// Makes the schema of a catalog's entry.
    CreateSchema,
    /// Makes a catalog's entry.
    CreateTable,
}

/// A statement for another engine, as it is run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_field_names,
    reason = "the names are those of the JSON fields"
)]
pub(crate) struct Statement {
    /// What runs it.
    pub(crate) engine: Engine,
    /// What it is for.
    pub(crate) purpose: Purpose,
    pub(crate) statement: String,
}

/// A version of the table: in the live log, in the vault, or in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a version, as JSON has them"
)]
pub(crate) struct VersionRow {
    /// What it did.
    #[serde(flatten)]
    pub(crate) did: LiveVersion,
    /// Whether the live log has it.
    pub(crate) live: bool,
    /// Whether the live log has lost it: it ends below it, or has another commit of that number.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) other_history: bool,
    /// Whether all its files are at their place.
    pub(crate) whole: bool,
    /// The snapshots that hold it, newest first.
    pub(crate) snapshots: Vec<SnapshotId>,
    /// The newest history snapshot of a later version that holds it whole: `--version` restores it from there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) held_in: Option<SnapshotId>,
    /// Whether every snapshot of it is in doubt.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(crate) doubtful: bool,
    /// Whether it removed most of the table.
    pub(crate) suspect: bool,
    /// Whether it is the newest version in the vault that looks right.
    pub(crate) newest_good_held: bool,
}

/// Another table that the vault holds under the same name: the table was dropped and made again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct OtherTable {
    pub(crate) delta_id: String,
    /// How many snapshots of it there are.
    pub(crate) snapshots: u64,
    /// The newest that looks right.
    pub(crate) newest: SnapshotId,
    /// The version that it holds.
    pub(crate) version: Version,
    /// When that version was committed.
    pub(crate) commit_time: Timestamp,
}

/// A stream that writes to the table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct StreamRow {
    #[serde(flatten)]
    pub(crate) stream: Stream,
    /// What happens when it starts again.
    pub(crate) effect: String,
}

/// When a version was committed, as the vault kept it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VersionTime {
    /// The table's name.
    pub(crate) table: String,
    pub(crate) version: Version,
    /// When it was committed.
    pub(crate) commit_time: Timestamp,
    /// The snapshot that says so.
    pub(crate) snapshot: SnapshotId,
}

impl Message for VersionTime {
    const TYPE: &'static str = "version_time";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "v{:<8} committed {}  snapshot {}",
            self.version,
            self.commit_time,
            self.snapshot.short()
        ))
    }
}

fn plan_lines(lines: &[PlanLine], out: &mut Output) -> Result<(), CommandError> {
    lines
        .iter()
        .try_for_each(|line| out.print(format_args!("{:<7} {}", line.label, line.text)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::tests::printed;

    #[test]
    fn a_choice_is_printed_with_its_whole_command_and_says_that_nothing_changed() {
        let choice = |command: &str, effect: &str| Choice {
            command: command.into(),
            effect: effect.into(),
            statements: Vec::new(),
        };
        let text = printed(false, |output| {
            output.say(&RestorePlanned {
                table: "orders".into(),
                situation: "newer".into(),
                lines: vec![
                    PlanLine {
                        label: "TABLE",
                        text: "/lake/orders  live v8815".into(),
                    },
                    PlanLine {
                        label: "",
                        text: "healthy".into(),
                    },
                ],
                choices: vec![
                    choice("deltavault restore orders --heal", "v8790 readable again"),
                    choice("ALTER TABLE t;\nRESTORE TABLE t;", "in the engine"),
                ],
                ..RestorePlanned::default()
            })
        });
        let wanted = "TABLE   /lake/orders  live v8815\n        healthy\nNOTHING CHANGED. Choose:\n  \
                      v8790 readable again:\n    deltavault restore orders --heal\n  \
                      in the engine:\n    ALTER TABLE t;\n    RESTORE TABLE t;\n";
        assert_eq!(text, wanted);
    }
}
