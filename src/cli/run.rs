//! Carries out requests: asks the core, and hands what it answers to the renderer. One function a command.

use std::sync::Arc;

use clap::CommandFactory as _;
use clap_complete::Shell;
use deltavault::ids::Timestamp;
use deltavault::progress::Progress;
use deltavault::store::local_path;
use deltavault::{Error, ExitCode};

use super::again::Again;
use super::args::{Args, DiffSide, SnapshotPrefix};
use super::config::Config;
use super::render::Output;
use super::request::{Request, TableName, VerifyRequest};

mod demo;
mod restore;
mod snapshot;

/// What every command works with.
#[derive(Debug)]
pub(crate) struct Context {
    /// How the next command is spelled.
    pub(crate) again: Again,
    /// Whether more is to be said.
    pub(crate) verbose: bool,
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
    /// Whether somebody can be asked: stdin and stderr are a terminal, and the output is for people.
    pub(crate) can_ask: bool,
}

impl Context {
    /// The vault's URI.
    ///
    /// # Errors
    /// [`Error::NoVaultGiven`].
    pub(crate) fn vault(&self) -> Result<&str, Error> {
        self.vault.as_deref().ok_or(Error::NoVaultGiven)
    }

    /// The URI of a vault that is there.
    ///
    /// # Errors
    /// [`Error::NoVaultGiven`], [`Error::NoVault`].
    pub(crate) fn existing_vault(&self) -> Result<&str, Error> {
        let uri = self.vault()?;
        let there = local_path(uri).is_some_and(|folder| folder.join("vault.json").is_file());
        if there {
            return Ok(uri);
        }
        Err(Error::NoVault {
            uri: uri.to_owned(),
        })
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

/// Carries out one request. Dropping the future at any time is how it is interrupted.
///
/// # Errors
/// Whatever the core cannot do; what it did with something to say is an exit code.
pub(crate) async fn run(request: Request, context: &mut Context) -> Result<ExitCode, Error> {
    match request {
        Request::Init { yes } => init(yes, context).await,
        Request::Snapshot(request) => snapshot::snapshot(request, context).await,
        Request::Snapshots { table } => snapshots(table, context).await,
        Request::Show(snapshot) => show(snapshot, context).await,
        Request::Ls(snapshot) => ls(snapshot, context).await,
        Request::Diff { before, after } => diff(before, after, context).await,
        Request::Restore(request) => restore::restore(request, context).await,
        Request::Verify(request) => verify(request, context).await,
        Request::IndexRebuild => index_rebuild(context).await,
        Request::Demo { dir } => demo::demo(dir, context).await,
        Request::Completions(shell) => completions(shell, context),
    }
}

async fn init(_yes: bool, context: &mut Context) -> Result<ExitCode, Error> {
    context.vault()?;
    Err(not_yet("init"))
}

async fn snapshots(_table: Option<TableName>, context: &mut Context) -> Result<ExitCode, Error> {
    context.existing_vault()?;
    Err(not_yet("snapshots"))
}

async fn show(_snapshot: SnapshotPrefix, context: &mut Context) -> Result<ExitCode, Error> {
    context.existing_vault()?;
    Err(not_yet("show"))
}

async fn ls(_snapshot: SnapshotPrefix, context: &mut Context) -> Result<ExitCode, Error> {
    context.existing_vault()?;
    Err(not_yet("ls"))
}

async fn diff(
    _before: SnapshotPrefix,
    _after: DiffSide,
    context: &mut Context,
) -> Result<ExitCode, Error> {
    context.existing_vault()?;
    Err(not_yet("diff"))
}

async fn verify(_request: VerifyRequest, context: &mut Context) -> Result<ExitCode, Error> {
    context.existing_vault()?;
    Err(not_yet("verify"))
}

async fn index_rebuild(context: &mut Context) -> Result<ExitCode, Error> {
    context.existing_vault()?;
    Err(not_yet("index rebuild"))
}

fn completions(shell: Shell, context: &mut Context) -> Result<ExitCode, Error> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "deltavault", &mut script);
    context.output.raw(&script)?;
    Ok(ExitCode::Done)
}

fn not_yet(what: &str) -> Error {
    Error::ComesLater {
        what: what.to_owned(),
        instead: "use a newer deltavault",
    }
}

/// Asks the owner on the terminal whether to go on.
///
/// # Errors
/// [`Error::Unconfirmed`] when there is nobody to ask, or the answer is no.
pub(crate) fn confirm(what: &str, context: &mut Context) -> Result<(), Error> {
    let unconfirmed = || Error::Unconfirmed {
        what: what.to_owned(),
    };
    context.output.finish()?;
    if !context.can_ask {
        return Err(unconfirmed());
    }
    let answer = context
        .output
        .ask(&format!("{what}? [y/N] "))
        .map_err(Error::Output)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(unconfirmed()),
    }
}
