//! `restore`: chooses a snapshot, plans, tells what was found, and acts only where nothing is left to choose.
//!
//! Planning makes nothing, not even the folder of a dropped table; that happens after the plan was accepted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltavault::error::RestoreError;
use deltavault::format::Record;
use deltavault::format::ledger::{Bodies, PrefixError};
use deltavault::format::{TableKey, TableUri};
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::choose::{Between, ChooseError, History, Snapshot, Wanted};
use deltavault::plan::restore::{Mode, Situation};
use deltavault::plan::streams::{self, Txns};
use deltavault::progress::Progress;
use deltavault::reader::Verdict;
use deltavault::vault::Vault;
use deltavault::vault::look::find_snapshot;
use deltavault::vault::restore::{
    self, Checked, CopyPlace, Expected, LogWanted, RestorePlan, Restorer,
};
use deltavault::vault::snapshot::Interrupt;
use deltavault::{Error, ExitCode};
use futures::TryStreamExt as _;

use self::ledger::{refuse_if_not_newest, take_in_unlinked, warn_of_ledger, warn_of_unnamed};
use self::told::{Case, Found, Streams, Way};
use super::{Context, confirm};
use crate::cli::cache;
use crate::cli::error::CommandError;
use crate::cli::request::{How, RestoreRequest, Which};
use crate::cli::rows::{RestoreDone, RestorePlanned, Restoring, VersionTime};
use crate::cli::stores::{OpenVault, Place};
use crate::cli::who;

mod ledger;
mod told;

/// How long what is left of a dropped table is watched.
const WATCHED: Duration = Duration::from_secs(1);

/// Other snapshots that are looked at when the chosen one cannot be read.
const OTHERS_TRIED: usize = 32;

/// What a restore needs to know of the vault: the table's history, and the state of it that was chosen.
pub(super) struct Chosen {
    /// The snapshot.
    pub(super) id: SnapshotId,
    /// What its record says.
    pub(super) record: Arc<Record>,
    /// The version that is wanted: the snapshot's own, or an older one that it holds whole.
    pub(super) version: Version,
    /// When that was committed, where it is known.
    pub(super) committed: Option<Timestamp>,
    /// Versions that may be meant as well, where a time was asked for.
    pub(super) between: Option<Between>,
}

/// How much is put back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Extent {
    /// Whether files outside the table's folder may be.
    pub(super) outside: bool,
    /// Which checkpoints are.
    pub(super) log: LogWanted,
    /// Whether what the vault has lost is left out.
    pub(super) accept_damaged: bool,
}

/// A restore that is about to be planned or carried out.
pub(super) struct Work {
    restorer: Restorer,
    request: restore::RestoreRequest,
    target: Place,
}

/// Puts a table back, or says what that would be.
#[expect(
    clippy::too_many_lines,
    reason = "what is found, planned, asked, done and said, in this order"
)]
pub(super) async fn restore(
    request: RestoreRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
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
        found.vanishing = work.vanishing().await?;
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
        outside: request.outside,
        log: request.log,
        accept_damaged: request.accept_damaged,
        found: &found,
        again: &again,
        now: context.clock.now(),
        s3a: request.s3a,
        proof,
    };
    let way = case.way();
    let may_act = way == Way::Ready && !request.dry_run && (request.yes || context.can_ask);
    context.output.restore_planned(&RestorePlanned {
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
                context.output.restore_done(&row)?;
            }
            return Ok(case.code());
        }
        Way::Choose(what) => return owner_must_choose(what, &case, context),
        Way::Later(flag) => {
            return Err(CommandError::ComesLater {
                what: format!("restore {flag}"),
                instead: "copy it elsewhere with --to, or bring its files back with --heal and let the engine's RESTORE commit them",
            });
        }
        Way::Ready if request.dry_run => return Ok(ExitCode::Done),
        Way::Ready => {}
    }
    if !request.yes {
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
    if context.verbose || context.output.is_json() {
        for row in version_times(&history, &chosen) {
            context.output.version_time(&row)?;
        }
    }
    let code = case.code().max(told::checked::code(&checked, &done));
    let row = done_row(&case, &done, seconds, Some(&checked));
    context.output.restore_done(&row)?;
    Ok(code)
}

