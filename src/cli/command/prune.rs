//! `prune`: deletes what no snapshot needs that is kept.

use std::time::Instant;

use clap::Args;
use deltavault::format::{GarbageReason, PlanRow};
use deltavault::ids::{Digest, SnapshotId, Timestamp};
use deltavault::plan::pause::{PAUSE_DAYS, Uses};
use deltavault::plan::prune::LONGEST_GRACE;
use deltavault::spool::Scratch;
use deltavault::vault::prune::{
    Action, Amount, ByReason, Forget, Patience, PruneDone, Pruner, Sums, Survey, TableKept, Why,
};
use deltavault::{Error, ExitCode};
use indicatif::{HumanBytes, HumanCount};
use jiff::SignedDuration;
use serde::Serialize;

use super::{Context, confirm};
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted};
use crate::cli::stores::OpenVault;
use crate::cli::who;

/// Flags of `prune`.
#[derive(Debug, Args)]
pub(crate) struct PruneArgs {
    /// Leave alone what is younger than TIME, and wait as long before deleting what was marked
    #[arg(long, value_name = "TIME", default_value = "3d", value_parser = parse_grace)]
    pub(crate) grace: SignedDuration,
    /// Print the plan with its reasons and change nothing [mark and delete]
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Delete without being asked [ask]
    #[arg(long)]
    pub(crate) yes: bool,
    /// Accept that nothing was done in a folder vault for up to N days; a longer pause may mean that this machine's clock was
    /// set ahead
    #[arg(long, value_name = "N", default_value_t = PAUSE_DAYS)]
    pub(crate) longest_pause: u16,
    /// Treat the manifest with this SHA-256 as left by a snapshot that was never finished; `all`: every manifest that no
    /// record names; repeatable [keep what they lead to]
    #[arg(long, value_name = "SHA256", value_parser = parse_forget)]
    pub(crate) forget: Vec<Forget>,
}

/// Reads days and hours: `3d`, `12h`.
fn parse_grace(text: &str) -> Result<SignedDuration, String> {
    let wrong = || format!("{text:?} is not a time to wait: write it like 3d or 12h");
    let hours = if let Some(days) = text.strip_suffix('d') {
        days.parse::<u16>().map(|days| i64::from(days) * 24)
    } else {
        text.strip_suffix('h')
            .unwrap_or("?")
            .parse::<u16>()
            .map(i64::from)
    };
    let grace = SignedDuration::from_hours(hours.map_err(|_| wrong())?);
    if grace > LONGEST_GRACE {
        let days = LONGEST_GRACE.as_hours() / 24;
        return Err(format!("{text:?} is too long: at most {days}d"));
    }
    Ok(grace)
}

/// Reads a digest or `all`.
fn parse_forget(text: &str) -> Result<Forget, String> {
    if text == "all" {
        return Ok(Forget::All);
    }
    let digest = text.parse::<Digest>();
    let one = digest.map_err(|error| format!("{error}, or the word all"))?;
    Ok(Forget::These(vec![one]))
}

/// Every `--forget` in one.
fn forget(said: Vec<Forget>) -> Forget {
    let mut these = Vec::new();
    for one in said {
        match one {
            Forget::All => return Forget::All,
            Forget::These(more) => these.extend(more),
        }
    }
    Forget::These(these)
}

