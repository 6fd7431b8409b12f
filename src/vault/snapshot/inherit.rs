//! What the live log, as it was listed, says about the log files that the base holds: whether V may be planned from the
//! base's live set, or has to be planned from the whole log.
//!
//! A base's live set is true for the log bytes that it was replayed from. So it ends with the first commit at or below
//! the base, or sidecar of a checkpoint, that has other bytes now, with a checkpoint that somebody took out since, and with
//! one below the base that the base does not hold: that one can only be compared by replaying from it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::path::Path;

use futures::{TryStreamExt, stream};

use super::super::Vault;
use super::super::ahead::ahead;
use super::super::log_replay::as_listed;
use super::failure::Failure;
use super::log_files::{LOG_FILES_AHEAD, read_listed};
use super::pin::{Base, Past, Pinned};
use super::presence::{self, Lost};
use super::sidecars;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::delta::{LogFile, LogFileKind};
use crate::format::page::log_order;
use crate::format::record::Disagreement;
use crate::format::{Entry, EntryKind, Manifest};
use crate::ids::{Location, ObjectKey, Version};
use crate::plan::snapshot::BaseUse;
use crate::shell::operand;
use crate::source::Source;
use crate::spool::IN_MEMORY_LIMIT;

/// The base's log files beside the listing.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The checkpoint files that the base holds.
    checkpoints: HashMap<ObjectKey, Entry>,
    /// The sidecars that the base holds.
    sidecars: BTreeSet<ObjectKey>,
    /// Files of checkpoints, sidecars too, that could not be decoded.
    unreadable: HashMap<ObjectKey, Entry>,
    /// The commits at or below the base that have other bytes than it holds, ascending.
    pub(super) overwritten: Vec<Version>,
    /// Those of them that were empty when the base was taken.
    refilled: BTreeSet<Version>,
    /// Those of them that are empty now.
    emptied: BTreeSet<Version>,
    /// The commits that it holds and that are not listed.
    unlisted: BTreeSet<Version>,
    /// The checkpoints with files that no other way names and that somebody has written again since.
    rewritten: Vec<Version>,
    /// Whether a commit at or below the base was put again, with the same bytes or with others.
    pub(super) put_again: bool,
    /// The sidecars that have other bytes than it holds.
    pub(super) overwritten_sidecars: BTreeSet<ObjectKey>,
    /// The checkpoint files that the vault has lost, with their objects.
    lost: Vec<(ObjectKey, ObjectKey)>,
}

impl Inherited {
    pub(super) fn checkpoints(&self) -> &HashMap<ObjectKey, Entry> {
        &self.checkpoints
    }

    /// Whether the base holds a sidecar, and nobody has overwritten it since.
    pub(super) fn has_unchanged_sidecar(&self, key: &ObjectKey) -> bool {
        self.sidecars.contains(key) && !self.overwritten_sidecars.contains(key)
    }

    pub(super) fn has_sidecars(&self) -> bool {
        !self.sidecars.is_empty()
    }

    /// The first commit at or below the base that was written again with other content. One that lost its bytes, or got
    /// them back, is damage or its repair, and begins no other history.
    pub(super) fn rewritten_from(&self) -> Option<Version> {
        let mut overwritten = self.overwritten.iter().copied();
        overwritten.find(|it| !self.refilled.contains(it) && !self.emptied.contains(it))
    }

    /// The first commit that the base holds with its bytes and that is empty now.
    pub(super) fn first_emptied(&self) -> Option<Version> {
        self.emptied.first().copied()
    }

    /// Takes a checkpoint for one that enters now.
    pub(super) fn forget(&mut self, checkpoint: &CheckpointFiles) {
        for file in &checkpoint.files {
            self.checkpoints.remove(&file.key);
        }
    }

    /// Takes every checkpoint for one that enters now.
    pub(super) fn forget_checkpoints(&mut self) {
        self.checkpoints.clear();
    }

    /// The files that could not be decoded when they were taken and are still there as they were.
    pub(super) fn unreadable(&self, listing: &LogListing) -> Vec<&ObjectKey> {
        let mut keys: Vec<_> = listing
            .files()
            .filter_map(|file| {
                let (key, entry) = self.unreadable.get_key_value(&file.key)?;
                is_same(entry, file).then_some(key)
            })
            .collect();
        keys.sort_unstable();
        keys
    }

