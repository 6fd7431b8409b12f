//! `restore`: chooses a snapshot, plans, tells what was found, and acts only where nothing is left to choose.
//!
//! Planning makes nothing, not even the folder of a dropped table; that happens after the plan was accepted.

use std::time::Instant;

use deltavault::error::RestoreError;
use deltavault::format::ledger::Bodies;
use deltavault::plan::choose::{History, Wanted};
use deltavault::plan::restore::Situation;
use deltavault::reader::Verdict;
use deltavault::vault::restore::{self, Checked, CopyPlace, RestorePlan};
use deltavault::{Error, ExitCode};

pub(super) use self::args::How;
use self::args::{Asked, RestoreArgs, Which};
pub(super) use self::choose::{Chosen, choose};
use self::choose::{
    another_that_holds, holds_no_table, newest_without_doubt, no_plan, of_another_table,
    passed_over, tells_more,
};
use self::ledger::{refuse_if_not_newest, take_in_unlinked, warn_of_ledger, warn_of_unnamed};
use self::messages::{RestoreDone, RestorePlanned, Restoring, VersionTime};
use self::told::{Case, Way};
pub(super) use self::work::{Extent, Work};
use super::{Context, confirm};
use crate::cli::error::CommandError;

pub(super) mod args;
mod choose;
mod ledger;
mod messages;
mod told;
mod work;

/// Puts a table back, or says what that would be.
#[expect(
    clippy::too_many_lines,
    reason = "what is found, planned, asked, done and said, in this order"
)]
pub(super) async fn restore(
    args: RestoreArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let request = args.read(&context.config, &context.folder, &context.here())?;
    let open = context.open_vault().await?;
    let table = match open.find_table(&request.table).await {
        Err(error) if holds_no_table(&error) && open.vault.has_manifests().await => {
            let name = request.table.text.clone();
            return Err(CommandError::RecordsGone { name });
        }
        found => found?,
    };
    let mut history = open.vault.history(&table.key, Bodies::default()).await?;
    let name = name_again(&request, table.name());
    let wanted = wanted(&request.which);
    warn_of_ledger(&history, &name, context);
    let proof = take_in_unlinked(&open.vault, &mut history, &wanted, &name, context).await?;
    let histories = std::slice::from_mut(&mut history);
    open.vault
        .mark_pruned(histories, context.clock.now())
        .await?;
    let mut chosen = match choose(&open.vault, &history, &wanted).await {
        Ok(chosen) => chosen,
        Err(error) => return Err(of_another_table(error, table.name(), &open).await),
    };
    refuse_if_not_newest(&history, &chosen, &wanted, &request.how, &name, context)?;
    if matches!(wanted, Wanted::Latest | Wanted::At(_)) {
        warn_of_unnamed(&open.vault, &history, &name, context).await;
    }
    let mut work = Work::ready(&open, &chosen, &request, context).await?;
    let mut passed_over = passed_over(&history, &chosen);
    let mut plan = match work.plan().await {
        Ok(plan) => plan,
        Err(error) => {
            let instead = another_that_holds(&error, &chosen, &history, &wanted, &open).await;
            let error = no_plan(error, &chosen, &history, &open, &name, context).await;
            let Some(instead) = instead else {
                return Err(error);
            };
            let other = Work::ready(&open, &instead, &request, context).await?;
            let Ok(plan) = other.plan().await else {
                return Err(error);
            };
            let why = "its manifest is lost or damaged".to_owned();
            passed_over = Some((chosen.id, chosen.record.version, why));
            (chosen, work) = (instead, other);
            plan
        }
    };
    if request.which == Which::Unsaid
        && let Some(doubt) = &chosen.record.doubt
        && let Some(trusted) = newest_without_doubt(&history, &chosen)
    {
        let wanted = Wanted::Snapshot(trusted.id.to_string());
        let trusted = choose(&open.vault, &history, &wanted).await?;
        let other = Work::ready(&open, &trusted, &request, context).await?;
        if let Ok(other_plan) = other.plan().await
            && tells_more(&other_plan, &plan)
        {
            passed_over = Some((chosen.id, chosen.record.version, doubt.clone()));
            (chosen, work, plan) = (trusted, other, other_plan);
        }
    }
    let mut found = work.found(&plan, &request.which).await?;
    found = found.with_vault(&history, &chosen.record.table.delta_id);
    found.passed_over = passed_over;
    if found.situation == Situation::NoLog && found.kept.files > 0 {
        plan.vanishing = work.vanishing().await?;
        found.vanishing = plan.vanishing;
    }
    let again = context.again.clone();
    let case = Case {
        name,
        record: &chosen.record,
        id: chosen.id,
        version: chosen.version,
        committed: chosen.committed,
        between: chosen.between,
        target: work.target.uri(),
        which: &request.which,
        how: &request.how,
        outside: request.args.outside,
        log: request.log,
        accept_damaged: request.args.accept_damaged,
        found: &found,
        again: &again,
        now: context.clock.now(),
        s3a: request.s3a,
        proof,
    };
    let way = case.way();
    let may_act =
        way == Way::Ready && !request.args.dry_run && (request.args.yes || context.can_ask);
    context.output.say(&RestorePlanned {
        table: chosen.record.table.name.clone(),
        situation: told::situation_word(&found.situation).to_owned(),
        snapshot: Some(chosen.id),
        version: Some(chosen.version),
        files: found.to_put.files,
        bytes: found.to_put.bytes,
        live_version: case.live_version(),
        cause: found.cause().map(|version| version.version),
        loses: case.loses(),
        versions: case.versions(),
        other_tables: found.others.clone(),
        streams: case.streams(),
        stream_count: case.stream_count(),
        holds_older_versions: case.holds_older_versions(),
        restoring: found.at_work.as_ref().map(|at_work| Restoring {
            by: at_work.by.clone(),
            snapshot: at_work.snapshot,
            since: at_work.since,
            silent_seconds: at_work.silent_for.as_secs().unsigned_abs(),
        }),
        lines: case.lines(may_act),
        choices: if may_act { Vec::new() } else { case.choices() },
    })?;
    match way {
        Way::Nothing if found.situation == Situation::EmptyTarget => {
            return Box::pin(filled(&work, plan, &case, &request, context)).await;
        }
        Way::Nothing => {
            if context.output.is_json() && request.which != Which::Unsaid {
                let kept = restore::RestoreDone {
                    files_kept: found.kept.files,
                    ..restore::RestoreDone::default()
                };
                let row = done_row(&case, &kept, 0.0, None);
                context.output.say(&row)?;
            }
            return Ok(case.code());
        }
        Way::Choose(what) => return owner_must_choose(what, &case, context),
        Way::Ready if request.args.dry_run => return Ok(ExitCode::Done),
        Way::Ready => {}
    }
    if !request.args.yes {
        confirm(&case.question(), context)?;
    }
    let start = Instant::now();
    let expected = plan.expected.clone();
    let done = work.carry_out(plan, context.clock.now()).await;
    let done = done.map_err(|error| with_command(error, &case))?;
    let seconds = start.elapsed().as_secs_f64();
    let checked = work.check(&expected.after(&done)).await?;
    let after = work.found_after(&found).await?;
    let after = after.map(|found| found.with_vault(&history, &chosen.record.table.delta_id));
    let case = Case {
        found: after.as_ref().unwrap_or(&found),
        ..case
    };
    if context.output.is_verbose() || context.output.is_json() {
        for row in version_times(&history, &chosen) {
            context.output.say(&row)?;
        }
    }
    let code = case.code().max(told::checked::code(&checked, &done));
    let row = done_row(&case, &done, seconds, Some(&checked));
    context.output.say(&row)?;
    Ok(code)
}

