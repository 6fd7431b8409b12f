//! How a restore can fail for reasons of its own, each with its exit code and its hint.

use super::Error;
use super::hint::{listed, one_of};
use crate::exit_code::ExitCode;
use crate::format::ledger::UnreadRecord;
use crate::ids::{Location, ObjectKey, SnapshotId, Version};

/// A restore that cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// What the vault holds of a snapshot cannot be read.
    #[error("snapshot {} of version {version} cannot be read", snapshot.short())]
    Unreadable {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its version.
        version: Version,
        /// The command that looks for what is damaged or lost, and puts it into the vault again.
        repair: Box<str>,
        /// The command that takes a snapshot which does not build on it.
        distrust: Box<str>,
        /// The newest other version of the table that can be read, and the command that restores it.
        other: Option<(Version, String)>,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// What the vault holds of a snapshot is not what its record says, and nobody said that it may be put back so.
    #[error("snapshot {} of version {version} is not whole: {what}", snapshot.short())]
    NotWhole {
        /// The snapshot.
        snapshot: SnapshotId,
        /// Its version.
        version: Version,
        /// How they differ.
        what: String,
    },
    /// The newest snapshot is wanted, and a newer one than can be read may have been taken.
    #[error(
        "the ledger of {table} is not whole: a snapshot newer than {} (version {version}) may be missing",
        snapshot.short()
    )]
    NewerMayBeMissing {
        /// The table.
        table: Box<str>,
        /// The newest snapshot that can be read.
        snapshot: SnapshotId,
        /// Its version.
        version: Version,
        /// The command that puts lost records back.
        repair: Box<str>,
        /// The command that restores that snapshot.
        restore: Box<str>,
        /// The record that cannot be read.
        #[source]
        source: Box<UnreadRecord>,
    },
    /// The snapshot does not hold the checkpoint that should be left out.
    #[error("the snapshot holds no checkpoint of version {version}")]
    NoSuchCheckpoint {
        /// The version that was named.
        version: Version,
        /// Those that it holds, newest first.
        held: Vec<Version>,
    },
    /// No complete way leads to the version without a checkpoint.
    #[error("version {version} cannot be rebuilt without checkpoint {checkpoint}: {trouble}")]
    NoWayWithout {
        /// The version.
        version: Version,
        /// The checkpoint.
        checkpoint: Version,
        /// What is missing or cannot be read.
        trouble: String,
    },
    /// A log began where there was none, while the data was being put back.
    #[error(
        "somebody made a table at {uri} while its files were being put back: {file} is there now"
    )]
    TableAppeared {
        /// Where.
        uri: String,
        /// The first file of that log.
        file: ObjectKey,
    },
    /// The live table is not what it was when its rewind was planned.
    #[error("somebody committed to {uri} meanwhile: {what}")]
    CommittedMeanwhile {
        /// Where.
        uri: String,
        /// What shows it.
        what: String,
    },
    /// Somebody has committed to the log that was being removed: no reader gets past what is missing below their commit.
    #[error("{uri} cannot be opened now: {file} was committed to the log that was being removed")]
    Torn {
        /// Where.
        uri: String,
        /// Their commit.
        file: ObjectKey,
    },
    /// No snapshot of the live table can be taken, and a rewind would leave nothing to go back to.
    #[error("no safety snapshot of {uri} can be taken")]
    NoSafetySnapshot {
        /// Where.
        uri: String,
        /// Why not.
        #[source]
        source: Box<Error>,
    },
    /// A file that is to be replaced has more bytes than can be set aside.
    #[error("{uri} has {size} bytes, too many to be kept beside the table")]
    TooLargeToKeep {
        /// Which.
        uri: String,
        /// Its bytes.
        size: u64,
    },
    /// The event of a rewind names a snapshot that the ledger does not have.
    #[error("the ledger does not have snapshot {}, which the event of a restore names", snapshot.short())]
    SafetyGone {
        /// The snapshot.
        snapshot: SnapshotId,
    },
    /// The vault has lost files of the snapshot, and nobody said that it may be put back without them.
    #[error(
        "{good} of {of} files are good, and the vault has lost {}: {}",
        lost.len(),
        listed(lost, NAMED)
    )]
    FilesLost {
        /// Files that are good.
        good: u64,
        /// Files of the snapshot.
        of: u64,
        /// Those that are lost.
        lost: Vec<Location>,
        /// The command that puts back all others, where it is known.
        command: Option<String>,
        /// What is wrong with the first of them in the vault.
        #[source]
        first: Box<Error>,
    },
}

