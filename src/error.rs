//! The one public error: every way in which a command can fail, as a situation somebody can act on.
//!
//! Each has an [`ExitCode`] and, where there is something to do, a hint: the next command or setting. Errors of
//! single modules are gathered here and keep their own text; what caused an error is its `source`, never part
//! of its text.

use std::io;

use jiff::SignedDuration;

use crate::count::{are, counted};
use crate::delta::LogError;
use crate::delta::path::PathError;
use crate::exit_code::ExitCode;
use crate::format::FormatError;
use crate::format::ledger::{LedgerError, PrefixError};
use crate::ids::{InvalidId, ObjectKey, SnapshotId, Timestamp, Version};
use crate::plan::choose::ChooseError;
use crate::plan::price::{NanoUsd, TerabyteMonths};
use crate::plan::retention::RetentionError;
use crate::progress::PlannedWork;
use crate::sort::SortError;
use crate::store::{StoreError, StoreErrorKind};
use crate::visible::shortened;

mod hint;
mod passing;
mod restore;

pub use hint::{LISTED, one_of};
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
    /// A record or an event that may not be read.
    #[error(transparent)]
    SlotRefused(StoreError),
    /// Bytes of the vault are not what the format says.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// An object has the bytes that its record names, and they break the format: it was written so.
    #[error("{object}: {what}")]
    Malformed {
        /// Its key.
        object: String,
        /// The rule that it breaks.
        what: FormatError,
    },
    /// A string that is not a valid id.
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
    /// The temporary folder cannot be used.
    #[error("cannot use the temporary folder")]
    Scratch(#[source] io::Error),
    /// A restore cannot go on.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// An event was written after a prune had read the events of its table.
    #[error(
        "an event of {table} was written during the prune, and it may be a hold: the prune stopped after {}",
        counted(*deleted, "deletion")
    )]
    EventsMeanwhile {
        /// The table's key.
        table: String,
        /// What was deleted.
        deleted: u64,
    },
    /// A prune was deleting what a snapshot needs when the hold was placed.
    #[error(
        "a prune was deleting snapshot {}: {object} is gone, and the snapshot is not held",
        snapshot.short()
    )]
    HeldTooLate {
        /// The snapshot.
        snapshot: SnapshotId,
        /// What is gone.
        object: String,
    },
    /// The holds of another table cannot be read.
    #[error("the holds of {table} cannot be read, and nothing was released")]
    HoldsUnread {
        /// The table's key.
        table: String,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
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
    /// There is a `vault.json`, and it is not one of ours.
    #[error("{uri} is not a vault")]
    NotAVault {
        /// Where one was looked for.
        uri: String,
        /// What is wrong with its `vault.json`.
        #[source]
        source: FormatError,
    },
    /// The vault was made by a newer tool.
    #[error("the vault {uri} has format {found}, newer than this tool knows")]
    NewerVault {
        /// The vault.
        uri: String,
        /// The format that it names.
        found: u32,
    },
    /// No table of the vault has that name or URI.
    #[error("the vault holds no table {name:?}")]
    UnknownTable {
        /// What was asked for.
        name: String,
        /// The tables that there are.
        known: Vec<String>,
    },
    /// Several tables of the vault have that name.
    #[error("{name:?} is the name of {} tables", candidates.len())]
    AmbiguousTable {
        /// What was asked for.
        name: String,
        /// The keys that match, each with its URI and source.
        candidates: Vec<String>,
    },
    /// The version needs files that the source no longer has.
    #[error(
        "{table} version {version} is not whole: {} of its files {} gone, first {}{}",
        files.len(),
        are(files.len() as u64),
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
        are(files.len() as u64),
        hint::listed(files, FILES_NAMED)
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
    /// Each time it came to publish, a prune could by then delete what the snapshot builds on.
    #[error("what the snapshot of {table} builds on may be pruned before it is published")]
    TookTooLong {
        /// The table.
        table: String,
    },
    /// The log says of a file what no page has room for, or what contradicts itself.
    #[error("what the log says of {} cannot be held", shortened(file, 300))]
    CannotBeHeld {
        /// The file.
        file: String,
        /// The rule of the format.
        source: FormatError,
    },
    /// The log names files outside the table's folder, where nobody said that it may.
    #[error(
        "the log of {table} names {} outside its folder{}",
        counted(*files, "file"),
        if folders.is_empty() { String::new() } else { format!(", in {}", folders.join(", ")) }
    )]
    OutsideRefused {
        /// The table's URI.
        table: String,
        /// How many.
        files: u64,
        /// Folders that they lie in, at most eight.
        folders: Vec<String>,
    },
    /// A file of the snapshot would be put outside the target.
    #[error("{file} would be put outside {target}")]
    PathLeavesTarget {
        /// The file.
        file: String,
        /// The target.
        target: String,
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
    #[error("cannot lock {object} until {until}")]
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

    /// Ctrl-C.
    #[error("interrupted")]
    Interrupted,
    /// What was passed in to be called failed; its error comes back as it was.
    #[error(transparent)]
    Caller(Box<dyn std::error::Error + Send + Sync>),
}