    /// What of the log the base holds and a listing of the whole log lacks, where that helps against a commit that is
    /// missing: the commit itself, or else the newest checkpoint from which readers do not need it.
    pub(super) fn lost_instead_of(&self, missing: Version, listing: &LogListing) -> Option<String> {
        if self.unlisted.contains(&missing) {
            return Some(format!("commit {missing}"));
        }
        let gone = self.unlisted_checkpoints(listing);
        let readable = gone.filter(|(_, entry)| !entry.unreadable);
        let newest = readable
            .filter_map(|(_, entry)| log_order(entry).version())
            .max()?;
        (newest >= missing).then(|| format!("checkpoint {newest}"))
    }

    /// Parts of checkpoints that the base holds and that are not listed any more, where another part of the same
    /// checkpoint was written again: together they would be a checkpoint that never was.
    pub(super) fn stale_parts(&self, listing: &LogListing) -> HashSet<ObjectKey> {
        let checkpoint_of = |file: &LogFile| {
            let LogFileKind::CheckpointPart { parts, .. } = file.kind else {
                return None;
            };
            Some((file.version, parts))
        };
        let written_again = listing.files().filter(|file| self.holds(file).is_none());
        let written_again: HashSet<_> = written_again.filter_map(checkpoint_of).collect();
        let stale = self.unlisted_checkpoints(listing).filter(|(key, entry)| {
            let file = LogFile::parse(as_listed(key, entry));
            let checkpoint = file.as_ref().and_then(checkpoint_of);
            checkpoint.is_some_and(|it| written_again.contains(&it))
        });
        stale.map(|(key, _)| key.clone()).collect()
    }

    /// Whether somebody took a checkpoint that the base holds out of the source's log: it is not listed, older files are,
    /// and the log leads to `version` without it. A log's own clean-up takes the oldest files first.
    fn lacks_one_taken_out(&self, listing: &LogListing, version: Version) -> bool {
        let oldest = listing.versions().first().copied();
        let mut gone = self.unlisted_checkpoints(listing);
        gone.any(|(_, entry)| log_order(entry).version() > oldest)
            && listing.candidates(version).is_ok()
    }

    /// The checkpoint files that the base holds and that are not listed any more.
    fn unlisted_checkpoints<'a>(
        &'a self,
        listing: &'a LogListing,
    ) -> impl Iterator<Item = (&'a ObjectKey, &'a Entry)> {
        let listed: HashSet<&ObjectKey> = listing.files().map(|file| &file.key).collect();
        let held = self.checkpoints.iter();
        held.filter(move |(key, _)| !listed.contains(key))
    }

    /// Whether the base holds a checkpoint's files as they were listed, and so has compared it already.
    pub(super) fn knows(&self, checkpoint: &CheckpointFiles) -> bool {
        checkpoint
            .files
            .iter()
            .all(|file| self.holds(file).is_some())
    }

    /// The base's entry of a listed file, where it is of the same bytes.
    pub(super) fn holds(&self, file: &LogFile) -> Option<&Entry> {
        self.checkpoints
            .get(&file.key)
            .filter(|entry| is_same(entry, file))
    }
}

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

/// Whether a listed file is the one that was taken, as far as the listing tells.
fn is_same(entry: &Entry, file: &LogFile) -> bool {
    entry.etag.as_ref() == Some(&file.etag) && entry.size == file.size
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
        pinned.listing = LogListing::new(source.list_log(None).await?);
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
        .map(|first| emptied_finding(*first, &base.past));
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

/// What is said of a commit that lost its bytes since a snapshot took them.
pub(super) fn emptied_finding(commit: Version, past: &Past) -> String {
    let table = operand(&past.record.table.name);
    format!(
        "commit {commit} is empty now (0 bytes), as a power loss leaves it, and readers miss what it did: snapshot {} holds \
         its bytes, and `deltavault restore {table}` shows whether they can be put back",
        past.id.short()
    )
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