/// How many files are named; with `--json` all are.
const NAMED: usize = 10;

impl RestoreError {
    /// How the process ends.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self {
            Self::NoSuchCheckpoint { .. } => ExitCode::Usage,
            Self::NoWayWithout { .. }
            | Self::TableAppeared { .. }
            | Self::TooLargeToKeep { .. }
            | Self::NoSafetySnapshot { .. } => ExitCode::OwnerMustChoose,
            Self::CommittedMeanwhile { .. } | Self::Torn { .. } => ExitCode::AnotherWriterWon,
            Self::FilesLost { .. }
            | Self::NewerMayBeMissing { .. }
            | Self::NotWhole { .. }
            | Self::SafetyGone { .. } => ExitCode::Damage,
            Self::Unreadable { source, .. } => source.exit_code(),
        }
    }

    /// What to do about it.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Unreadable { repair, distrust, other, .. } => {
                let other = match other {
                    Some((version, command)) => format!("v{version} can be read: `{command}`"),
                    None => "no other snapshot of the table can be read".to_owned(),
                };
                format!(
                    "`{repair}` looks for what is lost in the live table and in other snapshots, and with --from URI in a \
                     replica; {other}; if it is forged, `{distrust}` takes one that builds on nothing from it on"
                )
            }
            Self::NewerMayBeMissing { repair, restore, .. } => format!(
                "`{repair}` puts back what a replica still has; newer snapshots that the ledger does not prove, if there \
                 are any, are named above; to restore the newest one that it proves: `{restore}`"
            ),
            Self::NoSuchCheckpoint { held, .. } if held.is_empty() => {
                "it holds no checkpoint at all: leave --without-checkpoint out".into()
            }
            Self::NoSuchCheckpoint { held, .. } => {
                format!("it holds checkpoints {}", one_of(held))
            }
            Self::FilesLost { command, .. } => {
                let command = command
                    .as_deref()
                    .unwrap_or("the same command with --accept-damaged");
                format!(
                    "data that is good was put back already, the log was not. `deltavault verify --read all --repair` looks for the \
                     lost bytes in the live table, and with --from in a replica; `deltavault snapshots` lists what else is \
                     held; to have the table without what is lost, {command}"
                )
            }
            Self::NotWhole { snapshot, .. } => format!(
                "nothing was changed. It was forged, or written by a faulty tool: `deltavault verify --read all` says more, and \
                 `deltavault snapshots` lists what else is held; to have what it does hold, the same command with \
                 --snapshot {} --accept-damaged",
                snapshot.short()
            ),
            Self::TableAppeared { .. } => {
                "its log was not touched: stop what writes there, and run the same command again; it then shows what can be \
                 done with the new table"
                    .into()
            }
            Self::CommittedMeanwhile { .. } => {
                "nothing of theirs was removed, and nothing stands above it: stop what writes there, and run the same command \
                 again, which shows what is there now"
                    .into()
            }
            Self::Torn { .. } => {
                "nothing is lost: stop what writes there; `restore` of the safety snapshot, by its id and with --heal, puts back \
                 what was removed below that commit. `deltavault snapshots` lists it last. Where it says ANOTHER HISTORY, the same \
                 command again with --accept-damaged moves their commit to _deltavault/aside and goes on"
                    .into()
            }
            Self::NoSafetySnapshot { source, .. } => {
                let is_outside = matches!(source.as_ref(), Error::OutsideRefused { .. });
                let first = is_outside.then(|| source.hint()).flatten();
                let first = first.unwrap_or_else(|| "put back what it lacks first, with --heal".to_owned());
                format!(
                    "nothing was changed: {first}; or restore elsewhere with --to; with --accept-damaged there is no undo, and \
                     what is removed from the log is kept beside the table, in _deltavault/aside"
                )
            }
            Self::TooLargeToKeep { .. } => {
                "look what it is, move it out of the table's folder, and run the same command again; what was put back is not put \
                 back twice"
                    .into()
            }
            Self::SafetyGone { .. } => {
                "`deltavault verify` says what is wrong with the ledger; `deltavault snapshots` lists what can be restored".into()
            }
            Self::NoWayWithout { checkpoint, .. } => format!(
                "without --without-checkpoint {checkpoint} the log is put back with it; nothing was changed"
            ),
        }
    }
}