/// How many files an error names; nobody reads more.
const FILES_NAMED: usize = 100;

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

impl Error {
    /// Whether bytes of the vault are not what they should be: damaged, gone, or against the format.
    pub fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Damaged { .. } | Self::Malformed { .. } | Self::Format(_)
        )
    }

    /// Whether the store refused to show a ledger: those of other tables may be readable.
    pub fn is_refused_ledger(&self) -> bool {
        let (Self::SlotRefused(error) | Self::Store(error)) = self else {
            return false;
        };
        matches!(
            error.kind,
            StoreErrorKind::Denied { .. } | StoreErrorKind::InTheWay { .. }
        )
    }

    /// How the process ends.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Format(error) | Self::Malformed { what: error, .. } => format_exit_code(error),
            Self::InvalidId(_) => ExitCode::Usage,
            Self::Retention(error) => match error {
                RetentionError::OutOfBounds { .. }
                | RetentionError::UntilOutOfBounds { .. }
                | RetentionError::PastCalendar { .. }
                | RetentionError::UnknownClass { .. } => ExitCode::Usage,
                RetentionError::ClockSkew { .. } => ExitCode::Failed,
            },
            Self::NoVault { .. } | Self::NotAVault { .. } => ExitCode::NoVault,
            Self::Log(LogError::FarFuture { .. })
            | Self::AmbiguousTable { .. }
            | Self::OutsideRefused { .. }
            | Self::OwnerMustChoose { .. } => ExitCode::OwnerMustChoose,
            Self::LimitReached { .. } => ExitCode::SomeFailed,
            Self::ClaimedByOther { .. }
            | Self::RestoreTakenOver { .. }
            | Self::AnotherWriterWon { .. } => ExitCode::AnotherWriterWon,
            Self::Damaged { .. }
            | Self::SourceFileMissing { lost: Some(_), .. }
            | Self::VaultFileLost { .. }
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
            | Self::SlotRefused(_)
            | Self::Pruned { .. }
            | Self::NewerVault { .. }
            | Self::UnknownTable { .. }
            | Self::LockRefused { .. }
            | Self::CommitsTooMuch { .. }
            | Self::SourceFileMissing { lost: None, .. }
            | Self::SourceFileSize { .. }
            | Self::SourceMoving { .. }
            | Self::TookTooLong { .. }
            | Self::PathLeavesTarget { .. }
            | Self::CannotBeHeld { .. }
            | Self::AbsoluteIntoOwnRoot { .. }
            | Self::Ledger(_)
            | Self::Log(_)
            | Self::LogUnreadable { .. }
            | Self::Path(_)
            | Self::Sort(_)
            | Self::Scratch(_)
            | Self::EventsMeanwhile { .. }
            | Self::TargetNotEmpty { .. }
            | Self::ClaimBlocked { .. }
            | Self::TargetCannotHold { .. }
            | Self::Caller(_) => ExitCode::Failed,
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

#[cfg(test)]
mod tests {
    use super::*;

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
