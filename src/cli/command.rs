//! The commands: each has a file of its own, with its flags, its run and what it says.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Subcommand;
use deltavault::ExitCode;
use deltavault::format::LockMode;
use deltavault::ids::Timestamp;
use deltavault::progress::Progress;
use deltavault::vault::restore::QUIET;
use deltavault::vault::snapshot::Interrupt;
use jiff::Zoned;
use jiff::tz::TimeZone;

use self::completions::CompletionsArgs;
use self::demo::DemoArgs;
use self::diff::DiffArgs;
use self::hold::Change;
use self::iam::IamArgs;
use self::index::IndexArgs;
use self::init::InitArgs;
use self::looked::OneSnapshotArgs;
use self::man::ManArgs;
use self::prune::PruneArgs;
use self::restore::args::RestoreArgs;
use self::restore::undo::UndoArgs;
use self::retire::RetireArgs;
use self::snapshot::SnapshotArgs;
use self::snapshots::SnapshotsArgs;
use self::verify::VerifyArgs;
use self::wall::WallArgs;
use super::again::Again;
use super::config::Config;
use super::error::CommandError;
use super::near;
use super::output::{Output, counted};
use super::place::parse_place;
use super::stores::{OpenVault, Stores};
use super::table_name::TableName;

pub(crate) use self::demo::DemoError;
pub(crate) use self::restore::{CommitError, TurnError};

mod completions;
mod demo;
mod diff;
mod hold;
mod iam;
mod index;
mod init;
mod looked;
mod ls;
mod man;
mod prune;
mod restore;
mod retire;
mod show;
mod snapshot;
mod snapshots;
mod verify;
mod wall;

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a vault in an empty folder or prefix; on S3 also its bucket
    Init(InitArgs),
    /// Take a snapshot of tables [every table of the configuration]
    Snapshot(SnapshotArgs),
    /// List the snapshots, and until when each is kept
    Snapshots(SnapshotsArgs),
    /// Show everything that is recorded about a snapshot
    Show(OneSnapshotArgs),
    /// List the files of a snapshot
    Ls(OneSnapshotArgs),
    /// Compare two snapshots, or one with its live table
    Diff(DiffArgs),
    /// Put tables back to a snapshot; without --yes, plan and ask
    Restore(RestoreArgs),
    /// Take the last rewind or replacement of a table back; without --yes, plan and ask
    Undo(UndoArgs),
    /// Check the vault against itself: chain, manifests, presence, sizes, bytes
    Verify(VerifyArgs),
    /// Delete what no kept snapshot needs, in two runs with days in between
    ///
    /// A run writes a plan of what is no longer needed, and deletes what an earlier plan marked and nothing needs since.
    Prune(PruneArgs),
    /// Keep a snapshot beyond its promise, until it is released
    Hold(OneSnapshotArgs),
    /// Release the hold on a snapshot; its promise and locks stay
    Release(OneSnapshotArgs),
    /// Retire a table: prune may delete even its newest snapshot once that expires
    Retire(RetireArgs),
    /// Manage the local index
    #[command(subcommand)]
    Index(IndexArgs),
    /// Print the policies that protect a vault
    #[command(subcommand)]
    Iam(IamArgs),
    /// Prove the walls around a vault
    #[command(subcommand)]
    Wall(WallArgs),
    /// Destroy a small table and get it back, in a folder of its own
    Demo(DemoArgs),
    /// Print the completion script for a shell
    Completions(CompletionsArgs),
    /// Print the manual page
    Man(ManArgs),
}

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// How the next command is spelled.
    pub(crate) again: Again,
    /// The connections to where vault and tables are.
    pub(crate) stores: Stores,
    /// The vault that was named, by flag, environment or configuration.
    pub(crate) vault: Option<String>,
    /// Whether a flag of this command named it.
    pub(crate) is_vault_by_flag: bool,
    /// The working directory.
    pub(crate) folder: PathBuf,
    /// The system's time zone.
    pub(crate) zone: TimeZone,
    /// The configuration.
    pub(crate) config: Config,
    pub(crate) clock: Clock,
    /// Where results go.
    pub(crate) output: Output,
    /// Where progress goes.
    pub(crate) progress: Arc<dyn Progress>,
    /// Fired by Ctrl-C.
    pub(crate) interrupt: Interrupt,
    /// Whether somebody may be there: any of the three streams is a terminal.
    pub(crate) has_terminal: bool,
    /// Whether somebody can be asked: stdin and stderr are a terminal, and the output is for people.
    pub(crate) can_ask: bool,
}

impl Context {
    /// The vault's URI.
    ///
    /// # Errors
    /// [`CommandError::NoVaultGiven`].
    pub(crate) fn vault(&self) -> Result<&str, CommandError> {
        self.vault.as_deref().ok_or(CommandError::NoVaultGiven)
    }

    /// The vault, where a flag of this command named it.
    pub(crate) fn vault_by_flag(&self) -> Option<&str> {
        self.vault.as_deref().filter(|_| self.is_vault_by_flag)
    }

    /// What a TABLE means.
    ///
    /// # Errors
    /// When the text is no valid place.
    pub(crate) fn table(&self, text: &str) -> Result<TableName, CommandError> {
        TableName::new(text, &self.config, &self.folder)
    }

    /// The URI of a place as it was typed.
    ///
    /// # Errors
    /// When the text is no valid place.
    pub(crate) fn place(&self, text: &str) -> Result<String, CommandError> {
        parse_place(text, &self.folder)
    }

    /// The time now, in the system's time zone.
    pub(crate) fn here(&self) -> Zoned {
        self.clock.now().to_zoned(self.zone.clone())
    }

