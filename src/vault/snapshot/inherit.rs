//! What the live log, as it was listed, says about the log files that the base holds: whether V may be planned from the
//! base's live set, or has to be planned from the whole log.
//!
//! A base's live set is true for the log bytes that it was replayed from. So it ends with the first commit at or below
//! the base, or sidecar of a checkpoint, that has other bytes now, with a checkpoint that somebody took out since, and with
//! one below the base that the base does not hold: that one can only be compared by replaying from it.

use std::fmt;
use std::path::Path;

use futures::{TryStreamExt, stream};

use super::super::Vault;
use super::super::ahead::ahead;
use super::failure::Failure;
use super::inherited::{Inherited, is_same};
use super::left::Diverged;
use super::log_files::{LOG_FILES_AHEAD, read_listed};
use super::past::{Base, Past};
use super::pinned::Pinned;
use super::presence::{self, Lost};
use super::sidecars;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::delta::{LogFile, LogFileKind};
use crate::format::page::log_order;
use crate::format::record::Disagreement;
use crate::format::{Entry, EntryKind, Manifest};
use crate::ids::Location;
use crate::plan::snapshot::BaseUse;
use crate::source::Source;
use crate::spool::IN_MEMORY_LIMIT;

impl Pinned {
    /// Takes every checkpoint for one that enters, where the base has files under several spellings: a plan from the whole
    /// log learns from its checkpoints alone what readers that compare paths as text still have live.
    pub(super) async fn compare_respelled(&mut self, vault: &Vault) -> Result<(), Failure> {
        let Some(base) = &self.base else {
            return Ok(());
        };
        if self.inherited.checkpoints.is_empty() {
            return Ok(());
        }
        let mut entries = vault.entries(&base.manifest.data_pages);
        while let Some(entry) = entries.try_next().await? {
            if entry.live.iter().any(|used| !used.spelled.is_empty()) {
                self.inherited.forget_checkpoints();
                break;
            }
        }
        Ok(())
    }
}

/// Decides whether the base's live set may be built on; where not, lists the whole log, since V has to be planned from
/// it.
pub(super) async fn inspect_base(
    vault: &Vault,
    source: &Source,
    pinned: &mut Pinned,
    folder: &Path,
) -> Result<(), Failure> {
    look(vault, source, pinned, folder).await?;
    // What is missing from a part of the log may stand in the rest of it, and so may what the vault has lost.
    let has_gap = pinned.listing.candidates(pinned.version).is_err();
    let has_lost = |base: &Base| pinned.ended || has_gap || !base.lost.is_empty();
    if pinned.base.as_ref().is_some_and(has_lost) && !pinned.whole {
        pinned.listing = LogListing::new(source.list_log(None, LogFile::is_one).await?);
        pinned.version = pinned.listing.tip(Some(pinned.version), None)?;
        pinned.whole = true;
        look(vault, source, pinned, folder).await?;
    }
    let Some(base) = &mut pinned.base else {
        return Ok(());
    };
    if !base.reuse {
        // All of the log is held again, so all of it enters.
        pinned.inherited.forget_checkpoints();
    }
    if !pinned.ended {
        return Ok(());
    }
    if base.using.goes_on() {
        base.using = BaseUse::HeldOnly;
    }
    let Inherited {
        refilled, emptied, ..
    } = &pinned.inherited;
    let sidecars = &pinned.inherited.overwritten_sidecars;
    let commits = pinned.inherited.overwritten.iter();
    let commits: Vec<_> = commits
        .filter(|it| !refilled.contains(it) && !emptied.contains(it))
        .collect();
    pinned.findings.extend(refilled.first().map(|first| {
        format!(
            "commit {first} was empty when snapshot {} was taken, and has its bytes again: version {} was planned from the \
             whole log",
            base.past.id.short(),
            pinned.version
        )
    }));
    let rewritten = pinned.inherited.rewritten.first();
    pinned.findings.extend(rewritten.map(|checkpoint| {
        format!(
            "checkpoint {checkpoint} was written again since snapshot {}: files that it alone named then are in this snapshot \
             only where it names them still",
            base.past.id.short()
        )
    }));
    let emptied = emptied
        .first()
        .map(|first| base.past.emptied_finding(*first));
    let overwritten = [
        overwritten("commit", commits.len(), commits.first()),
        overwritten("sidecar", sidecars.len(), sidecars.first()),
    ];
    let findings = overwritten.into_iter().flatten().map(|(which, what)| {
        format!(
            "{which} other bytes than snapshot {} holds: a writer overwrote {what}, so version {} was planned from \
             the whole log",
            base.past.id.short(),
            pinned.version
        )
    });
    let findings: Vec<_> = emptied.into_iter().chain(findings).collect();
    for (file, object) in std::mem::take(&mut pinned.inherited.lost) {
        let table = &base.past.record.table.name;
        let finding = presence::lost(&Lost::Checkpoint(&file), &base.past, table);
        pinned.findings.push(finding);
        base.lost.push(object);
    }
    for finding in findings {
        pinned.note_doubt(finding);
    }
    Ok(())
}

/// Names files of a kind that have other bytes now, with their verb, and the word for them.
fn overwritten(
    kind: &str,
    count: usize,
    first: Option<impl fmt::Display>,
) -> Option<(String, &'static str)> {
    let first = first?;
    Some(match count {
        1 => (format!("{kind} {first} has"), "it"),
        more => (format!("{more} {kind}s, first {first}, have"), "them"),
    })
}

