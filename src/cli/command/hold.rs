//! `hold` and `release`: what is kept beyond its promise.

use deltavault::format::{EventRole, TableKey, VaultKey};
use deltavault::ids::SnapshotId;
use deltavault::spool::Scratch;
use deltavault::vault::events::EventChain;
use deltavault::vault::hold::Holder;
use deltavault::{Error, ExitCode};
use indicatif::HumanCount;
use serde::Serialize;

use super::Context;
use super::looked::{Found, Looked, OneSnapshotArgs};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted};
use crate::cli::who;

/// What is done about the hold on a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is put on.
    Hold,
    /// It is taken off.
    Release,
}

/// `hold` and `release`
pub(super) async fn hold(
    args: OneSnapshotArgs,
    change: Change,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let shared = open.share()?;
    let mut looked = Looked::without_cache(open);
    let found = &looked.find(&args.snapshot, None, context).await?;
    let Found { history, snapshot } = found;
    let open = &looked.open;
    let temp = Scratch::create(&std::env::temp_dir()).map_err(Error::Scratch)?;
    let holder = Holder {
        store: open.place.hold(open.vault.file().lock_mode),
        vault: open.vault.clone(),
        temp: temp.path().to_owned(),
    };
    let now = context.clock.now();
    let actor = who::actor(now, &open.place).await;
    let events = open.vault.events(&history.table, EventRole::Holder).await?;
    let done = match change {
        Change::Hold => holder.hold(snapshot, &actor).await,
        Change::Release => holder.release(snapshot, &actor).await,
    };
    let done = match done {
        Ok(done) => done,
        Err(error) => return Err(looked.unreadable(error, found, context).await),
    };
    drop(shared);
    context.output.say(&HoldRow {
        table: history.name().to_owned(),
        snapshot: snapshot.id,
        held: change == Change::Hold,
        already: done.already,
        objects: done.objects,
        shared: done.shared,
        sure: done.is_sure,
    })?;
    let is_unread = say_unread(&events, &history.table, context);
    Ok(ExitCode::findings_if(!done.is_sure || is_unread))
}

/// Says which of one role's events could not be read before the next one was written; whether there was any.
pub(super) fn say_unread(events: &EventChain, table: &TableKey, context: &Context) -> bool {
    let was = match events.role {
        EventRole::Holder => "a hold, and does not count: hold again what it held",
        EventRole::Pruner => "a retirement, and does not count",
        EventRole::Restorer => "a restore",
    };
    let mut is_unread = false;
    for finding in events.out_of_sight() {
        let (table, role, seq) = (table.clone(), events.role, finding.seq());
        let event = VaultKey::Event { table, role, seq };
        let what = format!("{event}: {finding}: it may have been {was}");
        context.progress.note(&what);
        is_unread = true;
    }
    is_unread
}

/// What a hold or a release did.
#[derive(Debug, Clone, Serialize)]
struct HoldRow {
    table: String,
    snapshot: SnapshotId,
    /// Whether it is held now.
    held: bool,
    /// Whether that was so before.
    already: bool,
    /// Object versions with a legal hold put on or taken off; none in a vault without locks.
    objects: Option<u64>,
    /// Object versions that stay held for another snapshot.
    shared: u64,
    /// Whether no prune can have been deleting what is held.
    sure: bool,
}

impl Message for HoldRow {
    const TYPE: &'static str = "hold";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let id = self.snapshot.short();
        let state = match (self.held, self.already) {
            (true, false) => "is held now, until it is released",
            (true, true) => "was held before",
            (false, false) => "is released; its promise and its locks stay",
            (false, true) => "was not held",
        };
        out.print(format_args!("snapshot {id} of {} {state}", self.table))?;
        if !self.sure {
            out.print(format_args!(
                "nothing else kept it, and a prune may have been deleting it: run the same command again in a quarter of \
                 an hour, which tells whether all of it is there"
            ))?;
        }
        match (self.objects, self.held) {
            (None, true) => out.print(format_args!(
                "this vault has no locks: the hold is an event that prune obeys, and nothing else enforces it"
            )),
            (Some(objects), true) => out.print(format_args!(
                "a legal hold is on {}",
                counted(objects, "object")
            )),
            (Some(objects), false) if !self.already => out.print(format_args!(
                "the legal hold is off {}; {} stay held for another snapshot",
                counted(objects, "object"),
                HumanCount(self.shared)
            )),
            (_, false) => Ok(()),
        }
    }
}
