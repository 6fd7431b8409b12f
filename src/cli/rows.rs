//! What commands have to say, as plain rows: the fields of a `--json` line, and the columns of a table.
//!
//! The names are an interface that scripts read: fields only ever get added. Sizes are bytes, times UTC.

use std::collections::BTreeMap;

use deltavault::format::{LockMode, Scope, Trigger};
use deltavault::iam::Policy;
use deltavault::ids::{Digest, SnapshotId, Timestamp, Version};
use serde::Serialize;

pub(crate) use self::beside::{NotHeld, Restoring};
pub(crate) use self::prune::*;
pub(crate) use self::restore::*;
pub(crate) use self::wall::{ProvenRow, WallDone, WallRow};

mod beside;
mod prune;
mod restore;
mod wall;

/// A row that can be a JSON line.
pub(crate) trait Row: Serialize {
    /// Its `message_type`.
    const MESSAGE_TYPE: &'static str;
}

macro_rules! rows {
    ($($row:ty => $message_type:literal),* $(,)?) => {
        $(impl Row for $row {
            const MESSAGE_TYPE: &'static str = $message_type;
        })*
    };
}

rows! {
    InitDone => "vault",
    BucketFinding => "bucket_finding",
    SnapshotPlanned => "plan",
    SnapshotDone => "snapshot",
    SnapshotRow => "snapshot",
    ShowRow => "show",
    FileRow => "file",
    DiffRow => "difference",
    DiffDone => "summary",
    RestorePlanned => "plan",
    RestoreDone => "restored",
    VersionTime => "version_time",
    FindingRow => "finding",
    VerifyDone => "summary",
    RepairPlanned => "repair_plan",
    RepairRow => "repaired",
    MendedRow => "mended",
    IndexDone => "index",
    IamPolicy<'_> => "policy",
    IamNotEnforced => "not_enforced",
    WaitsRow => "table_waits",
    ErrorRow => "table_failed",
    ExitError => "exit_error",
}

/// A policy that was rendered.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IamPolicy<'a> {
    /// What it is.
    pub(crate) document: String,
    /// The document.
    pub(crate) policy: &'a Policy,
}

/// A wall that a policy leaves open where it is meant for.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IamNotEnforced {
    /// The statement of the bucket policy that is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) statement: Option<String>,
    /// Why, and what is therefore possible.
    pub(crate) reason: String,
}

/// `init` is done.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct InitDone {
    /// Where the vault is.
    pub(crate) vault: String,
    /// Its id.
    pub(crate) id: String,
    /// Whether it was made now, or was there already.
    pub(crate) created: bool,
    /// What became of the bucket; none for a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bucket: Option<BucketRow>,
    /// How its objects are locked.
    pub(crate) lock_mode: LockMode,
    /// The shortest promise allowed, days.
    pub(crate) shortest_days: u32,
    /// The longest promise allowed, days.
    pub(crate) longest_days: u32,
    /// Length of a lock generation, days.
    pub(crate) generation_days: u32,
}

/// Something about a vault's bucket.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct BucketFinding {
    /// How much it matters.
    pub(crate) severity: Weight,
    /// The setting.
    pub(crate) check: &'static str,
    /// What is so.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

/// How much a finding about a bucket matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Weight {
    /// Worth knowing; nothing to do.
    Note,
    /// Weaker than it should be.
    Warning,
    /// A wall is missing.
    Breach,
}

/// What `init` did about the bucket.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum BucketRow {
    /// It was made, with versioning and Object Lock.
    Created,
    /// It was there with nothing in it, and got what it lacked.
    #[serde(rename = "set-up")]
    SetUp,
    /// It was there and is as it was.
    Adopted,
}

/// What a snapshot would take.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotPlanned {
    /// The table's name.
    pub(crate) table: String,
    /// The version that was pinned.
    pub(crate) version: Version,
    /// The snapshot that it would build on.
    pub(crate) base: Option<SnapshotId>,
    /// Whether nothing has changed since that.
    pub(crate) unchanged: bool,
    /// Data files that the vault does not hold yet.
    pub(crate) new_files: u64,
    /// Their bytes, as the log gives them.
    pub(crate) new_bytes: u64,
    /// How they would go into the vault.
    pub(crate) ways: Vec<WayRow>,
    /// GET, HEAD and the like that it would take, estimated.
    pub(crate) read_requests: u64,
    /// PUT, COPY, POST and LIST that it would take, estimated.
    pub(crate) write_requests: u64,
    /// What requests, and storage until the promise ends, cost by the list in US dollars, estimated; of a vault on S3.
    pub(crate) usd: Option<String>,
    /// Data files that it holds already.
    pub(crate) known_files: u64,
    /// The retention class it would get.
    pub(crate) class: String,
    /// Why it would get that class.
    pub(crate) reason: String,
    /// Until when it would be promised.
    pub(crate) promise: Timestamp,
    /// What it would commit to beside what was promised before; absent when that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commits: Option<CommitRow>,
    /// What the owner should know.
    pub(crate) findings: Vec<String>,
}

