//! `verify`: the vault against itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use deltavault::format::TableKey;
use deltavault::ids::SnapshotId;
use deltavault::plan::verify::{
    Finding, KnownRecord, ReadBytes, Remedy, Severity, Subset, VerifyPlan, VerifyReport,
};
use deltavault::progress::Progress;
use deltavault::shell::guarded;
use deltavault::spool::Scratch;
use deltavault::vault::look;
use deltavault::{Error, ExitCode};
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;

use self::brief::Brief;
use self::repair::{Job, Repairs};
use super::{Context, remind_of_locks};
use crate::cli::args::{Words, one_of};
use crate::cli::complete;
use crate::cli::config::Config;
use crate::cli::error::CommandError;
use crate::cli::output::{Message, Output, counted};
use crate::cli::place;
use crate::cli::stores::OpenVault;
use crate::cli::table_name::TableName;

mod brief;
mod repair;

/// Flags of `verify`.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Tables to check [all]
    #[arg(value_name = "TABLE", add = complete::tables())]
    pub(crate) tables: Vec<String>,
    /// Read file bytes again and hash them
    #[arg(long, value_name = "HOW MUCH", value_parser = one_of(READ), default_value = "none")]
    pub(crate) read: ReadBytes,
    /// Check the n-th of m parts, so that m nights check everything [1/1]
    #[arg(long, value_name = "n/m", value_parser = parse_subset)]
    pub(crate) subset: Option<Subset>,
    /// Compare with the newest snapshots in FILE, as `snapshots --heads` printed them, kept elsewhere
    #[arg(long, value_name = "FILE", conflicts_with = "tables")]
    pub(crate) heads: Option<PathBuf>,
    /// Put lost and damaged objects back, from the live table or wherever else their bytes still are
    #[arg(long)]
    pub(crate) repair: bool,
    /// With --repair: a replica of the vault to take lost objects from
    #[arg(long, value_name = "URI", requires = "repair")]
    pub(crate) from: Option<String>,
    /// With --repair: put them back without being asked [ask]
    #[arg(long, requires = "repair")]
    pub(crate) yes: bool,
}

/// How many bytes `verify` reads again.
const READ: Words<ReadBytes> = &[
    ("none", "None: presence and sizes only", ReadBytes::None),
    ("sample", "A part of them", ReadBytes::Sample),
    ("all", "All of them", ReadBytes::All),
];

/// Reads the n-th of m parts, counted from 1.
fn parse_subset(text: &str) -> Result<Subset, String> {
    text.split_once('/')
        .and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)))
        .filter(|(part, of)| (1..=*of).contains(part))
        .map(|(part, of)| Subset { part, of })
        .ok_or_else(|| "write it like 2/7: the second of seven parts".into())
}

/// A record leads to a manifest, that to pages and those to files: a repair that has put the one looks for the others.
const ROUNDS: u32 = 4;

