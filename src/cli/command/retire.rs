//! `retire`: gives a table up.

use std::sync::Arc;

use clap::Args;
use deltavault::ExitCode;
use deltavault::format::EventRole;
use deltavault::store::HoldStore;
use deltavault::vault::hold;
use serde::Serialize;

use super::hold::say_unread;
use super::{Context, confirm};
use crate::cli::complete;
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output};
use crate::cli::who;

/// Flags of `retire`.
#[derive(Debug, Args)]
pub(crate) struct RetireArgs {
    /// Table: a name from the configuration or the vault, a path or a URI
    #[arg(value_name = "TABLE", add = complete::tables())]
    pub(crate) table: String,
    /// Do it without being asked [ask]
    #[arg(long)]
    pub(crate) yes: bool,
}

/// `retire`
pub(super) async fn retire(
    args: RetireArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let shared = open.share()?;
    let name = context.table(&args.table)?;
    let table = open.find_table(&name, context.progress.as_ref()).await?;
    if !args.yes {
        let name = table.name();
        let what = format!("let prune collect even the newest snapshot of {name} once it expires");
        confirm(&what, context)?;
    }
    let store: Arc<dyn HoldStore> = open.place.hold(open.vault.file().lock_mode);
    let actor = who::actor(context.clock.now(), &open.place).await;
    let events = open.vault.events(&table.key, EventRole::Pruner).await?;
    let retired = hold::retire(&open.vault, store.as_ref(), &table.key, &actor).await?;
    drop(shared);
    let is_unread = say_unread(&events, &table.key, context);
    context.output.say(&RetireRow {
        table: table.name().to_owned(),
        already: !retired,
    })?;
    Ok(ExitCode::findings_if(is_unread))
}

/// A table was retired.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RetireRow {
    pub(crate) table: String,
    /// Whether it was retired before.
    pub(crate) already: bool,
}

impl Message for RetireRow {
    const TYPE: &'static str = "retired";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        if self.already {
            return out.print(format_args!("{} was retired before", self.table));
        }
        out.print(format_args!(
            "{} is retired: prune keeps its snapshots as long as their promises last, and no longer; \
             the next snapshot takes that back",
            self.table
        ))
    }
}
