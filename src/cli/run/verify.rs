//! `verify`: the vault against itself.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::time::Instant;

use deltavault::format::TableKey;
use deltavault::ids::SnapshotId;
use deltavault::plan::verify::{Finding, ReadBytes, Remedy, Severity, Subset, VerifyPlan};
use deltavault::vault::look;
use deltavault::vault::verify::Losses;
use deltavault::{Error, ExitCode};

use super::repair::{self, Job, Repairs};
use super::{Context, remind_of_locks};
use crate::cli::again::Again;
use crate::cli::args::ReadArg;
use crate::cli::config::Config;
use crate::cli::error::CommandError;
use crate::cli::place;
use crate::cli::request::{TableName, VerifyRequest};
use crate::cli::rows::{FindingRow, Severity as RowSeverity, VerifyDone};
use crate::cli::stores::OpenVault;

/// A record leads to a manifest, that to pages and those to files: a repair that has put the one looks for the others.
const ROUNDS: u32 = 4;

/// `verify`
pub(super) async fn verify(
    request: VerifyRequest,
    context: &mut Context,
) -> Result<ExitCode, CommandError> {
    let start = Instant::now();
    let open = context.open_vault().await?;
    // Before hours are spent on the vault.
    let replica = repair::replica(&open, request.from.as_deref()).await?;
    let tables = find_tables(&open, replica.as_ref(), &request.tables).await?;
    remind_of_locks(&open, context.progress.as_ref());
    let plan = VerifyPlan {
        read: bytes_to_read(&request),
        subset: request.subset.map(|subset| Subset {
            part: subset.part,
            of: subset.of,
        }),
        now: context.clock.now(),
    };
    let spill = tempfile::tempdir().map_err(Error::Scratch)?;
    let (again, typed) = (context.again.clone(), typed(&open, &context.config).await);
    let mut told = HashSet::new();
    let from = request.from.as_deref().map(place::typed);
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
                if request.repair {
                    seen.add(&finding);
                    // What an earlier round said is not said again.
                    if !told.insert((finding.object.clone(), finding.what.clone())) {
                        return Ok(());
                    }
                }
                let row = finding_row(finding, table.as_deref(), (plan.read, from), &again);
                Ok(output.finding(&row)?)
            };
            let tables = tables.as_deref();
            let progress = progress.as_ref();
            let vault = &open.vault;
            if request.repair {
                vault
                    .verify_for_repair(tables, plan, spill.path(), progress, &mut found)
                    .await?
            } else {
                let report = vault.verify(tables, plan, spill.path(), progress, &mut found);
                (report.await?, Losses::default())
            }
        };
        if !request.repair {
            break (report, seen);
        }
        let job = Job {
            tables: tables.as_deref(),
            replica: replica.as_ref(),
            yes: request.yes,
        };
        in_the_way = repair::repair(&open, &losses, &job, context, &mut repairs).await?;
        rounds += 1;
        if !repairs.has_more || rounds == ROUNDS {
            break (report, seen);
        }
    };
    // Of the last verification, what was repaired after it is no damage any more.
    let mended = seen.lost.iter().filter(|(object, _)| repairs.has(object));
    let mended = mended.map(|(_, findings)| findings).sum();
    report.damaged = report.damaged.saturating_sub(mended);
    for (slot, replica) in in_the_way.iter().zip(replica.iter().cycle()) {
        let row = repair::in_the_way(slot, &typed(&slot.table), &open, replica);
        report.count(Severity::Warning);
        context.output.finding(&row)?;
    }
    let repaired = request.repair.then(|| repairs.count());
    repairs.tell(&mut context.output, |id| seen.of(id))?;
    let output = &mut context.output;
    output.verify_done(&VerifyDone {
        tables: report.tables,
        snapshots: report.records,
        objects: report.objects,
        objects_read: report.objects_read,
        bytes_read: report.bytes_read,
        read: match plan.read {
            ReadBytes::None => "none",
            ReadBytes::Sample => "sample",
            ReadBytes::All => "all",
        },
        subset: plan
            .subset
            .map(|subset| format!("{}/{}", subset.part, subset.of)),
        unreferenced: report.unreferenced.map(|(objects, _)| objects),
        unreferenced_bytes: report.unreferenced.map(|(_, bytes)| bytes),
        infos: report.infos,
        findings: report.warnings,
        unchecked: report.unchecked,
        damaged: report.damaged,
        repaired,
        seconds: start.elapsed().as_secs_f64(),
    })?;
    Ok(report.exit_code())
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
) -> Result<Option<Vec<TableKey>>, CommandError> {
    let mut tables = Vec::new();
    for name in names {
        let table = find_table(open, replica, name).await?;
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
) -> Result<TableKey, CommandError> {
    match (open.find_table(name).await, replica) {
        (Err(error), Some(replica)) if error.is_about_an_unknown_table() => {
            Ok(replica.find_table(name).await?.key)
        }
        (found, _) => Ok(found?.key),
    }
}

/// A part of no bytes would be nothing: whoever names a part wants it read.
fn bytes_to_read(request: &VerifyRequest) -> ReadBytes {
    match request.read {
        ReadArg::None if request.subset.is_some() => ReadBytes::All,
        ReadArg::None => ReadBytes::None,
        ReadArg::Sample => ReadBytes::Sample,
        ReadArg::All => ReadBytes::All,
    }
}

/// What is typed for each table, so that the commands that are printed mean it and no other.
async fn typed(open: &OpenVault, config: &Config) -> impl Fn(&TableKey) -> String + use<> {
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

fn finding_row(
    finding: Finding,
    typed: Option<&str>,
    (read, from): (ReadBytes, Option<&str>),
    again: &Again,
) -> FindingRow {
    let remedy = finding.advice(typed, read, from, &|words| again.command(words));
    FindingRow {
        severity: match finding.severity {
            Severity::Info => RowSeverity::Info,
            Severity::Warning => RowSeverity::Finding,
            Severity::Unchecked => RowSeverity::Unchecked,
            Severity::Damage => RowSeverity::Damage,
        },
        table: finding.table,
        snapshots: finding.snapshots,
        object: finding.object,
        what: finding.what,
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use clap::Parser as _;
    use deltavault::ids::Digest;

    use super::*;
    use crate::cli::args::Args;

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
                            if let Err(error) = Args::try_parse_from(all) {
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
                            // What counts from the oldest on, and what is held is the newest.
                            let of = |word: &str| words.iter().any(|it| it == word);
                            assert!(!of("--distrust") || of(&id(1).short()), "{words:?}");
                            assert!(!of("hold") || of(&id(2).short()), "{words:?}");
                            commands += 1;
                        }
                    }
                }
            }
        }
        assert!(commands > 100, "{commands}");
    }
}
