//! What a restore says of a ledger that is not whole, and when it does not go by it.

use deltavault::error::RestoreError;
use deltavault::plan::choose::{History, Wanted};
use deltavault::plan::verify::A_REPLICA;
use deltavault::vault::Vault;

use super::Chosen;
use super::told::Proof;
use crate::cli::command::Context;
use crate::cli::command::looked::note_findings;
use crate::cli::command::restore::args::How;
use crate::cli::error::CommandError;
use crate::cli::place::typed;

/// Whoever plants records decides how many there are.
const UNLINKED_TOLD: usize = 10;

/// Says what is wrong with a table's ledger: a newer snapshot may hide behind a damaged record.
pub(super) fn warn_of_ledger(history: &History, name: &str, context: &Context) {
    note_findings(history, context.progress.as_ref());
    if history.findings.is_empty() {
        return;
    }
    let newest = history.newest_trusted();
    let is_whole_above =
        newest.is_some_and(|it| history.may_be_newer(&Wanted::Latest, it).is_none());
    let missing = if is_whole_above {
        ""
    } else {
        ", and a newer snapshot may be missing from what follows"
    };
    context.progress.note(&format!(
        "the ledger is not as it was written{missing}: `{}` says more",
        context.again.command(&["verify", name])
    ));
}

/// Where the ledger is not whole, says which records lie outside its chain; adds the one that is wanted to the history, when
/// the chain does not have it. Returns what proves what is wanted.
pub(super) async fn take_in_unlinked(
    vault: &Vault,
    history: &mut History,
    wanted: &Wanted,
    name: &str,
    context: &Context,
) -> Result<Proof, CommandError> {
    let prefix = match wanted {
        Wanted::Snapshot(prefix) | Wanted::VersionOf(prefix, _) => prefix.to_ascii_lowercase(),
        Wanted::Latest | Wanted::Version(_) | Wanted::AsOf(_) => String::new(),
    };
    let is_named = !prefix.is_empty();
    // A record that was given up matters only to someone who names it.
    let is_looked_for = if is_named {
        history.has_unlinked()
    } else {
        history.unread().is_some()
    };
    if !is_looked_for {
        return Ok(Proof::Ledger);
    }
    if is_named && history.ids().any(|id| id.to_string().starts_with(&prefix)) {
        return Ok(Proof::Ledger);
    }
    let unlinked = vault.unlinked(history, &prefix).await?;
    for it in unlinked.iter().take(UNLINKED_TOLD) {
        let (seq, version, id) = (it.seq, it.record.version, it.id.to_string());
        let what = format!(
            "slot {seq} has a snapshot of v{version}, {id}, that the ledger does not prove, since a record is gone or damaged: \
             whoever may write into the vault can have put it there"
        );
        context.progress.note(&if is_named {
            what
        } else {
            let restore = context.again.command(&["restore", name, "--snapshot", &id]);
            format!("{what}. When you know that id from elsewhere: `{restore}`")
        });
    }
    if !is_named {
        return Ok(Proof::Ledger);
    }
    history.snapshots.extend(unlinked);
    history.snapshots.sort_by_key(|it| it.seq);
    Ok(Proof::IdAlone)
}

/// Refuses to take an older snapshot for the newest one where a record that cannot be read may be of a newer one.
pub(super) fn refuse_if_not_newest(
    history: &History,
    chosen: &Chosen,
    wanted: &Wanted,
    how: &How,
    name: &str,
    context: &Context,
) -> Result<(), CommandError> {
    let Some(snapshot) = history.find(chosen.id)? else {
        return Ok(());
    };
    let Some(unread) = history.may_be_newer(wanted, snapshot) else {
        return Ok(());
    };
    let id = snapshot.id.short();
    let mut restore = vec!["restore", name, "--snapshot", &id];
    match how {
        How::To(place) => restore.extend(["--to", typed(place)]),
        How::Heal => restore.push("--heal"),
        How::Rewind => restore.push("--rewind"),
        How::Replace => restore.push("--replace"),
        How::InPlace | How::Undo(_) => {}
    }
    let repair = ["verify", name, "--repair", "--from", A_REPLICA];
    Err(RestoreError::NewerMayBeMissing {
        table: history.name().into(),
        snapshot: snapshot.id,
        version: snapshot.record.version,
        repair: context.again.command(&repair).into(),
        restore: context.again.command(&restore).into(),
        source: Box::new(unread),
    }
    .into())
}

/// Says that there may have been a newer snapshot, where a manifest of one lies in the vault.
pub(super) async fn warn_of_unnamed(
    vault: &Vault,
    history: &History,
    name: &str,
    context: &Context,
) {
    // It is said in passing; what a restore needs is read by the restore.
    let Ok(Some(version)) = vault.unnamed_newer(history).await else {
        return;
    };
    let repair = ["verify", name, "--repair", "--from", A_REPLICA];
    context.progress.note(&format!(
        "the vault has a manifest of v{version}, newer than the newest snapshot: that one was never finished, or its record \
         is lost. Before the next snapshot is taken, `{}` puts back what a replica still has",
        context.again.command(&repair)
    ));
}
