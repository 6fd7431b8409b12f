//! What a restore that is done prints.

use deltavault::plan::choose::History;
use deltavault::plan::restore::Situation;
use deltavault::reader::Verdict;
use deltavault::vault::restore::{self, Checked};

use super::args::How;
use super::choose::Chosen;
use super::messages::{RestoreDone, VersionTime};
use super::told::Case;

pub(super) fn done_row(
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
        bytes_by_store: done.bytes_by_store,
        files_kept: done.files_kept,
        files_rescued: done.files_rescued,
        lost: done.lost.iter().map(ToString::to_string).collect(),
        vanished: checked.map_or(0, |checked| checked.vanished.count),
        notes: checked.map_or_else(Vec::new, |checked| case.notes(checked, done)),
        opens_with_files,
        refused_because,
        seconds,
        safety: None,
        safety_kept_until: None,
        removed: 0,
        set_aside: 0,
        statements: case.statements(),
    }
}

pub(super) fn turned_word(how: &How) -> &'static str {
    match how {
        How::Replace => "replace",
        How::Undo(_) => "undo",
        How::Rewind | How::InPlace | How::Heal | How::To(_) => "rewind",
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
pub(super) fn version_times(history: &History, chosen: &Chosen) -> Vec<VersionTime> {
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