/// Looks at a copy that was whole before, as the run would have that put it; takes away the claim that one left behind
/// when it was killed.
async fn filled(
    work: &Work,
    plan: RestorePlan,
    case: &Case<'_>,
    request: &Asked,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let start = Instant::now();
    let expected = plan.expected.clone();
    let kept = restore::RestoreDone {
        files_kept: case.found.kept.files,
        ..restore::RestoreDone::default()
    };
    if plan.copy_place == Some(CopyPlace::Begun) && request.args.yes && !request.args.dry_run {
        work.carry_out(plan, context.clock.now()).await?;
    }
    let checked = work.check(&expected).await?;
    let code = case.code().max(told::checked::code(&checked, &kept));
    let seconds = start.elapsed().as_secs_f64();
    let row = done_row(case, &kept, seconds, Some(&checked));
    context.output.say(&row)?;
    Ok(code)
}

fn wanted(which: &Which) -> Wanted {
    match which {
        Which::Unsaid | Which::Latest => Wanted::Latest,
        Which::Snapshot(prefix) => Wanted::Snapshot(prefix.as_str().to_owned()),
        Which::Version(version) => Wanted::Version(*version),
        Which::VersionOf(prefix, version) => {
            Wanted::VersionOf(prefix.as_str().to_owned(), *version)
        }
        Which::At(when) => Wanted::At(when.into()),
    }
}

/// How the table is named in the next command: as it was, or by its path where that was a path.
fn name_again(request: &Asked, known: &str) -> String {
    let typed = &request.table;
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

fn done_row(
    case: &Case<'_>,
    done: &restore::RestoreDone,
    seconds: f64,
    checked: Option<&Checked>,
) -> RestoreDone {
    let (opens_with_files, refused_because) = match checked.map(|checked| &checked.verdict) {
        Some(Verdict::Opens { files, .. }) => (*files, None),
        Some(Verdict::Refuses { reason, .. }) => (None, Some(reason.clone())),
        None => (None, None),
    };
    RestoreDone {
        table: case.record.table.name.clone(),
        snapshot: case.id,
        version: case.version,
        mode: mode_word(&case.found.situation).to_owned(),
        files_written: done.files_written,
        bytes_written: done.bytes_written,
        files_kept: done.files_kept,
        files_rescued: done.files_rescued,
        lost: done.lost.iter().map(ToString::to_string).collect(),
        vanished: checked.map_or(0, |checked| checked.vanished.count),
        notes: checked.map_or_else(Vec::new, |checked| case.notes(checked, done)),
        opens_with_files,
        refused_because,
        seconds,
        statements: case.statements(),
    }
}

fn mode_word(situation: &Situation) -> &'static str {
    match situation {
        Situation::EmptyTarget => "to",
        Situation::NoLog => "dropped",
        Situation::NothingAbove
        | Situation::NewerLive { .. }
        | Situation::AnotherTable { .. }
        | Situation::CommitsDiffer { .. } => "heal",
    }
}

/// When the versions up to the restored one were committed: what readers can no longer tell from the files.
fn version_times(history: &History, chosen: &Chosen) -> Vec<VersionTime> {
    let of_this_table = history.snapshots.iter().filter(|it| {
        !it.is_distrusted
            && it.record.table.delta_id == chosen.record.table.delta_id
            && it.record.version <= chosen.version
    });
    let mut rows: Vec<VersionTime> = of_this_table
        .map(|it| VersionTime {
            table: it.record.table.name.clone(),
            version: it.record.version,
            commit_time: it.record.commit_time,
            snapshot: it.id,
        })
        .collect();
    rows.sort_by_key(|row| row.version);
    rows.dedup_by_key(|row| row.version);
    rows
}