/// Looks at a copy that was whole before, as the run would have that put it; takes away the claim that one left behind
/// when it was killed.
async fn filled(
    work: &Work,
    plan: RestorePlan,
    case: &Case<'_>,
    request: &RestoreRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let start = Instant::now();
    let expected = plan.expected.clone();
    let kept = restore::RestoreDone {
        files_kept: case.found.kept.files,
        ..restore::RestoreDone::default()
    };
    if plan.copy_place == Some(CopyPlace::Begun) && request.yes && !request.dry_run {
        work.carry_out(plan, context.clock.now()).await?;
    }
    let checked = work.check(&expected).await?;
    let code = case.code().max(told::checked::code(&checked, &kept));
    let seconds = start.elapsed().as_secs_f64();
    let row = done_row(case, &kept, seconds, Some(&checked));
    context.output.restore_done(&row)?;
    Ok(code)
}

fn wanted(which: &Which) -> Wanted {
    match which {
        Which::Unsaid | Which::Latest => Wanted::Latest,
        Which::Snapshot(prefix) => Wanted::Snapshot(prefix.as_str().to_owned()),
        Which::Version(version) => Wanted::Version(*version),
        Which::At(when) => Wanted::At(when.into()),
    }
}

/// The newest snapshot of the table that is not in doubt.
fn newest_without_doubt<'a>(history: &'a History, chosen: &Chosen) -> Option<&'a Snapshot> {
    let delta_id = &chosen.record.table.delta_id;
    history.snapshots.iter().rev().find(|it| {
        !it.is_distrusted
            && !it.is_pruned
            && it.record.doubt.is_none()
            && it.record.table.delta_id == *delta_id
    })
}

/// Whether the plan of a snapshot without doubt says more of the live table than that of a newer one in doubt: the log is
/// as that one has it, or has files that it can put right.
fn tells_more(trusted: &RestorePlan, in_doubt: &RestorePlan) -> bool {
    let goes_on = matches!(
        trusted.situation,
        Situation::NothingAbove | Situation::NewerLive { .. }
    );
    let differs = matches!(in_doubt.situation, Situation::CommitsDiffer { .. });
    goes_on && (differs || !trusted.broken.is_empty())
}

/// Another snapshot that holds the wanted version, where the chosen one cannot be read.
async fn another_that_holds(
    error: &Error,
    chosen: &Chosen,
    history: &History,
    wanted: &Wanted,
    open: &OpenVault,
) -> Option<Chosen> {
    if !matches!(wanted, Wanted::Version(_))
        || !matches!(error, Error::Damaged { .. } | Error::Format(_))
    {
        return None;
    }
    let mut others = history.clone();
    others.snapshots.retain(|it| it.id != chosen.id);
    let other = choose(&open.vault, &others, wanted).await.ok()?;
    // Under one number there may be another table's commit, or another history's.
    let is_of_this_table = other.record.table.delta_id == chosen.record.table.delta_id;
    let is_overwritten = match history.find(other.id) {
        Ok(Some(snapshot)) => history.is_overwritten(snapshot, chosen.version),
        _ => true,
    };
    (is_of_this_table && !is_overwritten).then_some(other)
}

/// The newest snapshot of the chosen version that is newer than the chosen one and in doubt, and why.
fn passed_over(history: &History, chosen: &Chosen) -> Option<(SnapshotId, Version, String)> {
    let newer = history.snapshots.iter().rev();
    let mut newer = newer
        .take_while(|it| it.id != chosen.id)
        .filter(|it| it.record.version == chosen.version && !it.is_distrusted && !it.is_pruned);
    newer.find_map(|it| Some((it.id, chosen.version, it.record.doubt.clone()?)))
}

fn holds_no_table(error: &CommandError) -> bool {
    matches!(error.as_library(), Some(Error::UnknownTable { known, .. }) if known.is_empty())
}

/// Why no snapshot of the table was found: the one that was named may be of another table.
async fn of_another_table(error: CommandError, table: &str, open: &OpenVault) -> CommandError {
    let Some(Error::Choose(ChooseError::Prefix(PrefixError::Unknown { text, .. }))) =
        error.as_library()
    else {
        return error;
    };
    let Ok(histories) = open.vault.histories(|_| Bodies::default()).await else {
        return error;
    };
    match find_snapshot(&histories, text) {
        Ok((history, snapshot)) => CommandError::SnapshotOfAnotherTable {
            snapshot: snapshot.id,
            table: table.to_owned(),
            other: history.name().to_owned(),
        },
        Err(_) => error,
    }
}

