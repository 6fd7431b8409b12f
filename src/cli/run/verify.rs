//! `verify`: the vault against itself.

use std::collections::HashSet;
use std::time::Instant;

use deltavault::plan::verify::{Finding, ReadBytes, Severity, Subset, VerifyPlan, VerifyReport};
use deltavault::vault::verify::Losses;
use deltavault::{Error, ExitCode};

use super::{Context, remind_of_locks, repair};
use crate::cli::again::Again;
use crate::cli::args::ReadArg;
use crate::cli::request::VerifyRequest;
use crate::cli::rows::{FindingRow, Severity as RowSeverity, VerifyDone};

/// A manifest leads to pages and those to files: a repair that has put the one looks for the others.
const ROUNDS: u32 = 3;

/// `verify`
pub(super) async fn verify(
    request: VerifyRequest,
    context: &mut Context,
) -> Result<ExitCode, Error> {
    let start = Instant::now();
    let open = context.open_vault().await?;
    let mut tables = Vec::new();
    for name in &request.tables {
        let table = open.find_table(name).await?.key;
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    remind_of_locks(&open, context.progress.as_ref());
    let tables = (!tables.is_empty()).then_some(tables);
    let plan = VerifyPlan {
        read: bytes_to_read(&request),
        subset: request.subset.map(|subset| Subset {
            part: subset.part,
            of: subset.of,
        }),
        now: context.clock.now(),
    };
    let spill = tempfile::tempdir().map_err(Error::Scratch)?;
    let again = context.again.clone();
    let mut told = HashSet::new();
    let mut rounds = 0;
    let (report, is_damaged) = loop {
        let Context {
            output, progress, ..
        } = &mut *context;
        // Told when they are made: a vault with a million damaged objects must not wait in memory.
        let (report, losses) = {
            let mut found = |finding| {
                let row = finding_row(finding, plan.read, &again);
                // What an earlier round said is not said again.
                if request.repair && !told.insert((row.object.clone(), row.what.clone())) {
                    return Ok(());
                }
                output.finding(&row)
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
        if losses.needed().next().is_none() {
            break (report, report.damaged > 0);
        }
        let how = (request.from.as_deref(), request.yes);
        let left = repair::repair(&open, &losses, how, context).await?;
        rounds += 1;
        if !left.has_more || rounds == ROUNDS {
            break (report, left.is_damaged || report.damaged > report.lost);
        }
    };
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
        seconds: start.elapsed().as_secs_f64(),
    })?;
    Ok(if request.repair && !is_damaged {
        let report = VerifyReport {
            damaged: 0,
            ..report
        };
        report.exit_code()
    } else {
        report.exit_code()
    })
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

fn finding_row(finding: Finding, read: ReadBytes, again: &Again) -> FindingRow {
    let remedy = finding.advice(read, &|words| again.command(words));
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