/// `verify`
pub(super) async fn verify(
    args: VerifyArgs,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let start = Instant::now();
    let names = args.tables.iter().map(|text| context.table(text));
    let names: Vec<TableName> = names.collect::<Result<_, _>>()?;
    let from = args
        .from
        .as_deref()
        .map(|from| context.place(from))
        .transpose()?;
    let known = args.heads.as_deref().map(known_records).transpose()?;
    let open = context.open_vault().await?;
    // Before hours are spent on the vault.
    let replica = repair::replica(&open, from.as_deref()).await?;
    let progress = Arc::clone(&context.progress);
    let tables = find_tables(&open, replica.as_ref(), &names, progress.as_ref()).await?;
    remind_of_locks(&open, context.progress.as_ref());
    let plan = VerifyPlan {
        read: bytes_to_read(&args),
        subset: args.subset,
        now: context.clock.now(),
    };
    let spill = Scratch::create(&std::env::temp_dir()).map_err(Error::Scratch)?;
    let (again, typed) = (context.again.clone(), typed(&open, &context.config).await);
    let (mut told, mut brief) = (HashSet::new(), Brief::default());
    let from = from.as_deref().map(place::typed);
    let mut repairs = Repairs::default();
    let mut in_the_way = Vec::new();
    let mut rounds = 0;
    let (mut report, seen) = loop {
        let Context {
            output, progress, ..
        } = &mut *context;
        let mut seen = Seen::default();
        // Told when they are made: a vault with a million damaged objects must not wait in memory.
        let (report, losses) = {
            let mut found = |finding: Finding| {
                let table = finding.key.as_ref().map(&typed);
                if args.repair {
                    seen.add(&finding);
                    // What an earlier round said is not said again.
                    if !told.insert((finding.object.clone(), finding.what.clone())) {
                        return Ok(());
                    }
                }
                // Whoever reads JSON reads all of it.
                if !output.is_json() && !brief.says(&finding) {
                    return Ok(());
                }
                let command = |words: &[&str]| again.spelled(words);
                let guarded = table.as_deref().map(guarded);
                let remedy = finding.advice(guarded.as_deref(), plan.read, from, &command);
                Ok(output.say(&finding.with_remedy(remedy))?)
            };
            let tables = tables.as_deref();
            let progress = progress.as_ref();
            open.vault
                .verify(tables, plan, spill.path(), progress, &mut found)
                .await?
        };
        if !args.repair {
            break (report, seen);
        }
        let job = Job {
            tables: tables.as_deref(),
            replica: replica.as_ref(),
            yes: args.yes,
        };
        let before = repairs.count();
        in_the_way = repair::repair(&open, &losses, &job, context, &mut repairs).await?;
        rounds += 1;
        // What else was damaged may have been so by what is there again.
        let may_be_mended = repairs.count() > before && seen.is_damaged_otherwise();
        if !(repairs.has_more || may_be_mended) || rounds == ROUNDS {
            break (report, seen);
        }
    };
    for line in brief.rest() {
        context.output.print(format_args!("{line}"))?;
    }
    // Of the last verification, what was repaired after it is no damage any more.
    let mended = seen.lost.iter().filter(|(object, _)| repairs.has(object));
    let mended = mended.map(|(_, findings)| findings).sum();
    report.damaged = report.damaged.saturating_sub(mended);
    for (slot, replica) in in_the_way.iter().zip(replica.iter().cycle()) {
        let mut row = repair::in_the_way(slot, &typed(&slot.table), &open, replica);
        row.remedy = context.again.in_text(&row.remedy);
        report.count(Severity::Warning);
        context.output.say(&row)?;
    }
    for finding in open.vault.missing(&known.unwrap_or_default()).await? {
        report.count(finding.severity);
        let table = finding.key.as_ref().map(&typed);
        let command = |words: &[&str]| context.again.spelled(words);
        let guarded = table.as_deref().map(guarded);
        let remedy = finding.advice(guarded.as_deref(), plan.read, from, &command);
        context.output.say(&finding.with_remedy(remedy))?;
    }
    let repaired = args.repair.then(|| repairs.count());
    repairs.tell(&mut context.output, |id| seen.of(id))?;
    context.output.say(&VerifyDone {
        report,
        repaired,
        seconds: start.elapsed().as_secs_f64(),
    })?;
    Ok(report.exit_code())
}

/// Reads the records that a file names, a line each.
fn known_records(path: &Path) -> Result<Vec<KnownRecord>, CommandError> {
    let unusable = |line, error: &dyn std::fmt::Display| CommandError::HeadsUnusable {
        path: path.display().to_string(),
        line,
        rule: error.to_string(),
    };
    let text = fs::read_to_string(path).map_err(|error| unusable(None, &error))?;
    let lines = text.lines().enumerate();
    let lines = lines.filter(|(_, line)| !line.trim().is_empty());
    let known = lines.map(|(n, line)| {
        let known = line.parse::<KnownRecord>();
        known.map_err(|error| unusable(Some(n + 1), &error))
    });
    let known = known.collect::<Result<Vec<_>, _>>()?;
    if known.is_empty() {
        return Err(unusable(None, &"it names no snapshot"));
    }
    Ok(known)
}

/// What one verification found, as far as a repair has to know.
#[derive(Default)]
struct Seen {
    /// By object: how many damages are that bytes of it are lost.
    lost: BTreeMap<String, u64>,
    /// Snapshots with another damage.
    damaged: BTreeSet<SnapshotId>,
    /// Snapshots of which something could not be read.
    unchecked: BTreeSet<SnapshotId>,
}

impl Seen {
    fn add(&mut self, finding: &Finding) {
        let snapshots = finding.snapshots.iter().copied();
        match (finding.severity, finding.remedy) {
            (Severity::Damage, Remedy::Repair) => {
                *self.lost.entry(finding.object.clone()).or_default() += 1;
            }
            (Severity::Damage, _) => self.damaged.extend(snapshots),
            (Severity::Unchecked, _) => self.unchecked.extend(snapshots),
            (Severity::Info | Severity::Warning, _) => {}
        }
    }

