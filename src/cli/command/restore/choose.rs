//! Chooses a snapshot, another one where it cannot be read, and the one that says most where nothing was said.

use std::borrow::Cow;
use std::sync::Arc;

use deltavault::Error;
use deltavault::error::RestoreError;
use deltavault::format::ledger::{Bodies, PrefixError};
use deltavault::format::{Record, TableKey, TableUri, Trigger};
use deltavault::ids::{SnapshotId, Timestamp, Version};
use deltavault::plan::choose::{ChooseError, History, Snapshot, Undated, Wanted};
use deltavault::plan::restore::Situation;
use deltavault::vault::Vault;
use deltavault::vault::look::find_snapshot;
use deltavault::vault::restore::{Deeds, RestorePlan};

use super::super::Context;
use super::args::How;
use super::told::listed::held_of;
use crate::cli::cache;
use crate::cli::error::CommandError;
use crate::cli::stores::OpenVault;

/// Other snapshots that are looked at when the chosen one cannot be read.
const OTHERS_TRIED: usize = 32;

/// What a restore needs to know of the vault: the table's history, and the state of it that was chosen.
pub(in crate::cli::command) struct Chosen {
    /// The snapshot.
    pub(in crate::cli::command) id: SnapshotId,
    /// What its record says.
    pub(in crate::cli::command) record: Arc<Record>,
    /// The version that is wanted: the snapshot's own, or an older one that it holds whole.
    pub(in crate::cli::command) version: Version,
    /// When that was committed, where it is known.
    pub(in crate::cli::command) committed: Option<Timestamp>,
    /// Versions that may be meant as well, where a time was asked for.
    pub(in crate::cli::command) between: Option<Undated>,
}

/// The history without the safety snapshots that nobody means by the newest one: those of what the table was turned away from,
/// and for a rewind those of what it is about to be turned away from.
pub(super) fn without_turned_away<'a>(
    history: &'a History,
    wanted: &Wanted,
    how: &How,
    deeds: &Deeds,
) -> Cow<'a, History> {
    let turns = matches!(how, How::Rewind | How::Replace);
    let is_meant = |it: &Snapshot| {
        let is_safety = it.record.trigger == Trigger::Safety;
        !(is_safety && (turns || deeds.turned_away.contains(&it.id)))
    };
    let snapshots = &history.snapshots;
    if *wanted != Wanted::Latest
        || snapshots.iter().all(is_meant)
        || !snapshots.iter().any(is_meant)
    {
        return Cow::Borrowed(history);
    }
    let mut seen = history.clone();
    seen.snapshots.retain(is_meant);
    Cow::Owned(seen)
}

/// The newest snapshot of the table that is not in doubt.
pub(super) fn newest_without_doubt<'a>(
    history: &'a History,
    chosen: &'a Chosen,
) -> Option<&'a Snapshot> {
    held_of(history, &chosen.record.table.delta_id).find(|it| it.record.doubt.is_none())
}

/// Whether the plan of a snapshot without doubt says more of the live table than that of a newer one in doubt: the log is
/// as that one has it, or has files that it can put right.
pub(super) fn tells_more(trusted: &RestorePlan, in_doubt: &RestorePlan) -> bool {
    let goes_on = matches!(
        trusted.situation,
        Situation::NothingAbove | Situation::NewerLive { .. }
    );
    let differs = matches!(in_doubt.situation, Situation::CommitsDiffer { .. });
    goes_on && (differs || !trusted.broken.is_empty())
}

/// Another snapshot that holds the wanted version, where the chosen one cannot be read.
pub(super) async fn another_that_holds(
    error: &Error,
    chosen: &Chosen,
    history: &History,
    wanted: &Wanted,
    open: &OpenVault,
) -> Option<Chosen> {
    let is_not_whole = matches!(error, Error::Restore(RestoreError::NotWhole { .. }));
    if !matches!(wanted, Wanted::Version(_)) || !(error.is_damage() || is_not_whole) {
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

/// Why a snapshot is passed over that cannot be planned from.
pub(super) fn why_passed_over(error: &Error) -> String {
    if let Error::Restore(RestoreError::NotWhole { what, .. }) = error {
        return format!("it is not whole: {what}");
    }
    "its manifest is lost or damaged".to_owned()
}

/// The newest snapshot of the chosen version that is newer than the chosen one and in doubt, and why.
pub(super) fn passed_over(
    history: &History,
    chosen: &Chosen,
) -> Option<(SnapshotId, Version, String)> {
    let newer = history.snapshots.iter().rev();
    let mut newer = newer
        .take_while(|it| it.id != chosen.id)
        .filter(|it| it.record.version == chosen.version && !it.is_distrusted && !it.is_pruned);
    newer.find_map(|it| Some((it.id, chosen.version, it.record.doubt.clone()?)))
}

pub(super) fn holds_no_table(error: &CommandError) -> bool {
    matches!(error.as_library(), Some(Error::UnknownTable { known, .. }) if known.is_empty())
}

/// Why no snapshot of the table was found: the one that was named may be of another table.
pub(super) async fn of_another_table(
    error: CommandError,
    table: &str,
    open: &OpenVault,
) -> CommandError {
    let Some(Error::Choose(ChooseError::Prefix(PrefixError::Unknown { text, .. }))) =
        error.as_library()
    else {
        return error;
    };
    let Ok(histories) = open.vault.histories(|_| Bodies::default()).await else {
        return error;
    };
    match find_snapshot(&histories.read, text) {
        Ok((history, snapshot)) => CommandError::SnapshotOfAnotherTable {
            snapshot: snapshot.id,
            table: table.to_owned(),
            other: history.name().to_owned(),
        },
        Err(_) => error,
    }
}

/// Why a snapshot cannot be restored: pruned by now, or unreadable, with the newest other one that can be read.
pub(super) async fn no_plan(
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
    if !why.is_damage() {
        return why.into();
    }
    let others = held_of(history, &chosen.record.table.delta_id);
    let others = others.filter(|it| it.id != chosen.id);
    let mut other = None;
    for it in others.take(OTHERS_TRIED) {
        match vault.manifest(&it.record).await {
            Ok(_) => {
                let words = ["restore", table, "--snapshot", &it.id.short()];
                other = Some((it.record.version, context.again.command(&words)));
                break;
            }
            Err(error) if error.is_damage() => {}
            // A store that does not answer is no proof that nothing else can be read.
            Err(error) => return error.into(),
        }
    }
    let repair = ["verify", table, "--read", "all", "--repair"];
    RestoreError::Unreadable {
        snapshot: chosen.id,
        version: chosen.version,
        repair: context.again.command(&repair).into(),
        distrust: context
            .again
            .command(&["snapshot", table, "--distrust", &chosen.id.short()])
            .into(),
        other,
        source: Box::new(why),
    }
    .into()
}

/// Chooses a snapshot, and refuses one that names another table than the ledger it stands in: it would be put
/// where its forger wants it.
pub(in crate::cli::command) async fn choose(
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