    /// Treats as absent what the owner calls forged, and says so each time.
    fn without_forged(&self, open: OpenVault) -> OpenVault {
        let forged = &self.config.forged;
        if forged.is_empty() {
            return open;
        }
        let objects = counted(forged.len() as u64, "object");
        self.progress.note(&format!(
            "treated as absent, as forged: {objects} of the vault"
        ));
        OpenVault {
            vault: open.vault.without_forged(forged.iter().cloned().collect()),
            ..open
        }
    }

    /// Opens the vault.
    ///
    /// # Errors
    /// [`CommandError::NoVaultGiven`], [`CommandError::NoVaultHere`], and as [`OpenVault::open`].
    pub(crate) async fn open_vault(&self) -> Result<OpenVault, CommandError> {
        let uri = self.vault()?;
        let opened = OpenVault::open(&self.stores, uri).await;
        match opened.map(|open| self.without_forged(open)) {
            Err(error) if error.is_without_vault() => {
                let configured = self.config.vault.as_deref();
                Err(Box::pin(near::no_vault(&self.stores, uri, configured)).await)
            }
            opened => opened,
        }
    }
}

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The system's clock.
    System,
    /// Always the same time.
    #[cfg(feature = "testing")]
    Pinned(Timestamp),
}

impl Clock {
    /// The time now.
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the clock is read"
    )]
    pub(crate) fn now(self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            #[cfg(feature = "testing")]
            Self::Pinned(time) => time,
        }
    }

    /// How long a rewind waits before it looks at the log again.
    pub(crate) fn quiet(self) -> Duration {
        match self {
            Self::System => QUIET,
            #[cfg(feature = "testing")]
            Self::Pinned(_) => Duration::ZERO,
        }
    }
}

impl Command {
    /// Whether it only shows something, so that without a reader there is nothing left to do. Everything else works or
    /// judges, and its exit code counts whoever reads along.
    pub(crate) fn only_shows(&self) -> bool {
        match self {
            Self::Snapshots(_)
            | Self::Show(_)
            | Self::Ls(_)
            | Self::Diff(_)
            | Self::Iam(_)
            | Self::Completions(_)
            | Self::Man(_) => true,
            Self::Wall(_)
            | Self::Init(_)
            | Self::Snapshot(_)
            | Self::Restore(_)
            | Self::Undo(_)
            | Self::Verify(_)
            | Self::Prune(_)
            | Self::Hold(_)
            | Self::Release(_)
            | Self::Retire(_)
            | Self::Index(_)
            | Self::Demo(_) => false,
        }
    }

    /// Whether the configuration says something to it: else one that cannot be read is not in its way.
    pub(crate) fn takes_config(&self) -> bool {
        !matches!(self, Self::Completions(_) | Self::Man(_) | Self::Demo(_))
    }

    /// Carries it out. Dropping the future at any time is how it is interrupted.
    ///
    /// # Errors
    /// Whatever the library cannot do; what it did with something to say is an exit code.
    pub(crate) async fn run(self, context: &mut Context) -> Result<ExitCode, CommandError> {
        match self {
            Self::Init(args) => Box::pin(init::init(args, context)).await,
            Self::Snapshot(args) => Box::pin(snapshot::snapshot(args, context)).await,
            Self::Snapshots(args) => snapshots::snapshots(args, context).await,
            Self::Show(args) => show::show(args, context).await,
            Self::Ls(args) => ls::ls(args, context).await,
            Self::Diff(args) => Box::pin(diff::diff(args, context)).await,
            Self::Restore(args) => Box::pin(restore::restore(args, context)).await,
            Self::Undo(args) => Box::pin(restore::undo::undo(args, context)).await,
            Self::Verify(args) => Box::pin(verify::verify(args, context)).await,
            Self::Prune(args) => Box::pin(prune::prune(args, context)).await,
            Self::Hold(args) => Box::pin(hold::hold(args, Change::Hold, context)).await,
            Self::Release(args) => Box::pin(hold::hold(args, Change::Release, context)).await,
            Self::Retire(args) => retire::retire(args, context).await,
            Self::Index(IndexArgs::Rebuild) => index::rebuild(context).await,
            Self::Iam(IamArgs::Render(args)) => iam::render(args, context).await,
            Self::Wall(WallArgs::Check(args)) => Box::pin(wall::check(args, context)).await,
            Self::Demo(args) => Box::pin(demo::demo(args, context)).await,
            Self::Completions(args) => completions::completions(&args, context),
            Self::Man(args) => man::man(&args, context),
        }
    }
}

/// Says of a vault on S3 that it has no locks, whenever somebody relies on it.
pub(crate) fn remind_of_locks(open: &OpenVault, progress: &dyn Progress) {
    if open.is_on_s3() && open.vault.file().lock_mode == LockMode::None {
        progress.note(
            "objects are not locked: anyone who may delete in the bucket can destroy the backup",
        );
    }
}

/// Asks the owner on the terminal whether to go on.
///
/// # Errors
/// [`CommandError::Unconfirmed`] when there is nobody to ask, [`CommandError::Declined`] when the answer is not yes.
pub(crate) fn confirm(what: &str, context: &mut Context) -> Result<(), CommandError> {
    context.output.finish()?;
    // Nobody agrees to a plan that nobody can read.
    if !context.can_ask || context.output.is_lost() {
        return Err(CommandError::Unconfirmed {
            what: what.to_owned(),
        });
    }
    let answer = context.output.ask(&format!("{what}? [y/N] "));
    match answer.as_deref().map(str::trim) {
        Ok("y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => Err(CommandError::Declined),
    }
}
