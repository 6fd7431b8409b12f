//! Why a command ended without doing what it was asked: what is said of it, how the process ends, and what to do next.

use std::io;
use std::time::Duration;

use deltavault::error::{LISTED, one_of};
use deltavault::format::VaultFile;
use deltavault::iam::IamError;
use deltavault::ids::SnapshotId;
use deltavault::plan::choose::ChooseError;
use deltavault::plan::pause::Pause;
use deltavault::shell::{operand, quoted};
use deltavault::store::{StoreErrorKind, local_path};
use deltavault::{Error, ExitCode};
use jiff::SignedDuration;

use super::command::{CommitError, DemoError, TurnError};
use super::index::IndexError;
use super::output::{lock, minute};

mod from;

/// What a command can fail with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CommandError {
    /// The library could not do it.
    #[error(transparent)]
    Library(Box<Error>),
    /// A policy cannot be written.
    #[error(transparent)]
    Iam(Box<IamError>),
    /// A live table is not turned back.
    #[error(transparent)]
    Turn(Box<TurnError>),
    /// A version did not come back as a commit.
    #[error(transparent)]
    Commit(Box<CommitError>),
    /// There is no place for the local index.
    #[error("there is no folder for the local index")]
    NoCacheFolder,
    /// The local index cannot be made.
    #[error(transparent)]
    Index(#[from] IndexError),
    /// A step of the demo did not come out as it must.
    #[error(transparent)]
    Demo(Box<DemoError>),

    /// No vault was named anywhere.
    #[error("no vault was given")]
    NoVaultGiven,
    /// No table was named, and the configuration lists none.
    #[error("no table was given")]
    NoTableGiven,
    /// There is no vault at the place that was named.
    #[error("there is no {} at {uri}", if missing_bucket.is_some() { "bucket" } else { "vault" })]
    NoVaultHere {
        /// Where one was looked for.
        uri: String,
        /// The bucket, where there is none of its name.
        missing_bucket: Option<String>,
        /// Vaults that may be meant, as they are typed.
        near: Vec<String>,
    },
    /// There is no vault at the place that is to be a replica.
    #[error("--from names no replica: there is no vault at {uri}")]
    NoReplica {
        /// Where one was looked for.
        uri: String,
    },
    /// A vault is to be made where one is.
    #[error("{uri} is a vault already, with the id {}", file.id)]
    AlreadyAVault {
        /// Where.
        uri: String,
        /// What it says of itself.
        file: Box<VaultFile>,
    },
    /// A vault is to be made in a folder that holds something else.
    #[error("{uri} is not a vault, and it is not empty")]
    FolderNotEmpty {
        /// Where.
        uri: String,
    },
    /// A URI with a scheme that this build cannot reach.
    #[error("{uri} cannot be reached: this tool reads and writes folders and S3")]
    UnsupportedScheme { uri: String },
    /// A URI or path that breaks a rule.
    #[error("{uri:?} is not usable: {rule}")]
    InvalidUri {
        uri: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A flag that does not go with the others, or with the place.
    #[error("{flag} is not usable: {rule}")]
    UnusableFlag {
        flag: &'static str,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// A time that could not be understood.
    #[error("the time {text:?} cannot be understood")]
    TimeUnparseable { text: String },
    /// A local time that a zone has twice or never.
    #[error("the time {text:?} happens twice or never in {zone}")]
    TimeAmbiguous {
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
    /// What the vault holds of a snapshot cannot be read.
    #[error("snapshot {} of {table} cannot be read", snapshot.short())]
    SnapshotUnreadable {
        snapshot: SnapshotId,
        table: String,
        /// The command that looks for what is lost.
        repair: String,
        /// The command that takes a snapshot which does not build on it.
        distrust: String,
        /// What is wrong.
        #[source]
        source: Box<Error>,
    },
    /// The file of newest snapshots cannot be read, or a line of it names none.
    #[error("--heads {path} is not usable{}: {rule}", at_line(*line))]
    HeadsUnusable {
        /// The file.
        path: String,
        /// The line, counted from 1, where it is one.
        line: Option<usize>,
        /// What is wrong.
        rule: String,
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

    /// The snapshot that lies so many before the newest was asked for, and there are fewer.
    #[error("{table} has no snapshot that lies {back} before the newest")]
    NotSoManySnapshots {
        table: String,
        /// How many.
        back: usize,
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
    /// The snapshot that was named for a table is another table's.
    #[error("snapshot {} is of {other}, not of {table}", snapshot.short())]
    SnapshotOfAnotherTable {
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
    /// A link stands where a table's folder was, or above it.
    #[error(
        "{uri} was a folder of its own when its snapshot was taken, and a link leads to {today} now"
    )]
    Relinked {
        /// The table.
        uri: String,
        /// Where it leads.
        today: String,
    },
    /// Somebody has the vault to himself.
    #[error("a prune is at work in {uri}")]
    VaultInUse {
        /// The vault.
        uri: String,
    },
    /// The clock may be wrong; `--yes` alone does not say that it is right.
    #[error(
        "nothing was done in {uri} for {} days, from {} to {}: unless this machine was off, its clock was set ahead, and prune \
         would delete what is still promised",
        pause.days(), minute(pause.after), minute(pause.until)
    )]
    LongPause {
        /// The vault.
        uri: String,
        /// When nothing was done.
        pause: Pause,
    },
    /// The plan was printed; `--yes` is missing and there is no terminal to ask.
    #[error("not confirmed: {what}")]
    Unconfirmed {
        /// What would be done.
        what: String,
    },
    /// The owner was asked and did not say yes.
    #[error("nothing was done: the answer was not yes")]
    Declined,

    /// A table did not go on.
    #[error("given up: nothing of it was copied for {}", friendly(*limit))]
    TableStalled {
        /// For how long.
        limit: Duration,
    },
    /// Some tables failed, the rest is done; each failure was reported.
    #[error("{} of {of} tables {verb}: {}", failed.len(), one_of(failed))]
    SomeTablesFailed {
        /// `failed` or `not restored`.
        verb: &'static str,
        /// The command that takes these tables alone, in backquotes.
        again: String,
        /// The tables.
        failed: Vec<String>,
        /// How many there were.
        of: usize,
        /// The exit code of each failure.
        codes: Vec<ExitCode>,
    },
    /// The system lacks what every command needs: threads, signals.
    #[error("start to work")]
    Start(#[source] io::Error),
    /// The result could not be written.
    #[error("write the result")]
    Output(#[source] io::Error),
}

/// What to do about tables that failed; `again` takes them alone.
fn failed_again_hint(again: &str, failed: usize) -> String {
    let takes = match failed {
        1 => format!("{again} takes this table alone"),
        2..=LISTED => format!("{again} takes these tables alone"),
        _ => "the same command again takes them, and finds the others done".to_owned(),
    };
    format!("the reasons are above; {takes}")
}

/// What to do about a snapshot that cannot be read.
fn unreadable(repair: &str, distrust: &str) -> String {
    format!(
        "`{repair}` looks for another copy of what is lost; if the snapshot is forged, `{distrust}` takes one that builds on \
         nothing from it on"
    )
}

impl CommandError {
    /// How the process ends.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Library(error) => error.exit_code(),
            Self::Turn(error) => error.exit_code(),
            Self::NoVaultGiven
            | Self::NoTableGiven
            | Self::Iam(_)
            | Self::UnsupportedScheme { .. }
            | Self::InvalidUri { .. }
            | Self::UnusableFlag { .. }
            | Self::HeadsUnusable { .. }
            | Self::TimeUnparseable { .. }
            | Self::TimeAmbiguous { .. }
            | Self::ConfigUnreadable { .. }
            | Self::ConfigInvalid { .. }
            | Self::AnotherSource { .. }
            | Self::UnknownClass { .. } => ExitCode::Usage,
            Self::NoReplica { .. } | Self::NoVaultHere { .. } => ExitCode::NoVault,
            Self::Unconfirmed { .. }
            | Self::Declined
            | Self::Relinked { .. }
            | Self::LongPause { .. } => ExitCode::OwnerMustChoose,
            // 5 means that some table failed; a failure that is worse for the vault, or that asks for another reaction
            // than reading the list, keeps its own code. 2 would say that nothing was tried.
            Self::SomeTablesFailed { codes, .. }
                if codes.iter().all(|code| *code == ExitCode::OwnerMustChoose) =>
            {
                ExitCode::OwnerMustChoose
            }
            Self::SomeTablesFailed { codes, .. } => codes
                .iter()
                .copied()
                .filter(|code| !matches!(code, ExitCode::Failed | ExitCode::Usage))
                .fold(ExitCode::SomeFailed, ExitCode::max),
            Self::RecordsGone { .. } => ExitCode::Damage,
            Self::SnapshotUnreadable { source, .. } => source.exit_code(),
            Self::Commit(_)
            | Self::NoCacheFolder
            | Self::Index(_)
            | Self::Demo(_)
            | Self::AlreadyAVault { .. }
            | Self::FolderNotEmpty { .. }
            | Self::NotSoManySnapshots { .. }
            | Self::SnapshotOfAnotherTable { .. }
            | Self::NotATable { .. }
            | Self::VaultInUse { .. }
            | Self::TableStalled { .. }
            | Self::Start(_)
            | Self::Output(_) => ExitCode::Failed,
        }
    }

    /// Something to do: the next command or setting.
    pub(crate) fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Library(error) => return error.hint(),
            Self::Start(_) | Self::Output(_) | Self::Declined => return None,
            Self::Iam(error) => error.hint(),
            Self::Turn(error) => error.hint(),
            Self::Commit(error) => error.hint(),
            Self::Demo(_) => "run the demo again with --dir and an empty folder".into(),
            Self::NoVaultGiven => {
                "pass --vault URI, set DELTAVAULT_VAULT, or name it in the configuration under [vault]"
                    .into()
            }
            Self::HeadsUnusable { .. } => {
                "`deltavault snapshots --heads` prints such a file; keep it where the vault's writers cannot change it".into()
            }
            Self::SnapshotUnreadable { repair, distrust, .. } => unreadable(repair, distrust),
            Self::NoTableGiven => {
                "name a table, or list tables in the configuration under [[tables]]".into()
            }
            Self::NoVaultHere { uri, missing_bucket, near } => {
                let meant = match (near.as_slice(), missing_bucket) {
                    ([], None) => "check the spelling".into(),
                    ([], Some(bucket)) => {
                        format!("check the spelling of {bucket:?}, the endpoint and the credentials")
                    }
                    (near, _) => format!("there is a vault at {}", one_of(near)),
                };
                format!("{meant}; where there never was one, `deltavault --vault {} init` makes it", quoted(uri))
            }
            Self::NoReplica { .. } => {
                "check the spelling: --from names a replica, a copy of this vault with its vault.json".into()
            }
            Self::UnsupportedScheme { .. } | Self::InvalidUri { .. } => {
                "use a path, or a URI like s3://bucket/prefix or file:///backup/vault".into()
            }
            Self::UnusableFlag { .. } => "see `--help` of the command".into(),
            Self::TimeUnparseable { .. } => {
                "write it like 2026-11-20T03:00:00Z, 2026-11-20 03:00, 2026-11-20 03:00 Europe/Berlin, 03:00, yesterday or 2h \
                 ago; what is to come also like 6h"
                    .into()
            }
            Self::TimeAmbiguous { .. } => {
                "write the offset to UTC, like 2026-10-25T02:30:00+01:00".into()
            }
            Self::ConfigUnreadable { .. } => "check --config and DELTAVAULT_CONFIG".into(),
            Self::ConfigInvalid { path, .. } => format!("correct {path} and try again"),
            Self::UnknownClass { known, .. } => format!(
                "use {}, or add the class to the configuration under [classes]",
                one_of(known)
            ),
            Self::RecordsGone { .. } => {
                "before anything else, `deltavault verify --repair --from REPLICA` puts back what a replica still has: the next \
                 snapshot takes the first slot of the ledger"
                    .into()
            }
            Self::NotSoManySnapshots { table, .. } => {
                format!("`deltavault snapshots {}` lists those that there are", operand(table))
            }
            Self::SnapshotOfAnotherTable {
                snapshot,
                table,
                other,
            } => format!(
                "`deltavault snapshots {}` lists those of {table}; that one comes back with `deltavault restore {} --snapshot {}`",
                operand(table),
                operand(other),
                snapshot.short()
            ),
            Self::NotATable { uri } => {
                let place = local_path(uri).map_or_else(|| uri.clone(), |path| path.display().to_string());
                format!(
                    "name the folder that holds _delta_log/; a dropped table comes back with `deltavault restore {}`",
                    quoted(&place)
                )
            }
            Self::AlreadyAVault { file, .. } => format!(
                "it was made with lock mode {}, --shortest {}, --longest {} and --generation {}, which stays so: take \
                 a snapshot into it, or name another place with --vault",
                lock(file.lock_mode), file.shortest_days, file.longest_days, file.generation_days
            ),
            Self::FolderNotEmpty { .. } => {
                "name a place that is empty or not there with --vault; it will hold nothing but the vault".into()
            }
            Self::NoCacheFolder => "set XDG_CACHE_HOME to an absolute path".into(),
            Self::Index(_) => {
                "name another folder for it with XDG_CACHE_HOME; no other command needs it".into()
            }
            Self::AnotherSource { recorded, .. } => format!(
                "set the endpoint, or the name, of {recorded} in the configuration under [source]; with --to, a copy can go anywhere"
            ),
            Self::TableStalled { .. } => STALLED_HINT.into(),
            Self::Relinked { .. } => RELINKED_HINT.into(),
            Self::VaultInUse { .. } => "run the same command again once it has ended".into(),
            Self::LongPause { pause, .. } => long_pause_hint(pause),
            Self::Unconfirmed { .. } => "pass --yes to confirm it".into(),
            Self::SomeTablesFailed { again, failed, .. } => failed_again_hint(again, failed.len()),
        })
    }

    /// Whether the same command may do better a moment later, although nobody does anything about it.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Library(error) if error.is_passing())
    }

    /// Whether the temporary folder was full.
    pub(crate) fn lacks_scratch_space(&self) -> bool {
        matches!(self, Self::Library(error) if error.lacks_scratch_space())
    }

    /// Whether somebody interrupted the command.
    pub(crate) fn is_interrupted(&self) -> bool {
        matches!(self.as_library(), Some(Error::Interrupted))
    }

    /// Whether there is no vault where one was looked for.
    pub(crate) fn is_without_vault(&self) -> bool {
        matches!(self, Self::NoVaultHere { .. })
            || matches!(self.as_library(), Some(Error::NoVault { .. }))
    }

    /// Whether there is no such bucket.
    pub(crate) fn is_without_bucket(&self) -> bool {
        matches!(self.as_library(), Some(Error::Store(error)) if matches!(error.kind, StoreErrorKind::NoBucket))
    }

    /// Whether the vault knows no such table, or cannot tell.
    pub(crate) fn is_about_an_unknown_table(&self) -> bool {
        matches!(
            self.as_library(),
            Some(Error::UnknownTable { .. } | Error::Choose(ChooseError::LedgerNotWhole { .. }))
        )
    }

    /// What the library could not do.
    pub(crate) fn as_library(&self) -> Option<&Error> {
        let Self::Library(error) = self else {
            return None;
        };
        Some(error)
    }
}

