//! `verify`: the vault against itself.

use std::time::Instant;

use deltavault::plan::verify::{Finding, ReadBytes, Severity, Subset, VerifyPlan};
use deltavault::{Error, ExitCode};

use super::{Context, remind_of_locks};
use crate::cli::again::Again;
use crate::cli::args::ReadArg;
use crate::cli::request::VerifyRequest;
use crate::cli::rows::{FindingRow, Severity as RowSeverity, VerifyDone};

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
    let Context {
        output, progress, ..
    } = context;
    // Told when they are made: a vault with a million damaged objects must not wait in memory.
    let report = {
        let output = &mut *output;
        let mut found = |finding| output.finding(&finding_row(finding, &again));
        let tables = tables.as_deref();
        let progress = progress.as_ref();
        open.vault
            .verify(tables, plan, spill.path(), progress, &mut found)
            .await?
    };
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
    Ok(report.exit_code())
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

fn finding_row(finding: Finding, again: &Again) -> FindingRow {
    let remedy = finding.advice(&|words| again.command(words));
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