    /// Whether a snapshot is damaged in another way than by lost bytes.
    fn is_damaged_otherwise(&self) -> bool {
        !(self.damaged.is_empty() && self.unchecked.is_empty())
    }

    /// What is wrong with a snapshot besides lost bytes.
    fn of(&self, id: SnapshotId) -> Option<&'static str> {
        if self.damaged.contains(&id) {
            Some("it is damaged in another way, see above")
        } else if self.unchecked.contains(&id) {
            Some("something of it could not be read, see above")
        } else {
            None
        }
    }
}

/// Finds the tables that were named; `None` where none was.
async fn find_tables(
    open: &OpenVault,
    replica: Option<&OpenVault>,
    names: &[TableName],
    progress: &dyn Progress,
) -> Result<Option<Vec<TableKey>>, CommandError> {
    let mut tables = Vec::new();
    for name in names {
        let table = find_table(open, replica, name, progress).await?;
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    Ok((!tables.is_empty()).then_some(tables))
}

/// Finds a table in the vault; one that has lost all its records there, in the replica.
async fn find_table(
    open: &OpenVault,
    replica: Option<&OpenVault>,
    name: &TableName,
    progress: &dyn Progress,
) -> Result<TableKey, CommandError> {
    match (open.find_table(name, progress).await, replica) {
        (Err(error), Some(replica)) if error.is_about_an_unknown_table() => {
            Ok(replica.find_table(name, progress).await?.key)
        }
        (found, _) => Ok(found?.key),
    }
}

/// A part of no bytes would be nothing: whoever names a part wants it read.
fn bytes_to_read(args: &VerifyArgs) -> ReadBytes {
    if args.read == ReadBytes::None && args.subset.is_some() {
        ReadBytes::All
    } else {
        args.read
    }
}

/// What is typed for each table, so that the commands that are printed mean it and no other.
pub(super) async fn typed(
    open: &OpenVault,
    config: &Config,
) -> impl Fn(&TableKey) -> String + use<> {
    // Where tables cannot be told apart by name their keys can.
    let tables = open.vault.table_refs().await.unwrap_or_default();
    let configured: BTreeMap<String, String> = (config.tables.iter())
        .map(|table| (table.name.clone(), table.uri.clone()))
        .collect();
    move |key| {
        look::address(&tables, key, |table, name| {
            configured.get(name).is_some_and(|uri| *uri != table.uri())
        })
    }
}

/// How a severity is said to people.
fn word(severity: Severity) -> &'static str {
    match severity {
        Severity::Info => "info",
        Severity::Warning => "finding",
        Severity::Unchecked => "UNCHECKED",
        Severity::Damage => "DAMAGE",
    }
}

impl Message for Finding<String> {
    const TYPE: &'static str = "finding";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let severity = word(self.severity);
        let table = self
            .table
            .as_deref()
            .map_or_else(String::new, |table| format!(" {table}"));
        out.print(format_args!(
            "{severity}{table}: {}: {}",
            self.object, self.what
        ))?;
        if !self.snapshots.is_empty() {
            let snapshots = self.snapshots.iter().map(SnapshotId::short);
            let snapshots = snapshots.collect::<Vec<_>>().join(", ");
            let word = match self.severity {
                Severity::Damage | Severity::Unchecked => "hurts",
                Severity::Info | Severity::Warning => "snapshots",
            };
            out.print(format_args!("  {word}: {snapshots}"))?;
        }
        out.print(format_args!("  remedy: {}", self.remedy))
    }
}

/// The sums of a verify.
#[derive(Debug, Clone, Serialize)]
struct VerifyDone {
    #[serde(flatten)]
    report: VerifyReport,
    /// Objects that were put again, or locked for longer.
    #[serde(skip_serializing_if = "Option::is_none")]
    repaired: Option<u64>,
    /// How long it took.
    seconds: f64,
}

impl Message for VerifyDone {
    const TYPE: &'static str = "verify_summary";

