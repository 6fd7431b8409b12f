//! The words that the telling is made of.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::time::Duration;

use deltavault::ids::{Timestamp, Version};
use deltavault::plan::restore::LiveVersion;
use deltavault::progress::PlannedWork;
use deltavault::visible::cell;
use indicatif::{HumanCount, HumanDuration};

use crate::cli::command::restore::messages::{Choice, Engine, PlanLine, Statement};
use crate::cli::output::counted;
pub(super) use crate::cli::output::range;

/// Bytes a second that an estimate counts with: a plain disk that reads and writes at once. Estimates are said to
/// be estimates.
const ESTIMATED_BYTES_A_SECOND: u64 = 50 * 1024 * 1024;

/// Files a second that an estimate counts with: each is made durable by itself.
const ESTIMATED_FILES_A_SECOND: u64 = 100;

/// A labelled line whose text is a format string with its arguments.
macro_rules! told {
    ($label:expr, $($text:tt)+) => {
        $crate::cli::command::restore::told::phrase::line($label, format!($($text)+))
    };
}
pub(super) use told;

pub(super) fn line(label: &'static str, text: String) -> PlanLine {
    PlanLine { label, text }
}

/// A choice by its command, with a format string and its arguments for the effect.
macro_rules! choice {
    ($command:expr, $($effect:tt)+) => {
        $crate::cli::command::restore::messages::Choice {
            effect: format!($($effect)+),
            command: $command,
            statements: Vec::new(),
        }
    };
}
pub(super) use choice;

/// A choice that another engine carries out.
pub(super) fn statements(effect: String, statements: Vec<Statement>) -> Choice {
    let command = statements.iter().map(told_statement);
    Choice {
        effect,
        command: command.collect::<Vec<_>>().join("\n"),
        statements,
    }
}

/// A statement as a line of its own; SQL is what people expect, anything else says what it is.
pub(super) fn told_statement(statement: &Statement) -> String {
    match statement.engine {
        Engine::SparkSql => statement.statement.clone(),
        Engine::PythonDeltalake => format!("python: {}", statement.statement),
    }
}

/// `v13  2026-11-20 02:11:00Z  OVERWRITE  etl-prod  -918,220,114 rows  +1 -40 files`.
pub(super) fn told_version(version: &LiveVersion) -> String {
    let operation = cell(version.operation.as_deref().unwrap_or("?"));
    let rows = version.rows.filter(|rows| *rows != 0);
    let (added, removed) = (version.files_added, version.files_removed);
    let files = [('+', added), ('-', removed)].into_iter();
    let files = files.filter(|(_, count)| *count > 0);
    let files = files.map(|(sign, count)| format!("{sign}{}", HumanCount(count)));
    let files: Vec<String> = files.collect();
    let noun = if added + removed == 1 {
        "file"
    } else {
        "files"
    };
    let parts = [
        Some(format!("v{}", version.version)),
        version.time.map(second),
        Some(operation),
        version.user.as_deref().map(cell),
        rows.map(changed_rows),
        (!files.is_empty()).then(|| format!("{} {noun}", files.join(" "))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// Operations, or users, that are named.
const NAMED: usize = 8;

/// What versions did together: `5 APPEND, 1 MERGE, +12,000 rows`. `versions` are those that go.
pub(super) fn summed<'a>(versions: impl Iterator<Item = &'a LiveVersion> + Clone) -> String {
    let mut counts: Vec<(String, u64)> = Vec::new();
    // A VACUUM is one thing that happened, told by its end.
    for version in versions.clone() {
        let operation = version.operation.as_deref().unwrap_or("unknown operation");
        let name = match operation {
            "VACUUM START" => continue,
            operation => operation.strip_suffix(" END").unwrap_or(operation),
        };
        match counts.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += 1,
            None => counts.push((name.to_owned(), 1)),
        }
    }
    counts.sort_by_key(|(_, count)| Reverse(*count));
    let others: u64 = counts.iter().skip(NAMED).map(|(_, count)| count).sum();
    let rows = versions.map(|version| version.rows).sum::<Option<i64>>();
    let rows = rows.filter(|rows| *rows != 0).map(changed_rows);
    let counts = counts
        .into_iter()
        .take(NAMED)
        .map(|(name, count)| format!("{count} {}", cell(&name)));
    let others = (others > 0).then(|| format!("{others} more"));
    counts
        .chain(others)
        .chain(rows)
        .collect::<Vec<_>>()
        .join(", ")
}

/// Who committed: `etl, maria`.
pub(super) fn users<'a>(users: impl Iterator<Item = &'a str>) -> String {
    let users: BTreeSet<&str> = users.collect();
    let others = users.len().saturating_sub(NAMED);
    let others = (others > 0).then(|| format!("{others} more"));
    let named = users.into_iter().take(NAMED).map(cell);
    named.chain(others).collect::<Vec<_>>().join(", ")
}

/// Behind the first of `count` things: ` and 2 more`, or nothing.
pub(super) fn and_more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        several => format!(" and {} more", several - 1),
    }
}

/// `1 file`, `12 files`.
pub(super) fn files(count: u64) -> String {
    counted(count, "file")
}

pub(super) fn ranges(ranges: &[(Version, Version)]) -> String {
    let told = ranges.iter().map(|(first, last)| range(*first, *last));
    told.collect::<Vec<_>>().join(", ")
}

/// `+1 row`, `-918,220,114 rows`.
fn changed_rows(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", rows(change.unsigned_abs()))
}

/// `1 row`, `12 rows`.
pub(super) fn rows(count: u64) -> String {
    counted(count, "row")
}

pub(super) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// How long work takes, by the constant rates above.
pub(super) fn about(work: PlannedWork) -> String {
    let seconds = work.bytes / ESTIMATED_BYTES_A_SECOND + work.files / ESTIMATED_FILES_A_SECOND;
    HumanDuration(Duration::from_secs(seconds.max(1))).to_string()
}
