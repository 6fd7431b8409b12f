//! `prune`, `hold`, `release` and `retire`: what is kept no longer, and what is kept in any case.

use std::sync::Arc;
use std::time::Instant;

use deltavault::format::ledger::{Bodies, LedgerFinding};
use deltavault::format::{Garbage, PlanRow, TableKey, VaultKey};
use deltavault::ids::{Id128, Timestamp};
use deltavault::store::HoldStore;
use deltavault::vault::events::Doer;
use deltavault::vault::hold::{self, Holder};
use deltavault::vault::look::find_snapshot;
use deltavault::vault::prune::{
    Action, Amount, ByReason, Patience, PruneDone, Pruner, Sums, Survey, TableKept, Why,
};
use deltavault::{Error, ExitCode};

use super::{Context, confirm};
use crate::cli::args::SnapshotPrefix;
use crate::cli::error::CommandError;
use crate::cli::request::{PruneRequest, RetireRequest};
use crate::cli::rows::{
    AmountRow, HoldRow, PruneDoneRow, PruneObject, PrunePlanned, PruneSnapshot, PruneTable,
    Reasons, RetireRow,
};
use crate::cli::who;

/// `prune`
pub(super) async fn prune(
    request: PruneRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let start = Instant::now();
    let open = context.open_vault().await?;
    // A dry run stands in nobody's way.
    let alone = if request.dry_run { None } else { open.alone()? };
    let temp = tempfile::tempdir().map_err(Error::Scratch)?;
    let pruner = Pruner {
        store: open.place.prune(open.vault.file().lock_mode),
        vault: open.vault.clone(),
        temp: temp.path().to_owned(),
        forget: request.forget,
    };
    let patience = Patience {
        grace: request.grace,
        is_alone: !open.is_on_s3(),
    };
    let now = context.clock.now();
    let all = context.verbose;
    let output = &mut context.output;
    let mut told = |kept| Ok(output.prune_table(&table_row(kept), all)?);
    let survey = pruner.survey(patience, now, &mut told).await?;
    let sums = survey.sums.clone();
    context
        .output
        .prune_planned(&planned_row(&sums, request.dry_run))?;
    let code = code(&sums, None);
    if request.dry_run {
        if context.output.is_json() || context.verbose {
            objects(survey, context)?;
        }
        return Ok(code);
    }
    if !sums.delete.is_empty() && !request.yes {
        let what = total(&sums.delete);
        let what = format!("delete {} objects for good", what.objects);
        confirm(&what, context)?;
    }
    let done = pruner.carry_out(survey, &doer(now)).await?;
    drop(alone);
    let seconds = start.elapsed().as_secs_f64();
    let code = code.max(self::code(&sums, Some(&done)));
    context.output.prune_done(&done_row(done, seconds))?;
    Ok(code)
}

/// `hold` and `release`
pub(super) async fn hold(
    prefix: SnapshotPrefix,
    on: bool,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let shared = open.share()?;
    let histories = open.vault.histories(|_| Bodies::default()).await?;
    let (history, snapshot) = find_snapshot(&histories, prefix.as_str())?;
    let temp = tempfile::tempdir().map_err(Error::Scratch)?;
    let holder = Holder {
        store: open.place.hold(open.vault.file().lock_mode),
        vault: open.vault.clone(),
        temp: temp.path().to_owned(),
    };
    let now = context.clock.now();
    let doer = doer(now);
    let unread = open.vault.unread_events(&history.table).await?;
    let done = if on {
        holder.hold(snapshot, &doer).await
    } else {
        holder.release(snapshot, &doer).await
    };
    let done = match done {
        Ok(done) => done,
        Err(error) => {
            let why = open.vault.why_unreadable(error, snapshot, history, now);
            return Err(why.await.into());
        }
    };
    drop(shared);
    context.output.hold_done(&HoldRow {
        table: history.name().to_owned(),
        snapshot: snapshot.id,
        held: on,
        was_so: done.was_so,
        objects: done.objects,
        shared: done.shared,
        sure: done.is_sure,
    })?;
    say_unread(&unread, &history.table, context);
    if done.is_sure && unread.is_empty() {
        Ok(ExitCode::Done)
    } else {
        Ok(ExitCode::Findings)
    }
}