    fn text(&self, out: &mut Output) -> Result<(), CommandError> {
        let report = &self.report;
        out.print(format_args!(
            "{}, {}, {} looked for; {} read again, {}; {:.1} s",
            counted(report.tables, "table"),
            counted(report.records, "snapshot"),
            counted(report.objects, "object"),
            HumanCount(report.objects_read),
            HumanBytes(report.bytes_read),
            self.seconds,
        ))?;
        if report.read == ReadBytes::Sample {
            out.print(format_args!(
                "a sample was read: the same one in 64 by digest every time, and some of every newest snapshot"
            ))?;
        }
        if let Some(subset) = &report.subset {
            out.print(format_args!("of the bytes, part {subset} was read"))?;
        }
        if let (Some(objects @ 1..), Some(bytes)) = (report.unreferenced, report.unreferenced_bytes)
        {
            out.print(format_args!(
                "{}, {}, in no manifest: what repairs put, what unfinished runs left, or what somebody put there",
                counted(objects, "object"),
                HumanBytes(bytes)
            ))?;
        }
        if let Some(repaired @ 1..) = self.repaired {
            out.print(format_args!("{} repaired", counted(repaired, "object")))?;
        }
        match (report.damaged, report.unchecked, report.warnings) {
            (0, 0, 0) if report.read == ReadBytes::None => out.print(format_args!(
                "no problems found; the bytes of data files were not read: --read sample or --read all reads them"
            )),
            (0, 0, 0) => out.print(format_args!("no problems found")),
            (0, 0, findings) => out.print(format_args!(
                "{}, nothing damaged",
                counted(findings, "finding")
            )),
            (0, unchecked, findings) => out.print(format_args!(
                "{unchecked} UNCHECKED, {findings} other findings, no damage found"
            )),
            (damaged, unchecked, findings) => out.print(format_args!(
                "{damaged} DAMAGED, {unchecked} unchecked, {findings} other findings"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use clap::Parser as _;
    use deltavault::ids::Digest;

    use super::*;
    use crate::cli::args::Arguments;

    #[test]
    fn every_remedy_is_a_command_that_is_understood() {
        let id = |n: u8| SnapshotId(Digest::of(&[n]));
        let remedies = [
            Remedy::Text("look"),
            Remedy::PutBack("look"),
            Remedy::Repair,
            Remedy::Retake,
            Remedy::Distrust,
            Remedy::ReadAll,
            Remedy::Relock,
            Remedy::HoldAgain,
        ];
        let mut commands = 0;
        for remedy in remedies {
            for snapshots in [vec![], vec![id(2), id(1)]] {
                for typed in [None, Some("orders"), Some("s3://lake/we ird"), Some("/-x")] {
                    for (read, from) in [
                        (ReadBytes::None, None),
                        (ReadBytes::Sample, Some("/re plica")),
                        (ReadBytes::All, None),
                        (ReadBytes::All, Some("s3://replica")),
                    ] {
                        let finding = Finding {
                            severity: Severity::Damage,
                            table: None,
                            key: None,
                            snapshots: snapshots.clone(),
                            object: String::new(),
                            what: String::new(),
                            remedy,
                        };
                        let spelled = RefCell::new(Vec::new());
                        let advice = finding.advice(typed, read, from, &|words| {
                            let words = words.iter().map(|word| (*word).to_owned());
                            spelled.borrow_mut().push(words.collect::<Vec<_>>());
                            String::new()
                        });
                        assert!(!advice.is_empty());
                        for words in spelled.into_inner() {
                            let all = std::iter::once("deltavault".to_owned()).chain(words.clone());
                            if let Err(error) = Arguments::try_parse_from(all) {
                                panic!("{words:?}: {error}");
                            }
                            let named = typed.is_none_or(|it| words.iter().any(|word| word == it));
                            assert!(named || words[0] == "hold", "{words:?}");
                            let is_from = |word: &String| Some(word.as_str()) == from;
                            let repairs = words.iter().any(|it| it == "--repair");
                            assert!(
                                from.is_none() || repairs == words.iter().any(is_from),
                                "{words:?}"
                            );
                            // What counts from the oldest on, and what is held is the newest; what was held is held again, all of it.
                            let of = |word: &str| words.iter().any(|it| it == word);
                            assert!(!of("--distrust") || of(&id(1).short()), "{words:?}");
                            let is_any = remedy == Remedy::HoldAgain && of(&id(1).short());
                            assert!(!of("hold") || of(&id(2).short()) || is_any, "{words:?}");
                            commands += 1;
                        }
                    }
                }
            }
        }
        assert!(commands > 100, "{commands}");
    }

    #[test]
    fn subsets_count_from_1_to_their_number() {
        assert_eq!(parse_subset("2/7"), Ok(Subset { part: 2, of: 7 }));
        for bad in ["0/7", "8/7", "7", "/", "1/0", "a/b", "-1/2"] {
            assert!(parse_subset(bad).is_err(), "{bad}");
        }
    }
}