/// New files that go one way into the vault.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WayRow {
    /// `pack`, `stream`, `copy` or `parts`.
    pub(crate) way: &'static str,
    /// Why.
    pub(crate) reason: String,
    /// Files.
    pub(crate) files: u64,
    /// Their bytes, as the log gives them.
    pub(crate) bytes: u64,
}

/// What a snapshot binds its owner to.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct CommitRow {
    /// Terabytes times months, with three decimals.
    pub(crate) terabyte_months: String,
    /// Bytes that are new.
    pub(crate) new_bytes: u64,
    /// Bytes that were held and are now locked for longer.
    pub(crate) longer_bytes: u64,
    /// The objects that those are.
    pub(crate) longer_objects: u64,
    /// What it costs by the list in US dollars, estimated; of a vault on S3.
    pub(crate) usd: Option<String>,
}

/// A snapshot is published.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SnapshotDone {
    /// The table's name.
    pub(crate) table: String,
    /// The version that it holds.
    pub(crate) version: Version,
    /// Its id.
    pub(crate) snapshot: SnapshotId,
    /// Its slot in the ledger.
    pub(crate) sequence: u64,
    /// Files that it holds.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Files that the vault had to take in.
    pub(crate) new_files: u64,
    /// Their bytes.
    pub(crate) new_bytes: u64,
    /// Whether the table is as it was in the snapshot before.
    pub(crate) unchanged: bool,
    /// How long it took.
    pub(crate) seconds: f64,
    /// The retention class.
    pub(crate) class: String,
    /// Why it has that class.
    pub(crate) reason: String,
    /// Until when it is promised.
    pub(crate) promise: Timestamp,
    /// What it commits to beside what was promised before; absent when that is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commits: Option<CommitRow>,
    /// Files that were looked for at the source; absent when that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_files: Option<u64>,
    /// How many of them are gone, have another size or could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_faults: Option<u64>,
    /// How many of those that are gone the vault has lost, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) source_lost: Option<u64>,
    /// What the owner should know.
    pub(crate) findings: Vec<String>,
    /// What it does not hold: said once, no finding.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) not_held: Vec<NotHeld>,
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
    /// Their bytes.
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
    /// Where the table's history breaks before it: `re-created`, `rewound`, `rewritten`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mark: Option<&'static str>,
}

/// Everything that one snapshot says of itself.
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

/// Files of one kind.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct KindRow {
    /// What they are for the table.
    pub(crate) kind: &'static str,
    /// Files that are held.
    pub(crate) files: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Files that are only named.
    pub(crate) absent: u64,
}

/// A file of a snapshot.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FileRow {
    /// What it is for the table.
    pub(crate) kind: &'static str,
    /// Its path below the table, or its URI.
    pub(crate) path: String,
    /// Bytes.
    pub(crate) size: u64,
    /// Rows, where they are known.
    pub(crate) rows: Option<u64>,
    /// SHA-256; none for an absent file.
    pub(crate) sha256: Option<Digest>,
    /// Where its bytes are: `inline`, `absent`, or a key of the vault.
    pub(crate) placement: String,
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

/// One labelled line of a plan, e.g. `TABLE` and the rest.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct PlanLine {
    /// Upper-case word; empty continues the line before.
    pub(crate) label: &'static str,
    /// The text.
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
    /// Their bytes.
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
    pub(crate) restoring: Option<Restoring>,
    /// What a person reads, at most 15 lines with the choices.
    pub(crate) lines: Vec<PlanLine>,
    /// What there is to choose; empty when the plan can simply be carried out.
    pub(crate) choices: Vec<Choice>,
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
    /// `to`, `dropped` or `heal`.
    pub(crate) mode: String,
    /// Files that were put back.
    pub(crate) files_written: u64,
    /// Their bytes.
    pub(crate) bytes_written: u64,
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
    /// Statements to run next.
    pub(crate) statements: Vec<Statement>,
    /// What a person still has to know or to do, in order.
    pub(crate) notes: Vec<PlanLine>,
}

