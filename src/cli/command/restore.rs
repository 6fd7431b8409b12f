//! `restore`: chooses a snapshot, plans, tells what was found, and acts only where nothing is left to choose.
//!
//! Planning makes nothing, not even the folder of a dropped table; that happens after the plan was accepted.

use std::time::Instant;

use deltavault::error::RestoreError;
use deltavault::format::ledger::Bodies;
use deltavault::ids::Timestamp;
use deltavault::plan::choose::{History, Wanted};
use deltavault::plan::restore::Situation;
use deltavault::plan::restore::deed::Deed;
use deltavault::progress::Progress;
use deltavault::vault::look::TableRef;
use deltavault::vault::restore::{self, CopyPlace, Deeds, RestorePlan, TurnBack};
use deltavault::{Error, ExitCode};

pub(super) use self::args::How;
use self::args::{Asked, RestoreArgs, Which};
pub(super) use self::choose::{Chosen, choose};
use self::choose::{
    another_that_holds, holds_no_table, newest_without_doubt, no_plan, of_another_table,
    passed_over, tells_more, why_passed_over, without_turned_away,
};
pub(crate) use self::commit::CommitError;
use self::done::{done_row, turned_word, version_times};
use self::ledger::{refuse_if_not_newest, take_in_unlinked, warn_of_ledger, warn_of_unnamed};
use self::told::{Case, Found, Proof, Unfinished, Way};
pub(crate) use self::turn::TurnError;
pub(super) use self::work::{Extent, Work};
use super::{Context, confirm};
use crate::cli::again::Again;
use crate::cli::error::CommandError;
use crate::cli::stores::OpenVault;
use crate::cli::table_name::{TableName, pattern};

pub(super) mod args;
mod choose;
mod commit;
mod done;
mod ledger;
mod many;
mod messages;
mod told;
mod turn;
pub(super) mod undo;
mod work;

/// Puts tables back, or says what that would be.
pub(super) async fn restore(
    args: RestoreArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let ([table], false) = (args.tables.as_slice(), args.all) else {
        return Box::pin(many::restore(&args, context)).await;
    };
    if pattern(table, &context.config)?.is_some() {
        return Box::pin(many::restore(&args, context)).await;
    }
    let table = context.table(table)?;
    let asked = args.read(table, &context.folder, &context.here())?;
    let open = context.open_vault().await?;
    let table = find(&asked.table, &open, context.progress.as_ref()).await?;
    Box::pin(act(asked, &table, &open, context)).await
}

/// Plans the restore of one table, asks where that is due, and carries it out.
async fn act(
    asked: Asked<'_>,
    table: &TableRef,
    open: &OpenVault,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let args = asked.args;
    match Box::pin(begin(asked, table, open, context)).await? {
        Begun::Ended(code, _) => Ok(code),
        Begun::Ready(..) if args.dry_run => Ok(ExitCode::Done),
        Begun::Ready(planned, plan) => {
            if !args.yes && !planned.only_prints() {
                confirm(&planned.case().question(), context)?;
            }
            let (code, _) = planned.carry_out(plan, context).await?;
            planned.commit(code, context).await
        }
    }
}

/// Finds a table in the vault.
async fn find(
    name: &TableName,
    open: &OpenVault,
    progress: &dyn Progress,
) -> Result<TableRef, CommandError> {
    match open.find_table(name, progress).await {
        Err(error) if holds_no_table(&error) && open.vault.has_manifests().await => {
            let name = name.text.clone();
            Err(CommandError::RecordsGone { name })
        }
        found => found,
    }
}

/// A restore of one table whose plan was printed.
enum Begun<'a> {
    /// There is nothing to carry out: how it ended, and what was put.
    Ended(ExitCode, restore::RestoreDone),
    /// It can be carried out.
    Ready(Box<Planned<'a>>, Box<RestorePlan>),
}