const STALLED_HINT: &str = "its log takes too long to read, or a store does not answer: look at the table with -v; --table-timeout waits longer";

const RELINKED_HINT: &str = "what is written there could be somebody else's: take the link away, or copy the table with --to";

/// A length of time as people write it.
fn friendly(length: Duration) -> String {
    SignedDuration::try_from(length).map_or_else(|_| format!("{length:?}"), |it| format!("{it:#}"))
}

fn at_line(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(" at line {line}"))
}

fn long_pause_hint(pause: &Pause) -> String {
    format!(
        "look at the clock (`date`); where it is right, `deltavault prune --longest-pause {}`, with the flags of this run, says so",
        pause.days() + 1
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_ours_comes_back_from_the_library_as_it_was() {
        let lost = || CommandError::Output(io::ErrorKind::BrokenPipe.into());
        let through: Error = lost().into();
        assert!(matches!(through.into(), CommandError::Output(_)));
        let cut: Error = CommandError::from(Error::Interrupted).into();
        assert!(matches!(cut, Error::Interrupted));
    }

    #[test]
    fn a_failing_table_among_others_is_5_and_damage_stays_12() {
        let code = |codes: &[ExitCode]| {
            let failed = vec!["orders".into()];
            let codes = codes.to_vec();
            let error = CommandError::SomeTablesFailed {
                verb: "failed",
                again: "`deltavault snapshot orders`".into(),
                failed,
                of: 3,
                codes,
            };
            error.exit_code().number()
        };
        assert_eq!(code(&[ExitCode::Failed]), 5);
        assert_eq!(code(&[ExitCode::Failed, ExitCode::Damage]), 12);
        assert_eq!(code(&[ExitCode::AnotherWriterWon, ExitCode::Failed]), 11);
        assert_eq!(code(&[ExitCode::Usage]), 5);
        assert_eq!(code(&[ExitCode::OwnerMustChoose]), 4);
        assert_eq!(code(&[ExitCode::OwnerMustChoose, ExitCode::Failed]), 5);
    }
}
