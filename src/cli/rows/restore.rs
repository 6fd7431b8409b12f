//! What a restore says in fields: versions to choose from, streams, and the statements for other engines.

use deltavault::ids::{SnapshotId, Timestamp, Version};
use serde::Serialize;

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
    /// The statement.
    pub(crate) statement: String,
}

/// A version of the table: in the live log, in the vault, or in both.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a version, as JSON has them"
)]
pub(crate) struct VersionRow {
    /// The version.
    pub(crate) version: Version,
    /// When it was committed, where that is known.
    pub(crate) time: Option<Timestamp>,
    /// The operation, by the name that people know it by.
    pub(crate) operation: Option<String>,
    /// The operation's condition, as its writer spelled it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) predicate: Option<String>,
    /// Who committed it.
    pub(crate) user: Option<String>,
    /// Rows added minus rows removed.
    pub(crate) rows: Option<i64>,
    /// Rows removed.
    pub(crate) rows_removed: Option<u64>,
    /// Rows of the table in this version.
    pub(crate) rows_after: Option<u64>,
    /// Files added.
    pub(crate) files_added: Option<u64>,
    /// Files removed.
    pub(crate) files_removed: Option<u64>,
    /// Logical files of the table in this version.
    pub(crate) files_after: Option<u64>,
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
    /// Its Delta id.
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
    /// Its application id.
    pub(crate) app_id: String,
    /// The last batch that the wanted version has.
    pub(crate) held: Option<i64>,
    /// The last batch that the live table has.
    pub(crate) live: Option<i64>,
    /// `went-on`, `began`, `unknown`, `same` or `went-back`, since the wanted version.
    pub(crate) change: &'static str,
    /// What happens when it starts again.
    pub(crate) effect: String,
}

/// When a version was committed, as the vault kept it.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VersionTime {
    /// The table's name.
    pub(crate) table: String,
    /// The version.
    pub(crate) version: Version,
    /// When it was committed.
    pub(crate) commit_time: Timestamp,
    /// The snapshot that says so.
    pub(crate) snapshot: SnapshotId,
}