/// Plans the restore of one table and prints the plan.
async fn begin<'a>(
    asked: Asked<'a>,
    table: &TableRef,
    open: &OpenVault,
    context: &mut Context,
) -> Result<Begun<'a>, CommandError> {
    let (planned, plan) = Box::pin(plan(asked, table, open, context)).await?;
    let case = planned.case();
    let args = planned.asked.args;
    let way = case.way();
    let may_act = way == Way::Ready && !args.dry_run && (args.yes || context.can_ask);
    context.output.say(&case.message(may_act))?;
    let nothing_put = restore::RestoreDone {
        files_kept: planned.found.kept.files,
        not_whole: plan.not_whole.clone(),
        ..restore::RestoreDone::default()
    };
    match way {
        // What was begun is finished, although nothing is left to put.
        Way::Nothing if planned.turn.is_some() => {
            Ok(Begun::Ready(Box::new(planned), Box::new(plan)))
        }
        Way::Nothing if planned.commits() => Ok(Begun::Ready(Box::new(planned), Box::new(plan))),
        Way::Nothing if planned.found.situation == Situation::EmptyTarget => {
            Box::pin(filled(&planned, plan, &nothing_put, context)).await
        }
        Way::Nothing => {
            let is_wanted = planned.asked.which != Which::Unsaid && !args.dry_run;
            if context.output.is_json() && is_wanted {
                let row = done_row(&case, &nothing_put, 0.0, None);
                context.output.say(&row)?;
            }
            let code = match nothing_put.not_whole {
                Some(_) => ExitCode::Damage,
                None => case.code(),
            };
            Ok(Begun::Ended(code, nothing_put))
        }
        Way::Choose(what) => {
            let code = owner_must_choose(what, &case, context)?;
            Ok(Begun::Ended(code, restore::RestoreDone::default()))
        }
        Way::Ready => Ok(Begun::Ready(Box::new(planned), Box::new(plan))),
    }
}

/// The restore of one table as it was planned.
struct Planned<'a> {
    asked: Asked<'a>,
    /// How the table is named in the next command.
    name: String,
    history: History,
    chosen: Chosen,
    work: Work,
    found: Found,
    proof: Proof,
    /// What turns the live table back, where that is asked for.
    turn: Option<TurnBack>,
    again: Again,
    now: Timestamp,
}

/// Chooses a snapshot of the table and plans its restore.
async fn plan<'a>(
    asked: Asked<'a>,
    table: &TableRef,
    open: &OpenVault,
    context: &Context,
) -> Result<(Planned<'a>, RestorePlan), CommandError> {
    let mut history = open.vault.history(&table.key, Bodies::default()).await?;
    let name = name_again(&asked, table.name());
    let wanted = wanted(&asked.which);
    warn_of_ledger(&history, &name, context);
    let proof = take_in_unlinked(&open.vault, &mut history, &wanted, &name, context).await?;
    let histories = std::slice::from_mut(&mut history);
    let now = context.clock.now();
    open.vault.mark_pruned(histories, now).await?;
    let deeds = deeds(&history, &asked.how, open, context).await?;
    let seen = without_turned_away(&history, &wanted, &asked.how, &deeds);
    let mut chosen = match choose(&open.vault, &seen, &wanted).await {
        Ok(chosen) => chosen,
        Err(error) => return Err(of_another_table(error, table.name(), open).await),
    };
    refuse_if_not_newest(&history, &chosen, &wanted, &asked.how, &name, context)?;
    if matches!(wanted, Wanted::Latest | Wanted::AsOf(_)) {
        warn_of_unnamed(&open.vault, &history, &name, context).await;
    }
    let mut work = Work::ready(open, &chosen, &asked, context).await?;
    let mut passed_over = passed_over(&history, &chosen);
    let mut plan = match work.plan().await {
        Ok(plan) => plan,
        Err(error) => {
            let instead = another_that_holds(&error, &chosen, &history, &wanted, open).await;
            let why = why_passed_over(&error);
            let error = no_plan(error, &chosen, &history, open, &name, context).await;
            let Some(instead) = instead else {
                return Err(error);
            };
            let other = Work::ready(open, &instead, &asked, context).await?;
            let Ok(plan) = other.plan().await else {
                return Err(error);
            };
            passed_over = Some((chosen.id, chosen.record.version, why));
            (chosen, work) = (instead, other);
            plan
        }
    };
    if asked.which == Which::Unsaid
        && let Some(doubt) = &chosen.record.doubt
        && let Some(trusted) = newest_without_doubt(&seen, &chosen)
    {
        let wanted = Wanted::Snapshot(trusted.id.to_string());
        let trusted = choose(&open.vault, &history, &wanted).await?;
        let other = Work::ready(open, &trusted, &asked, context).await?;
        if let Ok(other_plan) = other.plan().await
            && tells_more(&other_plan, &plan)
        {
            passed_over = Some((chosen.id, chosen.record.version, doubt.clone()));
            (chosen, work, plan) = (trusted, other, other_plan);
        }
    }
    let mut under_way = deeds
        .last
        .filter(|deed| !deed.is_done && !is_copy(&asked.how));
    if let Some(deed) = &under_way
        && !work.restorer.is_under_way(&history, deed).await?
    {
        under_way = None;
    }
    if let How::Undo(deed) = &asked.how {
        let found = (&history, &work, &plan);
        refuse_if_committed_since(deed, &name, found, context).await?;
    }
    let state = (&plan, under_way.as_ref());
    let turn = Box::pin(turn::turn(
        &asked, &table.key, &chosen, state, open, context,
    ))
    .await?;
    let mut found = work.found(&plan, &asked.which).await?;
    found = found.with_vault(&history, &chosen.record.table.delta_id);
    found.under_way = under_way.map(|deed| {
        let event = deed.event(&table.key);
        Unfinished { deed, event }
    });
    found.passed_over = passed_over;
    if found.situation == Situation::NoLog && found.kept.files > 0 {
        plan.vanishing = work.vanishing().await?;
        found.vanishing = plan.vanishing;
    }
    let again = context.again.clone();
    let planned = Planned {
        asked,
        name,
        history,
        chosen,
        work,
        found,
        proof,
        turn,
        again,
        now,
    };
    Ok((planned, plan))
}