/// `prune`
pub(super) async fn prune(
    args: PruneArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let start = Instant::now();
    let open = context.open_vault().await?;
    // A dry run stands in nobody's way.
    let alone = if args.dry_run { None } else { open.alone()? };
    let temp = Scratch::create(&std::env::temp_dir()).map_err(Error::Scratch)?;
    let pruner = Pruner {
        store: open.place.prune(open.vault.file().lock_mode),
        vault: open.vault.clone(),
        temp: temp.path().to_owned(),
        forget: forget(args.forget),
    };
    let patience = Patience {
        grace: args.grace,
        is_alone: !open.is_on_s3(),
    };
    let now = context.clock.now();
    let output = &mut context.output;
    let mut told = |kept| Ok(output.say(&table_row(kept))?);
    let mut survey = pruner.survey(patience, now, &mut told).await?;
    let pause = pause(&open, &survey.uses, now, args.longest_pause);
    if args.dry_run {
        let finding = pause.as_ref().map(ToString::to_string);
        survey.sums.findings.extend(finding);
    }
    let (sums, dry_run) = (&survey.sums.clone(), args.dry_run);
    context.output.say(&PrunePlan { sums, dry_run })?;
    let code = code(sums, None);
    if args.dry_run {
        if context.output.is_json() || context.output.is_verbose() {
            objects(survey, context)?;
        }
        return Ok(code);
    }
    if let Some(pause) = pause {
        return Err(pause);
    }
    if !sums.delete.is_empty() && !args.yes {
        let what = format!("delete {} for good", amount(total(&sums.delete)));
        confirm(&what, context)?;
    }
    let actor = who::actor(now, &open.place).await;
    let done = pruner.execute(survey, &actor).await?;
    // The next run looks for pauses from here on.
    let written = alone.map_or(Ok(()), |alone| alone.write_done(now));
    let seconds = start.elapsed().as_secs_f64();
    let code = code.max(self::code(sums, Some(&done)));
    context.output.say(&PruneSummary { done, seconds })?;
    written?;
    Ok(code)
}

/// The refusal to believe this machine's clock where a vault in a folder rested longer than `longest` days. On S3 the
/// server's clock was compared.
fn pause(open: &OpenVault, uses: &Uses, now: Timestamp, longest: u16) -> Option<CommandError> {
    if open.is_on_s3() {
        return None;
    }
    let pause = uses.longest_pause(open.last_prune(), now)?;
    (pause.days() > longest.into()).then(|| CommandError::LongPause {
        uri: open.vault.uri().to_owned(),
        pause,
    })
}

/// What is not the vault's, what can never be deleted, and what the store refused without a lock that could be seen, is
/// for the owner to know.
fn code(sums: &Sums, done: Option<&PruneDone>) -> ExitCode {
    let refused = done.map_or(0, |done| done.refused.objects);
    ExitCode::findings_if(
        !sums.findings.is_empty()
            || sums.foreign.amount.objects > 0
            || sums.unversioned.objects > 0
            || refused > 0,
    )
}

fn objects(survey: Survey, context: &mut Context) -> Result<(), CommandError> {
    for row in survey.into_rows()? {
        let (action, row) = row?;
        context.output.say(&object_row(action, row))?;
    }
    Ok(())
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
            GarbageReason::Expired(snapshot) => Some(snapshot),
            GarbageReason::Orphan | GarbageReason::Journal | GarbageReason::Planted => None,
        },
        locked_until: row.locked_until,
    }
}

fn total(by_reason: &ByReason) -> Amount {
    let mut total = Amount::default();
    for part in by_reason.values() {
        total.objects += part.objects;
        total.bytes = total.bytes.saturating_add(part.bytes);
    }
    total
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
    let of_use = snapshots.iter().filter(|snapshot| snapshot.kept).count() as u64;
    PruneTable {
        table: kept.name,
        kept: of_use,
        expired: snapshots.len() as u64 - of_use,
        snapshots,
    }
}

/// What is kept of a table, and why.
#[derive(Debug, Clone, Serialize)]
struct PruneTable {
    table: String,
    /// Snapshots that are kept.
    kept: u64,
    /// Snapshots that are not.
    expired: u64,
    /// Each, oldest first.
    snapshots: Vec<PruneSnapshot>,
}

impl Message for PruneTable {
    const TYPE: &'static str = "prune_table";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        out.print(format_args!(
            "{}: {} kept, {} expired",
            self.table,
            counted(self.kept, "snapshot"),
            HumanCount(self.expired)
        ))?;
        if out.is_verbose() {
            for snapshot in &self.snapshots {
                out.print(format_args!(
                    "  {} {}: {}",
                    snapshot.snapshot.short(),
                    if snapshot.kept { "kept" } else { "expired" },
                    snapshot.reason
                ))?;
            }
        }
        Ok(())
    }
}

/// Why a snapshot is kept or not.
#[derive(Debug, Clone, Serialize)]
struct PruneSnapshot {
    snapshot: SnapshotId,
    /// Whether it is kept.
    kept: bool,
    /// Why.
    reason: String,
}

