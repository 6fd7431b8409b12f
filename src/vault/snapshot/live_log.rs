//! What the listing says about the state of the live log: commits that are empty or gone, and a checkpoint that stands where
//! no commit leads.

use super::pinned::Pinned;
use crate::delta::LogError;
use crate::ids::Version;
use crate::shell::operand;

const FINDINGS_MAX: usize = 10;

/// Takes note of what the owner should know, and of what puts V in doubt.
pub(super) fn look(pinned: &mut Pinned) {
    pinned.emptied = pinned.emptied.or(pinned.inherited.first_emptied());
    if let Some((commit, finding)) = still_empty(pinned) {
        pinned.emptied = Some(commit);
        pinned.note_doubt(finding);
    }
    if let Some(newest) = pinned.listing.newest_commit_below(pinned.version) {
        let version = pinned.version;
        pinned.note_doubt(format!(
            "checkpoint {version} stands above the newest commit, {newest}: the commits between are lost, or the checkpoint is not \
             of this version; readers start from it"
        ));
    }
    pinned.findings.extend(missing(pinned));
    for finding in empty_commits(pinned) {
        pinned.note_doubt(finding);
    }
}

/// What is gone from the log, and what of it cannot be read.
fn missing(pinned: &Pinned) -> Vec<String> {
    let listing = &pinned.listing;
    let mut findings = Vec::new();
    let base = pinned.base.as_ref();
    if let (Some(base), Err(LogError::Gap { first_missing, .. })) =
        (base, listing.candidates(pinned.version).map(drop))
    {
        let id = base.past.id.short();
        let table = operand(&base.past.record.table.name);
        findings.push(match pinned.inherited.lost_instead_of(first_missing, listing) {
            Some(lost) => format!(
                "{lost} is gone from the live log, which no reader can open without it: snapshot {id} holds it, and \
                 `deltavault restore {table}` puts it back"
            ),
            None => format!(
                "commit {first_missing} is gone from the live log, which no reader can open without it, and snapshot {id} \
                 does not hold it: `deltavault restore {table}` shows what it can put back"
            ),
        });
    }
    let unreadable = pinned.inherited.unreadable(listing);
    findings.extend(unreadable.iter().take(FINDINGS_MAX).map(|file| {
        format!("{file} still cannot be read as a checkpoint: its bytes are held, and the version was planned without it")
    }));
    findings
}

/// The commit that the base found empty while an older snapshot holds its bytes, if it is still there and still empty.
fn still_empty(pinned: &Pinned) -> Option<(Version, String)> {
    let record = &pinned.base.as_ref()?.past.record;
    let commit = record.emptied.filter(|_| pinned.emptied.is_none())?;
    let listed = pinned.listing.commit(commit)?;
    let table = operand(&record.table.name);
    (listed.size == 0).then(|| {
        let finding = format!(
            "commit {commit} is still empty (0 bytes), and readers miss what it did: an older snapshot holds its bytes, and \
             `deltavault restore {table}` shows whether they can be put back"
        );
        (commit, finding)
    })
}

/// The commits of 0 bytes that came since the base; where it is in doubt, those before it, too. What a snapshot holds with
/// its bytes was named already.
fn empty_commits(pinned: &Pinned) -> Vec<String> {
    let base = pinned.base.as_ref();
    let base = base.filter(|base| base.past.record.doubt.is_none());
    let since = base.map(|base| base.past.record.version);
    let empty = pinned.listing.empty_commits(pinned.version);
    let empty = empty.filter(|version| Some(*version) > since && pinned.emptied != Some(*version));
    let findings = empty.take(FINDINGS_MAX).map(|version| {
        format!(
            "commit {version} is empty (0 bytes): readers take it for a version that changes nothing, and a power \
             loss leaves such a file"
        )
    });
    findings.collect()
}