/// Why a snapshot cannot be restored: pruned by now, or unreadable, with the newest other one that can be read.
async fn no_plan(
    error: Error,
    chosen: &Chosen,
    history: &History,
    open: &OpenVault,
    table: &str,
    context: &Context,
) -> CommandError {
    let Ok(Some(snapshot)) = history.find(chosen.id) else {
        return error.into();
    };
    let vault = &open.vault;
    let now = context.clock.now();
    let why = vault.why_unreadable(error, snapshot, history, now).await;
    if !matches!(why, Error::Damaged { .. } | Error::Format(_)) {
        return why.into();
    }
    let delta_id = &chosen.record.table.delta_id;
    let others = history.snapshots.iter().rev().filter(|it| {
        it.id != chosen.id
            && !it.is_distrusted
            && !it.is_pruned
            && it.record.table.delta_id == *delta_id
    });
    let mut other = None;
    for it in others.take(OTHERS_TRIED) {
        match vault.manifest(&it.record).await {
            Ok(_) => {
                let words = ["restore", table, "--snapshot", &it.id.short()];
                other = Some((it.record.version, context.again.command(&words)));
                break;
            }
            Err(Error::Damaged { .. } | Error::Format(_)) => {}
            // A store that does not answer is no proof that nothing else can be read.
            Err(error) => return error.into(),
        }
    }
    let repair = ["verify", table, "--read", "all", "--repair"];
    RestoreError::Unreadable {
        snapshot: chosen.id,
        version: chosen.version,
        repair: context.again.command(&repair),
        other,
        source: Box::new(why),
    }
    .into()
}

/// Chooses a snapshot, and refuses one that names another table than the ledger it stands in: it would be put
/// where its forger wants it.
pub(super) async fn choose(
    vault: &Vault,
    history: &History,
    wanted: &Wanted,
) -> Result<Chosen, CommandError> {
    let vault = cache::with_pages(vault.clone());
    let chosen = vault.choose(history, wanted, &std::env::temp_dir()).await?;
    let snapshot = chosen.snapshot;
    let uri: TableUri = snapshot.record.table.uri.parse()?;
    let key = TableKey::of(&snapshot.record.table.source, &uri)?;
    if key.hash() != history.table.hash() {
        return Err(Error::Damaged {
            object: format!("snapshot {}", snapshot.id.short()),
            what: format!("it names another table, {uri}"),
        }
        .into());
    }
    Ok(Chosen {
        id: snapshot.id,
        record: Arc::clone(&snapshot.record),
        version: chosen.version,
        committed: chosen.committed,
        between: chosen.between,
    })
}

impl Work {
    /// Makes the restore of a chosen snapshot ready, as it was asked for.
    async fn ready(
        open: &OpenVault,
        chosen: &Chosen,
        request: &RestoreRequest,
        context: &Context,
    ) -> Result<Self, CommandError> {
        let extent = Extent {
            outside: request.outside,
            log: request.log,
            accept_damaged: request.accept_damaged,
        };
        let (now, progress) = (context.clock.now(), Arc::clone(&context.progress));
        let work = Self::new(open, chosen, &request.how, extent, now, progress).await?;
        Ok(work.with_claim(context.interrupt.clone(), request.take_over))
    }

    /// Makes a restore ready; nothing is read or written yet.
    pub(super) async fn new(
        open: &OpenVault,
        chosen: &Chosen,
        how: &How,
        extent: Extent,
        now: Timestamp,
        progress: Arc<dyn Progress>,
    ) -> Result<Self, CommandError> {
        let stores = &open.stores;
        let table = &chosen.record.table;
        let home = stores.home(&table.source, &table.uri).await;
        let origin = home.as_ref().ok().map(Place::read);
        let (target, mode) = match how {
            How::To(place) => {
                let target = stores.table(place).await?;
                // The place where the table was may be out of reach; a copy needs nothing of it.
                if home.is_ok_and(|home| target.contains(&home) || home.contains(&target)) {
                    return Err(CommandError::InvalidUri {
                        uri: target.uri().to_owned(),
                        rule: "a copy goes to a place of its own, not above, below or in that of the table",
                    });
                }
                (target, Mode::To)
            }
            How::Heal => (home?, Mode::Heal),
            How::InPlace | How::Later(_) => (home?, Mode::InPlace),
        };
        open.refuse_overlap(&target)?;
        Ok(Self {
            restorer: Restorer {
                vault: cache::with_pages(open.vault.clone()),
                target: target.restore(),
                origin,
                outside: stores.outside_for_restore(),
                temp: std::env::temp_dir(),
                progress,
                interrupt: Interrupt::default(),
            },
            request: restore::RestoreRequest {
                id: chosen.id,
                record: Arc::clone(&chosen.record),
                version: chosen.version,
                mode,
                outside: extent.outside,
                log: extent.log,
                accept_damaged: extent.accept_damaged,
                now,
                by: who::principal(),
                take_over: false,
            },
            target,
        })
    }