/// What is to become of an object.
#[derive(Debug, Clone, Serialize)]
struct PruneObject {
    /// `delete` or `mark`.
    action: &'static str,
    key: String,
    /// Its object version.
    version: Option<String>,
    bytes: u64,
    /// Why nothing needs it.
    reason: &'static str,
    /// The snapshot that needed it last, where one did.
    snapshot: Option<SnapshotId>,
    /// Until when it is locked, as far as that is known.
    locked_until: Option<Timestamp>,
}

impl Message for PruneObject {
    const TYPE: &'static str = "prune_object";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let snapshot = self.snapshot.map(|id| format!(" {}", id.short()));
        out.print(format_args!(
            "{} {} {} ({}{})",
            self.action,
            self.key,
            HumanBytes(self.bytes),
            self.reason,
            snapshot.unwrap_or_default()
        ))
    }
}

/// What a reading of the vault came to.
#[derive(Debug, Serialize)]
struct PrunePlan<'a> {
    #[serde(flatten)]
    sums: &'a Sums,
    /// Whether nothing is going to be done.
    dry_run: bool,
}

const UNVERSIONED: &str = ". This bucket keeps no object versions, so a deletion could mean what was put under the same \
     name just now: turn its versioning on";

impl Message for PrunePlan<'_> {
    const TYPE: &'static str = "prune_plan";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let sums = self.sums;
        out.print(format_args!(
            "{}: {} kept, which need {}; {} expired",
            counted(sums.tables, "table"),
            counted(sums.kept, "snapshot"),
            amount(sums.needed),
            HumanCount(sums.expired),
        ))?;
        reasons(
            out,
            "of no use, in a plan that is old enough: to delete",
            &sums.delete,
        )?;
        reasons(out, "of no use, in a plan, still locked", &sums.locked)?;
        reasons(out, "of no use, in a plan that is too young", &sums.waits)?;
        reasons(out, "of no use, in no plan yet: to mark", &sums.mark)?;
        for (what, of, why) in [
            ("too young to be judged", sums.young, ""),
            ("of no use, and left alone", sums.unversioned, UNVERSIONED),
            ("journals of unfinished runs", sums.unfinished, ""),
        ] {
            if of.objects > 0 {
                out.print(format_args!("{what}: {}{why}", amount(of)))?;
            }
        }
        if sums.foreign.amount.objects > 0 {
            out.print(format_args!(
                "not the vault's, and left alone: {}, the first: {}",
                amount(sums.foreign.amount),
                sums.foreign.first.join(", ")
            ))?;
        }
        for finding in &sums.findings {
            out.print(format_args!("finding: {finding}"))?;
        }
        if sums.delete.is_empty() && sums.mark.is_empty() {
            out.print(format_args!("nothing to do"))?;
        }
        Ok(())
    }
}

/// What a prune did.
#[derive(Debug, Serialize)]
struct PruneSummary {
    #[serde(flatten)]
    done: PruneDone,
    /// How long it took.
    seconds: f64,
}

impl Message for PruneSummary {
    const TYPE: &'static str = "prune_summary";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        reasons(out, "deleted", &self.done.deleted)?;
        reasons(
            out,
            "marked, to be deleted by a run after the grace period",
            &self.done.marked,
        )?;
        for (what, kept) in [
            ("still locked", self.done.locked),
            ("under a legal hold", self.done.held),
            ("refused", self.done.refused),
        ] {
            if kept.objects > 0 {
                out.print(format_args!("{what}: {}", amount(kept)))?;
            }
        }
        if let Some(refusal) = &self.done.refusal {
            out.print(format_args!(
                "the store said of the first refusal: {refusal}"
            ))?;
        }
        Ok(())
    }
}

fn amount(amount: Amount) -> String {
    format!(
        "{}, {}",
        counted(amount.objects, "object"),
        HumanBytes(amount.bytes)
    )
}

/// Says what an amount is of, by reason.
fn reasons(out: &mut Output, what: &str, reasons: &ByReason) -> Result<(), CommandError> {
    if reasons.is_empty() {
        return Ok(());
    }
    let parts = reasons.iter();
    let parts: Vec<_> = parts
        .map(|(why, part)| format!("{} {}", HumanCount(part.objects), why.as_str()))
        .collect();
    out.print(format_args!(
        "{what}: {} ({})",
        amount(total(reasons)),
        parts.join(", ")
    ))
}
