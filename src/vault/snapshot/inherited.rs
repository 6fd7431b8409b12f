//! The log files that the base holds, beside those that are listed now.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::super::log_replay::as_listed;
use crate::delta::segment::{CheckpointFiles, LogListing};
use crate::delta::{LogFile, LogFileKind};
use crate::format::Entry;
use crate::format::page::log_order;
use crate::ids::{ObjectKey, Version};

/// The base's log files beside the listing.
#[derive(Debug, Default)]
pub(super) struct Inherited {
    /// The checkpoint files that the base holds.
    pub(super) checkpoints: HashMap<ObjectKey, Entry>,
    /// The sidecars that the base holds.
    pub(super) sidecars: BTreeSet<ObjectKey>,
    /// Files of checkpoints, sidecars too, that could not be decoded.
    pub(super) unreadable: HashMap<ObjectKey, Entry>,
    /// The commits at or below the base that have other bytes than it holds, ascending.
    pub(super) overwritten: Vec<Version>,
    /// Those of them that were empty when the base was taken.
    pub(super) refilled: BTreeSet<Version>,
    /// Those of them that are empty now.
    pub(super) emptied: BTreeSet<Version>,
    /// The commits that it holds and that are not listed.
    pub(super) unlisted: BTreeSet<Version>,
    /// The checkpoints with files that no other way names and that somebody has written again since.
    pub(super) rewritten: Vec<Version>,
    /// Whether a commit at or below the base was put again, with the same bytes or with others.
    pub(super) put_again: bool,
    /// The sidecars that have other bytes than it holds.
    pub(super) overwritten_sidecars: BTreeSet<ObjectKey>,
    /// The checkpoint files that the vault has lost, with their objects.
    pub(super) lost: Vec<(ObjectKey, ObjectKey)>,
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
    pub(super) fn lacks_one_taken_out(&self, listing: &LogListing, version: Version) -> bool {
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

/// Whether a listed file is the one that was taken, as far as the listing tells.
pub(super) fn is_same(entry: &Entry, file: &LogFile) -> bool {
    entry.etag.as_ref() == Some(&file.etag) && entry.size == file.size
}