/// How bad a finding is. Greater is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Worth knowing, nothing to do.
    Info,
    /// Somebody should look; every promise holds.
    Finding,
    /// It could not be read: nothing is known about it.
    Unchecked,
    /// A promise is broken.
    Damage,
}

/// Something that a verify has to say.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FindingRow {
    /// How bad.
    pub(crate) severity: Severity,
    /// The table, where it is one's.
    pub(crate) table: Option<String>,
    /// The snapshots that suffer.
    pub(crate) snapshots: Vec<SnapshotId>,
    /// The object, as a key of the vault.
    pub(crate) object: String,
    /// What is wrong.
    pub(crate) what: String,
    /// What to do.
    pub(crate) remedy: String,
}

/// What a repair would do.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RepairPlanned {
    /// Objects that would be put again, and their bytes.
    pub(crate) objects: u64,
    /// Bytes that are lost of them.
    pub(crate) bytes: u64,
    /// Lost objects of which nothing was found.
    pub(crate) nowhere: u64,
    /// The replica that was looked into.
    pub(crate) replica: Option<String>,
    /// Where the bytes are, with how many objects come from there.
    pub(crate) from: BTreeMap<String, u64>,
    /// Whether nobody is asked before they are put.
    #[serde(skip)]
    pub(crate) is_agreed: bool,
}

/// What became of a lost object.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RepairRow {
    /// The object.
    pub(crate) object: String,
    /// What was put, and where its bytes came from.
    pub(crate) put: Vec<RepairPut>,
    /// What of it is still lost.
    pub(crate) still_lost: Vec<String>,
}

/// One object that was put.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RepairPut {
    /// Its key.
    pub(crate) key: String,
    /// Where its bytes came from.
    pub(crate) from: String,
    /// Whether it was there and its lock was extended.
    pub(crate) relocked: bool,
}

/// A snapshot that had lost something.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct MendedRow {
    /// Its table.
    pub(crate) table: String,
    /// The snapshot.
    pub(crate) snapshot: SnapshotId,
    /// Whether it has nothing lost any more, and nothing else is wrong with it.
    pub(crate) whole: bool,
    /// How many files or objects it still lacks.
    pub(crate) lacks: u64,
    /// The first of them.
    pub(crate) first: Vec<String>,
    /// What else keeps it from being whole.
    pub(crate) otherwise: Option<&'static str>,
}

/// The sums of a verify.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct VerifyDone {
    /// Tables checked.
    pub(crate) tables: u64,
    /// Snapshots checked.
    pub(crate) snapshots: u64,
    /// Objects whose presence and size were checked.
    pub(crate) objects: u64,
    /// Objects whose bytes were read and hashed.
    pub(crate) objects_read: u64,
    /// Bytes that were read.
    pub(crate) bytes_read: u64,
    /// How many bytes were to be read again: `none`, `sample` or `all`.
    pub(crate) read: &'static str,
    /// Which part of them, as n/m.
    pub(crate) subset: Option<String>,
    /// Objects that no record names; none when not everything that could name them was read.
    pub(crate) unreferenced: Option<u64>,
    /// Their bytes.
    pub(crate) unreferenced_bytes: Option<u64>,
    /// What is worth knowing.
    pub(crate) infos: u64,
    /// Findings that break no promise.
    pub(crate) findings: u64,
    /// Findings of what could not be read.
    pub(crate) unchecked: u64,
    /// Findings that do.
    pub(crate) damaged: u64,
    /// Objects that were put again, or locked for longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) repaired: Option<u64>,
    /// How long it took.
    pub(crate) seconds: f64,
}

/// The index is rebuilt.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct IndexDone {
    /// Where it is.
    pub(crate) path: String,
    /// Tables in it.
    pub(crate) tables: u64,
    /// Snapshots in it.
    pub(crate) snapshots: u64,
}

/// One table failed, and others go on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ErrorRow {
    /// The table.
    pub(crate) table: String,
    /// The exit code that it alone would give.
    pub(crate) code: u8,
    /// What failed, with its causes.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

/// A table failed for a passing reason, and is tried once more at the end of the run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct WaitsRow {
    /// The table.
    pub(crate) table: String,
    /// What failed, with its causes.
    pub(crate) message: String,
}

/// The command failed; the last line.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ExitError {
    /// The exit code.
    pub(crate) code: u8,
    /// What failed, with its causes.
    pub(crate) message: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}
