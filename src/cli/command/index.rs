//! `index rebuild`: makes the local index from the vault.

use clap::Subcommand;
use deltavault::ExitCode;
use deltavault::format::ledger::Bodies;
use serde::Serialize;

use super::Context;
use crate::cli::cache::index_path;
use crate::cli::error::CommandError;
use crate::cli::index::Index;
use crate::cli::output::{Message, Output, counted};

/// Commands under `index`.
#[derive(Debug, Subcommand)]
pub(crate) enum IndexArgs {
    /// Rebuild the local index from the vault
    #[command(
        after_long_help = "Exit codes: 0 done, 1 failed, 2 usage, 10 no vault, 12 damage, 130 interrupted"
    )]
    Rebuild,
}

/// `index rebuild`
pub(super) async fn rebuild(context: &mut Context) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let histories = open.vault.histories(|_| Bodies::default()).await?.whole()?;
    let id = open.vault.file().id;
    let path = index_path(id).ok_or(CommandError::NoCacheFolder)?;
    let mut opened = Index::open(&path, id)?;
    if let Err(error) = opened.index.rebuild(&histories) {
        opened = opened.index.renew(error)?;
        opened.index.rebuild(&histories)?;
    }
    opened.index.put_uri(open.vault.uri())?;
    context.output.say(&IndexDone {
        path: path.display().to_string(),
        tables: histories.len() as u64,
        snapshots: histories
            .iter()
            .map(|history| history.snapshots.len() as u64)
            .sum(),
    })?;
    Ok(ExitCode::Done)
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

impl Message for IndexDone {
    const TYPE: &'static str = "index";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "{}: {}, {}",
            self.path,
            counted(self.tables, "table"),
            counted(self.snapshots, "snapshot")
        ))
    }
}