/// `retire`
pub(super) async fn retire(
    request: RetireRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let open = context.open_vault().await?;
    let shared = open.share()?;
    let table = open.find_table(&request.table).await?;
    if !request.yes {
        let name = table.name();
        let what = format!("let prune collect even the newest snapshot of {name} once it expires");
        confirm(&what, context)?;
    }
    let store: Arc<dyn HoldStore> = open.place.hold(open.vault.file().lock_mode);
    let doer = doer(context.clock.now());
    let unread = open.vault.unread_events(&table.key).await?;
    let retired = hold::retire(&open.vault, store.as_ref(), &table.key, &doer).await?;
    drop(shared);
    say_unread(&unread, &table.key, context);
    context.output.retired(&RetireRow {
        table: table.name().to_owned(),
        was_so: !retired,
    })?;
    Ok(if unread.is_empty() {
        ExitCode::Done
    } else {
        ExitCode::Findings
    })
}

/// Says which events could not be read when the next one was written.
fn say_unread(unread: &[LedgerFinding], table: &TableKey, context: &Context) {
    for scar in unread {
        let (table, seq) = (table.clone(), scar.seq());
        let event = VaultKey::Event { table, seq };
        context.progress.note(&format!(
            "{event}: {scar}: it may have been a hold, and does not count: hold again what it held"
        ));
    }
}

fn doer(now: Timestamp) -> Doer {
    Doer {
        now,
        principal: who::principal(),
        run: Id128::from_bytes(rand::random()),
        tool: who::tool(),
    }
}

/// What is not the vault's, what can never be deleted, and what the store refused without a lock that could be seen, is
/// for the owner to know.
fn code(sums: &Sums, done: Option<&PruneDone>) -> ExitCode {
    let refused = done.map_or(0, |done| done.refused.objects);
    if !sums.findings.is_empty()
        || sums.strangers.amount.objects > 0
        || sums.nameless.objects > 0
        || refused > 0
    {
        ExitCode::Findings
    } else {
        ExitCode::Done
    }
}

fn objects(survey: Survey, context: &mut Context) -> Result<(), CommandError> {
    for row in survey.into_rows()? {
        let (action, row) = row?;
        context.output.prune_object(&object_row(action, row))?;
    }
    Ok(())
}

fn table_row(kept: TableKept) -> PruneTable {
    let snapshots: Vec<PruneSnapshot> = kept
        .decisions
        .iter()
        .map(|decision| PruneSnapshot {
            snapshot: decision.id,
            kept: decision.reason.keeps() || kept.all_kept,
            reason: decision.reason.to_string(),
        })
        .collect();
    let of_use = snapshots.iter().filter(|snapshot| snapshot.kept).count();
    PruneTable {
        table: kept.name,
        kept: of_use,
        expired: snapshots.len() - of_use,
        snapshots,
    }
}

fn object_row(action: Action, row: PlanRow) -> PruneObject {
    PruneObject {
        action: match action {
            Action::Delete => "delete",
            Action::Mark => "mark",
        },
        key: row.key.to_string(),
        version: row.version.map(|version| version.0),
        bytes: row.size,
        reason: Why::from(&row.reason).as_str(),
        snapshot: match row.reason {
            Garbage::Expired(snapshot) => Some(snapshot),
            Garbage::Orphan | Garbage::Journal | Garbage::Planted => None,
        },
        locked_until: row.locked_until,
    }
}

fn planned_row(sums: &Sums, dry_run: bool) -> PrunePlanned {
    PrunePlanned {
        tables: sums.tables,
        kept: sums.kept,
        expired: sums.expired,
        needed: amount(sums.needed),
        unfinished: amount(sums.unfinished),
        young: amount(sums.young),
        nameless: amount(sums.nameless),
        mark: reasons(&sums.mark),
        waits: reasons(&sums.waits),
        locked: reasons(&sums.locked),
        delete: reasons(&sums.delete),
        strangers: amount(sums.strangers.amount),
        strangers_named: sums.strangers.first.clone(),
        findings: sums.findings.clone(),
        dry_run,
    }
}

fn done_row(done: PruneDone, seconds: f64) -> PruneDoneRow {
    PruneDoneRow {
        deleted: reasons(&done.deleted),
        locked: amount(done.locked),
        held: amount(done.held),
        refused: amount(done.refused),
        refusal: done.refusal,
        marked: reasons(&done.marked),
        plans: done.plans,
        seconds,
    }
}

fn amount(amount: Amount) -> AmountRow {
    AmountRow {
        objects: amount.objects,
        bytes: amount.bytes,
    }
}

fn reasons(by_reason: &ByReason) -> Reasons {
    let reasons = by_reason.iter();
    reasons
        .map(|(why, part)| (why.as_str(), amount(*part)))
        .collect()
}

fn total(by_reason: &ByReason) -> Amount {
    let mut total = Amount::default();
    for part in by_reason.values() {
        total.objects += part.objects;
        total.bytes = total.bytes.saturating_add(part.bytes);
    }
    total
}