    /// Lets go of its claim when it is interrupted, and takes the table over from another restore where that is
    /// wanted.
    fn with_claim(mut self, interrupt: Interrupt, take_over: bool) -> Self {
        self.restorer.interrupt = interrupt;
        self.request.take_over = take_over;
        self
    }

    /// Plans it.
    pub(super) async fn plan(&self) -> Result<RestorePlan, Error> {
        self.restorer.plan(&self.request).await
    }

    /// What is told of a plan: what it found, the live table where that is asked about, and how far streams have
    /// written.
    async fn found(&self, plan: &RestorePlan, which: &Which) -> Result<Found, CommandError> {
        let mut found = Found::new(plan);
        let in_place = found.situation == Situation::NothingAbove;
        if in_place && found.is_all_there() && *which == Which::Unsaid {
            let live = self.restorer.look_at_live(&self.request).await?;
            found = found.with_live(live);
        }
        let live = &plan.live;
        match found.situation {
            // Without any now, there is none that could have gone on.
            Situation::NewerLive { .. } if live.txns.as_ref().is_some_and(Txns::is_empty) => {
                found.streams = Streams::Known(Vec::new());
                return Ok(found);
            }
            Situation::NoLog | Situation::EmptyTarget | Situation::NewerLive { .. } => {}
            Situation::NothingAbove
            | Situation::AnotherTable { .. }
            | Situation::CommitsDiffer { .. } => return Ok(found),
        }
        let held = match &live.txns_at {
            Some(txns) => Ok(txns.clone()),
            None => self.restorer.held_txns(&self.request).await,
        };
        found.streams = match held {
            Ok(held) => Streams::Known(streams::compare(&held, live.txns.as_ref())),
            // Damage stops whatever needs the damaged bytes; telling of streams does not.
            Err(error @ (Error::Damaged { .. } | Error::Log(_))) => {
                Streams::Unknown(error.to_string())
            }
            Err(error) => return Err(error.into()),
        };
        Ok(found)
    }

    /// What is told once files were put back under a newer live table: they may have made its newest versions whole.
    async fn found_after(&self, found: &Found) -> Result<Option<Found>, CommandError> {
        if !matches!(found.situation, Situation::NewerLive { .. }) {
            return Ok(None);
        }
        let live = self.restorer.look_at_live(&self.request).await?;
        Ok(Some(found.clone().with_live(live)))
    }

    /// Looks at what was put back.
    async fn check(&self, expected: &Expected) -> Result<Checked, Error> {
        self.restorer.check(&self.request, expected).await
    }

    /// Watches for a moment whether objects vanish: who deletes a table may not be done with it.
    async fn vanishing(&self) -> Result<u64, CommandError> {
        let before = self.count().await?;
        tokio::time::sleep(WATCHED).await;
        Ok(before.saturating_sub(self.count().await?))
    }

    async fn count(&self) -> Result<u64, CommandError> {
        let store = self.target.read();
        let listing = store.list("", None);
        Ok(listing.try_fold(0, async |count, _| Ok(count + 1)).await?)
    }

    /// Makes the target's folder where it is gone, and does what the plan says.
    /// The claim counts from `now`: whoever was asked may have taken an hour to answer.
    pub(super) async fn carry_out(
        &self,
        plan: RestorePlan,
        now: Timestamp,
    ) -> Result<restore::RestoreDone, CommandError> {
        self.target.make()?;
        let request = restore::RestoreRequest {
            now,
            ..self.request.clone()
        };
        Ok(self.restorer.carry_out(&request, plan).await?)
    }
}

/// How the table is named in the next command: as it was, or by its path where that was a path.
fn name_again(request: &RestoreRequest, known: &str) -> String {
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