/// Compares the listing with the log that the base holds, and decides whether the base's live set ends with it.
async fn look(
    vault: &Vault,
    source: &Source,
    pinned: &mut Pinned,
    folder: &Path,
) -> Result<(), Failure> {
    let Some(base) = &pinned.base else {
        return Ok(());
    };
    let listing = &pinned.listing;
    let mut inherited = examine(vault, source, &base.manifest, listing, folder).await?;
    let until = (listing, pinned.version);
    let strayed = sidecars::strayed(vault, source, until, &inherited, folder).await?;
    let record = &base.past.record;
    let is_late = |checkpoint: &CheckpointFiles| {
        checkpoint.version < record.version && !inherited.knows(checkpoint)
    };
    pinned.ended |= !inherited.overwritten.is_empty()
        || !inherited.overwritten_sidecars.is_empty()
        || !strayed.checkpoints.is_empty()
        || !record.disagreements.is_empty()
        || inherited.lacks_one_taken_out(listing, pinned.version)
        || listing.checkpoints().iter().any(is_late);
    let is_rewritten = |found: &&Disagreement| {
        let mut listed = listing.files().filter(|file| file.key == found.file);
        found.adds > 0 && listed.any(|file| inherited.holds(file).is_none())
    };
    let rewritten = record.disagreements.iter().filter(is_rewritten);
    inherited.rewritten = rewritten.map(|found| found.checkpoint).collect();
    for checkpoint in &strayed.checkpoints {
        inherited.forget(checkpoint);
    }
    inherited.lost = strayed.lost;
    pinned.inherited = inherited;
    Ok(())
}

/// Compares the base's commits and sidecars with the listing; reads those that only their bytes can tell about.
pub(super) async fn examine(
    vault: &Vault,
    source: &Source,
    manifest: &Manifest,
    listing: &LogListing,
    folder: &Path,
) -> Result<Inherited, Failure> {
    let mut inherited = Inherited::default();
    let mut doubtful: Vec<(Entry, &LogFile)> = Vec::new();
    let mut entries = vault.entries(&manifest.log_pages);
    while let Some(entry) = entries.try_next().await? {
        let Location::Inside(key) = &entry.file else {
            continue;
        };
        if entry.unreadable {
            inherited.unreadable.insert(key.clone(), entry.clone());
        }
        let listed = match entry.kind {
            EntryKind::Commit => {
                let version = log_order(&entry).version();
                version.and_then(|version| listing.commit(version))
            }
            EntryKind::Sidecar => {
                inherited.sidecars.insert(key.clone());
                listing.sidecar(key)
            }
            EntryKind::Checkpoint => {
                inherited.checkpoints.insert(key.clone(), entry);
                continue;
            }
            EntryKind::ChangeData
            | EntryKind::Checksum
            | EntryKind::Compaction
            | EntryKind::Data
            | EntryKind::DeletionVector
            | EntryKind::LastCheckpoint
            | EntryKind::Other => continue,
        };
        let Some(file) = listed else {
            if entry.kind == EntryKind::Commit {
                inherited.unlisted.extend(log_order(&entry).version());
            }
            continue;
        };
        let is_same = is_same(&entry, file);
        if entry.kind == EntryKind::Commit {
            inherited.put_again |= !is_same || Some(file.last_modified) > entry.last_modified;
        }
        if !is_same {
            doubtful.push((entry, file));
        }
    }
    let reads = doubtful.into_iter().map(|(entry, file)| {
        let read = async move {
            let differs = differs(source, &entry, file, folder).await?;
            Ok::<_, Failure>(differs.then_some((file, entry.size)))
        };
        (file.size.min(IN_MEMORY_LIMIT), read)
    });
    let mut reads = ahead(stream::iter(reads), LOG_FILES_AHEAD);
    while let Some(differing) = reads.try_next().await? {
        let Some((file, size)) = differing else {
            continue;
        };
        match file.version {
            Some(version) if file.kind == LogFileKind::Commit => {
                inherited.overwritten.push(version);
                match (size, file.size) {
                    (0, _) => inherited.refilled.insert(version),
                    (_, 0) => inherited.emptied.insert(version),
                    (_, _) => false,
                };
            }
            _ => {
                inherited.overwritten_sidecars.insert(file.key.clone());
            }
        }
    }
    inherited.overwritten.sort_unstable();
    Ok(inherited)
}

/// Whether a listed file has other bytes than its entry, of which the listing leaves that open.
async fn differs(
    source: &Source,
    entry: &Entry,
    file: &LogFile,
    folder: &Path,
) -> Result<bool, Failure> {
    let Some(held) = entry.sha256.filter(|_| entry.size == file.size) else {
        return Ok(true);
    };
    let fetched = read_listed(source, file, folder).await?;
    Ok(fetched.payload.sha256 != held)
}

/// Finds the first commit at or below a record's version that has other bytes than its snapshot holds.
pub(super) async fn diverged(
    vault: &Vault,
    source: &Source,
    past: &Past,
    listing: &LogListing,
    folder: &Path,
) -> Result<Option<Diverged>, Failure> {
    let manifest = match vault.manifest(&past.record).await {
        Ok(manifest) => manifest,
        Err(error) if error.is_damage() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match examine(vault, source, &manifest, listing, folder).await {
        Ok(inherited) => Ok(inherited.overwritten.first().map(|first| {
            if inherited.first_emptied() == Some(*first) {
                Diverged::Emptied(*first)
            } else {
                Diverged::Rewritten(*first)
            }
        })),
        // It is not built on, so a damaged page of it stops nothing.
        Err(Failure::Error(error)) if error.is_damage() => Ok(None),
        Err(failure) => Err(failure),
    }
}
