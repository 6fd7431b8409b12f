//! Carries out requests: asks the core, and hands what it answers to the renderer. One function a command.

use std::sync::Arc;

use clap::CommandFactory as _;
use clap_complete::Shell;
use deltavault::ExitCode;
use deltavault::format::LockMode;
use deltavault::ids::Timestamp;
use deltavault::progress::Progress;
use deltavault::vault::snapshot::Interrupt;

use super::again::Again;
use super::args::Args;
use super::config::Config;
use super::render::Output;
use super::request::Request;
use super::stores::{OpenVault, Stores};
use crate::cli::error::CommandError;

mod demo;
mod fleet;
mod iam;
mod init;
mod look;
mod prune;
mod repair;
mod restore;
mod snapshot;
mod verify;
mod wall;

pub(crate) use self::demo::DemoError;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// How the next command is spelled.
    pub(crate) again: Again,
    /// Whether more is to be said.
    pub(crate) verbose: bool,
    /// The connections to where vault and tables are.
    pub(crate) stores: Stores,
    /// The vault that was named, by flag, environment or configuration.
    pub(crate) vault: Option<String>,
    /// The configuration.
    pub(crate) config: Config,
    /// The clock.
    pub(crate) clock: Clock,
    /// Where results go.
    pub(crate) output: Output,
    /// Where progress goes.
    pub(crate) progress: Arc<dyn Progress>,
    /// Fired by Ctrl-C.
    pub(crate) interrupt: Interrupt,
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

    /// Opens the vault.
    ///
    /// # Errors
    /// [`CommandError::NoVaultGiven`], and as [`OpenVault::open`].
    pub(crate) async fn open_vault(&self) -> Result<OpenVault, CommandError> {
        OpenVault::open(&self.stores, self.vault()?).await
    }
}

/// Where the time comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    /// The system's clock.
    System,
    /// Always the same time.
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
            Self::Pinned(time) => time,
        }
    }
}

/// Whether a request only shows something, so that without a reader there is nothing left to do. Everything else works or
/// judges, and its exit code counts whoever reads along.
pub(crate) fn only_shows(request: &Request) -> bool {
    match request {
        Request::Snapshots { .. }
        | Request::Show(_)
        | Request::Ls(_)
        | Request::Diff { .. }
        | Request::IamRender(_)
        | Request::Completions(_) => true,
        Request::WallCheck(_)
        | Request::Init(_)
        | Request::Snapshot(_)
        | Request::Restore(_)
        | Request::Verify(_)
        | Request::Prune(_)
        | Request::Hold { .. }
        | Request::Retire(_)
        | Request::IndexRebuild
        | Request::Demo(_) => false,
    }
}

/// Carries out one request. Dropping the future at any time is how it is interrupted.
///
/// # Errors
/// Whatever the core cannot do; what it did with something to say is an exit code.
pub(crate) async fn run(request: Request, context: &mut Context) -> Result<ExitCode, CommandError> {
    match request {
        Request::WallCheck(args) => Box::pin(wall::check(args, context)).await,
        Request::Init(request) => Box::pin(init::init(request, context)).await,
        Request::Snapshot(request) => snapshot::snapshot(request, context).await,
        Request::Snapshots { table } => look::snapshots(table, context).await,
        Request::Show(snapshot) => look::show(snapshot, context).await,
        Request::Ls(snapshot) => look::ls(snapshot, context).await,
        Request::Diff { before, after } => look::diff(before, after, context).await,
        Request::Restore(request) => Box::pin(restore::restore(request, context)).await,
        Request::Verify(request) => verify::verify(request, context).await,
        Request::Prune(request) => Box::pin(prune::prune(request, context)).await,
        Request::Hold { snapshot, on } => prune::hold(snapshot, on, context).await,
        Request::Retire(request) => prune::retire(request, context).await,
        Request::IndexRebuild => look::index_rebuild(context).await,
        Request::IamRender(request) => iam::render(*request, context).await,
        Request::Demo(place) => Box::pin(demo::demo(place, context)).await,
        Request::Completions(shell) => completions(shell, context),
    }
}

fn completions(shell: Shell, context: &mut Context) -> Result<ExitCode, CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "deltavault", &mut script);
    context.output.raw(&script)?;
    Ok(ExitCode::Done)
}

/// Says of a vault on S3 that it has no locks, whenever somebody relies on it.
pub(crate) fn remind_of_locks(open: &OpenVault, progress: &dyn Progress) {
    if open.is_on_s3() && open.vault.file().lock_mode == LockMode::None {
        progress.note("no locks: whoever may delete in the bucket can delete this vault");
    }
}

/// Asks the owner on the terminal whether to go on.
///
/// # Errors
/// [`CommandError::Unconfirmed`] when there is nobody to ask, or the answer is no.
pub(crate) fn confirm(what: &str, context: &mut Context) -> Result<(), CommandError> {
    let unconfirmed = || CommandError::Unconfirmed {
        what: what.to_owned(),
    };
    context.output.finish()?;
    // Nobody agrees to a plan that nobody can read.
    if !context.can_ask || context.output.is_lost() {
        return Err(unconfirmed());
    }
    let answer = context.output.ask(&format!("{what}? [y/N] "));
    match answer.as_deref().map(str::trim) {
        Ok("y" | "Y" | "yes") => Ok(()),
        Ok(_) | Err(_) => Err(unconfirmed()),
    }
}
