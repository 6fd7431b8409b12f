//! The one public error: every way in which a command can fail, as a situation somebody can act on.
//!
//! Each has an [`ExitCode`] and, where there is something to do, a hint: the next command or setting. Errors of
//! single modules are gathered here and keep their own text; what caused an error is its `source`, never part
//! of its text.

use std::io;

use jiff::SignedDuration;

use crate::delta::LogError;
use crate::delta::path::PathError;
use crate::demo::DemoError;
use crate::exit_code::ExitCode;
use crate::format::FormatError;
use crate::format::ledger::{LedgerError, PrefixError};
use crate::iam::IamError;
use crate::ids::{Id128, InvalidId, ObjectKey, SnapshotId, Timestamp, Version};
use crate::index::IndexError;
use crate::plan::choose::ChooseError;
use crate::plan::price::{NanoUsd, TerabyteMonths};
use crate::plan::retention::RetentionError;
use crate::progress::PlannedWork;
use crate::sort::SortError;
use crate::store::{StoreError, StoreErrorKind};

mod hint;
mod passing;
mod restore;

pub use restore::RestoreError;

/// A snapshot that the vault holds of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeldSnapshot {
    /// Its id.
    pub id: SnapshotId,
    /// Its version.
    pub version: Version,
}

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A call to a store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Bytes of the vault are not what the format says.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A string that should be an id is none.
    #[error(transparent)]
    InvalidId(#[from] InvalidId),
    /// A transaction log cannot be read with certainty.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log of a table cannot be read with certainty, so no snapshot of it was taken.
    #[error("the log of {table} cannot be read")]
    LogUnreadable {
        /// The table.
        table: String,
        /// The newest snapshot of it that the vault holds.
        held: Option<HeldSnapshot>,
        /// What is wrong.
        #[source]
        source: Box<LogError>,
    },
    /// A table's root, or a path in its log, points nowhere.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A policy cannot be written.
    #[error(transparent)]
    Iam(#[from] IamError),
    /// A ledger cannot be used.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No snapshot could be chosen.
    #[error(transparent)]
    Choose(ChooseError),
    /// A promise that the vault does not allow.
    #[error(transparent)]
    Retention(#[from] RetentionError),
    /// Rows that were sorted outside memory could not be written or read back.
    #[error(transparent)]
    Sort(#[from] SortError),
    /// There is no place for the local index.
    #[error("there is no folder for the local index")]
    NoCacheFolder,
    /// The local index cannot be made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// The temporary folder cannot be used.
    #[error("cannot use the temporary folder")]
    Scratch(#[source] io::Error),
    /// A restore cannot go on.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// A step of the demo did not come out as it must.
    #[error(transparent)]
    Demo(Box<DemoError>),

    /// Something was done about a table's snapshots while a prune went by what had been done before.
    #[error(
        "an event of {table} came while the vault was pruned, and it may be a hold: {deleted} objects were deleted \
         before, and no more are"
    )]
    EventsMeanwhile {
        /// The table's key.
        table: String,
        /// What was deleted.
        deleted: u64,
    },
    /// A prune was deleting what a snapshot needs when it was held.
    #[error(
        "snapshot {} was being collected when it was held: {object} is gone, and it is not held",
        snapshot.short()
    )]
    HeldTooLate {
        /// The snapshot.
        snapshot: SnapshotId,
        /// What is gone.
        object: String,
    },
    /// It cannot be told what another table's snapshots hold.
    #[error("it cannot be told what is held of {table}, and nothing was released")]
    HoldsUnread {
        /// The table's key.
        table: String,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// No vault was named anywhere.
    #[error("no vault was given")]
    NoVaultGiven,
    /// No table was named, and the configuration lists none.
    #[error("no table was given")]
    NoTableGiven,
    /// There is no vault at that place.
    #[error("there is no vault at {uri}")]
    NoVault {
        /// Where one was looked for.
        uri: String,
    },
    /// The objects of a vault are there, and its `vault.json` is not, or cannot be read.
    #[error(
        "{uri} has a vault's folders, but its vault.json {}",
        if source.is_some() { "cannot be read" } else { "is gone" }
    )]
    VaultFileLost {
        /// Where one was looked for.
        uri: String,
        /// What is wrong with it, where it is there.
        #[source]
        source: Option<FormatError>,
    },
    /// There is no vault at the place that is to be a replica.
    #[error("--from names no replica: there is no vault at {uri}")]
    NoReplica {
        /// Where one was looked for.
        uri: String,
    },
    /// There is a `vault.json`, and it is not one of ours.
    #[error("{uri} is not a vault")]
    NotAVault {
        /// Where one was looked for.
        uri: String,
        /// What is wrong with its `vault.json`.
        #[source]
        source: FormatError,
    },
    /// A vault is to be made where one is.
    #[error("{uri} is a vault already, with the id {id}")]
    AlreadyAVault {
        /// Where.
        uri: String,
        /// Its id.
        id: Id128,
    },
    /// A vault is to be made in a folder that holds something else.
    #[error("{uri} is no vault, and it is not empty")]
    FolderNotEmpty {
        /// Where.
        uri: String,
    },
    /// The vault was made by a newer tool.
    #[error("the vault {uri} has format {found}, newer than this tool knows")]
    NewerVault {
        /// The vault.
        uri: String,
        /// The format that it names.
        found: u32,
    },
    /// A URI with a scheme that this build cannot reach.
    #[error("{uri} cannot be reached: this tool reads and writes folders and S3")]
    UnsupportedScheme {
        /// The URI.
        uri: String,
    },
    /// A URI or path that breaks a rule.
    #[error("{uri:?} is not usable: {rule}")]
    InvalidUri {
        /// The URI.
        uri: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A flag that does not go with the others, or with the place.
    #[error("{flag} is not usable: {rule}")]
    UnusableFlag {
        /// The flag.
        flag: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A time that could not be understood.
    #[error("the time {text:?} cannot be understood")]
    TimeUnparseable {
        /// The text.
        text: String,
    },
    /// A local time that a zone has twice or never.
    #[error("the time {text:?} happens twice or never in {zone}")]
    TimeAmbiguous {
        /// The text.
        text: String,
        /// The zone that it was read in.
        zone: String,
    },
    /// The configuration file could not be read.
    #[error("read the configuration {path}")]
    ConfigUnreadable {
        /// The file.
        path: String,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The configuration file says something that it may not.
    #[error("the configuration {path} is wrong{}: {rule}", at_line(*line))]
    ConfigInvalid {
        /// The file.
        path: String,
        /// The line, counted from 1, where it is known.
        line: Option<usize>,
        /// What is wrong, with the key named.
        rule: String,
    },
    /// A retention class that is not configured.
    #[error("there is no retention class {name:?}")]
    UnknownClass {
        /// The class.
        name: String,
        /// The classes that there are.
        known: Vec<String>,
    },

    /// No table of the vault has that name or URI.
    #[error("the vault holds no table {name:?}")]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// The tables that there are.
        known: Vec<String>,
    },
    /// The vault has manifests of snapshots, and no record of any table.
    #[error(
        "the vault has no record of {name:?} or of any other table, but manifests of snapshots: their records are lost, or \
         the first snapshot was never finished"
    )]
    RecordsGone {
        /// What was asked for.
        name: String,
    },
    /// Several tables of the vault have that name.
    #[error("{name:?} is the name of {} tables", candidates.len())]
    AmbiguousTable {
        /// What was asked for.
        name: String,
        /// The URIs that match.
        candidates: Vec<String>,
    },
    /// The snapshot that was named for a table is another table's.
    #[error("snapshot {} is of {other}, not of {table}", snapshot.short())]
    SnapshotOfAnotherTable {
        /// The snapshot.
        snapshot: SnapshotId,
        /// The table that was named.
        table: String,
        /// The snapshot's table.
        other: String,
    },
    /// There is no Delta table at that place.
    #[error("{uri} is not a Delta table: it has no commit and no checkpoint under _delta_log/")]
    NotATable {
        /// Where one was looked for.
        uri: String,
    },
    /// The version needs files that the source no longer has.
    #[error(
        "{table} version {version} is not whole: {} of its files {} gone, first {}{}",
        files.len(),
        if files.len() == 1 { "is" } else { "are" },
        files.first().map_or("", String::as_str),
        lost.as_ref().map_or_else(String::new, |lost| format!(", and the vault has lost {lost}, which held it"))
    )]
    SourceFileMissing {
        /// The table.
        table: String,
        /// The version.
        version: Version,
        /// The files.
        files: Vec<String>,
        /// The newest snapshot of the table that the vault holds.
        held: Option<HeldSnapshot>,
        /// The first object that the vault has lost of those that held them.
        lost: Option<Box<ObjectKey>>,
    },
    /// The run was to end before everything was copied.
    #[error(
        "{table} version {version} is not whole yet: {limit} is reached, {} of {} new files and {} of {} bytes are \
         placed, {known} files were held before",
        placed.files, planned.files, placed.bytes, planned.bytes
    )]
    LimitReached {
        /// The table.
        table: String,
        /// The version.
        version: Version,
        /// The limit, as a flag.
        limit: &'static str,
        /// What this run has placed.
        placed: PlannedWork,
        /// What it would have placed without the limit.
        planned: PlannedWork,
        /// Data files that earlier runs have placed.
        known: u64,
    },
    /// The version needs files that the source keeps in archive storage.
    #[error(
        "{table} version {version} cannot be read: {} of its files {} in archive storage: {}",
        files.len(),
        if files.len() == 1 { "is" } else { "are" },
        hint::listed(files)
    )]
    SourceArchived {
        /// The table.
        table: String,
        /// The version.
        version: Version,
        /// The files.
        files: Vec<String>,
    },
    /// A source file does not have the size that the log gives it.
    #[error(
        "{file} has {actual} bytes, the log says {}{expected}",
        if *or_more { "at least " } else { "" }
    )]
    SourceFileSize {
        /// The file.
        file: String,
        /// Bytes by the log.
        expected: u64,
        /// Whether it may have more: the log says only where a deletion vector ends in it.
        or_more: bool,
        /// Bytes found.
        actual: u64,
    },

    /// The table changes faster than it can be read.
    #[error("{table} changed while it was read, again and again; last {file}")]
    SourceMoving {
        /// The table.
        table: String,
        /// The log file that was another one than was listed.
        file: String,
    },
    /// What the snapshot builds on was no longer sure to stay when it came to publish, again and again.
    #[error(
        "the snapshot of {table} takes longer than what it builds on is sure to stay in the vault"
    )]
    TookTooLong {
        /// The table.
        table: String,
    },
    /// A file of the snapshot would be put outside the target.
    #[error("{file} would be put outside {target}")]
    PathLeavesTarget {
        /// The file.
        file: String,
        /// The target.
        target: String,
    },
    /// A table's URI leads to another place than when its snapshot was taken.
    #[error("{uri} was in the source {recorded:?}, and now means a place in {today:?}")]
    AnotherSource {
        /// The table.
        uri: String,
        /// The source that the record names.
        recorded: String,
        /// The source that the same URI leads to today.
        today: String,
    },
    /// Somebody has the vault to himself.
    #[error("a prune is at work in {uri}")]
    VaultInUse {
        /// The vault.
        uri: String,
    },
    /// The log names a file of its own table by an absolute path: a copy elsewhere would read the original's file.
    #[error(
        "the log names {file} by its absolute path below {table}, and a copy elsewhere would read it there"
    )]
    AbsoluteIntoOwnRoot {
        /// The file.
        file: String,
        /// The table's URI.
        table: String,
    },
    /// A file of the snapshot has a name that the target cannot hold.
    #[error("{target} cannot hold {file}: {why}")]
    TargetCannotHold {
        /// The target.
        target: String,
        /// The file.
        file: String,
        /// Why.
        why: String,
    },
    /// A restore may only go to a place where nothing is.
    #[error("{uri} is not empty")]
    TargetNotEmpty {
        /// The target.
        uri: String,
    },
    /// Another restore is at work on the table.
    #[error(
        "{by} has been restoring {table} to snapshot {} since {}, last sign of life {} ago",
        snapshot.short(), to_the_second(*since), in_words(*silent_for)
    )]
    ClaimedByOther {
        /// The table.
        table: String,
        /// Who.
        by: String,
        /// The snapshot that is put back.
        snapshot: SnapshotId,
        /// When that restore began.
        since: Timestamp,
        /// How long ago it renewed its claim.
        silent_for: SignedDuration,
    },
    /// Somebody has taken over the table that was being restored.
    #[error(
        "{}: the restore of {table} stops here",
        by.as_ref().map_or("its claim was removed".to_owned(), |by| format!("{by} has taken it over"))
    )]
    RestoreTakenOver {
        /// The table.
        table: String,
        /// By whom, where that can be told.
        by: Option<String>,
    },
    /// A restore cannot claim the table: something is in the way.
    #[error("cannot claim the table for this restore: {object}: {why}")]
    ClaimBlocked {
        /// What is in the way.
        object: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Several things could be meant or done, and only the owner can know which.
    #[error("{what}: the owner must choose")]
    OwnerMustChoose {
        /// What there is to choose about.
        what: String,
        /// Each choice, as a flag or command with what it does.
        choices: Vec<String>,
    },
    /// The plan was printed; `--yes` is missing and there is no terminal to ask.
    #[error("{what} needs a yes")]
    Unconfirmed {
        /// What would be done.
        what: String,
    },
    /// Known, and not in this version of the tool.
    #[error("{what} comes in a later version")]
    ComesLater {
        /// The flag or command.
        what: String,
        /// What to do until then.
        instead: &'static str,
    },

    /// Some tables failed, the rest is done; each failure was told when it happened.
    #[error("{} of {of} tables failed: {}", failed.len(), failed.join(", "))]
    SomeTablesFailed {
        /// The tables.
        failed: Vec<String>,
        /// How many there were.
        of: usize,
        /// The exit code of each failure.
        codes: Vec<ExitCode>,
    },
    /// A snapshot of the same or a newer version was published meanwhile.
    #[error("another writer published version {version} of {table} first, as snapshot {}", snapshot.short())]
    AnotherWriterWon {
        /// The table.
        table: String,
        /// Its version.
        version: Version,
        /// Its snapshot.
        snapshot: SnapshotId,
    },
    /// An object of the vault is not what its reference says.
    #[error("{object} is damaged: {what}")]
    Damaged {
        /// The object.
        object: String,
        /// What is wrong with it.
        what: String,
    },
    /// A snapshot that was collected after its promise had ended; its record stays.
    #[error("snapshot {} was kept until {promise} and has been pruned", snapshot.short())]
    Pruned {
        /// The snapshot.
        snapshot: SnapshotId,
        /// When its promise ended.
        promise: Timestamp,
        /// The nearest ones of its table that are kept: id, version, time of its commit.
        nearest: Vec<(SnapshotId, Version, Timestamp)>,
    },
    /// Something that says what has to be kept is damaged or cannot be read: nothing was deleted.
    #[error("nothing was pruned: {}", of_obstacles(obstacles, *count))]
    PruneRefused {
        /// What stands in the way, the first of it.
        obstacles: Vec<String>,
        /// How many there are.
        count: usize,
    },

    /// An object could not be locked for as long as a snapshot promises; the snapshot was not published.
    #[error("lock {object} until {until}")]
    LockRefused {
        /// Its key.
        object: String,
        /// Until when.
        until: Timestamp,
        /// What the store said.
        #[source]
        source: Box<StoreError>,
    },
    /// A snapshot would bind its owner to more than the configuration allows; nothing was copied.
    #[error(
        "a snapshot of {table} newly commits to {volume} terabyte-months, about {estimate} USD, and the limit is {limit}"
    )]
    CommitsTooMuch {
        /// The table.
        table: String,
        /// How much for how long.
        volume: TerabyteMonths,
        /// What it costs by the list.
        estimate: NanoUsd,
        /// What may be committed to.
        limit: NanoUsd,
    },

    /// The system lacks what every command needs: threads, signals.
    #[error("start to work")]
    Start(#[source] io::Error),
    /// The result could not be written.
    #[error("write the result")]
    Output(#[source] io::Error),
    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
}

fn to_the_second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `20 s`, `4 min`.
fn in_words(duration: SignedDuration) -> String {
    match duration.as_secs().max(0) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

fn of_obstacles(obstacles: &[String], count: usize) -> String {
    let more = count.saturating_sub(obstacles.len());
    let named = obstacles.join("; ");
    if more == 0 {
        return named;
    }
    format!("{named}; and {more} more")
}

impl From<ChooseError> for Error {
    fn from(error: ChooseError) -> Self {
        if let ChooseError::Ledger(error) = error {
            return Self::Ledger(error);
        }
        Self::Choose(error)
    }
}

impl From<DemoError> for Error {
    fn from(error: DemoError) -> Self {
        Self::Demo(Box::new(error))
    }
}

impl Error {
    /// What is wrong with a table's log, where that is what failed.
    pub fn about_log(&self) -> Option<&LogError> {
        if let Self::LogUnreadable { source, .. } = self {
            return Some(source);
        }
        if let Self::Log(error) = self {
            return Some(error);
        }
        None
    }

    /// How the process ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Format(error) => format_exit_code(error),
            Self::NoVaultGiven
            | Self::NoTableGiven
            | Self::Iam(_)
            | Self::InvalidId(_)
            | Self::UnsupportedScheme { .. }
            | Self::InvalidUri { .. }
            | Self::UnusableFlag { .. }
            | Self::TimeUnparseable { .. }
            | Self::TimeAmbiguous { .. }
            | Self::ConfigUnreadable { .. }
            | Self::ConfigInvalid { .. }
            | Self::AnotherSource { .. }
            | Self::UnknownClass { .. } => ExitCode::Usage,
            Self::Retention(error) => match error {
                RetentionError::OutOfBounds { .. }
                | RetentionError::UntilOutOfBounds { .. }
                | RetentionError::PastCalendar { .. }
                | RetentionError::UnknownClass { .. } => ExitCode::Usage,
                RetentionError::ClockSkew { .. } => ExitCode::Failed,
            },
            Self::NoVault { .. } | Self::NoReplica { .. } | Self::NotAVault { .. } => {
                ExitCode::NoVault
            }
            Self::Log(LogError::FarFuture { .. })
            | Self::AmbiguousTable { .. }
            | Self::OwnerMustChoose { .. }
            | Self::Unconfirmed { .. }
            | Self::ComesLater { .. } => ExitCode::OwnerMustChoose,
            // That a single table failed is what 5 means; only what is worse for the vault or asks for another
            // reaction than reading the list is told by its own code.
            Self::LimitReached { .. } => ExitCode::SomeFailed,
            Self::SomeTablesFailed { codes, .. } => codes
                .iter()
                .copied()
                .filter(|code| *code != ExitCode::Failed)
                .fold(ExitCode::SomeFailed, ExitCode::max),
            Self::ClaimedByOther { .. }
            | Self::RestoreTakenOver { .. }
            | Self::AnotherWriterWon { .. } => ExitCode::AnotherWriterWon,
            Self::Damaged { .. }
            | Self::SourceFileMissing { lost: Some(_), .. }
            | Self::VaultFileLost { .. }
            | Self::RecordsGone { .. }
            | Self::PruneRefused { .. }
            | Self::HeldTooLate { .. } => ExitCode::Damage,
            Self::HoldsUnread { source, .. } => source.exit_code(),
            Self::Restore(error) => error.exit_code(),
            Self::Choose(error) => choose_exit_code(error),
            Self::Interrupted => ExitCode::Interrupted,
            Self::SourceArchived { .. }
            | Self::Store(StoreError {
                kind: StoreErrorKind::Archived,
                ..
            }) => ExitCode::ThawPending,
            Self::Store(_)
            | Self::Pruned { .. }
            | Self::Demo(_)
            | Self::NewerVault { .. }
            | Self::UnknownTable { .. }
            | Self::SnapshotOfAnotherTable { .. }
            | Self::NotATable { .. }
            | Self::LockRefused { .. }
            | Self::CommitsTooMuch { .. }
            | Self::SourceFileMissing { lost: None, .. }
            | Self::SourceFileSize { .. }
            | Self::SourceMoving { .. }
            | Self::TookTooLong { .. }
            | Self::PathLeavesTarget { .. }
            | Self::AbsoluteIntoOwnRoot { .. }
            | Self::Ledger(_)
            | Self::Log(_)
            | Self::LogUnreadable { .. }
            | Self::Path(_)
            | Self::Sort(_)
            | Self::Scratch(_)
            | Self::VaultInUse { .. }
            | Self::EventsMeanwhile { .. }
            | Self::AlreadyAVault { .. }
            | Self::FolderNotEmpty { .. }
            | Self::Index(_)
            | Self::NoCacheFolder
            | Self::TargetNotEmpty { .. }
            | Self::ClaimBlocked { .. }
            | Self::TargetCannotHold { .. }
            | Self::Start(_)
            | Self::Output(_) => ExitCode::Failed,
        }
    }
}