impl Planned<'_> {
    /// Words the plan.
    fn case(&self) -> Case<'_> {
        let Self { asked, chosen, .. } = self;
        Case {
            name: self.name.clone(),
            record: &chosen.record,
            id: chosen.id,
            version: chosen.version,
            committed: chosen.committed,
            between: chosen.between,
            target: self.work.target.uri(),
            which: &asked.which,
            how: &asked.how,
            outside: &asked.outside,
            log: asked.log,
            accept_damaged: asked.args.accept_damaged,
            as_commit: asked.args.as_commit,
            exec: asked.args.exec.as_deref(),
            found: &self.found,
            again: &self.again,
            now: self.now,
            s3a: asked.s3a,
            proof: self.proof,
        }
    }

    /// Carries it out, and says what was done and what an independent reader makes of it.
    async fn carry_out(
        &self,
        plan: Box<RestorePlan>,
        context: &mut Context,
    ) -> Result<(ExitCode, restore::RestoreDone), CommandError> {
        let (work, case) = (&self.work, self.case());
        let start = Instant::now();
        if let Some(turn) = &self.turn {
            return Box::pin(self.turn_back(*plan, turn, context)).await;
        }
        let expected = plan.expected.clone();
        let done = work.carry_out(*plan, context.clock.now()).await;
        let done = done.map_err(|error| with_command(error, &case))?;
        let seconds = start.elapsed().as_secs_f64();
        let checked = work.check(&expected.after(&done)).await?;
        let after = work.found_after(&self.found).await?;
        let delta_id = &self.chosen.record.table.delta_id;
        let after = after.map(|found| found.with_vault(&self.history, delta_id));
        let case = Case {
            found: after.as_ref().unwrap_or(&self.found),
            ..case
        };
        if context.output.is_verbose() || context.output.is_json() {
            for row in version_times(&self.history, &self.chosen) {
                context.output.say(&row)?;
            }
        }
        let code = case.code().max(told::checked::code(&checked, &done));
        let row = done_row(&case, &done, seconds, Some(&checked));
        context.output.say(&row)?;
        Ok((code, done))
    }

    /// Turns the live table back, and says what was done and how it is taken back.
    async fn turn_back(
        &self,
        plan: RestorePlan,
        turn: &TurnBack,
        context: &mut Context,
    ) -> Result<(ExitCode, restore::RestoreDone), CommandError> {
        let (work, case) = (&self.work, self.case());
        let start = Instant::now();
        let turned = work.turn_back(plan, turn, context.clock.now()).await;
        let turned = turned.map_err(|error| {
            if error.is_interrupted() {
                context.progress.note(&case.told_interrupted());
            }
            with_command(error, &case)
        })?;
        let seconds = start.elapsed().as_secs_f64();
        let after = self.found.turned_back();
        let case = Case {
            found: &after,
            ..case
        };
        if self.found.new_times > 0 || context.output.is_verbose() || context.output.is_json() {
            for row in version_times(&self.history, &self.chosen) {
                context.output.say(&row)?;
            }
        }
        let checked = told::checked::code(&turned.checked, &turned.done);
        let has_no_undo = turned.safety.is_none() && turned.set_aside > 0;
        let code = checked.max(ExitCode::findings_if(
            turned.on_top.is_some() || has_no_undo,
        ));
        let mut row = done_row(&case, &turned.done, seconds, Some(&turned.checked));
        turned_word(&self.asked.how).clone_into(&mut row.mode);
        row.safety = turned.safety.map(|(id, _)| id);
        row.safety_kept_until = turned.safety.map(|(_, until)| until);
        row.removed = turned.removed;
        row.set_aside = turned.set_aside;
        row.notes.extend(case.told_turned(&turned));
        context.output.say(&row)?;
        Ok((code, turned.done))
    }
}

