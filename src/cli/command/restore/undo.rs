//! `undo`: takes the last rewind or replacement of a table back.

use clap::Args;
use deltavault::ExitCode;
use deltavault::format::ledger::Bodies;
use deltavault::plan::restore::deed::Deed;
use deltavault::vault::look::TableRef;

use super::super::Context;
use super::args::{Asked, How, RestoreArgs, Which};
use super::turn::TurnError;
use super::{act, find};
use crate::cli::args::SnapshotPrefix;
use crate::cli::complete;
use crate::cli::error::CommandError;
use crate::cli::stores::OpenVault;

/// Flags of `undo`.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct UndoArgs {
    /// Table: a name from the configuration or the vault, a path or a URI
    #[arg(value_name = "TABLE", add = complete::tables())]
    pub(crate) table: String,
    /// Take the table over from another restore that is at work; that one stops within a minute [refuse]
    #[arg(long)]
    pub(crate) take_over: bool,
    /// Print the plan and change nothing [act on it]
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Act on the plan without being asked [ask]
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `undo`
pub(in crate::cli::command) async fn undo(
    args: UndoArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let name = context.table(&args.table)?;
    let open = context.open_vault().await?;
    let table = find(&name, &open, context.progress.as_ref()).await?;
    let deed = last_deed(&table, &open).await?;
    let Some(safety) = deed.turned.safety else {
        let table = table.name().to_owned();
        return Err(TurnError::NothingHeld { table }.into());
    };
    let args = RestoreArgs {
        tables: vec![args.table],
        take_over: args.take_over,
        dry_run: args.dry_run,
        yes: args.yes,
        ..RestoreArgs::default()
    };
    let here = context.here();
    let asked = Asked {
        which: Which::Snapshot(SnapshotPrefix::of(safety)),
        how: How::Undo(deed.clone()),
        ..args.read(name, &context.folder, &here)?
    };
    Box::pin(act(asked, &table, &open, context)).await
}

/// The rewind or the replacement that is to be taken back.
async fn last_deed(table: &TableRef, open: &OpenVault) -> Result<Deed, CommandError> {
    let nothing = |why: String| TurnError::NothingToUndo {
        table: table.name().to_owned(),
        why,
    };
    let history = open.vault.history(&table.key, Bodies::default()).await?;
    match open.vault.deeds(&history).await?.last {
        None => Err(nothing(String::new()).into()),
        Some(deed) if deed.kind.is_undo() && deed.is_done => {
            let at = deed.at.strftime("%Y-%m-%d %H:%M:%SZ");
            let why = format!(": the last one was taken back at {at}");
            Err(nothing(why).into())
        }
        Some(deed) => Ok(deed),
    }
}