fn format_exit_code(error: &FormatError) -> ExitCode {
    match error {
        FormatError::NewerFormat { .. } | FormatError::UnknownFeature { .. } => ExitCode::Failed,
        FormatError::Malformed { .. }
        | FormatError::TooLarge { .. }
        | FormatError::Invalid { .. } => ExitCode::Damage,
    }
}

fn choose_exit_code(error: &ChooseError) -> ExitCode {
    match error {
        ChooseError::LedgerNotWhole { .. } => ExitCode::Damage,
        ChooseError::Several { .. } | ChooseError::Prefix(PrefixError::Ambiguous { .. }) => {
            ExitCode::OwnerMustChoose
        }
        ChooseError::Prefix(PrefixError::NotHex { .. } | PrefixError::TooShort { .. }) => {
            ExitCode::Usage
        }
        ChooseError::Ledger(_)
        | ChooseError::Prefix(PrefixError::Unknown { .. })
        | ChooseError::NoSnapshot { .. }
        | ChooseError::VersionNotHeld { .. }
        | ChooseError::NothingHeldAt { .. } => ExitCode::Failed,
    }
}

fn at_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" at line {line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_table_among_others_is_5_and_damage_stays_12() {
        let code = |codes: &[ExitCode]| {
            let failed = vec!["orders".into()];
            let codes = codes.to_vec();
            let error = Error::SomeTablesFailed {
                failed,
                of: 3,
                codes,
            };
            error.exit_code().number()
        };
        assert_eq!(code(&[ExitCode::Failed]), 5);
        assert_eq!(code(&[ExitCode::Failed, ExitCode::Damage]), 12);
        assert_eq!(code(&[ExitCode::AnotherWriterWon, ExitCode::Failed]), 11);
    }

    #[test]
    fn missing_source_files_are_counted_and_the_first_is_named() {
        let error = Error::SourceFileMissing {
            table: "orders".into(),
            version: Version(7),
            files: vec!["a.parquet".into(), "b.parquet".into()],
            held: None,
            lost: None,
        };
        let text = "orders version 7 is not whole: 2 of its files are gone, first a.parquet";
        assert_eq!(error.to_string(), text);
    }
}