/// What was done to the live table. Only what turns it back has to know; any other restore goes on without.
async fn deeds(
    history: &History,
    how: &How,
    open: &OpenVault,
    context: &Context,
) -> Result<Deeds, CommandError> {
    let has_to_know = matches!(how, How::Rewind | How::Replace | How::Undo(_));
    match open.vault.deeds(history).await {
        Err(error) if !has_to_know && (matches!(error, Error::Ledger(_)) || error.is_damage()) => {
            let what = "whether a rewind is unfinished cannot be told";
            context.progress.note(&format!("{error}: {what}"));
            Ok(Deeds::default())
        }
        deeds => Ok(deeds?),
    }
}

fn is_copy(how: &How) -> bool {
    matches!(how, How::To(_))
}

/// Refuses to undo a replacement where somebody has committed to what was put there.
async fn refuse_if_committed_since(
    deed: &Deed,
    name: &str,
    (history, work, plan): (&History, &Work, &RestorePlan),
    context: &Context,
) -> Result<(), CommandError> {
    let Some(put) = history.find(deed.turned.snapshot)? else {
        return Ok(());
    };
    let files = work.restorer.not_held(&put.record, plan).await?;
    if files.is_empty() {
        return Ok(());
    }
    let id = work.request.id.short();
    Err(TurnError::CommittedSince {
        table: put.record.table.name.clone(),
        snapshot: put.id,
        files,
        replace: context
            .again
            .command(&["restore", name, "--snapshot", &id, "--replace"]),
    }
    .into())
}

/// Looks at a copy that was whole before, as the run would have that put it; takes away the claim that one left behind
/// when it was killed.
async fn filled<'a>(
    planned: &Planned<'a>,
    plan: RestorePlan,
    kept: &restore::RestoreDone,
    context: &mut Context,
) -> Result<Begun<'a>, CommandError> {
    let (work, case, args) = (&planned.work, planned.case(), planned.asked.args);
    let start = Instant::now();
    let expected = plan.expected.clone();
    if plan.copy_place == Some(CopyPlace::Begun) && args.yes && !args.dry_run {
        work.carry_out(plan, context.clock.now()).await?;
    }
    let checked = work.check(&expected).await?;
    let code = case.code().max(told::checked::code(&checked, kept));
    let seconds = start.elapsed().as_secs_f64();
    if !args.dry_run {
        let row = done_row(&case, kept, seconds, Some(&checked));
        context.output.say(&row)?;
    }
    Ok(Begun::Ended(code, kept.clone()))
}

fn wanted(which: &Which) -> Wanted {
    match which {
        Which::Unsaid | Which::Latest => Wanted::Latest,
        Which::Snapshot(prefix) => Wanted::Snapshot(prefix.as_str().to_owned()),
        Which::Version(version) => Wanted::Version(*version),
        Which::VersionOf(prefix, version) => {
            Wanted::VersionOf(prefix.as_str().to_owned(), *version)
        }
        Which::At(when) => Wanted::AsOf(when.into()),
    }
}

/// How the table is named in the next command: as it was, or by its path where that was a path.
fn name_again(asked: &Asked<'_>, known: &str) -> String {
    let typed = &asked.table;
    if typed.configured.is_some() || typed.text == known {
        return typed.text.clone();
    }
    typed
        .uri
        .strip_prefix("file://")
        .filter(|_| typed.text.contains('/'))
        .map_or_else(|| typed.text.clone(), str::to_owned)
}

/// With `--json` every failure ends in a line of its own; people have read the plan and its choices.
fn owner_must_choose(
    what: String,
    case: &Case<'_>,
    context: &Context,
) -> Result<ExitCode, CommandError> {
    if context.output.is_json() {
        let choices = case.choices().into_iter();
        return Err(Error::OwnerMustChoose {
            what,
            choices: choices
                .map(|choice| choice.command.replace('\n', " "))
                .collect(),
        }
        .into());
    }
    Ok(ExitCode::OwnerMustChoose)
}

/// Says which command goes on past what the vault has lost.
fn with_command(mut error: CommandError, case: &Case<'_>) -> CommandError {
    if let CommandError::Library(error) = &mut error
        && let Error::Restore(RestoreError::FilesLost { command, .. }) = &mut **error
    {
        *command = Some(case.as_asked(&["--accept-damaged"]));
    }
    error
}

#[cfg(test)]
mod tests;
