//! The words that the telling is made of.

use std::time::Duration;

use deltavault::ids::{Timestamp, Version};
use deltavault::plan::restore::LiveVersion;
use deltavault::progress::PlannedWork;
use indicatif::{HumanCount, HumanDuration};

use crate::cli::rows::{Choice, PlanLine};

/// Bytes a second that an estimate counts with: a plain disk that reads and writes at once. Estimates are said to
/// be estimates.
const ESTIMATED_BYTES_A_SECOND: u64 = 50 * 1024 * 1024;

/// Files a second that an estimate counts with: each is made durable by itself.
const ESTIMATED_FILES_A_SECOND: u64 = 100;

pub(super) fn line(label: &'static str, text: String) -> PlanLine {
    PlanLine { label, text }
}

pub(super) fn choice(effect: String, command: String) -> Choice {
    Choice { effect, command }
}

/// Engines name the commits of a VACUUM `VACUUM START` and `VACUUM END`.
pub(super) fn is_vacuum(version: &LiveVersion) -> bool {
    let operation = version.operation.as_deref();
    operation.is_some_and(|operation| operation.starts_with("VACUUM"))
}

pub(super) fn told_version(version: &LiveVersion) -> String {
    let operation = version.operation.as_deref().unwrap_or("?").to_owned();
    let rows = version.rows.filter(|rows| *rows != 0);
    let parts = [
        Some(format!("v{}", version.version)),
        version.time.map(second),
        Some(operation),
        version.user.clone(),
        rows.map(|rows| format!("{} rows", signed(rows))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// `1 file`, `12 files`.
pub(super) fn files(count: u64) -> String {
    match count {
        1 => "1 file".to_owned(),
        count => format!("{} files", HumanCount(count)),
    }
}

/// `v3`, `v3-v7`.
pub(super) fn range(first: Version, last: Version) -> String {
    if first == last {
        format!("v{first}")
    } else {
        format!("v{first}-v{last}")
    }
}

pub(super) fn ranges(ranges: &[(Version, Version)]) -> String {
    let told = ranges.iter().map(|(first, last)| range(*first, *last));
    told.collect::<Vec<_>>().join(", ")
}

pub(super) fn signed(change: i64) -> String {
    let sign = if change < 0 { "-" } else { "+" };
    format!("{sign}{}", HumanCount(change.unsigned_abs()))
}

pub(super) fn second(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// How long work takes, by the constant rates above.
pub(super) fn about(work: PlannedWork) -> String {
    let seconds = work.bytes / ESTIMATED_BYTES_A_SECOND + work.files / ESTIMATED_FILES_A_SECOND;
    HumanDuration(Duration::from_secs(seconds.max(1))).to_string()
}

/// A name as SQL spells it: parts of plain words as they are, others in back ticks.
pub(super) fn identifier(name: &str) -> String {
    let parts = name.split('.').map(|part| {
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !part.is_empty() && part.chars().all(word) {
            part.to_owned()
        } else {
            format!("`{}`", part.replace('`', "``"))
        }
    });
    parts.collect::<Vec<_>>().join(".")
}
